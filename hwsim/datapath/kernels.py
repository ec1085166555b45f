"""Compiled loops over single outputs. Nothing here is imported before it is needed: numba takes its time.

The loops hold int64; `hwsim.datapath.walk.trace` says the same in Python ints and tests hold them equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

# Positions in the settings array (hwsim.datapath.walk.settings).
_LO, _HI, _OVERFLOW, _DEPTH, _NARROW, _TREE_LO, _TREE_HI, _TREE_OVERFLOW = range(8)
_DROPPED, _SPILL, _SPILL_LO, _SPILL_HI, _SPILL_OVERFLOW = range(8, 13)


@njit(cache=True, nogil=True)
def _add(a: int, b: int, lo: int, hi: int, overflow: int) -> tuple[int, bool]:
    """Add into a register of range lo..hi; tell whether the exact sum left it."""
    total = a + b
    # With 64 bits the sum itself may have wrapped: both operands then have the sign that it has not.
    beyond = ((a ^ total) & (b ^ total)) < 0
    if not beyond and lo <= total <= hi:
        return total, False
    if overflow == 0:
        return ((total - lo) & (hi - lo)) + lo, True
    if overflow == 1:
        negative = b < 0 if beyond else total < lo
        return (lo if negative else hi), True
    return total, True


@njit(cache=True, nogil=True)
def _tree(level: Any, config: Any) -> tuple[int, bool]:
    """Add `level` pairwise in place; its length is the depth."""
    length = len(level)
    left = False
    while length > 1:
        half = length // 2
        for i in range(half):
            level[i], out = _add(
                level[2 * i], level[2 * i + 1], config[_TREE_LO], config[_TREE_HI], config[_TREE_OVERFLOW]
            )
            left = left or out
        if length % 2:
            level[half] = level[length - 1]
            half += 1
        length = half
    return level[0], left


@njit(cache=True, nogil=True)
def walk_outputs(  # noqa: C901 one loop nest is what the compiler sees whole
    lhs: Any, rhs: Any, initial: Any, config: Any, register: Any, overflows: Any, first: Any, low: Any, high: Any
) -> None:
    """Accumulate lhs[b, m, k] and rhs[b, n, k] step by step into register[b, m, n] and the records."""
    batch, rows, depth_k = lhs.shape
    cols = rhs.shape[1]
    depth, spill = config[_DEPTH], config[_SPILL]
    level = np.zeros(depth, np.int64)
    count = (depth_k + depth - 1) // depth
    for b in range(batch):
        for m in range(rows):
            for n in range(cols):
                start = initial[b, m, n]
                inner = np.int64(0) if spill else start
                outer = start if spill else np.int64(0)
                exact, smallest, largest = inner, inner, inner
                events, earliest = 0, -1
                for step in range(count):
                    base = step * depth
                    addend, left = np.int64(0), False
                    if config[_NARROW]:
                        for i in range(depth):
                            k = base + i
                            level[i] = np.int64(lhs[b, m, k]) * np.int64(rhs[b, n, k]) if k < depth_k else 0
                        addend, left = _tree(level, config)
                    else:
                        for k in range(base, min(base + depth, depth_k)):
                            addend += np.int64(lhs[b, m, k]) * np.int64(rhs[b, n, k])
                    addend >>= config[_DROPPED]
                    exact += addend
                    smallest, largest = min(smallest, exact), max(largest, exact)
                    inner, out = _add(inner, addend, config[_LO], config[_HI], config[_OVERFLOW])
                    left = left or out
                    if spill and ((step + 1) % spill == 0 or step + 1 == count):
                        outer, out = _add(outer, inner, config[_SPILL_LO], config[_SPILL_HI], config[_SPILL_OVERFLOW])
                        left = left or out
                        inner, exact = np.int64(0), np.int64(0)
                    if left:
                        events += 1
                        if earliest < 0:
                            earliest = step
                register[b, m, n] = outer if spill else inner
                overflows[b, m, n] = events
                first[b, m, n] = earliest
                low[b, m, n] = smallest
                high[b, m, n] = largest
