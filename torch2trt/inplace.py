"""What operations that write in place do, and their functional forms, from PyTorch's schemas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from .graph import Graph, Node

# They change how a tensor is seen, not its values.
VIEWS_IN_PLACE = {
    "aten::t_", "aten::transpose_", "aten::squeeze_", "aten::unsqueeze_", "aten::swapaxes_",
    "aten::swapdims_", "aten::detach_", "aten::as_strided_",
}  # fmt: skip
SIZES_ONLY = {
    "aten::size", "aten::dim", "aten::numel", "aten::stride", "aten::is_floating_point",
    "aten::is_complex", "aten::empty_like", "aten::zeros_like", "aten::ones_like",
    "aten::full_like", "aten::rand_like", "aten::randn_like", "aten::randint_like",
    "aten::new_empty", "aten::new_zeros", "aten::new_ones", "aten::new_full",
    "aten::empty_strided", "aten::new_empty_strided",
}  # fmt: skip
_CHANGES_MEMORY = {"aten::resize_", "aten::resize_as_", "aten::set_", "aten::set_data"}
UPDATES_STATISTICS = {
    "aten::batch_norm", "aten::instance_norm", "aten::_batch_norm_impl_index",
    "aten::_native_batch_norm_legit",
}  # fmt: skip
_OBSERVED = "aten::fused_moving_avg_obs_fake_quant"


@dataclass(frozen=True)
class Functional:
    """The functional form of an operation: its name, and which of the inputs it takes."""

    kind: str
    overload: str
    inputs: tuple[int, ...]


def reads_only_sizes(node: Node) -> bool:
    """Whether only the shape and dtype of the tensors count."""
    return node.kind in SIZES_ONLY


def is_out_variant(node: Node) -> bool:
    """Whether `node` writes its results to tensors that it does not read, as ``out=`` does."""
    return not node.kind.endswith("_")


def hidden_writes(node: Node, constants: Mapping[str, Any]) -> tuple[int, ...]:
    """The inputs that `node` writes to without saying so: running statistics in training mode."""
    if node.kind not in UPDATES_STATISTICS or constants.get(node.inputs[5].name) is not True:
        return ()
    return tuple(i for i in (3, 4) if node.inputs[i].type == "Tensor")


def observer_is_off(node: Node, attribute: Callable[[str], Any] | None, graph: Graph) -> bool:
    """Whether `node` is fake quantisation whose observer is switched off: it writes nothing.

    Args:
        attribute: gives the buffer that is the switch.
        graph: where the buffer is looked up.
    """
    if node.kind != _OBSERVED:
        return False
    names = ((n, value.name) for n in graph.nodes for value in n.outputs)
    switch = next((n for n, name in names if name == node.inputs[1].name), None)
    if switch is None or "value" in switch.attributes:
        return switch is not None and not switch.attributes["value"]
    path = switch.attributes.get("name")
    return None not in (attribute, path) and not attribute(path).any()


def missing_form(node: Node) -> str:
    """Why a node that writes in place is refused."""
    if node.kind == _OBSERVED:
        return "observes; call model.apply(torch.ao.quantization.disable_observer) first"
    return "writes in place and has no functional form"


def functional_form(node: Node) -> Functional | None:
    """The functional form of a node that writes to its first input or to ``out=``, if any."""
    return _functional_form(node.kind, node.overload, node.mutates, len(node.inputs))


@lru_cache(maxsize=1024)
def _functional_form(
    kind: str, overload: str, mutates: tuple[int, ...], count: int
) -> Functional | None:
    if kind in _CHANGES_MEMORY:
        return None
    schemas = torch._C._jit_get_schemas_for_operator(kind)
    own = next(
        (s for s in schemas if s.overload_name == overload and len(s.arguments) == count), None
    )
    if own is None or (kind.endswith("_") and mutates != (0,)):
        return None
    if not kind.endswith("_") and not all(own.arguments[i].kwarg_only for i in mutates):
        return None  # it reads what it writes to, which ``out=`` arguments are not
    kept = tuple(i for i in range(count) if kind.endswith("_") or i not in mutates)
    if kind == "aten::_index_put_impl_":
        return Functional("aten::index_put", overload, kept[:-1])
    name = _functional_kind(kind)
    wanted = _signature([own.arguments[i] for i in kept])
    fitting = [
        s.overload_name for s in torch._C._jit_get_schemas_for_operator(name)
        if _signature(s.arguments) == wanted
        and not any(a.alias_info is not None and a.alias_info.is_write for a in s.arguments)
    ]  # fmt: skip
    if not fitting:
        return None
    return Functional(name, overload if overload in fitting else fitting[0], kept)


def _signature(arguments: list[Any]) -> list[tuple[str, str]]:
    """Names and types; the first name does not count (it is self or input)."""
    return [(a.name if i else "", str(a.type)) for i, a in enumerate(arguments)]


def _functional_kind(kind: str) -> str:
    if kind.startswith("aten::__i"):
        return f"aten::__{kind[len('aten::__i') :]}"
    return kind[:-1] if kind.endswith("_") else kind
