"""Decide whether real results can be restored after the integer sum.

The claim, by layout: there is a function of *all* accumulators, scales and shapes that gives the real results for all
integer operands and all scales if and only if, for every output, the block index of every level is constant along the
terms present. By values the same with these scales. By weights: there is a function of the output's *own* accumulator
if and only if the scale is constant over the terms whose given code is not 0.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.contraction import Contraction, Operand
from quant.formats import IntFormat
from quant.layout import ScaleLayout

from .bounds import bound, channel_bits
from .corrections import corrections
from .epilogue import bias_rule, factors
from .problem import OPERANDS, Problem, RhsKind, Varying, build_problem
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
from .verdict import Decode, Given, Outcome, Verdict, padded_utilization

_COST = ("none", "shift", "integer", "float")
_KIND_COST = {"pow2": "shift", "int": "integer", "real": "float"}
_ANY = "any function of all accumulators"
_OWN = "any function of the output's own accumulator"


def decide(
    contraction: str | Contraction,
    lhs: str | ScaleLayout = "per_tensor",
    rhs: str | ScaleLayout = "per_tensor",
    *,
    sizes: Mapping[str, int],
    native_depth: int = 2,
    order: Sequence[str] | None = None,
    lhs_zero: str | ScaleLayout | None = None,
    rhs_zero: str | ScaleLayout | None = None,
    lhs_format: str | IntFormat = "int8",
    rhs_format: str | IntFormat = "int8",
    lhs_static: bool = False,
    rhs_kind: RhsKind = "weight",
    lhs_scales: object = None,
    rhs_scales: object = None,
    lhs_codes: npt.ArrayLike | None = None,
    rhs_codes: npt.ArrayLike | None = None,
    tolerance: float = 0.0,
) -> Verdict:
    """Decide by layout, by values or by weights, and say which.

    Parameters
    ----------
    contraction
        ``"mk,kn->mn"``, ``"conv2d stride=2 padding=1"`` or any other text of `Contraction.parse`.
    lhs, rhs
        Scale layouts, in the grammar of `parse_layout`.
    sizes
        Length of every label; output axes of a convolution follow from equal padding.
    native_depth : products
        How many products the hardware adds before a partial sum can be seen; 2 means that any run longer than a single
        product is a segment.
    order
        Reduction labels, outermost loop first; those of rhs in its order by default.
    lhs_zero, rhs_zero
        Layouts of zero points, in the same grammar; None for symmetric.
    lhs_format, rhs_format
        Integers that reach the multipliers; the table of a codebook overrides it.
    lhs_static
        Scale and zero point of lhs are known before run time.
    rhs_kind
        ``weight``, ``activation`` or ``cached``; says what can be computed offline.
    lhs_scales, rhs_scales
        Scales, one array a level; given for both operands, the verdict is by values.
    lhs_codes, rhs_codes : integer
        Known codes of one operand, usually the weights; the verdict is by weights: zero codes impose nothing.
    tolerance
        Relative difference of scales that counts as none, by values only.

    Returns
    -------
    verdict
        Cheap: independent of the sizes for einsums by layout.

    Raises
    ------
    ValueError
        If an argument breaks a rule; the text says which.

    Notes
    -----
    The last segment of the reduction may be shorter than the native depth, as the reduction's own end may.

    Examples
    --------
    >>> sizes = dict(m=256, k=512, n=256)
    >>> v = decide("mk,kn->mn", lhs="per_channel_in", rhs="per_channel", sizes=sizes)
    >>> v.verdict, v.witness.check()
    ('incompatible', True)
    >>> print(v.witness)
    scale of lhs, level 0, block [0,1] is 2; all others are 1
    first: lhs[0,0]=1, rhs[0,0]=1 -> acc[0,0] = 1, real = 1
    second: lhs[0,1]=1, rhs[1,0]=1 -> acc[0,0] = 1, real = 2
    """
    problem = build_problem(
        contraction,
        lhs,
        rhs,
        sizes,
        native_depth=native_depth,
        order=order,
        lhs_zero=lhs_zero,
        rhs_zero=rhs_zero,
        lhs_format=lhs_format,
        rhs_format=rhs_format,
        lhs_static=lhs_static,
        rhs_kind=rhs_kind,
    )
    by_values = lhs_scales is not None or rhs_scales is not None
    if tolerance < 0 or (tolerance and not by_values):
        msg = f"tolerance must be 0, or positive with scales given, not {tolerance}"
        raise ValueError(msg)
    if not by_values and lhs_codes is None and rhs_codes is None:
        return decide_problem(problem)
    given = _given(problem, (lhs_scales, rhs_scales) if by_values else None, (lhs_codes, rhs_codes))
    return _by_terms(problem, given, tolerance)


def _given(
    problem: Problem, scales: tuple[object, object] | None, codes: tuple[npt.ArrayLike | None, npt.ArrayLike | None]
) -> Given:
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


@functools.lru_cache(maxsize=8192)
def decide_problem(problem: Problem) -> Verdict:
    """Decide a checked question by layout."""
    moving = varying_levels(problem)
    found = segments(problem)
    kinds = {kind: segments(problem, names) for kind, names in _nests(moving)}
    return _conclude(problem, found, moving, kinds, Given(), 0.0)


def _nests(moving: Sequence[Varying]) -> list[tuple[str, tuple[str, ...]]]:
    """Which kinds of levels cut the sums that each rescale joins, finest first."""
    present = {one.kind for one in moving}
    nests = [("shift", ("pow2", "int", "real")), ("integer", ("int", "real")), ("float", ("real",))]
    return [(kind, names) for kind, names in nests if names[0] in present]


def _conclude(
    problem: Problem,
    found: Segments,
    moving: tuple[Varying, ...],
    kinds: Mapping[str, Segments],
    given: Given,
    tolerance: float,
) -> Verdict:
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
    rescale = max(by_kind, key=_COST.index, default="none")
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
    verdict = Verdict(
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
        padded_utilization(lengths, depth),
        decode,
        epilogue,
        bias_rule(problem, epilogue),
        corrections(problem, parts if outcome == "segmented" else 1),
        accumulator,
        given,
    )
    return _with_weights(verdict) if given.codes_of == "rhs" else verdict


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


def _with_weights(verdict: Verdict) -> Verdict:
    """Replace the worst case of the accumulator by the bound of the known weights."""
    codes = verdict.given.codes
    contraction = verdict.problem.contraction
    if codes is None:
        return verdict
    plain = contraction.im2col()
    order = contraction.batch + contraction.reduction + contraction.outer_rhs
    gemm = verdict.problem.gemm
    matrix = np.transpose(codes, [plain.rhs.index(x) for x in order]).reshape(gemm.batch, gemm.k, gemm.n)
    bits = channel_bits(matrix, verdict.problem.lhs_format)
    accumulator = replace(
        verdict.accumulator,
        bits=min(verdict.accumulator.bits, int(bits.max())),
        proof="weights",
        per_channel=tuple(bits.ravel().tolist()),
    )
    return replace(verdict, accumulator=accumulator)


def _by_terms(problem: Problem, given: Given, tolerance: float) -> Verdict:
    """Decide by looking at the terms of every kind of output."""
    if not problem.gemm.k or not problem.order:
        return _conclude(problem, segments(problem), (), {}, given, tolerance)
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
        dearest = max((_KIND_COST[one.kind] for one in moving), key=_COST.index, default="float")
        kinds = {"shift" if shifts else dearest: found}
    return _conclude(problem, found, moving, kinds, replace(given, conflict=conflict[1]), tolerance)


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
