"""Runs the parallel loops of TVM's programs on PyTorch's own threads.

A launcher written in LLVM code is compiled into the program and takes the place of TVM's. It is
given the functions of the OpenMP library that PyTorch is linked with.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
import tvm

_INSTALL, _LAUNCH, _WORK = "torch2trt_use_openmp", "torch2trt_launch", "torch2trt_work"
_OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
_PACKED = 1  # the calling convention of functions that need no wrapper for TVM
OPAQUE_POINTERS = 15  # the first version of LLVM that reads the code below

# The code of a parallel loop calls the pointer `__TVMBackendParallelLaunch` with the body of the
# loop, its data, and the number of tasks, 0 for any. The body takes the number of a task, a
# structure that ends with the number of tasks, and the data; it calls nothing that can fail. The
# functions here are inlined into those that `launcher_functions` makes: code that TVM imports has
# no address.
_CODE = f"""
%tasks = type {{ ptr, i32 }}
%job = type {{ ptr, ptr, i32 }}

@__TVMBackendParallelLaunch = external global ptr
@{_INSTALL}_parallel = internal global ptr null
@{_INSTALL}_index = internal global ptr null
@{_INSTALL}_count = internal global ptr null

declare i32 @{_LAUNCH}(ptr, ptr, i32)
declare i32 @{_WORK}(ptr)

define void @{_INSTALL}_code(i64 %parallel, i64 %index, i64 %count) {{
  %pointer.parallel = inttoptr i64 %parallel to ptr
  %pointer.index = inttoptr i64 %index to ptr
  %pointer.count = inttoptr i64 %count to ptr
  store ptr %pointer.parallel, ptr @{_INSTALL}_parallel
  store ptr %pointer.index, ptr @{_INSTALL}_index
  store ptr %pointer.count, ptr @{_INSTALL}_count
  store ptr @{_LAUNCH}, ptr @__TVMBackendParallelLaunch
  ret void
}}

define void @{_LAUNCH}_code(ptr %body, ptr %data, i32 %wanted) {{
  %job = alloca %job
  %job.data = getelementptr %job, ptr %job, i32 0, i32 1
  %job.wanted = getelementptr %job, ptr %job, i32 0, i32 2
  store ptr %body, ptr %job
  store ptr %data, ptr %job.data
  store i32 %wanted, ptr %job.wanted
  %parallel = load ptr, ptr @{_INSTALL}_parallel
  call void %parallel(ptr @{_WORK}, ptr %job, i32 0, i32 0)
  ret void
}}

define void @{_WORK}_code(ptr %job) {{
  %job.data = getelementptr %job, ptr %job, i32 0, i32 1
  %job.wanted = getelementptr %job, ptr %job, i32 0, i32 2
  %body = load ptr, ptr %job
  %data = load ptr, ptr %job.data
  %wanted = load i32, ptr %job.wanted
  %index = load ptr, ptr @{_INSTALL}_index
  %count = load ptr, ptr @{_INSTALL}_count
  %thread = call i32 %index()
  %threads = call i32 %count()
  %any = icmp eq i32 %wanted, 0
  %total = select i1 %any, i32 %threads, i32 %wanted
  %tasks = alloca %tasks
  %tasks.total = getelementptr %tasks, ptr %tasks, i32 0, i32 1
  store ptr null, ptr %tasks
  store i32 %total, ptr %tasks.total
  br label %next
next:
  %task = phi i32 [ %thread, %0 ], [ %following, %run ]
  %left = icmp slt i32 %task, %total
  br i1 %left, label %run, label %done
run:
  %status = call i32 %body(i32 %task, ptr %tasks, ptr %data)
  %following = add i32 %task, %threads
  br label %next
done:
  ret void
}}
"""


def launcher_functions(tir: Any, part: int = 0, **attributes: Any) -> dict[str, Any]:
    """The functions that a program needs to run its loops on PyTorch's threads, by name.

    Args:
        tir: the module of TVM that has ``PrimFunc``: ``tvm.tirx`` or, before that, ``tvm.tir``.
        part: the number of the part of the program that they are for; each part of the code needs
            its own.
        attributes: of all functions.
    """
    pointers = [tir.Var(name, "handle") for name in ("body", "data")]
    native = {
        _LAUNCH: _calling(tir, _LAUNCH, part, [*pointers, tir.Var("wanted", "int32")]),
        _WORK: _calling(tir, _WORK, part, [tir.Var("job", "handle")]),
    }
    native = {name: f.with_attr("calling_conv", _PACKED) for name, f in native.items()}
    install = _calling(tir, _INSTALL, part, [tir.Var(name, "int64") for name in _OPENMP])
    named = {_of(part, n): function for n, function in {_INSTALL: install, **native}.items()}
    return {
        name: function.with_attrs({"global_symbol": name, **attributes})
        for name, function in named.items()
    }


def _of(part: int, text: str) -> str:
    """A name, or code with names, of the first part as that of another part."""
    return text.replace("torch2trt_", f"torch2trt_{part}_") if part else text


def _calling(tir: Any, name: str, part: int, params: list[Any]) -> Any:
    body = tir.Evaluate(tir.call_extern("void", _of(part, f"{name}_code"), *params))
    if name == _INSTALL:
        text = getattr(tir, "StringImm", None) or tvm.ir.StringImm
        code = text(_of(part, _CODE))
        body = tir.AttrStmt(tir.const(0, "int32"), "pragma_import_llvm", code, body)
    # TVM's code generator takes this promise for all functions from the last one that it meets.
    promise = f"{tir.__name__.rpartition('.')[2]}.noalias"
    return tir.PrimFunc(params, body).with_attr(promise, True)


def use_openmp(program: Any, functions: tuple[int, ...] | None) -> bool:
    """Have the loops of a program run on OpenMP's threads from now on.

    Args:
        program: a runtime module.
        functions: what `addresses` gives.

    Returns:
        Whether it can: there are `functions`, and the program has a launcher.
    """
    part = 0
    while functions and program.implements_function(_of(part, _INSTALL), query_imports=True):
        program.get_function(_of(part, _INSTALL), query_imports=True)(*functions)
        part += 1
    return part > 0


@functools.cache
def addresses() -> tuple[int, ...] | None:
    """Of the functions of OpenMP that PyTorch runs on; None where it runs on something else."""
    if not torch.backends.openmp.is_available():
        return None
    library = ctypes.CDLL(torch._C.__file__)  # with the symbols of what it is linked with
    try:
        found = [getattr(library, name) for name in _OPENMP]
    except AttributeError:
        return None
    return tuple(int(ctypes.cast(f, ctypes.c_void_p).value or 0) for f in found)
