"""Dictionaries that come with the package, by name: learned from texts of one encoder, for others of that encoder.

A name is text. A path that is none, and './minilm', is a folder, whatever it is called.
"""

from pathlib import Path
from typing import Any

ENCODERS = {  # whose vectors each is for
    "minilm": "all-MiniLM-L6-v2",
    "mpnet": "all-mpnet-base-v2",
}
NAMES = tuple(ENCODERS)
FOLDER = Path(__file__).parent / "dictionaries"


def named(place: Any) -> bool:
    """Whether a place is a name of one."""
    return isinstance(place, str) and place in NAMES


def folder(name: str) -> Path:
    """The model folder of a name."""
    return FOLDER / name
