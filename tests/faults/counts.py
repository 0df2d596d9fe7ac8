"""What a part of the harness tried, and each thing that did not hold."""

import dataclasses


@dataclasses.dataclass
class Count:
    """`part` and `what` name a row of a table; `failures` are in words."""

    part: str
    what: str
    tried: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    more: dict[str, float | int | str] = dataclasses.field(default_factory=dict)  # further figures, by name

    def __str__(self) -> str:
        figures = "".join(f", {name} {value}" for name, value in self.more.items())
        return f"{self.part}: {self.what}: {self.tried:,} tried, {len(self.failures)} failed{figures}"
