"""The factors that turn integer sums into real results, and where each is applied."""

from __future__ import annotations

import math
from dataclasses import dataclass

from quant.contraction import Operand
from quant.layout import SCALE_BITS, Kind, Level

from .problem import Problem, Varying


@dataclass(frozen=True, slots=True)
class Factor:
    """One level of scales as a broadcast factor.

    Attributes
    ----------
    operand, level
        Which level of which layout.
    kind
        ``real``, ``int`` or ``pow2``.
    blocks
        ``(axis, block)`` of the operand that the factor depends on.
    output_axes
        Axes of the output that it is broadcast along by index; empty for a scalar.
    entries, bytes
        Stored scales and their size.
    when
        ``epilogue``: once per output after the whole sum; ``segment``: with each partial sum.
    """

    operand: Operand
    level: int
    kind: Kind
    blocks: tuple[tuple[str, int], ...]
    output_axes: tuple[str, ...]
    entries: int
    bytes: int
    when: str


@dataclass(frozen=True, slots=True)
class Bias:
    """Where a bias is exact.

    Attributes
    ----------
    where
        ``accumulator``: as int32 before the sum; ``outer``: in the accumulator that partial sums meet in; ``epilogue``:
        in floating point after the scales.
    scale
        Scale of an integer bias, in words, or ``float``.
    """

    where: str
    scale: str


def factors(problem: Problem, varying: tuple[Varying, ...]) -> tuple[Factor, ...]:
    """List each level of both layouts as a factor of the output or of a partial sum."""
    moving = {(one.operand, one.level) for one in varying}
    return tuple(
        _factor(problem, operand, index, level, "segment" if (operand, index) in moving else "epilogue")
        for operand, index, level in problem.levels()
    )


def _factor(problem: Problem, operand: Operand, index: int, level: Level, when: str) -> Factor:
    sizes = problem.sizes
    images = {link.lhs: link.out for link in problem.contraction.links}
    axes = problem.contraction.labels_of(operand)
    listed = [(axis, block) for axis, block in level.blocks if block < sizes[axis]]
    outputs = [images.get(axis, axis) for axis, _ in listed]
    entries = math.prod(level.scale_shape(axes, tuple(sizes[axis] for axis in axes)))
    return Factor(
        operand,
        index,
        level.kind,
        tuple(listed),
        tuple(axis for axis in problem.contraction.out if axis in outputs),
        entries,
        -(-entries * SCALE_BITS[level.kind] // 8),
        when,
    )


def bias_rule(problem: Problem, parts: tuple[Factor, ...]) -> Bias:
    """Say where a bias per output channel can be added exactly.

    An integer bias has the scale of its accumulator, which must be known before run time and the same for all rows.
    """
    if any(part.when == "segment" for part in parts):
        return Bias("outer", "float")
    rows = set(problem.contraction.rows)
    by_row = any(rows & set(part.output_axes) for part in parts)
    if not problem.lhs_static or by_row or problem.rhs_kind != "weight":
        return Bias("epilogue", "float")
    return Bias("accumulator", " x ".join(f"s_{part.operand}" for part in parts))
