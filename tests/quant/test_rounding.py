from __future__ import annotations

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.formats import Rounding
from quant.rounding import (
    Lfsr,
    LfsrStochastic,
    Stochastic,
    round_geometric,
    round_pow2,
    round_values,
)
from tests.quant import exact

FLOAT32 = st.floats(-(2.0**40), 2.0**40, width=32)
EDGES = [0.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 0.49999997, -0.49999997, 0.50000006, -0.50000006, 8388607.5, -8388607.5]
EDGES += [8388609.0, 1e-45, -1e-45, 0.99999994, -0.99999994, -1.0, 1e30]


@pytest.mark.parametrize("mode", Rounding, ids=lambda r: r.name)
@given(x=FLOAT32)
def test_rounding_matches_exact_arithmetic(mode: Rounding, x: float) -> None:
    assert round_values(np.array([x], np.float32), mode)[0] == exact.rounded(Fraction(x), mode.name)


@pytest.mark.parametrize("mode", Rounding, ids=lambda r: r.name)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ties_and_their_neighbours_match_exact_arithmetic(mode: Rounding, dtype: type[np.floating]) -> None:
    x = np.array(EDGES, dtype)
    expected = [exact.rounded(Fraction(float(v)), mode.name) for v in x]
    np.testing.assert_array_equal(round_values(x, mode), np.array(expected, dtype))


@pytest.mark.parametrize("mode", Rounding, ids=lambda r: r.name)
def test_infinities_stay(mode: Rounding) -> None:
    np.testing.assert_array_equal(round_values([np.inf, -np.inf], mode), [np.inf, -np.inf])


def test_integers_and_lists_are_accepted() -> None:
    np.testing.assert_array_equal(round_values([3, -4]), [3, -4])


@pytest.mark.parametrize(
    ("mode", "bias", "square"),
    [
        (Rounding.HALF_EVEN, 0, Fraction(1, 12)),
        (Rounding.UP, Fraction(1, 2), Fraction(1, 3)),
        (Rounding.DOWN, -Fraction(1, 2), Fraction(1, 3)),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_bias_and_mean_square_are_those_of_a_uniform_fraction(mode: Rounding, bias: float, square: Fraction) -> None:
    """Midpoints of 2**16 equal cells of one step: their mean square differs from the integral by 2**-32 / 12."""
    x = (np.arange(2**16) + 0.5) / 2**16
    error = round_values(x, mode) - x
    assert error.mean() == pytest.approx(float(bias), abs=1e-12)
    assert (error**2).mean() == pytest.approx(float(square), abs=1e-9)


def test_stochastic_is_unbiased_with_mean_square_one_sixth() -> None:
    x = (np.arange(2**18) + 0.5) / 2**18
    error = Stochastic(seed=7)(x) - x
    assert abs(error.mean()) < 5 * math.sqrt(1 / 6 / x.size)
    assert (error**2).mean() == pytest.approx(1 / 6, abs=0.002)


def test_stochastic_repeats_with_its_seed_and_keeps_integers() -> None:
    x = np.random.default_rng(7).normal(size=1000)
    np.testing.assert_array_equal(Stochastic(3)(x), Stochastic(3)(x))
    assert np.any(Stochastic(3)(x) != Stochastic(4)(x))
    np.testing.assert_array_equal(Stochastic(3)(np.arange(-5.0, 5.0)), np.arange(-5.0, 5.0))


def naive_lfsr(width: int, taps: tuple[int, ...], state: int, count: int) -> list[int]:
    states = []
    for _ in range(count):
        bit = 0
        for tap in taps:
            bit ^= state >> (tap - 1) & 1
        state = (state << 1 | bit) & (1 << width) - 1
        states.append(state)
    return states


@pytest.mark.parametrize(
    ("width", "taps"), [(3, (3, 2)), (5, (5, 3)), (8, (8, 6, 5, 4)), (13, (13, 4, 3, 1)), (16, (16, 15, 13, 4))]
)
def test_lfsr_matches_a_register_stepped_bit_by_bit(width: int, taps: tuple[int, ...]) -> None:
    register = Lfsr(width, state=5)
    expected = naive_lfsr(width, taps, 5, 700)
    np.testing.assert_array_equal(np.concatenate([register.take(n) for n in (1, 0, 499, 200)]), expected)


@pytest.mark.parametrize("width", range(3, 21))
def test_lfsr_visits_every_state_but_zero(width: int) -> None:
    states = Lfsr(width).take(2**width - 1)
    np.testing.assert_array_equal(np.bincount(states), [0, *[1] * (2**width - 1)])


def test_lfsr_rounding_goes_up_as_often_as_its_fraction_says() -> None:
    period = 2**8 - 1
    for numerator in (0, 1, 100, 255):
        ups = LfsrStochastic(8, seed=9)(np.full(period, numerator / 256)).sum()
        assert ups == numerator


@pytest.mark.parametrize(
    ("width", "state", "text"),
    [
        (2, 1, "width must be in 3..24, not 2"),
        (8, 0, "state must be in 1..255, not 0"),
        (8, 256, "state must be in 1..255, not 256"),
    ],
)
def test_lfsr_refuses_what_would_not_run(width: int, state: int, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Lfsr(width, state)


@given(x=st.floats(-(2.0**20), 2.0**20, width=32))
def test_geometric_rounding_decides_at_the_geometric_mean(x: float) -> None:
    magnitude = abs(Fraction(x))
    floor = math.floor(magnitude)
    expected = floor + (magnitude**2 > floor * (floor + 1))
    assert abs(round_geometric(np.array([x], np.float32))[0]) == expected


@pytest.mark.parametrize("geometric", [False, True])
@given(x=st.floats(2.0**-120, 2.0**120, width=32), negative=st.booleans())
def test_pow2_rounding_takes_the_nearer_power(geometric: bool, x: float, negative: bool) -> None:
    value = Fraction(x)
    low = Fraction(2) ** (math.frexp(x)[1] - 1)
    up = value**2 > 2 * low**2 if geometric else value - low >= 2 * low - value
    got = round_pow2(np.array([-x if negative else x], np.float32), geometric)[0]
    assert Fraction(float(got)) == (-1 if negative else 1) * low * (2 if up else 1)


def test_pow2_rounding_keeps_zero() -> None:
    np.testing.assert_array_equal(round_pow2([0, 1, 3]), [0, 1, 4])
