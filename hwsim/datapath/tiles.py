"""Compiled steps of many accumulators at once: one row of the lhs against a tile of columns of the rhs.

Integers are held in floats that represent them exactly (float32 below 2**24, float64 below 2**53), because their
vector instructions are the widest that every processor has and the operands are already floats for BLAS. Which of
the two is enough is decided in `hwsim.datapath.certified`. The rhs comes packed, tile by tile, so that the innermost
loops have a constant length and neighbouring addresses; then the compiler turns them into vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

WIDTH = 64
"""Columns of a tile."""

_WRAP, _SATURATE, _TRAP = 0, 1, 2


@njit(cache=True, nogil=True)
def certified_block(
    register: Any, block: Any, row_norms: Any, column_norms: Any, lhs: Any, packed: Any, span: Any, rails: Any, hit: Any
) -> int:
    """Add the products of one block of the reduction to saturating registers; return the tiles that had to step.

    Parameters
    ----------
    register : float [p, n]
        Changed in place.
    block : float [p, n]
        Exact sums of the block.
    row_norms, column_norms : float [p], [n]
        Upper bounds of the Euclidean norms of the operands in the block.
    lhs : float [p, k]
        Rows.
    packed : float [ceil(n / 64), k, 64]
        Columns, tile by tile; the last tile is filled with zeros.
    span : int [3]
        First and last + 1 index of the block, and the depth.
    rails : float [4]
        Range of the register: lo, hi, size, 1 / size.
    hit : uint8 [p, n] or [0, 0]
        Set to 1 where a register was clamped, if it has a size.
    """
    # Above 2**24 the doubled middle and its bound round by one each; the slack keeps the bound an upper bound.
    ceiling, floor = rails[1] + rails[1] - 2, rails[0] + rails[0] + 2
    stepped = 0
    tile = np.zeros(WIDTH, register.dtype)
    trapped = np.zeros(WIDTH, np.uint8)
    start, stop, depth = span[0], span[1], span[2]
    rule = _TRAP if hit.size else _SATURATE
    # A register that drops no bits: the size times its inverse is 1, in the right type.
    cut = rails[2] * rails[3]
    for i in range(register.shape[0]):
        norm = row_norms[i]
        for t in range(packed.shape[0]):
            row = register[i, t * WIDTH : (t + 1) * WIDTH]
            sums = block[i, t * WIDTH : (t + 1) * WIDTH]
            norms = column_norms[t * WIDTH : (t + 1) * WIDTH]
            outside = 0
            for j in range(row.shape[0]):
                middle = row[j] + row[j] + sums[j]
                bound = norm * norms[j]
                outside += (middle + bound > ceiling) | (middle - bound < floor)
            if outside == 0:
                for j in range(row.shape[0]):
                    row[j] += sums[j]
                continue
            stepped += 1
            trapped[:] = 0
            _load(tile, register[i], t, row.shape[0])
            _run(tile, lhs[i], packed[t], start, stop, depth, cut, rails, rule, trapped)
            _store(register[i], tile, t, row.shape[0])
            if hit.size:
                for j in range(row.shape[0]):
                    hit[i, t * WIDTH + j] |= trapped[j]
    return stepped


@njit(cache=True, nogil=True)
def _run(  # noqa: C901 a call per step would cost more than the step
    tile: Any, row: Any, columns: Any, start: int, stop: int, depth: int, cut: Any, own: Any, rule: int, trapped: Any
) -> None:
    """Take the steps of start..stop: sum `depth` products, drop low bits, add within the range `own`."""
    lo, hi, size, inverse = own[0], own[1], own[2], own[3]
    addend = np.empty(WIDTH, tile.dtype)
    for step in range(start, stop, depth):
        factor = row[step]
        for j in range(WIDTH):
            addend[j] = factor * columns[step, j]
        for k in range(step + 1, min(step + depth, stop)):
            factor = row[k]
            for j in range(WIDTH):
                addend[j] += factor * columns[k, j]
        if cut != 1:
            for j in range(WIDTH):
                addend[j] = np.floor(addend[j] * cut)
        if rule == _WRAP:
            for j in range(WIDTH):
                value = tile[j] + addend[j]
                tile[j] = value - size * np.floor((value - lo) * inverse)
            continue
        if rule == _TRAP:
            for j in range(WIDTH):
                value = tile[j] + addend[j]
                trapped[j] |= (value < lo) | (value > hi)
        for j in range(WIDTH):
            value = tile[j] + addend[j]
            value = value if value > lo else lo
            tile[j] = value if value < hi else hi


@njit(cache=True, nogil=True)
def _load(tile: Any, row: Any, t: int, count: int) -> None:
    for j in range(count):
        tile[j] = row[t * WIDTH + j]
    for j in range(count, WIDTH):
        tile[j] = 0


@njit(cache=True, nogil=True)
def _store(row: Any, tile: Any, t: int, count: int) -> None:
    for j in range(count):
        row[t * WIDTH + j] = tile[j]


@njit(cache=True, nogil=True)
def _spill(outer: Any, inner: Any, own: Any, rule: int, trapped: Any) -> None:
    """Add the inner registers to the outer ones within the range `own`, and clear them."""
    lo, hi, size, inverse = own[0], own[1], own[2], own[3]
    for j in range(WIDTH):
        value = outer[j] + inner[j]
        if rule == _WRAP:
            outer[j] = value - size * np.floor((value - lo) * inverse)
        else:
            if rule == _TRAP:
                trapped[j] |= (value < lo) | (value > hi)
            value = value if value > lo else lo
            outer[j] = value if value < hi else hi
        inner[j] = 0


@njit(cache=True, nogil=True)
def _run_tree(  # noqa: C901, PLR0912 a call per adder would cost more than the adder
    tile: Any,
    row: Any,
    columns: Any,
    start: int,
    stop: int,
    level: Any,
    cut: Any,
    own: Any,
    rule: int,
    adder: Any,
    tree_rule: int,
    trapped: Any,
) -> None:
    """Take the steps of start..stop through a tree whose adders have the range `adder`."""
    lo, hi, size, inverse = own[0], own[1], own[2], own[3]
    tree_lo, tree_hi, tree_size, tree_inverse = adder[0], adder[1], adder[2], adder[3]
    depth = level.shape[0]
    for step in range(start, stop, depth):
        for t in range(depth):
            # Beyond the end of the reduction the tree is fed zeros.
            k = min(step + t, stop - 1)
            factor = row[k] if step + t < stop else row[k] - row[k]
            for j in range(WIDTH):
                level[t, j] = factor * columns[k, j]
        length = depth
        while length > 1:
            for t in range(length // 2):
                if tree_rule == _WRAP:
                    for j in range(WIDTH):
                        value = level[2 * t, j] + level[2 * t + 1, j]
                        level[t, j] = value - tree_size * np.floor((value - tree_lo) * tree_inverse)
                    continue
                if tree_rule == _TRAP:
                    for j in range(WIDTH):
                        value = level[2 * t, j] + level[2 * t + 1, j]
                        trapped[j] |= (value < tree_lo) | (value > tree_hi)
                for j in range(WIDTH):
                    value = level[2 * t, j] + level[2 * t + 1, j]
                    value = value if value > tree_lo else tree_lo
                    level[t, j] = value if value < tree_hi else tree_hi
            if length % 2:
                for j in range(WIDTH):
                    level[length // 2, j] = level[length - 1, j]
            length = (length + 1) // 2
        if rule == _TRAP:
            for j in range(WIDTH):
                value = tile[j] + np.floor(level[0, j] * cut)
                trapped[j] |= (value < lo) | (value > hi)
        for j in range(WIDTH):
            value = tile[j] + np.floor(level[0, j] * cut)
            if rule == _WRAP:
                tile[j] = value - size * np.floor((value - lo) * inverse)
            else:
                value = value if value > lo else lo
                tile[j] = value if value < hi else hi


@njit(cache=True, nogil=True)
def walk_tiles(register: Any, lhs: Any, packed: Any, numbers: Any, limits: Any, hit: Any) -> None:
    """Accumulate every output step by step, a tile of columns at a time.

    Parameters
    ----------
    register : float [p, n]
        Start, and in place the result: the outer register if there are spills.
    lhs : float [p, k]
        Rows.
    packed : float [ceil(n / 64), k, 64]
        Columns, tile by tile; the last tile is filled with zeros.
    numbers : int [6]
        Depth, steps between spills (0 for none), whether the tree is narrow, and the overflow codes of the
        register, the tree and the outer register.
    limits : float [4, 4]
        Rows for the register, the tree and the outer register: lo, hi, size, 1 / size. Last row: 1 / 2**dropped.
    hit : uint8 [p, n]
        Set to 1 where a trapping adder or register left its range.
    """
    depth, spill, narrow = numbers[0], numbers[1], numbers[2]
    rule, tree_rule, outer_rule = numbers[3], numbers[4], numbers[5]
    size = lhs.shape[1]
    level = np.zeros((depth if narrow else 1, WIDTH), register.dtype)
    inner = np.zeros(WIDTH, register.dtype)
    outer = np.zeros(WIDTH, register.dtype)
    trapped = np.zeros(WIDTH, np.uint8)
    own, tree, beyond, cut = limits[0], limits[1], limits[2], limits[3, 0]
    segment = spill * depth if spill else size
    for t in range(packed.shape[0]):
        count = min(WIDTH, register.shape[1] - t * WIDTH)
        columns = packed[t]
        for i in range(register.shape[0]):
            _load(outer if spill else inner, register[i], t, count)
            trapped[:] = 0
            for start in range(0, size, segment):
                stop = min(start + segment, size)
                if narrow:
                    _run_tree(inner, lhs[i], columns, start, stop, level, cut, own, rule, tree, tree_rule, trapped)
                else:
                    _run(inner, lhs[i], columns, start, stop, depth, cut, own, rule, trapped)
                if spill:
                    _spill(outer, inner, beyond, outer_rule, trapped)
            _store(register[i], outer if spill else inner, t, count)
            for j in range(count):
                hit[i, t * WIDTH + j] = trapped[j]
