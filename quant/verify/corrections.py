"""What zero points cost: sum (q_A - z_A)(q_W - z_W) = P - T_A - T_W + T_AW.

T_A = sum z_A q_W, T_W = sum z_W q_A, T_AW = sum z_A z_W. A linear epilogue needs as many extra dot products with the
activations as the zero points of the weights add to the rank of the weights (the span theorem): one for z_W per tensor
or per output channel, one for z_W[k], G for G groups of z_W per output channel, at most one per output channel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from quant.contraction import Operand
from quant.layout import ScaleLayout

from .problem import Problem


@dataclass(frozen=True, slots=True)
class Correction:
    """One zero-point term and its cost for the whole output.

    Attributes
    ----------
    term
        ``T_A``: zero point of lhs times sums of rhs; ``T_W``: zero point of rhs times sums of lhs; ``T_AW``: both.
    layout
        Zero-point layout, or both for T_AW.
    when
        ``offline``: a constant, added to the bias; ``epilogue``: at run time after the sum; ``online``: a pass over an
        operand at run time; ``append``: as online, but once for each element of a cached operand.
    extra_channels : output channels
        Rows or columns that the array computes more, if it rather than adders forms the sums.
    adds, multiply_adds : operations
        Additions that form the sums; operations that subtract the term.
    constants : entries
        Stored numbers.
    condition
        What must hold beside, or empty.
    """

    term: str
    layout: str
    when: str
    extra_channels: int
    adds: int
    multiply_adds: int
    constants: int
    condition: str = ""


def corrections(problem: Problem, partial_sums: int) -> tuple[Correction, ...]:
    """List the terms that the zero points of a problem add, for a plan of so many partial sums per output."""
    found = []
    if problem.lhs_zero is not None:
        found.append(_lhs_term(problem, problem.lhs_zero, partial_sums))
    if problem.rhs_zero is not None:
        found.append(_rhs_term(problem, problem.rhs_zero, partial_sums))
    if problem.lhs_zero is not None and problem.rhs_zero is not None:
        found.append(_both(problem, problem.lhs_zero, problem.rhs_zero, partial_sums))
    return tuple(found)


def _groups(problem: Problem, operand: Operand, zero: ScaleLayout) -> tuple[int, int]:
    """Count the blocks of a zero-point layout along the reduction and along what the output keeps."""
    sizes = problem.sizes
    taps = {link.lhs: sizes[link.rhs] for link in problem.contraction.links}
    reduced = problem.reduced(operand)
    along = across = 1
    for axis in zero.axes:
        counts = [math.ceil(sizes[axis] / block) for lv in zero.levels if (block := lv.block_of(axis))]
        count = max(counts, default=1)
        if axis in reduced:
            along *= min(count, taps.get(axis, count))
        else:
            across *= count
        if axis in taps and count > 1:
            across *= count
    return along, across


def _padded(problem: Problem) -> bool:
    sizes = problem.sizes
    return any(
        link.lhs_at(tap, out, sizes[link.lhs])[1] == 0
        for link in problem.contraction.links
        for tap in (0, sizes[link.rhs] - 1)
        for out in (0, sizes[link.out] - 1)
    )


def _lhs_term(problem: Problem, zero: ScaleLayout, parts: int) -> Correction:
    gemm = problem.gemm
    along, across = _groups(problem, "lhs", zero)
    sums = gemm.batch * gemm.n
    rank = max(along, parts)
    work = sums * (gemm.m if across > 1 else 1) * rank
    text = str(zero)
    condition = "absent terms are fed with the zero point of lhs" if _padded(problem) else ""
    if problem.rhs_kind != "weight":
        when = "append" if problem.rhs_kind == "cached" else "online"
        return Correction("T_A", text, when, along, sums * gemm.k, work, sums * rank, condition)
    if problem.lhs_static and across == 1:
        return Correction("T_A", text, "offline", 0, 0, 0, sums * parts, condition)
    return Correction("T_A", text, "epilogue", 0, 0, work, sums * rank, condition)


def _rhs_term(problem: Problem, zero: ScaleLayout, parts: int) -> Correction:
    gemm = problem.gemm
    along, across = _groups(problem, "rhs", zero)
    adds = gemm.batch * gemm.m * gemm.k
    outputs = gemm.batch * gemm.m * gemm.n
    if along > 1 and across == 1:  # one channel of weights z_W[k] forms the whole term
        return Correction("T_W", str(zero), "online", 1, adds, adds + outputs * parts, along)
    rank = max(along, parts)
    return Correction("T_W", str(zero), "online", min(along, gemm.n), adds, outputs * rank, along * across)


def _both(problem: Problem, lhs: ScaleLayout, rhs: ScaleLayout, parts: int) -> Correction:
    _, rows = _groups(problem, "lhs", lhs)
    _, columns = _groups(problem, "rhs", rhs)
    constants = rows * columns * parts
    text = f"{lhs} | {rhs}"
    if problem.lhs_static and problem.rhs_kind == "weight":
        return Correction("T_AW", text, "offline", 0, 0, 0, constants)
    return Correction("T_AW", text, "epilogue", 0, 0, constants, constants)
