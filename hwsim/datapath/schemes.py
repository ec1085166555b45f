"""Integer multiply-accumulates that are no plain product: shift-add, codebooks, look-up tables, rescaled groups."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray, IntFormat, Overflow

from .accumulator import Accumulator
from .multiply import matmul
from .operands import OPERAND_BITS, as_integers
from .walk import add_registers

_DEFAULT = Accumulator()
_WIDE = Accumulator(64, Overflow.TRAP)
_TABLE_ELEMENTS = 1 << 22


def matmul_shift_add(
    lhs: npt.ArrayLike,
    signs: npt.ArrayLike,
    exponents: npt.ArrayLike,
    accumulator: Accumulator = _DEFAULT,
    *,
    initial: npt.ArrayLike | None = None,
) -> IntArray:
    """Multiply by powers of two: shift left, negate or drop, add, equation (51).

    Parameters
    ----------
    lhs : int [..., m, k]
    signs : int [..., k, n]
        -1, 0 or 1.
    exponents : int [..., k, n]
        Left shifts, 0..16.
    accumulator, initial
        As in `matmul`.

    Returns
    -------
    acc : int32 or int64 [..., m, n]

    Raises
    ------
    ValueError
        If a sign or an exponent is outside its range, their shapes differ; or as `matmul` does.

    Examples
    --------
    >>> matmul_shift_add([[5, 7]], [[1], [-1]], [[3], [1]])
    array([[26]], dtype=int32)
    """
    s, e = as_integers("signs", signs), as_integers("exponents", exponents)
    _check_range("signs", s, -1, 1)
    _check_range("exponents", e, 0, OPERAND_BITS - 2)
    if s.shape != e.shape:
        msg = f"signs and exponents must have one shape, not {s.shape} and {e.shape}"
        raise ValueError(msg)
    return matmul(lhs, s.astype(np.int32) << e.astype(np.int32), accumulator, initial=initial)


def matmul_codebook(
    lhs: npt.ArrayLike,
    codes: npt.ArrayLike,
    table: npt.ArrayLike,
    accumulator: Accumulator = _DEFAULT,
    *,
    initial: npt.ArrayLike | None = None,
) -> IntArray:
    """Decode the rhs by a table of integers, then multiply, equation (52).

    Parameters
    ----------
    lhs : int [..., m, k]
    codes : int [..., k, n]
        Indices into `table`.
    table : int [entries]
    accumulator, initial
        As in `matmul`.

    Returns
    -------
    acc : int32 or int64 [..., m, n]

    Raises
    ------
    ValueError
        If a code is no index of the table; or as `matmul` does.

    Examples
    --------
    >>> matmul_codebook([[5, 7]], [[2], [0]], [-100, -3, 10, 90])
    array([[-650]], dtype=int32)
    """
    entries, indices = as_integers("table", table), as_integers("codes", codes)
    if entries.ndim != 1:
        msg = f"table must have 1 axis, not shape {entries.shape}"
        raise ValueError(msg)
    _check_range("codes", indices, 0, entries.size - 1)
    return matmul(lhs, entries[indices], accumulator, initial=initial)


def lookup_and_add(
    codes: npt.ArrayLike,
    tables: npt.ArrayLike,
    accumulator: Accumulator = _DEFAULT,
    *,
    initial: npt.ArrayLike = 0,
) -> IntArray:
    r"""Sum table entries, one for each subspace: the product quantization of the rows, equation (53).

    .. math:: acc_{mn} = \bigoplus_c tables_{c, codes_{mc}, n}

    Parameters
    ----------
    codes : int [m, c]
        Prototype of each subspace.
    tables : int [c, prototypes, n]
        Dot products of the columns with the prototypes, quantized with one scale per column.
    accumulator
        As in `matmul`; its products are the entries.
    initial : int, broadcast to [m, 1, n]
        Start of the accumulators.

    Returns
    -------
    acc : int32 or int64 [m, n]

    Raises
    ------
    ValueError
        If the shapes do not fit or a code is no index of its table; or as `matmul` does.

    Examples
    --------
    >>> lookup_and_add([[1, 0]], [[[5], [7]], [[-2], [9]]])
    array([[5]], dtype=int32)
    """
    indices, entries = as_integers("codes", codes), as_integers("tables", tables)
    if indices.ndim != 2 or entries.ndim != 3 or entries.shape[0] != indices.shape[1]:
        msg = f"codes [m, c] and tables [c, prototypes, n] must fit, not {indices.shape} and {entries.shape}"
        raise ValueError(msg)
    _check_range("codes", indices, 0, entries.shape[1] - 1)
    subspaces = np.arange(entries.shape[0])
    out = np.empty((indices.shape[0], entries.shape[2]), accumulator.dtype)
    rows = max(1, _TABLE_ELEMENTS // max(1, entries.shape[0] * entries.shape[2]))
    for start in range(0, indices.shape[0], rows):
        chosen = entries[subspaces, indices[start : start + rows]]
        ones = np.ones((chosen.shape[0], 1, chosen.shape[1]), np.int8)
        out[start : start + rows] = matmul(ones, chosen, accumulator, initial=initial)[:, 0]
    return out


def matmul_grouped(
    lhs: npt.ArrayLike,
    rhs: npt.ArrayLike,
    factors: npt.ArrayLike,
    group: int,
    accumulator: Accumulator = _DEFAULT,
    *,
    rescale: Literal["integer", "shift"] = "integer",
    outer: Accumulator = _WIDE,
) -> IntArray:
    r"""Drain the accumulator after every group of the reduction, rescale, and add up, equation (54).

    .. math:: out_{mn} = \bigoplus_g factor_{gn} \cdot \bigoplus_{k \in g} lhs_{mk} rhs_{kn}

    Parameters
    ----------
    lhs : int [m, k]
    rhs : int [k, n]
    factors : int [ceil(k / group), n]
        Integer scales, or left shifts for ``shift``.
    group
        Length of the groups; the last may be shorter.
    accumulator
        Accumulator of a group.
    rescale
        ``integer`` multiplies the partial sums, ``shift`` shifts them left.
    outer
        Width and overflow of the sum over groups; only those.

    Returns
    -------
    out : int32 or int64 [m, n]

    Raises
    ------
    ValueError
        If the factors do not fit the groups, a shift is not in 0..31, or a rescaled sum could leave 63 bits.
    AccumulatorOverflowError
        If a trapping register leaves its range.

    Examples
    --------
    >>> matmul_grouped([[1, 2, 3]], [[1], [1], [1]], [[10], [100]], 2)
    array([[330]])
    """
    a, b = as_integers("lhs", lhs), as_integers("rhs", rhs)
    factor = as_integers("factors", factors, IntFormat(32))
    if group < 1:
        msg = f"group must be at least 1, not {group}"
        raise ValueError(msg)
    starts = range(0, a.shape[-1], group)
    if factor.shape != (len(starts), b.shape[-1]):
        msg = f"factors must have shape {(len(starts), b.shape[-1])}, not {factor.shape}"
        raise ValueError(msg)
    if rescale == "shift":
        _check_range("factors", factor, 0, 31)
        factor = np.int64(1) << factor.astype(np.int64)
    total = np.zeros((a.shape[0], b.shape[-1]), np.int64)
    for index, start in enumerate(starts):
        cut = slice(start, start + group)
        partial = matmul(a[:, cut], b[cut], accumulator).astype(np.int64)
        _check_rescaled(partial, factor[index])
        total = add_registers(total, partial * factor[index], outer.range, outer.overflow, index)
    return total.astype(outer.dtype)


def _check_rescaled(partial: IntArray, factor: IntArray) -> None:
    reach = int(np.abs(partial).max(initial=0)) * int(np.abs(factor.astype(np.int64)).max(initial=0))
    if reach >= 1 << 62:
        msg = f"rescaled sums must stay below 2**62, not reach {reach}"
        raise ValueError(msg)


def _check_range(name: str, x: IntArray, lo: int, hi: int) -> None:
    if x.size and (int(x.min()) < lo or int(x.max()) > hi):
        worst = int(x.max()) if int(x.max()) > hi else int(x.min())
        msg = f"{name} must lie in {lo}..{hi}, not {worst}"
        raise ValueError(msg)
