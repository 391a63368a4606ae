"""Fold batch normalisation with fixed statistics into the convolution before it, as a graph pass.

TensorRT does this by itself, but rounds weights of 16 bits twice; TVM does it slowly or not at all.
The folded weights are nodes of the graph that depend on constants alone, so a walk computes them in
PyTorch and follows the weights of the module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from .builder import GraphBuilder
from .graph import Graph, Node, Value
from .registry import user_handler

_CONVOLUTIONS = (
    "aten::_convolution", "aten::convolution", "aten::conv1d", "aten::conv2d", "aten::conv3d",
)  # fmt: skip
_DOUBLE, _FLOATS = 7, {torch.float32: 6, torch.float16: 5, torch.bfloat16: 15}


def fold_batch_norm(
    graph: Graph, together: Callable[[Node, Node], bool] = lambda conv, norm: True
) -> Graph:
    """`graph` with each ``batch_norm(conv(x, w, b))`` that nothing else reads as one convolution.

    Left alone are batch norms in training mode, transposed convolutions, weights computed from
    inputs, and kinds that a user registered a handler for.

    Args:
        graph: a functional graph.
        together: whether a convolution and its batch norm may become one.
    """
    if user_handler("aten::batch_norm") or any(user_handler(kind) for kind in _CONVOLUTIONS):
        return graph
    norms = {n.outputs[0].name: n for n in graph.nodes if n.kind == "aten::batch_norm"}
    pairs = {name: conv for name, conv in _foldable(graph).items() if together(conv, norms[name])}
    if not pairs:
        return graph
    builder = GraphBuilder(graph)
    folded = {conv.outputs[0].name for conv in pairs.values()}
    for node in graph.nodes:
        if node.outputs and node.outputs[0].name in pairs:
            _emit_folded(builder, pairs[node.outputs[0].name], node)
        elif not node.outputs or node.outputs[0].name not in folded:
            builder.nodes.append(node)
    return graph.with_nodes(builder.nodes).without_dead_nodes()


def _foldable(graph: Graph) -> dict[str, Node]:
    """The convolution of each batch norm that can be folded, by the name of its output."""
    builder = GraphBuilder(graph)
    builder.lists = {n.outputs[0].name: n for n in graph.nodes if n.kind == "prim::ListConstruct"}
    made_by = {v.name: n for n in graph.nodes for v in n.outputs}
    reads = [v.name for n in graph.nodes for v in n.inputs] + [v.name for v in graph.outputs]
    pairs = {}
    for node in graph.nodes:
        if node.kind != "aten::batch_norm" or builder.known(node.inputs[5]) is not False:
            continue
        conv = made_by.get(node.inputs[0].name)
        if conv is None or conv.kind not in _CONVOLUTIONS or reads.count(conv.outputs[0].name) != 1:
            continue
        transposed = "_convolution" in conv.kind and builder.known(conv.inputs[6]) is not False
        constants = [*conv.inputs[1:3], *node.inputs[1:5]]
        output = conv.outputs[0]
        batched = output.dtype in _FLOATS and len(output.shape or ()) > 2
        if batched and not transposed and all(_is_parameter(v, made_by) for v in constants):
            pairs[node.outputs[0].name] = conv
    return pairs


def _is_parameter(value: Value, made_by: dict[str, Node]) -> bool:
    maker = made_by.get(value.name)
    return maker is not None and maker.kind in ("prim::GetAttr", "prim::Constant")


def _emit_folded(builder: GraphBuilder, conv: Node, norm: Node) -> None:
    """The convolution in place of `norm`, with weight * s and (bias - mean) * s + beta.

    These are computed in float64, with s = gamma / sqrt(variance + epsilon).
    """
    builder.node = conv
    wide = _Float64(builder)
    gamma, beta, mean, variance = norm.inputs[1:5]
    scale = wide.unary("rsqrt", wide.sum(variance, norm.inputs[7]))
    scale = scale if wide.is_none(gamma) else wide.binary("mul", scale, wide.of(gamma))
    column = wide.column(conv)
    weight = wide.binary("mul", wide.of(conv.inputs[1]), wide.reshaped(scale, column))
    if wide.is_none(conv.inputs[2]):
        centered = wide.unary("neg", wide.of(mean))
    else:
        centered = wide.binary("sub", wide.of(conv.inputs[2]), wide.of(mean))
    bias = wide.binary("mul", centered, scale)
    bias = bias if wide.is_none(beta) else wide.binary("add", bias, wide.of(beta))
    back = [wide.back(value, conv.outputs[0].dtype) for value in (weight, bias)]
    inputs = (conv.inputs[0], *back, *conv.inputs[3:])
    builder.nodes.append(replace(conv, inputs=inputs, outputs=norm.outputs))


class _Float64:
    """Emits arithmetic of float64 vectors."""

    def __init__(self, builder: GraphBuilder):
        self.builder = builder
        self.like = Value("folded", "Tensor")

    def is_none(self, value: Value) -> bool:
        constants = self.builder.constants
        return value.name in constants and constants[value.name] is None

    def _cast(self, value: Value, code: int, like: Value) -> Value:
        options = tuple(map(self.builder.constant, (code, False, False, None)))
        return self.builder.emit("aten::to", "dtype", (value, *options), like)

    def of(self, value: Value) -> Value:
        return self._cast(value, _DOUBLE, self.like)

    def back(self, value: Value, dtype: torch.dtype) -> Value:
        return self._cast(value, _FLOATS[dtype], replace(self.like, dtype=dtype))

    def unary(self, name: str, value: Value) -> Value:
        return self.builder.emit(f"aten::{name}", "", (value,), self.like)

    def binary(self, name: str, a: Value, b: Value) -> Value:
        extra = () if name == "mul" else (self.builder.constant(1),)
        return self.builder.emit(f"aten::{name}", "Tensor", (a, b, *extra), self.like)

    def sum(self, value: Value, number: Value) -> Value:
        inputs = (self.of(value), number, self.builder.constant(1))
        return self.builder.emit("aten::add", "Scalar", inputs, self.like)

    def column(self, conv: Node) -> Value:
        """The shape [-1, 1, ...] of a factor per output channel of the weight."""
        ones = [1] * (len(conv.outputs[0].shape or ()) - 1)
        sizes = tuple(map(self.builder.constant, (-1, *ones)))
        listed = (self.builder.named(Value("sizes", "List[int]")),)
        return self.builder.append(conv, "prim::ListConstruct", "", sizes, listed)[0]

    def reshaped(self, value: Value, sizes: Value) -> Value:
        return self.builder.emit("aten::reshape", "", (value, sizes), self.like)
