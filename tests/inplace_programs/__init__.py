"""Programs that write in place, one table over several files."""

from . import assignment, copies, lists, models, refused, views, whole  # noqa: F401  (each adds its rows)
from .program import PROGRAMS, Program

__all__ = ["PROGRAMS", "Program"]
