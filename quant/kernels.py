"""Compiled passes over large matrices; the same bits as the numpy passes of `quant.blocks` and `quant.affine`.

Importing this module imports numba, so only tensors of `LARGE` elements do, where a pass costs more than loading it.
"""

from __future__ import annotations

import concurrent.futures
import os
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from .blocks import Shape, block_reduce, scale_shape
from .formats import IntArray, IntFormat

Float32 = npt.NDArray[np.float32]
STRIP = 64
"""Rows that a thread takes at once."""

# A run of columns is sliced before its loop: only then does the compiler know its indices and use vectors.


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _extrema_rows(bits: Any, height: int, width: int, lo: Any, hi: Any) -> None:
    """Smallest and largest key of each block of `height` rows and `width` columns; keys order as the floats do."""
    rows, columns = bits.shape
    for i in range(rows):
        r = i // height
        if width == 1:
            for j in range(columns):
                v = bits[i, j]
                key = v ^ ((v >> 31) & 0x7FFFFFFF)
                lo[r, j] = min(lo[r, j], key)
                hi[r, j] = max(hi[r, j], key)
        else:
            for b in range(lo.shape[1]):
                least, greatest = lo[r, b], hi[r, b]
                run = bits[i, b * width : (b + 1) * width]
                for j in range(run.size):
                    v = run[j]
                    key = v ^ ((v >> 31) & 0x7FFFFFFF)
                    least = min(least, key)
                    greatest = max(greatest, key)
                lo[r, b], hi[r, b] = least, greatest


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _quantize_rows(
    x: Any, scale: Any, zero: Any, height: int, first: int, width: int, least: Any, greatest: Any, out: Any
) -> Any:
    """Quantize rows, half to even, and count what lies outside; `first` is the index of the first row."""
    rows, columns = x.shape
    outside = np.int32(0)
    for i in range(rows):
        r = (first + i) // height
        if width == 1:
            for j in range(columns):
                q = np.rint(x[i, j] / scale[r, j]) + zero[r, j]
                outside += np.int32((q < least) | (q > greatest))
                q = least if q < least else q
                q = greatest if q > greatest else q
                out[i, j] = np.int32(q)
        else:
            for b in range(scale.shape[1]):
                s, z = scale[r, b], zero[r, b]
                run, codes = x[i, b * width : (b + 1) * width], out[i, b * width : (b + 1) * width]
                for j in range(run.size):
                    q = np.rint(run[j] / s) + z
                    outside += np.int32((q < least) | (q > greatest))
                    q = least if q < least else q
                    q = greatest if q > greatest else q
                    codes[j] = np.int32(q)
    return outside


def _strips(rows: int, strip: int) -> list[slice]:
    return [slice(top, min(top + strip, rows)) for top in range(0, rows, strip)]


def _pool() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, 8))


def matrix_extrema(x: Float32, block: Shape) -> tuple[Float32, Float32]:
    """`block_extrema` of a C-contiguous float32 matrix.

    A float's bits, as a signed integer with the low bits of negative values flipped, order as the floats do, with NaN
    beyond the infinities, so that integer minima find all that `block_extrema` finds.
    """
    height = block[0] if block[0] <= STRIP or (block[0] % STRIP and block[0] < x.shape[0]) else STRIP
    shape = scale_shape((height, block[1]), x.shape)
    lo, hi = np.full(shape, np.iinfo(np.int32).max, np.int32), np.full(shape, np.iinfo(np.int32).min, np.int32)
    bits = x.view(np.int32)
    some = max(1, STRIP // height)  # rows of scales that a thread takes at once

    def work(rows: slice) -> None:
        _extrema_rows(bits[rows.start * height : rows.stop * height], height, block[1], lo[rows], hi[rows])

    with _pool() as pool:
        list(pool.map(work, _strips(shape[0], some)))
    across = (-(-block[0] // height), 1)
    keys = block_reduce(np.minimum, lo, across), block_reduce(np.maximum, hi, across)
    low, high = ((key ^ ((key >> 31) & 0x7FFFFFFF)).view(np.float32) for key in keys)
    return low, high


def quantize_matrix(
    x: Float32, block: Shape, scale: Float32, zero: IntArray | None, fmt: IntFormat
) -> tuple[IntArray, int]:
    """Codes of a C-contiguous float32 matrix, half to even, and how many values were outside the format.

    Parameters
    ----------
    x : float32 [m, n]
    block
        Block shape of `scale` and `zero`.
    scale, zero : [scale shape]
    fmt
        Of at most 22 bits, so that float32 holds every sum.
    """
    codes = np.empty(x.shape, fmt.dtype)
    offset = np.zeros_like(scale) if zero is None else zero.astype(np.float32)
    least, greatest = np.float32(fmt.lo), np.float32(fmt.hi)

    def work(rows: slice) -> int:
        return int(_quantize_rows(x[rows], scale, offset, block[0], rows.start, block[1], least, greatest, codes[rows]))

    with _pool() as pool:
        return codes, sum(pool.map(work, _strips(x.shape[0], STRIP)))
