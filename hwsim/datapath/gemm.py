"""Exact integer products of matrices on floating-point BLAS.

A sum of integer products is exact in binary floating point, in any order and with or without fused multiply-add,
while no partial sum exceeds the integers the type holds: 2**24 in float32, 2**53 in float64 (docs/datapath.md, (3)).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray

from .processors import usable_processors

_SINGLE_LIMIT = 1 << 24
_DOUBLE_LIMIT = 1 << 53
_SHORTEST_SINGLE_BLOCK = 64
_PIECE = 1 << 15
_WORTH_A_SESSION = 1 << 27
_WORTH_A_CALL = 1 << 21
_WORTH_THREADS = 1 << 26


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
    if dtype == np.int32 and runs_on_bytes(lhs, rhs):
        from . import onnx_gemm  # noqa: PLC0415 loads onnxruntime, if there is one

        products = [onnx_gemm.product(a, b) for a, b in zip(lhs, rhs, strict=True)]
        return products[0][np.newaxis] if len(products) == 1 else np.stack(products)
    return blas_product(lhs, rhs, dtype)


def runs_on_bytes(lhs: IntArray, rhs: IntArray) -> bool:
    """Tell whether an int32 product is worth onnxruntime's kernels of bytes, and they are there and exact."""
    macs = lhs[0].size * rhs.shape[2] if len(lhs) else 0
    if lhs.dtype.itemsize > 1 or rhs.dtype.itemsize > 1 or macs < _WORTH_A_CALL:
        return False
    from . import onnx_gemm  # noqa: PLC0415 loads onnxruntime, if there is one

    # Loading onnxruntime takes about a second, which a small product does not pay back.
    return (onnx_gemm.is_started() or macs >= _WORTH_A_SESSION) and onnx_gemm.is_exact()


def blas_product(lhs: IntArray, rhs: IntArray, dtype: np.dtype[Any]) -> IntArray:
    """Multiply as `exact_product` does, on numpy's BLAS alone."""
    batch, m, k = lhs.shape
    n = rhs.shape[2]
    out = np.zeros((batch, m, n), dtype)
    if not out.size or not k:
        return out
    block, real = _blocking(k, magnitude(lhs) * magnitude(rhs))
    a, b = np.empty((m, block), real), np.empty((block, n), real)
    part = np.empty((m, n), real)
    # Float copies and integer sums are shared among processors; the product in between shares itself.
    threads = usable_processors() if m * n * k >= _WORTH_THREADS else 1
    with ThreadPoolExecutor(threads) as pool:
        for i in range(batch):
            for start in range(0, k, block):
                size = min(block, k - start)
                _share(pool, threads, _copy, a[:, :size], lhs[i, :, start : start + size])
                _share(pool, threads, _copy, b[:size], rhs[i, start : start + size])
                np.matmul(a[:, :size], b[:size], out=part)
                _share(pool, threads, _add_integers, out[i].reshape(-1), part.reshape(-1))
    return out


def _share(pool: ThreadPoolExecutor, threads: int, task: Callable[..., None], *arrays: npt.NDArray[Any]) -> None:
    """Run a task on parts of arrays of one length, a part in each thread."""
    if threads == 1:
        task(*arrays)
        return
    list(pool.map(task, *(np.array_split(array, threads) for array in arrays)))


def _copy(out: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
    np.copyto(out, values)


def _blocking(k: int, largest: int) -> tuple[int, np.dtype[Any]]:
    """Return the length of the blocks of the reduction, and the float type in which their sums are exact."""
    real: np.dtype[Any] = np.dtype(np.float32)
    block = _SINGLE_LIMIT // max(1, largest)
    if block < min(k, _SHORTEST_SINGLE_BLOCK):
        block, real = _DOUBLE_LIMIT // max(1, largest), np.dtype(np.float64)
    return -(-k // -(-k // block)), real


def _add_integers(out: IntArray, part: npt.NDArray[Any]) -> None:
    """Add sums held in floats, a piece that stays in cache at a time."""
    for start in range(0, out.size, _PIECE):
        piece = part[start : start + _PIECE]
        if out.dtype.itemsize < piece.dtype.itemsize:
            # A float too large for int32 converts to anything; by way of int64 its low bits stay.
            piece = piece.astype(np.int64)
        out[start : start + _PIECE] += piece.astype(out.dtype)
