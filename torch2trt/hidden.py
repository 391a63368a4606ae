"""What a program uses and does not own: modules and tensors in closures, lists and globals."""

from __future__ import annotations

import dis
import types
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from itertools import chain
from typing import Any

import torch
from torch import nn

_OF_MODULES = {"_parameters", "_buffers", "_modules", "_compiled"}  # known to be the module's
_PLAIN = {type(None), bool, int, float, complex, str, bytes}
_HOLDERS = (list, tuple, set, dict, types.FunctionType, types.MethodType, partial)


def hidden(program: Any) -> list[tuple[str, Any]]:
    """The modules and tensors that a program can reach and that are no part of it, by name.

    They are looked for in closures, default arguments, partial functions, bound methods, hooks,
    lists, tuples, sets and dicts, and among the globals that the user's functions name.

    Args:
        program: an ``nn.Module`` or anything that can be called.
    """
    search = _Search()
    if isinstance(program, nn.Module):
        search.inside(program)
    else:
        search.look("function", program)
    return search.found


class _Search:
    def __init__(self) -> None:
        self.found: list[tuple[str, Any]] = []
        self._seen: dict[int, Any] = {}

    def inside(self, module: nn.Module) -> None:
        """Look at what the modules in `module` hold and use; they themselves are known."""
        for part in [m for m in module.modules() if self._is_new(m)]:
            for name, value in part.__dict__.items():
                if name not in _OF_MODULES and not isinstance(value, torch.Tensor):
                    self.look(name, value)
            if not type(part).__module__.startswith("torch."):
                self.look("forward", getattr(type(part), "forward", None))

    def look(self, name: str, value: Any) -> None:
        """Note a module or tensor; look into what may hold some."""
        if isinstance(value, nn.Module):
            if id(value) not in self._seen:
                self.found.append((name, value))
                self.inside(value)
        elif isinstance(value, torch.Tensor):
            if self._is_new(value):
                self.found.append((name, value))
        elif isinstance(value, _HOLDERS) and self._is_new(value):
            for inner, item in _held(name, value):
                self.look(inner, item)

    def _is_new(self, value: Any) -> bool:
        is_new = id(value) not in self._seen
        self._seen[id(value)] = value
        return is_new


def _held(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((name, item) for item in _not_plain(value.values()))
    elif isinstance(value, types.FunctionType):
        yield from _used(value)
    elif isinstance(value, types.MethodType):
        yield from ((name, value.__func__), ("owner", value.__self__))
    elif isinstance(value, partial):
        items = (value.func, *value.args, *value.keywords.values())
        yield from ((name, item) for item in items)
    else:
        yield from ((name, item) for item in _not_plain(value))


def _not_plain(items: Iterable[Any]) -> list[Any]:
    return [item for item in items if type(item) not in _PLAIN]


def _used(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function has in its closure, its defaults, and names among its globals."""
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or ()):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    defaults = chain(function.__defaults__ or (), (function.__kwdefaults__ or {}).values())
    yield from (("default", value) for value in defaults)
    for name in _names(code):
        value = function.__globals__.get(name)
        is_own = isinstance(value, types.FunctionType) and value.__module__ == function.__module__
        if is_own or isinstance(value, (nn.Module, torch.Tensor)):
            yield name, value


@lru_cache(maxsize=1024)
def _names(code: types.CodeType) -> frozenset[str]:
    """The names of globals that a function and the functions in it read."""
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    own = (i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL")
    return frozenset(own).union(*map(_names, inner))
