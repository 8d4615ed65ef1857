"""Logs of tasks: straight to files, rotated under their writers, read by offset, served to readers."""
