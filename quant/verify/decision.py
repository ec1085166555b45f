"""Decide whether real results can be restored after the integer sum.

The claim, by layout: there is a function of *all* accumulators, scales and shapes that gives the real results for all
integer operands and all scales if and only if, for every output, the block index of every level is constant along the
terms present. By values the same with these scales. By weights: there is a function of the output's *own* accumulator
if and only if the scale is constant over the terms whose given code is not 0.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy.typing as npt

from quant.contraction import Contraction
from quant.formats import IntFormat
from quant.layout import ScaleLayout

from .judgement import judge
from .known_values import check_given, judge_given
from .problem import Problem, RhsKind, build_problem
from .verdict import Verdict


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
        return verdict_on(problem)
    given = check_given(problem, (lhs_scales, rhs_scales) if by_values else None, (lhs_codes, rhs_codes))
    return Verdict.of(judge_given(problem, given, tolerance))


@functools.lru_cache(maxsize=8192)
def verdict_on(problem: Problem) -> Verdict:
    """Decide a checked question by layout, once."""
    return Verdict.of(judge(problem))
