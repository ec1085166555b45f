"""Compiled passes over large matrices; the same bits as the numpy passes of `quant.blocks` and `quant.affine`.

Importing this module imports numba, so only tensors of `LARGE` elements do, where a pass costs more than loading it.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from .blocks import Shape, block_reduce, scale_shape
from .formats import IntArray, IntFormat

Float32 = npt.NDArray[np.float32]
_T = TypeVar("_T")

STRIP = 64
"""Rows of which one value a block is found at a time, however high the block."""

NARROW = 16
"""Columns of a block from which a loop of its own pays: it is all vectors."""

DEEP = 256
"""Rows of narrow blocks whose bins are found before they are counted."""

RUN = 1024
"""Values whose bins are found before they are counted; a run stays in the first cache."""

THREAD = 1 << 20
"""Elements that a thread takes at once."""

_INFINITE = np.float32(np.inf)
_MAGNITUDE = np.int32(0x7FFFFFFF)

# Indices of columns are unsigned: only then does the compiler leave out the case of a negative one and use vectors.


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _extrema_rows(bits: Any, height: int, width: int, lo: Any, hi: Any) -> None:
    """Smallest and largest key of each block of `height` rows and `width` columns.

    A key is the bits of a float, all but the sign turned where it is negative: keys order as the floats do, and NaN
    beyond the infinity of its sign.
    """
    rows, columns = bits.shape
    for i in range(rows):
        r = i // height
        if width == 1:
            for j in range(columns):
                key = bits[i, j] ^ ((bits[i, j] >> np.int32(31)) & _MAGNITUDE)
                lo[r, j], hi[r, j] = min(lo[r, j], key), max(hi[r, j], key)
        else:
            for b in range(lo.shape[1]):
                least, most = lo[r, b], hi[r, b]
                for j in range(np.uintp(b * width), np.uintp(min((b + 1) * width, columns))):
                    key = bits[i, j] ^ ((bits[i, j] >> np.int32(31)) & _MAGNITUDE)
                    least, most = min(least, key), max(most, key)
                lo[r, b], hi[r, b] = least, most


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _outside(run: Any, s: Any, z: Any, least: Any, greatest: Any) -> Any:
    """Count what lies outside, -1 if something is not finite; `s` and `z` have one element or one for each."""
    outside, finite = np.int32(0), True
    for j in range(run.size):
        k = j if s.size > 1 else 0
        q = np.rint(run[j] / s[k]) + z[k]
        outside += np.int32((q < least) | (q > greatest))
        finite &= abs(run[j]) < _INFINITE
    return outside if finite else np.int32(-1)


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _quantize_wide(
    x: Any, scale: Any, zero: Any, height: int, first: int, width: int, least: Any, greatest: Any, out: Any
) -> Any:
    """Quantize rows, half to even, a scale for each run of `width` columns; count what lies outside.

    `first` is the index of the first row. The count is -1 if a value is not finite.
    """
    rows, columns = x.shape
    outside = 0
    for i in range(rows):
        r = (first + i) // height
        for b in range(scale.shape[1]):
            s, z = scale[r, b], zero[r, b]
            lo, hi = least - z, greatest - z
            left, right = np.uintp(b * width), np.uintp(min((b + 1) * width, columns))
            clipped = False
            for j in range(left, right):
                q = np.rint(x[i, j] / s)
                kept = lo if q < lo else q
                kept = hi if kept > hi else kept
                clipped |= kept != q  # so is NaN
                out[i, j] = np.int32(kept + z)
            if clipped:
                found = _outside(x[i, left:right], scale[r, b : b + 1], zero[r, b : b + 1], least, greatest)
                if found < 0:
                    return -1
                outside += found
    return outside


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _quantize_narrow(
    x: Any, scale: Any, zero: Any, height: int, first: int, width: int, least: Any, greatest: Any, out: Any
) -> Any:
    """Do what `_quantize_wide` does where runs are too short for a loop of their own: a scale for each column."""
    rows, columns = x.shape
    outside, last = 0, -1
    each, shift = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for i in range(rows):
        r = (first + i) // height
        if r != last:
            for b in range(scale.shape[1]):
                for j in range(np.uintp(b * width), np.uintp(min((b + 1) * width, columns))):
                    each[j], shift[j] = scale[r, b], zero[r, b]
            last = r
        clipped = False
        for j in range(columns):
            q = np.rint(x[i, j] / each[j]) + shift[j]
            kept = least if q < least else q
            kept = greatest if kept > greatest else kept
            clipped |= kept != q
            out[i, j] = np.int32(kept)
        if clipped:
            found = _outside(x[i], each, shift, least, greatest)
            if found < 0:
                return -1
            outside += found
    return outside


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def count_matrix(x: Any, height: int, width: int, scale: Any, counts: Any) -> None:
    """Add to the counts of each block how often ``floor(x * scale) + bins / 2`` occurs.

    Parameters
    ----------
    x : float32 [m, n]
    height, width
        Rows and columns of a block.
    scale : float32 [row blocks, column blocks]
        Powers of two.
    counts : int [row blocks, column blocks, bins]
    """
    for r in range(scale.shape[0]):
        rows = x[r * height : (r + 1) * height]
        if width < NARROW:
            _count_narrow(rows, width, scale[r], counts[r])
        else:
            _count_wide(rows, width, scale[r], counts[r])


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _count_wide(rows: Any, width: int, scale: Any, counts: Any) -> None:
    middle = np.int32(counts.shape[1] // 2)
    index = np.empty(RUN, np.int32)
    for i in range(rows.shape[0]):
        for b in range(scale.size):
            s, table = scale[b], counts[b]
            for left in range(b * width, min((b + 1) * width, rows.shape[1]), RUN):
                run = rows[i, left : min(left + RUN, (b + 1) * width)]
                for j in range(run.size):
                    index[j] = np.int32(np.floor(run[j] * s)) + middle
                for j in range(run.size):
                    table[index[j]] += 1


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _count_narrow(rows: Any, width: int, scale: Any, counts: Any) -> None:
    """Count some columns at a time, one cache line across, so that their tables stay in a cache."""
    height, columns = rows.shape
    middle = np.int32(counts.shape[1] // 2)
    index = np.empty((DEEP, NARROW), np.int32)
    each = np.empty(columns, np.float32)
    for j in range(columns):
        each[j] = scale[j // width]
    for left in range(0, columns, NARROW):
        across = np.uintp(min(NARROW, columns - left))
        first = np.uintp(left)
        for top in range(0, height, DEEP):
            down = min(DEEP, height - top)
            for i in range(down):
                for j in range(across):
                    index[i, j] = np.int32(np.floor(rows[top + i, first + j] * each[first + j])) + middle
            for j in range(across):
                table = counts[(first + j) // np.uintp(width)]
                for i in range(down):
                    table[index[i, j]] += 1


def _each(work: Callable[[slice], _T], count: int, size: int) -> list[_T]:
    """Do work on slices of `count` rows of `size` elements, on as many threads as numba may use."""
    rows = max(1, THREAD // size)
    parts = [slice(top, min(top + rows, count)) for top in range(0, count, rows)]
    threads = min(numba.get_num_threads(), len(parts))
    if threads == 1:
        return [work(part) for part in parts]
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def matrix_extrema(x: Float32, block: Shape) -> tuple[Float32, Float32]:
    """Smallest and largest value of each block of a C-contiguous float32 matrix.

    A NaN or an infinity anywhere makes a bound of its block NaN or infinite.
    """
    height = block[0] if block[0] <= STRIP or (block[0] % STRIP and block[0] < x.shape[0]) else STRIP
    shape = scale_shape((height, block[1]), x.shape)
    lo, hi = np.full(shape, _MAGNITUDE), np.full(shape, ~_MAGNITUDE)
    bits = x.view(np.int32)

    def work(rows: slice) -> None:
        part = bits[rows.start * height : rows.stop * height]
        _extrema_rows(part, height, block[1], lo[rows], hi[rows])

    _each(work, shape[0], height * x.shape[1])
    across = (-(-block[0] // height), 1)
    return _floats(block_reduce(np.minimum, lo, across)), _floats(block_reduce(np.maximum, hi, across))


def _floats(keys: npt.NDArray[np.int32]) -> Float32:
    """Floats of `_extrema_rows`' keys."""
    return (keys ^ ((keys >> 31) & _MAGNITUDE)).view(np.float32)


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

    Returns
    -------
    codes : int [m, n]
    outside
        Negative if a value is NaN or infinite.
    """
    codes = np.empty(x.shape, fmt.dtype)
    offset = np.zeros_like(scale) if zero is None else zero.astype(np.float32)
    least, greatest = np.float32(fmt.lo), np.float32(fmt.hi)
    kernel = _quantize_narrow if block[1] < NARROW else _quantize_wide

    def work(rows: slice) -> int:
        return int(kernel(x[rows], scale, offset, block[0], rows.start, block[1], least, greatest, codes[rows]))

    found = _each(work, x.shape[0], x.shape[1])
    return codes, -1 if min(found) < 0 else sum(found)
