"""What the releases of TVM with Relay name differently."""

from typing import Any

from tvm import te

try:
    from tvm import tirx
    from tvm.sym import Analyzer

    def expr_dtype(x: Any) -> str:
        """The dtype of a TIR expression."""
        return str(x.ty.dtype)
except ImportError:
    from tvm import tir as tirx
    from tvm.arith import Analyzer

    def expr_dtype(x: Any) -> str:
        """The dtype of a TIR expression."""
        return str(x.dtype)


__all__ = ["Analyzer", "expr_dtype", "te", "tirx"]
