"""Records, their words and their state machines. Pure: no clock, no I/O."""
