"""Lists, tuples, numbers and sizes: what stands between the operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..context import current_context
from ..registry import builtin_handler, op
from . import common
from .elementwise import mul


@builtin_handler("prim::Constant")
def constant(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    return [attributes["value"]]


@builtin_handler("prim::ListConstruct")
def list_construct(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    return [list(inputs)]


@builtin_handler("prim::TupleConstruct")
def tuple_construct(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    return [tuple(inputs)]


@builtin_handler("prim::ListUnpack", "prim::TupleUnpack")
def unpack(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    return list(inputs[0])


@builtin_handler("prim::DictConstruct")
def dict_construct(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    return [dict(zip(inputs[::2], inputs[1::2]))]


@builtin_handler("aten::__getitem__")
def getitem(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    return [inputs[0][inputs[1]]]


@builtin_handler("prim::NumToTensor", "aten::ScalarImplicit")
def num_to_tensor(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    """Numbers stay numbers where the trace wraps them as 0-d tensors; operators take either."""
    return [inputs[0]]


@builtin_handler("aten::Int", "aten::IntImplicit")
def to_int(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    ctx, (value,) = current_context(), inputs
    if ctx.is_dim(value):
        return [value]
    return [ctx.as_dim(value) if ctx.is_tensor(value) else int(value)]


@builtin_handler("aten::Float", "aten::FloatImplicit")
def to_float(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    return [_static(inputs[0], float)]


@builtin_handler("aten::Bool")
def to_bool(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    return [_static(inputs[0], bool)]


@builtin_handler("aten::item", "aten::_local_scalar_dense")
def item(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    value = inputs[0]
    return [value.item() if isinstance(value, torch.Tensor) else _static(value, lambda v: v)]


def _static(value: Any, convert: Any) -> Any:
    ctx = current_context()
    if ctx.is_tensor(value):
        raise ctx.refuse(
            "a Python number from tensor values, which are not known before the network runs"
        )
    return value if ctx.is_dim(value) else convert(value)


@builtin_handler("aten::size", "aten::sym_size")
def size(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    """size(Tensor self) -> int[], size.int(Tensor self, int dim) -> int"""
    ctx = current_context()
    sizes = common.shape(ctx, inputs[0])
    return [sizes[inputs[1]] if len(inputs) > 1 else list(sizes)]


@builtin_handler("aten::dim")
def dim(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    return [common.rank(current_context(), inputs[0])]


@builtin_handler("aten::len")
def length(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    ctx, value = current_context(), inputs[0]
    if ctx.is_tensor(value) or isinstance(value, torch.Tensor):
        return [common.shape(ctx, value)[0]]
    return [len(value)]


@builtin_handler("aten::numel", "aten::sym_numel")
def numel(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    return [common.numel(current_context(), inputs[0])]


@op(
    "aten::detach", "aten::clone", "aten::contiguous", "aten::alias", "aten::lift_fresh",
    "aten::lift", "aten::positive", "aten::lift_fresh_copy", "aten::detach_copy",
    "aten::alias_copy", "aten::resolve_conj", "aten::resolve_neg", "aten::real", "aten::conj",
    "aten::conj_physical", "aten::_conj", "aten::_conj_physical", "aten::cpu", "aten::cuda",
)  # fmt: skip
def same(ctx, x, *_):
    """detach(Tensor self),
    clone(Tensor self, *, MemoryFormat? memory_format=None), ...: the values do not change"""
    return x


@op("aten::dropout", "aten::feature_dropout", "aten::alpha_dropout", "aten::feature_alpha_dropout")
def dropout(ctx, x, p, train):
    """dropout(Tensor input, float p, bool train) -> Tensor"""
    if train and p > 0:
        if p < 1:
            raise ctx.refuse("dropout in training mode is random; call module.eval() first")
        return mul(ctx, x, 0)
    return x


@op("aten::native_dropout")
def native_dropout(ctx, x, p, train):
    """native_dropout(Tensor input, float p, bool? train) -> (Tensor, Tensor mask)"""
    return dropout(ctx, x, p, train), common.full(ctx, common.shape(ctx, x), True, torch.bool)
