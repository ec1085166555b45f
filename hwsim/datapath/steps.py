"""The arithmetic steps of the datapath, written once over any ring of integers.

The same text runs on Python ints, on int64 arrays and on z3 bit-vectors: the ring needs ``+ - * << >> & <``
with an arithmetic right shift, and a `select` that chooses by a truth value. Equation numbers are those of
``docs/datapath.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

import numpy as np

from quant.formats import Overflow, Rounding

Ring = Any
"""An integer: Python int, int64 array, or z3 bit-vector wide enough for every value that occurs."""

Select = Callable[[Any, Ring, Ring], Ring]
"""``select(condition, a, b)``: `a` where the condition holds, else `b`."""


def choose(condition: Any, a: Ring, b: Ring) -> Ring:
    """Select on Python ints."""
    return a if condition else b


def choose_array(condition: Any, a: Ring, b: Ring) -> Ring:
    """Select on int64 arrays."""
    return np.where(condition, a, b)


def rounding_shift(x: Ring, shift: Ring, rounding: Rounding, select: Select = choose) -> Ring:
    r"""Divide by a power of two and round to an integer.

    .. math:: y = \mathrm{round}(x / 2^{shift})

    Parameters
    ----------
    x : int [...]
        Value. ``abs(x) + 2**shift`` must fit the ring.
    shift : bits, 0 or more
        Number of low bits to drop.
    rounding
        What happens to the dropped bits.
    select
        Choice in the ring of `x`.

    Returns
    -------
    y : int [...]
        Same ring as `x`.

    Notes
    -----
    Equations (11) to (16). ``HALF_AWAY`` is ``RoundingDivideByPOT`` of gemmlowp (``fixedpoint/fixedpoint.h``);
    ``HALF_EVEN`` is the shift of Gemmini (``Arithmetic.scala``).

    Examples
    --------
    >>> [rounding_shift(x, 2, Rounding.HALF_AWAY) for x in (-6, -2, 2, 6)]
    [-2, -1, 1, 2]
    """
    half = (1 << shift) >> 1
    match rounding:
        case Rounding.DOWN:
            return x >> shift
        case Rounding.UP:
            return -((-x) >> shift)
        case Rounding.TOWARD_ZERO:
            return (x + select(x < 0, (1 << shift) - 1, 0)) >> shift
        case Rounding.HALF_UP:
            return (x + half) >> shift
        case Rounding.HALF_AWAY:
            # Below zero a tie must not reach the next integer; without dropped bits there is no tie.
            return (x + half - select(x < 0, 1 - ((1 << shift) & 1), 0)) >> shift
        case Rounding.HALF_EVEN:
            floor = x >> shift
            rest = x - (floor << shift)
            # One odd unit more than twice the rest passes 2**shift above the tie, and at the tie of an odd floor.
            return floor + select((1 << shift) < rest + rest + (floor & 1), 1, 0)
        case _:
            assert_never(rounding)


def fit(x: Ring, lo: Ring, hi: Ring, overflow: Overflow, select: Select = choose) -> Ring:
    """Bring a value into lo..hi as a register of that range does.

    Parameters
    ----------
    x : int [...]
        Value.
    lo, hi : int
        Range of the register; for ``WRAP`` a whole power of two of values.
    overflow
        ``WRAP`` keeps the low bits, ``SATURATE`` clamps, ``TRAP`` leaves `x` alone: its caller checks the range.
    select
        Choice in the ring of `x`.

    Returns
    -------
    y : int [...]
        Same ring as `x`.

    Notes
    -----
    Equations (4) and (5).

    Examples
    --------
    >>> fit(130, -128, 127, Overflow.WRAP), fit(130, -128, 127, Overflow.SATURATE)
    (-126, 127)
    """
    match overflow:
        case Overflow.WRAP:
            return ((x - lo) & (hi - lo)) + lo
        case Overflow.SATURATE:
            return select(x < lo, lo, select(hi < x, hi, x))
        case Overflow.TRAP:
            return x
        case _:
            assert_never(overflow)


def accumulate(register: Ring, addend: Ring, lo: Ring, hi: Ring, overflow: Overflow, select: Select = choose) -> Ring:
    """Add one addend to an accumulator register of range lo..hi, equation (6).

    Examples
    --------
    >>> accumulate(120, 10, -128, 127, Overflow.SATURATE)
    127
    """
    return fit(register + addend, lo, hi, overflow, select)


def multiply_shift(x: Ring, multiplier: Ring, shift: Ring, rounding: Rounding, select: Select = choose) -> Ring:
    """Multiply at full width, then one rounding shift, equation (21).

    Examples
    --------
    >>> multiply_shift(1000, 1 << 30, 31 + 3, Rounding.HALF_UP)
    63
    """
    return rounding_shift(x * multiplier, shift, rounding, select)


def high_multiply(x: Ring, multiplier: Ring, select: Select = choose) -> Ring:
    """Multiply by a Q31 fraction and round ties up, equation (22).

    Notes
    -----
    ``SaturatingRoundingDoublingHighMul`` of gemmlowp (``fixedpoint/fixedpoint.h``) for a multiplier that is not
    negative: its nudge and truncating division together round ties toward plus infinity.

    Examples
    --------
    >>> high_multiply(-3, 1 << 30)
    -1
    """
    return multiply_shift(x, multiplier, 31, Rounding.HALF_UP, select)


def double_rounding(x: Ring, multiplier: Ring, shift: Ring, rounding: Rounding, select: Select = choose) -> Ring:
    """Multiply by a Q31 fraction, round, shift right, round again, equation (23).

    Notes
    -----
    ``HALF_AWAY`` in the second step is ``MultiplyByQuantizedMultiplier`` of gemmlowp and TensorFlow Lite;
    ``HALF_UP`` is the AVX-512 kernel of ruy (``kernel_avx512.cc``).

    Examples
    --------
    >>> double_rounding(-20, 1 << 30, 2, Rounding.HALF_AWAY), double_rounding(-20, 1 << 30, 2, Rounding.HALF_UP)
    (-3, -2)
    """
    return rounding_shift(high_multiply(x, multiplier, select), shift, rounding, select)
