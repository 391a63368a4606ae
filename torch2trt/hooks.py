"""Runs the forward hooks of a module around something else than its ``forward``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.modules import module as _nn

from .errors import InputMismatchError

# hooks of all modules
everywhere, everywhere_before = _nn._global_forward_hooks, _nn._global_forward_pre_hooks


def call_with_hooks(
    module: nn.Module, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """What ``nn.Module.__call__`` does, with `function` for ``forward``, backward hooks apart.

    Hooks registered for all modules come first. A pre-hook may give new inputs, a hook a new
    result. When something fails, the hooks that are to be called always are called, with the result
    so far or None.

    Raises:
        InputMismatchError: a pre-hook gave something that cannot be inputs.
    """
    hooks = {**everywhere, **module._forward_hooks}
    always = {*module._forward_hooks_always_called, *_nn._global_forward_hooks_always_called}
    with_kwargs = {*module._forward_hooks_with_kwargs, *_nn._global_forward_hooks_with_kwargs}
    waiting, result = dict(hooks), None

    def run(key: int) -> Any:
        hook = waiting.pop(key)
        given = (args, kwargs) if key in with_kwargs else (args,)
        changed = hook(module, *given, result)
        return result if changed is None else changed

    try:
        args, kwargs = _before(module, args, kwargs)
        result = function(*args, **kwargs)
        for key in hooks:
            result = run(key)
    except Exception:
        for key in [key for key in waiting if key in always]:
            try:
                result = run(key)
            except Exception as error:
                warnings.warn(f"a forward hook failed after another error: {error}", stacklevel=3)
        raise
    return result


def _before(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    for key, hook in {**everywhere_before, **module._forward_pre_hooks}.items():
        if key in module._forward_pre_hooks_with_kwargs:
            given = hook(module, args, kwargs)
            if given is not None:
                if not isinstance(given, tuple) or len(given) != 2:
                    raise InputMismatchError(
                        f"forward pre-hook: got {type(given).__name__}, expected None or a pair of"
                        " positional and keyword arguments"
                    )
                args, kwargs = given
        else:
            given = hook(module, args)
            if given is not None:
                args = given if isinstance(given, tuple) else (given,)
    return args, kwargs
