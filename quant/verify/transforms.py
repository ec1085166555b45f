"""Exact rewritings of a product of real operands along a reduction axis that both carry.

Every function works on floats and on object arrays of Fractions alike, and leaves the product unchanged in the reals.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.contraction import Contraction

Array = npt.NDArray[Any]


def _widths(array: Array, labels: tuple[str, ...], axes: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Greatest magnitude along all other axes, by position on `axes` in their order."""
    others = tuple(i for i, label in enumerate(labels) if label not in axes)
    kept = [label for label in labels if label in axes]
    wide: Array = np.abs(array).astype(np.float64).max(axis=others)
    return np.transpose(wide, [kept.index(x) for x in axes])


def _along(values: Array, labels: tuple[str, ...], axes: tuple[str, ...]) -> Array:
    """Shape values indexed by `axes` so that they broadcast against an operand."""
    order = [axes.index(x) for x in labels if x in axes]
    shape = [values.shape[axes.index(x)] if x in axes else 1 for x in labels]
    return np.transpose(values, order).reshape(shape)


def smooth(
    contraction: Contraction, lhs: Array, rhs: Array, axes: tuple[str, ...], alpha: float = 0.5
) -> tuple[Array, Array]:
    """Divide lhs by ``max|lhs|^alpha / max|rhs|^(1 - alpha)`` along `axes` and multiply rhs by it.

    The factor is rounded to a power of two where the operands are floats, so that both stay exact.

    Parameters
    ----------
    alpha : 0..1
        How much of the range moves to rhs.
    """
    left = _widths(lhs, contraction.lhs, axes)
    right = _widths(rhs, contraction.rhs, axes)
    usable = (left > 0) & (right > 0)
    ratio = np.where(usable, left, 1.0) ** alpha / np.where(usable, right, 1.0) ** (1 - alpha)
    exponent = np.rint(np.log2(ratio))
    factor: Array = np.exp2(exponent)
    if object in (lhs.dtype, rhs.dtype):
        factor = np.array([Fraction(x) for x in factor.ravel().tolist()], object).reshape(factor.shape)
    return lhs / _along(factor, contraction.lhs, axes), rhs * _along(factor, contraction.rhs, axes)


def hadamard(size: int) -> npt.NDArray[np.int64]:
    """Return Sylvester's matrix of +-1, with ``H @ H.T == size * I``.

    Parameters
    ----------
    size
        A power of two.
    """
    matrix = np.ones((1, 1), np.int64)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


def rotate(contraction: Contraction, lhs: Array, rhs: Array, axis: str) -> tuple[Array, Array]:
    """Multiply lhs by a Hadamard matrix along `axis` and rhs by its inverse.

    The matrix is block diagonal with the greatest power of two that divides the axis.
    """
    where = contraction.lhs.index(axis), contraction.rhs.index(axis)
    size = lhs.shape[where[0]]
    block = size & -size
    matrix: Array = hadamard(block)
    one: Any = 1.0 / block
    if object in (lhs.dtype, rhs.dtype):
        matrix, one = matrix.astype(object), Fraction(1, block)
    return _apply(lhs, matrix, where[0]), _apply(rhs, matrix, where[1]) * one


def _apply(array: Array, matrix: Array, axis: int) -> Array:
    last = np.moveaxis(array, axis, -1)
    blocks = last.reshape(*last.shape[:-1], -1, len(matrix)) @ matrix
    return np.moveaxis(blocks.reshape(last.shape), -1, axis)


def widest(contraction: Contraction, lhs: Array, axis: str, count: int) -> npt.NDArray[np.intp]:
    """Positions along an axis where lhs is widest, in order."""
    return np.sort(np.argsort(_widths(lhs, contraction.lhs, (axis,)), kind="stable")[::-1][:count])


def split(
    contraction: Contraction, lhs: Array, rhs: Array, axis: str, count: int
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Take the `count` positions where lhs is widest out into a second product."""
    where = contraction.lhs.index(axis), contraction.rhs.index(axis)
    outliers = widest(contraction, lhs, axis, count)
    rest = np.setdiff1d(np.arange(lhs.shape[where[0]]), outliers)
    narrow = np.take(lhs, rest, axis=where[0]), np.take(rhs, rest, axis=where[1])
    return narrow, (np.take(lhs, outliers, axis=where[0]), np.take(rhs, outliers, axis=where[1]))


def duplicate(contraction: Contraction, lhs: Array, rhs: Array, axis: str, count: int) -> tuple[Array, Array]:
    """Halve lhs at the `count` positions where it is widest and append a copy of each."""
    where = contraction.lhs.index(axis), contraction.rhs.index(axis)
    outliers = widest(contraction, lhs, axis, count)
    halved = np.moveaxis(lhs.copy(), where[0], 0)
    halved[outliers] = halved[outliers] / 2
    left = np.moveaxis(np.concatenate([halved, halved[outliers]]), 0, where[0])
    return left, np.concatenate([rhs, np.take(rhs, outliers, axis=where[1])], axis=where[1])


def pad(contraction: Contraction, lhs: Array, rhs: Array, axis: str, block: int, depth: int) -> tuple[Array, Array]:
    """Fill each block along `axis` with zeros up to `depth`."""
    padded = []
    for array, labels in ((lhs, contraction.lhs), (rhs, contraction.rhs)):
        last = np.moveaxis(array, labels.index(axis), -1)
        count = -(-last.shape[-1] // block)
        wide = np.zeros((*last.shape[:-1], count * depth), last.dtype)
        step = np.arange(last.shape[-1])
        wide[..., step // block * depth + step % block] = last
        padded.append(np.moveaxis(wide, -1, labels.index(axis)))
    return padded[0], padded[1]
