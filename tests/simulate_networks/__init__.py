"""Networks of a few TensorRT layers and the results they must have: one table for several tests."""

from . import control, indexing, pointwise, reduction, sampling, shapes, transformer, windows
from .case import Case, Net, build, define

CASES = [
    case
    for family in (pointwise, windows, reduction, shapes, indexing, sampling, transformer, control)
    for case in family.cases()
]

__all__ = ["CASES", "Case", "Net", "build", "define"]
