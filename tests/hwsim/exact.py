"""Contractions of quantized operands in Python int and Fraction, element by element from the definitions.

Only `labels` are read off a layer; every loop, index, scale and rounding is written out here or in tests.reference.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from quant import QTensor
from tests import reference

Index = tuple[int, ...]


def fraction(value: Any) -> Fraction:
    return Fraction(float(value))


def half(x: Fraction) -> Fraction:
    """Round to IEEE half precision."""
    return reference.to_float(x, 11, -24)


def integer_at(q: QTensor, index: Index) -> int:
    """What the MAC multiplies at an element, decoded by hand."""
    code = int(q.codes[index])
    if q.code == "codebook":
        assert q.table is not None
        return int(q.table[code])
    if q.code == "pow2":
        sign, field = divmod(code, 1 << (q.format.bits - 1))
        magnitude = 0 if field == 0 else 2 ** (field - 1)
        return -magnitude if sign else magnitude
    return code


def block_at(q: QTensor, level: int, index: Index) -> Index:
    blocks = q.layout.levels[level].block_size(q.layout.axes)
    return tuple(0 if block == -1 else i // block for i, block in zip(index, blocks, strict=True))


def scale_at(q: QTensor, index: Index) -> Fraction:
    """Scale of an element: the float32 product of its levels, left to right."""
    product: Fraction | None = None
    for number, scales in enumerate(q.scales):
        each = fraction(scales[block_at(q, number, index)])
        product = each if product is None else reference.to_float(product * each)
    assert product is not None
    return product


def zero_at(q: QTensor, index: Index) -> int:
    if q.zero_point is None:
        return 0
    layout = q.zero_layout or q.layout
    blocks = layout.levels[0].block_size(layout.axes)
    return int(q.zero_point[tuple(0 if b == -1 else i // b for i, b in zip(index, blocks, strict=True))])


@dataclass(frozen=True)
class Term:
    """One product of an output's sum: integers, zero points and scales of both elements."""

    a: int
    w: int
    a_zero: int
    w_zero: int
    a_scale: Fraction
    w_scale: Fraction


def outputs(contraction: str, shapes: tuple[Index, Index]) -> Iterator[tuple[Index, list[tuple[Index, Index]]]]:
    """Indices of each output and of the operand elements that meet there, the reduction in order."""
    operands, out = contraction.split("->")
    lhs, rhs = operands.split(",")
    sizes = dict(zip(lhs, shapes[0], strict=True)) | dict(zip(rhs, shapes[1], strict=True))
    reduced = [label for label in rhs if label not in out]
    for position in itertools.product(*(range(sizes[label]) for label in out)):
        where = dict(zip(out, position, strict=True))
        pairs = []
        for step in itertools.product(*(range(sizes[label]) for label in reduced)):
            at = where | dict(zip(reduced, step, strict=True))
            pairs.append((tuple(at[x] for x in lhs), tuple(at[x] for x in rhs)))
        yield position, pairs


def terms(contraction: str, lhs: QTensor, rhs: QTensor) -> dict[Index, list[Term]]:
    return {
        position: [
            Term(
                integer_at(lhs, i),
                integer_at(rhs, j),
                zero_at(lhs, i),
                zero_at(rhs, j),
                scale_at(lhs, i),
                scale_at(rhs, j),
            )
            for i, j in pairs
        ]
        for position, pairs in outputs(contraction, (lhs.codes.shape, rhs.codes.shape))
    }


def each(found: dict[Index, list[Term]], value: Callable[[Index, list[Term]], Any]) -> npt.NDArray[Any]:
    """An array of one exact value for each output."""
    shape = tuple(max(index[axis] for index in found) + 1 for axis in range(len(next(iter(found)))))
    out = np.empty(shape, object)
    for index, products in found.items():
        out[index] = value(index, products)
    return out


def floats(exact: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Exact float32 values as an array; raises where a value is none."""
    rounded = np.array([float(x) for x in exact.flat], np.float32).reshape(exact.shape)
    assert all(Fraction(float(r)) == x for r, x in zip(rounded.flat, exact.flat, strict=True))
    return rounded


def dequantized(products: Sequence[Term], bias: Fraction | None, carrier: Callable[[Fraction], Fraction]) -> Fraction:
    """One sum: lhs_scale * (rhs_scale * float32(sum)), the bias, all in float32, then the carrier."""
    total = sum((t.a - t.a_zero) * (t.w - t.w_zero) for t in products)
    f32 = reference.to_float
    value = f32(products[0].a_scale * f32(products[0].w_scale * f32(Fraction(total))))
    if bias is not None:
        value = f32(value + bias)
    return carrier(value)


def rescaled(products: Sequence[Term], bias: Fraction | None, carrier: Callable[[Fraction], Fraction]) -> Fraction:
    """Partial sums of equal scale products, joined first to last: total += (lhs * rhs) * float32(sum)."""
    f32 = reference.to_float
    total = Fraction(0)
    for (a_scale, w_scale), run in itertools.groupby(products, lambda t: (t.a_scale, t.w_scale)):
        part = sum((t.a - t.a_zero) * (t.w - t.w_zero) for t in run)
        total = f32(total + f32(f32(a_scale * w_scale) * f32(Fraction(part))))
    if bias is not None:
        total = f32(total + bias)
    return carrier(total)
