"""Requantization through floats: one multiplication in float32 or float64, rounded as each runtime rounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from quant.formats import FloatArray, IntArray, IntFormat

from .encodings import Encoding, RealScale, ScalePair
from .recording import FLOAT32, FLOAT64, call

Elements = Any
"""Accumulators and what becomes of them: int64 arrays, or the `Term` of one element that is being recorded."""

_FAR = float(1 << 40)


def single_scale(scale: FloatArray) -> RealScale:
    """Round a scale to float32, which must neither vanish nor overflow.

    Raises
    ------
    ValueError
        If a scale is not positive and finite in float32.
    """
    with np.errstate(over="ignore"):
        single = np.asarray(scale, np.float32)
    _check(single, scale)
    return RealScale(single)


def double_scale(scale: FloatArray) -> RealScale:
    """Keep a scale in float64.

    Raises
    ------
    ValueError
        If a scale is not positive and finite.
    """
    _check(np.asarray(scale, np.float64), scale)
    return RealScale(np.asarray(scale, np.float64))


def _check(rounded: FloatArray, scale: FloatArray) -> None:
    bad = ~(np.isfinite(rounded) & (rounded > 0))
    if np.any(bad):
        msg = f"scale must be positive and finite in {rounded.dtype}, not {np.asarray(scale)[bad].flat[0]}"
        raise ValueError(msg)


def float64_away(acc: Elements, encoding: Encoding, zero_point: IntArray, _: FloatArray | None) -> Elements:
    """Multiply in float64 and round ties away from zero, equation (31)."""
    product = acc.astype(np.float64) * _real(encoding, FLOAT64)
    return _integers(round_away(product)) + zero_point


def float32_even(acc: Elements, encoding: Encoding, zero_point: IntArray, _: FloatArray | None) -> Elements:
    """Multiply in float32, round ties to even, then add the zero point, equation (32)."""
    product = acc.astype(np.float32) * _real(encoding, FLOAT32)
    return _integers(np.rint(product)) + zero_point


def float32_zero_point_first(acc: Elements, encoding: Encoding, zero_point: IntArray, _: FloatArray | None) -> Elements:
    """Multiply in float32, add the zero point in float32, round ties to even, equation (33)."""
    return _integers(np.rint(acc.astype(np.float32) * _real(encoding, FLOAT32) + zero_point.astype(np.float32)))


def float64_zero_point_first(acc: Elements, encoding: Encoding, zero_point: IntArray, _: FloatArray | None) -> Elements:
    """Multiply in float64, add the zero point, round ties to even, equation (33)."""
    return _integers(np.rint(acc.astype(np.float64) * _real(encoding, FLOAT64) + zero_point))


def float32_real_bias(acc: Elements, encoding: Encoding, zero_point: IntArray, bias: FloatArray | None) -> Elements:
    """Add a float32 bias in units of the accumulator, then as `float32_even`, equation (34)."""
    total = acc.astype(np.float32)
    if bias is not None:
        total = total + bias.astype(np.float32)
    return _integers(np.rint(total * _real(encoding, FLOAT32))) + zero_point


def two_scales(acc: Elements, encoding: Encoding, zero_point: IntArray, bias: FloatArray | None) -> Elements:
    """Multiply by the column scale, then by the row scale; a bias joins by fused multiply-add, equation (35)."""
    if not isinstance(encoding, ScalePair):
        msg = f"encoding must be a ScalePair, not {type(encoding).__name__}"
        raise TypeError(msg)
    rows = _typed(encoding.rows, FLOAT32)
    columns = acc.astype(np.float32) * _typed(encoding.columns, FLOAT32)
    if bias is None:
        return _integers(np.rint(columns * rows)) + zero_point
    fused = call("fused_multiply_add", FLOAT32, rows, columns, bias)
    if fused is None:
        return _integers(np.rint(fused_multiply_add(rows, columns, bias))) + zero_point
    return _integers(np.rint(fused)) + zero_point


def round_away(x: Elements) -> Elements:
    """Round float64 to integers, ties away from zero, as C's ``round``.

    Examples
    --------
    >>> round_away(np.array([-2.5, 0.49999999999999994, 0.5]))
    array([-3.,  0.,  1.])
    """
    whole = np.trunc(x)
    # The rest is exact, so adding 0.5 first, which rounds, is avoided.
    return whole + np.where(np.abs(x - whole) >= 0.5, np.where(x < 0, -1.0, 1.0), 0.0)


def fused_multiply_add(a: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Compute ``a * b + c`` in float32 with one rounding.

    Notes
    -----
    The product is exact in float64. The sum is rounded there to odd, which makes the second rounding, to
    float32, harmless (S. Boldo and G. Melquiond, "Emulation of a FMA and correctly rounded sums: proved
    algorithms using rounding to odd", IEEE Transactions on Computers 57(4), 2008).
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(multiply_add_to_odd(a, b, c)).astype(np.float32)


def multiply_add_to_odd(a: npt.ArrayLike, b: npt.ArrayLike, c: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Compute ``a * b + c`` of float32 values in float64; an inexact sum becomes the neighbour with an odd mantissa."""
    product = np.asarray(a, np.float32).astype(np.float64) * np.asarray(b, np.float32).astype(np.float64)
    addend = np.asarray(c, np.float32).astype(np.float64)
    total = np.asarray(product + addend)
    # Knuth's two-sum: the exact error of the addition.
    virtual = total - product
    error = (product - (total - virtual)) + (addend - virtual)
    even = (total.view(np.int64) & 1) == 0
    toward = np.where(error > 0, np.inf, -np.inf)
    return np.where((error != 0) & even & np.isfinite(total), np.nextafter(total, toward), total)


def _real(encoding: Encoding, dtype: np.dtype[Any]) -> FloatArray:
    if not isinstance(encoding, RealScale):
        msg = f"encoding must be a RealScale, not {type(encoding).__name__}"
        raise TypeError(msg)
    return _typed(encoding.value, dtype)


def _typed(scale: FloatArray, dtype: np.dtype[Any]) -> FloatArray:
    """Refuse a scale of another precision: the product would be computed in that of the wider."""
    if scale.dtype != dtype:
        msg = f"encoding must hold {dtype}, not {scale.dtype}"
        raise TypeError(msg)
    return scale


def _integers(x: Elements) -> Elements:
    """Convert rounded floats; what is far outside every output format becomes a far integer, and saturates."""
    return np.clip(x, -_FAR, _FAR).astype(np.int64)


_FLOAT32_RULES = frozenset({"R5", "R6", "R7", "R8", "R9", "R9b", "R10", "R11", "H1"})


def combine(lhs_scale: npt.ArrayLike, rhs_scale: npt.ArrayLike, output_scale: npt.ArrayLike, rule: str) -> FloatArray:
    """Multiply and divide scales in the precision of a rule; see `hwsim.datapath.output_multiplier`."""
    lhs, rhs, out = (np.asarray(x, np.float32) for x in (lhs_scale, rhs_scale, output_scale))
    if rule in _FLOAT32_RULES:
        return np.asarray(lhs * rhs / out)
    return np.asarray(lhs.astype(np.float64) * rhs.astype(np.float64) / out.astype(np.float64))


def activation_bounds(activation: str, scale: float, zero_point: int, form: IntFormat) -> tuple[int, int]:
    """Quantize the bounds of an activation; see `hwsim.datapath.activation_clamp`."""
    ranges = {
        "none": (None, None),
        "relu": (0.0, None),
        "relu6": (0.0, 6.0),
        "relu_n1_to_1": (-1.0, 1.0),
    }
    if activation not in ranges:
        msg = f"activation must be one of {', '.join(ranges)}, not {activation!r}"
        raise ValueError(msg)
    single_scale(np.asarray(scale))

    def level(value: float) -> int:
        quotient = np.float32(value) / np.float32(scale)
        return zero_point + int(round_away(np.asarray(quotient, np.float64)))

    lo, hi = ranges[activation]
    return (
        form.lo if lo is None else max(form.lo, level(lo)),
        form.hi if hi is None else min(form.hi, level(hi)),
    )
