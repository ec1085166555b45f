"""What a requantization profile is, and the integers or floats that it turns a real scale into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from quant.formats import FloatArray, IntArray


class FixedPoint(NamedTuple):
    """A scale as an integer multiplier and a shift: ``real = multiplier / 2**(bits - 1) / 2**shift``.

    Attributes
    ----------
    multiplier : int64 [...]
        Fraction of `bits` bits, its top bit included: in ``2**(bits - 2)..2**(bits - 1) - 1``.
    shift : int64 [...]
        Right shift after the fraction; negative shifts left before it.
    bits : bits
        Width of the signed multiplier, 32 for Q31.
    """

    multiplier: IntArray
    shift: IntArray
    bits: int


class Convertor(NamedTuple):
    """Registers of the convertor of NVDLA: ``y = (x - offset) * scale >> shift``.

    Attributes
    ----------
    offset, scale : int64 [...]
    shift : int64 [...]
        0..31.
    """

    offset: IntArray
    scale: IntArray
    shift: IntArray


class RealScale(NamedTuple):
    """A scale that stays a float, in the precision of its profile."""

    value: FloatArray


class ScalePair(NamedTuple):
    """Two float32 scales that are multiplied one after the other: of the rows, then of the columns."""

    rows: FloatArray
    columns: FloatArray


Encoding = FixedPoint | Convertor | RealScale | ScalePair


@dataclass(frozen=True, slots=True)
class Profile:
    """A bit-exact meaning of ``clamp(round(acc * scale) + zero_point)``.

    Parameters
    ----------
    name
        Name to ask for.
    rule
        Number in the table of ``docs/datapath.md``.
    formula
        What is computed before the clamp.
    source
        Public code or document that says so.
    evidence
        ``run`` and what our tests run it against, or ``from source only``.
    encode
        Real scales to the numbers that the profile computes with.
    apply
        ``apply(acc, encoding, zero_point, bias)``: int64 results before the clamp; all broadcast to `acc`, an int64
        array or a recorded element.
    accumulator_bits
        Width of the accumulators that the profile reads.
    real_bias
        Whether a bias is a float that `apply` adds; else it is an integer added to the accumulators.
    """

    name: str
    rule: str
    formula: str
    source: str
    evidence: str
    encode: Callable[[FloatArray], Encoding]
    apply: Callable[[Any, Encoding, IntArray, FloatArray | None], Any]
    accumulator_bits: int = 32
    real_bias: bool = False
