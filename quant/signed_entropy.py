"""Entropy calibration as onnxruntime's calibrator does it, on a histogram of signed values.

Source: ``HistogramCollector.get_entropy_threshold`` of ``onnxruntime/python/tools/quantization/calibrate.py`` and
``smooth_distribution`` of ``quant_utils.py`` (microsoft/onnxruntime, 1.31.1), after MXNet's
``contrib/quantization.py``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .scales import Range

Float32 = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]

SMOOTH = 0.0001
"""What an empty bin is filled with, in counts."""


def onnxruntime_entropy_range(
    counts: npt.ArrayLike, edges: npt.ArrayLike, lo: float, hi: float, levels: int = 128
) -> Range:
    """Range whose codes' distribution diverges least from that of the values, bit for bit as onnxruntime finds it.

    Where `quant.observe` follows Migacz (magnitudes, a level for each magnitude of a code, runs of equal width up to a
    bin, empty bins left out), this one

    - keeps ``2 i + 1`` bins around zero, of values with their signs, for every i from ``levels / 2`` on;
    - shares `levels` levels between both signs: 128 are those of 7 bits;
    - makes all runs equally wide, rounded down, and leaves the bins after the last run empty, though it counts them;
    - rounds the mean of a run towards zero, so that runs of fewer values than bins are empty;
    - fills empty bins with 0.0001 and takes as much off the others;
    - adds the tails to the outer bins of the reference only.

    Parameters
    ----------
    counts : int [bins]
        Of equal bins, symmetric around zero.
    edges : float [bins + 1]
        Ends of the bins.
    lo, hi
        Extremes of the values; the range stays inside them.
    levels
        ``num_quantized_bins`` of the calibrator.

    Returns
    -------
    Range : []

    Raises
    ------
    ValueError
        If there are fewer bins than levels, or edges do not fit.

    Examples
    --------
    >>> x = np.random.default_rng(7).laplace(size=20_000).astype(np.float32)
    >>> top = np.abs(x).max()
    >>> found = onnxruntime_entropy_range(*np.histogram(x, 2048, (-top, top)), x.min(), x.max())
    >>> found.lo.shape, bool(found.hi < top)
    ((), True)
    """
    hist, ends = np.asarray(counts, np.int64), np.asarray(edges)
    if levels < 2 or hist.ndim != 1 or hist.size // 2 < levels // 2 or ends.shape != (hist.size + 1,):
        msg = f"counts must be at least {max(levels, 2)} with one more edge, not {hist.shape} with {ends.shape}"
        raise ValueError(msg)
    zero, half = hist.size // 2, levels // 2
    divergences = [_divergence(hist, zero - i, min(zero + i + 1, hist.size), levels) for i in range(half, zero + 1)]
    best = half + int(np.argmin(divergences))
    low, high = ends[zero - best], ends[min(zero + best + 1, hist.size)]
    return Range(max(low, lo), min(high, hi))


def _divergence(hist: Counts, start: int, stop: int, levels: int) -> np.float32:
    """Divergence of the kept bins from their coarse image, in float32; infinite where all of either are empty."""
    kept = hist[start:stop]
    reference = kept.copy()
    reference[0] += hist[:start].sum()
    reference[-1] += hist[stop:].sum()
    width = kept.size // levels
    grouped = levels * width
    sums = kept[:grouped].reshape(levels, width).sum(axis=1)
    sums[-1] += kept[grouped:].sum()
    filled = (reference[:grouped] != 0).reshape(levels, width).sum(axis=1)
    means = np.divide(sums, filled, out=np.zeros(levels), where=filled > 0).astype(np.int64)
    image = np.zeros(kept.size, np.int64)
    image[:grouped] = np.repeat(means, width)
    p, q = _smoothed(reference), _smoothed(image)
    if p is None or q is None:
        return np.float32(np.inf)
    p, q = p / p.sum(), q / q.sum()
    return np.float32((p * np.log(p / q)).sum())


def _smoothed(counts: Counts) -> Float32 | None:
    """Fill empty bins at the cost of the others; None where all are empty."""
    empty = (counts == 0).astype(np.float32)
    filled = counts.size - empty.sum()
    if not filled:
        return None
    taken = SMOOTH * float(empty.sum()) / float(filled)
    smooth: Float32 = counts.astype(np.float32)
    smooth += SMOOTH * empty + (-taken) * (counts != 0).astype(np.float32)
    return smooth
