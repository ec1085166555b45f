"""Exact integer products of matrices on floating-point BLAS.

A sum of integer products is exact in binary floating point, in any order and with or without fused multiply-add,
while no partial sum exceeds the integers the type holds: 2**24 in float32, 2**53 in float64 (docs/datapath.md, (3)).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from quant.formats import IntArray

_SINGLE_LIMIT = 1 << 24
_DOUBLE_LIMIT = 1 << 53
_SHORTEST_SINGLE_BLOCK = 64


def magnitude(x: IntArray) -> int:
    """Return the largest absolute value, 0 for an empty array."""
    return max(-int(x.min()), int(x.max()), 0) if x.size else 0


def exact_product(lhs: IntArray, rhs: IntArray, dtype: np.dtype[Any]) -> IntArray:
    """Multiply stacks of integer matrices exactly, modulo the width of `dtype`.

    Parameters
    ----------
    lhs : int [b, m, k]
        Values below 2**20 in magnitude.
    rhs : int [b, k, n]
        Values below 2**20 in magnitude.
    dtype
        int32 or int64; a sum that does not fit keeps its low bits.

    Returns
    -------
    product : dtype [b, m, n]
    """
    k = lhs.shape[-1]
    largest = max(1, magnitude(lhs) * magnitude(rhs))
    block = _SINGLE_LIMIT // largest
    real: np.dtype[Any] = np.dtype(np.float32)
    if block < min(k, _SHORTEST_SINGLE_BLOCK):
        block, real = _DOUBLE_LIMIT // largest, np.dtype(np.float64)
    blocks = max(1, -(-k // block))
    block = max(1, -(-k // blocks))
    out = np.zeros((lhs.shape[0], lhs.shape[1], rhs.shape[2]), dtype)
    for start in range(0, k, block):
        part = np.matmul(lhs[:, :, start : start + block].astype(real), rhs[:, start : start + block].astype(real))
        if start == 0:
            out = _to_integers(part, dtype)
        else:
            out += _to_integers(part, dtype)
    return out


def _to_integers(part: np.ndarray[Any, Any], dtype: np.dtype[Any]) -> IntArray:
    if part.dtype == np.float64 and dtype.itemsize < part.dtype.itemsize:
        # A float too large for int32 converts to anything; by way of int64 its low bits stay.
        return part.astype(np.int64).astype(dtype)
    return part.astype(dtype)
