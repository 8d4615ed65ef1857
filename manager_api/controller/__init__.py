"""The only scheduler: one leader keeps the fleet in memory, plans, and writes with its token."""
