"""Templates: what they may say, and the calls on them."""
