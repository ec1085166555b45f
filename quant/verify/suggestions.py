"""Which repairs help a finding, and how each is carried out.

Sources: smoothing, SmoothQuant (Xiao et al., ICML 2023); outlier split, LLM.int8 (Dettmers et al., NeurIPS 2022);
channel duplication, outlier channel splitting (Zhao et al., ICML 2019); rotation, QuaRot (Ashkboos et al., NeurIPS
2024).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy.typing as npt

from quant import rewriting as transforms
from quant.contraction import Operand
from quant.formats import IntFormat
from quant.layout import Level, ScaleLayout

from .finding import RANK, Finding
from .judgement import judge
from .problem import OPERANDS, Problem
from .repairs import Product, Repair, Repaired
from .work import Work

Array = npt.NDArray[Any]
COARSE = 32
"""Group that regrouping proposes at least."""
SHIFT_RANGE = 6
"""Powers of two between channels that snapping allows for, when no operands tell."""
OUTLIER_SHARE = 0.01
"""Part of the channels that the outlier repairs take, when no count is given."""


def suggest(found: Finding) -> tuple[Repair, ...]:
    """List the repairs of a verdict, cheapest at run time first, exact before rounding ones at equal cost."""
    problem = found.problem
    repairs: list[Repair] = []
    if any(step.kind == "real" for step in found.decode):
        repairs.append(_tabulate(problem))
    if found.segments.runs > 1:
        shared = tuple(dict.fromkeys(one.axis for one in found.varying if one.axis in problem.contraction.shared))
        moving = tuple(dict.fromkeys(one.operand for one in found.varying))
        if shared and _only_shared(found):
            repairs += [_smooth(problem, shared), _rotate(problem, shared[-1])]
            repairs += [_split(problem, shared[-1]), _duplicate(problem, shared[-1])]
        repairs += [_requantize(problem, operand) for operand in moving] if len(moving) == 1 else []
        repairs += [_requantize_both(problem)] if len(moving) == 2 else []
        repairs += [_snap(problem, found)]
        if shared:
            repairs += _regroup(problem, found, shared)
            repairs += _pad(problem, found)
    usable = [one for one in repairs if RANK[one.after.verdict] > 0]
    return tuple(sorted(usable, key=lambda one: (one.run_time_operations, not one.exact, -RANK[one.after.verdict])))


def _only_shared(found: Finding) -> bool:
    """Tell whether every varying axis is carried by both operands, so that dropping them makes the verdict once."""
    return all(one.axis in found.problem.contraction.shared for one in found.varying)


def legal(problem: Problem, operand: Operand) -> ScaleLayout:
    """Return an operand's layout with nothing varying along the reduction, and rows or channels kept apart."""
    layout = problem.layout(operand).without(problem.reduced(operand))
    if layout.varying or (operand == "lhs" and problem.lhs_static):
        return layout
    kept = [axis for axis in layout.axes if axis not in problem.reduced(operand)]
    return ScaleLayout(layout.axes, (Level(tuple((axis, 1) for axis in kept)),), layout.code)


def _legal(problem: Problem) -> Problem:
    return replace(problem, lhs=legal(problem, "lhs"), rhs=legal(problem, "rhs"))


def _moves(
    problem: Problem, operand: Operand, operation: str, why: str = ""
) -> tuple[tuple[Work, ...], tuple[Work, ...]]:
    """Price one operation on every element of an operand: offline for weights, at run time for the rest."""
    work = (Work(operation, problem.contraction.labels_of(operand), unless=why),)
    return (work, ()) if operand == "rhs" and problem.rhs_kind == "weight" else ((), work)


def _smooth(problem: Problem, axes: tuple[str, ...]) -> Repair:
    names = ",".join(axes)
    left = _moves(problem, "lhs", "multiply", "folded into the producer of lhs")
    right = _moves(problem, "rhs", "multiply")
    return Repair(
        "smooth",
        f"divide lhs by s[{names}] and multiply rhs by it before quantizing either",
        True,
        left[0] + right[0],
        left[1] + right[1],
        _legal(problem),
        problem,
        lambda _, after, lhs, rhs: _one(after, *transforms.smooth(after.contraction, lhs, rhs, axes)),
    )


def _one(problem: Problem, lhs: Array, rhs: Array) -> Repaired:
    return Repaired((Product(problem, lhs, rhs),))


def _resize(problem: Problem, axis: str, size: int) -> Problem:
    return replace(problem, shape=tuple((x, size if x == axis else n) for x, n in problem.shape))


def _rotate(problem: Problem, axis: str) -> Repair:
    size = problem.sizes[axis]
    block = size & -size
    works = [_moves(problem, "lhs", "add", "rotated in its producer"), _moves(problem, "rhs", "add")]
    stages = max(block.bit_length() - 1, 1)
    offline, run_time = (
        tuple(replace(one, factor=float(stages)) for pair in works for one in pair[side]) for side in (0, 1)
    )
    return Repair(
        "rotate",
        f"multiply both operands by a Hadamard matrix of {block} along {axis} before quantizing",
        True,
        offline,
        run_time,
        _legal(problem),
        problem,
        lambda _, after, lhs, rhs: _one(after, *transforms.rotate(after.contraction, lhs, rhs, axis)),
    )


def _outliers(size: int) -> int:
    return max(1, round(OUTLIER_SHARE * size)) if size > 1 else 0


def _split(problem: Problem, axis: str) -> Repair:
    count = _outliers(problem.sizes[axis])
    share = count / problem.sizes[axis]
    contraction = problem.contraction
    macs = tuple(dict.fromkeys(contraction.batch + contraction.rows + contraction.outer_rhs + contraction.reduction))
    target = _resize(_legal(problem), axis, problem.sizes[axis] - count)

    def carry_out(before: Problem, after: Problem, lhs: Array, rhs: Array) -> Repaired:
        pieces = transforms.split(before.contraction, lhs, rhs, axis, count)
        beside = _resize(_legal(before), axis, count)
        return Repaired((Product(after, *pieces[0]), Product(beside, *pieces[1], "float")))

    return Repair(
        "split outliers",
        f"multiply the {count} widest channels of {axis} in floating point beside the array",
        True,
        (Work("move", contraction.labels_of("rhs"), share),),
        (Work("float MAC", macs, share),),
        target,
        problem,
        carry_out,
    )


def _duplicate(problem: Problem, axis: str) -> Repair:
    count = _outliers(problem.sizes[axis])
    contraction = problem.contraction
    share = count / problem.sizes[axis]
    macs = tuple(dict.fromkeys(contraction.batch + contraction.rows + contraction.outer_rhs + contraction.reduction))
    return Repair(
        "duplicate outliers",
        f"halve the {count} widest channels of {axis} in lhs and sum each twice",
        True,
        (Work("move", contraction.labels_of("rhs"), share),),
        (Work("integer MAC", macs, share),),
        _resize(_legal(problem), axis, problem.sizes[axis] + count),
        problem,
        lambda before, after, lhs, rhs: _one(after, *transforms.duplicate(before.contraction, lhs, rhs, axis, count)),
    )


def _keep(_: Problem, after: Problem, lhs: Array, rhs: Array) -> Repaired:
    return _one(after, lhs, rhs)


def _requantize(problem: Problem, operand: Operand) -> Repair:
    layout = legal(problem, operand)
    offline, run_time = _moves(problem, operand, "round")
    target = replace(problem, lhs=layout) if operand == "lhs" else replace(problem, rhs=layout)
    does = f"quantize {operand} anew in the layout {layout}"
    return Repair(f"requantize {operand}", does, False, offline, run_time, target, problem, _keep)


def _requantize_both(problem: Problem) -> Repair:
    target = _legal(problem)
    works = [_moves(problem, operand, "round") for operand in OPERANDS]
    does = f"quantize both anew, lhs in the layout {target.lhs} and rhs in {target.rhs}"
    offline, run_time = works[0][0] + works[1][0], works[0][1] + works[1][1]
    return Repair("requantize both", does, False, offline, run_time, target, problem, _keep)


def _snap(problem: Problem, found: Finding) -> Repair:
    """Snap scales along the reduction to powers of two; shift partial sums if there are few, codes if not."""
    moving = {(one.operand, one.level) for one in found.varying}
    if found.verdict == "segmented":
        layouts = {}
        for operand in OPERANDS:
            layout = problem.layout(operand)
            levels = tuple(
                replace(level, kind="pow2") if (operand, index) in moving else level
                for index, level in enumerate(layout.levels)
            )
            layouts[operand] = ScaleLayout(layout.axes, levels, layout.code)
        target = replace(problem, lhs=layouts["lhs"], rhs=layouts["rhs"])
        works = [_moves(problem, operand, "round") for operand in dict(moving)]
        offline = tuple(one for pair in works for one in pair[0])
        run_time = tuple(one for pair in works for one in pair[1])
        does = "round the scales along the reduction up to powers of two, so that partial sums are shifted"
        return Repair("snap", does, False, offline, run_time, target, problem, _keep)
    target = _legal(problem)
    for operand in dict(moving):
        number = target.lhs_format if operand == "lhs" else target.rhs_format
        wide = IntFormat(number.bits + SHIFT_RANGE, number.signed)
        target = replace(target, lhs_format=wide) if operand == "lhs" else replace(target, rhs_format=wide)
    works = [_moves(problem, operand, "shift") for operand in dict(moving)]
    does = f"round the scales along the reduction up to powers of two and shift the codes, {SHIFT_RANGE} bits wider"
    offline = tuple(one for pair in works for one in pair[0])
    run_time = tuple(one for pair in works for one in pair[1])
    return Repair("snap", does, False, offline, run_time, target, problem, _keep)


def _with_block(layout: ScaleLayout, axes: tuple[str, ...], block: int) -> ScaleLayout:
    levels = tuple(
        Level(tuple((a, max(b, block) if a in axes else b) for a, b in level.blocks), level.kind)
        for level in layout.levels
    )
    return ScaleLayout(layout.axes, levels, layout.code)


def _regroup(problem: Problem, found: Finding, axes: tuple[str, ...]) -> list[Repair]:
    block = max(COARSE, problem.native_depth)
    if found.verdict == "segmented" or not _only_shared(found):
        return []
    target = replace(problem, lhs=_with_block(problem.lhs, axes, block), rhs=_with_block(problem.rhs, axes, block))
    contraction = problem.contraction
    outputs = contraction.batch + contraction.rows + contraction.outer_rhs
    parts = judge(target).partial_sums
    does = (
        f"share scales in groups of at least {block} along {','.join(axes)}, so that {parts} partial sums are rescaled"
    )
    return [Repair("regroup", does, True, (), (Work("rescale", outputs, float(parts)),), target, problem, _keep)]


def _pad(problem: Problem, found: Finding) -> list[Repair]:
    """Fill each block with zeros up to the native depth."""
    blocks = {(one.axis, one.block) for one in found.varying}
    if found.verdict == "segmented" or len(blocks) != 1 or not _only_shared(found):
        return []
    axis, block = blocks.pop()
    depth = problem.native_depth
    if problem.order[-1] != axis or block >= depth:
        return []
    size = problem.sizes[axis]
    padded = -(-size // block) * depth
    target = _resize(
        replace(problem, lhs=_with_block(problem.lhs, (axis,), depth), rhs=_with_block(problem.rhs, (axis,), depth)),
        axis,
        padded,
    )
    contraction = problem.contraction
    macs = tuple(dict.fromkeys(contraction.batch + contraction.rows + contraction.outer_rhs + contraction.reduction))
    outputs = contraction.batch + contraction.rows + contraction.outer_rhs
    return [
        Repair(
            "pad",
            f"fill each block of {block} along {axis} with zeros up to the depth of {depth}",
            True,
            (Work("move", contraction.labels_of("rhs")),),
            (
                Work("integer MAC", macs, padded / size - 1),
                Work("rescale", outputs, float(-(-size // block))),
            ),
            target,
            problem,
            lambda before, after, lhs, rhs: _one(
                after, *transforms.pad(before.contraction, lhs, rhs, axis, block, depth)
            ),
        )
    ]


def _tabulate(problem: Problem) -> Repair:
    layouts = {
        operand: replace(problem.layout(operand), code="codebook(int8)")
        if problem.layout(operand).code == "codebook(real)"
        else problem.layout(operand)
        for operand in OPERANDS
    }
    target = replace(problem, lhs=layouts["lhs"], rhs=layouts["rhs"])
    works = [
        _moves(problem, operand, "move") for operand in OPERANDS if problem.layout(operand).code == "codebook(real)"
    ]
    return Repair(
        "decode to int8",
        "round the table to int8 and look every code up before the multipliers",
        False,
        tuple(Work("round", ()) for _ in works),
        tuple(replace(one, operation="look-up") for pair in works for side in pair for one in side),
        target,
        problem,
        _keep,
    )
