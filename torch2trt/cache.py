"""Engines on disk, shared by processes: one builds, the others wait and load."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import container
from .container import EngineFileError
from .files import locked, remove_leftovers

log = logging.getLogger("torch2trt.cache")
_KEY = "key"  # in the description of an entry: what it is an entry for


def default_folder() -> Path:
    """``$TORCH2TRT_CACHE``, else ``torch2trt`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    chosen = os.environ.get("TORCH2TRT_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch2trt"


def cache_key(*parts: str) -> str:
    """The name of a cache entry, from texts that say all that matters."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


class EngineCache:
    """A folder of engine files by key.

    Entries are written whole or not at all. A damaged entry, a full disk or a folder that cannot be
    written costs a build and a warning, never an error.

    Args:
        folder: by default ``default_folder()``.
        max_bytes: what the entries may take together; the least recently used ones are removed.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, max_bytes: int = 10 * 1024**3
    ) -> None:
        self.folder = Path(folder) if folder is not None else default_folder()
        self.max_bytes = max_bytes

    def path(self, key: str) -> Path:
        """Where an entry lies, or would lie."""
        return self.folder / f"{key}.engine"

    def timing_cache(self, name: str) -> Path:
        """Where TensorRT's kernel timings for a library and GPU lie."""
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"timings-{cache_key(name)[:16]}.cache"

    def load_or_build(
        self, key: str, build: Callable[[], tuple[Mapping[str, Any], Any]]
    ) -> tuple[Mapping[str, Any], Any]:
        """The entry of a key; built and stored if it is not there.

        Args:
            key: from ``cache_key``.
            build: gives the description and the plan; called by one process at a time per key.
        """
        found = self._load(key)
        if found is not None:
            return found
        with contextlib.ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(self.folder / f"{key}.lock"))
            except OSError as error:
                log.warning("the engine cache %s cannot be used: %s", self.folder, error)
                return build()
            found = self._load(key)
            if found is None:
                found = build()
                self._store(key, *found)
        return found

    def remember(self, program: str, key: str, note: Mapping[str, Any]) -> None:
        """Let ``recall`` find the entry of `key`, if it is there, by the key of a program.

        Args:
            program: from ``recall.program_key``.
            key: of the entry.
            note: JSON values that ``recall`` gives back.
        """
        if not self.path(key).exists():
            return
        try:
            container.write(self._alias(program), {_KEY: program, "entry": key, "note": note}, b"")
        except OSError as error:
            log.warning("the engine cache %s was not told of a program: %s", self.folder, error)

    def recall(
        self, program: str
    ) -> tuple[Mapping[str, Any], tuple[Mapping[str, Any], Any]] | None:
        """The note and the entry of a program that was remembered, if it is there."""
        alias = self._alias(program)
        try:
            said, _ = container.read(alias, _KEY, "entry", "note")
            os.utime(alias)
        except FileNotFoundError:
            return None
        except (EngineFileError, OSError) as error:
            log.warning("the engine cache is asked in the long way: %s", error)
            return None
        found = self._load(said["entry"]) if said[_KEY] == program else None
        return None if found is None else (said["note"], found)

    def _alias(self, program: str) -> Path:
        return self.folder / f"{program}.alias"

    def discard(self, key: str) -> None:
        """Remove an entry, if it is there."""
        try:
            self.path(key).unlink(missing_ok=True)
        except OSError as error:
            log.warning("the cache entry %s cannot be removed: %s", self.path(key), error)

    def _load(self, key: str) -> tuple[Mapping[str, Any], Any] | None:
        path = self.path(key)
        try:
            description, plan = container.read(path)
            made_for = description.pop(_KEY, None)
            if made_for != key:
                raise EngineFileError(f"{path} was made for the key {made_for}, expected {key}")
            os.utime(path)
        except FileNotFoundError:
            return None
        except (EngineFileError, OSError) as error:
            log.warning("engine cache entry is not used and will be built again: %s", error)
            return None
        return description, plan

    def _store(self, key: str, description: Mapping[str, Any], plan: Any) -> None:
        try:
            container.write(self.path(key), {**description, _KEY: key}, plan)
            self._shrink(keep=self.path(key))
        except OSError as error:
            log.warning("the engine was not stored in the cache %s: %s", self.folder, error)

    def _shrink(self, keep: Path) -> None:
        remove_leftovers(self.folder)
        entries = []
        for path in (*self.folder.glob("*.engine"), *self.folder.glob("*.alias")):
            with contextlib.suppress(FileNotFoundError):
                entries.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.max_bytes:
                break
            if path != keep:
                path.unlink(missing_ok=True)
                total -= size
