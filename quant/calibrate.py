"""Clipping ranges: of one tensor, and of a stream of batches."""

from __future__ import annotations

from typing import Literal

import numpy as np

from .blocks import Shape, block_rows
from .formats import IntFormat
from .scales import Float32, Range

RangeMethod = Literal["minmax", "percentile"]
METHODS = ("minmax", "percentile")


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
        How the range is chosen.
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
        low, high = np.percentile(rows, [percentile, 100 - percentile], axis=1)
        lo[blocks], hi[blocks] = low.reshape(counts), high.reshape(counts)
    return Range(lo, hi)
