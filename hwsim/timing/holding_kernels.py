"""Clock cycles of an array that holds an operand, compiled.

No formula for time is used: a fold ends when its last result has left, or where folds overlap begins when the ports
are free and the next operand has been loaded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hwsim.timing.kernels import (
    AHEAD,
    CYCLES,
    FIRST,
    LHS,
    LHS_MASK,
    PORT,
    RHS,
    RHS_MASK,
    SUM,
    VALID,
    add,
    copy,
    fill,
    largest,
    move,
    multiply,
    ones,
    pass_tokens,
    select,
)


def _operand_stationary(  # noqa: C901, PLR0912, PLR0915  one clock cycle after the other
    moving: Any, still: Any, sizes: Any, ways: Any, limits: Any, out: Any, leave: Any, busy: Any, counters: Any
) -> None:
    """Clock the folds of moving[t, k, depth] by still[k, n, depth]: sums pass down through elements that hold `still`.

    The unfinished sums of one fold enter the next one at the top, so that every sum adds up in the order of k.
    Operands to hold are pushed down from above. Where folds overlap, a bus for each column writes one row a cycle
    instead, a column later than its neighbour, and an element changes over with the first operand of the fold.

    Parameters
    ----------
    sizes
        Rows and columns of the array, and k in elements and n without padding.
    ways
        Whether a second register in each element takes the operand of the next fold meanwhile; whether folds overlap;
        whether a partial tile takes its own part of the array.
    limits, out, leave, busy, counters
        As for `output_stationary`; `out` starts at 0.
    """
    rows, columns, k, n = sizes
    hidden, overlap, part = ways[0] != 0, ways[1] != 0, ways[2] != 0
    steps, depth, width = moving.shape[0], still.shape[2], columns + 1
    length, deep = (rows + 1) * width, still.shape[0] // rows
    folds = still.shape[1] // columns * deep
    registers, marks = np.zeros((6, depth, length), np.int32), np.zeros((4, length), np.int32)
    a, a_new, w, w_new = registers[0], registers[1], registers[2], registers[3]
    next_w, next_new = registers[4], registers[5]
    token, token_new, moves, holds = marks[0], marks[1], marks[2], marks[3]
    lines, counts = np.zeros((3, length), np.int64), np.zeros((4, rows + columns), np.int64)
    total, total_new, products = lines[0], lines[1], lines[2]
    lhs_mask, rhs_mask = np.int32(limits[LHS_MASK]), np.int32(limits[RHS_MASK])
    row_fold, column_fold, port, left_steps = counts[0], counts[1], counts[2], counts[3]
    start, cycle, high, wide = np.zeros(folds + 1, np.int64), 0, rows, columns
    select(moves, holds, rows, columns, width)
    for first in range(1 if overlap else folds):
        last = folds if overlap else first + 1
        if part:
            high, wide = min(rows, k - first % deep * rows), min(columns, n - first // deep * columns)
            select(moves, holds, high, wide, width)
            fill(token, np.int32(0))  # of the tile before, which a larger one would pass on
        if overlap:
            for fold in range(folds):
                start[fold] = rows + fold * max(steps, rows)
        elif first == 0 or not hidden:
            for back in range(high):
                for p in range(depth):
                    for j in range(wide):
                        w[p, j + 1] = still[first % deep * rows + high - 1 - back, first // deep * columns + j, p]
                    counters[RHS] += move(w[p], w_new[p], width, moves, holds, rhs_mask)
                w, w_new = w_new, w
                cycle += 1
        if not overlap:
            start[first] = cycle
        more, loaded = hidden and not overlap and first + 1 < folds, 0
        waiting = (last - first) * steps * wide
        fill(row_fold, first)
        fill(column_fold, first)
        fill(left_steps, 0)
        while waiting or (more and loaded < rows):
            fill(port, 0)
            if more and loaded < rows:
                fold = first + 1
                for p in range(depth):
                    for j in range(columns):
                        next_w[p, j + 1] = still[fold % deep * rows + rows - 1 - loaded, fold // deep * columns + j, p]
                    counters[RHS] += move(next_w[p], next_new[p], width, moves, holds, rhs_mask)
                next_w, next_new = next_new, next_w
                loaded += 1
            for i in range(high):
                x, fold = (i + 1) * width, row_fold[i]
                step = cycle - i - start[fold]
                token[x] = 0
                if fold < last and step >= 0 and step < steps:
                    top, left = fold % deep * rows, fold // deep * columns
                    token[x] = VALID | (FIRST if step == 0 else 0)
                    token[x] |= AHEAD * min(columns, n - left) if top + i < k else 0
                    for p in range(depth):
                        a[p, x] = moving[step, top + i, p]
                    row_fold[i] += step == steps - 1
            for j in range(wide):
                x, fold = j + 1, column_fold[j]
                step = cycle - j - start[fold]
                if fold < last and step >= 0 and step < steps:
                    total[x] = out[step, fold // deep * columns + j]
                    column_fold[j] += step == steps - 1
            for p in range(depth):
                counters[LHS] += move(a[p], a_new[p], 1, moves, holds, lhs_mask)
            worked, seen = pass_tokens(token, token_new, moves)
            busy[cycle] = worked
            a, a_new, token, token_new = a_new, a, token_new, token
            if overlap:
                if seen & FIRST:
                    for x in range(width, length):
                        if token[x] & FIRST:
                            for p in range(depth):
                                counters[RHS] += ones((w[p, x] ^ next_w[p, x]) & rhs_mask)
                                w[p, x] = next_w[p, x]
                # Of all loads only those whose wave of rows and columns is under way write anything.
                for fold in range(folds):
                    begin = 0 if fold == 0 else start[fold - 1]
                    if begin > cycle:
                        break
                    for i in range(rows if cycle - begin < rows + columns else 0):
                        j = cycle - begin - i
                        if 0 <= j < columns:
                            x = (i + 1) * width + j + 1
                            for p in range(depth):
                                word = still[fold % deep * rows + i, fold // deep * columns + j, p]
                                counters[RHS] += ones((next_w[p, x] ^ word) & rhs_mask)
                                next_w[p, x] = word
            multiply(a, w, products)
            copy(total, total_new)
            counters[SUM] += add(total, np.int32(0), token[width:], products[width:], total_new[width:], limits)
            total, total_new = total_new, total
            for j in range(wide):
                x = high * width + j + 1
                if token[x] & VALID:
                    fold = first + left_steps[j] // steps
                    step = left_steps[j] % steps
                    column = fold // deep * columns + j
                    out[step, column], leave[step, column] = total[x], cycle
                    left_steps[j] += 1
                    port[j] += 1
                    waiting -= 1
            counters[PORT] = max(counters[PORT], largest(port))
            cycle += 1
        if more:
            for p in range(depth):
                for x in range(width, length):
                    counters[RHS] += ones((w[p, x] ^ next_w[p, x]) & rhs_mask)
                    w[p, x] = next_w[p, x]
    counters[CYCLES] = cycle


operand_stationary = njit(cache=True, nogil=True, error_model="numpy")(_operand_stationary)
