"""``RelaxContext`` as a whole: parameters, outputs, symbolic dimensions, expressions, refusals."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

tvm = pytest.importorskip("tvm")
pytest.importorskip("tvm.relax")

from relax_rows.harness import F32, I64, compile_and_run, rand  # noqa: E402

from torch2trt.backends.relax import RelaxContext  # noqa: E402
from torch2trt.errors import UnsupportedOpError  # noqa: E402


def evaluate(
    context: RelaxContext, outputs: Sequence[Any], *inputs: torch.Tensor
) -> list[torch.Tensor]:
    return compile_and_run(context, outputs, inputs)


def test_outputs_that_are_inputs_weights_literals_or_twice_the_same() -> None:
    context = RelaxContext()
    x, weight = rand(2, 3), rand(3)
    var = context.input("x", [2, 3], F32)
    y = context.binary("add", var, weight)
    got = evaluate(context, [y, var, y, weight, context.literal(torch.tensor([1, 2]))], x)
    for a, b in zip(got, [x + weight, x, x + weight, weight, torch.tensor([1, 2])]):
        assert torch.equal(a, b)


def test_one_output_is_a_tensor_and_may_be_an_input() -> None:
    context = RelaxContext()
    var = context.input("x", [2, 3], F32)
    assert torch.equal(evaluate(context, [var], rand(2, 3))[0], rand(2, 3))


def test_weights_are_parameters_in_order_and_given_once() -> None:
    context = RelaxContext()
    first, second = rand(3), rand(2, 3)
    x = context.input("images", ["batch", 3], F32)
    y = context.binary("mul", context.binary("add", x, first), first)
    assert context.constant(first.detach()).same_as(context.constant(first))
    y = context.matmul(y, context.permute(context.constant(second, "weight"), [1, 0]))
    module = context.finish([y])
    kept = context.tvm_weight_dict.values()
    assert [v is t for v, t in zip(kept, [first, second])] == [True, True]
    main = module["main"]
    assert int(main.attrs["num_input"]) == 1
    names = [p.name for p in main.params]
    assert names[0] == "images" and names[1:] == [v.name for v in context.tvm_weight_dict]
    assert len(set(names)) == len(names) == 3


def test_a_named_dimension_is_one_number_for_all_inputs() -> None:
    context = RelaxContext()
    x, y = context.input("x", ["batch", 3], F32), context.input("y", ["batch", None], F32)
    (batch, three), (same, other) = context.shape(x), context.shape(y)
    assert three == 3 and isinstance(three, int)
    assert not isinstance(batch, int) and batch.same_as(same) and not batch.same_as(other)
    got = evaluate(context, [context.concat([x, y], 1)], rand(2, 3), rand(2, 5))
    assert torch.equal(got[0], torch.cat([rand(2, 3), rand(2, 5)], 1))


def test_symbolic_integers_calculate_from_both_sides() -> None:
    context = RelaxContext()
    n = context.shape(context.input("x", [None], F32))[0]
    dims = [n + 1, 1 + n, n - 1, 9 - n, n * 2, 2 * n, n // 2, 9 // n, n % 2, 9 % n]
    got = evaluate(context, [context.size_tensor(dims)], rand(4))
    assert got[0].tolist() == [5, 5, 3, 5, 8, 8, 2, 2, 0, 1]


def test_variables_of_the_caller_become_parameters() -> None:
    relax = tvm.relax
    context = RelaxContext()
    n = tvm.tirx.Var("n", "int64")
    mine = relax.Var("mine", relax.TensorType([n, 3], "float32"))
    weight = rand(3)
    y = context.binary("add", context.unary("relu", mine), weight)
    got = evaluate(context, [y], rand(4, 3))
    assert torch.equal(got[0], rand(4, 3).relu() + weight)


def test_raw_expressions_of_user_handlers() -> None:
    context = RelaxContext()
    x = context.input("x", [4, 3], F32)
    raw = context.op("nn.relu")(context.op("negative")(x))
    assert context.is_tensor(raw) and context.is_tensor(x)
    assert (
        not context.is_tensor(3)
        and not context.is_tensor(tvm.tirx.Var("n", "int64"))
        and not context.is_tensor(rand(2))
    )
    assert context.is_dim(tvm.tirx.Var("n", "int64"))
    assert not context.is_dim(x) and not context.is_dim(3)
    y = context.normalize(raw)
    assert context.shape(y) == (4, 3) and context.dtype(y) == F32
    parts = context.normalize(context.op("split")(x, 2, 0))
    got = evaluate(context, [context.binary("add", raw, x), *parts], rand(4, 3))
    assert torch.equal(got[0], (-rand(4, 3)).relu() + rand(4, 3))
    assert torch.equal(torch.cat(got[1:]), rand(4, 3))


def small_module() -> Any:
    context = RelaxContext()
    y = context.input("y", [3, 7], F32)
    return context.finish([context.topk(context.binary("remainder", y, y), 2, 1, True)[0]])


def test_an_unfinished_context_disturbs_no_other(capfd: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        context = RelaxContext()
        context.unary("relu", context.input("x", [2], F32))
        raise ValueError("in a handler")

    whole = RelaxContext()
    x = whole.input("x", [2, 3], F32)
    with pytest.raises(ValueError, match="in a handler"):
        broken()
    gc.collect()
    with ThreadPoolExecutor(4) as pool:
        modules = list(pool.map(lambda _: small_module(), range(8)))
    assert {str(module) for module in modules} == {str(small_module())}
    assert torch.equal(evaluate(whole, [whole.unary("neg", x)], rand(2, 3))[0], -rand(2, 3))
    assert "remaining blocks" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "call",
    [
        lambda c, x: c.nonzero(x),
        lambda c, x: c.as_dim(x),
        lambda c, x: c.binary("add", x, torch.ones(3, dtype=I64)),
        lambda c, x: c.constant(torch.zeros(2, dtype=torch.complex64)),
        lambda c, x: c.unary("gamma", x),
        lambda c, x: c.binary("hypot", x, x),
        lambda c, x: c.reduce("median", x, [0], False),
        lambda c, x: c.pad(x, [1], [1], "mirror"),
        lambda c, x: c.reduce("max", c.slice(x, [0], [0], [1]), [0], False),
        lambda c, x: c.cumulative("max", x, 0),
        lambda c, x: c.topk(x, c.shape(x)[0], 0, True),
        lambda c, x: c.scatter(x, x, x, 0, "mean"),
    ],
)
def test_refusals(call: Callable[..., Any]) -> None:
    context = RelaxContext()
    with pytest.raises(UnsupportedOpError, match="backend: relax"):
        call(context, context.input("x", [None], F32))
