"""How long each layer of an engine took."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..backends import trt_api


@dataclass(frozen=True)
class LayerTimes:
    """Milliseconds per layer of one inference, in the order TensorRT ran them.

    TensorRT joins the names of the layers it fuses, so a row names all the places in the model it
    stands for.

    Attributes:
        rows: layer name and milliseconds.
        sources: the source line of a layer name, where known.
    """

    rows: tuple[tuple[str, float], ...]
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """Milliseconds of all layers."""
        return sum(time for _, time in self.rows)

    def __str__(self) -> str:
        total = self.total or 1.0
        lines = [f"{'ms':>9}  {'%':>5}  layer"]
        for name, time in sorted(self.rows, key=lambda row: -row[1]):
            parts = [part for part in self.sources if part in name]
            source = self.sources[max(parts, key=len)] if parts else ""
            lines.append(f"{time:9.4f}  {100 * time / total:5.1f}  {name}  {source}".rstrip())
        return "\n".join([*lines, f"{self.total:9.4f}  100.0  total"])


@functools.cache
def _profiler_class() -> type:
    base = trt_api.trt().IProfiler

    class Profiler(base):
        def __init__(self) -> None:
            base.__init__(self)
            self.rows: list[tuple[str, float]] = []

        def report_layer_time(self, name: str, milliseconds: float) -> None:
            self.rows.append((name, milliseconds))

    return Profiler


def create_profiler() -> Any:
    """A new ``IProfiler``; its ``rows`` are layer names and milliseconds."""
    return _profiler_class()()
