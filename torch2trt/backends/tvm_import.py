"""Importing TVM without the errors that it swallows while it is imported.

TVM asks its library for some hundred operators and types that a build may lack, and goes on where
there are none. Each answer is an exception in C++, with a stack trace for which the symbols and the
debug information of every loaded library are read and kept: half of the time and of the memory of
the import. Here these questions are answered before they reach the library.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any


def import_tvm() -> ModuleType:
    """The ``tvm`` package.

    Raises:
        ImportError: it is not installed, or lacks something.
    """
    if "tvm" in sys.modules:
        return importlib.import_module("tvm")
    watcher = _Watcher()
    sys.meta_path.insert(0, watcher)
    try:
        return importlib.import_module("tvm")
    finally:
        sys.meta_path.remove(watcher)
        watcher.undo()


class _Watcher:
    """Told of each module before it is imported; finds none itself."""

    def __init__(self) -> None:
        self._changes: list[tuple[Any, str, Any]] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "tvm.runtime.disco" and not _has_function("runtime.disco.SessionThreaded"):
            raise ImportError("this build of TVM has no disco")
        if name == "tvm.tirx":
            # another release may have other names; it is then imported as it is
            with suppress(ImportError, AttributeError):
                self._answer_for(sys.modules["tvm.ir"])

    def _answer_for(self, ir: ModuleType) -> None:
        names, get = ir.Op.list_op_names, ir.Op.get
        names()
        self._change(ir.Op, "get", staticmethod(_asked(get, names)))
        self._change(ir, "register_op_attr", _new(ir.register_op_attr, get))

    def _change(self, owner: Any, name: str, value: Any) -> None:
        self._changes.append((owner, name, vars(owner)[name]))
        setattr(owner, name, value)

    def undo(self) -> None:
        for owner, name, value in reversed(self._changes):
            setattr(owner, name, value)


def _has_function(name: str) -> bool:
    import tvm_ffi

    return tvm_ffi.get_global_func(name, allow_missing=True) is not None


def _asked(get: Callable[[str], Any], names: Callable[[], Any]) -> Callable[[str], Any]:
    """``Op.get`` that looks whether there is such an operator."""

    known: set[str] = set()

    def careful(op_name: str) -> Any:
        if len(names()) != len(known):  # operators are added, never removed
            known.update(map(str, names()))
        if op_name not in known:
            raise AttributeError(f"Operator {op_name} is not registered")
        return get(op_name)

    return careful


def _new(register: Callable[..., Any], get: Callable[[str], Any]) -> Callable[..., Any]:
    """``register_op_attr`` that looks whether the operator is printed under that name already."""

    def careful(op_name: str, attr_key: str, value: Any = None, level: int = 10) -> Any:
        if attr_key == "TScriptPrinterName" and get(op_name).get_attr(attr_key) == value:
            return value
        return register(op_name, attr_key, value, level)

    return careful
