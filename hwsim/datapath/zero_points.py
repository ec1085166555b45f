"""Zero points: the four integer terms of a product of affine operands, by adders or by an extra channel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray, IntFormat, Overflow

from .accumulator import Accumulator
from .multiply import matmul
from .operands import OPERAND_BITS, as_integers

_WIDE = Accumulator(64, Overflow.WRAP)


class Terms(NamedTuple):
    """The terms of ``(lhs - lhs_zero) @ (rhs - rhs_zero)``, each int64 and broadcast to [..., m, n].

    Attributes
    ----------
    products
        ``sum(lhs * rhs)``: what the array accumulates.
    lhs_sums
        ``-rhs_zero * sum(lhs)``: known when the activations are.
    rhs_sums
        ``-lhs_zero * sum(rhs)``: known offline for weights, if `lhs_zero` is.
    constant
        ``k * lhs_zero * rhs_zero``.
    """

    products: IntArray
    lhs_sums: IntArray
    rhs_sums: IntArray
    constant: IntArray

    @property
    def total(self) -> IntArray:
        """Sum of the terms: the product of the corrected operands."""
        return np.asarray(self.products + self.lhs_sums + self.rhs_sums + self.constant)


def zero_point_terms(
    lhs: npt.ArrayLike,
    rhs: npt.ArrayLike,
    lhs_zero: npt.ArrayLike = 0,
    rhs_zero: npt.ArrayLike = 0,
    *,
    sums: str = "adders",
) -> Terms:
    r"""Expand the product of affine operands.

    .. math:: \sum_k (q_{mk} - z_m)(w_{kn} - v_n)
              = \sum_k q_{mk} w_{kn} - v_n \sum_k q_{mk} - z_m \sum_k w_{kn} + K z_m v_n

    Parameters
    ----------
    lhs : int [..., m, k]
    rhs : int [..., k, n]
    lhs_zero : int, broadcast to [..., m, 1]
        Zero points that do not vary along the reduction.
    rhs_zero : int, broadcast to [..., 1, n]
    sums
        How the hardware sums operands: ``adders`` beside the array, or ``channel``, a column of ones appended to
        `rhs` and a row of ones to `lhs`. The integers are the same.

    Returns
    -------
    terms : Terms

    Raises
    ------
    TypeError, ValueError
        As `matmul`; or if a zero point varies along the reduction, or `sums` is neither name.

    Notes
    -----
    Equation (36).

    Examples
    --------
    >>> terms = zero_point_terms([[1, 2]], [[3], [4]], lhs_zero=1, rhs_zero=2)
    >>> [int(t[0, 0]) for t in terms], int(terms.total[0, 0])
    ([11, -6, -7, 4], 2)
    """
    a, b = as_integers("lhs", lhs), as_integers("rhs", rhs)
    z, v = _zero("lhs_zero", lhs_zero, -1), _zero("rhs_zero", rhs_zero, -2)
    match sums:
        case "adders":
            products = matmul(a, b, _WIDE)
            lhs_sum = a.sum(axis=-1, keepdims=True, dtype=np.int64)
            rhs_sum = b.sum(axis=-2, keepdims=True, dtype=np.int64)
        case "channel":
            taller = np.concatenate([a.astype(np.int64), np.ones_like(a[..., :1, :], np.int64)], axis=-2)
            wider = np.concatenate([b.astype(np.int64), np.ones_like(b[..., :1], np.int64)], axis=-1)
            full = matmul(taller, wider, _WIDE)
            products, lhs_sum, rhs_sum = full[..., :-1, :-1], full[..., :-1, -1:], full[..., -1:, :-1]
        case _:
            msg = f"sums must be adders or channel, not {sums!r}"
            raise ValueError(msg)
    k = a.shape[-1]
    terms = (-v * lhs_sum, -z * rhs_sum, k * z * v)
    return Terms(products, *(_spread_over(products.shape, z, v, term) for term in terms))


def wrapping_product(
    lhs: IntArray,
    rhs: IntArray,
    lhs_zero: npt.ArrayLike = 0,
    rhs_zero: npt.ArrayLike = 0,
    initial: npt.ArrayLike | None = None,
) -> IntArray:
    """Multiply with zero points subtracted, wrapping in int32.

    What zero points add to the product of the operands as they are is known from sums, equation (36), and the low
    bits of sums do not depend on their order: operands stay as narrow as they are.

    Parameters
    ----------
    lhs : int [..., m, k]
    rhs : int [..., k, n]
    lhs_zero : int, broadcast to [..., m, 1]
    rhs_zero : int, broadcast to [..., 1, n]
    initial : int32, broadcast to [..., m, n]

    Returns
    -------
    acc : int32 [..., m, n]

    Raises
    ------
    TypeError, ValueError
        As `zero_point_terms`.
    """
    z, v = _zero("lhs_zero", lhs_zero, -1), _zero("rhs_zero", rhs_zero, -2)
    acc = matmul(lhs, rhs, initial=initial)
    # Conversion to int32, and arithmetic in it, keep the low bits.
    narrow = [np.atleast_2d(zero).astype(np.int32) for zero in (z, v)]
    terms = []
    if np.any(v):
        terms.append(-narrow[1] * lhs.sum(axis=-1, keepdims=True, dtype=np.int32))
    if np.any(z):
        terms.append(-narrow[0] * rhs.sum(axis=-2, keepdims=True, dtype=np.int32))
    if len(terms) == 2:
        terms.append(narrow[0] * narrow[1] * np.int32(lhs.shape[-1]))
    for term in terms:
        acc += _spread_over(acc.shape, z, v, term)
    return acc


def _spread_over(shape: tuple[int, ...], lhs_zero: IntArray, rhs_zero: IntArray, term: IntArray) -> IntArray:
    try:
        return np.broadcast_to(term, shape)
    except ValueError:
        msg = f"zero points must broadcast to the outputs {shape}, not {lhs_zero.shape} and {rhs_zero.shape}"
        raise ValueError(msg) from None


def _zero(name: str, zero: npt.ArrayLike, axis: int) -> IntArray:
    array = as_integers(name, zero, IntFormat(OPERAND_BITS)).astype(np.int64)
    if array.ndim >= 2 and array.shape[axis] != 1:
        msg = f"{name} must not vary along the reduction, not have shape {array.shape}"
        raise ValueError(msg)
    if array.ndim == 1 and array.size != 1:
        msg = f"{name} must be a scalar or have its reduction axis of length 1, not shape {array.shape}"
        raise ValueError(msg)
    return array
