"""Lower a layer and a scheme to the plan of an accelerator, as the verdict on its scale layouts allows."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hwsim.datapath.profiles import multiplier_profile, requantization_profile
from hwsim.plan import (
    AddBias,
    CorrectZeroPoints,
    Decode,
    Dequantize,
    DequantizeWeights,
    Migrate,
    MultiplyAccumulate,
    Plan,
    Quantize,
    Requantize,
    RescalePartialSums,
    Role,
    ScanRange,
    Step,
    Stored,
    SumForZeroPoint,
)
from quant import Contraction, FloatFormat, IntFormat, ScaleLayout, Verdict, decide, parse_format, parse_layout

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from quant import Gemm, OperandSpec, Scheme
    from workloads import Layer

BIAS_BITS = 32

_FLOAT_PROFILES = frozenset(
    {"float64-away", "xnnpack-fp32", "float32-even", "zero-point-first", "onnx-reference", "gemmini-scale"}
)
_ROUNDED_TWICE = frozenset({"gemmlowp-double", "ruy-avx512", "qnnpack-q31"})


class IllegalLayoutError(ValueError):
    """A scheme whose scales can not leave the integer sums of a layer on this machine.

    Parameters
    ----------
    layer
        Name of the layer.
    verdict
        Why, with a witness and repairs.
    """

    def __init__(self, layer: str, verdict: Verdict) -> None:
        super().__init__(
            f"scale layouts of {layer} must be dequantizable after accumulation, but {verdict.explanation}"
        )
        self.layer = layer
        self.verdict = verdict


@dataclass(frozen=True, slots=True)
class Operand:
    """One operand of a contraction under a scheme: what it is stored as and what the array multiplies.

    Parameters
    ----------
    role, axes, sizes
        Which one, its labels and how long they are.
    spec
        None where it stays float.
    """

    role: Role
    axes: tuple[str, ...]
    sizes: tuple[int, ...]
    spec: OperandSpec | None
    layout: ScaleLayout | None

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.sizes)

    @property
    def mac_format(self) -> IntFormat:
        """Format of the integers that the array multiplies.

        Raises
        ------
        TypeError
            If the operand stays float.
        """
        match self.spec:
            case None:
                msg = f"{self.role} must be quantized to have an integer format"
                raise TypeError(msg)
            case spec if spec.code == "codebook":
                return IntFormat(8, narrow=True)
            case spec if spec.code == "pow2":
                return IntFormat(1 << (spec.integer_format.bits - 1), narrow=True)
            case spec:
                return spec.integer_format

    @property
    def overhead_bits(self) -> int:
        """Scales, zero points and decoding table of a stored constant."""
        if self.spec is None or self.layout is None:
            return 0
        real_bits = parse_format(self.spec.scale_format).bits
        bits = sum(
            math.prod(level.scale_shape(self.axes, self.sizes)) * (real_bits if level.kind == "real" else 8)
            for level in self.layout.levels
        )
        if not self.spec.symmetric:
            bits += math.prod(self.layout.levels[0].scale_shape(self.axes, self.sizes)) * self.spec.integer_format.bits
        if self.spec.code == "codebook":
            bits += (1 << self.spec.integer_format.bits) * 8
        return bits

    @property
    def elements_per_scale(self) -> int:
        """Elements that must be seen before the first real scale is known."""
        if self.layout is None:
            return 0
        blocks = self.layout.levels[0].block_size(self.axes)
        return math.prod(
            size if block == -1 else min(size, block) for size, block in zip(self.sizes, blocks, strict=True)
        )


def operands(layer: Layer, scheme: Scheme) -> tuple[Operand, Operand]:
    """Both operands of a layer under a scheme, layouts resolved for its contraction.

    ``per_token`` of an activation on the right-hand side is a scale for each index that its output keeps.

    Raises
    ------
    ValueError
        If a layout does not fit the contraction.
    """
    contraction = Contraction.parse(layer.contraction)
    specs = scheme.operand_specs(rhs_is_weight=layer.rhs_kind == "weight")
    pair: list[Operand] = []
    roles: tuple[Role, Role] = ("lhs", "rhs")
    for role, spec in zip(roles, specs, strict=True):
        axes = contraction.labels_of(role)
        sizes = tuple(layer.sizes[axis] for axis in axes)
        layout = None
        if spec is not None:
            text = "per_channel" if role == "rhs" and spec.layout == "per_token" else spec.layout
            try:
                layout = parse_layout(text, axes, contraction, role)
            except ValueError as error:
                error.add_note(f"in the {role} layout of {layer.name} under {scheme.name}")
                raise
        pair.append(Operand(role, axes, sizes, spec, layout))
    return pair[0], pair[1]


def verdict_of(layer: Layer, scheme: Scheme, accelerator: Accelerator) -> Verdict | None:
    """Verdict on the scale layouts of a layer; None where its MAC is a float one."""
    lhs, rhs = operands(layer, scheme)
    if lhs.layout is None or rhs.layout is None or lhs.spec is None or rhs.spec is None:
        return None
    return _decide(
        layer.contraction,
        str(lhs.layout),
        str(rhs.layout),
        tuple(layer.sizes.items()),
        accelerator.array.native_depth,
        None if lhs.spec.symmetric else str(lhs.layout),
        None if rhs.spec.symmetric else str(rhs.layout),
        lhs.mac_format.name,
        rhs.mac_format.name,
    )


@functools.lru_cache(maxsize=4096)
def _decide(
    contraction: str,
    lhs: str,
    rhs: str,
    sizes: tuple[tuple[str, int], ...],
    native_depth: int,
    lhs_zero: str | None,
    rhs_zero: str | None,
    lhs_format: str,
    rhs_format: str,
) -> Verdict:
    return decide(
        contraction,
        lhs=lhs,
        rhs=rhs,
        sizes=dict(sizes),
        native_depth=native_depth,
        lhs_zero=lhs_zero,
        rhs_zero=rhs_zero,
        lhs_format=lhs_format,
        rhs_format=rhs_format,
    )


def lower(layer: Layer, scheme: Scheme, accelerator: Accelerator) -> Plan:
    """Write the plan of one layer.

    Raises
    ------
    IllegalLayoutError
        If no integer array of this accelerator's depth can run the scheme's layouts; it carries the verdict.
    ValueError
        If a layout does not fit the contraction, or a static scheme has scales that vary along tokens.

    Examples
    --------
    >>> import hwsim, quant, workloads
    >>> layer = workloads.gemm(4, 8, 2).layers[0]
    >>> plan = hwsim.lower(layer, quant.Scheme.load("w8a8-static"), hwsim.Accelerator.load("edge-16x16"))
    >>> [type(step).__name__ for step in plan.steps]
    ['Quantize', 'MultiplyAccumulate', 'Requantize']
    """
    lhs, rhs = operands(layer, scheme)
    if lhs.spec is None or rhs.spec is None:
        return _float_plan(layer, scheme, lhs, rhs)
    verdict = verdict_of(layer, scheme, accelerator)
    if verdict is None:
        msg = f"operands of {layer.name} must both be quantized or both float under {scheme.name}"
        raise ValueError(msg)
    # The array streams the reduction in order; it has no address generator that gathers equal scales.
    if verdict.verdict == "incompatible" or verdict.needs_reorder:
        raise IllegalLayoutError(layer.name, verdict)
    return _IntegerPlan(layer, scheme, accelerator, lhs, rhs, verdict).write()


def _float_plan(layer: Layer, scheme: Scheme, lhs: Operand, rhs: Operand) -> Plan:
    """Write a float MAC; weights stored as integers are dequantized on the way into their buffer."""
    carrier = parse_format(scheme.carrier)
    gemm = _gemm(layer)
    steps: list[Step] = []
    stored = Stored(rhs.elements, carrier.bits, carrier.bits)
    if rhs.spec is not None and isinstance(carrier, FloatFormat):
        steps.append(DequantizeWeights(rhs.elements, rhs.spec.integer_format, carrier))
        stored = Stored(rhs.elements, rhs.spec.integer_format.bits, carrier.bits, rhs.overhead_bits)
    steps.append(
        MultiplyAccumulate(gemm.batch, gemm.m, gemm.k, gemm.n, (0,), carrier, carrier, accumulator_bits=0, unit="float")
    )
    outputs = gemm.batch * gemm.m * gemm.n
    if layer.bias is not None:
        steps.append(AddBias(outputs, carrier))
    return Plan(
        layer=layer,
        scheme=scheme,
        verdict=None,
        steps=tuple(steps),
        lhs=Stored(lhs.elements, carrier.bits, carrier.bits),
        rhs=stored,
        bias=None if layer.bias is None else Stored(gemm.n, carrier.bits, carrier.bits),
        out=Stored(outputs, carrier.bits, carrier.bits),
    )


def _gemm(layer: Layer) -> Gemm:
    return Contraction.parse(layer.contraction).gemm(layer.sizes)


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
        return self.integer_bias and self.layer.rhs_kind == "weight" and not _spec(self.lhs).symmetric

    def is_constant(self, operand: Operand) -> bool:
        return operand.role == "rhs" and self.layer.rhs_kind == "weight"

    def stored(self, operand: Operand) -> Stored:
        spec = _spec(operand)
        bits = spec.integer_format.bits
        if self.is_constant(operand):
            return Stored(operand.elements, bits, bits, operand.overhead_bits)
        # A dynamic scheme gets floats from DRAM and keeps integers on chip.
        return Stored(operand.elements, bits if self.static else self.carrier.bits, bits)

    def prepare(self, operand: Operand) -> list[Step]:
        """Turn an activation into integers."""
        if self.is_constant(operand):
            return []
        spec = _spec(operand)
        steps: list[Step] = []
        if operand.role == "lhs" and self.scheme.smooth is not None and self.layer.rhs_kind == "weight":
            steps.append(Migrate(operand.elements, self.static, self.carrier))
        at: Literal["load", "producer", "requantizer"] = "load"
        if self.static:
            self._require_static(operand)
            producer = self.layer.lhs_producer if operand.role == "lhs" else self.layer.rhs_producer
            # A requantizer delivers what the next layer multiplies only if it was made for that.
            ready = producer == "contraction" and spec == self.scheme.output and not steps
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
        spec = _spec(self.rhs)
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
        gemm = _gemm(self.layer)
        shift = _spec(self.rhs).code == "pow2"
        return MultiplyAccumulate(
            gemm.batch,
            gemm.m,
            gemm.k,
            gemm.n,
            self.boundaries(),
            lhs=self.lhs.mac_format,
            rhs=_spec(self.rhs).integer_format if shift else self.rhs.mac_format,
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
        if not _spec(self.lhs).symmetric:
            weight = self.layer.rhs_kind == "weight"
            if not weight:
                steps.append(self._sums(self.rhs, mac))
            terms += 0 if self.offline_term else 1
        if not _spec(self.rhs).symmetric:
            steps.append(self._sums(self.lhs, mac))
            terms += 1
        if terms:
            bits = max(_spec(o).integer_format.bits for o in (self.lhs, self.rhs)) + 1
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


def _spec(operand: Operand) -> OperandSpec:
    if operand.spec is None:
        msg = f"{operand.role} must be quantized"
        raise TypeError(msg)
    return operand.spec
