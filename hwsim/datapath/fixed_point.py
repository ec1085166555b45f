"""Requantization in integers: multiplier and shift, in the orders of rounding that runtimes and hardware use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from quant.formats import IntArray, Overflow, Rounding

from .encodings import Convertor, Encoding, FixedPoint
from .gemm import magnitude
from .recording import Term
from .steps import choose_array, double_rounding, fit, multiply_shift, rounding_shift

Elements = Any
"""Accumulators and what becomes of them: int64 arrays, or the `Term` of one element that is being recorded."""

Apply = Callable[[Elements, Encoding, IntArray, Any], Elements]


def double(rounding: Rounding) -> Apply:
    """Return the stage that rounds after the high multiply and again after the right shift, equation (23)."""

    def apply(acc: Elements, encoding: Encoding, zero_point: IntArray, _: Any) -> Elements:
        multiplier, shift = _fixed(encoding, 32)
        x = _shift_left(acc, shift)
        y = double_rounding(x, multiplier, np.maximum(shift, 0), rounding, choose_array)
        return y + zero_point

    return apply


def single(rounding: Rounding, bits: int = 32) -> Apply:
    """Return the stage that multiplies at full width and rounds once, equation (21)."""

    def apply(acc: Elements, encoding: Encoding, zero_point: IntArray, _: Any) -> Elements:
        multiplier, shift = _fixed(encoding, bits)
        total = shift + (bits - 1)
        if np.any(total < 0):
            msg = f"scale must be below 2**{bits - 1} for one rounding shift, not need a shift of {int(total.min())}"
            raise ValueError(msg)
        _check_product(acc, multiplier, total)
        return multiply_shift(acc, multiplier, total, rounding, choose_array) + zero_point

    return apply


def byte_fraction(acc: Elements, encoding: Encoding, zero_point: IntArray, _: Any) -> Elements:
    """Multiply by an 8.8 fraction and round ties up, equation (25)."""
    multiplier, _shift = _fixed(encoding, 17)
    return multiply_shift(acc, multiplier, 8, Rounding.HALF_UP, choose_array) + zero_point


def halved_multiplier(acc: Elements, encoding: Encoding, zero_point: IntArray, _: Any) -> Elements:
    """Cut a Q31 multiplier to 16 bits for a wide accumulator, one rounding, equation (26).

    Notes
    -----
    ``MultiplyByQuantizedMultiplier`` of TensorFlow Lite for int64 accumulators.
    """
    multiplier, shift = _fixed(encoding, 32)
    # 0x7FFF0000 and above would round to 2**15, which int16 does not hold.
    reduced = np.where(multiplier < 0x7FFF0000, (multiplier + (1 << 15)) >> 16, 0x7FFF)
    total = shift + 15
    if np.any(total < 1):
        msg = f"scale must be below 2**14 for a 16-bit multiplier, not need a shift of {int(total.min())}"
        raise ValueError(msg)
    _check_product(acc, reduced, total)
    return multiply_shift(acc, reduced, total, Rounding.HALF_UP, choose_array) + zero_point


def convertor(acc: Elements, encoding: Encoding, zero_point: IntArray, _: Any) -> Elements:
    """Subtract an offset, multiply, shift with ties away, equation (27)."""
    if not isinstance(encoding, Convertor):
        msg = f"encoding must be a Convertor, not {type(encoding).__name__}"
        raise TypeError(msg)
    x = acc - encoding.offset
    _check_product(x, encoding.scale, encoding.shift, magnitude(encoding.offset))
    y = multiply_shift(x, encoding.scale, encoding.shift, Rounding.HALF_AWAY, choose_array)
    return y + zero_point


def shift_only(rounding: Rounding) -> Apply:
    """Return the stage that only shifts, for a scale that is a power of two, equation (24)."""

    def apply(acc: Elements, encoding: Encoding, zero_point: IntArray, _: Any) -> Elements:
        multiplier, shift = _fixed(encoding, 32)
        if np.any(multiplier != 1 << 30):
            msg = "scale must be a power of two for a shift"
            raise ValueError(msg)
        # A multiplier of one half moves the point by one place.
        total = shift + 1
        x = _shift_left(acc, total)
        return rounding_shift(x, np.maximum(total, 0), rounding, choose_array) + zero_point

    return apply


def _fixed(encoding: Encoding, bits: int) -> tuple[IntArray, IntArray]:
    if not isinstance(encoding, FixedPoint) or encoding.bits != bits:
        kind = f"{type(encoding).__name__}({getattr(encoding, 'bits', '')})"
        msg = f"encoding must be a FixedPoint of {bits} bits, not {kind}"
        raise TypeError(msg)
    return encoding.multiplier, encoding.shift


def _shift_left(acc: Elements, shift: IntArray) -> Elements:
    """Shift left where `shift` is negative; the runtimes do it in int32."""
    left = np.maximum(-shift, 0)
    if not np.any(left):
        return acc
    wide = acc << left
    if isinstance(wide, Term) and not np.any(left > 31):
        return wide.record.fitting(wide, 32)
    worst = fit(wide, -(1 << 31), (1 << 31) - 1, Overflow.SATURATE, choose_array)
    if np.any(left > 31) or np.any(worst != wide):
        msg = f"accumulator shifted left by {int(left.max())} must fit int32, not reach {int(np.abs(wide).max())}"
        raise ValueError(msg)
    return wide


def _check_product(x: Elements, multiplier: IntArray, shift: IntArray, offset: int = 0) -> None:
    """Refuse a product or a rounding constant that int64 does not hold; recorded elements may be any, less `offset`."""
    largest = x.record.reach + offset if isinstance(x, Term) else magnitude(x)
    product = largest * magnitude(multiplier)
    deepest = int(np.max(shift, initial=0))
    if deepest > 62 or product + (1 << deepest) >= 1 << 63:
        msg = f"product and shift must fit 64 bits, not {product} and {deepest}"
        raise ValueError(msg)
