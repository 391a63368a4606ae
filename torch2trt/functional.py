"""In-place writes and writes through views, rewritten as pure operations.

Every tensor of the traced graph is a *place*: a whole memory (a root), or a view of another place.
Each memory counts its writes; a place remembers the value it held last, and at which count. A write
gives its place a new value and, through the inverse of each view on the way, the places above up to
the root. All other places of that memory are out of date then, and are made anew from the place
above when they are read. What is made and never read is dropped at the end.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from .aliasing import Examples, Sharing, overlaps, sharing
from .builder import GraphBuilder, constants_of
from .errors import UnsupportedOpError
from .graph import Graph, Node, Value
from .inplace import (
    UPDATES_STATISTICS,
    VIEWS_IN_PLACE,
    Functional,
    functional_form,
    hidden_writes,
    is_out_variant,
    missing_form,
    observer_is_off,
    reads_only_sizes,
)
from .places import Memory, OutOfDate, Place
from .unview import join, rebuild

_CONTAINERS = {"prim::ListConstruct", "prim::TupleConstruct", "prim::DictConstruct"}
_UNPACKS = {"prim::ListUnpack", "prim::TupleUnpack"}


def functionalize(graph: Graph, attribute: Callable[[str], Any] | None = None) -> Graph:
    """Rewrite all writes to tensors as pure operations with the same results.

    Args:
        graph: as traced; it may write in place, also through views and ``out=``.
        attribute: gives the parameter or buffer at a path; with their sizes known, fewer programs
            are refused.

    Returns:
        A graph whose nodes write to nothing. `graph` itself where it writes to nothing.

    Raises:
        UnsupportedOpError: writes to memory that outlives the call (parameters, buffers, constants
            of the trace), and writes that have no exact functional form; all of them are listed.

    Warns:
        UserWarning: the program writes to its inputs. The results are right, but the caller's
            tensors stay as they are.
    """
    constants = constants_of(graph)
    if not any(node.mutates or hidden_writes(node, constants) for node in graph.nodes):
        return graph
    return _Pass(graph, attribute).run()


class _Pass(GraphBuilder):
    def __init__(self, graph: Graph, attribute: Callable[[str], Any] | None):
        super().__init__(graph)
        self._attribute = attribute
        self._examples = Examples(graph, attribute)
        self._places: dict[str, Place] = {}
        self._made_lists: dict[str, tuple[list[str], Value]] = {}
        self._renamed: dict[str, Value] = {}
        self._refused: dict[str, None] = {}
        self._input_writes: dict[str, None] = {}

    def run(self) -> Graph:
        for value in self.graph.inputs:
            self._places[value.name] = Place(Memory(is_input=True), value, 0, value)
        for node in self.graph.nodes:
            self.node = node
            self._visit(node)
        self.node = Node("return", "", self.graph.outputs, ())
        outputs = tuple(self._read(v) for v in self.graph.outputs)
        if self._refused:
            title = "in-place writes without an exact functional form:"
            raise UnsupportedOpError(title, list(self._refused))
        if self._input_writes:
            warnings.warn(
                "the program writes to its inputs; the converted program leaves the caller's "
                "tensors as they are: " + "; ".join(self._input_writes),
                stacklevel=4,
            )
        writes = tuple(self._input_writes)
        return Graph(self.graph.inputs, outputs, tuple(self.nodes), writes).without_dead_nodes()

    # ---- nodes -----------------------------------------------------------------------------------
    def _visit(self, node: Node) -> None:
        if node.kind == "prim::Constant":
            self._keep(node, outlives="a constant of the trace: its value before the write is lost")
        elif node.kind == "prim::GetAttr":
            path = node.attributes["name"].removeprefix("module.")
            self._keep(
                node, outlives=f"{path}: a parameter or buffer keeps what is written after the call"
            )
        elif node.kind in _CONTAINERS:
            self.lists[node.outputs[0].name] = node
        elif node.kind in _UNPACKS:
            self._unpack(node)
        elif node.kind in VIEWS_IN_PLACE:
            kind = node.kind[:-1]
            overload = "int" if kind == "aten::transpose" else node.overload
            self._share(replace(node, kind=kind, overload=overload, mutates=(), views=(0,)))
        elif observer_is_off(node, self._attribute, self.graph):
            self._keep(node)
        elif node.mutates and node.kind not in UPDATES_STATISTICS:
            self._write_node(node)
        else:
            self._share(node)

    def _unpack(self, node: Node) -> None:
        source = self._resolve(node.inputs[0])
        if source.name in self.lists:
            elements = self.lists[source.name].inputs
            self._renamed.update((o.name, self._resolve(e)) for o, e in zip(node.outputs, elements))
        elif source.name in self._places and self._places[source.name].parent is not None:
            self._view(node, 0)
        else:
            self._keep(node, shares=self._memories(source))

    def _share(self, node: Node) -> None:
        """A node that writes to nothing: new memory, its input's place, or a view of it."""
        how, position = sharing(node, self._examples)
        source = self._place(node.inputs[position]) if node.inputs else None
        if source is None and how is not Sharing.FRESH:
            how = Sharing.UNSURE
        if how is Sharing.SAME and len(node.outputs) == 1:
            self._places[node.outputs[0].name] = source
        elif how is Sharing.VIEW:
            self._view(node, position)
        else:
            shares = self._memories(node.inputs[position]) if how is Sharing.UNSURE else []
            self._keep(node, shares=shares)
        for place in (self._place(node.inputs[i]) for i in hidden_writes(node, self.constants)):
            self._note_write(place.memory, node)
            place.memory.writes += 1
            place.memory.lost = f"{node.where} updates running statistics"

    def _keep(self, node: Node, outlives: str = "", shares: Sequence[Memory] = ()) -> None:
        """Emit a node as it is; its outputs have new memory, or perhaps that of `shares`."""
        read = self._latest if reads_only_sizes(node) else self._read
        self.nodes.append(
            replace(node, inputs=tuple(read(v) for v in node.inputs), mutates=(), views=())
        )
        for output in node.outputs:
            if "Tensor" not in output.type:
                continue
            memory = Memory(outlives, maybe_same=list(shares))
            for other in shares:
                other.maybe_same.append(memory)
            self._places[output.name] = Place(memory, output, 0, output)

    def _view(self, node: Node, base: int) -> None:
        parent = self._place(node.inputs[base])
        key = (node.name, *(self._key(v) for i, v in enumerate(node.inputs) if i != base))
        if (key, 0) not in parent.children:
            inputs = tuple(
                parent.value if i == base else self._latest(v) for i, v in enumerate(node.inputs)
            )
            view = replace(node, inputs=inputs, mutates=(), views=())
            for index, output in enumerate(node.outputs):
                parent.children[key, index] = Place(
                    parent.memory, output, -1, output, parent, view, base, index
                )
            self._apply(parent.children[key, 0], first=True)
        for index, output in enumerate(node.outputs):
            self._places[output.name] = parent.children[key, index]

    # ---- reading ---------------------------------------------------------------------------------
    def _resolve(self, value: Value) -> Value:
        return self._renamed.get(value.name, value)

    def _place(self, value: Value) -> Place | None:
        return self._places.get(self._resolve(value).name)

    def _key(self, value: Value) -> Any:
        """Equal for arguments that are known to be equal."""
        value = self._resolve(value)
        if value.name in self.lists:
            return tuple(self._key(v) for v in self.lists[value.name].inputs)
        constant = self.constants.get(value.name, self)
        by_name = constant is self or isinstance(constant, torch.Tensor)
        return (value.name,) if by_name else repr(constant)

    def _memories(self, value: Value) -> list[Memory]:
        value = self._resolve(value)
        if value.name in self._places:
            return [self._places[value.name].memory]
        elements = self.lists[value.name].inputs if value.name in self.lists else ()
        return [memory for element in elements for memory in self._memories(element)]

    def _latest(self, value: Value) -> Value:
        """A value of the right shape and dtype: the first one that the place held."""
        place = self._place(value)
        return self._read(value) if place is None else place.traced

    def _read(self, value: Value) -> Value:
        """The value as it is now."""
        value = self._resolve(value)
        if value.name in self.lists:
            return self._read_list(value)
        place = self._places.get(value.name)
        if place is None:
            return value
        try:
            return self._current(place)
        except OutOfDate as error:
            reader = self.node.where if self.node.kind != "return" else "the program returns it"
            self._refused[f"{error}, which is read later ({reader})"] = None
            return place.value

    def _read_list(self, value: Value) -> Value:
        elements = tuple(self._read(v) for v in self.lists[value.name].inputs)
        names = [v.name for v in elements]
        made = self._made_lists.get(value.name)
        if made is None or made[0] != names:
            node = self.lists[value.name]
            output = value if made is None else self.named(value)
            self.append(node, node.kind, node.overload, elements, (output,), first=made is None)
            made = self._made_lists[value.name] = (names, output)
        return made[1]

    def _current(self, place: Place) -> Value:
        if not place.is_current:
            if place.parent is None or place.view.kind == "aten::as_strided":
                raise OutOfDate(
                    place.memory.lost or f"{place.view.where} sees memory that was written"
                )
            self._current(place.parent)
            self._apply(place)
        return place.value

    def _apply(self, place: Place, first: bool = False) -> None:
        """Make a view, and the other outputs of its node, from its parent."""
        view, parent = place.view, place.parent
        together = [p for p in parent.children.values() if p.view is view]
        outputs = tuple(p.traced if first else self.named(p.traced) for p in together)
        kind = "aten::reshape" if view.name == "aten::view" and place.memory.writes else view.kind
        inputs = tuple(parent.value if i == place.base else v for i, v in enumerate(view.inputs))
        self.append(view, kind, view.overload, inputs, outputs, first)
        for other, output in zip(together, outputs):
            if not other.is_current:
                other.value, other.made = output, parent.made

    # ---- writing ---------------------------------------------------------------------------------
    def _write_node(self, node: Node) -> None:
        places = [self._place(node.inputs[i]) for i in node.mutates]
        values: Sequence[Value | None] = [None] * len(places)
        if any(p is None for p in places):
            self._refuse(node, "writes to a list of tensors")
            return self._keep(node)
        if any(overlaps(p.traced) for p in places):
            self._refuse(
                node, "writes to a tensor that has several elements at one address (expanded?)"
            )
        else:
            values = self._new_values(node, places)
        for place, value, output in zip(places, values, node.outputs):
            if value is not None:
                self._write(place, value, node)
            self._places[output.name] = place
        return None

    def _new_values(self, node: Node, places: Sequence[Place]) -> Sequence[Value | None]:
        """What the written places hold afterwards; None where that is what they hold already."""
        if node.kind in ("aten::copy_", "aten::fill_"):
            if self._place(node.inputs[1]) is places[0]:
                return [None]
            return [self._filled(places[0], node.inputs[1])]
        if node.kind == "aten::zero_":
            return [self._filled(places[0], self.constant(0))]
        form = functional_form(node)
        if form is None:
            self._refuse(node, missing_form(node))
            return [None] * len(places)
        results = self._results(node, form)
        if is_out_variant(node):
            return [self._stored(node, result, place) for result, place in zip(results, places)]
        return [self._cast(result, place.traced.dtype) for result, place in zip(results, places)]

    def _results(self, node: Node, form: Functional) -> tuple[Value, ...]:
        """Emit the functional form."""
        inputs = tuple(node.inputs[i] for i in form.inputs)
        examples = self._examples.run(form.kind, form.overload, inputs)
        examples = (
            examples if isinstance(examples, (tuple, list)) else [examples] * len(node.outputs)
        )
        outputs = tuple(
            Value(output.name, output.type, output.shape, getattr(example, "dtype", None))
            for output, example in zip(node.outputs, examples)
        )
        read = tuple(self._read(v) for v in inputs)
        return self.append(node, form.kind, form.overload, read, outputs, first=True)

    def _filled(self, place: Place, source: Value) -> Value:
        """`source` in the shape and dtype of `place`."""
        number = self.constants.get(self._resolve(source).name)
        if isinstance(number, torch.Tensor) and number.dim() == 0:
            number = number.item()
        if isinstance(number, (bool, int, float, complex)) or source.type != "Tensor":
            value = self._read(source) if number is None else self.constant(number)
            none = self.constant(None)
            return self.emit(
                "aten::full_like",
                "",
                (place.traced, value, none, none, none, none, none),
                place.traced,
            )
        value, shape = self._cast(self._read(source), place.traced.dtype), place.traced.shape
        if shape is not None and value.shape == shape and 1 not in shape:
            return value
        return self.emit("aten::expand_as", "", (value, place.traced), place.traced)

    def _cast(self, value: Value, dtype: torch.dtype | None) -> Value:
        if value.dtype == dtype:
            return value
        no, none = self.constant(False), self.constant(None)
        inputs = (value, self.constant(dtype), no, no, none)
        return self.emit("aten::to", "dtype", inputs, replace(value, dtype=dtype))

    def _stored(self, node: Node, result: Value, place: Place) -> Value | None:
        """What an ``out=`` argument holds afterwards; an empty one takes the size of the result."""
        is_resized = result.shape != place.traced.shape
        if is_resized and (
            place.parent is not None or place.children or 0 not in (place.traced.shape or ())
        ):
            self._refuse(
                node, f"resizes its out= argument from {place.traced.shape} to {result.shape}"
            )
            return None
        value = self._cast(result, place.traced.dtype)
        if is_resized:
            place.traced = value
        return value

    def _write(self, place: Place, value: Value, node: Node) -> None:
        """Give `place` a new value, and rebuild what it is a view of."""
        memory = place.memory
        changed, kept = [(place, value)], []
        while place.parent is not None:
            try:
                step = self._rebuilt(place, value, kept)
            except OutOfDate:
                break
            if step is None:
                memory.lost = f"{node.where} writes through a view ({place.view.where})"
                break
            changed.append(step)
            place, value = step
        self._note_write(memory, node)
        memory.writes += 1
        for written in kept:
            written.made = memory.writes
        for written, new in changed:
            written.value, written.made = new, memory.writes

    def _rebuilt(self, place: Place, value: Value, kept: list[Place]) -> tuple[Place, Value] | None:
        """The tensor above `place` and its new value; None if the view has no known inverse."""
        view, parent = place.view, place.parent
        if view.kind not in _UNPACKS:
            new = rebuild(view, self._current(parent), value, self)
            return None if new is None else (parent, new)
        siblings = [p for p in parent.children.values() if p.view is view]
        parts = tuple(value if p is place else self._current(p) for p in siblings)
        new = join(parent.view, parts, parent.parent.value, self)
        if new is None:
            return None
        kept.extend(p for p in siblings if p is not place)
        return parent.parent, new

    def _note_write(self, memory: Memory, node: Node) -> None:
        """Refuse or warn where others see the write; memory that may be the same is lost."""
        reached = [memory]
        for other in reached:
            reached.extend(m for m in other.maybe_same if m not in reached)
        for other in reached:
            if other.outlives:
                self._refuse(
                    node, f"{'writes' if other is memory else 'may write'} to {other.outlives}"
                )
            if other.is_input:
                self._input_writes[node.where] = None
            if other is not memory:
                other.writes += 1
                other.lost = f"{node.where} may write to the same memory"

    def _refuse(self, node: Node, reason: str) -> None:
        self._refused[f"{node.where} {reason}"] = None
