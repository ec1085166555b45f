"""Codebooks of least square error in the tensor's own units: scales and table are fitted to one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .blocks import block_reduce, spread
from .codes import Centroids, kmeans, nearest_entry, quantize_codebook
from .formats import FP32, FloatFormat, IntArray
from .inputs import check_tensor
from .layout import ScaleLayout
from .qtensor import QTensor
from .scales import Float32, Power, cell_shape, round_scale

Float64 = npt.NDArray[np.float64]

ROUNDS = 1
"""Alternations between scales and table; most of the gain is in the start and the first of them."""


def quantize_codebook_best(
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
    r"""Quantize to a codebook whose scales and table minimise :math:`\sum (s_b t_c - x)^2`.

    The largest magnitude of a block, which `quantize_codebook` scales by, says little about where its values lie: one
    outlier squeezes a channel into few of the entries. Here each block may start at its root mean square as well; then
    table (:math:`t = \sum s x / \sum s^2`), scales (:math:`s = \sum x t / \sum t^2`) and codes are improved in turn,
    each of which can only lower the error. Of this and `quantize_codebook`, the better is returned.

    Parameters
    ----------
    x, entries, layout, axes, centroids, scale_format, integer_bits, power
        As in `quantize_codebook`.

    Returns
    -------
    QTensor

    Raises
    ------
    ValueError
        As `quantize_codebook` does, or if the layout has several levels or none that is real.

    Examples
    --------
    >>> x = np.float32([[1, 2, 3, 100], [10, 20, 30, 40]])
    >>> plain = quantize_codebook(x, 4, "m:1", axes="mk")
    >>> best = quantize_codebook_best(x, 4, "m:1", axes="mk")
    >>> bool(np.square(best.dequantize() - x).sum() <= np.square(plain.dequantize() - x).sum())
    True
    """
    plain = quantize_codebook(
        x,
        entries,
        layout,
        axes=axes,
        centroids=centroids,
        scale_format=scale_format,
        integer_bits=integer_bits,
        power=power,
    )
    parsed = replace(plain.layout, code="affine")
    if len(parsed.levels) > 1 or parsed.levels[0].kind != "real":
        msg = f"range mse must have a layout of one real level, not {parsed}"
        raise ValueError(msg)
    values = check_tensor(x)
    fit = _Fit(values, cell_shape((parsed,), values.shape), entries, centroids, scale_format)
    found = fit.run(plain)
    return min((plain, found), key=lambda q: float(np.square(q.dequantize() - values, dtype=np.float64).sum()))


class _Fit:
    """Alternating least squares over one tensor."""

    def __init__(
        self, x: Float32, cell: tuple[int, ...], entries: int, centroids: Centroids, scale_format: FloatFormat
    ) -> None:
        self.x, self.cell, self.entries = x, cell, entries
        self.centroids, self.scale_format = centroids, scale_format

    def run(self, plain: QTensor) -> QTensor:
        """Fit scales and table from the better of two starts on: largest magnitudes, or root mean squares."""
        if plain.table is None:  # a codebook has one; for the type checker
            raise TypeError
        own = plain.scales[0].astype(np.float64), plain.table.astype(np.float64), plain.codes
        found = self._start(self._mean_squares())
        scale, table, codes = min(own, found, key=lambda start: self._error(*start))
        for _ in range(ROUNDS):
            table = self._table(scale, codes, table)
            scale = self._scale(codes, table, scale)
            codes = self._codes(scale, table)
        if self.centroids == "int8":
            largest = np.abs(table).max() or 1.0
            table, scale = np.rint(table * (127 / largest)), scale * (largest / 127)
        else:
            table = table.astype(np.float32).astype(np.float64)
        stored = round_scale(scale.astype(np.float32), self.scale_format)
        return replace(
            plain,
            codes=self._codes(stored, table).astype(plain.codes.dtype),
            scales=(stored,),
            table=table.astype(np.int8 if self.centroids == "int8" else np.float32),
        )

    def _mean_squares(self) -> Float64:
        squares = block_reduce(np.add, np.square(self.x, dtype=np.float64), self.cell)
        count = block_reduce(np.add, np.ones(self.x.shape), self.cell)
        return np.where(squares > 0, np.sqrt(squares / count), 1)

    def _start(self, scale: Float64) -> tuple[Float64, Float64, IntArray]:
        """Scales, and table and codes of k-means on scaled values."""
        scaled = (self.x / self._each(scale)).astype(np.float32)
        table = kmeans(scaled, self.entries)
        return scale, table, nearest_entry(scaled, table)

    def _error(self, scale: Float64, table: Float64, codes: IntArray) -> float:
        """Square error in the tensor's units, in single precision."""
        error = table.astype(np.float32)[codes] * self._each(scale.astype(np.float32)) - self.x
        return float(np.vdot(error, error))

    def _each(self, scale: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return spread(scale, self.cell, self.x.shape)

    def _codes(self, scale: npt.NDArray[np.floating], table: Float64) -> IntArray:
        return nearest_entry((self.x / self._each(scale)).astype(np.float32), table)

    def _table(self, scale: Float64, codes: IntArray, table: Float64) -> Float64:
        each, flat = self._each(scale), codes.ravel()
        products = np.bincount(flat, (each * self.x).ravel(), self.entries)
        squares = np.bincount(flat, np.broadcast_to(np.square(each), self.x.shape).ravel(), self.entries)
        return np.sort(np.where(squares > 0, products / np.where(squares > 0, squares, 1), table))

    def _scale(self, codes: IntArray, table: Float64, scale: Float64) -> Float64:
        decoded = table[codes]
        products = block_reduce(np.add, decoded * self.x, self.cell)
        squares = block_reduce(np.add, np.square(decoded), self.cell)
        # A block whose codes all stand for 0, or that would turn round, keeps its scale.
        usable = (squares > 0) & (products > 0)
        return np.where(usable, products / np.where(usable, squares, 1), scale)
