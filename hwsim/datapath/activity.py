"""How often the bits of an array's registers toggle for the actual operands: what dynamic energy is made of."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray, IntFormat

from .operands import as_integers


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
    widths = tuple(form.bits if form else 8 * x.dtype.itemsize for x, form in ((a, lhs_format), (b, rhs_format)))
    wide_a, wide_b = a.astype(np.int64), b.astype(np.int64)
    if dataflow not in _DATAFLOWS:
        msg = f"dataflow must be {' or '.join(_DATAFLOWS)}, not {dataflow!r}"
        raise ValueError(msg)
    streams = _DATAFLOWS[dataflow](rows, columns, widths, accumulator_bits)
    streams.run(wide_a, wide_b)
    zeros = _zero_macs(a, b)
    macs = a.shape[0] * a.shape[1] * b.shape[1]
    return Activity(macs, zeros, *streams.toggles)


class _Streams(abc.ABC):
    """Registers of every processing element, and their toggles so far: lhs, rhs, product, accumulator."""

    def __init__(self, rows: int, columns: int, widths: tuple[int, ...], accumulator_bits: int) -> None:
        self.rows, self.columns = rows, columns
        self.masks = [_mask(w) for w in (*widths, sum(widths), accumulator_bits)]
        self.registers = [np.zeros((rows, columns), np.int64) for _ in range(4)]
        self.toggles = [0, 0, 0, 0]

    @abc.abstractmethod
    def run(self, lhs: IntArray, rhs: IntArray) -> None:
        """Stream a product through."""

    def pass_through(self, which: int, values: IntArray) -> None:
        """Let values [time, i, j] pass through the register of elements (i, j)."""
        _, high, wide = values.shape
        register = self.registers[which][:high, :wide]
        mask = self.masks[which]
        before = np.concatenate([register[np.newaxis], values[:-1]])
        self.toggles[which] += int(np.bitwise_count((before ^ values) & mask).sum(dtype=np.int64))
        register[...] = values[-1]


class _OutputStationary(_Streams):
    def run(self, lhs: IntArray, rhs: IntArray) -> None:
        if not lhs.shape[1]:
            return
        for top in range(0, lhs.shape[0], self.rows):
            a = lhs[top : top + self.rows].T[:, :, np.newaxis]
            for left in range(0, rhs.shape[1], self.columns):
                b = rhs[:, np.newaxis, left : left + self.columns]
                products = a * b
                self.pass_through(0, np.broadcast_to(a, products.shape))
                self.pass_through(1, np.broadcast_to(b, products.shape))
                self.pass_through(2, products)
                sums = np.concatenate([np.zeros_like(products[:1]), np.cumsum(products, axis=0)])
                self.pass_through(3, sums)


class _WeightStationary(_Streams):
    def run(self, lhs: IntArray, rhs: IntArray) -> None:
        if not lhs.shape[0]:
            return
        for top in range(0, rhs.shape[0], self.rows):
            a = lhs[:, top : top + self.rows, np.newaxis]
            for left in range(0, rhs.shape[1], self.columns):
                b = rhs[np.newaxis, top : top + self.rows, left : left + self.columns]
                products = a * b
                self.pass_through(0, np.broadcast_to(a, products.shape))
                self.pass_through(1, b)
                self.pass_through(2, products)
                self.pass_through(3, np.cumsum(products, axis=1))


_DATAFLOWS: dict[str, type[_Streams]] = {
    "output_stationary": _OutputStationary,
    "weight_stationary": _WeightStationary,
}


def _mask(bits: int) -> np.int64:
    return np.int64(-1) if bits >= 64 else np.int64((1 << bits) - 1)


def _zero_macs(lhs: IntArray, rhs: IntArray) -> int:
    """Count products with a zero operand: both counted, less those counted twice."""
    by_lhs = (lhs == 0).sum(axis=0, dtype=np.int64)
    by_rhs = (rhs == 0).sum(axis=1, dtype=np.int64)
    return int((by_lhs * rhs.shape[1] + by_rhs * lhs.shape[0] - by_lhs * by_rhs).sum())
