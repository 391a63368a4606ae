"""Forward hooks of compiled modules. Engines are simulated."""

import pytest
import torch
from module_case import defines_networks, images, net, same
from torch import nn

from torch2trt.errors import InputMismatchError
from torch2trt.module import TensorRTModuleWrapper

pytestmark = defines_networks


@pytest.fixture
def wrapped(machine):
    return TensorRTModuleWrapper(net(), 4, check=False)


def as_pytorch(wrapped, register):
    """What hooks see and give in train mode, that is in PyTorch, and with the engine."""
    found = []
    for mode in (wrapped.train, wrapped.eval):
        seen = []
        mode()
        wrapped.net.eval()
        torch.manual_seed(3)
        handles = register(wrapped, seen)
        try:
            seen.append(("result", wrapped(images(2))))
        except (RuntimeError, InputMismatchError) as error:
            seen.append((f"error: {error}",))
        for handle in handles:
            handle.remove()
        found.append(seen)
    (expected, got) = found
    assert [name for name, *_ in got] == [name for name, *_ in expected]
    for (_, *left), (_, *right) in zip(got, expected):
        same(left, right)
    return got


def looks(module, seen):
    def before(owner, args):
        assert owner is module
        seen.append(("before", args[0]))

    def after(owner, args, result):
        assert owner is module
        seen.append(("after", args[0], result))

    return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]


def changes(module, seen):
    def last(owner, args, result):
        seen.append(("last", result))

    return [
        module.register_forward_hook(last),
        module.register_forward_hook(lambda owner, args, y: y * 2, prepend=True),
        module.register_forward_hook(lambda owner, args, y: {"y": y}),
        module.register_forward_pre_hook(lambda owner, args: args[0] + 1),
        module.register_forward_pre_hook(lambda owner, args: (args[0] * 3,)),
    ]


def with_keywords(module, seen):
    def before(owner, args, kwargs):
        return (args[0] + kwargs.get("more", 1),), {}

    def after(owner, args, kwargs, result):
        seen.append(("after", args[0], list(kwargs)))
        return result + 1

    return [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after, with_kwargs=True),
    ]


def of_all_modules(module, seen):
    def after(owner, args, result):
        if owner is module:
            seen.append(("after", result))
            return result * 2

    return [nn.modules.module.register_module_forward_hook(after)]


def fails(module, seen):
    def wrong(owner, args, result):
        raise RuntimeError("wrong")

    def always(owner, args, result):
        seen.append(("always", result))

    return [
        module.register_forward_hook(wrong),
        module.register_forward_hook(always, always_call=True),
        module.register_forward_hook(lambda *given: seen.append(("never",))),
    ]


@pytest.mark.parametrize(
    "register", [looks, changes, with_keywords, of_all_modules, fails], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("compiled", [False, True], ids=["before", "after"])
def test_hooks_are_those_of_pytorch(wrapped, register, compiled):
    if compiled:
        wrapped(images(2))
    got = as_pytorch(wrapped, register)
    assert got[-1][0] == ("error: wrong" if register is fails else "result")
    x = images(3)
    same(wrapped(x), wrapped.net(x))


def test_a_pre_hook_that_gives_no_inputs_is_named(wrapped):
    wrapped.register_forward_pre_hook(lambda *given: 3, with_kwargs=True)
    with pytest.raises(InputMismatchError, match="pre-hook: got int"):
        wrapped(images(2))


def test_hooks_of_submodules_are_part_of_the_program(wrapped, machine):
    x = images(2)
    before = wrapped(x)
    handle = wrapped.net[4].register_forward_hook(lambda owner, args, y: y * 2)
    same(wrapped(x), before * 2)
    handle.remove()
    same(wrapped(x), before)
    assert len(machine.builds) == 3


def test_inside_another_engine_hooks_are_traced(machine):
    inner = TensorRTModuleWrapper(nn.Linear(4, 4), 4, check=False).eval()
    inner.register_forward_hook(lambda owner, args, y: y * 2)
    whole = TensorRTModuleWrapper(nn.Sequential(inner, nn.ReLU()), 4, check=False).eval()
    x = torch.rand(2, 4)
    same(whole(x), (inner.net(x) * 2).relu())
    same(inner(x), inner.net(x) * 2)
