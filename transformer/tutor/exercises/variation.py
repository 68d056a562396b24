"""Name a mistake that nobody foresaw: change the book's answer until it behaves like the learner's.

The answer's syntax tree is varied by the rules of a table, one change or two. A variant that gives what the learner's
answer gives, on every case, says in words what is different.
"""

import ast
import copy
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F

from transformer.tutor.exercises.exercise import Exercise, Function

Change = tuple[ast.AST, str, bool]
"""what stands in the place of a node, what to say, and whether it is plain, as in `Variant`"""
Rule = tuple[str, str, str]
"""what may stand in an answer, what a mistake puts there, and what to say: capital letters stand for any expression.
What is said behind a bar is said where the letters stand for what has no name"""

RULES: list[Rule] = [
    # operators
    ("A + B", "A - B", "{B} is subtracted, not added|a difference stands in the place of a sum"),
    ("A + B", "A", "{B} is not added"),
    ("A + B", "B", "{A} is not added"),
    (
        "A + B",
        "A * B",
        "{A} and {B} are multiplied, not added|a product stands in the place of a sum",
    ),
    ("A - B", "A + B", "{B} is added, not subtracted|a sum stands in the place of a difference"),
    ("A - B", "B - A", "{A} is subtracted from {B}, not the other way round|a difference has the other sign"),
    ("A - B", "A", "{B} is not subtracted"),
    ("A - B", "B", "{B} stands in the place of the difference"),
    ("A * B", "A / B", "{A} is divided by {B}, not multiplied|a quotient stands in the place of a product"),
    ("A * B", "A + B", "{A} and {B} are added, not multiplied|a sum stands in the place of a product"),
    ("A * B", "A", "the factor {B} is missing"),
    ("A * B", "B", "the factor {A} is missing"),
    ("A / B", "A * B", "{A} is multiplied by {B}, not divided|a product stands in the place of a quotient"),
    ("A / B", "B / A", "{B} is divided by {A}, not the other way round|a quotient is upside down"),
    ("A / B", "A", "the division by {B} is missing"),
    (
        "A / B",
        "A - B",
        "{B} is subtracted from {A}, which should be divided by it|a difference stands in the place of a quotient",
    ),
    ("A / B", "A // B", "the division is one of whole numbers, which leaves the remainder out"),
    ("(A / B) ** C", "A ** C / B", "the power is taken of {A} alone, before the division"),
    ("A * (B + C)", "A * B + C", "{C} is not multiplied by {A}"),
    ("A * (B + C)", "B + A * C", "{B} is not multiplied by {A}"),
    ("A // B", "A / B", "the division is not one of whole numbers"),
    ("A // B", "A % B", "the remainder stands in the place of the whole quotient"),
    ("A // B", "A", "the division by {B} is missing"),
    ("A ** B", "A * B", "{A} is multiplied by {B}, not raised to that power"),
    ("A ** B", "A", "the power {B} is missing"),
    ("A ** B", "A ** (2 * B)", "the exponent is twice as large"),
    ("A ** B", "A ** (B / 2)", "the exponent is half as large"),
    ("A ** B", "A ** -B", "the exponent has the other sign"),
    ("A ** B", "B ** A", "base and exponent have changed places"),
    ("A @ B", "B @ A", "the two factors of a matrix product have changed places"),
    ("A @ B", "A @ B.mT", "{B} is transposed before it is multiplied"),
    ("A @ B", "A.mT @ B", "{A} is transposed before it is multiplied"),
    ("A @ B", "A * B", "the matrices are multiplied entry by entry"),
    ("A @ B", "A", "the product with {B} is missing"),
    ("A @ B", "B", "the product with {A} is missing"),
    ("A & B", "A | B", "the two conditions are joined by *or*, not by *and*"),
    ("A & B", "A", "the second of two conditions is missing"),
    ("A & B", "B", "the first of two conditions is missing"),
    ("A and B", "A or B", "the two conditions are joined by *or*, not by *and*"),
    ("A or B", "A", "the second choice, for where {A} is empty or 0, is missing"),
    ("A or B", "B", "the first choice is never taken"),
    ("-A", "A", "the minus sign before {A} is missing"),
    ("~A", "A", "the mask is not inverted where it has to be"),
    ("not A", "A", "a condition is the wrong way round"),
    # comparisons
    (
        "A == B",
        "A != B",
        "a comparison is the wrong way round: {A} has to equal {B}|a comparison is the wrong way round",
    ),
    (
        "A != B",
        "A == B",
        "a comparison is the wrong way round: {A} has to differ from {B}|a comparison is the wrong way round",
    ),
    ("A < B", "A <= B", "a comparison lets equality pass: {A} has to be smaller"),
    ("A < B", "A > B", "a comparison is the wrong way round: {A} has to be the smaller one"),
    ("A <= B", "A < B", "a comparison does not let equality pass, and should"),
    ("A <= B", "A >= B", "a comparison is the wrong way round: {A} has to be the smaller one"),
    ("A > B", "A >= B", "a comparison lets equality pass: {A} has to be larger"),
    ("A > B", "A < B", "a comparison is the wrong way round: {A} has to be the larger one"),
    ("A >= B", "A > B", "a comparison does not let equality pass, and should"),
    ("A >= B", "A < B", "a comparison is the wrong way round: {A} has to be the larger one"),
    ("A if C else B", "A", "the condition is not asked: {A} is taken in both cases"),
    ("A if C else B", "B", "the condition is not asked: {B} is taken in both cases"),
    ("A if C else B", "B if C else A", "the two cases have changed places"),
    # functions, their neighbours, and what is done before and after them
    ("A.softmax(D)", "A.log_softmax(D)", "the logarithm of the softmax stands in the place of the softmax"),
    ("A.softmax(D)", "A.sigmoid()", "a sigmoid, of each number by itself, stands in the place of the softmax"),
    ("A.softmax(D)", "(-A).softmax(D)", "the scores have the other sign before the softmax"),
    ("A.softmax(D)", "A.softmax(D).softmax(D)", "the softmax is taken twice"),
    ("(A / B).softmax(D)", "A.softmax(D) / B", "the division by {B} comes after the softmax"),
    ("A.log_softmax(D)", "A.softmax(D)", "the probabilities stand in the place of their logarithms"),
    ("A.relu()", "F.gelu(A)", "a GELU stands in the place of the ReLU"),
    ("A.relu()", "A.sigmoid()", "a sigmoid stands in the place of the ReLU"),
    ("A.relu()", "A.tanh()", "a tanh stands in the place of the ReLU"),
    ("A.relu()", "A.abs()", "the absolute value stands in the place of the ReLU"),
    ("A.relu()", "F.leaky_relu(A)", "a leaky ReLU stands in the place of the ReLU"),
    ("(A + B).relu()", "A.relu() + B", "the ReLU is applied before {B} is added"),
    ("A.relu() @ B", "(A @ B).relu()", "the ReLU comes after the product with {B}"),
    ("A.sqrt()", "A ** 2", "the square stands in the place of the root"),
    ("(A + B).sqrt()", "A.sqrt() + B", "{B} is added after the root is taken"),
    ("math.sqrt(A)", "A", "the root of {A} is not taken"),
    ("math.sqrt(A)", "A ** 2", "the square of {A} stands in the place of its root"),
    ("math.sqrt(A)", "math.log(A)", "the logarithm of {A} stands in the place of its root"),
    ("math.log(A)", "math.log2(A)", "the logarithm is the one to base 2"),
    ("math.log(A)", "math.log10(A)", "the logarithm is the one to base 10"),
    ("math.log(A)", "A", "the logarithm is missing"),
    ("math.exp(A)", "A", "the exponential is missing"),
    ("A.exp()", "A", "the exponential is missing"),
    ("A.exp()", "2 ** A", "the exponential is the one to base 2"),
    ("A.sin()", "A.cos()", "a cosine stands in the place of the sine"),
    ("A.cos()", "A.sin()", "a sine stands in the place of the cosine"),
    ("A.diag()", "torch.eye(len(A), dtype=A.dtype)", "the identity stands in the place of the diagonal matrix"),
    ("torch.outer(A, B)", "A * B", "the product entry by entry stands in the place of the outer product"),
    ("A.abs()", "A", "the absolute value is missing"),
    ("A.argmax()", "A.argmin()", "the smallest is chosen, not the largest"),
    ("A.topk(B)", "A.topk(B, largest=False)", "the smallest ones are chosen, not the largest"),
    ("A.tril()", "A.triu()", "the upper triangle is kept, not the lower one"),
    ("A.tril()", "A.tril(-1)", "the diagonal is cut off with the upper triangle"),
    ("A.tril()", "A.tril(1)", "one diagonal too many is kept"),
    ("A.clone()", "A", "there is no copy, so that the input itself is changed"),
    ("A.transpose(1, 2)", "A.mT", "the last two axes are exchanged, not the second and the third"),
    ("A.unflatten(-1, (h, -1))", "A.unflatten(-1, (-1, h)).mT", "neighbouring features go to different heads"),
    ("min(A, B)", "max(A, B)", "the larger one is taken, not the smaller"),
    ("max(A, B)", "min(A, B)", "the smaller one is taken, not the larger"),
    ("min(A, B)", "A", "{A} is taken, whether it is the smaller one or not"),
    ("min(A, B)", "B", "{B} is taken, whether it is the smaller one or not"),
    ("max(A)", "min(A)", "the smallest is chosen, not the largest"),
    ("max(A, key=B)", "min(A, key=B)", "the smallest is chosen, not the largest"),
    ("max(A, key=B)", "max(A)", "the largest in order is chosen, not the most frequent"),
    ("sorted(A, reverse=True)", "sorted(A)", "the smallest come first, not the largest"),
    ("A.sort(descending=True)", "A.sort()", "the smallest come first, not the largest"),
    ("A.var(D, correction=0)", "A.var(D)", "the variance is divided by one less than the number"),
    ("A.var(D, correction=0)", "A.std(D, correction=0)", "the deviation stands in the place of the variance"),
    ("A.norm(dim=D, keepdim=True)", "A.sum(D, keepdim=True)", "the sum stands in the place of the length"),
    ("A.norm(dim=D, keepdim=True)", "A.norm(1, D, True)", "the length is the sum of absolute values"),
    ("(A & B).total()", "len(A & B)", "each kind is counted once, however often it occurs"),
    (
        "(A & B).total()",
        "sum(n for key, n in A.items() if key in B)",
        "what occurs too often is counted in full, not clipped",
    ),
    # places
    ("A[1:]", "A", "the first one is not left out"),
    ("A[1:]", "A[:-1]", "the last one is left out, not the first"),
    ("A[:-1]", "A", "the last one is not left out"),
    ("A[:-1]", "A[1:]", "the first one is left out, not the last"),
    ("A[:, :-1]", "A[:, 1:]", "the first one is left out, not the last"),
    ("A[:, 1:]", "A[:, :-1]", "the last one is left out, not the first"),
    ("A[:, :-1]", "A", "the last one is not left out"),
    ("A[:, 1:]", "A", "the first one is not left out"),
    ("A.mT", "A", "{A} is not transposed"),
    ("range(A)", "range(1, A)", "counting begins with 1"),
    ("torch.arange(A)", "(torch.arange(A) + 1)", "counting begins with 1"),
    ("torch.arange(0, A, 2)", "torch.arange(1, A, 2)", "the odd ones are taken, not the even ones"),
    ("torch.arange(0, A, 2)", "torch.arange(A // 2)", "counting goes in steps of one, not of two"),
]
"""what is tried at every place of an answer"""

NEIGHBOURS = {"mean": "sum", "sum": "mean", "amax": "amin", "cumsum": "cumprod"}
"""methods that are taken for each other, with the same arguments"""
NAMES = {
    "softmax": "the softmax", "log_softmax": "the logarithm of the softmax", "relu": "the ReLU", "mean": "the mean",
    "sum": "the sum", "amax": "the maximum", "cumsum": "the cumulative sum", "sqrt": "the root",
    "exp": "the exponential", "transpose": "the exchange of axes", "flatten": "the joining of axes",
    "unflatten": "the splitting of an axis", "masked_fill": "the filling of masked entries",
    "tril": "the cut to the lower triangle", "clamp": "the limit", "abs": "the absolute value",
    "diag": "the diagonal matrix", "norm": "the length", "diagonal": "the diagonal",
    "gather": "the selection of entries", "topk": "the choice of the largest", "amin": "the minimum",
    "cumprod": "the cumulative product", "outer": "the outer product",
    "double": "the conversion to floating-point numbers", "to": "the conversion of the dtype",
    "one_hot": "the one-hot encoding", "item": "the conversion to a plain number",
    "int": "the conversion to a plain number", "fill_diagonal_": "the filling of the diagonal",
    "argmax": "the argmax", "list": "the conversion to a list", "tolist": "the conversion to a list",
    "tuple": "the conversion to a tuple", "sin": "the sine", "cos": "the cosine", "var": "the variance",
    "square": "the square", "log": "the logarithm", "sort": "the sorting", "sorted": "the sorting",
    "clone": "the copy", "total": "the total", "cat": "the joining", "Counter": "the counting",
    "stack": "the stacking", "reshape": "the change of shape",
}  # fmt: skip
"""how functions are called in a sentence"""
WITHOUT_AXIS = {"clamp", "masked_fill", "reshape"}
"""methods whose numbers are no axes"""
NOUNS = {
    "angle",
    "best",
    "distance",
    "frequency",
    "mean",
    "norm",
    "position",
    "scores",
    "similarity",
    "text",
    "tokens",
    "variance",
    "weights",
}
"""names of an answer's own values that say to a learner what they are"""
KINDS: dict[type[ast.AST], str] = {
    ast.Add: "a sum", ast.Sub: "a difference", ast.Mult: "a product", ast.Div: "a quotient", ast.Pow: "a power",
    ast.MatMult: "a matrix product", ast.FloorDiv: "a quotient", ast.BitAnd: "two conditions",
}  # fmt: skip
"""what an operator makes, in a sentence"""
UNNAMED = ("an intermediate result", "part of the calculation", *KINDS.values())
"""what is said of an expression that has no name"""
ROLES = {
    "axis": "the axis is {}, expected {}",
    "place": "index {} is taken, expected {}",
    "start": "counting starts at {}, expected {}",
    "end": "counting ends before {}, expected {}",
    "step": "counting goes in steps of {}, expected {}",
    "exponent": "the exponent is {}, expected {}",
    "": "{} stands in the place of {}",
}
"""what a number may be for, and what is said of another one: what is there, and what should be"""
AT_MOST = 30
"""plain variants of which pairs are tried; of more, it would take too long to know that just one pair agrees"""
SPACE = {"F": F, "math": math, "torch": torch}
"""what the rules name"""


@dataclass(frozen=True)
class Variant:
    """The book's answer with something changed, and what to say of it."""

    texts: tuple[str, ...]
    """what is different, a clause for each change"""
    place: int
    """where the (first) change is, in the order of the text"""
    tree: ast.Module
    """the changed answer"""
    is_plain: bool
    """whether an operation is another one, or is missing; not, whether it has another number, name or place"""
    where: str = ""
    """which place it is, if the same can be said of several"""


@cache
def function(exercise: Exercise, variant: Variant) -> Function:
    """The changed answer, to be called."""
    space = dict(exercise.reference.__globals__) | SPACE
    exec(compile(variant.tree, "<a variant of the book's answer>", "exec"), space)
    return space[exercise.name]


# Patterns


@cache
def _parsed(rule: Rule) -> tuple[ast.expr, ast.expr]:
    before, after = (ast.parse(text, mode="eval").body for text in rule[:2])
    return before, after


def matched(pattern: Any, node: Any, found: dict[str, ast.expr]) -> bool:
    """Whether a syntax tree has the form of the pattern; `found` is filled with what the capital letters stand for."""
    if isinstance(pattern, ast.Name) and re.fullmatch("[A-E]", pattern.id):
        return isinstance(node, ast.expr) and found.setdefault(pattern.id, node) is node
    if isinstance(pattern, ast.AST):
        fields = [name for name in pattern._fields if name != "ctx"]
        return type(pattern) is type(node) and all(
            matched(getattr(pattern, name), getattr(node, name), found) for name in fields
        )
    if isinstance(pattern, list):
        is_row = isinstance(node, list) and len(node) == len(pattern)
        return is_row and all(matched(a, b, found) for a, b in zip(pattern, node, strict=True))
    return pattern == node


class _Fill(ast.NodeTransformer):
    """Puts expressions in the place of capital letters."""

    def __init__(self, found: dict[str, ast.expr]) -> None:
        self.found = found

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """What the name stands for, or the name."""
        return copy.deepcopy(self.found[node.id]) if node.id in self.found else node


# Words


def said(node: ast.AST, names: Sequence[str]) -> str:
    """An expression in words: a parameter by its name, anything longer by its kind; never as code."""
    match node:
        case ast.Name(id=name):
            return name if name in names else f"the {name}" if name in NOUNS else UNNAMED[0]
        case ast.Constant(value=bool() | str()):
            return "a setting"
        case ast.Constant(value=value):
            return f"{value:g}" if isinstance(value, int | float) else "a setting"
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return f"−{value:g}"
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return f"minus {said(operand, names)}"
        case ast.Attribute(value=value, attr="mT"):
            return f"the transpose of {said(value, names)}"
        case ast.Attribute(attr="inf"):
            return "∞"
        case ast.Call(func=ast.Attribute(value=ast.Name(id="math"), attr="sqrt"), args=[inner]):
            return f"the root of {said(inner, names)}"
        case ast.Call(func=ast.Attribute(value=ast.Name() as owner, attr="size"), args=[axis]):
            which = {"0": "first", "1": "second", "-2": "last but one", "-1": "last"}.get(ast.unparse(axis))
            return f"the {which} size of {said(owner, names)}" if which else f"a size of {said(owner, names)}"
        case ast.Call(func=ast.Name(id="len"), args=[inner]):
            return f"the length of {said(inner, names)}"
        case ast.Call(func=ast.Name(id=name)) if name in names and len(name) > 1:
            return f"the {name}"
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in NAMES:
            return NAMES[name]
        case ast.Subscript(value=value):
            whole = said(value, names)
            return UNNAMED[0] if whole in (*UNNAMED, "a comparison") else f"a part of {whole}"
        case ast.BinOp(op=operator) if type(operator) in KINDS:
            return KINDS[type(operator)]
        case ast.Compare():
            return "a comparison"
    return UNNAMED[1]


def _clause(text: str, found: dict[str, ast.expr], names: Sequence[str]) -> str:
    """What a rule says, in its short form where both of its letters stand for what has no name."""
    long, _, short = text.partition("|")
    words = {letter: said(part, names) for letter, part in found.items() if f"{{{letter}}}" in long}
    return short if short and all(word in UNNAMED for word in words.values()) else long.format(**words)


# Changes at one place


def _numbers(node: ast.AST, role: str) -> Iterator[Change]:
    """Other numbers in the place of one: another axis or place, one more or less, twice or half, the other sign."""
    match node:
        case ast.Constant(value=bool()):
            return
        case ast.Constant(value=int() | float() as value):
            pass
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            value = -value
        case _:
            return
    kind, _, call = role.partition(" of ")
    text = ROLES[kind].replace("the axis", f"the axis of {call}") if call else ROLES[kind]
    if kind in ("axis", "place"):
        others = [other for other in (-2, -1, 0, 1, 2) if other != value]
    else:
        others = [other for other in (value + 1, value - 1, 2 * value, value / 2, -value) if other != value]
    for other in dict.fromkeys(others):
        yield ast.Constant(other), text.format(_number(other), _number(value)), False


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _calls(node: ast.AST, names: Sequence[str]) -> Iterator[Change]:
    """A call left out, made with its arguments exchanged, or to a neighbouring function."""
    match node:
        case ast.Call(func=ast.Attribute(value=owner, attr=name)) if not _is_module(owner):
            if name in NEIGHBOURS:
                other = ast.Attribute(owner, NEIGHBOURS[name], ast.Load())
                text = f"{NAMES[NEIGHBOURS[name]]} stands in the place of {NAMES[name]}"
                yield ast.Call(other, node.args, node.keywords), text, True
            yield owner, f"{NAMES.get(name, 'one step')} is missing", True
        case ast.Call(args=[first]) if not isinstance(first, ast.Starred):
            yield first, f"{said(node, names).replace(UNNAMED[1], 'one step')} is missing", True
    match node:
        case ast.Call(func=ast.Attribute(attr="transpose")):  # takes its axes in either order
            return
        case ast.Call(args=[first, second, *rest]) if not isinstance(first, ast.Starred):
            one, other = said(first, names), said(second, names)
            text = _exchanged(one, other)
            yield ast.Call(node.func, [second, first, *rest], node.keywords), text, False
            if rest:
                changed = [first, rest[0], second, *rest[1:]]
                text = _exchanged(other, said(rest[0], names))
                yield ast.Call(node.func, changed, node.keywords), text, False


def _exchanged(one: str, other: str) -> str:
    named = "" if one in UNNAMED and other in UNNAMED else f" {one} and {other}"
    return f"the arguments{named} have changed places" if named else "two arguments have changed places"


def _is_module(node: ast.AST) -> bool:
    return (isinstance(node, ast.Name) and node.id in {*SPACE, "nn"}) or isinstance(node, ast.Attribute)


def alternatives(node: ast.AST, names: Sequence[str], role: str = "") -> Iterator[Change]:
    """What a mistake may put in the place of a node.

    names: the parameters of the answer. role: of a number, as in `ROLES`.
    """
    is_negative = isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant)  # which is one number
    for rule in () if is_negative else RULES:
        before, after = _parsed(rule)
        found: dict[str, ast.expr] = {}
        if matched(before, node, found):
            other = _Fill(found).visit(copy.deepcopy(after))
            if ".mT.mT" not in ast.unparse(other):  # of a transpose it is said that it is missing
                yield other, _clause(rule[2], found, names), True
    yield from _numbers(node, role)
    yield from _calls(node, names)
    match node:
        case ast.Name(id=name, ctx=ast.Load()) if name in names:
            for other in names:
                if other != name:
                    yield ast.Name(other, ast.Load()), f"{other} stands in the place of {name}", False
        case ast.AugAssign(op=ast.Add()):
            text = "something is subtracted that has to be added"
            yield ast.AugAssign(node.target, ast.Sub(), node.value), text, True
            yield ast.Assign([node.target], node.value), "a total is overwritten, not added to", True
        case ast.Assign(targets=[ast.Subscript()]):
            yield ast.Pass(), "some entries that have to be set are not", True
        case ast.Break():
            yield ast.Pass(), "nothing ends the loop early", True
        case ast.If():
            other = ast.If(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
            yield other, "a condition is the wrong way round", True


def _places(node: ast.AST, above: ast.AST | None = None) -> Iterator[tuple[ast.AST, str, int | None, ast.AST, str]]:
    """Every node below one that does something: its parent, the field and index that hold it, itself, and its role.

    above: the node in which it stands.

    What says something to people, such as annotations and the texts of errors, does nothing.
    """
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "args", "decorator_list", "returns") and not isinstance(node, ast.Call):
            continue
        for i, child in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST) and not isinstance(child, ast.expr_context | ast.JoinedStr | ast.Raise):
                yield node, field, i if isinstance(value, list) else None, child, _role(node, field, i, above)
                is_negative = isinstance(child, ast.UnaryOp) and isinstance(child.operand, ast.Constant)
                if not is_negative:  # a negative number is one number
                    yield from _places(child, node)


def _role(parent: ast.AST, field: str, i: int | None, above: ast.AST | None) -> str:
    """What a number is for that stands there, as in `ROLES`; of an axis it is said of which call, if that has a name.

    above: the node in which the parent stands.
    """
    match parent:
        case ast.Call(func=ast.Name(id="range") | ast.Attribute(attr="arange"), args=[_, _, *_]) if field == "args":
            return ("start", "end", "step")[i or 0]
        case ast.Call(func=ast.Attribute(value=owner, attr=name)) if not _is_module(owner):
            return "" if name in WITHOUT_AXIS else _axis(name)
        case ast.keyword(arg="dim"):
            is_method = isinstance(above, ast.Call) and isinstance(above.func, ast.Attribute)
            return _axis(above.func.attr) if is_method else "axis"
        case ast.Slice():
            return "place"
        case ast.Subscript() if field == "slice":
            return "place"
        case ast.BinOp(op=ast.Pow()) if field == "right":
            return "exponent"
    return ""


def _axis(name: str) -> str:
    """The role of an axis that a call has, with the call: in words, or, where its words speak of axes, as it is."""
    words = NAMES.get(name, name)
    return f"axis of {name if words.endswith(('axis', 'axes')) else words}"


def _orders(node: ast.AST) -> Iterator[tuple[list[ast.stmt], int]]:
    """Every two statements that follow each other, as the list that holds them and the place of the first."""
    for part in ast.walk(node):
        for block in (getattr(part, "body", None), getattr(part, "orelse", None)):
            if isinstance(block, list):
                yield from ((block, i) for i in range(len(block) - 1) if _in_need(*block[i : i + 2]))


def _in_need(first: ast.stmt, second: ast.stmt) -> bool:
    """Whether the order of two statements may matter: one writes, or changes, a name that the other one has."""
    names = [{node.id for node in ast.walk(one) if isinstance(node, ast.Name)} for one in (first, second)]
    written = [
        {n.id for n in ast.walk(one) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        | {
            n.value.id
            for n in ast.walk(one)
            if isinstance(n, ast.Subscript | ast.Attribute) and isinstance(n.value, ast.Name)
        }
        for one in (first, second)
    ]
    ends = any(
        isinstance(node, ast.Break | ast.Return | ast.Continue) for one in (first, second) for node in ast.walk(one)
    )
    return bool(ends or names[0] & written[1] or names[1] & written[0])


def changes(scope: ast.AST, names: Sequence[str], first: int = 0) -> Iterator[tuple[int, int, str, bool]]:
    """Make every change to a part of a syntax tree, one at a time, from place number `first` on.

    Each lasts until the next one is asked for; gives the number of its place, its line, a clause of words, and whether
    the change is a plain one.
    """
    number = -1
    for number, (parent, field, i, node, role) in enumerate(_places(scope)):
        original = getattr(parent, field)
        for other, text, is_plain in alternatives(node, names, role) if number >= first else ():
            setattr(parent, field, other if i is None else [*original[:i], other, *original[i + 1 :]])
            yield number, getattr(node, "lineno", 0), text, is_plain
        setattr(parent, field, original)
    for block, i in _orders(scope):
        block[i], block[i + 1] = block[i + 1], block[i]
        yield number + 1, block[i].lineno, "two steps are done in the other order", False
        block[i], block[i + 1] = block[i + 1], block[i]


def changed(tree: ast.Module, before: Variant | None = None) -> Iterator[Variant]:
    """Every variant of an answer with one change more; with a variant, behind the place of its own change."""
    tree = copy.deepcopy(before.tree if before else tree)
    texts, was_plain, first = (before.texts, before.is_plain, before.place + 1) if before else ((), True, 0)
    function = tree.body[0]
    for number, _, text, is_plain in changes(function, parameters(function), first):
        whole = ast.fix_missing_locations(copy.deepcopy(tree))
        yield Variant((*texts, text), number, whole, was_plain and is_plain)


def parameters(scope: ast.AST) -> list[str]:
    """The names of what the functions in a part of a syntax tree take, each once."""
    functions = [node for node in ast.walk(scope) if isinstance(node, ast.FunctionDef)]
    return list(dict.fromkeys(one.arg for function in functions for one in function.args.args))


@cache
def first_order(exercise: Exercise) -> tuple[Variant, ...]:
    """The variants of the book's answer with one change, each once; what is said of several places, with its number.

    Where a call is named, it says enough: the learner does not see the places of the book's answer.
    """
    tree = ast.parse(exercise.solution)
    seen = {ast.dump(tree)}
    variants = [v for v in changed(tree) if ast.dump(v.tree) not in seen and not seen.add(ast.dump(v.tree))]
    places: dict[tuple[str, ...], list[int]] = {}
    for variant in variants:
        if variant.place not in places.setdefault(variant.texts, []):
            places[variant.texts].append(variant.place)
    return tuple(replace(variant, where=_where(variant, places[variant.texts])) for variant in variants)


def _where(variant: Variant, places: list[int]) -> str:
    """Which of several places a change is at, of which the same is said; nothing where it names a call."""
    if variant.texts[0].startswith("the axis of "):
        return ""
    ordinals = ("first", "second", "third", "fourth")
    return f" (at the {ordinals[places.index(variant.place)]} of {len(places)} places)" if 1 < len(places) <= 4 else ""


@cache
def second_order(exercise: Exercise) -> tuple[Variant, ...]:
    """The variants of the book's answer with two changes, both plain; none where the plain ones are over `AT_MOST`."""
    plain = [one for one in first_order(exercise) if one.is_plain]
    if len(plain) > AT_MOST:
        return ()
    return tuple(two for one in plain for two in changed(one.tree, one) if two.is_plain)


def in_words(variants: Sequence[Variant]) -> str:
    """What is different in variants that come to the same, as a clause; nothing for none, or for too many.

    What is not plain is said only where nothing plain comes to the same.
    """
    agreed = [variant for variant in variants if variant.is_plain] or variants
    places: dict[str, set[str]] = {}
    for variant in agreed:
        places.setdefault(" and ".join(dict.fromkeys(variant.texts)), set()).add(variant.where)
    clauses = [text + where.pop() if len(where) == 1 else text for text, where in places.items()]
    return ", or, with the same result here, if ".join(clauses) if len(clauses) <= 2 else ""
