"""Numbers of allocations as ranges (a stand-in: SCALE's replaces it)."""

from collections.abc import Iterable


def ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Numbers as ranges [first, last], in order."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def numbers(ranges: Iterable[list[int]]) -> list[int]:
    """The numbers in some ranges."""
    return [number for first, last in ranges for number in range(first, last + 1)]
