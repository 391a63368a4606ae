"""A key for a traced program and its weights, made without a network definition.

It holds all that a definition is made from, so that programs of one key give one definition: the
graph with its literals and source lines, the values of the weights, the code of this package, the
versions of the libraries and PyTorch's settings.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from .cache import cache_key
from .definition import tensor_bytes
from .digest import tree_digest
from .graph import Graph, Node, Value
from .registry import user_handler

_IMPORTED = time.time()
_PLAIN = frozenset((type(None), bool, int, float, complex, str, torch.dtype, torch.device))
_FOLDER = Path(__file__).parent


class _Unknown(Exception):
    """Something takes part whose content has no text."""


def program_key(graph: Graph, attribute: Callable[[str], Any], *parts: str) -> str | None:
    """A key of a program; None where it has none, and its definition must be made to know it.

    Args:
        graph: what is emitted.
        attribute: gives the parameter or buffer at a path.
        *parts: what else the key depends on.
    """
    if any(user_handler(node.kind, node.overload) is not None for node in graph.nodes):
        return None
    tensors: list[torch.Tensor] = []
    try:
        text = "\n".join(_lines(graph, attribute, tensors))
        place = _surroundings()
    except _Unknown:
        return None
    weights = tree_digest(map(tensor_bytes, tensors)).hex()
    return cache_key(place, text, weights, *parts)


def _lines(
    graph: Graph, attribute: Callable[[str], Any], tensors: list[torch.Tensor]
) -> Iterator[str]:
    """The graph as text, its values numbered; what tensors hold is left to `tensors`."""
    numbers: dict[str, int] = {}

    def known(value: Value) -> str:
        return str(numbers[value.name])

    def new(value: Value) -> str:
        numbers[value.name] = len(numbers)
        return f"{value.type} {value.shape} {value.dtype} {value.strides}"

    yield "; ".join(map(new, graph.inputs))
    for node in graph.nodes:
        inputs = " ".join(map(known, node.inputs))
        values = dict(_contents(node, attribute))
        content = {name: _text(value, tensors) for name, value in values.items()}
        place = f"{node.scope!r} {node.module!r} {node.source!r} {node.mutates} {node.views}"
        yield f"{node.name} {place} ({inputs}) {content} -> {'; '.join(map(new, node.outputs))}"
    yield " ".join(map(known, graph.outputs))


def _contents(node: Node, attribute: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
    yield from node.attributes.items()
    if node.kind == "prim::GetAttr":
        yield "content", attribute(node.attributes["name"])


def _text(value: Any, tensors: list[torch.Tensor]) -> str:
    if isinstance(value, torch.Tensor):
        if type(value) not in (torch.Tensor, torch.nn.Parameter):
            raise _Unknown
        if value.layout != torch.strided or value.is_quantized or value.is_conj() or value.is_neg():
            raise _Unknown
        tensors.append(value)
        return f"tensor {value.dtype} {tuple(value.shape)} {value.device.type}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}{[_text(v, tensors) for v in value]}"
    if type(value) not in _PLAIN:
        raise _Unknown
    return f"{type(value).__name__} {value!r}"


def _surroundings() -> str:
    """The code that makes definitions, and PyTorch's settings that constants are folded under."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    try:
        settings = (cudnn.allow_tf32, matmul.allow_tf32, torch.get_float32_matmul_precision())
    except RuntimeError as error:  # set in ways that PyTorch does not mix
        raise _Unknown from error
    return f"{torch.__version__} {torch.get_default_dtype()} {settings} {_code()}"


@functools.cache
def _code() -> str:
    """A digest of this package's source files."""
    paths = sorted(_FOLDER.rglob("*.py"))
    if not paths or any(path.stat().st_mtime >= _IMPORTED for path in paths):
        raise _Unknown  # the code that runs may be another
    named = ((str(p.relative_to(_FOLDER)).encode(), p.read_bytes()) for p in paths)
    return tree_digest(part for pair in named for part in pair).hex()
