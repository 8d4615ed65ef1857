"""Held reads, and calls that wait for a decision: one thread per worker hears what changes."""
