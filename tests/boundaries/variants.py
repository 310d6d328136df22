"""The variants of a module: its syntax tree with one comparison, or one thing beside it, decided otherwise.

A comparison by order has two: its boundary decided the other way, and its boundary moved one further into the
side that is decided so already. So a test must stand on either side, directly at the boundary.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import NamedTuple

_OTHER_OP: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
# How far the right side moves, so that one value less is decided as the boundary itself is not.
_FURTHER: dict[type[ast.cmpop], int] = {ast.Lt: -1, ast.LtE: 1, ast.Gt: 1, ast.GtE: -1}
_OTHER_NAME = {
    "min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum",
    "any": "all", "all": "any", "bisect_left": "bisect_right", "bisect_right": "bisect_left",
}  # fmt: skip


class Variant(NamedTuple):
    """One expression of one function, and what stands in its place; `line` is for the reader alone."""

    file: str  # from the project's root
    line: int
    function: str  # qualified
    code: str
    becomes: str
    number: int  # among the file's

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.function}: {self.code}  ->  {self.becomes}"


class _Site(NamedTuple):
    function: str
    parent: ast.AST
    field: str
    index: int | None
    node: ast.expr
    becomes: ast.expr


def variants_of(root: Path, file: str) -> list[Variant]:
    """All variants of a module's functions, in order. What a module does as it is imported has none."""
    sites = _sites_in(ast.parse((root / file).read_text()), "")
    return [
        Variant(file, s.node.lineno, s.function, ast.unparse(s.node), ast.unparse(s.becomes), number)
        for number, s in enumerate(sites)
    ]


def compiled(root: Path, variant: Variant) -> CodeType:
    """The whole module with this one variant in it."""
    path = root / variant.file
    tree = ast.parse(path.read_text())
    site = list(_sites_in(tree, ""))[variant.number]
    if site.index is None:
        setattr(site.parent, site.field, site.becomes)
    else:
        getattr(site.parent, site.field)[site.index] = site.becomes
    return compile(ast.fix_missing_locations(tree), str(path), "exec")


def _sites_in(parent: ast.AST, function: str, scope: str = "") -> Iterator[_Site]:
    """`function`: in which one we are; '' outside of any."""
    for field, value in ast.iter_fields(parent):
        for index, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(node, ast.AST) or _is_no_decision(field, node):
                continue
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _sites_in(node, scope + node.name, f"{scope}{node.name}.<locals>.")
            elif isinstance(node, ast.ClassDef):
                yield from _sites_in(node, function, f"{scope}{node.name}.")
            else:
                if function and isinstance(node, ast.expr):
                    for becomes in _instead_of(node):
                        yield _Site(function, parent, field, index, node, ast.copy_location(becomes, node))
                yield from _sites_in(node, function, scope)


def _is_no_decision(field: str, node: ast.AST) -> bool:
    """Types, texts that are told, and assertions, which hold in every test or end it."""
    return field in ("annotation", "returns", "decorator_list") or isinstance(
        node, ast.JoinedStr | ast.Assert
    )


def _instead_of(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare():
            yield from _comparisons(node)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for i in range(len(values)):
                rest = values[:i] + values[i + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.Call(ast.Name(name, context), args, keywords) if name in _OTHER_NAME:
            yield ast.Call(ast.Name(_OTHER_NAME[name], context), args, keywords)
        case ast.Attribute(value, name, context) if name in _OTHER_NAME:
            yield ast.Attribute(value, _OTHER_NAME[name], context)
        case ast.BinOp(left, ast.Add() | ast.Sub() as op, right):
            for other in _off_by_one(left):
                yield ast.BinOp(other, op, right)
            for other in _off_by_one(right):
                yield ast.BinOp(left, op, other)
        case ast.Slice(lower, upper, step):
            for other in _off_by_one(lower):
                yield ast.Slice(other, upper, step)
            for other in _off_by_one(upper):
                yield ast.Slice(lower, other, step)


def _comparisons(node: ast.Compare) -> Iterator[ast.Compare]:
    left, ops, right = node.left, node.ops, node.comparators
    last = len(ops) - 1
    for i, op in enumerate(ops):
        yield ast.Compare(left, [*ops[:i], _OTHER_OP[type(op)](), *ops[i + 1 :]], right)
        if further := _FURTHER.get(type(op)):
            if i == last:
                yield ast.Compare(left, ops, [*right[:i], _moved(right[i], further)])
            elif i == 0:
                yield ast.Compare(_moved(left, -further), ops, right)
        elif isinstance(op, ast.Eq | ast.NotEq):
            for other in _off_by_one(right[i]):
                yield ast.Compare(left, ops, [*right[:i], other, *right[i + 1 :]])


def _off_by_one(node: ast.expr | None) -> list[ast.expr]:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return [ast.Constant(node.value - 1), ast.Constant(node.value + 1)]
    return []


def _moved(node: ast.expr, by: int) -> ast.expr:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return ast.Constant(node.value + by)
    return ast.BinOp(node, ast.Add() if by > 0 else ast.Sub(), ast.Constant(1))
