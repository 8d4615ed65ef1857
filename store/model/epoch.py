"""Epochs: a counter and something random, `3-9f2c01aa`; the counter tells which is later."""


def epoch_number(epoch: str) -> int:
    """The counter in an epoch; -1 for what is none."""
    head = epoch.partition("-")[0]
    return int(head) if head.isascii() and head.isdigit() else -1
