"""Compiled clock cycles of the array. Nothing here is imported before it is needed: numba takes its time.

In each cycle every register takes its new value from its neighbour's old one. Registers of one kind lie in one line,
a row after the other, with a row of ports above the array and a column of ports to its left, so that a step to the
right is a step of one and a step down is a step of ``columns + 1``, and the whole array moves in one loop. A token
travels with every operand of the rows: whether it is one, the first or the last of its sum, and, above these bits,
how many used columns are still ahead. No formula for time is used: a fold ends when its last result has left, or
where folds overlap begins when the ports are free.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.core.extending import intrinsic

VALID, FIRST, LAST, AHEAD = 1, 2, 4, 256
# Positions in the counters.
LHS, RHS, SUM, CYCLES, PORT, CLASH = range(6)
# Positions in the limits.
LOW, HIGH, SATURATE, SUM_MASK, LHS_MASK, RHS_MASK = range(6)


def _ones(_: Any, x: Any) -> Any:
    """Count the bits that are set."""

    def build(_: Any, builder: Any, __: Any, values: Any) -> Any:
        return builder.ctpop(values[0])

    return x(x), build


ones: Any = intrinsic(_ones)

# Functions that only compiled code calls need no way in from Python.
inner = njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


def _move(now: Any, new: Any, step: int, moves: Any, holds: Any, mask: Any) -> Any:
    """Give registers that move their neighbour's value; return how many bits changed.

    `moves` and `holds` are -1 where a register takes its neighbour's value or keeps its own, otherwise 0: a port.
    """
    # Views let every index start at 0, which is what the compiler needs to see to use vector instructions.
    near, own, into, moving, holding = now[: len(now) - step], now[step:], new[step:], moves[step:], holds[step:]
    changed = np.int64(0)
    for x in range(len(near)):
        value = (near[x] & moving[x]) | (own[x] & holding[x])
        changed += ones((own[x] ^ value) & (moving[x] | holding[x]) & mask)
        into[x] = value
    return changed


move = inner(_move)


def _pass_tokens(now: Any, new: Any, moves: Any) -> Any:
    """Move tokens to the right; return elements at work, and what all tokens together say."""
    worked, seen = np.int32(0), np.int32(0)
    into, moving = new[1:], moves[1:]
    for x in range(len(into)):
        token = (now[x] - np.int32(AHEAD)) & moving[x]
        worked += token & np.int32(VALID) & ~(token >> np.int32(31))
        seen |= token
        into[x] = token
    return worked, seen


pass_tokens = inner(_pass_tokens)


def _multiply(lhs: Any, rhs: Any, products: Any) -> None:
    """Sum the products of each element."""
    for p in range(lhs.shape[0]):
        one, other = lhs[p], rhs[p]
        if p == 0:
            for x in range(len(products)):
                products[x] = np.int64(one[x]) * np.int64(other[x])
        else:
            for x in range(len(products)):
                products[x] += np.int64(one[x]) * np.int64(other[x])


multiply = inner(_multiply)


def _add(before: Any, fresh: Any, token: Any, products: Any, into: Any, limits: Any) -> Any:
    """Add products where a token is, to 0 where it says `fresh`; return how many bits changed."""
    low, high, mask = limits[LOW], limits[HIGH], limits[SUM_MASK]
    changed = np.int64(0)
    if limits[SATURATE]:
        for x in range(len(into)):
            total = (np.int64(0) if token[x] & fresh else before[x]) + products[x]
            total = min(max(total, low), high) if token[x] & np.int32(VALID) else into[x]
            changed += ones((into[x] ^ total) & mask)
            into[x] = total
    else:
        for x in range(len(into)):
            total = (np.int64(0) if token[x] & fresh else before[x]) + products[x]
            total = ((total - low) & (high - low)) + low if token[x] & np.int32(VALID) else into[x]
            changed += ones((into[x] ^ total) & mask)
            into[x] = total
    return changed


add = inner(_add)


def _move_up(register: Any, below: Any, mask: Any) -> Any:
    """Give results on their way out the value below; return how many bits changed."""
    changed = np.int64(0)
    for x in range(len(below)):
        changed += ones((register[x] ^ below[x]) & mask)
        register[x] = below[x]
    return changed


move_up = inner(_move_up)


def _fill(line: Any, value: Any) -> None:
    """Set all of a line; compiled much faster than a slice."""
    for x in range(len(line)):
        line[x] = value


fill = inner(_fill)


def _copy(line: Any, to: Any) -> None:
    """Copy a line."""
    for x in range(len(line)):
        to[x] = line[x]


copy = inner(_copy)


def _largest(line: Any) -> Any:
    """Find the largest value of a line."""
    most = np.int64(0)
    for x in range(len(line)):
        most = max(most, line[x])
    return most


largest = inner(_largest)


def _select(moves: Any, holds: Any, rows: int, columns: int, width: int) -> None:
    """Let the first rows and columns of elements move and the others hold."""
    for x in range(width, len(moves)):
        i, j = x // width - 1, x % width - 1
        moves[x] = -1 if 0 <= j < columns and i < rows else 0
        holds[x] = -1 if j >= 0 and moves[x] == 0 else 0


select = inner(_select)


def _output_stationary(  # noqa: C901, PLR0912, PLR0915  one clock cycle after the other
    lhs: Any, rhs: Any, sizes: Any, ways: Any, limits: Any, out: Any, leave: Any, busy: Any, counters: Any
) -> None:
    """Clock the folds of lhs[m, steps, depth] by rhs[steps, n, depth], both padded to whole folds.

    Parameters
    ----------
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
    length, across = (rows + 1) * width, rhs.shape[1] // columns
    folds = lhs.shape[0] // rows * across
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
            high, wide = min(rows, m - first // across * rows), min(columns, n - first % across * columns)
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
                        i = first // across * rows + held[x] - 1
                        out[i, first % across * columns + j], leave[i, first % across * columns + j] = result[x], cycle
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
                    top, left = fold // across * rows, fold % across * columns
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
                    b[p, x] = rhs[step, fold % across * columns + j, p] if fed else 0
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
                    i, j = i + fold // across * rows, j + fold % across * columns
                    out[i, j], leave[i, j] = total[x], cycle
                    fold_of[x] += overlap
                    port[j % columns] += 1
                    waiting -= 1
            counters[PORT] = max(counters[PORT], largest(port))
            cycle += 1
    counters[CYCLES] = cycle


output_stationary = njit(cache=True, nogil=True, error_model="numpy")(_output_stationary)


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
