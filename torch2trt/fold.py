"""Fold batch normalisation with fixed statistics into the convolution before it, as a graph pass.

TensorRT does this by itself; TVM does it slowly or not at all. The folded weights are nodes of the
graph that depend on constants alone, so a walk computes them in PyTorch and follows the weights of
the module.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from .builder import GraphBuilder
from .graph import Graph, Node, Value
from .registry import user_handler

_CONVOLUTIONS = (
    "aten::_convolution",
    "aten::convolution",
    "aten::conv1d",
    "aten::conv2d",
    "aten::conv3d",
)
_DOUBLE, _FLOATS = 7, {torch.float32: 6, torch.float16: 5, torch.bfloat16: 15}


def fold_batch_norm(graph: Graph) -> Graph:
    """`graph` with each ``batch_norm(conv(x, w, b))`` as one convolution, where nothing else reads
    the convolution.

    Left alone are batch norms in training mode, transposed convolutions, weights computed from
    inputs, and kinds that a user registered a handler for.
    """
    if user_handler("aten::batch_norm") or any(user_handler(kind) for kind in _CONVOLUTIONS):
        return graph
    pairs = _foldable(graph)
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
    """The convolution of each batch norm that can be folded, by the name of the batch norm's
    output.
    """
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
        constants = [conv.inputs[1], *node.inputs[1:5]]
        fixed = all(_is_parameter(v, made_by) for v in constants) and _is_parameter(
            conv.inputs[2], made_by
        )
        if (
            not transposed
            and fixed
            and conv.outputs[0].dtype in _FLOATS
            and len(conv.outputs[0].shape or ()) > 2
        ):
            pairs[node.outputs[0].name] = conv
    return pairs


def _is_parameter(value: Value, made_by: dict[str, Node]) -> bool:
    maker = made_by.get(value.name)
    return maker is not None and maker.kind in ("prim::GetAttr", "prim::Constant")


def _emit_folded(builder: GraphBuilder, conv: Node, norm: Node) -> None:
    """The convolution with scaled weights in place of `norm`: weight * s and (bias - mean) * s +
    shift in float64.
    """
    builder.node = conv
    dims = len(conv.outputs[0].shape or ())
    vector = Value("folded", "Tensor")
    number = builder.constant

    def double(value: Value) -> Value:
        return builder.emit(
            "aten::to",
            "dtype",
            (value, number(_DOUBLE), number(False), number(False), number(None)),
            vector,
        )

    def binary(kind: str, a: Value, b: Value) -> Value:
        extra = () if kind == "mul" else (number(1),)
        return builder.emit(f"aten::{kind}", "Tensor", (a, b, *extra), vector)

    def is_none(value: Value) -> bool:
        return value.name in builder.constants and builder.constants[value.name] is None

    gamma, beta, mean, variance = norm.inputs[1:5]
    epsilon = builder.emit(
        "aten::add", "Scalar", (double(variance), norm.inputs[7], number(1)), vector
    )
    scale = builder.emit("aten::rsqrt", "", (epsilon,), vector)
    scale = scale if is_none(gamma) else binary("mul", scale, double(gamma))
    sizes = (number(-1), *[number(1)] * (dims - 1))
    named = (builder.named(Value("sizes", "List[int]")),)
    column = builder.append(conv, "prim::ListConstruct", "", sizes, named)[0]
    weight = binary(
        "mul", double(conv.inputs[1]), builder.emit("aten::reshape", "", (scale, column), vector)
    )
    shift = mean if is_none(conv.inputs[2]) else conv.inputs[2]
    centered = (
        builder.emit("aten::neg", "", (double(mean),), vector)
        if shift is mean
        else binary("sub", double(shift), double(mean))
    )
    bias = binary("mul", centered, scale)
    bias = bias if is_none(beta) else binary("add", bias, double(beta))
    kind = number(_FLOATS[conv.outputs[0].dtype])
    back = [
        builder.emit(
            "aten::to", "dtype", (v, kind, number(False), number(False), number(None)), vector
        )
        for v in (weight, bias)
    ]
    builder.nodes.append(
        replace(conv, inputs=(conv.inputs[0], *back, *conv.inputs[3:]), outputs=norm.outputs)
    )
