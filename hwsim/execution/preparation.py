"""The offline work of a plan: quantize constants, fix static ranges, fold smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwsim.execution.migration import along, migration_of
from hwsim.execution.prototypes import Prototypes, fit_prototypes
from hwsim.execution.quantization import Float32, quantized, rounded
from hwsim.execution.repetition import Copies, copies_of, repeat_activation, repeat_weight
from hwsim.execution.rotation import rotate_activation, rotate_weight
from hwsim.lowering import operands
from hwsim.lowering.operand_plans import channel_axis
from hwsim.plan import EncodePrototypes, Quantize
from quant import Contraction, ScaleLayout, parse_layout, quantize_operand

if TYPE_CHECKING:
    from hwsim.execution.samples import Samples
    from hwsim.plan import Plan
    from quant import QTensor


@dataclass(frozen=True)
class Prepared:
    """What is known before the first call: constants quantized, static scales fixed.

    Parameters
    ----------
    plan
        The plan this belongs to.
    weight
        Quantized constant operand; None for a product of activations and for a float MAC.
    weight_values : float32
        The constant operand that a float MAC multiplies.
    static
        Scales and zero point of ``lhs``, ``rhs`` and ``out`` that calibration fixed.
    migration : float32 [k]
        What activations are divided by before they are quantized, with an axis for each of `shared_labels`; None
        without smoothing.
    bias : float32 [n]
        None without one.
    prototypes
        Of activations that are encoded; None for all others.
    copies : int [channels]
        How often each channel of the activation occurs; None where all occur once.
    """

    plan: Plan
    weight: QTensor | None
    weight_values: Float32 | None
    static: dict[str, QTensor]
    migration: Float32 | None
    bias: Float32 | None
    prototypes: Prototypes | None = None
    copies: Copies | None = None


def prepare(plan: Plan, samples: Samples, bias: Float32 | None = None) -> Prepared:
    """Do the offline work of a plan.

    Parameters
    ----------
    samples
        Recorded float tensors; of a plan without static ranges and smoothing only a weight's `rhs` is used.
    bias : float32 [n]
        Of the layer.

    Raises
    ------
    ValueError
        If a tensor does not fit its layout or is not finite, or the layer's bias is missing.
    """
    if plan.layer.bias is not None and bias is None:
        msg = f"bias must be given for layer {plan.layer.name}, which has one"
        raise ValueError(msg)
    _, rhs = operands(plan.layer, plan.scheme)
    constant = plan.layer.rhs_kind == "weight"
    migration = migration_of(plan, samples)
    lhs_samples, rhs_values = samples.lhs, samples.rhs
    if migration is not None:
        contraction = Contraction.parse(plan.layer.contraction)
        lhs_samples = lhs_samples / along(migration, contraction, contraction.lhs)
        rhs_values = rhs_values * along(migration, contraction, contraction.rhs)
    if plan.scheme.rotate is not None and constant:
        lhs_samples, rhs_values = rotate_activation(plan, lhs_samples), rotate_weight(plan, rhs_values)
    copies = copies_of(plan, samples)
    if copies is not None:
        contraction, axis = Contraction.parse(plan.layer.contraction), channel_axis(plan.layer.contraction)
        lhs_samples = repeat_activation(lhs_samples, copies, contraction.lhs.index(axis))
        rhs_values = repeat_weight(rhs_values, copies, contraction.rhs.index(axis))
    static = _static_scales(plan, lhs_samples, samples)
    for step in plan.steps:
        if isinstance(step, EncodePrototypes) and rhs.spec is not None:
            prototypes = fit_prototypes(plan, step, static["lhs"], rhs_values, rhs.spec)
            return Prepared(plan, None, None, static, None, bias, prototypes)
    weight = None if not constant or rhs.spec is None else quantized(rhs, rhs_values)
    values = None
    if plan.mac.unit == "float" and constant:
        values = rounded(rhs_values if weight is None else weight.dequantize(), plan.mac.rhs)
    return Prepared(plan, weight, values, static, migration, bias, copies=copies)


def _static_scales(plan: Plan, lhs_samples: Float32, samples: Samples) -> dict[str, QTensor]:
    """Quantize calibration tensors, whose scales later calls take."""
    lhs, rhs = operands(plan.layer, plan.scheme)
    static: dict[str, QTensor] = {}
    for step in plan.steps:
        if isinstance(step, Quantize) and not step.dynamic:
            match step.operand:
                case "lhs":
                    static["lhs"] = quantized(lhs, lhs_samples)
                case "rhs":
                    static["rhs"] = quantized(rhs, samples.rhs)
                case "out":
                    pass
    if plan.scheme.output is not None and plan.verdict is not None:
        static["out"] = quantize_operand(clamped(plan, samples.out), plan.scheme.output, output_layout(plan))
    return static


def clamped(plan: Plan, out: Float32) -> Float32:
    """Apply what the requantizer of a plan does beside its own to real results."""
    match plan.clamp:
        case None:
            return out
        case "relu":
            return np.maximum(out, np.float32(0))
        case "relu6":
            return np.clip(out, np.float32(0), np.float32(6))


def output_layout(plan: Plan) -> ScaleLayout:
    """Layout of the result of a static scheme."""
    contraction = Contraction.parse(plan.layer.contraction)
    text = "per_tensor" if plan.scheme.output is None else plan.scheme.output.layout
    return parse_layout(text, contraction.out)
