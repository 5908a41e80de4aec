"""What the source of a script says about a line that a run has pointed at. Read, never run."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator

from truefit.doctor.finding import Where

_LEAVES_THE_GRAPH = {"item", "detach", "tolist", "numpy", "data"}


def keeps_graph(backward: Where) -> Where | None:
    """The line in the loop around `loss.backward()` that adds `loss`, graph and all, to a sum or a list."""
    if backward.file is None or backward.line is None:
        return None
    try:
        tree = ast.parse("".join(linecache.getlines(backward.file)))
    except (SyntaxError, ValueError):
        return None
    name = None
    loops = []
    for node in ast.walk(tree):
        inside = node_lines(node)
        if inside is None or not inside[0] <= backward.line <= inside[1]:
            continue
        if isinstance(node, ast.For | ast.While):
            loops.append(node)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "backward":
            name = node.func.value.id if isinstance(node.func.value, ast.Name) else None
    if name is None or not loops:
        return None
    for node in ast.walk(max(loops, key=lambda loop: loop.lineno)):
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
            value: ast.AST = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append":
            value = node
        else:
            continue
        if any(part == name for part in _names_with_graph(value)):
            return Where(file=backward.file, line=node.lineno, subject=backward.subject)
    return None


def assigned(near: Where) -> Where | None:
    """The last line before `near` that assigns the variable `near.subject`, or else the first after it."""
    if near.file is None or near.line is None or near.subject is None:
        return None
    try:
        tree = ast.parse("".join(linecache.getlines(near.file)))
    except (SyntaxError, ValueError):
        return None
    wanted = near.subject.removeprefix("self.")
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and not (node.value is None or isinstance(node.value, ast.Constant))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if wanted in _names(target)
    ]
    if not lines:
        return None
    # In a loop the assignment that was made stands after the line at which the next pass begins.
    after = [line for line in lines if line > near.line]
    return Where(file=near.file, line=min(after) if after else max(lines), subject=near.subject)


def node_lines(node: ast.AST) -> tuple[int, int] | None:
    """First and last line of a node; None for one without a place."""
    first, last = getattr(node, "lineno", None), getattr(node, "end_lineno", None)
    return (first, last) if first is not None and last is not None else None


def _names_with_graph(node: ast.AST) -> Iterator[str]:
    """Names in an expression, but for those inside of .item(), .detach() or float()."""
    if isinstance(node, ast.Attribute) and node.attr in _LEAVES_THE_GRAPH:
        return
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("float", "int", "len"):
        return
    if isinstance(node, ast.Name):
        yield node.id
    for child in ast.iter_child_nodes(node):
        yield from _names_with_graph(child)


def chosen_by(file: str, data: set[str]) -> Where | None:
    """The `if` that keeps the best of a figure computed from `data` (names of a loader or a data set): it compares
    the figure with a variable that its body then sets to it, or stops the loop it stands in."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return None
    scopes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Module)]
    for scope in scopes:
        figures: set[str] = set()
        # Twice, for a figure that is handed on: a = f(loader); b = round(a, 3).
        for _ in range(2):
            for node in ast.walk(scope):
                if isinstance(node, ast.Assign) and _names(node.value) & (data | figures):
                    targets = set().union(*map(_names, node.targets))
                    figures |= targets - data
        for node in ast.walk(scope):
            if isinstance(node, ast.If) and _compares(node.test) & figures and _keeps(node, figures):
                return Where(file=file, line=node.lineno)
    return None


def _names(node: ast.AST) -> set[str]:
    """Names and attributes in an expression."""
    named = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return named | {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}


def _compares(test: ast.AST) -> set[str]:
    orders = (ast.Lt, ast.Gt, ast.LtE, ast.GtE)
    return {
        name
        for part in ast.walk(test)
        if isinstance(part, ast.Compare) and isinstance(part.ops[0], orders)
        for name in _names(part)
    }


def _keeps(node: ast.If, figures: set[str]) -> bool:
    compared = _names(node.test)
    for part in ast.walk(ast.Module(body=node.body, type_ignores=[])):
        if isinstance(part, ast.Break):
            return True
        if isinstance(part, ast.Assign) and _names(part.value) & figures:
            return bool(set().union(*map(_names, part.targets)) & compared)
    return False
