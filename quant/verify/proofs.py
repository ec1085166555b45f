"""Find the operands that prove a verdict."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from .problem import Problem, Varying
from .verdict import Verdict
from .witness import Witness, between, of_codes, step_at, with_weights

BENT = (Fraction(0), Fraction(1), Fraction(3))
"""A decoder that is not affine; one among the real tables that a layout allows."""


def find_witness(found: Verdict) -> Witness | None:
    """Find two terms of one output that differ in scale, and put a 1 on each."""
    problem = found.problem
    for step in found.decode:
        if step.kind == "real":
            return of_codes(problem, step.operand, BENT)
    if found.verdict == "once" or found.segments.runs == 1:
        return None
    if found.given.conflict is not None:
        output, one, two = found.given.conflict
        blind = between(problem, output, (one, two), found.given.scales)
        if found.given.codes is None or found.given.codes_of is None:
            return blind
        return with_weights(blind, found.given.codes_of, found.given.codes)
    return _by_layout(problem, found.varying)


def _by_layout(problem: Problem, varying: Sequence[Varying]) -> Witness:
    """Step over the first block boundary of the innermost loop that has one."""
    images = {link.lhs: link.rhs for link in problem.contraction.links}
    loops = {one: problem.order.index(images.get(one.axis, one.axis)) for one in varying}
    one = max(varying, key=loops.__getitem__)
    output = dict.fromkeys(problem.contraction.out, 0)
    first = dict.fromkeys(problem.order, 0)
    second = dict(first)
    for link in problem.contraction.links:
        mine = one.axis in (link.lhs, link.rhs)
        block = (one.block if one.axis == link.lhs else 0, one.block if one.axis == link.rhs else 0)
        taps = np.arange(problem.sizes[link.rhs])
        for out in range(problem.sizes[link.out]):
            position, present = link.lhs_at(taps, out, problem.sizes[link.lhs])
            there = taps[present].tolist()
            pairs = [
                (a, b)
                for a, b in itertools.pairwise(there)
                if (block[0] and position[a] // block[0] != position[b] // block[0])
                or (block[1] and a // block[1] != b // block[1])
            ]
            if pairs or (there and not mine):
                output[link.out] = out
                first[link.rhs], second[link.rhs] = pairs[0] if pairs else (there[0], there[0])
                break
    if one.axis in first and one.axis in problem.contraction.shared:
        first[one.axis], second[one.axis] = one.block - 1, one.block
    return between(problem, output, (first, second))


def refute(found: Verdict, parts: Sequence[Sequence[int]]) -> Witness | None:
    """Find two terms of different scale in one part of a partition of the reduction.

    Raises
    ------
    ValueError
        If the parts are no partition of the steps.
    """
    steps = sorted(step for part in parts for step in part)
    if steps != list(range(found.reduction_length)):
        msg = f"parts must hold each of the {found.reduction_length} steps once, not {len(steps)} steps"
        raise ValueError(msg)
    known = found.witness
    if known is None:
        return None
    output = dict(zip(found.problem.contraction.out, known.output, strict=True))
    numbers, present = found.classes_at(output)
    for part in parts:
        there = [step for step in part if present[step]]
        other = next((step for step in there if numbers[step] != numbers[there[0]]), None)
        if other is not None:
            pair = step_at(found.problem, there[0]), step_at(found.problem, other)
            blind = between(found.problem, output, pair, found.given.scales)
            if found.given.codes is None or found.given.codes_of is None:
                return blind
            return with_weights(blind, found.given.codes_of, found.given.codes)
    return None
