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


def widths(array: Array, labels: tuple[str, ...], axes: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Greatest magnitude along all other axes, by position on `axes` in their order."""
    others = tuple(i for i, label in enumerate(labels) if label not in axes)
    kept = [label for label in labels if label in axes]
    wide: Array = np.abs(array).astype(np.float64).max(axis=others)
    return np.transpose(wide, [kept.index(x) for x in axes])


def along_axes(values: Array, labels: tuple[str, ...], axes: tuple[str, ...]) -> Array:
    """Shape values indexed by `axes` so that they broadcast against an operand."""
    order = [axes.index(x) for x in labels if x in axes]
    shape = [values.shape[axes.index(x)] if x in axes else 1 for x in labels]
    return np.transpose(values, order).reshape(shape)


def smoothing_factors(
    lhs_widths: npt.ArrayLike, rhs_widths: npt.ArrayLike, alpha: float = 0.5
) -> npt.NDArray[np.float64]:
    r"""Factors of SmoothQuant (Xiao et al., arXiv 2211.10438, equation 4).

    .. math:: s = \max|A|^\alpha / \max|W|^{1 - \alpha}

    The activation is divided, the weight multiplied by them. Where either side is all zero the product does not need
    the channel, and its factor is 1.

    Parameters
    ----------
    lhs_widths, rhs_widths : float [...]
        Largest magnitudes of each channel, of one shape.
    alpha : 0..1
        How much moves: 0 evens out the weight, 1 the activation.

    Raises
    ------
    ValueError
        If `alpha` is out of range.

    Examples
    --------
    >>> smoothing_factors([16.0, 1.0, 0.0], [1.0, 1.0, 5.0])
    array([4., 1., 1.])
    """
    if not 0 <= alpha <= 1:
        msg = f"alpha must be in 0..1, not {alpha}"
        raise ValueError(msg)
    a, w = np.asarray(lhs_widths, np.float64), np.asarray(rhs_widths, np.float64)
    used = (a > 0) & (w > 0)
    factors: npt.NDArray[np.float64] = np.where(used, a, 1) ** alpha / np.where(used, w, 1) ** (1 - alpha)
    return factors


def smooth(
    contraction: Contraction, lhs: Array, rhs: Array, axes: tuple[str, ...], alpha: float = 0.5
) -> tuple[Array, Array]:
    """Divide lhs along `axes` by `smoothing_factors` and multiply rhs by them.

    The factor is rounded to a power of two, so that operands of floats stay exact.

    Parameters
    ----------
    alpha : 0..1
        How much of the range moves to rhs.
    """
    left = widths(lhs, contraction.lhs, axes)
    right = widths(rhs, contraction.rhs, axes)
    factor: Array = np.exp2(np.rint(np.log2(smoothing_factors(left, right, alpha))))
    if object in (lhs.dtype, rhs.dtype):
        factor = np.array([Fraction(x) for x in factor.ravel().tolist()], object).reshape(factor.shape)
    return lhs / along_axes(factor, contraction.lhs, axes), rhs * along_axes(factor, contraction.rhs, axes)


def walsh_hadamard(x: npt.NDArray[Any], axis: int = -1) -> npt.NDArray[Any]:
    """Multiply along an axis by the Hadamard matrix in natural order: ``log2`` stages of sums and differences.

    Raises
    ------
    ValueError
        If the length is no power of two.

    Examples
    --------
    >>> walsh_hadamard(np.array([1, 2, 3, 4]))
    array([10, -2, -4,  0])
    """
    out = np.moveaxis(x, axis, -1)
    length = out.shape[-1]
    if length & (length - 1) or length == 0:
        msg = f"length must be a power of two, not {length}"
        raise ValueError(msg)
    width = 1
    while width < length:
        pairs = out.reshape(*out.shape[:-1], length // (2 * width), 2, width)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        out = np.stack([first + second, first - second], axis=-2).reshape(out.shape)
        width *= 2
    return np.moveaxis(out, -1, axis)


def rotate(contraction: Contraction, lhs: Array, rhs: Array, axis: str) -> tuple[Array, Array]:
    """Multiply lhs by a Hadamard matrix along `axis` and rhs by its inverse.

    The matrix is block diagonal with the greatest power of two that divides the axis.
    """
    where = contraction.lhs.index(axis), contraction.rhs.index(axis)
    size = lhs.shape[where[0]]
    block = size & -size
    one: Any = Fraction(1, block) if object in (lhs.dtype, rhs.dtype) else 1.0 / block
    return rotate_blocks(lhs, where[0], block), rotate_blocks(rhs, where[1], block) * one


def rotate_blocks(x: Array, axis: int, block: int) -> Array:
    """Multiply blocks along an axis by Hadamard matrices, without normalizing them."""
    last = np.moveaxis(x, axis, -1)
    turned = walsh_hadamard(last.reshape(*last.shape[:-1], -1, block))
    return np.moveaxis(turned.reshape(last.shape), -1, axis)


def widest(contraction: Contraction, lhs: Array, axis: str, count: int) -> npt.NDArray[np.intp]:
    """Positions along an axis where lhs is widest, in order."""
    return np.sort(np.argsort(widths(lhs, contraction.lhs, (axis,)), kind="stable")[::-1][:count])


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
