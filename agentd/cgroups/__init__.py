"""Control groups as the brain needs them: where ours go, what they limit, what they say back."""
