"""The exceptions of torch2trt. Messages say what happened, what was got and expected, and where."""

from __future__ import annotations

from collections.abc import Sequence


class Torch2TrtError(Exception):
    """Base class of everything torch2trt raises on purpose."""


class ConversionError(Torch2TrtError):
    """A traced program could not be turned into a network of the active backend."""


class UnsupportedOpError(ConversionError):
    """A node, or an argument of a node, has no exact counterpart on the active backend.

    Attributes:
        reasons: one line per refused node: kind, reason, module path and source line.
    """

    def __init__(self, message: str, reasons: Sequence[str] = ()):
        super().__init__("\n  ".join([message, *reasons]))
        self.reasons = tuple(reasons)


class BackendUnavailableError(Torch2TrtError):
    """An optional package, or the hardware a backend needs, is missing."""


class EngineBuildError(Torch2TrtError):
    """TensorRT or TVM refused to compile a network that was defined without an error."""


class InputMismatchError(Torch2TrtError, ValueError):
    """An input does not fit: its number, name, shape, dtype or device."""
