"""How wide an accumulator must be, exactly.

A sum of K products of two formats lies in K [lo, hi], where lo and hi are the least and greatest product, and both ends
are reached. The textbook formula ceil(log2(K |a| |w|)) + 1 is one bit short when the positive end is a power of two:
int32 holds 131,071 full-range int8 products, not 131,072. With known weights the bound per output is
sum max(w a_min, w a_max), also reached, and it bounds every partial sum in any order as formats contain 0 (the sharper
form of A2Q's l1 bound, Colbert et al., ICCV 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.formats import IntFormat


def bits_of(lo: int, hi: int) -> int:
    """Two's complement bits that hold every integer in lo..hi.

    Examples
    --------
    >>> bits_of(-128, 127), bits_of(0, 128), bits_of(0, 0)
    (8, 9, 1)
    """
    return max(hi.bit_length() + 1 if hi > 0 else 1, (-lo - 1).bit_length() + 1 if lo < 0 else 1)


def product_range(lhs: tuple[int, int], rhs: tuple[int, int]) -> tuple[int, int]:
    """Least and greatest product of two ranges."""
    ends = [a * b for a in lhs for b in rhs]
    return min(ends), max(ends)


def _range(name: str | IntFormat) -> tuple[int, int]:
    number = IntFormat.parse(name) if isinstance(name, str) else name
    return number.lo, number.hi


def accumulator_bits(length: int, lhs: str | IntFormat = "int8", rhs: str | IntFormat = "int8") -> int:
    """Bits that hold any sum of `length` products, and any partial sum.

    Parameters
    ----------
    length : products
        Terms of one sum.
    lhs, rhs
        Formats of the factors.

    Examples
    --------
    >>> accumulator_bits(512), accumulator_bits(512, "int8_narrow", "int8_narrow"), accumulator_bits(512, "u8")
    (25, 24, 25)
    """
    lo, hi = product_range(_range(lhs), _range(rhs))
    return bits_of(length * lo, length * hi)


def safe_length(bits: int, lhs: str | IntFormat = "int8", rhs: str | IntFormat = "int8") -> int:
    """Longest sum of products that an accumulator of `bits` holds whatever the operands are.

    Examples
    --------
    >>> safe_length(32), safe_length(16), safe_length(24, "u8", "int8_narrow")
    (131071, 1, 259)
    """
    lo, hi = product_range(_range(lhs), _range(rhs))
    limits = [((1 << (bits - 1)) - 1) // hi] if hi > 0 else []
    limits += [(1 << (bits - 1)) // -lo] if lo < 0 else []
    return min(limits)


def channel_bits(weights: npt.NDArray[Any], lhs: str | IntFormat = "int8") -> npt.NDArray[np.int64]:
    """Bits that each output channel needs for known weights.

    Parameters
    ----------
    weights : integer [..., k, n]
        Codes that reach the multipliers.
    lhs
        Format of the other factor.

    Returns
    -------
    bits : int64 [..., n]
        Exact: some operand reaches the bound, and no partial sum in any order exceeds it.

    Examples
    --------
    >>> channel_bits(np.array([[127, 1], [-128, 0], [127, 0]]))
    array([17,  8])
    """
    a_lo, a_hi = _range(lhs)
    wide = weights.astype(np.int64)
    positive = np.where(weights > 0, wide, 0).sum(axis=-2)
    negative = np.where(weights < 0, wide, 0).sum(axis=-2)
    top = positive * a_hi + negative * a_lo
    bottom = positive * a_lo + negative * a_hi
    bits = [bits_of(int(lo), int(hi)) for lo, hi in zip(bottom.flat, top.flat, strict=True)]
    return np.array(bits, np.int64).reshape(top.shape)


@dataclass(frozen=True, slots=True)
class AccumulatorBound:
    """What the accumulators of a plan must hold.

    Attributes
    ----------
    bits : bits
        Width of one integer partial sum.
    length : products
        Terms of the longest partial sum.
    lo, hi
        Its exact range.
    corrected_bits : bits
        Width of the same sum with the zero points subtracted.
    outer
        Where partial sums meet: ``none``, ``int`` or ``fp32``.
    outer_bits : bits
        Width of that accumulator, 0 for none.
    proof
        ``worst case`` over the formats, or ``weights``.
    per_channel : bits
        With known weights, width of each output channel; else empty.
    """

    bits: int
    length: int
    lo: int
    hi: int
    corrected_bits: int
    outer: str
    outer_bits: int
    proof: str = "worst case"
    per_channel: tuple[int, ...] = ()

    @property
    def exact_in_fp32(self) -> bool:
        """Every partial sum converts to float32 without rounding."""
        return max(abs(self.lo), abs(self.hi)) <= 1 << 24


def bound(
    length: int,
    total: int,
    formats: tuple[IntFormat, IntFormat],
    zeros: tuple[bool, bool],
    outer: str,
    multiplier: int,
) -> AccumulatorBound:
    """Bound the accumulators of a plan by the worst case of its formats.

    Parameters
    ----------
    length, total : products
        Longest partial sum and whole reduction.
    formats, zeros
        Formats of lhs and rhs, and whether each has a zero point.
    outer, multiplier
        Where partial sums meet, and the greatest integer that one of them is multiplied with on the way.
    """
    ranges = [(number.lo, number.hi) for number in formats]
    lo, hi = product_range(*ranges)
    spread = [(a - b, b - a) if zero else (a, b) for (a, b), zero in zip(ranges, zeros, strict=True)]
    low, high = product_range(*spread)
    whole = bits_of(total * lo * multiplier, total * hi * multiplier)
    return AccumulatorBound(
        bits_of(length * lo, length * hi),
        length,
        length * lo,
        length * hi,
        bits_of(length * low, length * high),
        outer,
        {"none": 0, "fp32": 32}.get(outer, whole),
    )
