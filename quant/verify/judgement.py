"""Judge by layout how the reduction falls apart, and conclude what follows from that for the machine."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from quant.contraction import Operand

from .bounds import bound, channel_bits
from .corrections import corrections
from .epilogue import bias_rule, factors
from .finding import Decode, Finding, Given, Outcome
from .problem import OPERANDS, Problem, Varying
from .runs import Lengths, Segments, segments, varying_levels

COST = ("none", "shift", "integer", "float")
"""What joins partial sums, cheapest first."""
_ANY = "any function of all accumulators"
_OWN = "any function of the output's own accumulator"


@functools.lru_cache(maxsize=8192)
def judge(problem: Problem) -> Finding:
    """Decide a checked question by layout: for all scales that these layouts can hold."""
    moving = varying_levels(problem)
    found = segments(problem)
    kinds = {kind: segments(problem, names) for kind, names in _nests(moving)}
    return conclude(problem, found, moving, kinds, Given(), 0.0)


def _nests(moving: Sequence[Varying]) -> list[tuple[str, tuple[str, ...]]]:
    """Which kinds of levels cut the sums that each rescale joins, finest first."""
    present = {one.kind for one in moving}
    nests = [("shift", ("pow2", "int", "real")), ("integer", ("int", "real")), ("float", ("real",))]
    return [(kind, names) for kind, names in nests if names[0] in present]


def conclude(
    problem: Problem,
    found: Segments,
    moving: tuple[Varying, ...],
    kinds: Mapping[str, Segments],
    given: Given,
    tolerance: float,
) -> Finding:
    """Put together what follows from how the reduction falls apart."""
    depth = problem.native_depth
    decode = tuple(_decode(x, layout.code) for x in OPERANDS if (layout := problem.layout(x)).code != "affine")
    outcome, reorder = _judge(found, depth)
    if any(step.kind == "real" for step in decode):
        outcome = "incompatible"
    basis = "weights" if given.codes is not None else "layout" if given.scales is None else "values"
    parts = found.classes if reorder else found.runs
    lengths = found.class_lengths if reorder else found.lengths
    longest = found.max_class if reorder else found.max_run
    by_kind = _counts(kinds, reorder)
    rescale = max(by_kind, key=COST.index, default="none")
    epilogue = factors(problem, moving)
    outer = "none" if rescale == "none" else "int" if set(by_kind) == {"integer"} else "fp32"
    multiplier = 255 ** sum(one.kind == "int" for one in {(v.operand, v.level): v for v in moving}.values())
    accumulator = bound(
        longest,
        found.length,
        (problem.lhs_format, problem.rhs_format),
        (problem.lhs_zero is not None, problem.rhs_zero is not None),
        outer,
        multiplier,
    )
    finding = Finding(
        problem,
        outcome,
        basis,
        tolerance,
        _OWN if basis == "weights" else _ANY,
        moving,
        found,
        parts,
        found.min_class if reorder else found.aligned,
        found.min_class if reorder else found.min_run,
        reorder,
        _gathered(problem) if reorder else 0,
        rescale,
        by_kind,
        _utilization(lengths, depth),
        decode,
        epilogue,
        bias_rule(problem, epilogue),
        corrections(problem, parts if outcome == "segmented" else 1),
        accumulator,
        given,
    )
    return _with_weights(finding) if given.codes_of == "rhs" else finding


def _judge(found: Segments, depth: int) -> tuple[Outcome, bool]:
    """Apply theorem 1, then theorem 5 with the native depth; the second value says that sorting is needed."""
    if found.runs == 1:
        return "once", False
    if found.inner_run >= depth:
        return "segmented", False
    short = sum(count for size, count in found.class_lengths if size < depth)
    if short <= 1:  # the short one, if any, goes to the end
        return "segmented", True
    return "incompatible", False


def _counts(kinds: Mapping[str, Segments], reorder: bool) -> dict[str, int]:
    """Count rescales of each kind; a cheap factor that changes no oftener than a dear one is part of that one."""
    counts: dict[str, int] = {}
    dearer = 1
    for kind in ("float", "integer", "shift"):
        if kind in kinds:
            number = kinds[kind].classes if reorder else kinds[kind].runs
            if number > dearer:
                counts[kind] = number
                dearer = number
    return {kind: counts[kind] for kind in ("shift", "integer", "float") if kind in counts}


def _decode(operand: Operand, code: str) -> Decode:
    return Decode(operand, "shift" if code == "pow2" else "real" if code == "codebook(real)" else "table")


def _gathered(problem: Problem) -> int:
    """Elements that sorting the reduction moves at run time: those of lhs, and of rhs unless it is a weight."""
    gemm = problem.gemm
    return gemm.batch * gemm.k * (gemm.m + (0 if problem.rhs_kind == "weight" else gemm.n))


def _with_weights(found: Finding) -> Finding:
    """Replace the worst case of the accumulator by the bound of the known weights."""
    codes = found.given.codes
    contraction = found.problem.contraction
    if codes is None:
        return found
    plain = contraction.im2col()
    order = contraction.batch + contraction.reduction + contraction.outer_rhs
    gemm = found.problem.gemm
    matrix = np.transpose(codes, [plain.rhs.index(x) for x in order]).reshape(gemm.batch, gemm.k, gemm.n)
    bits = channel_bits(matrix, found.problem.lhs_format)
    accumulator = replace(
        found.accumulator,
        bits=min(found.accumulator.bits, int(bits.max())),
        proof="weights",
        per_channel=tuple(bits.ravel().tolist()),
    )
    return replace(found, accumulator=accumulator)


def _utilization(lengths: Lengths, depth: int) -> float:
    """Share of used slots when runs are padded to a multiple of the native depth."""
    used = sum(length * count for length, count in lengths)
    return used / sum(math.ceil(length / depth) * depth * count for length, count in lengths)
