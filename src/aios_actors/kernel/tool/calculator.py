"""Arithmetic on text: what the calculator tool evaluates.

Contract: + - * / // % ** (also ^ and the signs of typography), parentheses, the constants and functions below; nothing
else is ever run. Arithmetic is on exact fractions, so that 0.1 + 0.2 is 0.3; roots, logarithms and angles are floats.
The result is an int if it is whole. Length, depth and size are bounded, so that no expression takes noticeable time.
"""

import ast
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from aios_actors.syscalls.errors import InvalidArgument

LENGTH_LIMIT = 1000
DEPTH_LIMIT = 250
BIT_LIMIT = 10_000
"""Bits of the largest numerator or denominator: about 3,000 digits, below what Python converts to text."""

Number = Fraction | float

_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**"})  # noqa: RUF001
_CONSTANTS: dict[str, float] = {"pi": math.pi, "e": math.e, "tau": math.tau}


def evaluate(expression: str) -> int | float:
    """The value of an arithmetic expression.

    Raises:
        InvalidArgument: it is none, divides by zero, or gets too large; the message says where.
    """
    text = expression.strip().removesuffix("=").strip()
    if len(text) > LENGTH_LIMIT:
        raise InvalidArgument(f"the expression has {len(text)} characters; at most {LENGTH_LIMIT} are allowed")
    try:
        tree = ast.parse(text.translate(_SIGNS), mode="eval")
        return _plain(_walk(tree.body, 0))
    except ZeroDivisionError:
        raise InvalidArgument("division by zero") from None
    except OverflowError:
        raise InvalidArgument("the result is too large") from None
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise InvalidArgument(f"not an arithmetic expression: {_short(text)}") from None


def _walk(node: ast.expr, depth: int) -> Number:
    if depth > DEPTH_LIMIT:
        raise InvalidArgument(f"the expression is nested deeper than {DEPTH_LIMIT} levels")
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as value):
            return _bounded(Fraction(str(_bounded(value))))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _bounded(_OPERATORS[type(op)](_walk(left, depth + 1), _walk(right, depth + 1)))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_walk(operand, depth + 1)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _walk(operand, depth + 1)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _apply(name, [_walk(argument, depth + 1) for argument in arguments])
        case ast.Tuple():
            raise InvalidArgument("a comma separates arguments of functions only; write 1000 for 1,000 and 2.5 for 2,5")
    raise InvalidArgument(f"{_short(ast.unparse(node))} is no arithmetic; known are + - * / // % ** and {_KNOWN}")


def _apply(name: str, arguments: list[Number]) -> Number:
    function, least, most = _FUNCTIONS[name]
    if not least <= len(arguments) <= most:
        wanted = str(least) if least == most else f"{least} or more" if most > 2 else f"{least} or {most}"
        raise InvalidArgument(f"{name} takes {wanted} numbers, not {len(arguments)}")
    try:
        return _bounded(function(*arguments))
    except (ValueError, TypeError):
        shown = ", ".join(f"{float(argument):.10g}" for argument in arguments)
        raise InvalidArgument(f"{name}({shown}) is not defined") from None


def _bounded(value: Any) -> Number:
    if isinstance(value, complex):
        raise InvalidArgument("a root of a negative number is no real number")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise OverflowError
        return value
    fraction = Fraction(value)
    if max(fraction.numerator.bit_length(), fraction.denominator.bit_length()) > BIT_LIMIT:
        raise OverflowError
    return fraction


def _plain(value: Number) -> int | float:
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _power(base: Number, exponent: Number) -> Any:
    if not (isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1):
        return float(base) ** float(exponent)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits > 1 and (bits - 1) * abs(exponent.numerator) > BIT_LIMIT:
        raise OverflowError
    return base**exponent.numerator


def _root(value: Number) -> Number:
    if isinstance(value, Fraction) and value >= 0:
        numerator, denominator = math.isqrt(value.numerator), math.isqrt(value.denominator)
        if numerator**2 == value.numerator and denominator**2 == value.denominator:
            return Fraction(numerator, denominator)
    return math.sqrt(value)


def _round(value: Number, digits: Number = Fraction(0)) -> Number:
    if digits != int(digits) or not -1000 <= digits <= 1000:
        raise ValueError
    if isinstance(value, float):
        return Fraction(str(round(value, int(digits))))
    return Fraction(round(value, int(digits)))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "sqrt": (_root, 1, 1),
    "abs": (abs, 1, 1),
    "min": (min, 2, LENGTH_LIMIT),
    "max": (max, 2, LENGTH_LIMIT),
    "round": (_round, 1, 2),
    "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "exp": (math.exp, 1, 1),
    "log": (math.log, 1, 2),
    "log10": (math.log10, 1, 1),
    "log2": (math.log2, 1, 1),
    "sin": (math.sin, 1, 1),
    "cos": (math.cos, 1, 1),
    "tan": (math.tan, 1, 1),
}
_KNOWN = ", ".join([*_FUNCTIONS, *_CONSTANTS])
