from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.datapath import steps
from quant import Overflow, Rounding
from tests import reference


@pytest.mark.parametrize("rounding", Rounding, ids=lambda r: r.name)
@given(x=st.integers(-(2**60), 2**60), shift=st.integers(0, 60))
def test_rounding_shift_matches_exact_arithmetic(x: int, shift: int, rounding: Rounding) -> None:
    want = reference.rounding_shift(x, shift, rounding.name)
    assert steps.rounding_shift(x, shift, rounding) == want
    assert steps.rounding_shift(np.array([x]), shift, rounding, steps.choose_array)[0] == want


@pytest.mark.parametrize("rounding", Rounding, ids=lambda r: r.name)
@pytest.mark.parametrize("shift", range(6))
def test_rounding_shift_of_every_small_value(rounding: Rounding, shift: int) -> None:
    x = np.arange(-300, 300)
    got = steps.rounding_shift(x, np.full_like(x, shift), rounding, steps.choose_array)
    np.testing.assert_array_equal(got, [reference.rounding_shift(int(v), shift, rounding.name) for v in x])


@pytest.mark.parametrize("overflow", [Overflow.WRAP, Overflow.SATURATE], ids=lambda o: o.name)
def test_fit_of_every_sum_of_two_bytes(overflow: Overflow) -> None:
    for x in range(-600, 600):
        assert steps.fit(x, -128, 127, overflow) == reference.fit(x, 8, overflow.name)


def test_trap_leaves_the_value_to_its_caller() -> None:
    assert steps.fit(300, -128, 127, Overflow.TRAP) == 300


@given(x=st.integers(-(2**31), 2**31 - 1), q=st.integers(2**30, 2**31 - 1), shift=st.integers(0, 31))
def test_double_rounding_is_the_text_of_gemmlowp(x: int, q: int, shift: int) -> None:
    got = steps.double_rounding(x, q, shift, Rounding.HALF_AWAY)
    assert got == reference.divide_by_power(reference.srdhm(x, q), shift)


def test_high_multiply_at_its_negative_ties() -> None:
    # x * 2**30 / 2**31 is a tie for every odd x.
    for x in range(-99, 100):
        assert steps.high_multiply(x, 1 << 30) == reference.srdhm(x, 1 << 30)
