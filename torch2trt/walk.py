"""The walk: evaluate a graph node by node in the active context."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch

from .backends.base import Context
from .errors import ConversionError, Torch2TrtError, UnsupportedOpError
from .graph import Graph, Node, Value
from .registry import Handler, Op, builtin, has_symbolic, run_torch, torch_operator, user_handler

Values = Mapping[str, Any]


def walk(
    graph: Graph,
    inputs: Sequence[Any],
    attribute: Callable[[str], Any],
    ctx: Context,
    verbose: bool = False,
) -> list[Any]:
    """Evaluate `graph` on `inputs`; symbolic inputs emit into `ctx`, torch tensors compute.

    Args:
        attribute: gives the parameter or buffer at a path.
        verbose: write a line per node: scope, and the shapes going in and out.

    Returns:
        The values of ``graph.outputs``.
    """
    env: dict[str, Any] = dict(zip((v.name for v in graph.inputs), inputs))
    exact = same_sizes(ctx, graph.inputs, inputs)
    remaining = uses(graph)
    outer = ctx.node
    try:
        for node in graph.nodes:
            arguments = [env[v.name] for v in node.inputs]
            ctx.node = node
            results = run_node(node, arguments, attribute, ctx, exact)
            env.update(zip((v.name for v in node.outputs), results))
            if verbose and not node.kind.startswith("prim::"):
                sys.stdout.write(_describe(ctx, node, arguments, results))
            for value in node.inputs:
                remaining[value.name] -= 1
                if not remaining[value.name]:
                    del env[value.name]
        return [env[v.name] for v in graph.outputs]
    finally:
        ctx.node = outer


def uses(graph: Graph) -> dict[str, int]:
    """How often each value is read; the outputs of the graph are never done with."""
    counts: dict[str, int] = {}
    for value in (v for node in graph.nodes for v in node.inputs):
        counts[value.name] = counts.get(value.name, 0) + 1
    for value in graph.outputs:
        counts[value.name] = counts.get(value.name, 0) + 1
    return counts


def run_node(
    node: Node, arguments: list[Any], attribute: Callable[[str], Any], ctx: Context, exact: bool
) -> list[Any]:
    """The outputs of one node, checked against what the trace recorded where they are symbolic."""
    if node.kind == "prim::GetAttr":
        value = attribute(node.attributes["name"])
        return [value.detach() if isinstance(value, torch.Tensor) else value]
    handler = user_handler(node.kind, node.overload)
    symbolic = has_symbolic(ctx, arguments)
    if handler is None and not symbolic and not node.kind.startswith("prim::"):
        if not ctx.is_torch and _draws(node, arguments):
            raise UnsupportedOpError(
                f"{node.where}: random numbers would stay the same (backend: {ctx.name})"
            )
        result = _in_torch(node, arguments, ctx)
        return list(result) if isinstance(result, tuple) else [result]
    is_users = handler is not None
    handler = handler or _builtin(node, ctx)
    operator = getattr(handler, "__self__", None)
    takes_numbers = handler is builtin(node.kind, node.overload) and not isinstance(operator, Op)
    if not takes_numbers and any(map(ctx.is_dim, arguments)):
        numbers = getattr(operator, "numbers", None)
        if numbers is not None and all(_is_number(ctx, a) for a in arguments):
            number = numbers(*map(_number, arguments))
            if number is not NotImplemented:
                return [number]
        arguments = [
            ctx.reshape(ctx.size_tensor([a]), []) if v.type == "Tensor" and ctx.is_dim(a) else a
            for v, a in zip(node.inputs, arguments)
        ]
    outputs = _call(handler, node, arguments, ctx)
    if is_users:
        _check_users(node, outputs)
    if symbolic or is_users:
        for value, output in zip(node.outputs, outputs):
            check_recorded(ctx, node, value, output, exact)
    return outputs


def _check_users(node: Node, outputs: Sequence[Any]) -> None:
    for position, (value, output) in enumerate(zip(node.outputs, outputs)):
        if output is None and value.shape is not None:
            raise ConversionError(
                f"{node.where}: the handler returned None as output {position}, expected a tensor"
                f" like {value}"
            )


def _in_torch(node: Node, arguments: Sequence[Any], ctx: Context) -> Any:
    try:
        return run_torch(f"{node.kind}.{node.overload or 'default'}", arguments)
    except Torch2TrtError:
        raise
    except Exception as error:
        raise ConversionError(
            f"{node.where}: PyTorch fails on {_shapes(ctx, arguments)}: "
            f"{type(error).__name__}: {error}"
        ) from error


@lru_cache(maxsize=4096)
def _switches_of_randomness(name: str) -> tuple[int, ...] | None:
    """Where an operator that draws random numbers has its dropout probability and training flag."""
    operator = torch_operator(name)
    if torch.Tag.nondeterministic_seeded not in getattr(operator, "tags", ()):
        return None
    named = ("dropout_p", "dropout", "train", "training")
    return tuple(i for i, a in enumerate(operator._schema.arguments) if a.name in named)


def _draws(node: Node, arguments: Sequence[Any]) -> bool:
    """Whether a node on constants gives other numbers in every run; dropout does in train mode."""
    switches = _switches_of_randomness(f"{node.kind}.{node.overload or 'default'}")
    return switches is not None and all(bool(arguments[i]) for i in switches)


def _is_number(ctx: Context, value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.dim() == 0 and not value.is_floating_point()
    return ctx.is_dim(value) or value is None or isinstance(value, (bool, int, str))


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) else value


def _builtin(node: Node, ctx: Context) -> Handler:
    handler = builtin(node.kind, node.overload)
    if handler is None:
        raise UnsupportedOpError(f"{node.where}: no handler (backend: {ctx.name})")
    return handler


def _call(handler: Handler, node: Node, arguments: list[Any], ctx: Context) -> list[Any]:
    try:
        outputs = handler(arguments, node.attributes, node.scope)
    except Torch2TrtError:
        raise
    except Exception as error:
        raise ConversionError(
            f"{node.where}: the {ctx.name} handler failed on {_shapes(ctx, arguments)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    is_list = isinstance(outputs, (list, tuple))
    if not is_list or len(outputs) != len(node.outputs):
        got = f"{len(outputs)} values" if is_list else type(outputs).__name__
        raise ConversionError(
            f"{node.where}: the handler returned {got}, expected a list of {len(node.outputs)}"
        )
    return list(outputs)


def check_recorded(ctx: Context, node: Node, value: Value, output: Any, exact: bool) -> None:
    """Compare rank, static sizes and dtype of an emitted tensor with what the trace recorded.

    Raises:
        ConversionError: they differ, so the handler is wrong or does not fit this traced program.
    """
    if value.shape is None or not (ctx.is_tensor(output) or isinstance(output, torch.Tensor)):
        return
    symbolic = ctx.is_tensor(output)
    shape = ctx.shape(output) if symbolic else tuple(output.shape)
    dtype = ctx.dtype(output) if symbolic else output.dtype
    sizes_fit = len(shape) == len(value.shape) and (
        not exact or all(not isinstance(d, int) or d == r for d, r in zip(shape, value.shape))
    )
    if not sizes_fit or not ctx.same_dtype(dtype, value.dtype):
        raise ConversionError(
            f"{node.where}: the {ctx.name} handler gave {_short(dtype)}[{_joined(shape)}], "
            f"the trace recorded {_short(value.dtype)}{list(value.shape)}"
        )


def same_sizes(ctx: Context, values: Sequence[Value], inputs: Sequence[Any]) -> bool:
    """Whether all inputs have the traced sizes, dynamic dimensions aside.

    Only then the sizes behind them can be compared with the trace.
    """
    for value, x in zip(values, inputs):
        shape = ctx.shape(x) if ctx.is_tensor(x) else getattr(x, "shape", ())
        sizes = zip(shape, value.shape or ())
        if any(isinstance(size, int) and size != recorded for size, recorded in sizes):
            return False
    return True


def unsupported(graph: Graph, ctx: Context) -> list[Node]:
    """The nodes without a handler in `ctx` that depend on an input or are unknown to PyTorch."""
    if ctx.is_torch:
        return [n for n in graph.nodes if not _runs_in_torch(n) and not _handled(n)]
    dependent = {v.name for v in graph.inputs}
    missing = []
    for node in graph.nodes:
        depends = any(v.name in dependent for v in node.inputs)
        if depends:
            dependent.update(v.name for v in node.outputs)
        if not _handled(node) and (depends or not _runs_in_torch(node)):
            missing.append(node)
    return missing


def _handled(node: Node) -> bool:
    return any(find(node.kind, node.overload) is not None for find in (user_handler, builtin))


def _runs_in_torch(node: Node) -> bool:
    return node.kind == "prim::GetAttr" or torch_operator(node.name) is not None


def _short(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")


def _joined(shape: Sequence[Any]) -> str:
    return ", ".join(map(str, shape))


def _shapes(ctx: Context, values: Any) -> str:
    if isinstance(values, (list, tuple)):
        return f"[{', '.join(_shapes(ctx, v) for v in values)}]"
    if ctx.is_tensor(values):
        return f"{_short(ctx.dtype(values))}[{_joined(ctx.shape(values))}]"
    if isinstance(values, torch.Tensor):
        return f"{_short(values.dtype)}{list(values.shape)}"
    return repr(values)


def _describe(ctx: Context, node: Node, inputs: list[Any], outputs: list[Any]) -> str:
    got = ", ".join(_shapes(ctx, v) for v in inputs)
    made = ", ".join(_shapes(ctx, v) for v in outputs)
    return f"{node.scope}: {node.name}({got}) ==>> {made}\n"
