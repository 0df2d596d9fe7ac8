"""What a look at one thing found: healthy or not, by which figure, the likely cause, and the cure."""

from collections.abc import Mapping
from typing import NamedTuple

OK, LOOK, BAD, UNSEEN = "ok", "look", "bad", "unseen"
LEVELS = (BAD, LOOK, OK, UNSEEN)  # the most urgent first


class Finding(NamedTuple):
    """`figure` says what was measured and the limit; `cause` and `cure` are empty where all is well.

    `level`: 'bad' (it costs accuracy), 'look' (it may), 'ok', or 'unseen' (there is nothing to measure it by).
    """

    name: str
    level: str
    figure: str
    numbers: Mapping[str, float]
    cause: str = ""
    cure: str = ""


def graded(value: float, look: float, bad: float) -> str:
    """The level of a figure that is the worse the higher it is."""
    return BAD if value >= bad else LOOK if value >= look else OK
