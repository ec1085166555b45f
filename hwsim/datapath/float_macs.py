"""Multiply-accumulates in floating point: weights dequantized on the fly, and partial sums rescaled by floats.

Every operation is rounded to a stated format, in a stated order. Ties go to even.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.formats import FP32, FloatFormat, IntArray

from .accumulator import Accumulator
from .float_requantization import fused_multiply_add, multiply_add_to_odd
from .multiply import matmul
from .operands import as_integers

_DEFAULT = Accumulator()
_Single = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FloatAccumulator:
    """A floating-point multiply-accumulate: formats and order.

    Parameters
    ----------
    operands
        Format of both operands: fp32, fp16 or bf16.
    sums
        Format of the register, and of the product unless it is fused.
    fused
        One rounding for multiply and add, as a fused multiply-add has.

    Raises
    ------
    ValueError
        If a format is none of fp32, fp16, bf16, or the register is narrower than fp32 and the operands are not.
    """

    operands: FloatFormat = FP32
    sums: FloatFormat = FP32
    fused: bool = False

    def __post_init__(self) -> None:
        for form in (self.operands, self.sums):
            if form.name not in {"fp32", "fp16", "bf16"}:
                msg = f"format must be fp32, fp16 or bf16, not {form.name}"
                raise ValueError(msg)
        if self.operands.name == "fp32" and self.sums.name != "fp32":
            # float32 arithmetic followed by a second rounding is only right for narrow operands.
            msg = f"sums of fp32 operands must be fp32, not {self.sums.name}"
            raise ValueError(msg)


_FP32 = FloatAccumulator()


def matmul_float(
    lhs: npt.ArrayLike, rhs: npt.ArrayLike, accumulator: FloatAccumulator = _FP32, *, initial: npt.ArrayLike = 0
) -> npt.NDArray[np.float32]:
    """Multiply float matrices one step after the other along the reduction, equation (55).

    Parameters
    ----------
    lhs : float [..., m, k]
    rhs : float [..., k, n]
    accumulator
        Formats of operands and register.
    initial : float, broadcast to [..., m, n]
        Start of the registers.

    Returns
    -------
    acc : float32 [..., m, n]
        Values of the register's format.

    Raises
    ------
    ValueError
        If shapes do not contract, or a finite value overflows its format.

    Examples
    --------
    >>> from quant.formats import BF16
    >>> matmul_float([[1.0, 2.0**-9]], [[1.0], [1.0]], FloatAccumulator(BF16, BF16))
    array([[1.]], dtype=float32)
    """
    a, b = accumulator.operands.round(lhs), accumulator.operands.round(rhs)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        msg = f"reductions of lhs and rhs must have one length, not {a.shape} and {b.shape}"
        raise ValueError(msg)
    shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
    register = np.broadcast_to(accumulator.sums.round(initial), shape)
    for k in range(a.shape[-1]):
        register = _step(register, a[..., k : k + 1], b[..., k : k + 1, :], accumulator)
    return np.asarray(register)


def _step(register: _Single, a: _Single, b: _Single, accumulator: FloatAccumulator) -> _Single:
    if accumulator.fused:
        if accumulator.sums.name == "fp32":
            return fused_multiply_add(a, b, register)
        return _round_double(multiply_add_to_odd(a, b, register), accumulator.sums)
    # float32 holds more than twice the bits of the narrow formats, so rounding twice is rounding once.
    return accumulator.sums.round(register + accumulator.sums.round(a * b))


def _round_double(x: npt.NDArray[np.float64], form: FloatFormat) -> _Single:
    """Round float64 to a narrow format, once: to odd in float32 first."""
    single = x.astype(np.float32)
    rest = x - single.astype(np.float64)
    raw = single.view(np.int32)
    toward = np.where(rest > 0, np.float32(np.inf), np.float32(-np.inf))
    odd = np.where((rest != 0) & ((raw & 1) == 0), np.nextafter(single, toward), single)
    return form.round(odd)


def matmul_weight_only(
    lhs: npt.ArrayLike,
    codes: npt.ArrayLike,
    scale: npt.ArrayLike,
    zero_point: npt.ArrayLike = 0,
    accumulator: FloatAccumulator = _FP32,
) -> npt.NDArray[np.float32]:
    """Dequantize integer weights to the operand format, then multiply in floating point.

    Parameters
    ----------
    lhs : float [..., m, k]
    codes : int [k, n]
    scale : float, broadcast to [k, n]
        float32.
    zero_point : int, broadcast to [k, n]
    accumulator
        Formats and order.

    Returns
    -------
    out : float32 [..., m, n]
    """
    integers = as_integers("codes", codes)
    difference = integers.astype(np.int32) - as_integers("zero_point", zero_point).astype(np.int32)
    weights = difference.astype(np.float32) * np.asarray(scale, np.float32)
    return matmul_float(lhs, np.broadcast_to(weights, integers.shape), accumulator)


def matmul_float_grouped(
    lhs: npt.ArrayLike,
    rhs: npt.ArrayLike,
    scale: npt.ArrayLike,
    group: int,
    accumulator: Accumulator = _DEFAULT,
    *,
    fused: bool = False,
) -> npt.NDArray[np.float32]:
    r"""Drain integer partial sums after every group and add them up in float32, in order, equation (56).

    .. math:: out_{mn} = \sum_g float32(P_{gmn}) \cdot scale_{gn}

    Parameters
    ----------
    lhs : int [m, k]
    rhs : int [k, n]
    scale : float [ceil(k / group), n], or [ceil(k / group), m, n]
    group
        Length of the groups; the last may be shorter.
    accumulator
        Accumulator of a group.
    fused
        One rounding for multiply and add.

    Returns
    -------
    out : float32 [m, n]

    Raises
    ------
    ValueError
        If the scales do not fit the groups; or as `matmul` does.
    """
    a, b = as_integers("lhs", lhs), as_integers("rhs", rhs)
    if group < 1:
        msg = f"group must be at least 1, not {group}"
        raise ValueError(msg)
    starts = range(0, a.shape[-1], group)
    scales: npt.NDArray[Any] = np.asarray(scale, np.float32)
    shape = (a.shape[0], b.shape[-1])
    if scales.shape not in {(len(starts), shape[1]), (len(starts), *shape)}:
        msg = f"scale must have shape {(len(starts), shape[1])} or {(len(starts), *shape)}, not {scales.shape}"
        raise ValueError(msg)
    total = np.zeros(shape, np.float32)
    for index, start in enumerate(starts):
        cut = slice(start, start + group)
        partial: IntArray = matmul(a[:, cut], b[cut], accumulator)
        single = partial.astype(np.float32)
        total = fused_multiply_add(single, scales[index], total) if fused else total + single * scales[index]
    return total
