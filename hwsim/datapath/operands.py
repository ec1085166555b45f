"""The front door for operands: formats, shapes, stacks of matrices."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray, IntFormat

from .accumulator import Accumulator

OPERAND_BITS = 18
"""Widest operand, bits: a zero-point-subtracted int16 or u16 has 17 bits and a sign to spare."""


class Stacks(NamedTuple):
    """Operands as stacks of matrices, and the shape of the result.

    Attributes
    ----------
    lhs : int [b, m, k]
    rhs : int [b, k, n]
    shape
        Shape of the result, [..., m, n]; its size is b * m * n.
    """

    lhs: IntArray
    rhs: IntArray
    shape: tuple[int, ...]


def as_integers(name: str, x: npt.ArrayLike, form: IntFormat | None = None) -> IntArray:
    """Return an integer array whose values lie in its format.

    Raises
    ------
    TypeError
        If `x` does not hold integers.
    ValueError
        If a value lies outside `form`, or outside 18 bits without one.
    """
    array = np.asarray(x)
    if array.dtype.kind not in "iu":
        msg = f"{name} must hold integers, not {array.dtype}"
        raise TypeError(msg)
    if form is None and array.dtype.itemsize <= 2:
        return array
    form = form or IntFormat(OPERAND_BITS)
    if not form.contains(array):
        worst = int(array.max()) if int(array.max()) > form.hi else int(array.min())
        msg = f"{name} must lie in {form.name} ({form.lo}..{form.hi}), not {worst}"
        raise ValueError(msg)
    return array


def stack(lhs: IntArray, rhs: IntArray) -> Stacks:
    """Broadcast the batch axes and make stacks of matrices.

    Raises
    ------
    ValueError
        If an operand is no matrix, the reductions differ, or the batch axes do not broadcast.
    """
    for name, x in (("lhs", lhs), ("rhs", rhs)):
        if x.ndim < 2:
            msg = f"{name} must have at least 2 axes, not shape {x.shape}"
            raise ValueError(msg)
    m, k = lhs.shape[-2:]
    n = rhs.shape[-1]
    if rhs.shape[-2] != k:
        msg = f"reductions of lhs and rhs must have one length, not {lhs.shape} and {rhs.shape}"
        raise ValueError(msg)
    if rhs.ndim == 2:
        # One matrix for the whole batch: its rows are one tall matrix.
        rows = math.prod(lhs.shape[:-1])
        return Stacks(lhs.reshape(1, rows, k), rhs[np.newaxis], (*lhs.shape[:-1], n))
    try:
        batch = np.broadcast_shapes(lhs.shape[:-2], rhs.shape[:-2])
    except ValueError:
        msg = f"batch axes of lhs and rhs must broadcast, not {lhs.shape} and {rhs.shape}"
        raise ValueError(msg) from None
    count = math.prod(batch)
    return Stacks(
        np.broadcast_to(lhs, (*batch, m, k)).reshape(count, m, k),
        np.broadcast_to(rhs, (*batch, k, n)).reshape(count, k, n),
        (*batch, m, n),
    )


def check_product_fits(lhs: IntArray, rhs: IntArray, accumulator: Accumulator) -> None:
    """Refuse a register that one product can overflow, unless its overflow was stated.

    Raises
    ------
    ValueError
        If a product of the operands' formats lies outside the accumulator.
    """
    if accumulator.overflow_stated:
        return
    corners = [a * b for a in _ends(lhs) for b in _ends(rhs)]
    lo, hi = accumulator.range
    # The product arrives without its dropped bits.
    worst = max(corners, key=abs, default=0) >> accumulator.dropped_bits
    if not lo <= worst <= hi:
        msg = f"accumulator must hold one product or state its overflow, not int{accumulator.bits} for {worst}"
        raise ValueError(msg)


def _ends(x: IntArray) -> tuple[int, int]:
    if x.dtype.itemsize <= 2:
        info = np.iinfo(x.dtype)
        return int(info.min), int(info.max)
    return (int(x.min()), int(x.max())) if x.size else (0, 0)


def as_initial(initial: npt.ArrayLike | None, shape: tuple[int, ...], accumulator: Accumulator) -> IntArray | None:
    """Return the start of the registers, broadcast to the outputs.

    Raises
    ------
    TypeError
        If it does not hold integers.
    ValueError
        If it does not broadcast to the outputs, or a value does not fit the register.
    """
    if initial is None:
        return None
    array = np.asarray(initial)
    bits = accumulator.bits if accumulator.spill_steps is None else accumulator.spill_bits
    as_integers("initial", array, IntFormat(bits))
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        msg = f"initial must broadcast to the outputs {shape}, not have shape {array.shape}"
        raise ValueError(msg) from None
