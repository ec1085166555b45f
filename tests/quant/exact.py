"""Float32 quantization in Python `int` and `Fraction`, element by element: what the tests compare with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

HALF = Fraction(1, 2)
Point = tuple[int, ...]


def float32(value: Fraction) -> Fraction:
    """Nearest float32, ties to even (IEEE 754), for values within its range."""
    if value == 0:
        return value
    exponent = math.floor(math.log2(abs(value)))
    while Fraction(2) ** exponent > abs(value):
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= abs(value):
        exponent += 1
    ulp = Fraction(2) ** (max(exponent, -126) - 23)
    return round(value / ulp) * ulp


def rounded(value: Fraction, mode: str) -> int:
    """Round to an integer by the name of a `quant.Rounding`."""
    down = math.floor(value)
    over = value - down
    if mode == "DOWN" or over == 0:
        return down
    if mode == "UP":
        return down + 1
    if mode == "TOWARD_ZERO":
        return down if value > 0 else down + 1
    if over != HALF:
        return down + (over > HALF)
    if mode == "HALF_UP":
        return down + 1
    if mode == "HALF_AWAY":
        return down + 1 if value > 0 else down
    return down + down % 2


def bounds(bits: int, signed: bool = True, narrow: bool = False) -> tuple[int, int]:
    """Smallest and largest code."""
    if not signed:
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1


def points(shape: Sequence[int]) -> Iterator[Point]:
    """All indices in C order."""
    return itertools.product(*(range(n) for n in shape))


def block_of(point: Point, block: Sequence[int]) -> Point:
    """Index of the block that holds a point; -1 is the whole axis."""
    return tuple(0 if b == -1 else i // b for i, b in zip(point, block, strict=True))


def members(shape: Sequence[int], block: Sequence[int]) -> dict[Point, list[Point]]:
    """Points of each block."""
    groups: dict[Point, list[Point]] = {}
    for point in points(shape):
        groups.setdefault(block_of(point, block), []).append(point)
    return groups


def fraction(value: Any) -> Fraction:
    """Exact value of a numpy float."""
    return Fraction(float(value))


def symmetric_scales(x: np.ndarray[Any, Any], block: Sequence[int], hi: int) -> dict[Point, Fraction]:
    """``float32(max|x| / hi)`` of each block, 1 for blocks of zeros."""
    scales = {}
    for key, group in members(x.shape, block).items():
        bound = max(abs(fraction(x[p])) for p in group)
        scales[key] = float32(bound / hi) if bound else Fraction(1)
    return scales


def asymmetric(
    x: np.ndarray[Any, Any], block: Sequence[int], lo: int, hi: int
) -> tuple[dict[Point, Fraction], dict[Point, int]]:
    """Scale and nudged zero point of each block."""
    scales, zeros = {}, {}
    for key, group in members(x.shape, block).items():
        low = min([Fraction(0), *(fraction(x[p]) for p in group)])
        high = max([Fraction(0), *(fraction(x[p]) for p in group)])
        scale = float32(float32(high - low) / (hi - lo)) if high > low else Fraction(1)
        zero = rounded(float32(lo - float32(low / scale)), "HALF_EVEN")
        scales[key], zeros[key] = scale, min(max(zero, lo), hi)
    return scales, zeros


def codes(
    x: np.ndarray[Any, Any],
    scale: Mapping[Point, Fraction],
    zero: Mapping[Point, int],
    lo: int,
    hi: int,
    mode: str = "HALF_EVEN",
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], int]:
    """Codes, their float32 real values, and the number outside the format; scale and zero point by element."""
    q = np.empty(x.shape, np.int64)
    real = np.empty(x.shape, np.float32)
    outside = 0
    for p in points(x.shape):
        raw = rounded(float32(fraction(x[p]) / scale[p]), mode) + zero[p]
        outside += not lo <= raw <= hi
        q[p] = min(max(raw, lo), hi)
        real[p] = float(float32((int(q[p]) - zero[p]) * scale[p]))
    return q, real, outside


def by_element(values: Mapping[Point, Any], block: Sequence[int], shape: Sequence[int]) -> dict[Point, Any]:
    """Value of each element's block."""
    return {p: values[block_of(p, block)] for p in points(shape)}
