"""The keeper: forks, signals, reaps, journals. Standard library only, one thread, no policy."""
