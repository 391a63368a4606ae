"""Arguments that are no tensors: what they hold is a constant of the program."""

from __future__ import annotations

import dataclasses
import types
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
import torch

from .errors import InputMismatchError

_BY_TEXT = (
    type(None), bool, int, float, complex, str, bytes, slice, range, type(...), Enum, np.generic,
    np.dtype, torch.dtype, torch.device, torch.layout, torch.memory_format,
)  # fmt: skip
_BY_IDENTITY = (
    type, types.FunctionType, types.BuiltinFunctionType, torch.Generator,
)  # fmt: skip


def fixed_key(value: Any, position: int) -> Any:
    """What a program for this argument is found by: equal for values that mean the same only.

    Raises:
        InputMismatchError: an object whose contents may change without a trace, or hold tensors.
    """
    if isinstance(value, _BY_TEXT):
        return type(value), repr(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return np.ndarray, value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, types.MethodType):
        return value.__func__, fixed_key(value.__self__, position)
    if isinstance(value, _BY_IDENTITY):
        return value
    if isinstance(value, partial):
        parts = value.func, value.args, tuple(value.keywords.items())
        return partial, tuple(fixed_key(part, position) for part in parts)
    if isinstance(value, (tuple, list)):
        return type(value), tuple(fixed_key(item, position) for item in value)
    if dataclasses.is_dataclass(value):
        fields = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return type(value), tuple(fixed_key(field, position) for field in fields)
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    raise InputMismatchError(
        f"input {position}: got a {kind}, expected tensors and plain values, in tuples, lists and"
        " dicts: what another object holds would be a constant of the program. Pass the tensors"
        " themselves, or register the class with torch.utils._pytree.register_pytree_node"
    )


def same_value(value: Any, other: Any) -> bool:
    """Whether two arguments mean the same to a program."""
    try:
        return fixed_key(value, 0) == fixed_key(other, 0)
    except InputMismatchError:
        return bool(value == other)
