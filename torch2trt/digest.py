"""SHA-256 of large buffers, computed by several threads."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_PIECE = 4 << 20
_THREADS = min(8, os.cpu_count() or 1)
Item = TypeVar("Item")


def tree_digest(buffers: Iterable[Any]) -> bytes:
    """One digest of several buffers and of where each ends.

    It is the SHA-256 of the sizes of the buffers, each followed by the SHA-256 of its pieces of
    4 MiB.

    Args:
        buffers: bytes-like objects; they are asked for one after another while others are hashed.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = []
        for buffer in buffers:
            view = memoryview(buffer).cast("B")
            pieces = [view[a:b] for a, b in pieces_of(view.nbytes)]
            digests.append((view.nbytes, [pool.submit(sha256, piece) for piece in pieces]))
        return join_digests((n, [f.result() for f in found]) for n, found in digests)


def in_threads(work: Callable[[Item], bytes], items: Iterable[Item]) -> list[bytes]:
    """What `work` gives for each item; it should let others run while it computes."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, items))


def join_digests(found: Iterable[tuple[int, list[bytes]]]) -> bytes:
    """The ``tree_digest`` of buffers given by their sizes and the digests of their pieces."""
    digest = hashlib.sha256()
    for size, pieces in found:
        digest.update(size.to_bytes(8, "little"))
        digest.update(b"".join(pieces))
    return digest.digest()


def pieces_of(size: int) -> Iterator[tuple[int, int]]:
    """Where the pieces of a buffer begin and end."""
    return ((start, min(start + _PIECE, size)) for start in range(0, size, _PIECE))


def sha256(piece: Any) -> bytes:
    """The SHA-256 of one buffer."""
    return hashlib.sha256(piece).digest()
