"""The one place that says which Muster this is."""

VERSION = "0.2.0"
SCHEMA = 1
"""Version `v` of the records this release writes."""
