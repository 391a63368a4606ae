"""Parallel loops of compiled programs on PyTorch's own threads.

TVM brings a thread pool of its own. The idle threads of both pools wait actively for a while after each use, and where
PyTorch and TVM run in turns each pool takes the processors from the other. So the loops run in the pool of OpenMP that
PyTorch uses. A launcher written in LLVM code is compiled into the program and takes the place of TVM's; it is given the
functions of the OpenMP library that PyTorch is linked with. Where there is none, TVM's pool is used.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import torch
import tvm
from tvm import tirx

_INSTALL, _LAUNCH, _WORK = "torch2trt_use_openmp", "torch2trt_launch", "torch2trt_work"
_OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")
_PACKED = 1  # the calling convention of functions that need no wrapper for TVM

# The code of a parallel loop calls the pointer `__TVMBackendParallelLaunch` with the body of the loop, its data, and
# the number of tasks, 0 for any. The body takes the number of a task, a structure that ends with the number of tasks,
# and the data; it calls nothing that can fail. The functions here are inlined into those that `functions` makes: code
# that TVM imports has no address.
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


def functions() -> dict[str, Any]:
    """The functions that a program needs to run its loops on PyTorch's threads, by name."""
    pointers = [tirx.Var(name, "handle") for name in ("body", "data")]
    native = {
        _LAUNCH: _calling(_LAUNCH, [*pointers, tirx.Var("wanted", "int32")]),
        _WORK: _calling(_WORK, [tirx.Var("job", "handle")]),
    }
    install = _calling(_INSTALL, [tirx.Var(name, "int64") for name in _OPENMP])
    return {
        _INSTALL: install.with_attr("global_symbol", _INSTALL),
        **{
            name: function.with_attrs({"global_symbol": name, "calling_conv": _PACKED})
            for name, function in native.items()
        },
    }


def _calling(name: str, params: list[Any]) -> Any:
    body = tirx.Evaluate(tirx.call_extern("void", f"{name}_code", *params))
    if name == _INSTALL:
        body = tirx.AttrStmt(
            tirx.const(0, "int32"), "pragma_import_llvm", tvm.ir.StringImm(_CODE), body
        )
    # TVM's code generator takes this promise for all functions from the last one that it meets.
    return tirx.PrimFunc(params, body).with_attr("tirx.noalias", True)


def install(executable: Any) -> Callable[[], object]:
    """Have the loops of a compiled program run on PyTorch's threads, or at least on as many.

    Returns:
        What to call before each run.
    """
    addresses = _openmp()
    if addresses is None:
        return _resize_pool
    module = getattr(executable, "mod", executable)
    module.get_function(_INSTALL, query_imports=True)(*addresses)
    return torch.get_num_threads  # hands the number to OpenMP, once for each thread of Python


@functools.cache
def _openmp() -> tuple[int, ...] | None:
    """The addresses of the functions of OpenMP that PyTorch runs on; None where it runs on something else."""
    if not torch.backends.openmp.is_available():
        return None
    library = ctypes.CDLL(torch._C.__file__)  # its symbols, and those of the libraries it is linked with
    try:
        found = [getattr(library, name) for name in _OPENMP]
    except AttributeError:
        return None
    return tuple(int(ctypes.cast(f, ctypes.c_void_p).value or 0) for f in found)


_pool_size = 0  # what the thread pool of TVM, one for the process, was last set to


def _resize_pool() -> None:
    """Give TVM's thread pool the size of PyTorch's."""
    global _pool_size
    wanted = torch.get_num_threads()
    if wanted != _pool_size:
        big_cores = 1  # the mode that prefers the fast cores where cores differ
        tvm.get_global_func("runtime.config_threadpool")(big_cores, wanted)
        _pool_size = wanted
