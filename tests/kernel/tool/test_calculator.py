"""The calculator against Python, exactness, and its limits."""

import math
import time
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aios_actors.kernel.tool.calculator import BIT_LIMIT, LENGTH_LIMIT, evaluate
from aios_actors.nano.world import evaluate as nano_evaluate
from aios_actors.sdk.render import render
from aios_actors.syscalls.errors import InvalidArgument


def combine(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%"]), inner).map(
        lambda parts: f"({' '.join(parts)})"
    )
    power = st.tuples(inner, st.integers(0, 3)).map(lambda parts: f"({parts[0]}) ** {parts[1]}")
    return binary | power | inner.map(lambda text: f"-{text}") | inner.map(lambda text: f"abs({text})")


WHOLE = st.recursive(st.integers(0, 10_000).map(str), combine, max_leaves=12)


@settings(deadline=None)
@given(WHOLE)
def test_whole_numbers_are_as_in_python(expression: str) -> None:
    try:
        expected = eval(expression)
    except ZeroDivisionError:
        with pytest.raises(InvalidArgument, match="division by zero"):
            evaluate(expression)
        return
    assume(abs(expected).bit_length() <= BIT_LIMIT)
    result = evaluate(expression)
    assert result == expected
    assert type(result) is int


DECIMAL = st.decimals(-1000, 1000, places=3).map(str)


@settings(deadline=None)
@given(DECIMAL, st.sampled_from("+-*/"), DECIMAL)
def test_decimals_are_exact(left: str, operator: str, right: str) -> None:
    assume(operator != "/" or float(right) != 0)
    exact = {
        "+": Fraction(left) + Fraction(right),
        "-": Fraction(left) - Fraction(right),
        "*": Fraction(left) * Fraction(right),
        "/": Fraction(left) / Fraction(right) if float(right) else Fraction(0),
    }[operator]
    text = f"({left}) {operator} ({right})"
    assert evaluate(text) == (exact.numerator if exact.denominator == 1 else float(exact))
    assert render(evaluate(text)) == nano_evaluate(text)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("37*14", 518),
        (" 37 * 14 = ", 518),
        ("0.1 + 0.2", 0.3),
        ("1/3", 1 / 3),
        ("6/3", 2),
        ("2.5*2", 5),
        ("2^10", 1024),
        ("2**-2", 0.25),
        ("-2**2", -4),
        ("7 // 2 + 7 % 2", 4),
        ("37 × 14 − 8 ÷ 2", 514),  # noqa: RUF001
        ("sqrt(1764)", 42),
        ("sqrt(2.25)", 1.5),
        ("sqrt(2)", math.sqrt(2)),
        ("8 ** (1/3)", 2),
        ("round(2.567, 2)", 2.57),
        ("round(2/3, 3)", 0.667),
        ("round(sqrt(2), 2)", 1.41),
        ("min(3, 1, 2) + max(1/2, 0.25)", 1.5),
        ("floor(2.7) + ceil(2.1)", 5),
        ("2*pi", math.tau),
        ("log(e)", 1),
        ("log(8, 2)", 3),
        ("1e3", 1000),
        ("1_000", 1000),
        ("+".join(["1.5"] * 200), 300),
    ],
)
def test_values(expression: str, result: float) -> None:
    value = evaluate(expression)
    assert value == pytest.approx(result, rel=1e-12)
    assert type(value) is type(result)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1/0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("", "not an arithmetic expression"),
        ("1 +", r"not an arithmetic expression: 1 \+"),
        ("1 2", "not an arithmetic expression"),
        ("\x00", "not an arithmetic expression"),
        ("1,000 + 1", "write 1000 for 1,000"),
        ("x + 1", r"x is no arithmetic; known are \+"),
        ("__import__('os')", "is no arithmetic"),
        ("(1).real", "is no arithmetic"),
        ("[1][0]", "is no arithmetic"),
        ("'a' * 3", "is no arithmetic"),
        ("True + 1", "True is no arithmetic"),
        ("1 < 2", "is no arithmetic"),
        ("2j", "is no arithmetic"),
        ("sqrt()", "sqrt takes 1 numbers, not 0"),
        ("round(1, 2, 3)", "round takes 1 or 2 numbers, not 3"),
        ("min(1)", "min takes 2 or more numbers, not 1"),
        ("round(1.5, 0.5)", "not defined"),
        ("sqrt(-4)", r"sqrt\(-4\) is not defined"),
        ("log(0)", r"log\(0\) is not defined"),
        ("(-8) ** 0.5", "root of a negative number"),
        ("9**9**9", "too large"),
        ("10.0**400.5", "too large"),
        ("exp(1000)", "too large"),
        ("1e99999", "too large"),
        ("1" * 5000, "at most 1000"),
        ("9" * 990 + "**9", "too large"),
        ("(" * 400 + "1" + ")" * 400, "not an arithmetic expression|nested deeper"),
        ("-" * 900 + "1", "nested deeper than 250"),
        ("+".join(["1"] * 450), "nested deeper than 250"),
    ],
)
def test_refusals(expression: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        evaluate(expression)


@settings(deadline=None)
@given(st.text(max_size=LENGTH_LIMIT) | st.text("0123456789+-*/%^().,e ", max_size=60))
def test_any_text_ends_quickly_in_a_number_or_a_typed_error(expression: str) -> None:
    began = time.process_time()
    try:
        result = evaluate(expression)
    except InvalidArgument as error:
        assert str(error)
    else:
        assert isinstance(result, int) or math.isfinite(result)
    assert time.process_time() - began < 2.0
