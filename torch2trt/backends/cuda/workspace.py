"""Memory between the kernels of one function, as arguments.

TVM's own pool would share it between programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx


@dataclass(frozen=True)
class Space:
    """A buffer that a function needs besides its arguments."""

    shape: tuple[int, ...]
    dtype: str


def hoist(mod: Any) -> tuple[Any, dict[str, list[Space]]]:
    """The functions with their global buffers as further arguments.

    And these by the function's name.
    """
    spaces: dict[str, list[Space]] = {}
    for gvar, func in list(mod.functions_items()):
        if isinstance(func, tirx.PrimFunc):
            mod[gvar], spaces[gvar.name_hint] = _hoisted(func)
    return mod, spaces


def _hoisted(func: Any) -> tuple[Any, list[Space]]:
    root = func.body.block if hasattr(func.body, "block") else None
    if root is None:
        return func, []
    moved = [b for b in root.alloc_buffers if b.scope() == "global" and _static(b)]
    if not moved:
        return func, []
    kept = [b for b in root.alloc_buffers if not any(b.same_as(m) for m in moved)]
    block = type(root)(
        root.iter_vars, root.reads, root.writes, root.name_hint, root.body, root.init, kept,
        root.match_buffers, root.annotations,
    )  # fmt: skip
    body = type(func.body)(func.body.iter_values, func.body.predicate, block)
    made = tirx.PrimFunc([*func.params, *moved], body, func.ret_type, func.attrs)
    return made, [Space(tuple(int(d) for d in b.shape), str(b.dtype)) for b in moved]


def _static(buffer: Any) -> bool:
    return all(isinstance(d, (int, tirx.IntImm)) for d in buffer.shape)
