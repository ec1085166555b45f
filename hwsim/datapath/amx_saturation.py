"""Saturating registers on the matrix units of x86: exact sums block by block, and steps only where they prove nothing.

A product whose sums stay, after every block of the reduction and by equation (10) of ``docs/datapath.md`` between
them, inside the register, is the register. The few outputs that leave it, or might, are stepped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray, Overflow

from . import amx, amx_kernels
from .accumulator import Accumulator
from .gemm import magnitude
from .processors import run_all

_SLACK = 2.0**-20
_WIDEST = 28
_DEEPEST = amx_kernels.STEPS
_FEW = 0.4
"""Share of the outputs, in runs of 16 columns, up to which stepping them alone is faster than stepping all."""
_USUAL = 2
"""Deviations within which nearly all sums lie."""


def registers(lhs: IntArray, rhs: IntArray, start: IntArray, accumulator: Accumulator) -> IntArray | None:
    """Accumulate stacks of matrices of bytes.

    Parameters
    ----------
    lhs : int8 or uint8 [b, m, k]
        Not empty.
    rhs : int8 or uint8 [b, k, n]
        Not empty.
    start : int [b, m, n]
        Start of the registers.
    accumulator
        Plain, and saturating or trapping.

    Returns
    -------
    register : int32 [b, m, n], or None
        None if too much is left unproven, or a trapping register may have gone off.
    """
    k = lhs.shape[2]
    # Twice a sum, and a register, must fit int32.
    if accumulator.bits > _WIDEST or 2 * k * magnitude(lhs) * magnitude(rhs) >= 1 << 31:
        return None
    out = np.empty(start.shape, np.int32)
    for i in range(len(lhs)):
        register = _matrix(lhs[i], rhs[i], start[i], accumulator)
        if register is None:
            return None
        if len(lhs) == 1:
            return register[np.newaxis]
        out[i] = register
    return out


def _matrix(lhs: IntArray, rhs: IntArray, start: IntArray, accumulator: Accumulator) -> IntArray | None:
    (m, k), n = lhs.shape, rhs.shape[1]
    packed = amx.pack(lhs, rhs)
    first = magnitude(start)
    room = accumulator.range[1] - first
    squares = [
        _squares(tiles, sign, across=across)
        for tiles, sign, across in ((packed.lhs, packed.signs[0], True), (packed.rhs, packed.signs[1], False))
    ]
    length = _block_length(squares, k, room)
    if length is None:
        return None
    if length == 0:
        return _moved(amx.multiply(packed, m, n), start, first)
    norms = [_norms(x, length).astype(np.float32) for x in squares]
    limit = np.array([2 * room * (1 - _SLACK)], np.float32)
    pairs = [-(-size // amx_kernels.PAIR) for size in (n, m)]
    marks = np.zeros((*pairs, amx_kernels.PAIR, 2), np.uint16)
    sums = amx.multiply(packed, m, n, amx.Bounds(length, norms[0], norms[1], limit, marks))
    register = _moved(sums, start, first)
    # Runs of 16 columns, in the order of their columns, whose tiles then stay near.
    across, down, row, half = np.nonzero(marks)
    if not len(row):
        return register
    depth = accumulator.dot_depth
    stepped = accumulator.overflow is Overflow.SATURATE and depth <= _DEEPEST and depth & (depth - 1) == 0
    if not stepped or len(row) > _FEW * m * -(-n // amx_kernels.SIDE):
        return None
    units = np.stack([amx_kernels.PAIR * down + row, 2 * across + half], axis=1)
    _step(packed, units, start, accumulator, register)
    return register


def _squares(tiles: npt.NDArray[Any], sign: str, *, across: bool) -> npt.NDArray[np.int64]:
    """Return the squared norms of rows or columns in every tile of steps: [steps, rows or columns]."""
    count, steps = tiles.shape[:2]
    sums = np.empty((count, steps, amx_kernels.SIDE), np.int32)
    run = amx_kernels.squares(sign, across=across)

    def part(begin: int, end: int) -> None:
        amx.call(run, tiles[begin:], sums[begin:], np.array([(end - begin) * steps]))

    threads = amx.threads_for(tiles.size * amx_kernels.SIDE)
    run_all(amx.shares(part, count, threads), threads)
    return np.ascontiguousarray(sums.transpose(1, 0, 2), np.int64).reshape(steps, -1)


def _norms(squares: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.float64]:
    """Bound the norms of blocks of tiles from above."""
    blocks = np.add.reduceat(squares, np.arange(0, len(squares), length), axis=0)
    return np.sqrt(blocks) * (1 + _SLACK)


def _block_length(squares: list[npt.NDArray[np.int64]], k: int, room: int) -> int | None:
    """Choose tiles in a block; 0 if the whole reduction needs no check, None if blocks would prove next to nothing.

    Long blocks have fewer ends to check, short ones more room between a sum and the end of the register.
    """
    length = len(squares[0])
    if _product([x.sum(axis=0).max() for x in squares]) * (1 + _SLACK) <= room:
        return 0
    longest = [x.max(axis=1) for x in squares]
    while _reach(longest, length) > room / 2:
        if length == 1:
            common = [x.mean(axis=1) for x in squares]
            # Sums of unrelated operands lie that far from zero.
            deviation = _reach(common, len(squares[0])) / math.sqrt(k)
            return 1 if _reach(common, 1) / 2 + _USUAL * deviation < room else None
        length = -(-length // 2)
    return length


def _reach(squares: list[npt.NDArray[Any]], length: int) -> float:
    """Return the largest product of norms of blocks, of the squared norms of one row and one column in every tile."""
    starts = np.arange(0, len(squares[0]), length)
    return float(max(_product(both) for both in zip(*(np.add.reduceat(x, starts) for x in squares), strict=True)))


def _product(squares: Sequence[float]) -> float:
    return math.sqrt(float(squares[0]) * float(squares[1]))


def _moved(sums: IntArray, start: IntArray, first: int) -> IntArray:
    """Add the start of the registers."""
    if first:
        sums += start.astype(np.int32)
    return sums


def _step(
    packed: amx.Packed, units: npt.NDArray[np.int64], start: IntArray, accumulator: Accumulator, register: IntArray
) -> None:
    """Step runs of 16 columns, each a row and a column of tiles, and write them into the registers."""
    columns = amx_kernels.SIDE * units[:, 1:] + np.arange(amx_kernels.SIDE)
    inside = columns < register.shape[1]
    places = np.broadcast_to(units[:, :1], columns.shape)[inside], columns[inside]
    held = np.zeros((len(units), amx_kernels.SIDE), np.int32)
    held[inside] = start[places]
    run = amx_kernels.walk(packed.signs, accumulator.dot_depth)

    def part(begin: int, end: int) -> None:
        counts = np.array([end - begin, packed.steps, *accumulator.range])
        amx.call(run, packed.lhs, packed.rhs, held[begin:], units[begin:], counts)

    threads = amx.threads_for(held.size * packed.steps * amx_kernels.STEPS)
    run_all(amx.shares(part, len(units), 4 * threads), threads)
    register[places] = held[inside]
