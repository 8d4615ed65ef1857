"""Many allocation numbers in few words: a large deployment's status has ranges of them."""

from collections.abc import Iterable, Iterator, Sequence

MOST_BRIEFS = 400
"""Live allocations that a status names one by one; of more it has only the ranges of their numbers."""


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """The same numbers as `[first, last]` pairs, in order and each once."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def merged(ranges: Iterable[Sequence[int]]) -> list[list[int]]:
    """The same ranges in order, those that touch or overlap as one."""
    found: list[list[int]] = []
    for first, last in sorted((first, last) for first, last in ranges):
        if found and first <= found[-1][1] + 1:
            found[-1][1] = max(last, found[-1][1])
        else:
            found.append([first, last])
    return found


def numbers(ranges: Iterable[Sequence[int]]) -> Iterator[int]:
    """The numbers in such ranges.

    Raises:
        ValueError: one of them is not a first and a last number.
    """
    for first, last in ranges:
        yield from range(first, last + 1)


def count(ranges: Iterable[Sequence[int]]) -> int:
    """How many numbers are in such ranges.

    Raises:
        ValueError: one of them is not a first and a last number.
    """
    return sum(max(0, last + 1 - first) for first, last in ranges)
