"""The tracer's warnings, with the lines of the program that they are about."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import sys
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

_NOT_THE_PROGRAM = (
    os.path.dirname(torch.__file__) + os.sep, os.path.dirname(os.path.abspath(__file__)) + os.sep,
    warnings.__file__, copy.__file__, pickle.__file__, contextlib.__file__,
)  # fmt: skip


@dataclass(frozen=True)
class Frozen:
    """A value that holds for the example inputs only, and the line of the program."""

    message: str
    source: str

    def __str__(self) -> str:
        return f"{self.source}: {self.message}"


class FromData(Warning):
    """The program takes a Python number from values of its inputs."""


class Collected(list[Frozen]):
    """What the tracer warned about. `from_data`: lines that take numbers from values of inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.from_data: dict[str, None] = {}


@contextlib.contextmanager
def tracer_warnings() -> Iterator[Collected]:
    """Collect the tracer's warnings with the lines they come from; drop other warnings."""
    collected = Collected()

    def show(message: Any, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
        if issubclass(category, FromData):
            collected.from_data[program_line() or str(message)] = None
        elif issubclass(category, torch.jit.TracerWarning):
            frozen = Frozen(
                str(message).split(". ")[0],
                program_line() or f"{os.path.basename(filename)}({lineno})",
            )
            if frozen not in collected:
                collected.append(frozen)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        yield collected


def program_line() -> str:
    """The innermost frame that belongs to neither PyTorch, this package nor Python's copying."""
    frame = sys._getframe(1)
    while frame is not None:
        line = line_of_program(frame, frame.f_lineno)
        if line:
            return line
        frame = frame.f_back
    return ""


def line_of_program(frame: types.FrameType, number: int) -> str:
    """A line that `frame` ran; empty where it belongs to PyTorch, this package or copying."""
    code = frame.f_code
    if os.path.abspath(code.co_filename).startswith(_NOT_THE_PROGRAM):
        return ""
    return f"{os.path.basename(code.co_filename)}({number}): {code.co_name}"
