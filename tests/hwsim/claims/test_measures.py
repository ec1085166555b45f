"""What claims measure, against exact arithmetic and formulas written anew."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.claims import catalogue, samples
from hwsim.claims.linear import textbook
from hwsim.claims.rounding_modes import DOT, MODES, Mode, measure
from hwsim.claims.strategies import crossing
from hwsim.claims.zero_points import as_written, corrected, overhead
from tests import reference

CLAIMS = {claim.name: claim for claim in catalogue()}
EXACT = {
    "floor": "DOWN",
    "ceil": "UP",
    "toward zero": "TOWARD_ZERO",
    "nearest, ties up": "HALF_UP",
    "nearest, ties away": "HALF_AWAY",
    "nearest, ties to even": "HALF_EVEN",
}


def values_of(name: str) -> dict[str, float]:
    return {case.when: case.value for case in CLAIMS[name]().cases}


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.name in EXACT], ids=lambda mode: mode.name)
def test_errors_of_a_rounding_match_exact_arithmetic(mode: Mode) -> None:
    x = (np.arange(2 * DOT) * 3 % 801 / np.float32(8)).astype(np.float32)
    found = measure(mode.make, x)
    errors = [reference.rounded(Fraction(float(v)), EXACT[mode.name]) - Fraction(float(v)) for v in x]
    signed = [
        reference.rounded(sign * Fraction(float(v)), EXACT[mode.name]) - sign * Fraction(float(v))
        for sign, v in zip(itertools.cycle((-1, 1)), x, strict=False)
    ]
    sums = [sum(part, Fraction(0)) for part in (errors[:DOT], errors[DOT:])]
    assert found.bias == pytest.approx(float(sum(errors) / len(errors)), abs=1e-12)
    assert found.signed_bias == pytest.approx(float(sum(signed) / len(signed)), abs=1e-12)
    assert found.mean_square == pytest.approx(float(sum(e * e for e in errors) / len(errors)), abs=1e-12)
    assert found.sum_bias == pytest.approx(float((sums[0] + sums[1]) / 2), abs=1e-9)
    assert found.sum_spread == pytest.approx(float(abs(sums[0] - sums[1]) / 2), abs=1e-9)


@given(st.integers(0, 5), st.integers(-128, 127), st.integers(-128, 127))
def test_only_the_corrected_expansion_is_the_product(seed: int, x_zero: int, w_zero: int) -> None:
    rng = np.random.default_rng(seed)
    x, w = rng.integers(-128, 128, (3, 5)), rng.integers(-128, 128, (5, 2))
    shifted = ([[int(v) - x_zero for v in row] for row in x], [[int(v) - w_zero for v in row] for row in w])
    exact = reference.matmul(*shifted)
    np.testing.assert_array_equal(corrected(x, w, x_zero, w_zero), exact)
    if (x_zero, w_zero) == (0, 0):
        np.testing.assert_array_equal(as_written(x, w, 0, 0), exact)


@pytest.mark.parametrize("columns", [1, 15, 16, 17, 64, 256])
@pytest.mark.parametrize("width", [16, 64])
def test_an_extra_channel_takes_the_tiles_it_opens(columns: int, width: int) -> None:
    expected = Fraction(math.ceil(Fraction(columns + 1, width)), math.ceil(Fraction(columns, width))) - 1
    assert overhead(columns, width, "channel").cycles == pytest.approx(float(100 * expected), abs=1e-9)
    assert overhead(columns, width, "adders").cycles == 0


def test_overhead_of_products_falls_as_one_over_the_channels() -> None:
    one = overhead(1, 16, "channel").mac_energy
    for columns in (2, 15, 64):
        assert overhead(columns, 16, "channel").mac_energy == pytest.approx(one / columns)


def test_widths_in_the_brackets_hold_their_extremes_and_no_less() -> None:
    ends = [-255, 255]
    products = [a * b for a in ends for b in ends]
    expected = [
        8,
        reference.sufficient_bits(-255, 255),
        reference.sufficient_bits(min(products), max(products)),
        reference.sufficient_bits(512 * min(products), 512 * max(products)),
    ]
    assert list(values_of("brackets_in_int8").values()) == expected == [8, 9, 17, 26]


def test_widths_without_zero_points_are_those_of_the_codes() -> None:
    """The largest product of full int8 is positive, and so decides the width."""
    expected = reference.sufficient_bits(512 * -128 * 127, 512 * 128 * 128)
    assert CLAIMS["brackets_in_int8"](zero_points=False).cases[-1].value == expected == 25


def test_shares_of_scales_are_those_of_the_formats() -> None:
    bits = {"per tensor, fp32": Fraction(32, 4096**2), "per output channel, fp32": Fraction(32, 4096)}
    bits |= {"groups of 128, fp16": Fraction(16, 128), "groups of 32, fp16": Fraction(16, 32)}
    bits |= {"groups of 8, fp32": Fraction(32, 8)}
    found = values_of("scales_are_negligible")
    assert found == pytest.approx({name: float(100 * share / 8) for name, share in bits.items()})


def test_memory_ratios_count_every_scale() -> None:
    def ratio(float_bits: int, scale_bits: Fraction) -> float:
        return float(Fraction(float_bits) / (8 + scale_bits))

    assert list(values_of("four_times_smaller").values()) == pytest.approx(
        [
            ratio(32, Fraction(32, 4096**2)),
            ratio(32, Fraction(32, 4096)),
            ratio(32, Fraction(16, 128)),
            ratio(32, Fraction(16, 32)),
            ratio(16, Fraction(32, 4096**2)),
        ]
    )


def test_ten_ninety_loses_what_the_formula_says() -> None:
    """The square error of quantizing by the notes' own formulas, in float64, range by range."""
    x = samples.normal().astype(np.float64)

    def error(lo: float, hi: float) -> float:
        scale = (hi - lo) / 255
        codes = np.clip(np.rint(x / scale) + round(-lo / scale), 0, 255)
        return float(np.square(scale * (codes - round(-lo / scale)) - x).mean())

    low, high = np.percentile(x, [10, 90])
    expected = error(low, high) / error(x.min(), x.max())
    assert values_of("ten_ninety")["8 bits, normal"] == pytest.approx(expected, rel=0.02)


def test_the_literal_formula_is_taken_literally() -> None:
    x = np.array([-1.0, 0.0, 0.3, 2.0], np.float32)
    np.testing.assert_array_equal(textbook(x, 0.5, 0, bits=2), [0.0, 0.0, 0.5, 1.5])


@given(st.integers(1, 4096), st.floats(0.5, 2))
def test_crossing_finds_the_first_row_count_beyond_the_limit(at: int, limit: float) -> None:
    found = crossing(lambda m: limit if m < at else limit + 1, limit)
    assert found == at


def test_crossing_gives_up_where_nothing_crosses() -> None:
    seen: list[int] = []

    def flat(m: int) -> float:
        seen.append(m)
        return 0.0

    assert crossing(flat, 1.0, largest=100) is None
    assert max(seen) == 100


def test_crossover_rows_are_neighbours() -> None:
    """One row less, and the ratio is on the other side."""
    from hwsim.claims.strategies import slowdown, speedup_lost

    for ratio, limit in ((slowdown, 1.1), (speedup_lost, 0.95)):
        found = crossing(ratio, limit)
        assert found is not None
        assert ratio(found) > limit >= ratio(found - 1)


def test_operations_of_tables_are_counted() -> None:
    found = values_of("fewer_operations")
    expected = [float(Fraction(16 * 384 + 48 * n, 384 * n)) for n in (1536, 64, 1)]
    assert list(found.values()) == pytest.approx(expected)


def test_both_errors_are_measured_on_the_tensor_given() -> None:
    """Scaling the data scales no ratio."""
    x = samples.normal(8192)
    small, large = (CLAIMS["ten_ninety"](tensors={"x": x * np.float32(size)}).cases for size in (1, 1024))
    assert [case.value for case in small] == pytest.approx([case.value for case in large], rel=1e-6)
