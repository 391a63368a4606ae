"""Checks code that cannot run here: does it compile, and do its names mean something?"""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any


def problems(code: str, namespace: dict[str, Any]) -> list[str]:
    """What is wrong with `code` as far as reading tells; its imports are executed.

    Args:
        code: statements.
        namespace: what was defined before; the imports are added.

    Returns:
        Names that nothing defines, attributes that modules and classes do not have, and keyword
        arguments that functions do not take.
    """
    tree = ast.parse(code)
    imports = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(imports, []), "<imports>", "exec"), namespace)
    made = set(_made(tree))
    known = {**vars(builtins), **namespace}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in made and node.id not in known:
            found.append(f"line {node.lineno}: the name {node.id} is not defined")
        elif isinstance(node, (ast.Attribute, ast.Call)):
            found += _wrong(node, {k: v for k, v in known.items() if k not in made})
    return found


def _made(tree: ast.AST) -> Iterator[str]:
    """The names that the code defines itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg


def _wrong(node: ast.Attribute | ast.Call, known: dict[str, Any]) -> Iterator[str]:
    if isinstance(node, ast.Attribute):
        owner = _meaning(node.value, known)
        if isinstance(owner, (ModuleType, type)) and not hasattr(owner, node.attr):
            yield f"line {node.lineno}: {ast.unparse(node)} does not exist"
        return
    called = _meaning(node.func, known)
    if not callable(called):
        return
    try:
        taken = inspect.signature(called).parameters.values()
    except ValueError:  # a built-in function that does not tell
        return
    names = {p.name for p in taken}
    if not any(p.kind is p.VAR_KEYWORD for p in taken):
        for keyword in node.keywords:
            if keyword.arg is not None and keyword.arg not in names:
                yield f"line {node.lineno}: {ast.unparse(node.func)} takes no {keyword.arg}"


def _meaning(node: ast.expr, known: dict[str, Any]) -> Any:
    """What a dotted name stands for, None where only running tells."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _meaning(node.value, known)
        if isinstance(owner, (ModuleType, type)):
            return getattr(owner, node.attr, None)
    return None
