"""Exact integer products of matrices, on floating-point BLAS or on what multiplies bytes faster.

A sum of integer products is exact in binary floating point, in any order and with or without fused multiply-add,
while no partial sum exceeds the integers the type holds: 2**24 in float32, 2**53 in float64 (docs/datapath.md, (3)).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray

from .processors import run_all, usable_processors

_SINGLE_LIMIT = 1 << 24
_DOUBLE_LIMIT = 1 << 53
_SHORTEST_SINGLE_BLOCK = 64
_PIECE = 1 << 15
_WORTH_A_START = 1 << 34
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
    product = byte_product(lhs, rhs) if dtype == np.int32 else None
    if product is None:
        return blas_product(lhs, rhs, dtype)
    products = [product(a, b) for a, b in zip(lhs, rhs, strict=True)]
    return products[0][np.newaxis] if len(products) == 1 else np.stack(products)


def byte_product(lhs: IntArray, rhs: IntArray) -> Callable[[IntArray, IntArray], IntArray] | None:
    """Return what multiplies bytes faster than BLAS: matrix units, else onnxruntime; None if a product gains nothing.

    Finding out what the processor has, and starting it, takes as long as many products; it is done once so much
    work has been asked for that it would have paid.
    """
    macs = lhs.size * rhs.shape[2]
    if lhs.dtype.itemsize > 1 or rhs.dtype.itemsize > 1 or macs < _WORTH_A_CALL * len(lhs):
        return None
    _asked[0] += macs
    return _fastest() if _asked[0] >= _WORTH_A_START else None


def runs_on_units(lhs: IntArray, rhs: IntArray) -> bool:
    """Tell whether a product is done by matrix units."""
    from . import amx  # noqa: PLC0415

    return byte_product(lhs, rhs) is amx.product


_asked = [0]
"""Products of bytes asked for so far."""


@functools.cache
def _fastest() -> Callable[[IntArray, IntArray], IntArray] | None:
    from . import amx, onnx_gemm  # noqa: PLC0415 load LLVM, or onnxruntime, if there is one

    if amx.is_exact():
        return amx.product
    return onnx_gemm.product if onnx_gemm.is_exact() else None


def blas_product(lhs: IntArray, rhs: IntArray, dtype: np.dtype[Any]) -> IntArray:
    """Multiply as `exact_product` does, on numpy's BLAS alone."""
    batch, m, k = lhs.shape
    n = rhs.shape[2]
    if not m * n * k * batch:
        return np.zeros((batch, m, n), dtype)
    out = np.empty((batch, m, n), dtype)
    block, real = _blocking(k, magnitude(lhs) * magnitude(rhs))
    a, b = np.empty((m, block), real), np.empty((block, n), real)
    part = np.empty((m, n), real)
    # Float copies and integer sums are shared among processors; the product in between shares itself.
    threads = usable_processors() if m * n * k >= _WORTH_THREADS else 1
    for i in range(batch):
        for start in range(0, k, block):
            size = min(block, k - start)
            copies = [(a[:, :size], lhs[i, :, start : start + size]), (b[:size], rhs[i, start : start + size])]
            run_all([task for pair in copies for task in _shares(np.copyto, pair, threads)], threads)
            np.matmul(a[:, :size], b[:size], out=part)
            take = _add_integers if start else _copy_integers
            run_all(_shares(take, (out[i].reshape(-1), part.reshape(-1)), threads), threads)
    return out


def _shares(task: Callable[..., None], arrays: tuple[npt.NDArray[Any], ...], threads: int) -> list[Callable[[], None]]:
    """Cut a task on arrays of one length into parts."""
    cut = zip(*(np.array_split(array, threads) for array in arrays), strict=True)
    return [functools.partial(task, *part) for part in cut]


def _blocking(k: int, largest: int) -> tuple[int, np.dtype[Any]]:
    """Return the length of the blocks of the reduction, and the float type in which their sums are exact."""
    real: np.dtype[Any] = np.dtype(np.float32)
    block = _SINGLE_LIMIT // max(1, largest)
    if block < min(k, _SHORTEST_SINGLE_BLOCK):
        block, real = _DOUBLE_LIMIT // max(1, largest), np.dtype(np.float64)
    return -(-k // -(-k // block)), real


def _copy_integers(out: IntArray, part: npt.NDArray[Any]) -> None:
    """Convert sums held in floats, a piece that stays in cache at a time."""
    for start in range(0, out.size, _PIECE):
        out[start : start + _PIECE] = _integers(part[start : start + _PIECE], out.dtype)


def _add_integers(out: IntArray, part: npt.NDArray[Any]) -> None:
    """Add sums held in floats, a piece that stays in cache at a time."""
    for start in range(0, out.size, _PIECE):
        out[start : start + _PIECE] += _integers(part[start : start + _PIECE], out.dtype)


def _integers(piece: npt.NDArray[Any], dtype: np.dtype[Any]) -> IntArray:
    if dtype.itemsize < piece.dtype.itemsize:
        # A float too large for int32 converts to anything; by way of int64 its low bits stay.
        piece = piece.astype(np.int64)
    return piece.astype(dtype)
