"""Judge by values: known scales of both operands, known codes of one, or both."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.contraction import Operand

from .finding import Finding, Given
from .judgement import COST, conclude
from .problem import OPERANDS, Problem, Varying
from .runs import Segments, segments, varying_levels
from .terms import (
    Scales,
    Terms,
    changes,
    changes_within,
    check_scales,
    chunks,
    join,
    measure,
    numbered,
    sorted_changes,
)

_KIND_COST = {"pow2": "shift", "int": "integer", "real": "float"}


def check_given(
    problem: Problem, scales: tuple[object, object] | None, codes: tuple[npt.ArrayLike | None, npt.ArrayLike | None]
) -> Given:
    """Check scales of both operands and codes of one.

    Raises
    ------
    ValueError
        If an array does not fit its operand, or one is missing or too many.
    """
    checked: dict[Operand, Scales] | None = None
    if scales is not None:
        if scales[0] is None or scales[1] is None:
            missing = "lhs_scales" if scales[0] is None else "rhs_scales"
            msg = f"scales must be given for both operands, not without {missing}"
            raise ValueError(msg)
        checked = {x: check_scales(problem, x, given) for x, given in zip(OPERANDS, scales, strict=True)}
    if codes[0] is not None and codes[1] is not None:
        msg = "codes must be given for one operand, not for both"
        raise ValueError(msg)
    for operand, array, zero, number in zip(
        OPERANDS,
        codes,
        (problem.lhs_zero, problem.rhs_zero),
        (problem.lhs_format, problem.rhs_format),
        strict=True,
    ):
        if array is None:
            continue
        known = np.asarray(array)
        shape = problem.contraction.shape_of(operand, problem.sizes)
        if known.shape != shape or known.dtype.kind not in "iu" or not number.contains(known):
            msg = f"{operand}_codes must be {number} integers of shape {shape}, not {known.dtype} {known.shape}"
            raise ValueError(msg)
        if zero is not None:
            msg = f"{operand}_zero must be left out where {operand}_codes are given, not {zero}"
            raise ValueError(msg)
        return Given(checked, operand, known)
    return Given(checked)


def judge_given(problem: Problem, given: Given, tolerance: float) -> Finding:
    """Decide by looking at the terms of every kind of output."""
    if not problem.gemm.k or not problem.order:
        return conclude(problem, segments(problem), (), {}, given, tolerance)
    pieces = []
    conflict: tuple[int, Any] = (0, None)
    shifts = True
    for terms in chunks(problem, _kinds_of_output(problem, given)):
        present = terms.present()
        if given.codes is not None and given.codes_of is not None:
            present = present & (terms.gather(given.codes_of, given.codes) != 0)
        if given.scales is None:
            numbers = terms.classes()
            mantissas = numbers
        else:
            mantissa, exponent = terms.exact(given.scales)
            numbers = numbered(mantissa, exponent)
            mantissas = numbered(mantissa, np.zeros((1, 1), np.int64))
        if tolerance and given.scales is not None:
            values = mantissa.astype(np.float64) * np.exp2(exponent.astype(np.float64))
            cuts = changes_within(values, present, tolerance)
            sorted_cuts, order = cuts, np.broadcast_to(np.arange(cuts.shape[1]), cuts.shape)
        else:
            cuts = changes(numbers, present)
            sorted_cuts, order = sorted_changes(numbers, present)
        pieces.append(measure(cuts, present, sorted_cuts, order, terms.widths))
        shifts = shifts and given.scales is not None and not changes(mantissas, present).any()
        row = int(cuts.sum(axis=1).argmax())
        if pieces[-1].runs > conflict[0] and pieces[-1].runs > 1:
            conflict = (pieces[-1].runs, _conflict(terms, row, cuts[row], present[row], numbers[row]))
    found = join(pieces)
    moving = varying_levels(problem) if found.runs > 1 else ()
    if given.scales is not None:
        moving = tuple(one for one in moving if _moves(given.scales, problem, one))
    kinds: dict[str, Segments] = {}
    if found.runs > 1:
        dearest = max((_KIND_COST[one.kind] for one in moving), key=COST.index, default="float")
        kinds = {"shift" if shifts else dearest: found}
    return conclude(problem, found, moving, kinds, replace(given, conflict=conflict[1]), tolerance)


def _moves(scales: Mapping[Operand, Scales], problem: Problem, one: Varying) -> bool:
    axis = problem.contraction.labels_of(one.operand).index(one.axis)
    array = scales[one.operand][one.level]
    return bool((array != np.take(array, [0], axis=axis)).any())


def _kinds_of_output(problem: Problem, given: Given) -> dict[str, npt.NDArray[np.int64]]:
    """Choose positions of the output labels that show every kind of output."""
    sizes = problem.sizes
    reduced = {operand: set(problem.reduced(operand)) for operand in OPERANDS}
    links = {link.out: link for link in problem.contraction.links}
    chosen: dict[str, npt.NDArray[np.int64]] = {}
    for label in problem.contraction.out:
        blocks: set[int] = set()
        everywhere = False
        for operand in OPERANDS:
            everywhere |= given.codes_of == operand and label in problem.contraction.labels_of(operand)
            for level in problem.layout(operand).levels:
                moves = any(level.block_of(axis) for axis in reduced[operand])
                block = level.block_of(label)
                if moves and block is not None and label in problem.contraction.labels_of(operand):
                    blocks.add(block)
        if label in links:
            link = links[label]
            listed = any(level.block_of(link.lhs) for level in problem.lhs.levels)
            everywhere |= listed or given.codes_of == "lhs"
            if not everywhere:
                _, present = link.lhs_at(np.arange(sizes[link.rhs]), np.arange(sizes[label])[:, None], sizes[link.lhs])
                chosen[label] = np.unique(present, axis=0, return_index=True)[1].astype(np.int64)
                continue
        if everywhere:
            chosen[label] = np.arange(sizes[label])
        else:
            starts = set(itertools.chain.from_iterable(range(0, sizes[label], block) for block in blocks)) | {0}
            chosen[label] = np.array(sorted(starts), np.int64)
    if len(problem.order) == 1 and not links and given.codes is None:
        label = problem.order[0]
        steps = {x for _, _, level in problem.levels() if (x := level.block_of(label))}
        starts = set(itertools.chain.from_iterable(range(0, sizes[label], block) for block in steps)) | {0}
        chosen[label] = np.array(sorted(starts), np.int64)
    return chosen


def _conflict(
    terms: Terms, row: int, cuts: npt.NDArray[Any], present: npt.NDArray[Any], numbers: npt.NDArray[Any]
) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Find an output and two of its terms with different scales."""
    after = int(np.flatnonzero(cuts)[0])
    earlier = np.flatnonzero(present[:after] & (numbers[:after] != numbers[after]))
    index = np.unravel_index(row, terms.grid) if terms.grid else ()
    output = {x: int(terms.positions[x][i]) for x, i in zip(terms.out_labels, index, strict=True)}
    return output, terms.step_at(int(earlier[-1])), terms.step_at(after)
