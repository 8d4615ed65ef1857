"""Probes of tasks: http and tcp without blocking, all on one thread; exec is somebody else's deed."""
