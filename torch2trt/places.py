"""Which memory each value of a traced program lives in, and what it held after which write."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .graph import Node, Value


@dataclass(eq=False)
class Memory:
    """What several places share. `outlives`: what keeps it after the call, for messages."""

    outlives: str = ""
    is_input: bool = False
    writes: int = 0
    lost: str = ""
    maybe_same: list[Memory] = field(default_factory=list)


@dataclass(eq=False)
class Place:
    """A tensor, or a list of views: output `index` of `view` with `parent` as its input `base`.

    `value` is what it held after `made` writes to its memory; `traced` is as the trace recorded it.
    """

    memory: Memory
    value: Value
    made: int
    traced: Value
    parent: Place | None = None
    view: Node | None = None
    base: int = 0
    index: int = 0
    children: dict[Any, Place] = field(default_factory=dict)

    @property
    def is_current(self) -> bool:
        return self.made == self.memory.writes


class OutOfDate(Exception):
    """A place cannot be made anew; the argument says which write is to blame."""
