"""The one place that says which Muster this is."""

VERSION = "0.2.0"
OLDEST, SCHEMA = 1, 1
"""The schemas (`v`) of records that this release reads: from, to."""
WRITES = 1
"""The schema of the records that it writes: one that the release before it reads, too."""
