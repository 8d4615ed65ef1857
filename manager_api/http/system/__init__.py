"""The store and the manager themselves: backup, moving house, health, metrics."""
