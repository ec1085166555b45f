"""Exact int8 products, and saturating ones, on the matrix units of x86 (AMX), where the processor has them.

Operands are packed into tiles, products run in threads, and a probe on extreme operands proves the units exact
before they are used.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import platform
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray

from .probes import multiplies_extremes
from .processors import run_all, usable_processors

_PERMISSION, _REQUEST, _TILE_DATA = 158, 0x1023, 18
"""Linux system call ``arch_prctl``, its ``ARCH_REQ_XCOMP_PERM``, and the state component of tiles."""
_STREAMED_BYTES = 1 << 21
"""Sums that a processor's own cache does not hold go around it."""
_ROW_BLOCK_BYTES = 1 << 20
"""Packed rows that stay in a processor's own cache."""
_WORTH_THREADS = 1 << 29
"""Products from which waking other threads, which may share a core's matrix unit, pays."""
_LINE = 64


@functools.cache
def is_exact() -> bool:
    """Tell whether the processor has matrix units, lets this process use them, and they multiply extremes exactly."""
    return _is_permitted() and multiplies_extremes(product)


def _is_permitted() -> bool:
    """Ask the operating system for the units: Linux gives their state to processes that ask."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    import llvmlite.binding as llvm  # noqa: PLC0415 loads LLVM, which small products do not pay back

    features = llvm.get_host_cpu_features()
    if not all(features.get(name) for name in ("amx-tile", "amx-int8", "avx512bw", "avx512vl", "avx512vbmi")):
        return False
    return bool(ctypes.CDLL(None).syscall(_PERMISSION, _REQUEST, _TILE_DATA) == 0)


class Bounds(NamedTuple):
    """What the checked product compares sums with.

    Attributes
    ----------
    length
        Tiles of steps in a block.
    rows, columns : float32 [blocks, rows or columns in whole tiles]
        Bounds of the norms of blocks.
    limit : float32 [1]
        What twice the middle of a block's ends and the product of its norms may reach together.
    marks : uint16 [pairs of n, pairs of m, 32, 2]
        A bit for each sum that is not proven.
    """

    length: int
    rows: npt.NDArray[np.float32]
    columns: npt.NDArray[np.float32]
    limit: npt.NDArray[np.float32]
    marks: npt.NDArray[np.uint16]


class Packed(NamedTuple):
    """Operands in tiles.

    Attributes
    ----------
    lhs, rhs : int8 [tiles, steps, 16, 64]
        Rows and columns, padded with zeros to whole pairs of tiles.
    signs
        Signedness of lhs and rhs, as `hwsim.datapath.amx_kernels` names it.
    """

    lhs: npt.NDArray[Any]
    rhs: npt.NDArray[Any]
    signs: str

    @property
    def steps(self) -> int:
        """Tiles along the reduction."""
        return int(self.lhs.shape[1])


def product(lhs: npt.NDArray[Any], rhs: npt.NDArray[Any]) -> IntArray:
    """Multiply bytes modulo 2**32.

    Parameters
    ----------
    lhs : int8 or uint8 [m, k]
    rhs : int8 or uint8 [k, n]

    Returns
    -------
    product : int32 [m, n]
    """
    return multiply(pack(lhs, rhs), lhs.shape[0], rhs.shape[1])


def pack(lhs: npt.NDArray[Any], rhs: npt.NDArray[Any]) -> Packed:
    """Pack operands into tiles; none may be empty."""
    from . import amx_kernels as kernels  # noqa: PLC0415 loads LLVM

    (m, k), n = lhs.shape, rhs.shape[1]
    lhs, rhs = (x if x.strides[1] == 1 else np.ascontiguousarray(x) for x in (lhs, rhs))
    steps = -(-k // kernels.STEPS)
    rows, columns = 2 * -(-m // kernels.PAIR), 4 * -(-n // kernels.PACKED_COLUMNS)
    tiles = [_aligned((count, steps, kernels.SIDE, kernels.STEPS), np.int8) for count in (rows, columns)]

    def pack_rows(first: int, last: int) -> None:
        top = kernels.SIDE * first
        counts = np.array([m - top, k, lhs.strides[0], last - first, steps])
        call(kernels.pack_rows(), lhs[top:], tiles[0][first:], counts)

    def pack_columns(first: int, last: int) -> None:
        left = kernels.PACKED_COLUMNS * first
        counts = np.array([k, n - left, rhs.strides[0], steps, last - first])
        call(kernels.pack_columns(), rhs[:, left:], tiles[1][4 * first :], counts)

    threads = threads_for(m * k * n)
    run_all([*shares(pack_rows, rows, threads), *shares(pack_columns, columns // 4, threads)], threads)
    return Packed(tiles[0], tiles[1], "".join("s" if x.dtype == np.int8 else "u" for x in (lhs, rhs)))


def multiply(packed: Packed, m: int, n: int, bounds: Bounds | None = None) -> IntArray:
    """Multiply packed operands to int32 [m, n], modulo 2**32; with bounds, mark the sums that they do not prove."""
    from . import amx_kernels as kernels  # noqa: PLC0415 loads LLVM

    streamed = 4 * m * n >= _STREAMED_BYTES and n % kernels.PAIR == 0
    out = _aligned((m, n), np.int32)
    run = kernels.multiply(packed.signs, streamed=streamed, checked=bounds is not None)
    configuration = _configuration()
    tall, wide = -(-m // kernels.PAIR), -(-n // kernels.PAIR)
    height = max(1, _ROW_BLOCK_BYTES // (2 * packed.steps * kernels.TILE_BYTES))

    def block(top: int, bottom: int, left: int, right: int) -> None:
        rows, columns = (kernels.PAIR * first for first in (top, left))
        below, beside = min(m, kernels.PAIR * bottom) - rows, min(n, kernels.PAIR * right) - columns
        operands = packed.lhs[2 * top :], packed.rhs[2 * left :]
        sizes = [below, beside, n, packed.steps]
        checks: tuple[npt.NDArray[Any], ...] = ()
        if bounds:
            sizes += [bounds.length, bounds.rows.shape[1], bounds.columns.shape[1], kernels.PAIR * 2 * tall]
            checks = bounds.rows[:, rows:], bounds.columns[:, columns:], bounds.limit, bounds.marks[left:, top:]
        call(run, *operands, out[rows:, columns:], configuration, np.array(sizes), *checks)

    threads = threads_for(m * n * packed.steps * kernels.STEPS)
    bands = [(top, min(top + height, tall)) for top in range(0, tall, height)]
    parts = [(left, right) for left, right in _cuts(wide, max(1, threads if len(bands) < 2 * threads else 1))]
    run_all([functools.partial(block, *band, *part) for band in bands for part in parts], threads)
    return out


@functools.cache
def _configuration() -> npt.NDArray[np.uint8]:
    """Return the layout of the tile registers: palette 1, each register 16 rows of 64 bytes."""
    out = np.zeros(_LINE, np.uint8)
    out[0] = 1
    out[16:32:2] = _LINE
    out[48:56] = 16
    return out


def shares(task: Callable[[int, int], None], count: int, threads: int) -> list[Callable[[], None]]:
    """Cut a range of work into parts for threads."""
    return [functools.partial(task, first, last) for first, last in _cuts(count, threads)]


def _cuts(count: int, parts: int) -> list[tuple[int, int]]:
    edges = [count * i // parts for i in range(parts + 1)]
    return [(a, b) for a, b in itertools.pairwise(edges) if b > a]


def threads_for(macs: int) -> int:
    """Return how many threads so many products are worth."""
    return usable_processors() if macs >= _WORTH_THREADS else 1


def _aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return memory that starts in a line of the cache."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size].view(dtype).reshape(shape)


def call(kernel: Callable[..., None], *arrays: npt.NDArray[Any]) -> None:
    """Call a kernel with the addresses of arrays, which live as long as the call."""
    kernel(*[array.ctypes.data for array in arrays])
