"""Making a new graph out of another: names, scopes, constants."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .graph import Graph, Node, Value


class GraphBuilder:
    """Collects the nodes of a new graph that is made from `graph`.

    Attributes:
        graph: the old graph.
        node: the node of the old graph that is being rewritten; new nodes keep its module and
            source.
        nodes: the new graph so far.
        constants: what the constants hold, by name; old and new ones.
        lists: the nodes that make lists and tuples, by name.
    """

    def __init__(self, graph: Graph):
        self.graph = graph
        self.node = Node("", "", (), ())
        self.nodes: list[Node] = []
        self.constants = constants_of(graph)
        self.lists: dict[str, Node] = {}
        self._own_constants: dict[tuple[type, Any], Value] = {}
        made = (v for n in graph.nodes for v in n.outputs)
        self._names = {v.name for v in (*made, *graph.inputs)}
        self._scopes = {n.scope for n in graph.nodes}

    def emit(self, kind: str, overload: str, inputs: tuple[Value, ...], like: Value) -> Value:
        """A new node for the present write; its output has the type, shape and dtype of `like`."""
        output = replace(self.named(replace(like, name=kind.split("::")[1])), strides=None)
        return self.append(self.node, kind, overload, inputs, (output,))[0]

    def constant(self, value: Any) -> Value:
        """A constant of the graph."""
        key = (type(value), value)
        if key not in self._own_constants:
            output = self.named(Value("constant", type(value).__name__))
            self.constants[output.name] = value
            node = replace(
                self.node, kind="prim::Constant", overload="", attributes={"value": value}
            )
            self.append(node, "prim::Constant", "", (), (output,))
            self._own_constants[key] = output
        return self._own_constants[key]

    def known(self, value: Value) -> Any:
        """The Python value of a constant or of a list of constants, None of anything else."""
        if value.name not in self.lists:
            return self.constants.get(value.name)
        elements = [self.known(v) for v in self.lists[value.name].inputs]
        return None if None in elements else elements

    def append(
        self, like: Node, kind: str, overload: str, inputs: tuple[Value, ...],
        outputs: tuple[Value, ...], first: bool = False,
    ) -> tuple[Value, ...]:  # fmt: skip
        """Emit a node in place of `like`; the `first` one has its scope, others have their own."""
        attributes = like.attributes if kind == like.kind else {}
        own = f"{like.scope}.{kind.split('::')[1]}"
        scope = like.scope if first else _unused(own, self._scopes)
        node = replace(like, kind=kind, overload=overload, inputs=inputs, outputs=outputs)
        facts = {"attributes": attributes, "scope": scope, "mutates": (), "views": ()}
        self.nodes.append(replace(node, **facts))
        return outputs

    def named(self, value: Value) -> Value:
        """The same value under a name that is not in use."""
        return replace(value, name=_unused(value.name, self._names))


def constants_of(graph: Graph) -> dict[str, Any]:
    """What the constants of `graph` hold, by name."""
    return {
        n.outputs[0].name: n.attributes["value"] for n in graph.nodes if n.kind == "prim::Constant"
    }


def _unused(name: str, used: set[str]) -> str:
    count, unused = 0, name
    while unused in used:
        count += 1
        unused = f"{name}_{count}"
    used.add(unused)
    return unused
