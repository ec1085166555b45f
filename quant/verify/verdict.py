"""The verdict: what was decided, for which machine, why, and everything that follows from it."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from quant.contraction import Operand
from quant.layout import SCALE_BITS, ScaleLayoutError

from . import sentences
from .bounds import AccumulatorBound
from .corrections import Correction
from .epilogue import Bias, Factor
from .problem import Problem, Varying
from .runs import Lengths, Segments, segments
from .terms import Terms, changes, numbered
from .witness import Witness

if TYPE_CHECKING:
    from .repairs import Repair

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
class Verdict:
    """Whether real results can be restored after the integer sum, and how.

    Build it with `decide`.

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

    Examples
    --------
    >>> from quant import decide
    >>> sizes = dict(m=256, k=512, n=256)
    >>> v = decide("mk,kn->mn", lhs="per_token", rhs="n:1,k:128", sizes=sizes)
    >>> v.verdict, v.partial_sums, v.segment, v.rescale
    ('segmented', 4, 128, 'float')
    >>> v.witness.check()
    True
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

    @cached_property
    def explanation(self) -> str:
        """Why, in one sentence that names the axis, and what follows, in a second."""
        return sentences.explain(self)

    @cached_property
    def witness(self) -> Witness | None:
        """Operands that prove that nothing simpler can do; None for ``once``."""
        from .proofs import find_witness  # noqa: PLC0415  proofs build verdicts' evidence and import this module

        return find_witness(self)

    @cached_property
    def repairs(self) -> tuple[Repair, ...]:
        """Ways to a better verdict, cheapest at run time first; empty for ``once``."""
        from .repairs import suggest  # noqa: PLC0415  repairs call decide, which imports this module

        return suggest(self)

    def refute(self, parts: Sequence[Sequence[int]]) -> Witness | None:
        """Refute a way to split the reduction into partial sums, or return None if it suffices.

        Parameters
        ----------
        parts : step numbers
            Steps of each partial sum, in loop order, for the output of the witness. A partition into fewer parts than
            `Segments.classes` is always refuted; one into fewer contiguous parts than `Segments.runs`, too.
        """
        from .proofs import refute  # noqa: PLC0415  see witness

        return refute(self, parts)

    def require(self, at_least: str) -> Verdict:
        """Return self if the verdict is as good as asked.

        Raises
        ------
        ScaleLayoutError
            If it is not; the text is the explanation.
        """
        if at_least not in RANK:
            msg = f"verdict must be one of {', '.join(RANK)}, not {at_least!r}"
            raise ValueError(msg)
        if RANK[self.verdict] < RANK[at_least]:
            raise ScaleLayoutError(self.explanation)
        return self

    def execute(
        self,
        lhs: npt.ArrayLike,
        rhs: npt.ArrayLike,
        lhs_scales: object = None,
        rhs_scales: object = None,
        *,
        lhs_zero: npt.ArrayLike | None = None,
        rhs_zero: npt.ArrayLike | None = None,
    ) -> npt.NDArray[Any]:
        """Run the plan in exact arithmetic: integer partial sums, rational scales.

        Slow; for proofs and tests.

        Parameters
        ----------
        lhs, rhs : integer
            What reaches the multipliers, codes after decoding.
        lhs_scales, rhs_scales
            One array a level, in scale shape; None for the scales that the verdict was decided on.
        lhs_zero, rhs_zero : integer
            Zero points in the scale shape of their layout.

        Returns
        -------
        out : object array of Fraction
            Real results.

        Raises
        ------
        ScaleLayoutError
            If the verdict is ``incompatible``, or scales do not fit.
        """
        from .executor import execute  # noqa: PLC0415  see witness

        return execute(self, lhs, rhs, lhs_scales, rhs_scales, lhs_zero, rhs_zero)

    def execute_float32(
        self,
        lhs: npt.ArrayLike,
        rhs: npt.ArrayLike,
        lhs_scales: object = None,
        rhs_scales: object = None,
        *,
        lhs_zero: npt.ArrayLike | None = None,
        rhs_zero: npt.ArrayLike | None = None,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Run the plan with float32 rescaling; also return how far it can be from `execute`.

        Each partial sum is converted to float32, multiplied by its float32 scale, and added in order.

        Returns
        -------
        out : float32
        bound : float64
            ``gamma(S + L + 1) sum |c part|`` with S partial sums, L levels, unit 2**-24.
        """
        from .executor import execute_float32  # noqa: PLC0415  see witness

        return execute_float32(self, lhs, rhs, lhs_scales, rhs_scales, lhs_zero, rhs_zero)

    def cuts(self, output: Mapping[str, int] | None = None) -> tuple[int, ...]:
        """Return the steps at which a new partial sum begins for one output, in loop order.

        Parameters
        ----------
        output
            Position along output labels; the output of the witness where left out.
        """
        numbers, present = self.classes_at(output)
        return tuple(np.flatnonzero(changes(numbers[None], present[None])[0]).tolist())

    def classes_at(self, output: Mapping[str, int] | None = None) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return a number for the scale of every step of one output, and which steps count.

        Returns
        -------
        numbers : int64 [steps]
        present : bool [steps]
        """
        if output is None:
            found = self.witness
            where = found.output if found is not None else (0,) * len(self.problem.contraction.out)
            output = dict(zip(self.problem.contraction.out, where, strict=True))
        terms = Terms(self.problem, {label: np.array([position]) for label, position in output.items()})
        present = terms.present()
        if self.given.codes is not None and self.given.codes_of is not None:
            present = present & (terms.gather(self.given.codes_of, self.given.codes) != 0)
        scales = self.given.scales
        numbers = terms.classes() if scales is None else numbered(*terms.exact(scales))
        return numbers[0], present[0]

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

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain data, for JSON."""
        problem = self.problem
        return {
            "contraction": str(problem.contraction),
            "sizes": problem.sizes,
            "lhs": str(problem.lhs),
            "rhs": str(problem.rhs),
            "lhs_zero": None if problem.lhs_zero is None else str(problem.lhs_zero),
            "rhs_zero": None if problem.rhs_zero is None else str(problem.rhs_zero),
            "verdict": self.verdict,
            "basis": self.basis,
            "tolerance": self.tolerance,
            "decoder_class": self.decoder_class,
            "explanation": self.explanation,
            "reduction": list(self.reduction),
            "reduction_length": self.reduction_length,
            "order": list(self.order),
            "varying": [asdict(one) for one in self.varying],
            "segments": asdict(self.segments),
            "partial_sums": self.partial_sums,
            "segment": self.segment,
            "min_run": self.min_run,
            "needs_reorder": self.needs_reorder,
            "gathered": self.gathered,
            "loop_order": list(self.loop_order),
            "rescale": self.rescale,
            "rescales_by_kind": dict(self.rescales_by_kind),
            "native_depth": self.native_depth,
            "utilization": self.utilization,
            "decode": [asdict(one) for one in self.decode],
            "epilogue": [asdict(one) for one in self.epilogue],
            "bias": asdict(self.bias),
            "corrections": [asdict(one) for one in self.corrections],
            "accumulator_bits": self.accumulator_bits,
            "accumulator": asdict(self.accumulator),
            "witness": None if self.witness is None else str(self.witness).splitlines(),
            "repairs": [one.to_dict() for one in self.repairs],
        }

    def __str__(self) -> str:
        return f"{self.verdict}: {self.explanation}"

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the fields; what follows from them is found again."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def _repr_html_(self) -> str:
        rows = {**self.to_row(), "epilogue": sentences.epilogue(self), "witness": self.witness or "none needed"}
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td style='text-align:left;white-space:pre-line'>"
            f"{html.escape(str(value))}</td></tr>"
            for name, value in rows.items()
        )
        return f"<p><b>{self.verdict}</b>: {html.escape(self.explanation)}</p><table>{cells}</table>"


def padded_utilization(lengths: Lengths, depth: int) -> float:
    """Share of used slots when runs are padded to a multiple of the native depth."""
    used = sum(length * count for length, count in lengths)
    return used / sum(math.ceil(length / depth) * depth * count for length, count in lengths)
