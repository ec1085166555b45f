"""Compiled clock cycles of the array. Nothing here is imported before it is needed: numba takes its time.

Every register of every processing element gets its new value from the old ones of its neighbours in each cycle.
No formula for time is used: a fold ends when its last result has left the array. Registers of a row lie side by
side, `depth` operands to an element; a token travels with every operand and says that it is one, and whether it is
the first or the last of its sum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

VALID, FIRST, LAST = 1, 2, 4
# Positions in the counters.
LHS, RHS, SUM, CYCLES, PORT, CLASH = range(6)


def _ones(x: int) -> Any:
    """Count the bits that are set in 64 (Warren, Hacker's Delight, 2nd edition, figure 5-2)."""
    v = np.uint64(x)
    v = v - ((v >> np.uint64(1)) & np.uint64(0x5555555555555555))
    v = (v & np.uint64(0x3333333333333333)) + ((v >> np.uint64(2)) & np.uint64(0x3333333333333333))
    v = (v + (v >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((v * np.uint64(0x0101010101010101)) >> np.uint64(56))


ones = njit(nogil=True)(_ones)


def _add(register: int, addend: int, low: int, high: int, saturate: bool) -> Any:
    """Add into a register of range low..high."""
    total = register + addend
    if saturate:
        return min(max(total, low), high)
    return ((total - low) & (high - low)) + low


add = njit(nogil=True)(_add)


def _clock(register: Any, value: Any, mask: int) -> Any:
    """Give a row of registers new values; return how many bits changed."""
    changed = np.int64(0)
    for j in range(len(register)):
        changed += ones((register[j] ^ value[j]) & mask)
        register[j] = value[j]
    return changed


clock = njit(nogil=True)(_clock)


def _pass_right(register: Any, tokens: Any, fed: Any, token: int, mask: int) -> Any:
    """Move a row of operands and their tokens to the right, `fed` into the first; return how many bits changed."""
    changed, depth = np.int64(0), len(fed)
    for x in range(len(register) - 1, depth - 1, -1):
        changed += ones((register[x] ^ register[x - depth]) & mask)
        register[x] = register[x - depth]
    for p in range(depth):
        changed += ones((register[p] ^ fed[p]) & mask)
        register[p] = fed[p]
    for j in range(len(tokens) - 1, 0, -1):
        tokens[j] = tokens[j - 1]
    tokens[0] = token
    return changed


pass_right = njit(nogil=True)(_pass_right)


def _copy(to: Any, source: Any) -> None:
    """Copy a row; faster than a slice for short ones."""
    for j in range(len(to)):
        to[j] = source[j]


copy = njit(nogil=True)(_copy)


def _sums(old: Any, lhs: Any, rhs: Any, tokens: Any, into: Any, depth: int, limits: Any) -> Any:
    """Multiply and add in one row of elements: ``into = old + lhs . rhs`` where a token says so, else as it was.

    Returns
    -------
    changed : bits
        Of the registers `into`.
    """
    low, high, saturate, mask = limits[0], limits[1], limits[2] != 0, limits[3]
    changed = np.int64(0)
    if depth == 1:
        for j in range(len(tokens)):
            start = 0 if tokens[j] & FIRST else old[j]
            total = add(start, lhs[j] * rhs[j], low, high, saturate)
            total = total if tokens[j] & VALID else into[j]
            changed += ones((into[j] ^ total) & mask)
            into[j] = total
        return changed
    for j in range(len(tokens)):
        products = np.int64(0)
        for p in range(j * depth, (j + 1) * depth):
            products += lhs[p] * rhs[p]
        start = 0 if tokens[j] & FIRST else old[j]
        total = add(start, products, low, high, saturate)
        total = total if tokens[j] & VALID else into[j]
        changed += ones((into[j] ^ total) & mask)
        into[j] = total
    return changed


sums = njit(nogil=True)(_sums)


def _output_stationary(  # noqa: C901, PLR0912, PLR0915  one clock cycle after the other
    lhs: Any, rhs: Any, sizes: Any, shifted: bool, limits: Any, out: Any, leave: Any, busy: Any, counters: Any
) -> None:
    """Clock the folds of lhs[m, steps, depth] by rhs[steps, n, depth], both padded to whole folds.

    Parameters
    ----------
    sizes
        Rows and columns of the array, and of the result without padding.
    shifted
        Results leave through the neighbours above; otherwise over one bus a column.
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
    steps, depth = rhs.shape[0], rhs.shape[2]
    lhs_now, rhs_now = np.zeros((rows, columns * depth), np.int64), np.zeros((rows, columns * depth), np.int64)
    lhs_token, rhs_token = np.zeros((rows, columns), np.int64), np.zeros((rows, columns), np.int64)
    sum_now, result = np.zeros((rows, columns), np.int64), np.zeros((rows, columns), np.int64)
    held = np.zeros((rows, columns), np.int64)  # 1 + row whose result an element holds on its way out
    fresh, nothing = np.zeros(columns * depth, np.int64), np.zeros(depth, np.int64)
    token, port = np.zeros(columns, np.int64), np.zeros(columns, np.int64)
    cycle = 0
    for top in range(0, lhs.shape[0], rows):
        for left in range(0, rhs.shape[1], columns):
            waiting, start = rows * columns, cycle
            while waiting:
                at = cycle - start
                port[:] = 0
                if shifted:
                    for j in range(columns):
                        if held[0, j]:
                            row = top + held[0, j] - 1
                            out[row, left + j], leave[row, left + j] = result[0, j], cycle
                            port[j] += 1
                            waiting -= 1
                    counters[SUM] += clock(result[0], result[1] if rows > 1 else result[0], limits[3])
                    for i in range(1, rows - 1):
                        counters[SUM] += clock(result[i], result[i + 1], limits[3])
                    held[:-1] = held[1:]
                    held[-1] = 0
                for i in range(rows - 1, -1, -1):
                    step = at - i
                    fed = 0 <= step < steps
                    mark = (VALID | (FIRST if step == 0 else 0) | (LAST if step == steps - 1 else 0)) if fed else 0
                    counters[LHS] += pass_right(
                        lhs_now[i], lhs_token[i], lhs[top + i, step] if fed else nothing, mark, limits[4]
                    )
                    if i > 0:
                        counters[RHS] += clock(rhs_now[i], rhs_now[i - 1], limits[5])
                        copy(rhs_token[i], rhs_token[i - 1])
                    else:
                        for j in range(columns):
                            step = at - j
                            fed = 0 <= step < steps
                            rhs_token[0, j] = VALID if fed else 0
                            for p in range(depth):
                                fresh[j * depth + p] = rhs[step, left + j, p] if fed else 0
                        counters[RHS] += clock(rhs_now[0], fresh, limits[5])
                    for j in range(columns):
                        token[j] = lhs_token[i, j] if rhs_token[i, j] else 0
                    counters[SUM] += sums(sum_now[i], lhs_now[i], rhs_now[i], token, sum_now[i], depth, limits)
                    if top + i < m:
                        for j in range(min(columns, n - left)):
                            busy[cycle] += token[j] & VALID
                    for j in range(columns):
                        if token[j] & LAST:
                            if shifted:
                                counters[CLASH] += held[i, j] != 0
                                counters[SUM] += ones((result[i, j] ^ sum_now[i, j]) & limits[3])
                                result[i, j], held[i, j] = sum_now[i, j], i + 1
                            else:
                                out[top + i, left + j], leave[top + i, left + j] = sum_now[i, j], cycle
                                port[j] += 1
                                waiting -= 1
                counters[PORT] = max(counters[PORT], port.max())
                cycle += 1
    counters[CYCLES] = cycle


output_stationary = njit(cache=True, nogil=True)(_output_stationary)


def _operand_stationary(  # noqa: C901, PLR0912, PLR0915  one clock cycle after the other
    moving: Any, still: Any, sizes: Any, hidden: bool, limits: Any, out: Any, leave: Any, busy: Any, counters: Any
) -> None:
    """Clock the folds of moving[t, k, depth] by still[k, n, depth]: sums pass down through elements that hold `still`.

    The unfinished sums of one fold enter the next one at the top, so that every sum adds up in the order of k.

    Parameters
    ----------
    sizes
        Rows and columns of the array, and k in elements and n without padding.
    hidden
        A second register in each element takes the operand of the next fold meanwhile.
    limits, out, leave, busy, counters
        As for `output_stationary`; `out` starts at 0.
    """
    rows, columns, k, n = sizes
    length, depth = moving.shape[0], still.shape[2]
    lhs_now, still_now = np.zeros((rows, columns * depth), np.int64), np.zeros((rows, columns * depth), np.int64)
    below = np.zeros((rows, columns * depth), np.int64)  # what is being loaded; the same registers unless `hidden`
    lhs_token, sum_token = np.zeros((rows, columns), np.int64), np.zeros((rows, columns), np.int64)
    sum_now, above = np.zeros((rows, columns), np.int64), np.zeros(columns, np.int64)
    fresh, nothing = np.zeros(columns * depth, np.int64), np.zeros(depth, np.int64)
    token, port = np.zeros(columns, np.int64), np.zeros(columns, np.int64)
    cycle = 0
    for left in range(0, still.shape[1], columns):
        for top in range(0, still.shape[0], rows):
            first = left == 0 and top == 0
            next_top, next_left = (top + rows, left) if top + rows < still.shape[0] else (0, left + columns)
            if first or not hidden:
                for back in range(rows):
                    for i in range(rows - 1, 0, -1):
                        counters[RHS] += clock(still_now[i], still_now[i - 1], limits[5])
                    for j in range(columns):
                        fresh[j * depth : (j + 1) * depth] = still[top + rows - 1 - back, left + j]
                    counters[RHS] += clock(still_now[0], fresh, limits[5])
                    cycle += 1
            waiting, start, loaded = length * columns, cycle, 0
            more = hidden and next_left < still.shape[1]
            while waiting or (more and loaded < rows):
                at = cycle - start
                port[:] = 0
                if more and loaded < rows:
                    for i in range(rows - 1, 0, -1):
                        counters[RHS] += clock(below[i], below[i - 1], limits[5])
                    for j in range(columns):
                        fresh[j * depth : (j + 1) * depth] = still[next_top + rows - 1 - loaded, next_left + j]
                    counters[RHS] += clock(below[0], fresh, limits[5])
                    loaded += 1
                for i in range(rows - 1, -1, -1):
                    step = at - i
                    fed = 0 <= step < length
                    counters[LHS] += pass_right(
                        lhs_now[i],
                        lhs_token[i],
                        moving[step, top + i] if fed else nothing,
                        VALID if fed else 0,
                        limits[4],
                    )
                    if i > 0:
                        copy(above, sum_now[i - 1])
                        copy(sum_token[i], sum_token[i - 1])
                    else:
                        for j in range(columns):
                            step = at - j
                            sum_token[0, j] = VALID if 0 <= step < length else 0
                            above[j] = out[step, left + j] if 0 <= step < length else 0
                    for j in range(columns):
                        token[j] = lhs_token[i, j] & sum_token[i, j]
                    counters[SUM] += sums(above, lhs_now[i], still_now[i], token, sum_now[i], depth, limits)
                    if top + i < k:
                        for j in range(min(columns, n - left)):
                            busy[cycle] += token[j]
                for j in range(columns):
                    if sum_token[rows - 1, j]:
                        step = at - j - (rows - 1)
                        out[step, left + j], leave[step, left + j] = sum_now[rows - 1, j], cycle
                        port[j] += 1
                        waiting -= 1
                counters[PORT] = max(counters[PORT], port.max())
                cycle += 1
            if more:
                for i in range(rows):
                    counters[RHS] += clock(still_now[i], below[i], limits[5])
    counters[CYCLES] = cycle


operand_stationary = njit(cache=True, nogil=True)(_operand_stationary)
