"""Verdicts by values and by weights against exact products, term by term."""

import itertools
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.layout import parse_layout
from quant.verify import decide
from tests.quant.verify.oracle import Case, gemm
from tests.quant.verify.test_decision import CASES, conv

LAYOUTS = ["1", "m:1", "k:1", "m:1,k:2", "m:2,k:3", "m:1,k:1", "m:1 * k:2"]
WEIGHTS = ["1", "n:1", "k:1", "k:2,n:1", "k:3", "k:1,n:1", "n:1 * k:2"]


def elements(axes: str, shape: tuple[int, ...], text: str, scales: list[Any]) -> dict[tuple[int, ...], Fraction]:
    layout = parse_layout(text, axes)
    found = {}
    for position in itertools.product(*map(range, shape)):
        scale = Fraction(1)
        for level, array in zip(layout.levels, scales, strict=True):
            blocks = dict(level.blocks)
            index = tuple(p // blocks[x] if x in blocks else 0 for x, p in zip(axes, position, strict=True))
            value = array[index]
            scale *= value if isinstance(value, Fraction) else Fraction(float(value))
        found[position] = scale
    return found


def exact(case: Case, left: Any, right: Any, support: Any = None) -> tuple[int, int]:
    """Most runs and most classes over all outputs; `support` says which rhs codes count."""
    runs = classes = 1
    for output in case.outputs():
        products = []
        for step in case.steps():
            pair = case.positions(output, step)
            if pair is not None and (support is None or support[pair[1]]):
                products.append(left[pair[0]] * right[pair[1]])
        runs = max(runs, 1 + sum(a != b for a, b in itertools.pairwise(products)))
        classes = max(classes, len(set(products)))
    return runs, classes


def draw(rng: np.random.Generator, axes: str, shape: tuple[int, ...], text: str, values: list[Any]) -> list[Any]:
    arrays = []
    for level in parse_layout(text, axes).levels:
        size = level.scale_shape(axes, shape)
        array = np.empty(int(np.prod(size)), object if isinstance(values[0], Fraction) else np.float64)
        array[:] = [values[i] for i in rng.integers(0, len(values), array.size)]
        arrays.append(array.reshape(size))
    return arrays


@settings(deadline=None, max_examples=150)
@given(
    lhs=st.sampled_from(LAYOUTS),
    rhs=st.sampled_from(WEIGHTS),
    seed=st.integers(0, 10**6),
    values=st.sampled_from(
        [[1.0, 2.0, 0.5], [3.0, 5.0, 15.0], [0.1, 0.2, 0.3], [Fraction(1, 3), Fraction(3), Fraction(1)]]
    ),
)
def test_values_equal_exact_products(lhs: str, rhs: str, seed: int, values: list[Any]) -> None:
    rng = np.random.default_rng(seed)
    case = gemm(3, 6, 2)
    scales = draw(rng, "mk", (3, 6), lhs, values), draw(rng, "kn", (6, 2), rhs, values)
    found = decide(case.text, lhs, rhs, sizes=case.sizes, lhs_scales=scales[0], rhs_scales=scales[1])
    runs, classes = exact(case, elements("mk", (3, 6), lhs, scales[0]), elements("kn", (6, 2), rhs, scales[1]))
    assert found.basis == "values"
    assert (found.segments.runs, found.segments.classes) == (runs, classes)
    assert (found.verdict == "once") == (classes == 1)
    assert found.verdict == "once" or (found.witness is not None and found.witness.check())


@pytest.mark.parametrize("lhs", ["c:1", "h:1,w:1", "h:2", "1"])
@pytest.mark.parametrize("rhs", ["o:1", "o:1,r:1", "c:1"])
def test_values_of_convolutions_equal_exact_products(lhs: str, rhs: str) -> None:
    rng = np.random.default_rng(7)
    for case in (conv(1, 1, 1), conv(2, 1, 1), conv(1, 2, 2), CASES["transposed conv"], CASES["grouped"]):
        shapes = [tuple(case.sizes[x] for x in axes) for axes in (case.lhs, case.rhs)]
        scales = [
            draw(rng, axes, shape, text, [1.0, 2.0, 0.5])
            for axes, shape, text in zip((case.lhs, case.rhs), shapes, (lhs, rhs), strict=True)
        ]
        found = decide(
            case.text, lhs, rhs, sizes=case.sizes, order=case.loops, lhs_scales=scales[0], rhs_scales=scales[1]
        )
        sides = elements(case.lhs, shapes[0], lhs, scales[0]), elements(case.rhs, shapes[1], rhs, scales[1])
        assert (found.segments.runs, found.segments.classes) == exact(case, *sides)
        assert found.witness is None or found.witness.check()


def test_case_four_is_legal_exactly_when_the_product_is_constant() -> None:
    sizes = {"m": 2, "k": 4, "n": 2}
    s = np.array([1.0, 2.0, 3.0, 0.75])
    smooth = decide(
        "mk,kn->mn",
        "k:1",
        "k:1",
        sizes=sizes,
        lhs_scales=s[None],
        rhs_scales=np.array([[Fraction(1) / Fraction(x)] for x in s]),
    )
    assert (smooth.verdict, smooth.basis, smooth.varying) == ("once", "values", ())
    rounded = decide("mk,kn->mn", "k:1", "k:1", sizes=sizes, lhs_scales=s[None], rhs_scales=1 / s[:, None])
    assert rounded.verdict != "once", "1/3 is not a float"


def test_tolerance_bounds_the_error_and_is_stated() -> None:
    rng = np.random.default_rng(7)
    sizes = {"m": 2, "k": 8, "n": 2}
    s = rng.uniform(0.5, 2, 8)
    noise = 1 + rng.uniform(-1e-3, 1e-3, 8)
    scales = s[None], (noise / s)[:, None]
    with_tolerance: Any = {"sizes": sizes, "lhs_scales": scales[0], "rhs_scales": scales[1]}
    assert decide("mk,kn->mn", "k:1", "k:1", **with_tolerance).verdict == "incompatible"
    found = decide("mk,kn->mn", "k:1", "k:1", tolerance=1e-3, **with_tolerance)
    assert (found.verdict, found.basis, found.tolerance) == ("once", "values", 1e-3)
    assert "within 0.001" in found.explanation
    lhs, rhs = rng.integers(-128, 128, (2, 8)), rng.integers(-128, 128, (8, 2))
    got = found.execute(lhs, rhs)
    for m, n in itertools.product(range(2), range(2)):
        products = [Fraction(float(scales[0][0, k])) * Fraction(float(scales[1][k, 0])) for k in range(8)]
        terms = [int(lhs[m, k]) * int(rhs[k, n]) for k in range(8)]
        truth = sum(c * t for c, t in zip(products, terms, strict=True))
        middle = (max(products) + min(products)) / 2
        assert abs(got[m, n] - truth) <= Fraction(1, 1000) * middle * sum(map(abs, terms)) * (1 + Fraction(1, 2**40))
    assert decide("mk,kn->mn", "k:1", "k:1", tolerance=1e-5, **with_tolerance).verdict != "once"


def test_powers_of_two_among_real_scales_are_shifts() -> None:
    sizes = {"m": 2, "k": 4, "n": 2}
    arguments: Any = {"sizes": sizes, "lhs_scales": np.array([[0.3], [0.7]])}
    rhs = np.array([[0.1, 0.5], [0.4, 4.0]])
    found = decide("mk,kn->mn", "m:1", "n:1,k:2", rhs_scales=rhs, **arguments)
    assert (found.verdict, found.rescale, dict(found.rescales_by_kind)) == ("segmented", "shift", {"shift": 2})
    found = decide("mk,kn->mn", "m:1", "n:1,k:2", rhs_scales=rhs * [[1.0], [3.0]], **arguments)
    assert found.rescale == "float"


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 10**6), lhs=st.sampled_from(LAYOUTS), rhs=st.sampled_from(WEIGHTS))
def test_zero_weights_impose_nothing(seed: int, lhs: str, rhs: str) -> None:
    rng = np.random.default_rng(seed)
    case = gemm(2, 6, 3)
    codes = rng.integers(-128, 128, (6, 3)) * (rng.random((6, 3)) < 0.4)
    supply = iter([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89] * 9)
    scales = [
        [
            np.array([next(supply) for _ in range(int(np.prod(level.scale_shape(axes, shape))))], np.float64).reshape(
                level.scale_shape(axes, shape)
            )
            for level in parse_layout(text, axes).levels
        ]
        for axes, shape, text in (("mk", (2, 6), lhs), ("kn", (6, 3), rhs))
    ]
    used = sum(array.size for side in scales for array in side)
    if used > 24:  # the primes would repeat
        return
    found = decide(case.text, lhs, rhs, sizes=case.sizes, rhs_codes=codes)
    sides = elements("mk", (2, 6), lhs, scales[0]), elements("kn", (6, 3), rhs, scales[1])
    assert (found.segments.runs, found.segments.classes) == exact(case, *sides, support=codes != 0)
    assert found.basis == "weights"
    assert found.verdict == "once" or (found.witness is not None and found.witness.check())
    if found.verdict != "incompatible":
        acts = rng.integers(-128, 128, (2, 6))
        got = found.execute(acts, codes, scales[0], scales[1])
        for m, n in itertools.product(range(2), range(3)):
            terms = (int(acts[m, k]) * int(codes[k, n]) * sides[0][m, k] * sides[1][k, n] for k in range(6))
            assert got[m, n] == sum(terms)


def test_pruning_can_make_a_layout_legal() -> None:
    sizes = {"m": 2, "k": 4, "n": 1}
    codes = np.array([[5], [0], [0], [0]])
    assert decide("mk,kn->mn", "k:1", "n:1", sizes=sizes, rhs_codes=codes).verdict == "once"
    assert decide("mk,kn->mn", "k:1", "n:1", sizes=sizes, rhs_codes=codes + 1).verdict == "incompatible"
    found = decide("mk,kn->mn", "k:2", "n:1", sizes=sizes, rhs_codes=np.array([[5], [3], [0], [0]]))
    assert (found.verdict, found.decoder_class) == ("once", "any function of the output's own accumulator")


def test_weights_of_a_convolution_count_by_tap() -> None:
    case = conv(1, 1, 1)
    codes = np.zeros((2, 2, 3, 2), np.int64)
    codes[:, :, 1, 0] = 7
    found = decide(case.text, "h:1,w:1", "o:1", sizes=case.sizes, rhs_codes=codes)
    assert found.verdict == "once"
    codes[0, 0, 1, 1] = 3
    found = decide(case.text, "h:1,w:1", "o:1", sizes=case.sizes, rhs_codes=codes)
    assert found.verdict != "once"
    assert found.witness is not None
    assert found.witness.check()


def test_known_codes_of_lhs_work_too() -> None:
    codes = np.array([[1, 0, 0], [0, 2, 0]])
    found = decide("mk,kn->mn", "k:1", "n:1", sizes={"m": 2, "k": 3, "n": 2}, lhs_codes=codes)
    assert found.verdict == "once"
    codes = np.array([[1, 0, 3], [0, 2, 0]])
    found = decide("mk,kn->mn", "k:1", "n:1", sizes={"m": 2, "k": 3, "n": 2}, lhs_codes=codes)
    assert (found.verdict, found.partial_sums) == ("segmented", 2)
    assert found.witness is not None
    assert found.witness.check()


def test_accumulator_of_known_weights_is_per_channel() -> None:
    codes = np.array([[1, 127], [0, -128], [0, 127]])
    found = decide("mk,kn->mn", sizes={"m": 2, "k": 3, "n": 2}, rhs_codes=codes)
    # channel 0: -128..127; channel 1: 127 (127 + 127) + 128 * 128 = 48642 and -(128 * 254 + 127 * 128) = -48768
    assert found.accumulator.per_channel == (8, 17)
    assert (found.accumulator_bits, found.accumulator.proof) == (17, "weights")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lhs_scales": 1.0}, "scales must be given for both operands, not without rhs_scales"),
        (
            {"rhs_codes": np.ones((2, 2), np.int64)},
            "rhs_codes must be int8 integers of shape (3, 2), not int64 (2, 2)",
        ),
        ({"rhs_codes": np.full((3, 2), 200)}, "rhs_codes must be int8 integers of shape (3, 2), not int64 (3, 2)"),
        (
            {"rhs_codes": np.ones((3, 2), np.int8), "lhs_codes": np.ones((2, 3), np.int8)},
            "codes must be given for one operand, not for both",
        ),
        (
            {"rhs_codes": np.ones((3, 2), np.int8), "rhs_zero": "n:1"},
            "rhs_zero must be left out where rhs_codes are given, not n:1",
        ),
    ],
)
def test_bad_values_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        decide("mk,kn->mn", sizes={"m": 2, "k": 3, "n": 2}, **arguments)


@pytest.mark.parametrize("blocks", [(32, 48), (3, 5), (16, 1), (7, 200)])
def test_different_values_fall_apart_as_their_layout_does(blocks: tuple[int, int]) -> None:
    """Every product differs, so that all figures of the segments are those of the layout, and runs count in steps."""
    sizes = {"m": 2, "k": 97, "n": 2}
    lhs, rhs = f"k:{blocks[0]}", f"k:{blocks[1]}"
    counts = [-(-97 // block) for block in blocks]
    scales = np.exp2(np.arange(counts[0]))[None], 2.0 * np.arange(1, counts[1] + 1)[:, None] + 1
    by_values = decide("mk,kn->mn", lhs, rhs, sizes=sizes, lhs_scales=scales[0], rhs_scales=scales[1])
    assert by_values.segments == decide("mk,kn->mn", lhs, rhs, sizes=sizes).segments
    cuts = by_values.cuts()
    assert len(cuts) + 1 == by_values.segments.runs


def test_tolerance_is_reached_and_not_exceeded() -> None:
    """Scales 1 and 1.002 lie 0.002 / 2.002 from their middle."""
    arguments: Any = {"sizes": {"m": 1, "k": 2, "n": 1}, "rhs_scales": 1.0, "lhs_scales": np.array([[1.0, 1.002]])}
    assert decide("mk,kn->mn", "k:1", "1", tolerance=0.0009995, **arguments).verdict == "once"
    assert decide("mk,kn->mn", "k:1", "1", tolerance=0.0009985, **arguments).verdict != "once"


def test_classes_of_equal_values_count_steps() -> None:
    """Blocks of 3, 3 and 2 steps with scales 1, 2 and 1: classes of 5 and 3 steps."""
    scales = np.array([[1.0, 2.0, 1.0]])
    found = decide("mk,kn->mn", "k:3", "1", sizes={"m": 2, "k": 8, "n": 2}, lhs_scales=scales, rhs_scales=1.0)
    cut = found.segments
    assert (cut.runs, cut.classes, cut.min_class, cut.max_class, cut.class_lengths) == (3, 2, 3, 5, ((3, 1), (5, 1)))
    assert (cut.lengths, cut.aligned) == (((2, 1), (3, 2)), 3)


def test_absent_terms_are_no_products_by_values_either() -> None:
    sizes = {"b": 1, "c": 1, "w": 2, "o": 1, "s": 9}
    found = decide("conv1d padding=8", sizes=sizes, lhs_scales=1.0, rhs_scales=1.0)
    assert (found.verdict, found.accumulator.length) == ("once", 2)
    found = decide("conv1d padding=8", "w:1", sizes=sizes, lhs_scales=np.array([[[1.0, 3.0]]]), rhs_scales=1.0)
    assert (found.segments.runs, found.segments.max_run, found.segments.max_class) == (2, 1, 1)
