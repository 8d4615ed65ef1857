"""One container per user."""
