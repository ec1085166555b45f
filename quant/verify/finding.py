"""What was decided: plain data, and what can be read off it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

import numpy.typing as npt

from quant.contraction import Operand
from quant.layout import SCALE_BITS

from .bounds import AccumulatorBound
from .corrections import Correction
from .epilogue import Bias, Factor
from .problem import Problem, Varying
from .runs import Segments, segments

Outcome = Literal["once", "segmented", "incompatible"]
RANK: dict[str, int] = {"incompatible": 0, "segmented": 1, "once": 2}


@dataclass(frozen=True, slots=True)
class Decode:
    """A step before the multipliers, which codes that are not affine need.

    Attributes
    ----------
    operand
        Whose codes.
    kind
        ``table``: a look-up gives the integers; ``shift``: a sign and an exponent do; ``real``: a look-up gives real
        numbers, which no integer multiplier takes.
    """

    operand: Operand
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """Values that a verdict was decided on, and where it found a conflict.

    Attributes
    ----------
    scales
        Scales of both operands, or None.
    codes_of, codes
        Operand whose codes are known, and the codes; or None.
    conflict
        Output and the two steps whose scales differ, or None.
    """

    scales: Mapping[Operand, tuple[npt.NDArray[Any], ...]] | None = None
    codes_of: Operand | None = None
    codes: npt.NDArray[Any] | None = None
    conflict: tuple[dict[str, int], dict[str, int], dict[str, int]] | None = None


@dataclass(frozen=True, eq=False)
class Finding:
    """What was decided on a pair of layouts, for which machine.

    Attributes
    ----------
    problem
        The question, with every default filled in.
    verdict
        ``once``: one dequantization after the whole sum; ``segmented``: one for each of a few partial sums;
        ``incompatible``: neither on this machine.
    basis
        What it holds for: ``layout``, all scales of these layouts; ``values``, these scales; ``weights``, these codes
        of one operand too.
    tolerance
        Relative error of the scale that the verdict allows; 0 for exact.
    decoder_class
        What is ruled out when the verdict is not ``once``.
    varying
        Levels that change along the reduction.
    segments
        How the reduction falls apart.
    partial_sums : per output
        Integer sums that the plan keeps apart: 1 for once; for incompatible, as many as there are runs.
    segment : steps
        Longest length such that cutting every so many steps separates all scales; the whole reduction for once.
    min_run : steps
        Shortest run of equal scale in the order used.
    needs_reorder
        The plan sorts the reduction by scale first.
    gathered : elements
        Elements of the operand that is known late which sorting moves at run time.
    rescale
        What joins partial sums: ``none``, ``shift``, ``integer``, ``float``.
    rescales_by_kind : per output
        Operations of each kind, nested: shifts within integer multiples within float multiples.
    utilization : 0..1
        Share of the native depth that is used if every segment is padded to a multiple of it.
    decode
        Steps before the multipliers.
    epilogue
        The scales as broadcast factors.
    bias
        Where a bias is exact.
    corrections
        Zero-point terms.
    accumulator
        Width of the sums, exactly.
    given
        Values it was decided on.
    """

    problem: Problem
    verdict: Outcome
    basis: str
    tolerance: float
    decoder_class: str
    varying: tuple[Varying, ...]
    segments: Segments
    partial_sums: int
    segment: int
    min_run: int
    needs_reorder: bool
    gathered: int
    rescale: str
    rescales_by_kind: Mapping[str, int]
    utilization: float
    decode: tuple[Decode, ...]
    epilogue: tuple[Factor, ...]
    bias: Bias
    corrections: tuple[Correction, ...]
    accumulator: AccumulatorBound
    given: Given = field(default_factory=Given, repr=False)

    @property
    def reduction(self) -> tuple[str, ...]:
        """Labels that are summed, in the order of rhs."""
        return self.problem.contraction.reduction

    @property
    def order(self) -> tuple[str, ...]:
        """Labels that are summed, outermost loop first."""
        return self.problem.order

    @property
    def reduction_length(self) -> int:
        """Steps of the whole reduction."""
        return self.segments.length

    @property
    def native_depth(self) -> int:
        """Products that the machine adds before a partial sum can be seen."""
        return self.problem.native_depth

    @property
    def accumulator_bits(self) -> int:
        """Bits that one integer partial sum needs."""
        return self.accumulator.bits

    @cached_property
    def loop_order(self) -> tuple[str, ...]:
        """Loop order that needs no sorting where `order` does: what changes outside, what does not inside; or empty."""
        if not self.needs_reorder or self.given.scales is not None or self.given.codes is not None:
            return ()
        taps = {link.lhs: link.rhs for link in self.problem.contraction.links}
        moving = {taps.get(one.axis, one.axis) for one in self.varying}
        order = tuple(sorted(self.order, key=lambda label: label not in moving))
        cut = segments(replace(self.problem, order=order))
        return order if cut.inner_run >= self.native_depth else ()

    def storage_bits(self, operand: Operand) -> int:
        """Bits of all scales of one operand."""
        return sum(part.entries * SCALE_BITS[part.kind] for part in self.epilogue if part.operand == operand)

    def to_row(self) -> dict[str, Any]:
        """Flatten into one row of a table; units are in the names."""
        gemm = self.problem.gemm
        return {
            "contraction": str(self.problem.contraction),
            "lhs": str(self.problem.lhs),
            "rhs": str(self.problem.rhs),
            "verdict": self.verdict,
            "basis": self.basis,
            "native_depth": self.native_depth,
            "partial_sums": self.partial_sums,
            "segment": self.segment,
            "min_run": self.min_run,
            "needs_reorder": self.needs_reorder,
            "rescale": self.rescale,
            **{f"rescales_{kind}": count for kind, count in self.rescales_by_kind.items()},
            "utilization": self.utilization,
            "accumulator_bits": self.accumulator_bits,
            "lhs_scale_bits": self.storage_bits("lhs"),
            "rhs_scale_bits": self.storage_bits("rhs"),
            "varying": ", ".join(f"{v.operand} {v.axis}:{v.block}" for v in self.varying),
            "macs": gemm.macs,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the fields; what follows from them is found again."""
        return {one.name: getattr(self, one.name) for one in fields(self)}
