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

RUN = 1024
"""Elements after which it is asked whether one was outside; a run stays in the first cache."""

THREAD = 1 << 20
"""Elements that a thread takes at once."""

_INFINITE = np.float32(np.inf)

# A run of columns is sliced before its loop: only then does the compiler know its indices and use vectors.


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _reach_rows(bits: Any, height: int, width: int, below: Any, above: Any) -> None:
    """Largest key of each block of `height` rows and `width` columns, of its negative and of its other values.

    The bits of a float that is not negative order as the float does, below every other's; so do those of a negative
    one with the sign turned, by magnitude.
    """
    rows, columns = bits.shape
    for i in range(rows):
        r = i // height
        if width == 1:
            for left in range(0, columns, RUN):
                run = bits[i, left : left + RUN]
                low, high = below[r, left : left + RUN], above[r, left : left + RUN]
                for j in range(run.size):
                    high[j] = max(high[j], run[j])
                    low[j] = max(low[j], run[j] ^ np.int32(-0x80000000))
        else:
            for b in range(below.shape[1]):
                least, most = below[r, b], above[r, b]
                run = bits[i, b * width : (b + 1) * width]
                for j in range(run.size):
                    most = max(most, run[j])
                    least = max(least, run[j] ^ np.int32(-0x80000000))
                below[r, b], above[r, b] = least, most


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _quantize_run(run: Any, s: Any, z: Any, least: Any, greatest: Any, codes: Any) -> Any:
    """Quantize a run with one scale, half to even; tell whether anything was clipped, NaN being so."""
    lo, hi = least - z, greatest - z
    clipped = False
    for j in range(run.size):
        q = np.rint(run[j] / s)
        kept = lo if q < lo else q
        kept = hi if kept > hi else kept
        clipped |= kept != q
        codes[j] = np.int32(kept + z)
    return clipped


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _quantize_columns(run: Any, s: Any, z: Any, least: Any, greatest: Any, codes: Any) -> Any:
    """Quantize a run with a scale for each element, as `_quantize_run`."""
    clipped = False
    for j in range(run.size):
        q = np.rint(run[j] / s[j]) + z[j]
        kept = least if q < least else q
        kept = greatest if kept > greatest else kept
        clipped |= kept != q
        codes[j] = np.int32(kept)
    return clipped


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
def _spread(values: Any, width: int, out: Any) -> None:
    """Repeat each value over its block of columns."""
    for b in range(values.size):
        value, to = values[b], out[b * width : (b + 1) * width]
        for j in range(to.size):
            to[j] = value


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _quantize_rows(
    x: Any, scale: Any, zero: Any, height: int, first: int, width: int, least: Any, greatest: Any, out: Any
) -> Any:
    """Quantize rows and count what lies outside; -1 if a value is not finite. `first` is the index of the first row."""
    rows, columns = x.shape
    outside, last = 0, -1
    each, shift = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for i in range(rows):
        r = (first + i) // height
        short = width < RUN // 2
        if short and r != last:
            _spread(scale[r], width, each)
            _spread(zero[r], width, shift)
            last = r
        for b in range(1 if short else scale.shape[1]):
            for left in range(b * width, columns if short else min((b + 1) * width, columns), RUN):
                to = left + RUN if short else min(left + RUN, (b + 1) * width)
                run, codes = x[i, left:to], out[i, left:to]
                if short:
                    clipped = _quantize_columns(run, each[left:to], shift[left:to], least, greatest, codes)
                else:
                    clipped = _quantize_run(run, scale[r, b], zero[r, b], least, greatest, codes)
                if clipped:
                    if short:
                        found = _outside(run, each[left:to], shift[left:to], least, greatest)
                    else:
                        found = _outside(run, scale[r, b : b + 1], zero[r, b : b + 1], least, greatest)
                    if found < 0:
                        return -1
                    outside += found
    return outside


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def count_rows(rows: Any, scale: Any, counts: Any) -> None:
    """Add to the counts of each row how often ``floor(rows * scale) + bins / 2`` occurs.

    Parameters
    ----------
    rows : float32 [m, n]
    scale : float32 [m, 1]
        Powers of two.
    counts : int64 [m, bins]
    """
    middle = np.int32(counts.shape[1] // 2)
    index = np.empty(RUN, np.int32)
    for i in range(rows.shape[0]):
        s, table = scale[i, 0], counts[i]
        for left in range(0, rows.shape[1], RUN):
            run = rows[i, left : left + RUN]
            for j in range(run.size):
                index[j] = np.int32(np.floor(run[j] * s)) + middle
            for j in range(run.size):
                table[index[j]] += 1


def _each(work: Callable[[slice], _T], count: int, size: int) -> list[_T]:
    """Do work on slices of `count` rows of `size` elements, on as many threads as numba may use."""
    rows = max(1, THREAD // size)
    parts = [slice(top, min(top + rows, count)) for top in range(0, count, rows)]
    threads = min(numba.get_num_threads(), len(parts))
    if threads == 1:
        return [work(part) for part in parts]
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def matrix_reach(x: Float32, block: Shape) -> tuple[Float32, Float32]:
    """Smallest and largest value of each block of a C-contiguous float32 matrix, 0 being in all of them.

    A NaN or an infinity anywhere makes a bound of its block NaN or infinite.
    """
    height = block[0] if block[0] <= STRIP or (block[0] % STRIP and block[0] < x.shape[0]) else STRIP
    shape = scale_shape((height, block[1]), x.shape)
    below, above = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    bits = x.view(np.int32)

    def work(rows: slice) -> None:
        part = bits[rows.start * height : rows.stop * height]
        _reach_rows(part, height, block[1], below[rows], above[rows])

    _each(work, shape[0], height * x.shape[1])
    across = (-(-block[0] // height), 1)
    low, high = (block_reduce(np.maximum, keys, across).view(np.float32) for keys in (below, above))
    return -low, high


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

    def work(rows: slice) -> int:
        return int(_quantize_rows(x[rows], scale, offset, block[0], rows.start, block[1], least, greatest, codes[rows]))

    found = _each(work, x.shape[0], x.shape[1])
    return codes, -1 if min(found) < 0 else sum(found)
