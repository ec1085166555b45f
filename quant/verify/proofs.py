"""Find the operands that prove a verdict."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from .finding import Finding
from .problem import Problem, Varying
from .terms import Terms, numbered
from .witness import Witness, between, of_codes, step_at, with_weights

BENT = (Fraction(0), Fraction(1), Fraction(3))
"""A decoder that is not affine; one among the real tables that a layout allows."""


def find_witness(found: Finding) -> Witness | None:
    """Find two terms of one output that differ in scale, and put a 1 on each."""
    problem = found.problem
    for step in found.decode:
        if step.kind == "real":
            return of_codes(problem, step.operand, BENT)
    if found.verdict == "once" or found.segments.runs == 1:
        return None
    if found.given.conflict is not None:
        output, one, two = found.given.conflict
        return _of_pair(found, output, (one, two))
    return _by_layout(problem, found.varying)


def _of_pair(found: Finding, output: Mapping[str, int], steps: tuple[Mapping[str, int], Mapping[str, int]]) -> Witness:
    """Prove with two terms of an output, under the scales and codes that are known."""
    blind = between(found.problem, output, steps, found.given.scales)
    if found.given.codes is None or found.given.codes_of is None:
        return blind
    return with_weights(blind, found.given.codes_of, found.given.codes)


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


def numbered_steps(found: Finding, output: Mapping[str, int]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Give every step of one output the number of its scale.

    Returns
    -------
    numbers : int64 [steps]
        Equal where the scales are equal.
    present : bool [steps]
        Which steps count.
    """
    terms = Terms(found.problem, {label: np.array([position]) for label, position in output.items()})
    present = terms.present()
    if found.given.codes is not None and found.given.codes_of is not None:
        present = present & (terms.gather(found.given.codes_of, found.given.codes) != 0)
    scales = found.given.scales
    numbers = terms.classes() if scales is None else numbered(*terms.exact(scales))
    return numbers[0], present[0]


def refute(found: Finding, output: Mapping[str, int], parts: Sequence[Sequence[int]]) -> Witness | None:
    """Find two terms of different scale in one part of a partition of the reduction of an output.

    Raises
    ------
    ValueError
        If the parts are no partition of the steps.
    """
    steps = sorted(step for part in parts for step in part)
    if steps != list(range(found.reduction_length)):
        msg = f"parts must hold each of the {found.reduction_length} steps once, not {len(steps)} steps"
        raise ValueError(msg)
    if found.verdict == "once":
        return None
    numbers, present = numbered_steps(found, output)
    for part in parts:
        there = [step for step in part if present[step]]
        other = next((step for step in there if numbers[step] != numbers[there[0]]), None)
        if other is not None:
            pair = step_at(found.problem, there[0]), step_at(found.problem, other)
            return _of_pair(found, output, pair)
    return None
