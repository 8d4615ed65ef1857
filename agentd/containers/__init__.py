"""Containers as tasks: the node's engine, its command lines, their main process, how they ended."""
