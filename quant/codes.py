"""Codes that are not affine: powers of two, and codebooks found by k-means.

Both keep the scales of a layout. Their codes are decoded to integers before the multiply-accumulate (a shift; a
table of int8), or the table holds real numbers and no integer array can use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .blocks import block_extrema, block_reduce, spread
from .formats import FP32, FloatFormat, IntArray, IntFormat
from .inputs import as_layout, check_finite, check_tensor
from .layout import ScaleLayout
from .qtensor import QTensor
from .rounding import round_pow2
from .scales import Float32, Power, Range, ScaleRule, cell_shape, combine_levels, fit_levels

Centroids = Literal["int8", "real"]
Float64 = npt.NDArray[np.float64]

FINE = 512
"""Runs of values on which the first codebook is found exactly."""

_EXPONENT = np.int32(0x7F800000)
_UP_LINEAR = 1 << 22  # carries into the exponent of a single from 1.5 on
_UP_GEOMETRIC = (1 << 23) - 3474676  # from the first single above sqrt(2) on: (2**23 + 3474676)**2 > 2**47

_FEW_LIMITS = 32
"""Limits up to which counting those below a value beats a binary search."""

LLOYD_STEPS = 500
"""Bound on Lloyd's steps, which only large tables reach; the codebook is then not at a local optimum yet."""


def quantize_pow2(
    x: npt.ArrayLike,
    bits: int = 4,
    layout: ScaleLayout | str = "per_tensor",
    *,
    axes: str | Sequence[str] | None = None,
    geometric: bool = False,
    search: bool = False,
    scale_format: FloatFormat = FP32,
    integer_bits: int = 8,
    power: Power = "floor",
) -> QTensor:
    r"""Quantize to 0 and plus or minus powers of two, so that a multiplication is a shift.

    A code is a sign bit above a field of ``bits - 1`` bits: field 0 is the value 0, field j + 1 the integer
    ``2**j``, j in
    ``0..2**(bits - 1) - 2``. The largest magnitude of a block maps to the largest power.

    Parameters
    ----------
    x : float [...]
        Finite values.
    bits : 2..6
        Width of a code; the integers then take ``2**(bits - 1)`` bits.
    layout, axes, scale_format, integer_bits, power
        As in `quantize`.
    geometric
        False: the nearest value in linear distance, ties up (limits 1/2, 3/2, 3, ...). True: the nearest exponent
        (limits :math:`\sqrt{1/2}, \sqrt 2, \sqrt 8, \ldots`), 0 below.
    search
        Try 17 scales from half to twice that of the largest magnitude, equal ratios, and keep for each block that of
        the least square error. For layouts of one real level.

    Returns
    -------
    QTensor
        With `code` ``pow2``.

    Raises
    ------
    ValueError
        If `bits` is out of range, `x` is empty or not finite, or `search` meets several levels.

    Examples
    --------
    >>> q = quantize_pow2([0.0, 1.0, -3.0, 64.0], bits=4)
    >>> q.integers, q.codes
    (array([ 0,  1, -4, 64], dtype=int8), array([ 0,  1, 11,  7], dtype=uint8))
    """
    if not 2 <= bits <= 6:
        msg = f"bits must be in 2..6, not {bits}"
        raise ValueError(msg)
    fields = (1 << (bits - 1)) - 1
    rule = ScaleRule(IntFormat(bits, signed=False), scale_format, integer_bits, power, largest=1 << (fields - 1))
    values, parsed, scales = _scaled(x, layout, axes, rule)
    cell = cell_shape((parsed,), values.shape)
    if search:
        if len(parsed.levels) > 1 or parsed.levels[0].kind != "real":
            msg = f"search must have a layout of one real level, not {parsed}"
            raise ValueError(msg)
        scales = (_search_pow2(values, cell, scales[0], rule, geometric),)
    quotient = values / spread(combine_levels(scales, cell, values.shape, parsed), cell, values.shape)
    saturated = int(np.count_nonzero(np.abs(round_pow2(quotient, geometric)) > rule.largest))
    power_of = _nearest_pow2(quotient, rule.largest, geometric)
    _, exponent = np.frexp(power_of)  # 2**j gives j + 1, 0 gives 0
    codes = np.where(power_of < 0, exponent | 1 << (bits - 1), exponent).astype(rule.format.dtype)
    return QTensor(
        codes=codes,
        format=rule.format,
        layout=replace(parsed, code="pow2"),
        scales=scales,
        code="pow2",
        level_bits=tuple(rule.bits(level.kind) for level in parsed.levels),
        saturated=saturated,
    )


def quantize_codebook(
    x: npt.ArrayLike,
    entries: int = 16,
    layout: ScaleLayout | str = "per_tensor",
    *,
    axes: str | Sequence[str] | None = None,
    centroids: Centroids = "int8",
    scale_format: FloatFormat = FP32,
    integer_bits: int = 8,
    power: Power = "floor",
) -> QTensor:
    """Quantize to the nearest entry of one table, found by k-means over the scaled values.

    The values are divided by the scales of the layout first, so that each block spans -127..127 (int8 table) or
    -1..1 (real).

    Parameters
    ----------
    x : float [...]
        Finite values.
    entries : 2..65536
        Size of the table, at most that of `x`; a code takes ``ceil(log2(entries))`` bits.
    layout, axes, scale_format, integer_bits, power
        As in `quantize`.
    centroids
        ``int8``: rounded half to even, for an integer MAC. ``real``: float32.

    Returns
    -------
    QTensor
        With `code` ``codebook``; a value midway between two entries takes the lower. `entropy_bits` tells what an
        entropy coder would need.

    Raises
    ------
    ValueError
        If `entries` is out of range, or `x` is empty or not finite.

    Examples
    --------
    >>> q = quantize_codebook([-1.0, -0.9, 0.0, 0.1, 0.5, 0.52], entries=3)
    >>> q.table, q.codes, q.integers
    (array([-121,    6,   65], dtype=int8), array([0, 0, 1, 1, 2, 2], dtype=uint8),
     array([-121, -121,    6,    6,   65,   65], dtype=int8))
    """
    if centroids not in ("int8", "real"):
        msg = f"centroids must be int8 or real, not {centroids!r}"
        raise ValueError(msg)
    size = check_tensor(x).size
    if not 2 <= entries <= min(size, 1 << 16):
        msg = f"entries must be in 2..{min(size, 1 << 16)} for {size} values, not {entries}"
        raise ValueError(msg)
    fmt = IntFormat((entries - 1).bit_length(), signed=False)
    rule = ScaleRule(fmt, scale_format, integer_bits, power, largest=127 if centroids == "int8" else 1)
    values, parsed, scales = _scaled(x, layout, axes, rule)
    cell = cell_shape((parsed,), values.shape)
    scaled = values / spread(combine_levels(scales, cell, values.shape, parsed), cell, values.shape)
    found = kmeans(scaled, entries)
    table: npt.NDArray[Any] = found.astype(np.float32)
    if centroids == "int8":
        table = np.clip(np.rint(found), -127, 127).astype(np.int8)
    return QTensor(
        codes=nearest_entry(scaled, table).astype(fmt.dtype),
        format=fmt,
        layout=replace(parsed, code=f"codebook({centroids})"),
        scales=scales,
        table=table,
        code="codebook",
        level_bits=tuple(rule.bits(level.kind) for level in parsed.levels),
    )


def nearest_entry(x: Float32, table: npt.NDArray[Any]) -> IntArray:
    """Index of the nearest entry of a sorted table; midway, the lower."""
    wide = table.astype(np.float64)
    limits = (wide[1:] + wide[:-1]) / 2
    if limits.size > _FEW_LIMITS or x.dtype != np.float32:
        return np.searchsorted(limits, x.astype(np.float64), side="left")
    # A single is above a limit if it is above the largest single that is not.
    with np.errstate(over="ignore"):
        single = limits.astype(np.float32)
    single = np.where(single > limits, np.nextafter(single, np.float32(-np.inf)), single)
    index = np.zeros(x.shape, np.uint8)
    for limit in single:
        index += x > limit
    return index.astype(np.intp)


def entropy_bits(codes: npt.ArrayLike) -> float:
    """Entropy of the codes in bits an element: what an ideal entropy coder would store.

    Examples
    --------
    >>> entropy_bits([0, 0, 1, 2])
    1.5
    """
    _, counts = np.unique(np.asarray(codes), return_counts=True)
    p = counts / counts.sum()
    return float(abs((p * np.log2(p)).sum()))  # abs: one code only gives -0.0


@dataclass(frozen=True)
class _Runs:
    """Sorted values with prefix sums: the sum and number of any run in constant time."""

    values: Float64
    sums: Float64

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> _Runs:
        ordered = np.sort(values, axis=None).astype(np.float64)
        return cls(ordered, np.concatenate([[0.0], np.cumsum(ordered)]))

    def means(self, edges: IntArray) -> Float64:
        """Means of the runs between edges, none of them empty."""
        return np.diff(self.sums[edges]) / np.diff(edges)


def kmeans(x: npt.ArrayLike, entries: int) -> Float64:
    """Codebook of least square error in one dimension, sorted.

    Optimal for up to `FINE` distinct values (dynamic programming). For more, the optimum over runs of neighbouring
    values, half of them of equal numbers and half of equal widths, is refined by Lloyd's iteration on the values
    themselves until it stands still, at most `LLOYD_STEPS` times. Nothing is random.

    Parameters
    ----------
    x : float [...]
        Values.
    entries
        Number of centroids; with fewer distinct values the last one repeats.

    Returns
    -------
    centroids : float64 [entries]

    Raises
    ------
    ValueError
        If there are no values, one is not finite, or `entries` is not positive.

    Examples
    --------
    >>> kmeans([0, 1, 1, 10, 11, 12], 2)
    array([ 0.66666667, 11.        ])
    """
    values = np.asarray(x)
    if values.size == 0 or not np.isfinite(values).all():
        msg = f"x must be finite values, at least one, not {'none' if values.size == 0 else 'NaN or infinite'}"
        raise ValueError(msg)
    if entries < 1:
        msg = f"entries must be 1 or more, not {entries}"
        raise ValueError(msg)
    runs = _Runs.of(values)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(runs.values)) + 1])
    exact = starts.size <= max(FINE, 2 * entries)
    if not exact:
        half = max(FINE, 2 * entries) // 2
        even = np.linspace(0, runs.values.size, half, endpoint=False).astype(np.int64)
        widths = np.linspace(runs.values[0], runs.values[-1], half, endpoint=False)
        # Equal values stay together, so that every run is one of those that Lloyd could form.
        begin = np.searchsorted(runs.values, runs.values[even], side="left")
        starts = np.unique(np.concatenate([begin, np.searchsorted(runs.values, widths, side="left")]))
    edges = np.append(starts, runs.values.size)
    if starts.size <= entries:
        found = runs.means(edges)
        return np.append(found, np.full(entries - found.size, found[-1]))
    centroids = runs.means(_best_edges(runs, edges, entries))
    return centroids if exact else _lloyd(runs, centroids)


def _best_edges(runs: _Runs, edges: IntArray, entries: int) -> IntArray:
    """Edges of the `entries` runs of least square error among the given edges (dynamic programming)."""
    sums, count = runs.sums[edges], edges.astype(np.float64)
    center = sums[-1] / count[-1]
    sums = sums - center * count  # around the mean, which keeps digits
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = (sums[:, None] - sums[None, :]) ** 2 / (count[:, None] - count[None, :])  # [end, start]
    gain[np.triu_indices(edges.size)] = -np.inf  # a run goes forward and is not empty
    best, choices = gain[:, 0], []
    total = np.empty_like(gain)
    for _ in range(entries - 1):
        np.add(gain, best, out=total)
        choice = total.argmax(axis=1)
        choices.append(choice)
        best = np.take_along_axis(total, choice[:, None], axis=1)[:, 0]
    at = edges.size - 1
    chosen = [at]
    for choice in reversed(choices):
        at = int(choice[at])
        chosen.append(at)
    return edges[[0, *chosen[::-1]]]


def _lloyd(runs: _Runs, centroids: Float64) -> Float64:
    """Move limits to the middle and centroids to the mean; the square error never rises."""
    seen = np.empty(0, np.int64)
    for _ in range(LLOYD_STEPS):
        limits = (centroids[1:] + centroids[:-1]) / 2
        edges = np.concatenate([[0], np.searchsorted(runs.values, limits, side="right"), [runs.values.size]])
        if np.array_equal(edges, seen):
            break
        seen = edges
        filled = np.diff(edges) > 0
        sums, counts = np.diff(runs.sums[edges]), np.diff(edges)
        centroids = np.where(filled, sums / np.maximum(counts, 1), centroids)
    return centroids


def _scaled(
    x: npt.ArrayLike, layout: ScaleLayout | str, axes: str | Sequence[str] | None, rule: ScaleRule
) -> tuple[Float32, ScaleLayout, tuple[Float32, ...]]:
    """Values, layout and the scales that bring the largest magnitude of each block to the rule's largest integer."""
    values = check_tensor(x)
    parsed = as_layout(layout, axes, values.ndim)
    cell = cell_shape((parsed,), values.shape)
    lo, hi = block_extrema(values, cell)
    check_finite(lo, hi)
    return values, parsed, fit_levels(Range(lo, hi).bound, cell, values.shape, parsed, rule)


def _nearest_pow2(quotient: Float32, largest: int, geometric: bool) -> Float32:
    """Nearest of 0, 1, 2, 4, ... `largest` with the sign of the quotient; as `round_pow2`, by its bits."""
    magnitude = np.abs(quotient)
    bits = magnitude.view(np.int32) + np.int32(_UP_GEOMETRIC if geometric else _UP_LINEAR)
    power = (bits & _EXPONENT).view(np.float32)
    kept = power >= 1 if geometric else magnitude >= 0.5
    np.clip(power, 1, largest, out=power)
    power *= kept
    return np.copysign(power, quotient)


def _search_pow2(x: Float32, cell: tuple[int, ...], scale: Float32, rule: ScaleRule, geometric: bool) -> Float32:
    """Scale of least square error of each block among 17 around the given one."""
    best = np.full(scale.shape, np.inf)
    chosen = scale
    for eighths in range(-8, 9):
        tried = rule.scale_format.round(scale * np.float32(2 ** (eighths / 8)))
        each = spread(tried, cell, x.shape)
        error = _nearest_pow2(x / each, rule.largest, geometric) * each - x
        square = block_reduce(np.add, error.astype(np.float64) ** 2, cell)
        better = square < best
        best, chosen = np.where(better, square, best), np.where(better, tried, chosen)
    return chosen
