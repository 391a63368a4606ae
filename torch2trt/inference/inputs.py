"""Are these the inputs that the engine expects? If not, which one, and what was expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..engine import Engine, TensorSpec, cuda_index
from ..errors import InputMismatchError


def as_engine(context: Any, device: Any = None) -> tuple[Engine, Any]:
    """The engine and the execution context, if one was given, of what a user passed.

    Args:
        context: an ``Engine``, a ``tensorrt.ICudaEngine`` or a ``tensorrt.IExecutionContext``.
        device: the CUDA device of a TensorRT object, by default the current one.
    """
    if isinstance(context, Engine):
        if device is not None and cuda_index(device) != context.device:
            raise InputMismatchError(f"device: got {device}, the engine is on {context.device}")
        return context, None
    if hasattr(context, "create_execution_context"):
        return Engine(context, cuda_index(device)), None
    if context is None or not hasattr(context, "engine"):
        raise InputMismatchError(
            f"got {type(context).__name__}, expected a TensorRT execution context or engine"
        )
    return Engine(context.engine, cuda_index(device)), context


def in_order(
    specs: Sequence[TensorSpec], args: Sequence[Any], named: Mapping[str, Any]
) -> list[Any]:
    """Positional and named inputs in the order of the engine's inputs.

    Raises:
        InputMismatchError: too many, too few, unknown or given twice.
    """
    names = [spec.name for spec in specs]
    unknown = [name for name in named if name not in names]
    twice = [name for name in names[: len(args)] if name in named]
    missing = [name for name in names[len(args) :] if name not in named]
    if len(args) > len(names) or unknown or twice or missing:
        problem = ", ".join(
            f"{what} {which}"
            for what, which in (("unknown", unknown), ("given twice", twice), ("missing", missing))
            if which
        )
        raise InputMismatchError(
            f"got {len(args)} positional inputs and {sorted(named)} by name, expected {len(names)}:"
            f" {', '.join(names)}" + (f" ({problem})" if problem else "")
        )
    return [*args, *(named[name] for name in names[len(args) :])]


def profile_of(specs: Sequence[TensorSpec], shapes: Sequence[Sequence[int]]) -> int:
    """The first optimization profile that all shapes fit.

    Raises:
        InputMismatchError: none fits; names the input, the dimension and its range.
    """
    count = max((len(spec.ranges) for spec in specs), default=0) or 1
    problems: list[str] = []
    for profile in range(count):
        problems = [p for s, n in zip(specs, shapes) for p in _misfits(s, tuple(n), profile)]
        if not problems:
            return profile
    raise InputMismatchError(
        "; ".join(problems) + (f" (nor any other of {count} profiles)" if count > 1 else "")
    )


def _misfits(spec: TensorSpec, shape: tuple[int, ...], profile: int) -> list[str]:
    if len(shape) != len(spec.shape):
        return [
            f"input {spec.name!r}: got shape {shape}, expected {len(spec.shape)} dimensions"
            f" {spec.shape}"
        ]
    for axis, (size, static) in enumerate(zip(shape, spec.shape)):
        if static >= 0 and size != static:
            return [
                f"input {spec.name!r}: got shape {shape}, expected {spec.shape} (dimension {axis})"
            ]
        if static < 0 and profile < len(spec.ranges):
            low, _, high = spec.ranges[profile]
            if not low[axis] <= size <= high[axis]:
                return [
                    f"input {spec.name!r}: got shape {shape}, expected dimension {axis}"
                    f" between {low[axis]} and {high[axis]}"
                ]
    return []
