"""Plans of an integer contraction: scans and quantization, the array, and an epilogue."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hwsim.datapath.profiles import multiplier_profile, requantization_profile
from hwsim.lowering.operands import spec_of
from hwsim.plan import (
    AddBias,
    CorrectZeroPoints,
    Decode,
    Dequantize,
    Migrate,
    MultiplyAccumulate,
    Plan,
    Quantize,
    Requantize,
    RescalePartialSums,
    ScanRange,
    Step,
    Stored,
    SumForZeroPoint,
)
from quant import Contraction, FloatFormat, IntFormat, Verdict, parse_format

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.lowering.operands import Operand
    from quant import Scheme
    from workloads import Layer

BIAS_BITS = 32

_FLOAT_PROFILES = frozenset(
    {"float64-away", "xnnpack-fp32", "float32-even", "zero-point-first", "onnx-reference", "gemmini-scale"}
)
_ROUNDED_TWICE = frozenset({"gemmlowp-double", "ruy-avx512", "qnnpack-q31"})


def integer_plan(
    layer: Layer, scheme: Scheme, accelerator: Accelerator, lhs: Operand, rhs: Operand, verdict: Verdict
) -> Plan:
    """Write the plan of an integer contraction, cut where the verdict says."""
    return _IntegerPlan(layer, scheme, accelerator, lhs, rhs, verdict).write()


@dataclass(frozen=True, slots=True)
class _IntegerPlan:
    """Writes the plan of an integer contraction, step by step."""

    layer: Layer
    scheme: Scheme
    accelerator: Accelerator
    lhs: Operand
    rhs: Operand
    verdict: Verdict

    def write(self) -> Plan:
        mac = self.mac()
        before = (*self.prepare(self.lhs), *self.prepare(self.rhs), *self.decode(), *self.preload(mac))
        steps = (*before, mac, *self.epilogue(mac))
        result_bits = self.result_bits
        bias_bits = BIAS_BITS if self.integer_bias else parse_format(self.scheme.carrier).bits
        return Plan(
            layer=self.layer,
            scheme=self.scheme,
            verdict=self.verdict,
            steps=steps,
            lhs=self.stored(self.lhs),
            rhs=self.stored(self.rhs),
            bias=Stored(mac.n, bias_bits, bias_bits) if self.layer.bias is not None or self.offline_term else None,
            out=Stored(mac.batch * mac.m * mac.n, result_bits, result_bits),
        )

    @property
    def static(self) -> bool:
        return self.scheme.strategy == "static"

    @property
    def carrier(self) -> FloatFormat:
        carrier = parse_format(self.scheme.carrier)
        if not isinstance(carrier, FloatFormat):
            msg = f"carrier must be a float format, not {carrier}"
            raise TypeError(msg)
        return carrier

    @property
    def result_bits(self) -> int:
        return self.output_format.bits if self.static else self.carrier.bits

    @property
    def output_format(self) -> IntFormat:
        output = self.scheme.output
        if output is None:
            msg = f"output of {self.scheme.name} must be given with strategy {self.scheme.strategy}"
            raise ValueError(msg)
        if output.layout != "per_tensor" or output.code != "affine":
            msg = f"output of {self.scheme.name} must be affine and per_tensor, not {output.code} and {output.layout}"
            raise ValueError(msg)
        return output.integer_format

    @property
    def segmented(self) -> bool:
        return self.verdict.verdict == "segmented"

    @property
    def integer_bias(self) -> bool:
        """A bias joins the integer sum only where one scale is known beforehand: static, and a single sum."""
        return self.static and not self.segmented

    @property
    def offline_term(self) -> bool:
        """The sums of constant weights times a constant zero point are known beforehand and preloaded."""
        return self.integer_bias and self.layer.rhs_kind == "weight" and not spec_of(self.lhs).symmetric

    def is_constant(self, operand: Operand) -> bool:
        return operand.role == "rhs" and self.layer.rhs_kind == "weight"

    def producer_of(self, operand: Operand) -> str:
        """Say what makes the operand."""
        return self.layer.lhs_producer if operand.role == "lhs" else self.layer.rhs_producer

    def is_cache(self, operand: Operand) -> bool:
        """Whether earlier calls have stored it as integers with their scales."""
        return self.producer_of(operand) == "cache"

    def stored(self, operand: Operand) -> Stored:
        spec = spec_of(operand)
        bits = spec.integer_format.bits
        if self.is_constant(operand) or self.is_cache(operand):
            return Stored(operand.elements, bits, bits, operand.overhead_bits)
        # A dynamic scheme gets floats from DRAM and keeps integers on chip.
        return Stored(operand.elements, bits if self.static else self.carrier.bits, bits)

    def prepare(self, operand: Operand) -> list[Step]:
        """Turn an activation into integers."""
        if self.is_constant(operand):
            return []
        spec = spec_of(operand)
        steps: list[Step] = []
        if operand.role == "lhs" and self.scheme.smooth is not None and self.layer.rhs_kind == "weight":
            steps.append(Migrate(operand.elements, self.static, self.carrier))
        at: Literal["load", "producer", "requantizer", "earlier"] = "load"
        if self.is_cache(operand):
            at = "earlier"
        elif self.static:
            self._require_static(operand)
            # A requantizer delivers what the next layer multiplies only if it was made for that.
            ready = self.producer_of(operand) == "contraction" and spec == self.scheme.output and not steps
            at = "requantizer" if ready else "producer"
        else:
            scales = operand.elements // operand.elements_per_scale
            barrier = operand.elements_per_scale
            scan = ScanRange(operand.role, operand.elements, scales, barrier, self.carrier, spec.symmetric)
            steps.append(scan)
        quantize = Quantize(
            operand.role, operand.elements, self.carrier, spec.integer_format, spec, dynamic=not self.static, at=at
        )
        return [*steps, quantize]

    def _require_static(self, operand: Operand) -> None:
        contraction = Contraction.parse(self.layer.contraction)
        outer = contraction.outer_lhs if operand.role == "lhs" else contraction.outer_rhs
        along = [a for a in (operand.layout.varying if operand.layout else ()) if a in (*outer, *contraction.batch)]
        if along:
            msg = (
                f"static activation scales of {self.layer.name} must not vary along tokens, which are not known "
                f"beforehand, not {operand.layout}"
            )
            raise ValueError(msg)

    def decode(self) -> list[Step]:
        """Look up codebook weights."""
        spec = spec_of(self.rhs)
        if spec.code != "codebook":
            return []
        return [Decode(self.rhs.elements, 1 << spec.integer_format.bits, self.rhs.mac_format)]

    def preload(self, mac: MultiplyAccumulate) -> list[Step]:
        """Start the accumulators at an integer bias, constant zero-point terms included."""
        if not self.integer_bias or (self.layer.bias is None and not self.offline_term):
            return []
        return [AddBias(mac.batch * mac.m * mac.n, IntFormat(BIAS_BITS))]

    def mac(self) -> MultiplyAccumulate:
        """Cut the contraction where the verdict says."""
        gemm = self.layer.gemm
        shift = spec_of(self.rhs).code == "pow2"
        return MultiplyAccumulate(
            gemm.batch,
            gemm.m,
            gemm.k,
            gemm.n,
            self.boundaries(),
            lhs=self.lhs.mac_format,
            rhs=spec_of(self.rhs).integer_format if shift else self.rhs.mac_format,
            accumulator_bits=self.accelerator.accumulator.bits,
            unit="shift" if shift else "multiply",
            saturate=self.accelerator.accumulator.overflow == "saturate",
        )

    def boundaries(self) -> tuple[int, ...]:
        """First index of each segment of the reduction."""
        if not self.segmented:
            return (0,)
        first_output = dict.fromkeys(self.verdict.problem.contraction.out, 0)
        return tuple(sorted({0, *self.verdict.cuts(first_output)}))

    def epilogue(self, mac: MultiplyAccumulate) -> list[Step]:
        """Zero-point sums and corrections, then scaling, bias and the result's format."""
        outputs = mac.batch * mac.m * mac.n
        partial_sums = outputs * mac.segments
        steps = self.zero_points(mac, partial_sums)
        bias: list[Step] = []
        if self.layer.bias is not None and not self.integer_bias:
            bias = [AddBias(outputs, self.carrier)]
        if self.segmented:
            steps.append(RescalePartialSums(partial_sums, _rescale_kind(self.verdict.rescale), mac.accumulator_bits))
            steps += bias
        elif self.static:
            return [*steps, self.requantize(outputs, mac)]
        else:
            steps += [Dequantize(outputs, mac.accumulator_bits, self.carrier), *bias]
        if self.static and self.scheme.output is not None:
            steps.append(
                Quantize(
                    "out", outputs, self.carrier, self.output_format, self.scheme.output, dynamic=False, at="producer"
                )
            )
        return steps

    def requantize(self, outputs: int, mac: MultiplyAccumulate) -> Requantize:
        """Use the requantizer that the machine has: a narrower multiplier, or none, is another arithmetic."""
        chosen = requantization_profile(self.scheme.requantization)
        profile = chosen.name
        if chosen.real_bias or profile == "nvdla-convertor":
            msg = f"requantization must be of integer sums by one scale, not {profile}"
            raise ValueError(msg)
        bits = self.accelerator.requantizer.multiplier_bits
        unit: Literal["fixed", "double", "shift", "float"] = "fixed"
        if profile.startswith("shift-") or profile == "gemmini-shift":
            unit = "shift"
        elif profile in _FLOAT_PROFILES:
            unit = "float"
        elif bits == 0:
            msg = f"requantization must be a shift, as this machine has no multiplier for it, not {profile}"
            raise ValueError(msg)
        elif bits < 32:
            profile = multiplier_profile(bits).name
        elif profile in _ROUNDED_TWICE:
            unit = "double"
        return Requantize(outputs, unit, profile, mac.accumulator_bits, bits, self.output_format)

    def zero_points(self, mac: MultiplyAccumulate, partial_sums: int) -> list[Step]:
        """Take sums at run time, and the multiply-adds that are not folded into a preloaded constant.

        The term of the lhs zero point, ``z_A sum W``, is preloaded if both are constants; with a range taken at
        run time, or with partial sums, it costs a multiply-add for each sum. The term of the rhs zero point
        needs the sums of lhs, which are new with every call.
        """
        steps: list[Step] = []
        terms = 0
        if not spec_of(self.lhs).symmetric:
            weight = self.layer.rhs_kind == "weight"
            if not weight:
                steps.append(self._sums(self.rhs, mac))
            terms += 0 if self.offline_term else 1
        if not spec_of(self.rhs).symmetric:
            steps.append(self._sums(self.lhs, mac))
            terms += 1
        if terms:
            bits = max(spec_of(o).integer_format.bits for o in (self.lhs, self.rhs)) + 1
            steps.append(CorrectZeroPoints(terms * partial_sums, bits, mac.accumulator_bits))
        return steps

    def _sums(self, operand: Operand, mac: MultiplyAccumulate) -> SumForZeroPoint:
        bits = operand.mac_format.bits + max(1, math.ceil(math.log2(mac.k)))
        return SumForZeroPoint(operand.role, operand.elements, bits, self.scheme.zero_point_sums, mac.component)


def _rescale_kind(text: str) -> Literal["shift", "integer", "float"]:
    match text:
        case "shift" | "integer" | "float":
            return text
        case _:
            msg = f"partial sums must be joined by shift, integer or float, not {text}"
            raise ValueError(msg)
