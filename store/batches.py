"""Long lists in parts: what happens between two of them (a lease is renewed, say) is the caller's affair."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in their order, at most `size` of them at a time."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch
