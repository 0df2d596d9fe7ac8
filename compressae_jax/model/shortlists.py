"""What a shortlist is made of: a few looks at all columns, each followed by pursuit among the columns seen so far.

A look picks the columns that go best with what is left of a row; the first one is the one pass. With all of them picked
there, atoms that only matter once the first ones are taken off are missing (docs/research-log.md).
"""

from typing import NamedTuple

LOOKS = 4  # at all columns; with three, a tenth of what pursuit gains is lost, with four a thirtieth
SHORTLIST = 4  # times k: the columns that all looks pick, as many as the second term of the training loss decodes


class Look(NamedTuple):
    """How many columns a row has seen once a look is taken, and how many atoms are then chosen among them."""

    columns: int
    atoms: int


def looks(k: int, h: int) -> list[Look]:
    """The looks for k atoms of h; the last one chooses all k."""
    columns, count = min(SHORTLIST * k, h), min(LOOKS, k)
    return [Look(columns * look // count, k * look // count) for look in range(1, count + 1)]
