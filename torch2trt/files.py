"""Files that several processes share: written whole or not at all, and locked."""

from __future__ import annotations

import contextlib
import glob
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def write_atomic(path: str | os.PathLike[str], parts: Iterable[Any]) -> None:
    """Write byte buffers one after another to `path`, which is either replaced as a whole or left
    as it was.

    What a process that was killed while it wrote the same file left behind is removed.

    Raises:
        OSError: the disk is full, or the folder cannot be written; no part of the file stays
            behind. Its ``filename`` is `path`.
    """
    target = Path(path)
    try:
        remove_leftovers(target.parent, target.name)
        temporary, handle = _create_temporary(target)
        try:
            with os.fdopen(handle, "wb") as file:
                for part in parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
    except OSError as error:
        error.filename = os.fspath(path)
        del error.filename2  # None would be printed
        raise


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove the temporary files of writers that are gone.

    Args:
        folder: where to look.
        name: the file that was to be written; None for any.
    """
    for leftover in folder.glob(f".{'*' if name is None else glob.escape(name)}.*.tmp"):
        with contextlib.suppress(OSError):  # somebody else removed it
            descriptor = os.open(leftover, os.O_RDWR | os.O_CLOEXEC)
            try:
                if _lock(descriptor, wait=False):
                    os.unlink(leftover)
            finally:
                os.close(descriptor)


def _create_temporary(target: Path) -> tuple[Path, int]:
    """A new file beside `target`, locked to show that its writer lives."""
    while True:
        temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o666)
        _lock(descriptor, wait=True)
        if os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)  # taken for a leftover before it was locked


def _lock(descriptor: int, wait: bool) -> bool:
    """Lock an open file until it is closed; False where another holds it or files have no locks."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (ImportError, OSError):
        return False
    return True


@contextlib.contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the exclusive lock file `path`; other processes and threads wait.

    The lock ends with its process.
    """
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
