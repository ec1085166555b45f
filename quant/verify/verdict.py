"""The verdict: a finding with everything that follows from it, each worked out when it is asked for."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.layout import ScaleLayoutError

from .executor import execute, execute_float32
from .finding import RANK, Finding
from .proofs import find_witness, numbered_steps, refute
from .repairs import Repair
from .sentences import epilogue, explain
from .suggestions import suggest
from .terms import changes
from .witness import Witness


@dataclass(frozen=True, eq=False)
class Verdict(Finding):
    """Whether real results can be restored after the integer sum, and how: a `Finding` with its proof and its repairs.

    Build it with `decide`.

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

    @classmethod
    def of(cls, found: Finding) -> Verdict:
        """Make a verdict of what was found."""
        return cls(**{one.name: getattr(found, one.name) for one in fields(found)})

    @cached_property
    def explanation(self) -> str:
        """Why, in one sentence that names the axis, and what follows, in a second."""
        return explain(self, self.repairs if self.verdict == "incompatible" else ())

    @cached_property
    def witness(self) -> Witness | None:
        """Operands that prove that nothing simpler can do; None for ``once``."""
        return find_witness(self)

    @cached_property
    def repairs(self) -> tuple[Repair, ...]:
        """Ways to a better verdict, cheapest at run time first; empty for ``once``."""
        return suggest(self)

    def refute(self, parts: Sequence[Sequence[int]]) -> Witness | None:
        """Refute a way to split the reduction into partial sums, or return None if it suffices.

        Parameters
        ----------
        parts : step numbers
            Steps of each partial sum, in loop order, for the output of the witness. A partition into fewer parts than
            `Segments.classes` is always refuted; one into fewer contiguous parts than `Segments.runs`, too.
        """
        return refute(self, self._output(), parts)

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
        self.require("segmented")
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
        self.require("segmented")
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

        Parameters
        ----------
        output
            Position along output labels; the output of the witness where left out.

        Returns
        -------
        numbers : int64 [steps]
        present : bool [steps]
        """
        return numbered_steps(self, self._output() if output is None else output)

    def _output(self) -> dict[str, int]:
        """Position of the output that the witness is about; the first one where there is no witness."""
        labels = self.problem.contraction.out
        where = self.witness.output if self.witness is not None else (0,) * len(labels)
        return dict(zip(labels, where, strict=True))

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

    def _repr_html_(self) -> str:
        rows = {**self.to_row(), "epilogue": epilogue(self), "witness": self.witness or "none needed"}
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td style='text-align:left;white-space:pre-line'>"
            f"{html.escape(str(value))}</td></tr>"
            for name, value in rows.items()
        )
        return f"<p><b>{self.verdict}</b>: {html.escape(self.explanation)}</p><table>{cells}</table>"
