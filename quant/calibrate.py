"""Ranges of a stream of batches for static quantization: observers that merge and whose memory does not grow.

All of them hold a fixed number of values for each block. Except for the moving average, the result depends neither
on the order of the batches nor on how they are cut or merged.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt

from .blocks import TILE, Shape, as_matrix, block_rows, scale_shape
from .extremes import extrema, is_large
from .formats import IntFormat
from .inputs import as_layout, check_finite, check_tensor
from .layout import ScaleLayout
from .scales import Float32, Range, cell_shape
from .thresholds import Float64, check_percentile, count_bins, least_divergence_range, least_error_range

ObserverMethod = Literal["minmax", "percentile", "mse", "entropy", "moving_average"]
METHODS = ("minmax", "percentile", "mse", "entropy", "moving_average")
Counts = npt.NDArray[np.int32] | npt.NDArray[np.int64]

MANY = 1 << 31
"""Values of a stream from which counts need 64 bits."""

LEAST_EXPONENT = -100
"""A histogram spans at least ``2**-100`` each side, so that bins over widths are float32."""


class Observer(ABC):
    """Range of each block of a layout, from batches seen one by one.

    Parameters
    ----------
    layout, axes
        Blocks, as in `quantize`. An axis that changes its length from batch to batch must not be cut into blocks.
    """

    order_dependent: ClassVar[bool] = False
    """Whether the result depends on the order of the batches."""

    def __init__(self, layout: ScaleLayout | str = "per_tensor", axes: str | Sequence[str] | None = None) -> None:
        self._layout = layout
        self._axes = axes
        self._shape: Shape | None = None
        self.batches = 0
        self.values = 0

    def update(self, batch: npt.ArrayLike) -> Self:
        """See one batch.

        Raises
        ------
        ValueError
            If it is empty or not finite, or has another number of blocks than those before.
        """
        x = check_tensor(batch)
        block = cell_shape((as_layout(self._layout, self._axes, x.ndim),), x.shape)
        lo, hi = extrema(x, block)
        check_finite(lo, hi)
        self._check_shape(scale_shape(block, x.shape))
        self._see(x, block, lo, hi)
        self.batches += 1
        self.values += x.size
        return self

    def merge(self, later: Self) -> Self:
        """Take in what another observer has seen, as if its batches came after.

        Raises
        ------
        ValueError
            If it observes other blocks.
        TypeError
            If it is of another class.
        """
        if type(later) is not type(self):
            msg = f"observers must be of one class to merge, not {type(self).__name__} and {type(later).__name__}"
            raise TypeError(msg)
        if later._shape is not None:
            first = self._shape is None
            self._check_shape(later._shape)
            self._merge(later, first)
            self.batches += later.batches
            self.values += later.values
        return self

    def range(self) -> Range:
        """Range of each block so far.

        Raises
        ------
        ValueError
            If no batch was seen.
        """
        if self._shape is None:
            msg = "observer must see a batch before it has a range, not none"
            raise ValueError(msg)
        return self._range()

    def _check_shape(self, shape: Shape) -> None:
        if self._shape is not None and shape != self._shape:
            msg = f"batches must all have the scale shape {self._shape}, not {shape}"
            raise ValueError(msg)
        self._shape = shape

    @abstractmethod
    def _see(self, x: Float32, block: Shape, lo: Float32, hi: Float32) -> None: ...

    @abstractmethod
    def _merge(self, later: Self, first: bool) -> None: ...

    @abstractmethod
    def _range(self) -> Range: ...


class MinMaxObserver(Observer):
    """Smallest and largest value of all batches.

    Examples
    --------
    >>> observer = MinMaxObserver().update([1.0, -2.0]).update([3.0])
    >>> observer.range().lo, observer.range().hi
    (array([-2.], dtype=float32), array([3.], dtype=float32))
    """

    _lo: Float32
    _hi: Float32

    def _see(self, x: Float32, block: Shape, lo: Float32, hi: Float32) -> None:  # noqa: ARG002  extremes are enough
        self._extend(lo, hi, self.batches == 0)

    def _merge(self, later: Self, first: bool) -> None:
        self._extend(later._lo, later._hi, first)

    def _extend(self, lo: Float32, hi: Float32, first: bool) -> None:
        self._lo = lo if first else np.minimum(self._lo, lo)
        self._hi = hi if first else np.maximum(self._hi, hi)

    def _range(self) -> Range:
        return Range(self._lo, self._hi)


class MovingAverageObserver(Observer):
    """Moving average of the batches' extremes, ``lo += momentum * (batch lo - lo)``, started by the first batch.

    Depends on the order of the batches. Merging continues the average: the first batch of the second observer then
    weighs `momentum` instead of 1.

    Parameters
    ----------
    momentum : (0, 1]
        Weight of a new batch.
    """

    order_dependent: ClassVar[bool] = True

    def __init__(
        self,
        layout: ScaleLayout | str = "per_tensor",
        axes: str | Sequence[str] | None = None,
        *,
        momentum: float = 0.01,
    ) -> None:
        if not 0 < momentum <= 1:
            msg = f"momentum must be in (0, 1], not {momentum}"
            raise ValueError(msg)
        super().__init__(layout, axes)
        self.momentum = momentum
        self._ends: Float64 = np.empty(0)
        self._first: Float64 = np.empty(0)

    def _see(self, x: Float32, block: Shape, lo: Float32, hi: Float32) -> None:  # noqa: ARG002  extremes are enough
        ends = np.stack([lo, hi]).astype(np.float64)
        if self.batches == 0:
            self._first = self._ends = ends
        else:
            self._ends = self._ends + self.momentum * (ends - self._ends)

    def _merge(self, later: Self, first: bool) -> None:
        if self.momentum != later.momentum:
            msg = f"observers must have one momentum to merge, not {self.momentum} and {later.momentum}"
            raise ValueError(msg)
        if first:
            self._first, self._ends = later._first, later._ends
        else:
            kept = (1 - self.momentum) ** later.batches
            self._ends = later._ends + kept * (self._ends - later._first)

    def _range(self) -> Range:
        return Range(*self._ends)


class HistogramObserver(Observer):
    """Histogram of each block, whose bins widen with the data.

    The bins are equal and span ``-w..w``, w a power of two that doubles, pairs of bins becoming one, when a
    magnitude reaches it. So the counts are always those of the final bins, whatever came first: exact, mergeable and
    independent of order. At least a quarter of the bins lie within the range of the data.

    Parameters
    ----------
    method
        ``percentile``, ``mse`` or ``entropy``.
    percentile : percent of each side, in [0, 50)
        What ``percentile`` cuts off, interpolated within a bin.
    format, symmetric
        Codes that ``mse`` and ``entropy`` assume.
    bins : power of two
        Number of bins of a block; memory is 4 bytes each, after 2**31 values 8.
    """

    def __init__(
        self,
        layout: ScaleLayout | str = "per_tensor",
        axes: str | Sequence[str] | None = None,
        *,
        method: Literal["percentile", "mse", "entropy"] = "mse",
        percentile: float = 0.01,
        format: IntFormat | str = "int8",  # noqa: A002  the word of the field
        symmetric: bool = True,
        bins: int = 4096,
    ) -> None:
        super().__init__(layout, axes)
        if method not in METHODS[1:4]:
            msg = f"method must be one of {', '.join(METHODS[1:4])}, not {method!r}"
            raise ValueError(msg)
        check_percentile(percentile)
        if bins < 4 or bins & (bins - 1):
            msg = f"bins must be a power of two from 4, not {bins}"
            raise ValueError(msg)
        self.method = method
        self.percentile = percentile
        self.format = IntFormat.parse(format) if isinstance(format, str) else format
        self.symmetric = symmetric
        self.bins = bins
        self._counts: Counts = np.empty(0, np.int32)
        self._exponent: npt.NDArray[np.int64] = np.empty(0, np.int64)
        self._extremes = MinMaxObserver(layout, axes)

    def _see(self, x: Float32, block: Shape, lo: Float32, hi: Float32) -> None:
        self._extremes._extend(lo, hi, self.batches == 0)
        self._extremes._shape = self._shape
        counts = scale_shape(block, x.shape)
        if self.batches == 0:
            self._start(counts)
        _, exponent = np.frexp(np.maximum(-lo, hi))  # magnitudes are below 2**exponent
        self._widen(exponent.astype(np.int64))
        self._make_room(x.size)
        scale = np.ldexp(np.float32(self.bins // 2), -self._exponent).astype(np.float32)
        matrix = as_matrix(x, block) if is_large(self.values + x.size) else None
        if matrix is not None:
            from .kernels import count_matrix  # noqa: PLC0415  numba only where it pays

            values, (height, width) = matrix
            across = -(-values.shape[1] // width)
            count_matrix(values, height, width, scale.reshape(-1, across), self._counts.reshape(-1, across, self.bins))
            return
        for blocks, shape, rows in block_rows(x, block):
            self._counts[blocks] += _count(rows, scale[blocks].reshape(-1, 1), self.bins).reshape(*shape, self.bins)

    def _make_room(self, values: int) -> None:
        """Widen the counts before any of them could overflow."""
        if self.values + values >= MANY:
            self._counts = self._counts.astype(np.int64, copy=False)

    def _merge(self, later: Self, first: bool) -> None:
        if self.bins != later.bins:
            msg = f"observers must have one number of bins to merge, not {self.bins} and {later.bins}"
            raise ValueError(msg)
        self._extremes._extend(later._extremes._lo, later._extremes._hi, first)
        if first:
            self._start(later._exponent.shape)
        self._widen(later._exponent)
        other = HistogramObserver(bins=self.bins)
        other._counts, other._exponent = later._counts.copy(), later._exponent.copy()
        other._widen(self._exponent)
        self._make_room(later.values)
        self._counts += other._counts

    def _start(self, shape: Shape) -> None:
        self._counts = np.zeros((*shape, self.bins), np.int32)
        self._exponent = np.full(shape, LEAST_EXPONENT, np.int64)

    def _widen(self, exponent: npt.NDArray[np.int64]) -> None:
        """Merge pairs of bins until each block's width is at least ``2**exponent``."""
        quarter = self.bins // 4
        while np.any(narrow := self._exponent < exponent):
            if not self._counts[narrow].any():  # nothing to merge: go straight there
                self._exponent = np.maximum(self._exponent, exponent)
                return
            pairs = self._counts[narrow].reshape(-1, self.bins // 2, 2).sum(axis=2)
            merged = np.zeros((pairs.shape[0], self.bins), self._counts.dtype)
            merged[:, quarter : 3 * quarter] = pairs
            self._counts[narrow] = merged
            self._exponent = self._exponent + narrow

    def _range(self) -> Range:
        ends = self._extremes._range()
        shape = ends.lo.shape
        flat = Range(ends.lo.reshape(-1), ends.hi.reshape(-1))
        counts = self._counts.reshape(-1, self.bins).astype(np.float64)
        width = np.ldexp(2.0 / self.bins, self._exponent.reshape(-1, 1))
        edges: Float64 = np.arange(-self.bins / 2, self.bins / 2) * width
        if self.method == "percentile":
            lo = _quantile(counts, edges, width, self.percentile / 100)
            hi = _quantile(counts, edges, width, 1 - self.percentile / 100)
            chosen = Range(np.clip(lo, flat.lo, flat.hi), np.clip(hi, flat.lo, flat.hi))
        elif self.method == "mse":
            centers = np.clip(edges + width / 2, flat.lo[:, None], flat.hi[:, None]).astype(np.float32)
            chosen = least_error_range(centers, counts, flat, self.format, self.symmetric)
        else:
            half = self.bins // 2
            folded = counts[:, half:] + counts[:, half - 1 :: -1]
            top = np.ldexp(np.ones(folded.shape[0]), self._exponent.reshape(-1))
            wide = least_divergence_range(folded, Range(-top, top), self.format, self.symmetric)
            chosen = Range(np.clip(flat.lo, wide.lo, wide.hi), np.clip(flat.hi, wide.lo, wide.hi))
        return Range(chosen.lo.reshape(shape), chosen.hi.reshape(shape))


def _count(rows: Float32, scale: Float32, bins: int) -> npt.NDArray[np.int64]:
    """Count ``floor(rows * scale) + bins / 2`` in each row; exact, as the scales are powers of two."""
    counts = np.zeros((rows.shape[0], bins), np.int64)
    # Some rows at once where they are short, but not so many that their counts leave the cache.
    height = max(1, min(TILE // rows.shape[1], TILE // bins))
    for top in range(0, rows.shape[0], height):
        some = slice(top, top + height)
        for left in range(0, rows.shape[1], TILE):
            tile = rows[some, left : left + TILE] * scale[some]
            np.floor(tile, out=tile)
            tile += np.float32(bins // 2)
            counts[some] += count_bins(tile.astype(np.intp), bins)
    return counts


def _quantile(counts: Float64, edges: Float64, width: Float64, part: float) -> Float64:
    """Value below which the part of the counts lies, linear within its bin."""
    below = np.cumsum(counts, axis=1)
    wanted = part * below[:, -1:]
    at = np.minimum((below < wanted).sum(axis=1), counts.shape[1] - 1)[:, None]
    inside = np.take_along_axis(counts, at, axis=1)
    before = np.take_along_axis(below, at, axis=1) - inside
    fraction = np.divide(wanted - before, inside, out=np.zeros_like(inside), where=inside > 0)
    value: Float64 = np.take_along_axis(edges, at, axis=1) + fraction * width
    return value[:, 0]


def observe(
    batches: Iterable[npt.ArrayLike],
    layout: ScaleLayout | str = "per_tensor",
    axes: str | Sequence[str] | None = None,
    method: ObserverMethod = "minmax",
    *,
    percentile: float = 0.01,
    momentum: float = 0.01,
    format: IntFormat | str = "int8",  # noqa: A002  the word of the field
    symmetric: bool = True,
    bins: int = 4096,
) -> Range:
    """Range of each block over a stream of batches.

    Parameters
    ----------
    batches
        Tensors of one number of axes, seen one by one.
    layout, axes
        Blocks, as in `quantize`.
    method
        ``minmax``, ``moving_average`` (depends on the order of the batches), ``percentile``, ``mse`` or ``entropy``.
    percentile, momentum, format, symmetric, bins
        Settings of `HistogramObserver` and `MovingAverageObserver`.

    Returns
    -------
    Range : [scale shape]
        For `scale_from_range`, or for ``quantize(..., range=...)``.

    Raises
    ------
    ValueError
        If there is no batch, or the method is unknown.

    Examples
    --------
    >>> chosen = observe(([float(i), -1.0] for i in range(5)), method="minmax")
    >>> chosen.lo, chosen.hi
    (array([-1.], dtype=float32), array([4.], dtype=float32))
    """
    if method not in METHODS:
        msg = f"method must be one of {', '.join(METHODS)}, not {method!r}"
        raise ValueError(msg)
    observer: Observer
    match method:
        case "minmax":
            observer = MinMaxObserver(layout, axes)
        case "moving_average":
            observer = MovingAverageObserver(layout, axes, momentum=momentum)
        case _:
            observer = HistogramObserver(
                layout, axes, method=method, percentile=percentile, format=format, symmetric=symmetric, bins=bins
            )
    for batch in batches:
        observer.update(batch)
    return observer.range()
