"""A traced program compiled by TVM, with weights that can be exchanged."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from .backends import tvm_context_class, tvm_module
from .context import use_context
from .core import GraphModule
from .errors import ConversionError, Torch2TrtError
from .inference import TVMInference
from .program import Input, lowered
from .settings import Settings

log = logging.getLogger("torch2trt.module")


class TVMProgram:
    """A TVM program on one device, and how to keep it up to date.

    Attributes:
        run: calls it on the tensors among the inputs; gives the tensors among the outputs.
        run_plainly: the same without a CUDA graph.
    """

    def __init__(
        self,
        graph: GraphModule,
        inputs: Sequence[Input],
        device: torch.device,
        settings: Settings,
    ) -> None:
        self.inputs = tuple(inputs)
        self.device = device
        self.settings = settings
        self._compile(*self._define(graph))

    def update(self, graph: GraphModule) -> None:
        """Use the weights as they are now; compile again if more than weights changed."""
        module, weights = self._define(graph)
        if _same(module, self._module):
            self._set_weights(weights)
        else:
            self._compile(module, weights)

    def _define(self, graph: GraphModule) -> tuple[Any, dict[str, torch.Tensor]]:
        ctx = tvm_context_class()()
        with use_context(ctx):
            inputs = [ctx.input(i.name, i.shape, i.dtype) for i in self.inputs]
            program = copy.copy(lowered(graph, self.settings))
            outputs = program.run(inputs, ctx, self.settings.verbose)
            module = ctx.finish(outputs)
        weights = ctx.named_weights
        if self.settings.net_post_fn is not None:
            changed = self.settings.net_post_fn(module)
            module = module if changed is None else changed
        return module, weights

    def _compile(self, module: Any, weights: dict[str, torch.Tensor]) -> None:
        self._module = module
        self._compiled: Any = None
        names = [i.name for i in self.inputs]
        if tvm_context_class().name == "relay":
            program = self._compile_relay(module, weights, names)
        elif self.device.type == "cpu":
            from .backends.schedules import compile_cpu

            compiled = self._compiled = compile_cpu(module, None, _handed_over(weights))
            self._set_weights = lambda new: compiled.prepare(_handed_over(new))
            program = TVMInference(compiled, input_names=names)
        elif self.device.type == "cuda":
            program = self._compile_cuda(module, weights, names)
        else:
            raise ConversionError(f"device: got {self.device}, expected cpu or cuda for TVM")
        self.run = self.run_plainly = program.run
        if self.device.type == "cuda" and self._compiled is not None:
            self.run_plainly = lambda *tensors: self._compiled.run(tensors)

    def prepare(self, tensors: Sequence[torch.Tensor]) -> Callable[..., Sequence[torch.Tensor]]:
        """`run` without its checks, for tensors of the same shapes, dtypes and devices."""
        launch = getattr(self._compiled, "launch", None)
        fits = launch is not None and all(x.device == self.device for x in tensors)
        return launch if fits else self.run

    def report(self, tensors: Sequence[torch.Tensor]) -> list[Any]:
        """See ``TVMModule.report``."""
        if self._compiled is None:
            raise Torch2TrtError(
                "no report: this program is run by TVM's own machine, not by our schedules"
            )
        return self._compiled.report(*tensors)

    def _compile_cuda(
        self, module: Any, weights: dict[str, Any], names: Sequence[str]
    ) -> TVMInference:
        """A recorded plan; TVM's virtual machine where a shape is dynamic."""
        from .backends.cuda import Unplannable, compile_cuda

        try:
            compiled = compile_cuda(
                module, self.device, list(weights.values()), tf32=self.settings.tf32
            )
        except Unplannable as reason:
            log.info("no plan of this program, it is run by TVM's virtual machine: %s", reason)
            program = TVMInference(_build_cuda(module, self.device), weights, self.device)
            self._set_weights = program.set_params
            return program
        self._compiled = compiled
        self._set_weights = lambda new: compiled.prepare(list(new.values()))
        return TVMInference(compiled, device=self.device, input_names=names)

    def _compile_relay(
        self, module: Any, weights: dict[str, Any], names: Sequence[str]
    ) -> TVMInference:
        """Weights are a part of the program here, so other weights compile again."""
        from .backends.relay_build import build_relay

        if self.device.type != "cpu":
            raise ConversionError(f"device: got {self.device}, expected cpu for Relay")
        self._set_weights = lambda new: self._compile(module, new)
        return TVMInference(build_relay(module, weights), input_names=names)


def _handed_over(weights: dict[str, torch.Tensor]) -> Iterator[torch.Tensor]:
    """The values of a dict, which keeps none of them."""
    return (weights.pop(name) for name in list(weights))


def _build_cuda(module: Any, device: torch.device) -> Any:
    tvm = tvm_module()
    target = tvm.target.Target.from_device(tvm.cuda(device.index or 0))
    try:
        with target:
            return tvm.relax.build(module, target)
    except (RuntimeError, ValueError, TypeError) as error:
        raise Torch2TrtError(f"TVM could not compile for {target}: {error}") from error


def _same(one: Any, other: Any) -> bool:
    """Whether two modules are the same program."""
    tvm = tvm_module()
    if hasattr(tvm.ir, "structural_equal"):
        return bool(tvm.ir.structural_equal(one, other))
    import tvm_ffi

    return bool(tvm_ffi.structural_equal(one, other))
