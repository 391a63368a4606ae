"""The engine file: one serialised engine with a description, readable without TensorRT and without
a GPU.

Layout, integers little-endian: 8 bytes magic ``T2TRTENG``; uint32 format number, 1; uint64 length
of the description; the description, UTF-8 JSON; uint64 length of the plan; the plan as TensorRT
serialised it; 32 bytes SHA-256 of all before.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from typing import Any

from .errors import Torch2TrtError
from .files import write_atomic

_MAGIC = b"T2TRTENG"
_FORMAT = 1
_HEAD = struct.Struct("<8sIQ")
_LENGTH = struct.Struct("<Q")


class EngineFileError(Torch2TrtError):
    """An engine file is damaged, is none, or was made for another TensorRT or GPU."""


def write(path: str | os.PathLike[str], description: Mapping[str, Any], plan: Any) -> None:
    """Write an engine file, as a whole or not at all.

    Args:
        path: where; a file there is replaced.
        description: anything JSON holds.
        plan: a bytes-like object.
    """
    text = json.dumps(description, sort_keys=True).encode()
    plan = memoryview(plan).cast("B")
    parts = [_HEAD.pack(_MAGIC, _FORMAT, len(text)), text, _LENGTH.pack(plan.nbytes), plan]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    write_atomic(path, [*parts, digest.digest()])


def read(path: str | os.PathLike[str], *fields: str) -> tuple[dict[str, Any], memoryview]:
    """Read an engine file back: its description and its plan.

    Args:
        path: the file.
        *fields: what the description must have.

    Raises:
        EngineFileError: not an engine file, of another format, cut short, changed since it was
            written, or without one of the fields.
    """
    with open(path, "rb") as file:
        data = memoryview(file.read())
    name = os.fspath(path)
    if len(data) < _HEAD.size or bytes(data[:8]) != _MAGIC:
        raise EngineFileError(f"{name} is not a torch2trt engine file")
    _, number, text_size = _HEAD.unpack_from(data)
    if number != _FORMAT:
        raise EngineFileError(f"{name} has file format {number}, expected {_FORMAT}")
    start = _HEAD.size + text_size + _LENGTH.size
    size = _LENGTH.unpack_from(data, start - _LENGTH.size)[0] if start <= len(data) else 0
    if len(data) != start + size + 32:
        raise EngineFileError(
            f"{name} is damaged: it has {len(data)} bytes, expected {start + size + 32}"
        )
    if hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise EngineFileError(f"{name} is damaged: its checksum does not match its content")
    description = json.loads(bytes(data[_HEAD.size : _HEAD.size + text_size]))
    if not isinstance(description, dict):
        description = {}
    missing = [field for field in fields if field not in description]
    if missing:
        raise EngineFileError(f"{name} describes no engine: it does not say {', '.join(missing)}")
    return description, data[start:-32]
