"""The Lua transactions, one file each. Lua does not roll back: each validates everything first."""
