"""One contraction to be lowered to integers: what it is, under which scheme, on which machine, with which verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.lowering.layer_operands import spec_of
from quant import FloatFormat, IntFormat, Verdict, parse_format

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.lowering.layer_operands import Operand
    from quant import OperandSpec, Scheme
    from workloads import Layer


@dataclass(frozen=True, slots=True)
class Task:
    """What a plan of integers is written from, and what all of its parts ask.

    Parameters
    ----------
    asked
        The layer as the network has it.
    layer
        The layer as the array sees it, which may have more channels.
    """

    asked: Layer
    layer: Layer
    scheme: Scheme
    accelerator: Accelerator
    lhs: Operand
    rhs: Operand
    verdict: Verdict

    @property
    def static(self) -> bool:
        """Whether scales are known beforehand and results are integers."""
        return self.scheme.strategy == "static"

    @property
    def carrier(self) -> FloatFormat:
        """Format of values that are no integers.

        Raises
        ------
        TypeError
            If the scheme's carrier is no float format.
        """
        carrier = parse_format(self.scheme.carrier)
        if not isinstance(carrier, FloatFormat):
            msg = f"carrier must be a float format, not {carrier}"
            raise TypeError(msg)
        return carrier

    @property
    def output(self) -> OperandSpec:
        """Spec of a static scheme's results.

        Raises
        ------
        ValueError
            If there is none, or results would not have one scale.
        """
        output = self.scheme.output
        if output is None:
            msg = f"output of {self.scheme.name} must be given with strategy {self.scheme.strategy}"
            raise ValueError(msg)
        if output.layout != "per_tensor" or output.code != "affine":
            msg = f"output of {self.scheme.name} must be affine and per_tensor, not {output.code} and {output.layout}"
            raise ValueError(msg)
        return output

    @property
    def output_format(self) -> IntFormat:
        """Format of a static scheme's results."""
        return self.output.integer_format

    @property
    def result_bits(self) -> int:
        """Width of a result in memory."""
        return self.output_format.bits if self.static else self.carrier.bits

    @property
    def weight(self) -> bool:
        """Whether rhs is known beforehand."""
        return self.layer.rhs_kind == "weight"

    @property
    def segmented(self) -> bool:
        """Whether scales cut the reduction."""
        return self.verdict.verdict == "segmented"

    @property
    def encoded(self) -> bool:
        """Whether activations become indices of prototypes."""
        return spec_of(self.lhs).code == "pq"

    @property
    def integer_bias(self) -> bool:
        """A bias joins the integer sum only where one scale is known beforehand: static, and a single sum."""
        return self.static and not self.segmented

    @property
    def offline_term(self) -> bool:
        """The sums of constant weights times a constant zero point are known beforehand and preloaded."""
        return self.integer_bias and self.weight and not spec_of(self.lhs).symmetric

    @property
    def outputs(self) -> int:
        """Number of results."""
        gemm = self.layer.gemm
        return gemm.batch * gemm.m * gemm.n

    def is_constant(self, operand: Operand) -> bool:
        """Whether an operand is known beforehand."""
        return operand.role == "rhs" and self.weight

    def producer_of(self, operand: Operand) -> str:
        """Say what makes the operand."""
        return self.layer.lhs_producer if operand.role == "lhs" else self.layer.rhs_producer

    def is_cache(self, operand: Operand) -> bool:
        """Whether earlier calls have stored it as integers with their scales."""
        return self.producer_of(operand) == "cache"
