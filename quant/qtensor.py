"""A quantized tensor: codes, scales, zero points and tables, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .blocks import Part, Shape, block_shape, parts, spread, tile_of, tiles
from .formats import IntArray, IntFormat
from .layout import ScaleLayout
from .scales import Float32, cell_shape, combine_levels, refine

Code = Literal["affine", "pow2", "codebook"]


@dataclass(frozen=True)
class Storage:
    """Bits a quantized tensor occupies, by what they hold."""

    code_bits: int
    scale_bits: int
    zero_point_bits: int = 0
    table_bits: int = 0

    @property
    def total_bits(self) -> int:
        """All of them."""
        return self.code_bits + self.scale_bits + self.zero_point_bits + self.table_bits

    @property
    def total_bytes(self) -> int:
        """All of them, packed without gaps, in whole bytes."""
        return -(-self.total_bits // 8)


@dataclass(frozen=True, eq=False)
class QTensor:
    """A quantized tensor: codes, and what turns them into integers for the MAC and back into real numbers.

    Parameters
    ----------
    codes : int [...]
        What is stored.
    format
        Integer format of the codes.
    layout
        Which elements share a scale.
    scales : float32
        One array a level, in the level's scale shape; the element's scale is their float32 product.
    zero_point : int [scale shape] or None
        Integer that stands for 0, by block of `zero_layout`.
    zero_layout
        Layout of the zero point; None: that of the first level of `layout`.
    table : [entries] or None
        Codebook: what each code stands for, before scaling.
    code
        ``affine``, ``pow2`` (sign and exponent) or ``codebook``.
    level_bits : bits
        Stored width of one scale of each level.
    saturated
        Number of elements that rounded to a value outside the format.
    """

    codes: IntArray
    format: IntFormat
    layout: ScaleLayout
    scales: tuple[Float32, ...]
    zero_point: IntArray | None = None
    zero_layout: ScaleLayout | None = None
    table: npt.NDArray[Any] | None = None
    code: Code = "affine"
    level_bits: tuple[int, ...] = (32,)
    saturated: int = 0

    @property
    def shape(self) -> Shape:
        """Shape of the tensor."""
        return self.codes.shape

    @property
    def operand_format(self) -> IntFormat:
        """Integer format of `integers`.

        Raises
        ------
        TypeError
            If the codes stand for real numbers.
        """
        match self.code:
            case "pow2":
                return IntFormat(1 << (self.format.bits - 1), narrow=True)
            case "codebook":
                if self.table is None or not np.issubdtype(self.table.dtype, np.integer):
                    msg = "table must hold integers to feed an integer MAC, not real centroids"
                    raise TypeError(msg)
                return IntFormat(8, narrow=True)
            case _:
                return self.format

    @property
    def integers(self) -> IntArray:
        """What the MAC multiplies, before any zero point is subtracted.

        Raises
        ------
        TypeError
            If the codes stand for real numbers.
        """
        target = self.operand_format.dtype
        if self.code == "pow2":
            sign, exponent = split_pow2(self.codes, self.format.bits)
            power = np.left_shift(np.int64(1), exponent - 1, where=exponent > 0, out=np.zeros(self.shape, np.int64))
            return np.where(sign, -power, power).astype(target)
        if self.table is not None:
            decoded: IntArray = self.table.astype(target)[self.codes]
            return decoded
        return self.codes

    def element_scale(self) -> Float32:
        """Scale of each element, float32, broadcast to the tensor's shape."""
        cell = cell_shape((self.layout,), self.shape)
        return spread(combine_levels(self.scales, cell, self.shape, self.layout), cell, self.shape)

    def element_zero_point(self) -> IntArray | None:
        """Zero point of each element, broadcast to the tensor's shape, or None."""
        if self.zero_point is None:
            return None
        return spread(self.zero_point, self._zero_block, self.shape)

    @property
    def _zero_block(self) -> Shape:
        layout = self.zero_layout or self.layout
        return block_shape(layout.levels[0].block_size(layout.axes), self.shape)

    def dequantize(self) -> Float32:
        """Real values, ``float32(q - zero_point) * scale``."""
        values: npt.NDArray[Any] = (
            self.table.astype(np.float32)[self.codes] if self.table is not None else self.integers
        )
        out = np.empty(self.shape, np.float32)
        layouts = (self.layout, self.zero_layout or self.layout)
        cell = cell_shape(layouts, self.shape)
        scale = combine_levels(self.scales, cell, self.shape, self.layout)
        zero = None if self.zero_point is None else refine(self.zero_point, self._zero_block, cell, self.shape)
        for part in parts(self.shape, cell):
            _dequantize_part(part, values, scale, zero, out)
        return out

    @property
    def storage(self) -> Storage:
        """Bits by what they hold; codes take their format's width, without padding."""
        return Storage(
            code_bits=self.codes.size * self.format.bits,
            scale_bits=sum(s.size * bits for s, bits in zip(self.scales, self.level_bits, strict=True)),
            zero_point_bits=0 if self.zero_point is None else self.zero_point.size * self.format.bits,
            table_bits=0 if self.table is None else self.table.size * self.table.dtype.itemsize * 8,
        )

    def __repr__(self) -> str:
        zero = "" if self.zero_point is None else ", with zero point"
        return f"QTensor({self.code} {self.format}, shape={self.shape}, layout='{self.layout}'{zero})"


def split_pow2(codes: IntArray, bits: int) -> tuple[npt.NDArray[np.bool_], IntArray]:
    """Sign and exponent field of power-of-two codes; field 0 is the value 0, field j + 1 is ``2**j``."""
    wide = codes.astype(np.int64)
    field = wide & ((1 << (bits - 1)) - 1)
    return (wide >> (bits - 1)) & 1 == 1, field


def _dequantize_part(part: Part, values: npt.NDArray[Any], scale: Float32, zero: IntArray | None, out: Float32) -> None:
    view, target, factor = part.view(values), part.view(out), part.scales(scale)
    shift = None if zero is None else part.scales(zero)
    exact = np.float32 if values.dtype.itemsize <= 2 else np.int64  # holds the difference of codes
    for index in tiles(view.shape):
        tile: npt.NDArray[Any] = view[index]
        if shift is not None:
            tile = tile.astype(exact) - tile_of(index, shift).astype(exact)
        np.multiply(tile, tile_of(index, factor), out=target[index], dtype=np.float32, casting="same_kind")
