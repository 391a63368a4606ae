"""A compiled function with its packed weights."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from ...errors import Torch2TrtError
from .packing import Recipe, pack
from .report import Row, measure
from .target import CodeTarget

_FORMAT = "torch2trt cpu 2"
_ALIGNMENT = 64  # bytes; the generated code takes it for granted


class Compiled:
    """A function compiled for the CPU: its executable, packed weights, and which rule served what.

    Args:
        executable: the virtual machine's executable.
        recipes: how the packed weights are made from the parameters.
        rules: the rule of every fused function.
        inputs: shape and dtype of every input.
        target: what the code was made for.
    """

    def __init__(
        self,
        executable: Any,
        recipes: Sequence[Recipe],
        rules: dict[str, str],
        inputs: Sequence[tuple[tuple[int, ...], str]],
        target: CodeTarget,
    ) -> None:
        import tvm

        from .threads import install

        self.executable = executable
        self.recipes = tuple(recipes)
        self.rules = dict(rules)
        self.inputs = tuple(inputs)
        self.target = target
        self.vm = tvm.relax.VirtualMachine(executable, tvm.cpu())
        self._main = self.vm["main"]
        self._ready = install(executable)
        self._packed: list[torch.Tensor] = []
        self._weights: tuple[Any, ...] = ()
        self._given_back: frozenset[int] | None = None  # outputs that are inputs or weights

    def prepare(self, params: Iterable[torch.Tensor]) -> list[Any]:
        """Pack `params` and use them from the next call on; also to be called when they change.

        Args:
            params: the weights, in the order of the function's parameters. Each is let go as soon
                as it is packed.

        Returns:
            The packed weights, in the order in which the compiled function takes them.
        """
        with torch.no_grad():
            made = [_aligned(tensor).detach() for tensor in pack(self.recipes, params)]
        return self._use(made)

    def _use(self, packed: list[torch.Tensor]) -> list[Any]:
        import tvm

        weights = [tvm.runtime.from_dlpack(tensor) for tensor in packed]
        self._packed, self._weights = packed, tuple(weights)
        return weights

    def __call__(self, *inputs: Any) -> Any:
        """Run with the packed weights on PyTorch's threads; the outputs are memory of their own."""
        self._ready()
        result = self._main(*inputs, *self._weights)
        if self._given_back is None:
            self._given_back = _given_back((*inputs, *self._weights), result)
        if not self._given_back:
            return result
        outputs = enumerate(_outputs(result))
        return [torch.from_dlpack(y).clone() if i in self._given_back else y for i, y in outputs]

    def report(self, *inputs: Any, repeats: int = 3) -> list[Row]:
        """Which rule served each fused function and what share of the time it takes.

        Args:
            inputs: as for a call; zeros by default.
            repeats: the number of runs to take the time of.
        """
        import tvm

        given = inputs or self._zeros()
        vm = tvm.relax.VirtualMachine(self.executable, tvm.cpu())
        main = vm["main"]
        return measure(vm, lambda: main(*given, *self._weights), self.rules, repeats)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write code and packed weights to one file. Linking the code needs a C compiler.

        Raises:
            Torch2TrtError: the code could not be linked.
        """
        description = {
            "target": self.target.text,
            "features": sorted(self.target.features),
            "recipes": [r.as_list() for r in self.recipes],
            "rules": self.rules,
            "inputs": self.inputs,
        }
        content = {
            "format": _FORMAT,
            "description": json.dumps(description),
            "library": _library(self.executable),
            "constants": [r.constant for r in self.recipes],
            "weights": self._packed,
        }
        torch.save(content, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Compiled:
        """Read what `save` wrote.

        Raises:
            Torch2TrtError: the file is something else, or this machine lacks instructions that the
                code uses.
        """
        import tvm

        content = _read(path)
        description = json.loads(content["description"])
        target = CodeTarget(description["target"], frozenset(description["features"]))
        missing = target.missing()
        if missing:
            raise Torch2TrtError(
                f"{os.fspath(path)}: the code is for {target.text} and uses {', '.join(missing)},"
                " which this CPU lacks"
            )
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / "program.so"
            library.write_bytes(content["library"].numpy().tobytes())
            executable = tvm.runtime.load_module(str(library))
        described = zip(description["recipes"], content["constants"], strict=True)
        recipes = [Recipe.from_list(r, constant) for r, constant in described]
        inputs = [(tuple(shape), dtype) for shape, dtype in description["inputs"]]
        compiled = cls(executable, recipes, description["rules"], inputs, target)
        compiled._use([_aligned(w) for w in content["weights"]])
        return compiled

    def _zeros(self) -> list[Any]:
        return [torch.zeros(shape, dtype=getattr(torch, dtype)) for shape, dtype in self.inputs]


def _outputs(result: Any) -> list[Any]:
    if hasattr(result, "__dlpack__"):
        return [result]
    return [output for part in result for output in _outputs(part)]


def _given_back(given: Iterable[Any], result: Any) -> frozenset[int] | None:
    """The positions of the outputs that are memory of `given`; None where an empty one may be."""
    addresses = {torch.from_dlpack(x).data_ptr() for x in given}
    outputs = [torch.from_dlpack(y) for y in _outputs(result)]
    if not all(y.numel() for y in outputs):
        return None
    return frozenset(i for i, y in enumerate(outputs) if y.data_ptr() in addresses)


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        content = torch.load(path, weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise Torch2TrtError(f"{os.fspath(path)}: not a saved program: {error}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise Torch2TrtError(f"{os.fspath(path)}: not a program saved in format {_FORMAT}")
    return content


def _library(executable: Any) -> torch.Tensor:
    """The code as a shared library, in bytes."""
    if not hasattr(executable, "export_library"):
        raise Torch2TrtError("a program that was loaded cannot be saved again; copy its file")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "program.so"
        try:
            executable.export_library(str(library))
        except (RuntimeError, OSError) as error:
            raise Torch2TrtError(
                f"the code could not be linked by a C compiler: {error}"
            ) from error
        return torch.frombuffer(bytearray(library.read_bytes()), dtype=torch.uint8)


def _aligned(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.clone() if tensor.data_ptr() % _ALIGNMENT else tensor
