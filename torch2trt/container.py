"""The engine file: an engine with a description that is read without TensorRT and GPU.

Layout, integers little-endian: 8 bytes magic ``T2TRTENG``; uint32 format number, 2; uint64 length
of the description; the description, UTF-8 JSON; uint64 length of the plan; the plan as TensorRT
serialised it; 32 bytes ``tree_digest`` of two buffers: the plan, and all that comes before it.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from .digest import in_threads, join_digests, pieces_of, sha256, tree_digest
from .errors import Torch2TrtError
from .files import write_atomic

_MAGIC = b"T2TRTENG"
_FORMAT = 2
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
    head = _HEAD.pack(_MAGIC, _FORMAT, len(text)) + text + _LENGTH.pack(plan.nbytes)
    write_atomic(path, [head, plan, tree_digest([plan, head])])


def read(path: str | os.PathLike[str], *fields: str) -> tuple[dict[str, Any], memoryview]:
    """Read an engine file back: its description and its plan.

    Args:
        path: the file.
        *fields: what the description must have.

    Raises:
        EngineFileError: not an engine file, of another format, cut short, changed since it was
            written, or without one of the fields.
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        head, size = _read_head(file, name)
        plan, digests = _read_plan(file.fileno(), len(head), size)
        file.seek(len(head) + size)
        before = [sha256(head[first:end]) for first, end in pieces_of(len(head))]
        if join_digests([(size, digests), (len(head), before)]) != file.read():
            raise EngineFileError(f"{name} is damaged: its checksum does not match its content")
    description = json.loads(head[_HEAD.size : -_LENGTH.size])
    if not isinstance(description, dict):
        description = {}
    missing = [field for field in fields if field not in description]
    if missing:
        raise EngineFileError(f"{name} describes no engine: it does not say {', '.join(missing)}")
    return description, plan


def _read_head(file: BinaryIO, name: str) -> tuple[bytes, int]:
    """All before the plan, and the size of the plan."""
    total = os.fstat(file.fileno()).st_size
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size or head[:8] != _MAGIC:
        raise EngineFileError(f"{name} is not a torch2trt engine file")
    _, number, text_size = _HEAD.unpack(head)
    if number != _FORMAT:
        raise EngineFileError(f"{name} has file format {number}, expected {_FORMAT}")
    start = _HEAD.size + text_size + _LENGTH.size
    head += file.read(start - _HEAD.size) if start <= total else b""
    size = _LENGTH.unpack_from(head, start - _LENGTH.size)[0] if start == len(head) else 0
    if total != start + size + 32:
        raise EngineFileError(
            f"{name} is damaged: it has {total} bytes, expected {start + size + 32}"
        )
    return head, size


def _read_plan(descriptor: int, start: int, size: int) -> tuple[memoryview, list[bytes]]:
    """The plan, and the digests of its pieces, which several threads read."""
    plan = memoryview(np.empty(size, np.uint8))

    def piece(ends: tuple[int, int]) -> bytes:
        first, end = ends
        while first < end:
            count = os.preadv(descriptor, [plan[first:end]], start + first)
            if not count:  # cut short meanwhile
                return b""
            first += count
        return sha256(plan[ends[0] : end])

    return plan.toreadonly(), in_threads(piece, pieces_of(size))
