"""The graph: an immutable copy of a TorchScript graph."""

from __future__ import annotations

import contextlib
import copy
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch

from .branches import take_known_branches
from .errors import UnsupportedOpError

_NOT_THE_USERS = (
    os.path.dirname(torch.__file__) + os.sep, os.path.dirname(__file__) + os.sep, copy.__file__,
    contextlib.__file__,
)  # fmt: skip


@dataclass(frozen=True)
class Value:
    """One value of the graph.

    Attributes:
        name: unique within the graph.
        type: the TorchScript type, "Tensor" for tensors.
        shape: the sizes recorded by the trace, None when unknown or not a tensor.
        dtype: the dtype recorded by the trace.
        strides: the strides recorded by the trace; they tell which operations gave views.
    """

    name: str
    type: str = "Tensor"
    shape: tuple[int, ...] | None = None
    dtype: torch.dtype | None = None
    strides: tuple[int, ...] | None = None

    def __str__(self) -> str:
        if self.shape is None:
            return f"%{self.name}: {self.type}"
        return f"%{self.name}: {str(self.dtype).removeprefix('torch.')}{list(self.shape)}"


@dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        kind: "aten::sum"; overload: "dim_IntList", empty for the default one.
        attributes: of prim nodes: the value of a constant, the path of a parameter.
        scope: unique and readable: module path and operation, "layer1.0.conv1._convolution".
        mutates: the positions of the inputs that the operation writes to.
        views: the positions of the inputs that outputs may share memory with.
        module: the module path, "layer1.0.conv1".
        source: the line of the user's program, "model.py(41): forward".
    """

    kind: str
    overload: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    scope: str = ""
    mutates: tuple[int, ...] = ()
    views: tuple[int, ...] = ()
    module: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        """Kind and overload: "aten::sum.dim_IntList"."""
        return f"{self.kind}.{self.overload}" if self.overload else self.kind

    @property
    def where(self) -> str:
        """For messages: what this node is and where it comes from."""
        place = self.module or "the top module"
        return f"{self.name} in {place}" + (f" ({self.source})" if self.source else "")

    def __str__(self) -> str:
        outputs = ", ".join(map(str, self.outputs))
        arguments = ", ".join(f"%{v.name}" for v in self.inputs)
        attributes = f"[{dict(self.attributes)}]" if self.attributes else ""
        return f"{outputs} = {self.name}{attributes}({arguments})  # {self.scope} {self.source}"


@dataclass(frozen=True)
class Graph:
    """A straight line program: `nodes` in order, from `inputs` to `outputs`.

    `input_writes` are the writes to inputs that were made functional: where they were.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    input_writes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"graph({', '.join(map(str, self.inputs))}):", *(f"  {n}" for n in self.nodes)]
        return "\n".join([*lines, f"  return {', '.join(f'%{v.name}' for v in self.outputs)}"])

    def with_nodes(self, nodes: Iterable[Node]) -> Graph:
        """The same graph with other nodes."""
        return replace(self, nodes=tuple(nodes))

    def without_dead_nodes(self) -> Graph:
        """The graph without the nodes whose outputs nobody reads and which write to nothing."""
        needed = {v.name for v in self.outputs}
        kept = []
        for node in reversed(self.nodes):
            if node.mutates or any(v.name in needed for v in node.outputs):
                needed.update(v.name for v in node.inputs)
                kept.append(node)
        return self.with_nodes(reversed(kept))


def from_torchscript(torch_graph: torch._C.Graph, num_skipped: int = 1) -> Graph:
    """Copy an inlined TorchScript graph.

    Args:
        torch_graph: of a traced module; calls inlined; it may be changed.
        num_skipped: the leading graph inputs that are not tensors (``self``).

    Raises:
        UnsupportedOpError: the graph loops, or branches by more than the sizes that the trace
            recorded (a scripted module with control flow).
    """
    take_known_branches(torch_graph)
    paths: dict[str, str] = {v.debugName(): "" for v in list(torch_graph.inputs())[:num_skipped]}
    scopes: Counter[str] = Counter()
    nodes = []
    refused = []
    for torch_node in torch_graph.nodes():
        if torch_node.kind() == "prim::GetAttr" and _is_module(torch_node.output()):
            paths[torch_node.output().debugName()] = _attribute_path(torch_node, paths)
            continue
        node = _node(torch_node, paths, scopes)
        if list(torch_node.blocks()):
            refused.append(f"{node.where}: control flow in a scripted module; trace it instead")
        nodes.append(node)
    if refused:
        raise UnsupportedOpError("this program cannot be converted:", refused)
    inputs = tuple(_value(v) for v in list(torch_graph.inputs())[num_skipped:])
    outputs = tuple(_value(v) for v in torch_graph.outputs())
    return Graph(inputs, outputs, tuple(nodes)).without_dead_nodes()


def _is_tensor(value: torch._C.Value) -> bool:
    return value.type().isSubtypeOf(torch._C.TensorType.get())


def _is_module(value: torch._C.Value) -> bool:
    """Whether it is a module, and not a tensor, a number or an object such as packed weights."""
    kind = value.type()
    return kind.kind() == "ClassType" and not str(kind).startswith("__torch__.torch.classes.")


def _value(value: torch._C.Value) -> Value:
    if not _is_tensor(value):
        return Value(value.debugName(), str(value.type()))
    shape, strides = (
        None if v is None else tuple(v) for v in (value.type().sizes(), value.type().strides())
    )
    return Value(value.debugName(), "Tensor", shape, value.type().dtype(), strides)


def _attribute_path(node: torch._C.Node, paths: Mapping[str, str]) -> str:
    parent = paths[node.input().debugName()]
    return f"{parent}.{node.s('name')}" if parent else node.s("name")


def _attributes(node: torch._C.Node, paths: Mapping[str, str]) -> dict[str, Any]:
    if node.kind() == "prim::Constant":
        return {"value": _number_or_value(node.output().toIValue())}
    if node.kind() == "prim::GetAttr":
        return {"name": _attribute_path(node, paths)}
    return {name: getattr(node, node.kindOf(name))(name) for name in node.attributeNames()}


def _number_or_value(value: Any) -> Any:
    """Python numbers are traced as 0-d tensors; as numbers they keep their type promotion."""
    if (
        isinstance(value, torch.Tensor)
        and value.dim() == 0
        and value.dtype in (torch.int64, torch.float64, torch.bool)
    ):
        return value.item()
    return value


def _node(node: torch._C.Node, paths: Mapping[str, str], scopes: Counter[str]) -> Node:
    kind = node.kind()
    overload, mutates, views = schema_facts(node.schema())
    attributes = _attributes(node, paths)
    module = re.sub(r"^(__module\.?)?(module\.?)?", "", node.scopeName().rsplit("/", 1)[-1])
    if kind == "prim::GetAttr":
        inputs, scope = (), attributes["name"].removeprefix("module.")
    else:
        inputs = tuple(_value(v) for v in node.inputs())
        scope = f"{module}.{kind.split('::')[1]}".removeprefix(".")
    scopes[scope] += 1
    if scopes[scope] > 1:
        scope = f"{scope}_{scopes[scope] - 1}"
    return Node(
        kind, overload, inputs, tuple(_value(v) for v in node.outputs()), attributes, scope,
        mutates, views,
        module, source_line(node.sourceRange()),
    )  # fmt: skip


@lru_cache(maxsize=4096)
def schema_facts(schema: str) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """The overload name, the positions of written and of aliased arguments."""
    if schema == "(no schema)" or "..." in schema or schema.startswith("prim::"):
        return "", (), ()
    parsed = torch._C.parse_schema(schema)
    arguments = list(enumerate(parsed.arguments))
    mutates = tuple(i for i, a in arguments if a.alias_info is not None and a.alias_info.is_write)
    returned = any(r.alias_info is not None for r in parsed.returns)
    views = tuple(i for i, a in arguments if a.alias_info is not None and returned)
    return parsed.overload_name, mutates, views


def source_line(source_range: str) -> str:
    """The innermost frame of the user's own code, "model.py(41): forward"."""
    frames = re.findall(r"^(.+?)\((\d+)\): (\S+)$", source_range, re.MULTILINE)
    for file, line, function in frames:
        if not file.startswith(_NOT_THE_USERS):
            return f"{os.path.basename(file)}({line}): {function}"
    return f"{os.path.basename(frames[0][0])}({frames[0][1]}): {frames[0][2]}" if frames else ""
