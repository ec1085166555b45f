"""Compiled registers of the array. Nothing here is imported before it is needed: numba takes its time.

In each cycle every register takes its new value from its neighbour's old one. Registers of one kind lie in one line,
a row after the other, with a row of ports above the array and a column of ports to its left, so that a step to the
right is a step of one and a step down is a step of ``columns + 1``, and the whole array moves in one loop. A token
travels with every operand of the rows: whether it is one, the first or the last of its sum, and, above these bits,
how many used columns are still ahead.
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
