"""Plans against the definition of the sum, in exact rationals, for every pair of the catalogue."""

import itertools
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from quant.layout import parse_layout
from quant.verify import decide
from tests.quant.verify.oracle import Case, Index, contract, read
from tests.quant.verify.test_decision import CASES, pairs

RNG = np.random.default_rng(7)


def random_scales(axes: str, sizes: dict[str, int], layout: str) -> tuple[list[Any], dict[Index, Fraction]]:
    """Scales as one array a level, and the scale of every element by the definition of a block."""
    arrays = []
    text = layout.removeprefix("codebook(int8) ")
    kinds = [part.partition("@")[2].strip() for part in text.split("*")]
    for level, kind in zip(read(text), kinds, strict=True):
        shape = tuple(-(-sizes[x] // level[x]) if x in level else 1 for x in axes)
        if kind == "pow2":
            arrays.append(np.exp2(RNG.integers(-3, 4, shape)))
        elif kind == "int":
            arrays.append(RNG.integers(1, 16, shape).astype(np.float64))
        else:
            arrays.append(RNG.integers(1, 1000, shape).astype(np.float32) / np.float32(64))
    elements = {}
    for position in itertools.product(*(range(sizes[x]) for x in axes)):
        scale = Fraction(1)
        for level, array in zip(read(text), arrays, strict=True):
            block = tuple(p // level[x] if x in level else 0 for x, p in zip(axes, position, strict=True))
            scale *= Fraction(float(array[block]))
        elements[position] = scale
    return arrays, elements


def operands(case: Case) -> tuple[Any, Any]:
    shapes = [tuple(case.sizes[x] for x in axes) for axes in (case.lhs, case.rhs)]
    return RNG.integers(-128, 128, shapes[0]), RNG.integers(-128, 128, shapes[1])


def assert_equal(got: Any, expected: dict[Index, Fraction]) -> None:
    assert got.shape == tuple(1 + max(index[i] for index in expected) for i in range(got.ndim))
    assert all(got[index] == value for index, value in expected.items())


SMALL = [name for name in CASES if name not in ("conv, taps outside", "conv, stride", "two sums")]


@pytest.mark.parametrize("name", SMALL)
def test_a_plan_equals_exact_arithmetic(name: str) -> None:
    case = CASES[name]
    lhs, rhs = operands(case)
    chosen = pairs(name)
    done = 0
    for left, right in chosen[:: max(1, len(chosen) // 40)]:
        found = decide(case.text, left, right, sizes=case.sizes, order=case.loops)
        if found.verdict == "incompatible":
            continue
        scales = [random_scales(a, dict(case.sizes), x) for a, x in ((case.lhs, left), (case.rhs, right))]
        got = found.execute(lhs, rhs, scales[0][0], scales[1][0])
        assert_equal(got, contract(case, lhs, rhs, scales[0][1], scales[1][1]))
        done += 1
    assert done


@pytest.mark.parametrize("lhs_zero", [None, "1", "m:1", "k:1", "m:1,k:2", "m:1,k:1"])
@pytest.mark.parametrize("rhs_zero", [None, "1", "n:1", "k:1", "k:3,n:1", "k:1,n:1"])
@pytest.mark.parametrize("layouts", [("m:1", "n:1"), ("m:1,k:2", "n:1"), ("1", "k:3,n:1")])
def test_zero_points_never_change_the_verdict_and_are_taken_off(
    lhs_zero: str | None, rhs_zero: str | None, layouts: tuple[str, str]
) -> None:
    case = Case("mk,kn->mn", "mk", "kn", "mn", "k", {"m": 2, "k": 6, "n": 3})
    found = decide(case.text, *layouts, sizes=case.sizes, lhs_zero=lhs_zero, rhs_zero=rhs_zero)
    plain = decide(case.text, *layouts, sizes=case.sizes)
    assert (found.verdict, found.partial_sums) == (plain.verdict, plain.partial_sums)
    lhs, rhs = operands(case)
    scales = [random_scales(a, dict(case.sizes), x) for a, x in zip(("mk", "kn"), layouts, strict=True)]
    zeros: list[Any] = []
    elements: list[Any] = []
    for axes, layout in (("mk", lhs_zero), ("kn", rhs_zero)):
        if layout is None:
            zeros.append(None)
            elements.append(0)
            continue
        shape = tuple(case.sizes[x] for x in axes)
        level = parse_layout(layout, axes).levels[0]
        zeros.append(RNG.integers(-128, 128, level.scale_shape(axes, shape)))
        block = read(layout)[0]
        elements.append(
            {
                p: zeros[-1][tuple(i // block[x] if x in block else 0 for x, i in zip(axes, p, strict=True))]
                for p in itertools.product(*map(range, shape))
            }
        )
    got = found.execute(lhs, rhs, scales[0][0], scales[1][0], lhs_zero=zeros[0], rhs_zero=zeros[1])
    assert_equal(got, contract(case, lhs, rhs, scales[0][1], scales[1][1], (elements[0], elements[1])))


def test_padding_adds_nothing_with_a_zero_point() -> None:
    case = CASES["conv"]
    found = decide(case.text, "1", "o:1", sizes=case.sizes, lhs_zero="1")
    lhs, rhs = operands(case)
    scales = [random_scales(a, dict(case.sizes), x) for a, x in ((case.lhs, "1"), (case.rhs, "o:1"))]
    got = found.execute(lhs, rhs, scales[0][0], scales[1][0], lhs_zero=np.array(5))
    assert_equal(got, contract(case, lhs, rhs, scales[0][1], scales[1][1], (5, 0)))


@pytest.mark.parametrize("layouts", [("m:1", "n:1"), ("m:1,k:3", "n:1"), ("m:1,k:2@pow2", "n:1,k:6"), ("k:4", "k:6")])
def test_float32_rescaling_stays_within_its_bound(layouts: tuple[str, str]) -> None:
    case = Case("mk,kn->mn", "mk", "kn", "mn", "k", {"m": 5, "k": 48, "n": 7})
    found = decide(case.text, *layouts, sizes=case.sizes)
    worst = Fraction(0)
    for _ in range(5):
        lhs, rhs = operands(case)
        scales = [random_scales(a, dict(case.sizes), x) for a, x in zip(("mk", "kn"), layouts, strict=True)]
        exact = found.execute(lhs, rhs, scales[0][0], scales[1][0])
        got, bound = found.execute_float32(lhs, rhs, scales[0][0], scales[1][0])
        assert got.dtype == np.float32
        for index, value in np.ndenumerate(exact):
            error = abs(Fraction(float(got[index])) - value)
            assert error <= Fraction(float(bound[index]))
            worst = max(worst, error / Fraction(float(bound[index])))
    assert worst > Fraction(1, 100), "a bound that nothing comes near says nothing"


def test_scales_that_the_verdict_was_decided_on_are_the_default() -> None:
    scales = (np.array([[1.5], [2.5]]), np.array([[0.25, 3.0]]))
    found = decide(
        "mk,kn->mn", "m:1", "n:1", sizes={"m": 2, "k": 3, "n": 2}, lhs_scales=scales[0], rhs_scales=scales[1]
    )
    ones = np.ones((2, 3), np.int64), np.ones((3, 2), np.int64)
    assert found.execute(*ones).tolist() == [[Fraction(9, 8), Fraction(27, 2)], [Fraction(15, 8), Fraction(45, 2)]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lhs_scales": np.ones((3, 1))}, "scales of lhs m:1 must have shape (2, 1), not (3, 1)"),
        ({"lhs_scales": np.zeros((2, 1))}, "scales of lhs m:1 must be positive and finite, not 0.0"),
        ({"lhs_scales": -np.ones((2, 1))}, "scales of lhs m:1 must be positive and finite, not -1.0"),
        ({"lhs_scales": np.full((2, 1), np.nan)}, "scales of lhs m:1 must be positive and finite, not nan"),
        ({"lhs_scales": np.full((2, 1), np.inf)}, "scales of lhs m:1 must be positive and finite, not inf"),
        ({"lhs_scales": [1.0, 2.0]}, "lhs must have one array of scales for each of 1 levels, not 2"),
        ({"lhs_scales": None}, "scales of lhs must be given for a verdict by layout, not left out"),
        ({"lhs": np.ones((2, 2), np.int64)}, "lhs must be integers of shape (2, 3), not int64 (2, 2)"),
        ({"lhs": np.ones((2, 3))}, "lhs must be integers of shape (2, 3), not float64 (2, 3)"),
        ({"lhs_zero": 3}, "lhs_zero must be left out, as the verdict has none, not given"),
    ],
)
def test_bad_operands_are_refused(arguments: dict[str, Any], message: str) -> None:
    found = decide("mk,kn->mn", "m:1", "n:1", sizes={"m": 2, "k": 3, "n": 2})
    given: dict[str, Any] = {
        "lhs": np.ones((2, 3), np.int64),
        "rhs": np.ones((3, 2), np.int64),
        "lhs_scales": np.ones((2, 1)),
        "rhs_scales": np.ones((1, 2)),
        **arguments,
    }
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        found.execute(**given)


def test_kinds_of_scales_are_checked() -> None:
    found = decide("mk,kn->mn", "k:2@pow2", "1 * k:2@int", sizes={"m": 2, "k": 4, "n": 2})
    ones = np.ones((2, 4), np.int64), np.ones((4, 2), np.int64)
    good: Any = [np.ones((1, 1)), np.ones((2, 1))]
    with pytest.raises(ValueError, match=r"^scales of lhs k:2@pow2 must be powers of two, not 3\.0$"):
        found.execute(*ones, np.array([[1.0, 3.0]]), good)
    with pytest.raises(ValueError, match=r"^scales of rhs k:2@int must be integers, not 1\.5$"):
        found.execute(*ones, np.array([[1.0, 2.0]]), [np.ones((1, 1)), np.array([[1.0], [1.5]])])


def test_an_incompatible_plan_does_not_run() -> None:
    found = decide("mk,kn->mn", "k:1", "n:1", sizes={"m": 2, "k": 4, "n": 2})
    with pytest.raises(ValueError, match=f"^{re.escape(found.explanation)}$"):
        found.execute(np.ones((2, 4), np.int64), np.ones((4, 2), np.int64), np.ones((1, 4)), np.ones((1, 2)))
