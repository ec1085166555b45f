"""How often the bits of an array's registers toggle for the actual operands: what dynamic energy is made of."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray, IntFormat

from .operands import as_integers
from .processors import usable_processors

_LARGEST_COUNT = 1 << 30


@dataclass(frozen=True, slots=True)
class Activity:
    """Bit toggles summed over all registers of a kind while a product is computed.

    Parameters
    ----------
    macs
        Multiply-accumulates.
    zero_macs
        Those with a zero operand.
    lhs_toggles, rhs_toggles
        Toggles of the operand registers of the processing elements.
    product_toggles
        Toggles of the multipliers' outputs.
    accumulator_toggles
        Toggles of the accumulators (output stationary) or partial-sum registers (weight stationary).
    """

    macs: int
    zero_macs: int
    lhs_toggles: int
    rhs_toggles: int
    product_toggles: int
    accumulator_toggles: int


def measure_activity(
    lhs: npt.ArrayLike,
    rhs: npt.ArrayLike,
    *,
    rows: int,
    columns: int,
    dataflow: Literal["output_stationary", "weight_stationary"] = "output_stationary",
    lhs_format: IntFormat | None = None,
    rhs_format: IntFormat | None = None,
    accumulator_bits: int = 32,
) -> Activity:
    """Count the register toggles of one matrix product on an array of processing elements.

    Folds follow each other without gaps; in a fold, element (i, j) holds these over time. *Output stationary*: the
    fold's rows m and columns n are its own, k is time; the accumulator starts the fold at 0. *Weight stationary*:
    the fold's k and n are its own, m is time; the weight is loaded at the start of the fold, and the partial sum
    is that of the fold's k up to the element. Folds of n are innermost. Registers start at 0 and
    idle elements keep their values.

    Parameters
    ----------
    lhs : int [m, k]
    rhs : int [k, n]
    rows, columns
        Size of the array.
    dataflow
        Which operand stays.
    lhs_format, rhs_format
        Formats of the operand registers; by default as wide as the dtypes.
    accumulator_bits : bits, 8..64
        Width of the accumulators, which wrap.

    Returns
    -------
    activity : Activity

    Raises
    ------
    TypeError, ValueError
        If operands are no integer matrices that contract, or the array is empty.

    Examples
    --------
    >>> measure_activity([[1, 3]], [[1], [1]], rows=1, columns=1).lhs_toggles
    2
    """
    a, b = as_integers("lhs", lhs, lhs_format), as_integers("rhs", rhs, rhs_format)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        msg = f"lhs [m, k] and rhs [k, n] must contract, not {a.shape} and {b.shape}"
        raise ValueError(msg)
    if rows < 1 or columns < 1:
        msg = f"rows and columns must be at least 1, not {rows} and {columns}"
        raise ValueError(msg)
    if dataflow not in _DATAFLOWS:
        msg = f"dataflow must be {' or '.join(_DATAFLOWS)}, not {dataflow!r}"
        raise ValueError(msg)
    widths = [form.bits if form else 8 * x.dtype.itemsize for x, form in ((a, lhs_format), (b, rhs_format))]
    toggles = [0, 0, 0, 0]
    if a.size and b.size:
        array = _Array(rows, columns, (*widths, sum(widths), accumulator_bits), _DATAFLOWS[dataflow])
        toggles = array.run(a, b)
    macs = a.shape[0] * a.shape[1] * b.shape[1]
    return Activity(macs, _zero_macs(a, b), *toggles)


_DATAFLOWS = {"output_stationary": False, "weight_stationary": True}


class _Array:
    """Registers of every processing element, and their toggles: lhs, rhs, product, accumulator."""

    def __init__(self, rows: int, columns: int, widths: tuple[int, ...], flowing: bool) -> None:
        from .activity_kernels import toggle_kernel  # noqa: PLC0415 LLVM is loaded when it is needed, not at import
        from .lanes import lanes_of  # noqa: PLC0415

        # The low bits of an integer do not depend on how many there are.
        self.dtype = np.dtype(np.int32 if max(widths) <= 32 else np.int64)
        self.rows, self.columns, self.flowing = rows, columns, flowing
        self.lanes = lanes_of(self.dtype.name)
        self.masks = np.array([-1 if w >= 8 * self.dtype.itemsize else (1 << w) - 1 for w in widths], self.dtype)
        self.kernel = toggle_kernel(self.dtype.name, flowing=flowing)

    def run(self, lhs: IntArray, rhs: IntArray) -> list[int]:
        """Stream a product through, a vector of columns of the array at a time."""
        wide = np.ascontiguousarray(lhs, self.dtype)
        firsts = range(0, min(self.columns, rhs.shape[1]), self.lanes)
        with ThreadPoolExecutor(usable_processors()) as pool:
            counts = list(pool.map(lambda first: self._stream(wide, rhs, first), firsts))
        return [int(count) for count in np.sum(counts, axis=0)]

    def _stream(self, lhs: npt.NDArray[Any], rhs: IntArray, first: int) -> npt.NDArray[np.int64]:
        """Take all folds through the columns `first` and following of the array."""
        m, k = lhs.shape
        outer, times = (k, m) if self.flowing else (m, k)
        registers = np.zeros((self.rows, len(self.masks), self.lanes), self.dtype)
        blocks = [self._block(rhs, left + first, left) for left in range(0, rhs.shape[1], self.columns)]
        total = np.zeros(len(self.masks), np.int64)
        # A counter of a lane must not overflow.
        longest = max(1, _LARGEST_COUNT // (64 * self.rows))
        for top in range(0, outer, self.rows):
            rows = min(self.rows, outer - top)
            for block, active in blocks:
                masks = np.where(np.arange(self.lanes) < active, self.masks[:, np.newaxis], 0).astype(self.dtype)
                if not self.flowing:
                    # The accumulators start the fold at 0. numpy counts the bits of magnitudes, hence unsigned.
                    sums = registers[:rows, -1, :active]
                    flips = (sums & self.masks[-1]).view(np.dtype(f"u{self.dtype.itemsize}"))
                    total[-1] += np.bitwise_count(flips).sum(dtype=np.int64)
                    sums[...] = 0
                for start in range(0, times, longest):
                    span = (top, rows, start, min(longest, times - start))
                    total += self._fold(lhs, block, registers, masks, span)
        return total

    def _block(self, rhs: IntArray, start: int, left: int) -> tuple[npt.NDArray[Any], int]:
        """Return columns of a fold as vectors [k, lanes], and how many there are."""
        stop = min(start + self.lanes, left + self.columns, rhs.shape[1])
        block = np.zeros((rhs.shape[0], self.lanes), self.dtype)
        active = max(0, stop - start)
        block[:, :active] = rhs[:, start : start + active]
        return block, active

    def _fold(
        self,
        lhs: npt.NDArray[Any],
        block: npt.NDArray[Any],
        registers: npt.NDArray[Any],
        masks: npt.NDArray[Any],
        span: tuple[int, int, int, int],
    ) -> npt.NDArray[np.int64]:
        top, rows, start, times = span
        toggles = np.zeros_like(masks)
        if self.flowing:
            element, row, strides = start * lhs.shape[1] + top, top, (1, lhs.shape[1], 1, 0)
        else:
            element, row, strides = top * lhs.shape[1] + start, start, (lhs.shape[1], 1, 0, 1)
        counts = np.array([times, rows, *strides])
        self.kernel(
            lhs.ctypes.data + element * lhs.itemsize,
            block.ctypes.data + row * self.lanes * block.itemsize,
            *(array.ctypes.data for array in (registers, masks, toggles, counts)),
        )
        counted: npt.NDArray[np.int64] = toggles.sum(axis=1, dtype=np.int64)
        return counted


def _zero_macs(lhs: IntArray, rhs: IntArray) -> int:
    """Count products with a zero operand: both counted, less those counted twice."""
    by_lhs = (lhs == 0).sum(axis=0, dtype=np.int64)
    by_rhs = (rhs == 0).sum(axis=1, dtype=np.int64)
    return int((by_lhs * rhs.shape[1] + by_rhs * lhs.shape[0] - by_lhs * by_rhs).sum())
