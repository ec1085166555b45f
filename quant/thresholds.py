"""Ranges of values at hand: extremes, percentiles, least square error, least divergence.

Values may carry weights, so that the bins of a histogram are values too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .blocks import TILE, Shape, block_rows
from .formats import IntFormat
from .inputs import check_finite, check_tensor
from .scales import Float32, Range, scale_from_range

RangeMethod = Literal["minmax", "percentile", "mse", "entropy"]
METHODS = ("minmax", "percentile", "mse", "entropy")
Float64 = npt.NDArray[np.float64]

COARSE = 2.0 ** (-np.arange(33) / 4)
"""Fractions of the full range that a search tries first: 1 to 1/256 in quarter powers of two."""
FINE = 2.0 ** (np.arange(-8, 9) / 32)
"""Factors around the best of them."""
EXACT = 1 << 16
"""Largest block whose values are searched one by one; larger ones are binned first."""
BINS = 1 << 13
"""Bins of larger blocks: 32 or more in each step of an 8-bit code."""


def check_percentile(percentile: float) -> None:
    """Refuse a percentile that cuts off everything.

    Raises
    ------
    ValueError
        If it is outside [0, 50).
    """
    if not 0 <= percentile < 50:
        msg = f"percentile must be in [0, 50), not {percentile}"
        raise ValueError(msg)


def block_range(
    x: Float32,
    block: Shape,
    extremes: Range,
    method: RangeMethod,
    fmt: IntFormat,
    symmetric: bool,
    percentile: float,
) -> Range:
    """Range of each block of a tensor whose extremes are known.

    Parameters
    ----------
    x, block
        Tensor and block shape.
    extremes : [scale shape]
        Smallest and largest value of each block.
    method, percentile
        How the range is chosen. Percentiles interpolate between neighbours of the sorted values.
    fmt, symmetric
        Codes that an error-minimizing method assumes.

    Raises
    ------
    ValueError
        If the method is unknown or the percentile is out of range.
    """
    if method not in METHODS:
        msg = f"range must be one of {', '.join(METHODS)} or a Range, not {method!r}"
        raise ValueError(msg)
    if method == "minmax":
        return extremes
    check_percentile(percentile)
    lo, hi = np.empty_like(extremes.lo), np.empty_like(extremes.hi)
    for blocks, counts, rows in block_rows(x, block):
        ends = Range(extremes.lo[blocks].reshape(-1), extremes.hi[blocks].reshape(-1))
        if method == "percentile":
            low, high = np.percentile(rows, [percentile, 100 - percentile], axis=1)
            chosen = Range(low, high)
        elif method == "mse":
            values, weights = (rows, None) if rows.shape[1] <= EXACT else binned(rows, ends)
            chosen = least_error_range(values, weights, ends, fmt, symmetric)
        else:
            chosen = least_divergence_range(magnitude_histogram(rows, ends), ends, fmt, symmetric)
        lo[blocks], hi[blocks] = chosen.lo.reshape(counts), chosen.hi.reshape(counts)
    return Range(lo, hi)


def count_bins(index: npt.NDArray[np.integer[Any]], bins: int) -> npt.NDArray[np.int64]:
    """Count the indices of each row: one bincount for all rows."""
    rows = index.shape[0]
    if rows == 1:
        return np.bincount(index[0], minlength=bins).reshape(1, bins)
    offset = np.arange(rows, dtype=np.int64)[:, None] * bins
    return np.bincount((index + offset).ravel(), minlength=rows * bins).reshape(rows, bins)


def binned(rows: Float32, ends: Range) -> tuple[Float32, Float64]:
    """Centers and counts of `BINS` equal bins between the extremes of each row."""
    width = np.maximum((ends.hi.astype(np.float64) - ends.lo) / BINS, np.finfo(np.float64).tiny)[:, None]
    index = np.minimum((rows - ends.lo[:, None]) / width, BINS - 1).astype(np.int64)
    centers = ends.lo[:, None] + (np.arange(BINS) + 0.5) * width
    return centers.astype(np.float32), count_bins(index, BINS).astype(np.float64)


def magnitude_histogram(rows: Float32, ends: Range, bins: int = 2048) -> Float64:
    """Count the magnitudes of each row in equal bins from 0 to the largest."""
    width = np.maximum(ends.bound.astype(np.float64) / bins, np.finfo(np.float64).tiny)[:, None]
    index = np.minimum(np.abs(rows) / width, bins - 1).astype(np.int64)
    return count_bins(index, bins).astype(np.float64)


def split_errors(
    values: Float32, weights: Float64 | None, bounds: Range, fmt: IntFormat, symmetric: bool
) -> tuple[Float64, Float64]:
    """Sum the square errors outside and inside what the codes of a range can reach.

    Parameters
    ----------
    values : float32 [rows, n]
    weights : float64 [rows, n] or None
        How often each value occurs; None: once.
    bounds : [rows]
        Clipping range of each row.
    fmt, symmetric
        Codes.

    Returns
    -------
    clipping, rounding : float64 [rows]
        Their sum is the whole square error: a value is either clipped or rounded.
    """
    scale, zero = scale_from_range(bounds, fmt, symmetric)
    step = scale.astype(np.float64)[:, None]
    shift = np.zeros_like(step) if zero is None else zero.astype(np.float64)[:, None]
    square = _square_errors(values, weights, scale, zero, fmt)
    outside = (values < (fmt.lo - shift) * step) | (values > (fmt.hi - shift) * step)
    clipping = np.where(outside, square, 0).sum(axis=1)
    return clipping, square.sum(axis=1) - clipping


def _square_errors(
    values: Float32, weights: Float64 | None, scale: Float32, zero: npt.NDArray[Any] | None, fmt: IntFormat
) -> Float64:
    """Square error of each value, times its weight."""
    shift = np.float32(0) if zero is None else zero.astype(np.float32)[:, None]
    codes = values / scale[:, None]
    np.rint(codes, out=codes)
    np.clip(codes, np.float32(fmt.lo) - shift, np.float32(fmt.hi) - shift, out=codes)
    square = codes * scale.astype(np.float64)[:, None]
    square -= values
    np.square(square, out=square)
    if weights is not None:
        square *= weights
    return square


def least_error_range(values: Float32, weights: Float64 | None, ends: Range, fmt: IntFormat, symmetric: bool) -> Range:
    """Range of least square error among shrunken ones.

    Both ends shrink by one factor, searched on a coarse and then a fine geometric grid, 48 factors in all;
    asymmetric ranges then shrink each end alone. The full range is among the candidates, so the result is never
    worse than min-max.

    Parameters
    ----------
    values, weights
        As in `split_errors`.
    ends : [rows]
        Extremes.
    """
    if not symmetric:  # as the scale will: a range that leaves out 0 has no ends to shrink one by one
        ends = Range(np.minimum(ends.lo, 0), np.maximum(ends.hi, 0))
    lo, hi = np.empty_like(ends.lo), np.empty_like(ends.hi)
    height = max(1, TILE // values.shape[1])  # rows at once, so that all factors find them in the cache
    for top in range(0, values.shape[0], height):
        some = slice(top, top + height)
        part = None if weights is None else weights[some]
        found = _search(values[some], part, Range(ends.lo[some], ends.hi[some]), fmt, symmetric)
        lo[some], hi[some] = found.lo, found.hi
    return Range(lo, hi)


def _search(values: Float32, weights: Float64 | None, ends: Range, fmt: IntFormat, symmetric: bool) -> Range:
    """`least_error_range` of some rows."""
    lo, hi = ends.lo, ends.hi
    for move_lo, move_hi in ((True, True),) if symmetric else ((True, True), (False, True), (True, False)):
        best = np.full(lo.shape, np.inf)
        chosen = np.ones(lo.shape)
        center: Float64 | float = 1.0
        for grid in (COARSE, FINE):
            for step in grid:
                factor = np.minimum(center * step, 1) * np.ones(lo.shape)
                tried = Range(lo * factor if move_lo else lo, hi * factor if move_hi else hi)
                error = _square_errors(values, weights, *scale_from_range(tried, fmt, symmetric), fmt).sum(axis=1)
                better = error < best
                best, chosen = np.where(better, error, best), np.where(better, factor, chosen)
            center = chosen
        lo = (lo * chosen).astype(np.float32) if move_lo else lo
        hi = (hi * chosen).astype(np.float32) if move_hi else hi
    return Range(lo, hi)


def least_divergence_range(counts: Float64, ends: Range, fmt: IntFormat, symmetric: bool) -> Range:
    """Range whose codes' distribution diverges least from that of the magnitudes (entropy calibration).

    For each threshold, the histogram cut there, its tail added to the last bin, is compared with the same histogram
    summed into as many runs as there are code magnitudes and spread back over its nonzero bins (S. Migacz, "8-bit
    inference with TensorRT", GTC 2017). About 128 thresholds are tried.

    Parameters
    ----------
    counts : float64 [rows, bins]
        Magnitudes in equal bins from 0 to ``ends.bound``.
    ends : [rows]
        Extremes; the range stays inside them.
    fmt, symmetric
        Codes: ``hi + 1`` magnitudes if symmetric, else all codes.
    """
    rows, bins = counts.shape
    levels = min(fmt.hi + 1 if symmetric else fmt.hi - fmt.lo + 1, bins)
    cut = np.empty(rows, np.int64)
    for top in range(0, rows, ROWS):
        cut[top : top + ROWS] = _least_divergence(_Prefixes.of(counts[top : top + ROWS]), levels)
    threshold = (ends.bound * (cut / bins)).astype(np.float32)
    return Range(np.clip(ends.lo, -threshold, threshold), np.clip(ends.hi, -threshold, threshold))


ROWS = 64
"""Histograms handled at once, so that their prefix sums stay in a cache."""


@dataclass(frozen=True)
class _Prefixes:
    """Prefix sums over the bins of histograms, [rows, bins + 1]: sums of any run of bins by two look-ups."""

    counts: Float64
    filled: Float64
    entropy: Float64
    """Of ``c log c``."""

    @classmethod
    def of(cls, counts: Float64) -> _Prefixes:
        def prefix(values: npt.NDArray[Any]) -> Float64:
            return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)

        return cls(prefix(counts), prefix(counts > 0), prefix(_times_log(counts)))


def _times_log(x: Float64) -> Float64:
    """``x log x``, 0 at 0."""
    logarithm: Float64 = np.log(x, out=np.zeros_like(x), where=x > 0)
    return x * logarithm


def _least_divergence(prefixes: _Prefixes, levels: int) -> npt.NDArray[np.int64]:
    """Find how many bins to keep in each row for the least divergence, the larger of equals."""
    rows, bins = prefixes.counts.shape[0], prefixes.counts.shape[1] - 1
    best = np.full(rows, np.inf)
    cut = np.full(rows, bins)
    for kept in range(bins, levels - 1, -max(1, (bins - levels) // 128)):
        divergence = _divergence(prefixes, kept, levels)
        better = divergence < best
        best, cut = np.where(better, divergence, best), np.where(better, kept, cut)
    return cut


def _divergence(prefixes: _Prefixes, kept: int, levels: int) -> Float64:
    r"""Kullback-Leibler divergence of the cut histogram from its coarse image; infinite where that misses a bin.

    With p the kept counts c, the tail in the last of them, over all counts T, and q the mean m of each run's filled
    bins over all kept counts K:

    .. math:: \sum p \log(p / q) = (\sum c \log c - \sum_{runs} C \log m) / T - \log T + \log K
    """
    edges = np.append(np.linspace(0, kept, levels, endpoint=False).astype(np.int64), kept)
    runs = np.diff(prefixes.counts[:, edges], axis=1)
    filled = np.diff(prefixes.filled[:, edges], axis=1)
    mean = runs / np.maximum(filled, 1)
    log_mean = np.log(mean, out=np.zeros_like(mean), where=mean > 0)
    whole, inside = prefixes.counts[:, -1], prefixes.counts[:, kept]
    tail, last = whole - inside, inside - prefixes.counts[:, kept - 1]
    own = prefixes.entropy[:, kept - 1] + _times_log(last + tail)
    image = (runs * log_mean).sum(axis=1) + tail * log_mean[:, -1]
    missed = (last == 0) & (tail > 0)
    with np.errstate(divide="ignore"):
        divergence: Float64 = (own - image) / whole - np.log(whole) + np.log(inside)
    return np.where(missed | (inside == 0), np.inf, divergence)


@dataclass(frozen=True, eq=False)
class ErrorCurve:
    """Mean square errors of a tensor over clipping thresholds.

    Parameters
    ----------
    thresholds : float64 [n]
        Symmetric clipping thresholds, in units of the tensor.
    clipping, rounding : float64 [n]
        Mean squares, in those units squared; each value counts to one of them.
    """

    thresholds: Float64
    clipping: Float64
    rounding: Float64

    @property
    def total(self) -> Float64:
        """Mean square error."""
        return self.clipping + self.rounding

    @property
    def best(self) -> float:
        """Threshold of least total."""
        return float(self.thresholds[np.argmin(self.total)])


def error_curve(
    x: npt.ArrayLike,
    fmt: IntFormat | str = "int8",
    thresholds: npt.ArrayLike | None = None,
    *,
    symmetric: bool = True,
) -> ErrorCurve:
    """Clipping and rounding error of a tensor with one scale, over symmetric thresholds.

    Parameters
    ----------
    x : float [...]
        Finite values.
    fmt, symmetric
        Codes. An asymmetric range is what of the tensor's range lies within the threshold.
    thresholds : float [n]
        Positive; default 100 equal steps up to the largest magnitude.

    Raises
    ------
    ValueError
        If a threshold is not positive and finite, or `x` is empty or not finite.

    Examples
    --------
    >>> curve = error_curve([-4.0, -0.5, 0.25, 1.0], "int4", [1.0, 2.0, 4.0])
    >>> curve.clipping > 0, curve.best
    (array([ True,  True, False]), 4.0)
    """
    values = check_tensor(x).reshape(1, -1)
    check_finite(values.min(), values.max())
    parsed = IntFormat.parse(fmt) if isinstance(fmt, str) else fmt
    bound = float(np.abs(values).max()) or 1.0  # zeros are exact under any threshold
    tried = np.linspace(bound / 100, bound, 100) if thresholds is None else np.asarray(thresholds, np.float64)
    if tried.ndim != 1 or tried.size == 0 or not np.all((tried > 0) & np.isfinite(tried)):
        msg = f"thresholds must be a row of positive finite numbers, not {tried}"
        raise ValueError(msg)
    errors = []
    for threshold in tried:
        lo = -threshold if symmetric and parsed.signed else max(-threshold, float(values.min()))
        hi = threshold if symmetric else min(threshold, float(values.max()))
        bounds = Range([min(lo, hi)], [hi])
        clipping, rounding = split_errors(values, None, bounds, parsed, symmetric)
        errors.append((clipping[0] / values.size, rounding[0] / values.size))
    clip, rounded = np.array(errors).T
    return ErrorCurve(tried, clip, rounded)
