"""Clock cycles of an array that holds sums, compiled.

No formula for time is used: a fold ends when its last result has left, or where folds overlap begins when the ports
are free.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hwsim.timing.kernels import (
    AHEAD,
    CLASH,
    CYCLES,
    FIRST,
    LAST,
    LHS,
    LHS_MASK,
    PORT,
    RHS,
    RHS_MASK,
    SUM,
    SUM_MASK,
    VALID,
    add,
    fill,
    largest,
    move,
    move_up,
    multiply,
    ones,
    pass_tokens,
    select,
)


def _output_stationary(  # noqa: C901, PLR0912, PLR0915  one clock cycle after the other
    lhs: Any, rhs: Any, corners: Any, sizes: Any, ways: Any, limits: Any, out: Any, leave: Any, busy: Any, counters: Any
) -> None:
    """Clock folds of lhs[m, steps, depth] by rhs[steps, n, depth], both padded to whole folds.

    Parameters
    ----------
    corners
        First row and column of the result of each fold, in order.
    sizes
        Rows and columns of the array, and of the result without padding.
    ways
        Whether results leave through the neighbours above, otherwise over one bus a column; whether folds overlap;
        whether a partial tile takes its own part of the array.
    limits
        Range of the sums, whether they saturate, and the bits of sum, lhs and rhs registers as masks.
    out, leave
        Results [m, n], and the cycles in which they leave.
    busy
        Elements at work in each cycle; as long as the run may take.
    counters
        Bits that changed in the registers of lhs, rhs and sums; cycles; most results on one port in one cycle;
        results that met another in a register.
    """
    rows, columns, m, n = sizes
    shifted, overlap, part = ways[0] != 0, ways[1] != 0, ways[2] != 0
    steps, depth, width = rhs.shape[0], rhs.shape[2], columns + 1
    length, folds = (rows + 1) * width, len(corners)
    registers, marks = np.zeros((4, depth, length), np.int32), np.zeros((4, length), np.int32)
    a, a_new, b, b_new = registers[0], registers[1], registers[2], registers[3]
    token, token_new, moves, holds = marks[0], marks[1], marks[2], marks[3]
    lines, counts = np.zeros((5, length), np.int64), np.zeros((3, rows + columns), np.int64)
    total, result, products = lines[0], lines[1], lines[2]
    sum_mask, lhs_mask, rhs_mask = limits[SUM_MASK], np.int32(limits[LHS_MASK]), np.int32(limits[RHS_MASK])
    held, fold_of = lines[3], lines[4]  # 1 + row whose result an element holds on its way out; folds it has finished
    row_fold, column_fold, port = counts[0], counts[1], counts[2]
    start, cycle, high, wide = np.zeros(folds + 1, np.int64), 0, rows, columns
    select(moves, holds, rows, columns, width)
    for first in range(1 if overlap else folds):
        last = folds if overlap else first + 1
        if overlap:
            for fold in range(folds):
                start[fold] = fold * max(steps, rows)  # a column has one wire for the results of all rows
        else:
            start[first] = cycle
        if part:
            high, wide = min(rows, m - corners[first, 0]), min(columns, n - corners[first, 1])
            select(moves, holds, high, wide, width)
            fill(token, np.int32(0))  # of the tile before, which a larger one would pass on
        waiting = (last - first) * high * wide
        fill(row_fold, first)
        fill(column_fold, first)
        while waiting:
            fill(port, 0)
            if shifted:
                for j in range(columns):
                    x = width + 1 + j
                    if held[x]:
                        row, column = corners[first, 0] + held[x] - 1, corners[first, 1] + j
                        out[row, column], leave[row, column] = result[x], cycle
                        port[j] += 1
                        waiting -= 1
                counters[SUM] += move_up(result[width:], result[2 * width :], sum_mask)
                move_up(held[width:], held[2 * width :], sum_mask)
                fill(held[length - width :], 0)
            for i in range(high):
                x, fold = (i + 1) * width, row_fold[i]
                step = cycle - i - start[fold]
                token[x] = 0
                if fold < last and step >= 0 and step < steps:
                    top, left = corners[fold, 0], corners[fold, 1]
                    used = min(columns, n - left) if top + i < m else 0
                    token[x] = VALID | (FIRST if step == 0 else 0) | (LAST if step == steps - 1 else 0)
                    token[x] |= AHEAD * used
                    for p in range(depth):
                        a[p, x] = lhs[top + i, step, p]
                    row_fold[i] += step == steps - 1
            for j in range(wide):
                x, fold = j + 1, column_fold[j]
                step = cycle - j - start[fold]
                fed = fold < last and step >= 0 and step < steps
                for p in range(depth):
                    b[p, x] = rhs[step, corners[fold, 1] + j, p] if fed else 0
                column_fold[j] += fed and step == steps - 1
            for p in range(depth):
                counters[LHS] += move(a[p], a_new[p], 1, moves, holds, lhs_mask)
                counters[RHS] += move(b[p], b_new[p], width, moves, holds, rhs_mask)
            worked, seen = pass_tokens(token, token_new, moves)
            busy[cycle] = worked
            a, a_new, b, b_new, token, token_new = a_new, a, b_new, b, token_new, token
            multiply(a, b, products)
            counters[SUM] += add(total, np.int32(FIRST), token, products, total, limits)
            if seen & LAST:
                for x in range(width, length):
                    if not token[x] & LAST:
                        continue
                    i, j, fold = x // width - 1, x % width - 1, first + fold_of[x]
                    if shifted:
                        counters[CLASH] += held[x] != 0
                        counters[SUM] += ones((result[x] ^ total[x]) & sum_mask)
                        result[x], held[x] = total[x], i + 1
                        continue
                    row, column = corners[fold, 0] + i, corners[fold, 1] + j
                    out[row, column], leave[row, column] = total[x], cycle
                    fold_of[x] += overlap
                    port[j] += 1
                    waiting -= 1
            counters[PORT] = max(counters[PORT], largest(port))
            cycle += 1
    counters[CYCLES] = cycle


output_stationary = njit(cache=True, nogil=True, error_model="numpy")(_output_stationary)
