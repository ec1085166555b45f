"""Saturating sums at the speed of BLAS: step only where no bound rules an overflow out.

Three bounds, from cheap to sharp (docs/datapath.md, (9) to (10)): the magnitudes of the operands, the norms of a row
and a column (Cauchy and Schwarz), and the same per block of the reduction around the exact sum of the block.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray, Overflow

from .accumulator import Accumulator
from .gemm import exact_product, magnitude, one_blas_thread
from .walk import add_registers, overflow_code

_PANEL_ROWS = 256
_PANEL_COLUMNS = 1024
_SINGLE_LIMIT = 1 << 24
_DOUBLE_LIMIT = 1 << 53
_SHORTEST_BLOCK = 16
_LONGEST_BLOCK = 512
_EMPTY = np.zeros((0, 0), np.uint8)
_SINGLE_UNIT = 2.0**-23
_LONGEST_SINGLE_SUM = 1 << 20


class Outcome(NamedTuple):
    """Registers, and where a trapping one left its range (or None if nowhere could)."""

    register: IntArray
    hit: npt.NDArray[np.uint8] | None


def can_hold(lhs: IntArray, rhs: IntArray, start: IntArray, accumulator: Accumulator) -> np.dtype[Any] | None:
    """Return the float type that holds every value of an accumulation exactly, None if there is none."""
    largest = magnitude(lhs) * magnitude(rhs)
    reach = accumulator.dot_depth * largest
    registers = [1 << (accumulator.bits - 1), magnitude(start)]
    if accumulator.tree_bits is not None:
        registers.append(1 << (accumulator.tree_bits - 1))
    if accumulator.spill_steps is not None:
        # An outer sum is a register plus a whole inner register.
        registers.append((1 << (accumulator.spill_bits - 1)) + (1 << (accumulator.bits - 1)))
    # A clamp sees a register plus one addend; wrapping also takes the distance from the lower end.
    worst = (max(registers) + reach) * (2 if Overflow.WRAP in _rules(accumulator) else 1)
    worst = max(worst, 2 * _SHORTEST_BLOCK * largest)
    if worst <= _SINGLE_LIMIT:
        return np.dtype(np.float32)
    return np.dtype(np.float64) if worst <= _DOUBLE_LIMIT else None


def accumulate_by_steps(
    lhs: IntArray, rhs: IntArray, start: IntArray, accumulator: Accumulator, real: np.dtype[Any]
) -> Outcome:
    """Walk every accumulator of stacks of matrices, a tile of columns at a time."""
    from .tiles import walk_tiles  # noqa: PLC0415 numba is loaded when it is needed, not at import

    numbers, limits = _settings(accumulator, real)
    hit = np.zeros(start.shape, np.uint8)
    a = np.ascontiguousarray(lhs, real)

    def run(at: _Panel, register: npt.NDArray[Any]) -> None:
        marks = np.zeros(register.shape, np.uint8)
        walk_tiles(register, a[at.batch, at.rows], at.packed, numbers, limits, marks)
        hit[at.batch, at.rows, at.columns] = marks

    register = _panels(rhs, start, accumulator, real, run)
    return Outcome(register, hit if Overflow.TRAP in _rules(accumulator) else None)


def accumulate_certified(
    lhs: IntArray, rhs: IntArray, start: IntArray, accumulator: Accumulator, real: np.dtype[Any]
) -> Outcome:
    """Sum with clamping or trapping registers (no narrow tree, no spills, no dropped bits)."""
    a = np.ascontiguousarray(lhs, real)
    row_norms = _norms(a, 2)
    column_norms = _norms(rhs, 1)
    hi = accumulator.range[1]
    if float(row_norms.max(initial=0)) * float(column_norms.max(initial=0)) + magnitude(start) <= hi:
        return Outcome(exact_product(lhs, rhs, accumulator.dtype) + start.astype(accumulator.dtype), None)
    norm = float(row_norms.mean()) * float(column_norms.mean())
    limit = _SINGLE_LIMIT if real == np.float32 else _DOUBLE_LIMIT
    longest = limit // (magnitude(lhs) * magnitude(rhs))
    block = _block_length(lhs.shape[2], norm, hi, accumulator.dot_depth, longest)
    if block is None:
        return accumulate_by_steps(lhs, rhs, start, accumulator, real)
    from .tiles import certified_block  # noqa: PLC0415 numba is loaded when it is needed, not at import

    bounds = [(k, min(k + block, lhs.shape[2])) for k in range(0, lhs.shape[2], block)]
    lhs_blocks = [_norms(a[:, :, k:end], 2).astype(real) for k, end in bounds]
    rails = _settings(accumulator, real)[1][0]
    trapping = accumulator.overflow is Overflow.TRAP
    hit = np.zeros(start.shape if trapping else (0, 0, 0), np.uint8)

    def run(at: _Panel, register: npt.NDArray[Any]) -> None:
        sums = np.empty_like(register)
        marks = np.zeros(register.shape, np.uint8) if trapping else _EMPTY
        panel = a[at.batch, at.rows]
        for (k, end), norms, columns in zip(bounds, lhs_blocks, at.norms, strict=True):
            np.matmul(panel[:, k:end], at.tile[k:end], out=sums)
            span = np.array([k, end, accumulator.dot_depth])
            certified_block(register, sums, norms[at.batch, at.rows], columns, panel, at.packed, span, rails, marks)
        if trapping:
            hit[at.batch, at.rows, at.columns] = marks

    return Outcome(_panels(rhs, start, accumulator, real, run, bounds), hit if trapping else None)


def accumulate_spilled(lhs: IntArray, rhs: IntArray, start: IntArray, accumulator: Accumulator) -> Outcome | None:
    """Sum with clamping registers that spill: a segment between spills is a block; None where that does not pay."""
    inner = dataclasses.replace(accumulator, spill_steps=None)
    zeros = np.broadcast_to(np.int64(0), start.shape)
    real = can_hold(lhs, rhs, zeros, inner)
    length = (accumulator.spill_steps or 0) * accumulator.dot_depth
    longest = (_SINGLE_LIMIT if real == np.float32 else _DOUBLE_LIMIT) // max(1, magnitude(lhs) * magnitude(rhs))
    if real is None or not _SHORTEST_BLOCK <= length <= min(longest, lhs.shape[2], 2 * _LONGEST_BLOCK):
        return None
    from .tiles import certified_block  # noqa: PLC0415 numba is loaded when it is needed, not at import

    a = np.ascontiguousarray(lhs, real)
    bounds = [(k, min(k + length, lhs.shape[2])) for k in range(0, lhs.shape[2], length)]
    lhs_norms = [_norms(a[:, :, k:end], 2).astype(real) for k, end in bounds]
    rails = _settings(inner, real)[1][0]
    outer = start.astype(np.int64)

    def run(at: _Panel, register: npt.NDArray[Any]) -> None:
        sums = np.empty_like(register)
        panel = a[at.batch, at.rows]
        where = (at.batch, at.rows, at.columns)
        for (k, end), norms, columns in zip(bounds, lhs_norms, at.norms, strict=True):
            np.matmul(panel[:, k:end], at.tile[k:end], out=sums)
            span = np.array([k, end, accumulator.dot_depth])
            certified_block(register, sums, norms[at.batch, at.rows], columns, panel, at.packed, span, rails, _EMPTY)
            spilled = register.astype(np.int64)
            outer[where] = add_registers(
                outer[where], spilled, accumulator.spill_range, accumulator.spill_overflow, k // length
            )
            register.fill(0)

    _panels(rhs, zeros, inner, real, run, bounds)
    return Outcome(outer, None)


class _Panel(NamedTuple):
    """A part of the outputs that stays in cache; its columns of the rhs, plain and in tiles; their norms per block."""

    batch: int
    rows: slice
    columns: slice
    tile: npt.NDArray[Any]
    packed: npt.NDArray[Any]
    norms: list[npt.NDArray[Any]]


def _panels(
    rhs: IntArray,
    start: IntArray,
    accumulator: Accumulator,
    real: np.dtype[Any],
    run: Callable[[_Panel, npt.NDArray[Any]], None],
    blocks: Sequence[tuple[int, int]] = (),
) -> IntArray:
    """Run over panels of outputs in threads; `run` changes each panel's registers in place."""
    bits = accumulator.bits if accumulator.spill_steps is None else accumulator.spill_bits
    out = np.empty(start.shape, np.int32 if bits <= 32 else np.int64)
    batch, m, n = start.shape

    def panel(at: _Panel) -> None:
        register = np.array(start[at.batch, at.rows, at.columns], real, order="C")
        run(at, register)
        out[at.batch, at.rows, at.columns] = register

    # The panels share the processors, so each product inside one has one.
    with one_blas_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for b in range(batch):
            for left in range(0, n, _PANEL_COLUMNS):
                columns = slice(left, min(left + _PANEL_COLUMNS, n))
                tile = np.ascontiguousarray(rhs[b, :, columns], real)
                packed = _pack(tile)
                norms = [_norms(tile[np.newaxis, k:end], 1)[0].astype(real) for k, end in blocks]
                parts = [
                    _Panel(b, slice(top, min(top + _PANEL_ROWS, m)), columns, tile, packed, norms)
                    for top in range(0, m, _PANEL_ROWS)
                ]
                list(pool.map(panel, parts))
    return out


def _pack(tile: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Cut columns [k, n] into tiles [ceil(n / WIDTH), k, WIDTH], the last filled with zeros."""
    from .tiles import WIDTH  # noqa: PLC0415 numba is loaded when it is needed, not at import

    k, n = tile.shape
    tiles = -(-n // WIDTH)
    padded = np.zeros((k, tiles * WIDTH), tile.dtype)
    padded[:, :n] = tile
    return np.ascontiguousarray(padded.reshape(k, tiles, WIDTH).swapaxes(0, 1))


def _block_length(k: int, norm: float, hi: int, depth: int, longest: int) -> int | None:
    """Choose the block of the reduction whose own bound is about half of the register; None if that is too short."""
    length = int(k * hi / (2 * norm))
    if length < _SHORTEST_BLOCK:
        return None
    length = min(max(length, 2 * _SHORTEST_BLOCK), _LONGEST_BLOCK, longest)
    return max(depth, length - length % depth)


def _norms(x: npt.NDArray[Any], axis: int) -> npt.NDArray[np.float64]:
    """Bound the Euclidean norms along an axis from above."""
    count = x.shape[axis]
    if x.dtype.kind in "iu" or count > _LONGEST_SINGLE_SUM:
        x = x.astype(np.float32 if count <= _LONGEST_SINGLE_SUM else np.float64)
    squares = np.einsum("bmk,bmk->bm" if axis == 2 else "bkn,bkn->bn", x, x).astype(np.float64)
    # A float32 sum of so many positive terms is off by at most that many half units in the last place.
    return np.asarray(np.sqrt(squares * (1 + (count + 16) * _SINGLE_UNIT)))


def _rules(accumulator: Accumulator) -> set[Overflow]:
    """Return the overflow rules of the registers that exist."""
    rules = {accumulator.overflow}
    if accumulator.tree_bits is not None:
        rules.add(accumulator.tree_overflow)
    if accumulator.spill_steps is not None:
        rules.add(accumulator.spill_overflow)
    return rules


def _settings(
    accumulator: Accumulator, real: np.dtype[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.floating[Any]]]:
    numbers = np.array(
        [
            accumulator.dot_depth,
            accumulator.spill_steps or 0,
            accumulator.tree_bits is not None,
            overflow_code(accumulator.overflow),
            overflow_code(accumulator.tree_overflow),
            overflow_code(accumulator.spill_overflow),
        ],
        np.int64,
    )
    ranges = [accumulator.range, accumulator.tree_range or (-1, 0), accumulator.spill_range]
    rows = [[lo, hi, hi - lo + 1, 1 / (hi - lo + 1)] for lo, hi in ranges]
    rows.append([1 / (1 << accumulator.dropped_bits), 0, 0, 0])
    return numbers, np.array(rows, real)
