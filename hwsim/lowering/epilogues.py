"""Steps from the sums of the array to results: zero points, scales, bias, and the format of the result."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from hwsim.datapath.profiles import multiplier_profile, requantization_profile
from hwsim.lowering.layer_operands import spec_of
from hwsim.plan import (
    AddBias,
    CorrectZeroPoints,
    Dequantize,
    MultiplyOutliers,
    Quantize,
    Requantize,
    RescalePartialSums,
    Step,
    SumForZeroPoint,
)

if TYPE_CHECKING:
    from hwsim.lowering.layer_operands import Operand
    from hwsim.lowering.task import Task
    from hwsim.plan import MultiplyAccumulate

OUTER_BITS = 64
"""Widest register that shifted partial sums are joined in."""
LONGEST_SHIFT = 31

_FLOAT_PROFILES = frozenset(
    {"float64-away", "xnnpack-fp32", "float32-even", "zero-point-first", "onnx-reference", "gemmini-scale"}
)
_ROUNDED_TWICE = frozenset({"gemmlowp-double", "ruy-avx512", "qnnpack-q31"})


def epilogue(task: Task, mac: MultiplyAccumulate) -> list[Step]:
    """Write zero-point sums and corrections, then scaling, bias and the result's format."""
    steps = _zero_points(task, mac)
    outputs = task.outputs
    if task.segmented:
        rescale = _rescale(task, mac)
        steps.append(rescale)
        if rescale.kind != "float":
            shifted = rescale.kind == "shift" or rescale.reach > 0
            steps.append(Dequantize(outputs, rescale.outer_bits, task.carrier, _constant_scales(task), shifted))
    elif task.static:
        return [*steps, _requantize(task, mac)]
    else:
        steps.append(Dequantize(outputs, mac.accumulator_bits, task.carrier))
    if task.scheme.outliers is not None and task.weight:
        gemm = task.layer.gemm
        channels = task.scheme.outliers.capacity(gemm.k)
        weights = spec_of(task.rhs).integer_format
        steps.append(MultiplyOutliers(gemm.batch, gemm.m, channels, gemm.n, weights, task.carrier))
    if task.layer.bias is not None:
        steps.append(AddBias(outputs, task.carrier))
    if task.static:
        output = task.output
        steps.append(
            Quantize("out", outputs, task.carrier, output.integer_format, output, dynamic=False, at="producer")
        )
    return steps


def _rescale(task: Task, mac: MultiplyAccumulate) -> RescalePartialSums:
    """Join partial sums; integers are joined in a register that is as wide as exact sums need, or as wide as there is.

    Raises
    ------
    ValueError
        If sums and integer scales alone are wider than the widest register.
    """
    partial_sums, kind = task.outputs * mac.segments, _rescale_kind(task.verdict.rescale)
    if kind == "float":
        return RescalePartialSums(partial_sums, kind, mac.accumulator_bits)
    lengths = [stop - start for start, stop in zip(mac.boundaries, (*mac.boundaries[1:], mac.k), strict=True)]
    widths = [side.mac_format.bits + (not spec_of(side).symmetric) for side in (task.lhs, task.rhs)]
    one_sum = min(mac.accumulator_bits, (max(lengths) << sum(widths)).bit_length())
    moving = {(one.operand, one.level) for one in task.verdict.varying}
    levels = [
        (spec_of(side), level.kind)
        for side in (task.lhs, task.rhs)
        for index, level in enumerate(side.layout.levels if side.layout else ())
        if (side.role, index) in moving
    ]
    factor_bits = sum(spec.storage_bits("int") for spec, each in levels if each == "int")
    needed = one_sum + factor_bits + math.ceil(math.log2(mac.segments)) + 1
    if needed > OUTER_BITS:
        msg = f"partial sums of {task.layer.name} must fit {OUTER_BITS} bits after rescaling, not take {needed}"
        raise ValueError(msg)
    reach = min(LONGEST_SHIFT, OUTER_BITS - needed) if any(each == "pow2" for _, each in levels) else 0
    return RescalePartialSums(partial_sums, kind, mac.accumulator_bits, factor_bits, reach, needed + reach)


def _constant_scales(task: Task) -> int:
    """Count operands with a scale that does not move along the reduction, and so stays for the end."""
    moving = {(one.operand, one.level) for one in task.verdict.varying}
    return sum(
        any((side.role, index) not in moving for index in range(len(side.layout.levels)))
        for side in (task.lhs, task.rhs)
        if side.layout is not None
    )


def _rescale_kind(text: str) -> Literal["shift", "integer", "float"]:
    match text:
        case "shift" | "integer" | "float":
            return text
        case _:
            msg = f"partial sums must be joined by shift, integer or float, not {text}"
            raise ValueError(msg)


def _requantize(task: Task, mac: MultiplyAccumulate) -> Requantize:
    """Use the requantizer that the machine has: a narrower multiplier, or none, is another arithmetic."""
    chosen = requantization_profile(task.scheme.requantization)
    profile = chosen.name
    if chosen.real_bias or profile == "nvdla-convertor":
        msg = f"requantization must be of integer sums by one scale, not {profile}"
        raise ValueError(msg)
    bits = task.accelerator.requantizer.multiplier_bits
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
    return Requantize(task.outputs, unit, profile, mac.accumulator_bits, bits, task.output_format)


def _zero_points(task: Task, mac: MultiplyAccumulate) -> list[Step]:
    """Take sums at run time, and the multiply-adds that are not folded into a preloaded constant.

    The term of the lhs zero point, ``z_A sum W``, is preloaded if both are constants; with a range taken at
    run time, or with partial sums, it costs a multiply-add for each sum. The term of the rhs zero point
    needs the sums of lhs, which are new with every call.
    """
    steps: list[Step] = []
    terms = 0
    if not spec_of(task.lhs).symmetric:
        if not task.weight:
            steps.append(_sums(task, task.rhs, mac))
        terms += 0 if task.offline_term else 1
    if not spec_of(task.rhs).symmetric:
        steps.append(_sums(task, task.lhs, mac))
        terms += 1
    if terms:
        bits = max(spec_of(o).integer_format.bits for o in (task.lhs, task.rhs)) + 1
        steps.append(CorrectZeroPoints(terms * task.outputs * mac.segments, bits, mac.accumulator_bits))
    return steps


def _sums(task: Task, operand: Operand, mac: MultiplyAccumulate) -> SumForZeroPoint:
    bits = operand.mac_format.bits + max(1, (mac.k - 1).bit_length())
    return SumForZeroPoint(operand.role, operand.elements, bits, task.scheme.zero_point_sums, mac.component)
