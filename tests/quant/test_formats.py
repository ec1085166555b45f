from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant.formats import BF16, E8M0, FP16, FP32, FloatFormat, IntFormat, parse_format


@pytest.mark.parametrize("bits", range(1, 65))
def test_integer_formats_hold_their_values(bits: int) -> None:
    signed, unsigned = IntFormat(bits), IntFormat(bits, signed=False)
    assert (signed.lo, signed.hi) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    assert (unsigned.lo, unsigned.hi) == (0, 2**bits - 1)
    narrow = IntFormat(bits, narrow=True)
    assert narrow.lo == -narrow.hi
    for fmt in (signed, unsigned, narrow):
        assert IntFormat.parse(fmt.name) == fmt == parse_format(str(fmt))
        info = np.iinfo(fmt.dtype)
        assert info.min <= fmt.lo
        assert fmt.hi <= info.max
        assert info.bits < 16 or fmt.bits > info.bits // 2


def test_contains_looks_at_both_ends() -> None:
    fmt = IntFormat.parse("int4_narrow")
    assert fmt.contains([-7, 7])
    assert fmt.contains([])
    assert not fmt.contains([8])
    assert not fmt.contains([-8])


def test_uint_is_another_name_of_u() -> None:
    assert IntFormat.parse("uint8") == IntFormat(8, signed=False)


def nearest(value: float, mantissa_bits: int, least_exponent: int) -> Fraction:
    """Nearest binary float of a precision, ties to even, subnormals included."""
    exact = Fraction(value)
    exponent = least_exponent
    while abs(exact) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    ulp = Fraction(2) ** (exponent - mantissa_bits)
    return round(exact / ulp) * ulp


@pytest.mark.parametrize(("fmt", "mantissa", "least", "limit"), [(FP16, 10, -14, 65000.0), (BF16, 7, -126, 2.0**100)])
def test_float_formats_round_to_nearest_even(fmt: FloatFormat, mantissa: int, least: int, limit: float) -> None:
    @given(x=st.floats(-limit, limit, width=32))
    def check(x: float) -> None:
        assert Fraction(float(fmt.round([x])[0])) == nearest(x, mantissa, least)

    check()
    ties = [1 + 2.0 ** -(mantissa + 1), 1 + 3 * 2.0 ** -(mantissa + 1), -1 - 2.0 ** -(mantissa + 1)]
    for tie in ties:
        assert Fraction(float(fmt.round([tie])[0])) == nearest(tie, mantissa, least)


def test_float32_keeps_every_value_and_nan_stays() -> None:
    x = np.array([1.1, -0.0, np.inf, np.nan], np.float32)
    np.testing.assert_array_equal(FP32.round(x), x)
    np.testing.assert_array_equal(BF16.round(x)[2:], x[2:])
    np.testing.assert_array_equal(FP16.round(x)[2:], x[2:])


@given(x=st.floats(2.0**-126, 2.0**127, width=32))
def test_e8m0_takes_the_power_at_or_below(x: float) -> None:
    got = Fraction(float(E8M0.round([x])[0]))
    assert got <= Fraction(x) < 2 * got
    assert (got.numerator & (got.numerator - 1), got.denominator & (got.denominator - 1)) == (0, 0)


def test_storage_widths() -> None:
    assert [f.bits for f in (FP32, FP16, BF16, E8M0)] == [32, 16, 16, 8]
    assert [parse_format(name) for name in ("fp32", "fp16", "bf16", "e8m0")] == [FP32, FP16, BF16, E8M0]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: IntFormat(0), "bits must be in 1..64, not 0"),
        (lambda: IntFormat(65), "bits must be in 1..64, not 65"),
        (lambda: IntFormat(8, signed=False, narrow=True), "narrow must go with a signed format, not u8"),
        (lambda: IntFormat.parse("i8"), "integer format must look like int8, u8 or int8_narrow, not 'i8'"),
        (
            lambda: parse_format("fp8"),
            "format must be one of fp32, fp16, bf16, e8m0 or look like int8, u8, int8_narrow, not 'fp8'",
        ),
        (lambda: FP16.round([70000.0]), "value must fit fp16, not 70000.0"),
        (lambda: E8M0.round([0.0]), "e8m0 holds positive finite values, not 0.0"),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        call()


def test_half_precision_equals_the_cast_at_every_value_midpoint_and_neighbour() -> None:
    half = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = np.unique(half[np.isfinite(half)].astype(np.float32))
    middle = ((values[:-1].astype(np.float64) + values[1:]) / 2).astype(np.float32)
    around = [np.nextafter(middle, np.float32(to)) for to in (np.inf, -np.inf)]
    x = np.concatenate([values, middle, *around])
    for part in (x[np.abs(x) < 65504], x[np.abs(x) < 1e-4], x):
        np.testing.assert_array_equal(FP16.round(part), part.astype(np.float16).astype(np.float32))
