"""The time of a plan."""

from typing import NamedTuple


class Moment(NamedTuple):
    """`wall` goes into records; `steady`, which no clock step moves, measures how long something lasts."""

    wall: float
    steady: float
