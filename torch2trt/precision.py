"""Reduced precision as part of the program: a graph with casts, the same on every backend.

Matrix products, convolutions and attention compute in the lower type. What only moves, adds or
scales values follows the type its inputs already have. All else (softmax, norms, reductions, exp,
pow, log, division, ...) stays in float32, where it does not overflow. A batch norm is folded into
the convolution before it first: weights are rounded once, and not as factors of a product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from .builder import GraphBuilder
from .errors import ConversionError
from .fold import fold_batch_norm
from .graph import Graph, Node, Value

_COMPUTE = frozenset(
    f"aten::{name}"
    for name in (
        "_convolution convolution conv1d conv2d conv3d conv_transpose1d conv_transpose2d"
        " conv_transpose3d linear addmm matmul mm bmm baddbmm mv addmv dot"
        " scaled_dot_product_attention"
    ).split()
)
_FOLLOW = frozenset(
    f"aten::{name}"
    for name in (
        "abs add adaptive_max_pool1d adaptive_max_pool2d alias avg_pool1d avg_pool2d avg_pool3d"
        " batch_norm cat celu chunk clamp clamp_max clamp_min clone concat constant_pad_nd"
        " contiguous cos detach dropout elu expand expand_as feature_dropout flatten flip"
        " gelu hardsigmoid hardswish hardtanh index_select leaky_relu max_pool1d max_pool2d"
        " max_pool3d maximum minimum mish movedim mul narrow neg pad permute pixel_shuffle"
        " pixel_unshuffle prelu reflection_pad1d reflection_pad2d relu relu6 repeat"
        " replication_pad1d replication_pad2d reshape roll select selu sigmoid silu sin slice"
        " split split_with_sizes squeeze stack sub swapaxes t tanh tile transpose unbind unflatten"
        " unsqueeze upsample_bicubic2d upsample_bilinear2d upsample_linear1d upsample_nearest1d"
        " upsample_nearest2d view view_as"
    ).split()
)


def lower_precision(
    graph: Graph,
    dtype: torch.dtype,
    attribute: Callable[[str], Any],
    overrides: Mapping[str, torch.dtype] | None = None,
    exact: int = 0,
) -> Graph:
    """The graph computing in `dtype` where that is safe; inputs and outputs keep their types.

    Only float32 values are concerned; what the program itself computes in another type stays.

    Args:
        graph: a functional graph.
        dtype: torch.float16 or torch.bfloat16; torch.float32 with `overrides`.
        attribute: gives the parameter or buffer at a path.
        overrides: the type of certain nodes: by kind ("aten::softmax"), or by module path
            ("layer1.0", with all below it), which counts more the longer it is.
        exact: how many products and convolutions, from the first on, stay in float32.

    Raises:
        ConversionError: a type that is none of the three.
    """
    for kind in (dtype, *(overrides or {}).values()):
        if kind not in (torch.float16, torch.bfloat16, torch.float32):
            raise ConversionError(f"dtype: got {kind}, expected float32, float16 or bfloat16")
    return _Pass(graph, dtype, attribute, overrides or {}, exact).run()


def products(graph: Graph) -> int:
    """How many nodes ``lower_precision`` computes in the lower type."""
    return sum(node.kind in _COMPUTE for node in graph.nodes)


class _Pass:
    def __init__(
        self,
        graph: Graph,
        dtype: torch.dtype,
        attribute: Callable[[str], Any],
        overrides: Mapping[str, torch.dtype],
        exact: int,
    ):
        self.exact = exact
        self.dtype = dtype
        self.attribute = attribute
        self.kinds = {k: v for k, v in overrides.items() if "::" in k}
        self.modules = sorted(
            ((k, v) for k, v in overrides.items() if "::" not in k), key=lambda item: -len(item[0])
        )
        self.graph = fold_batch_norm(graph, self._same_override)
        self.builder = GraphBuilder(self.graph)
        self.held: dict[str, dict[torch.dtype, Value]] = {}  # float values by name, in each type
        self.fixed: set[str] = set()  # values that do not depend on an input
        self.lists: dict[str, Node] = {}
        self.parts: dict[str, torch.dtype | None] = {}  # the type of what a list value holds

    def run(self) -> Graph:
        for value in self.graph.inputs:
            self._hold(value, value)
        for node in self.graph.nodes:
            self.builder.node = node
            self._node(node)
        outputs = tuple(self._as(v, torch.float32) for v in self.graph.outputs)
        return Graph(self.graph.inputs, outputs, tuple(self.builder.nodes)).without_dead_nodes()

    def _hold(self, original: Value, value: Value) -> None:
        if value.type == "Tensor" and value.dtype is not None and value.dtype.is_floating_point:
            if original.dtype == torch.float32:
                self.held[original.name] = {value.dtype: value}

    def _node(self, node: Node) -> None:
        if node.kind in ("prim::ListConstruct", "prim::TupleConstruct"):
            if any(v.name in self.held for v in node.inputs):
                self.lists[node.outputs[0].name] = node
                return
        if node.kind == "prim::GetAttr":
            node = self._parameter(node)
        elif all(v.name in self.fixed for v in self._leaves(node)):
            self.fixed.update(v.name for v in node.outputs)
        floats = [v for v in self._leaves(node) if v.name in self.held]
        wanted = self._wanted(node, floats) if floats else None
        if node.kind == "prim::ListUnpack":
            wanted = self.parts.get(node.inputs[0].name)
        self.parts.update((v.name, wanted) for v in node.outputs if v.type != "Tensor")
        others = torch.float32 if node.kind == "aten::batch_norm" else wanted  # its statistics
        inputs = tuple(self._as(v, others if i else wanted) for i, v in enumerate(node.inputs))
        outputs = tuple(
            replace(v, dtype=wanted) if wanted and v.dtype == torch.float32 else v
            for v in node.outputs
        )
        self.builder.nodes.append(replace(node, inputs=inputs, outputs=outputs))
        for original, value in zip(node.outputs, outputs):
            self._hold(original, value)

    def _parameter(self, node: Node) -> Node:
        """The node with the dtype of its parameter, which the trace does not always record."""
        value = self.attribute(node.attributes["name"])
        self.fixed.update(v.name for v in node.outputs)
        if not isinstance(value, torch.Tensor):
            return node
        return replace(node, outputs=(replace(node.outputs[0], dtype=value.dtype),))

    def _leaves(self, node: Node) -> list[Value]:
        leaves = []
        for value in node.inputs:
            inner = self.lists.get(value.name)
            leaves += self._leaves(inner) if inner is not None else [value]
        return leaves

    def _override(self, node: Node) -> torch.dtype | None:
        """The type that the user asked for."""
        for path, dtype in self.modules:
            if node.module == path or node.module.startswith(f"{path}."):
                return dtype if self._may_lower(node) else torch.float32
        return self.kinds.get(node.kind)

    def _same_override(self, conv: Node, norm: Node) -> bool:
        return self._override(conv) == self._override(norm)

    def _wanted(self, node: Node, floats: list[Value]) -> torch.dtype:
        asked = self._override(node)
        if asked is not None:
            return asked
        if node.kind in _COMPUTE:
            self.exact -= 1
            return self.dtype if self.exact < 0 else torch.float32
        if not self._may_lower(node):
            return torch.float32
        moving = [v for v in floats if v.name not in self.fixed] or floats
        lowest = {min(self.held[v.name], key=_width) for v in moving}
        return lowest.pop() if len(lowest) == 1 else torch.float32

    def _may_lower(self, node: Node) -> bool:
        return node.kind.removesuffix("_") in _FOLLOW or node.kind in _COMPUTE

    def _as(self, value: Value, dtype: torch.dtype | None) -> Value:
        if value.name in self.lists:
            inner = self.lists[value.name]
            elements = tuple(self._as(v, dtype or torch.float32) for v in inner.inputs)
            return self.builder.emit(inner.kind, inner.overload, elements, value)
        versions = self.held.get(value.name)
        if versions is None:
            return value
        dtype = dtype or torch.float32
        if dtype not in versions:
            source = next(iter(versions.values()))
            arguments = (source, *map(self.builder.constant, (_code(dtype), False, False, None)))
            versions[dtype] = self.builder.emit(
                "aten::to", "dtype", arguments, replace(source, dtype=dtype)
            )
        return versions[dtype]


def _width(dtype: torch.dtype) -> int:
    return dtype.itemsize


def _code(dtype: torch.dtype) -> int:
    """The number by which TorchScript calls a dtype."""
    return {torch.float16: 5, torch.float32: 6, torch.bfloat16: 15}[dtype]
