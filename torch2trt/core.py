"""The entry points: trace a module or function, run or emit its graph in the active context."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from . import handlers  # noqa: F401  (registers the built-in operators)
from .backends.base import Context
from .context import check_not_mixed, current_context, tvm_network
from .dense import check_memory
from .errors import ConversionError, InputMismatchError, UnsupportedOpError
from .frozen import frozen_values
from .functional import functionalize
from .graph import Graph, Value
from .registry import get_node_handler, register_node_handler
from .sizes import Axes, check_sizes
from .trace import as_arguments, trace
from .walk import unsupported, walk

__all__ = [
    "GraphModule", "get_node_handler", "register_node_handler", "torch2trt", "torch2tvm",
    "tvm_network",
]  # fmt: skip


class GraphModule:
    """A traced module or function that runs wherever the active context says.

    Called with torch tensors it computes in PyTorch (debug mode). Called inside
    ``trt_network(net)`` with ``ITensor`` it adds layers to ``net``; inside ``tvm_network()`` with
    Relax or Relay variables it builds expressions. It can be called many times, nested in one
    network, and from several threads.

    Args:
        module: an ``nn.Module``, a ``ScriptModule`` or a function of tensors. It is traced in the
            mode it is in, and its weights are looked up at each call, so later changes of them are
            seen.
        example_inputs: one tensor, or a sequence of positional arguments (tensors, None, numbers,
            and tuples, lists and dicts of them).
        param_exclude, param_include: regular expressions over parameter paths. Unused parameters
            need no exclusion here; a parameter that *is* used and is excluded is an error, which
            checks a network against a list.
        example_kwargs: keyword arguments of the traced call.

    Example:
        program = torch2trt.GraphModule(net, x)
        y = program(x)  # in PyTorch, node by node
        with torch2trt.trt_network(network):
            image = network.add_input("image", trt.float32, tuple(x.shape))
            y = program(image)  # an ITensor; the layers of net are in the network

    Attributes:
        graph: the traced ``Graph``, free of in-place writes.
        context: the context of the last call.
        frozen: what tracing turned into constants, with source lines.
        example: the arguments of the trace. With symbolic inputs of dynamic sizes the graph is
            compared, once, with the module on such arguments of other sizes; None leaves that out.

    Raises:
        ConversionError: the module returns something that is not made of tensors and plain values.
        UnsupportedOpError: the program writes in place in a way that has no functional counterpart.
    """

    def __init__(
        self,
        module: Callable[..., Any],
        example_inputs: Any,
        param_exclude: str | None = None,
        param_include: str | None = None,
        *,
        example_kwargs: Mapping[str, Any] | None = None,
    ):
        self.module = module
        self.trace = trace(module, example_inputs, example_kwargs)
        self.graph: Graph = functionalize(
            self.trace.graph, self.trace.attribute
        ).without_dead_nodes()
        self.frozen = frozen_values(self.trace)
        self.example: tuple[Any, Any] | None = as_arguments(example_inputs), example_kwargs or {}
        self._traced = self.graph
        self._compared: set[Axes] = set()
        self.context: Context = current_context()
        self._resolved: list[Any] = []
        _check_parameters(self.graph, param_exclude, param_include)

    def __call__(self, *args: Any, verbose: bool = False, **kwargs: Any) -> Any:
        """Run or emit the graph.

        Args:
            *args, **kwargs: as the module takes them, torch tensors or symbolic tensors of the
                active context.
            verbose: write a line per node: its scope, and the shapes going in and out.

        Returns:
            What the module returns, with symbolic tensors in place of tensors.

        Raises:
            InputMismatchError: other inputs than those traced.
            UnsupportedOpError: nodes that the backend cannot express, all of them at once where
                that is known ahead.
            ConversionError: tensors of another library than the active context's; or inputs with
                dynamic sizes, for which the trace is another program than the module.
        """
        ctx = current_context()
        check_not_mixed(ctx, [args, kwargs], "GraphModule")
        tensors = self.trace.flatten_inputs(
            args, kwargs, lambda v: isinstance(v, torch.Tensor) or ctx.is_tensor(v)
        )
        _check_inputs(ctx, self.graph.inputs, tensors)
        if all(isinstance(x, torch.Tensor) for x in tensors):
            check_memory(self.graph, tensors)
        return self.trace.unflatten_outputs(self.run(tensors, ctx, verbose))

    def run(
        self, tensors: Sequence[Any], ctx: Context | None = None, verbose: bool = False
    ) -> list[Any]:
        """Like a call, with the tensors among the inputs and outputs as flat lists.

        Args:
            tensors: one for each of ``graph.inputs``.
            ctx: where to, by default the active context.
            verbose: write a line per node.

        Returns:
            The values of ``graph.outputs``.

        Raises:
            UnsupportedOpError, ConversionError: as for a call.
        """
        ctx = ctx or current_context()
        graph = ctx.rewrite(self.graph)
        missing = unsupported(graph, ctx)
        if missing:
            raise UnsupportedOpError(
                f"{len(missing)} nodes have no handler (backend: {ctx.name}):",
                [node.where for node in missing],
            )
        self.context = ctx
        self._resolved = walk(graph, tensors, self.trace.attribute, ctx, verbose)
        self._check_sizes(tensors, ctx)
        return self._resolved

    def _check_sizes(self, tensors: Sequence[Any], ctx: Context) -> None:
        dynamic = tuple(
            tuple(i for i, size in enumerate(ctx.shape(x)) if not isinstance(size, int))
            if ctx.is_tensor(x) else ()
            for x in tensors
        )  # fmt: skip
        if any(dynamic) and self.example is not None and dynamic not in self._compared:
            check_sizes(self.module, self.trace, self._traced, self.example, dynamic)
            self._compared.add(dynamic)

    def get_resolved_outputs(self) -> Any:
        """The outputs of the last call: one tensor or expression, or a list of several."""
        return self._resolved[0] if len(self._resolved) == 1 else list(self._resolved)

    def select(self, names: Sequence[str]) -> None:
        """Make intermediate values the outputs of the graph.

        Args:
            names: scopes of nodes ("layer1.0.conv1._convolution") or value names.

        Raises:
            ConversionError: a name is neither.
        """
        known: dict[str, Value] = {n.scope: n.outputs[0] for n in self.graph.nodes}
        known.update({v.name: v for n in self.graph.nodes for v in n.outputs})
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConversionError(
                f"output names: got {unknown}, expected scopes or values of the graph:\n"
                f"{self.graph}"
            )
        outputs = tuple(known[name] for name in names)
        self.graph = Graph(self.graph.inputs, outputs, self.graph.nodes).without_dead_nodes()


def _check_parameters(graph: Graph, exclude: str | None, include: str | None) -> None:
    paths = [
        n.attributes["name"].removeprefix("module.")
        for n in graph.nodes
        if n.kind == "prim::GetAttr"
    ]
    refused = [
        path
        for path in paths
        if (exclude is not None and re.match(exclude, path))
        or (include is not None and not re.match(include, path))
    ]
    if refused:
        raise ConversionError(
            f"param_exclude={exclude!r}, param_include={include!r} rule out parameters that the "
            f"program uses: {refused}"
        )


def _check_inputs(ctx: Context, values: Sequence[Value], tensors: Sequence[Any]) -> None:
    kinds = {isinstance(t, torch.Tensor) for t in tensors}
    if len(kinds) > 1:
        raise ConversionError(
            f"inputs: torch tensors and symbolic tensors are mixed (context {ctx.name!r}); pass "
            "one kind, constants as ctx.constant(tensor)"
        )
    for position, (value, tensor) in enumerate(zip(values, tensors)):
        symbolic = ctx.is_tensor(tensor)
        shape = ctx.shape(tensor) if symbolic else tuple(tensor.shape)
        dtype = ctx.dtype(tensor) if symbolic else tensor.dtype
        fits = dtype == value.dtype or (symbolic and ctx.same_dtype(dtype, value.dtype))
        if value.shape is not None and (len(shape) != len(value.shape) or not fits):
            sizes = ", ".join(map(str, shape))
            raise InputMismatchError(
                f"input {position} ({value.name}): got {dtype}[{sizes}], expected {value.dtype}"
                f" with {len(value.shape)} dimensions as in the example, {list(value.shape)}"
            )


def _convert(
    module: Any, example_inputs: Any, param_exclude: str | None, param_include: str | None,
    output_names: Sequence[str] | None, input_tensors: Sequence[Any] | None,
    input_names: Sequence[str] | None, verbose: bool,
) -> tuple[Any, GraphModule]:  # fmt: skip
    graph_module = GraphModule(module, example_inputs, param_exclude, param_include)
    ctx = current_context()
    if output_names:
        graph_module.select(output_names)
    inputs = graph_module.graph.inputs
    if input_tensors is None:
        names = list(input_names) if input_names else [f"input{i}" for i in range(len(inputs))]
        if len(names) != len(inputs):
            raise InputMismatchError(f"input_names: got {len(names)} names, expected {len(inputs)}")
        input_tensors = [ctx.input(name, v.shape, v.dtype) for name, v in zip(names, inputs)]
    graph_module.run(list(input_tensors), ctx, verbose)
    return graph_module.trace, graph_module


def torch2trt(
    module: Any,
    example_inputs: Any,
    param_exclude: str | None = None,
    param_include: str | None = None,
    output_names: Sequence[str] | None = None,
    input_tensors: Sequence[Any] | None = None,
    input_names: Sequence[str] | None = None,
    verbose: bool = False,
) -> tuple[Any, GraphModule]:
    """Trace a module and emit it into the network of the enclosing ``trt_network``.

    Args:
        module, example_inputs, param_exclude, param_include: as for ``GraphModule``.
        output_names: scopes of nodes to return in place of the module's outputs.
        input_tensors: network tensors to run on; by default new network inputs like the examples
            are added.
        input_names: the names of these new inputs, "input0", "input1", ... by default.
        verbose: write a line per node.

    Returns:
        The trace and the graph module; ``graph_module.get_resolved_outputs()`` are the output
        tensors, to be marked with ``network.mark_output``.

    Raises:
        ConversionError: outside ``trt_network``.

    Example:
        with torch2trt.trt_network(network):
            trace, graph_module = torch2trt.torch2trt(net, x, input_names=["image"])
            network.mark_output(graph_module.get_resolved_outputs())
    """
    if not current_context().is_tensorrt:
        raise ConversionError(
            "torch2trt needs an active network; call it inside `with "
            "torch2trt.trt_network(network):`"
        )
    options = output_names, input_tensors, input_names, verbose
    return _convert(module, example_inputs, param_exclude, param_include, *options)


def torch2tvm(
    module: Any,
    example_inputs: Any,
    param_exclude: str | None = None,
    param_include: str | None = None,
    output_names: Sequence[str] | None = None,
    input_tensors: Sequence[Any] | None = None,
    input_names: Sequence[str] | None = None,
    verbose: bool = False,
) -> tuple[Any, GraphModule]:
    """Trace a module and emit it as TVM expressions in the enclosing ``tvm_network``.

    Args:
        module, example_inputs, param_exclude, param_include: as for ``GraphModule``.
        output_names: scopes of nodes to return in place of the module's outputs.
        input_tensors: TVM variables to run on; by default new ones like the examples are made.
        input_names: the names of these new variables, "input0", "input1", ... by default.
        verbose: write a line per node.

    Returns:
        The trace and the graph module: ``get_resolved_outputs()`` are the output expressions,
        ``graph_module.context.tvm_weight_dict`` holds the weights by variable.

    Raises:
        ConversionError: outside ``tvm_network``.

    Example:
        with torch2trt.tvm_network() as context:
            trace, graph_module = torch2trt.torch2tvm(net, x, input_names=["image"])
            module = context.finish([graph_module.get_resolved_outputs()])
    """
    if not current_context().is_tvm:
        raise ConversionError(
            "torch2tvm needs an active function; call it inside `with torch2trt.tvm_network():`"
        )
    options = output_names, input_tensors, input_names, verbose
    return _convert(module, example_inputs, param_exclude, param_include, *options)
