"""Strategies as the chapter describes them, written as schemes, and what their plans count and cost."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import workloads
from hwsim.accelerator import Accelerator
from hwsim.lowering import lower
from hwsim.plan import DequantizeWeights, Plan, Quantize, Requantize, ScanRange
from hwsim.results import Result
from hwsim.simulation import simulate
from quant import OperandSpec, Scheme

from . import samples

MACHINE = "edge-16x16"
_ASYMMETRIC = OperandSpec(format="int8", layout="per_tensor", symmetric=False)
_WEIGHT = OperandSpec(format="int8_narrow", layout="per_tensor")
_SOURCE = 'strategies of the chapter "The Math Behind Quantization": per tensor, int8, float32 elsewhere'


@functools.cache
def textbook(strategy: str) -> Scheme:
    """Scheme of a strategy as the chapter describes it: per-tensor int8, float32 wherever it stays float.

    Weights have no zero point, which is what a zero point on them would cost is measured for itself.
    """
    parts: dict[str, dict[str, object]] = {
        "float32": {"strategy": "float"},
        "weight-only": {"strategy": "weight_only", "weight": _WEIGHT},
        "dynamic": {"strategy": "dynamic", "weight": _WEIGHT, "activation": _ASYMMETRIC},
        "static": {"strategy": "static", "weight": _WEIGHT, "activation": _ASYMMETRIC, "output": _ASYMMETRIC},
    }
    return Scheme.model_validate(
        {"name": strategy, "description": f"{strategy}, per tensor", "source": _SOURCE, "carrier": "fp32"}
        | parts[strategy]
    )


STRATEGIES = ("float32", "weight-only", "dynamic", "static")


@functools.cache
def gemm_result(m: int, k: int, n: int, scheme: Scheme, machine: str = MACHINE) -> Result:
    """Costs of one product."""
    return simulate(workloads.gemm(m, k, n), scheme, machine, numerics=False)


def result_bytes(result: Result) -> float:
    """Bytes of the results of all layers, wherever they wait for their reader: off the chip or on it."""
    outputs = [layer.plan.out for layer in result.layers]
    return sum(out.elements * (out.dram_bits or out.kept_bits) for out in outputs) / 8


@functools.cache
def block_result(strategy: str, *, numerics: bool = True) -> Result:
    """Run the embedded transformer block under a strategy."""
    return simulate(
        samples.block(),
        textbook(strategy),
        MACHINE,
        numerics=numerics,
        recording=samples.recording() if numerics else None,
    )


def counts(plans: Sequence[Plan]) -> dict[str, int]:
    """Values that each kind of step passes in one call."""
    steps = [step for plan in plans for step in plan.steps]
    return {
        "dequantized_weights": sum(step.elements for step in steps if isinstance(step, DequantizeWeights)),
        "scanned_values": sum(step.elements for step in steps if isinstance(step, ScanRange)),
        "quantized_values": sum(step.elements for step in steps if isinstance(step, Quantize) and step.actions),
        "requantized_values": sum(step.count for step in steps if isinstance(step, Requantize)),
    }


def float_actions(plans: Sequence[Plan]) -> int:
    """Actions of units that read or write floats."""
    return sum(
        action.count
        for plan in plans
        for step in plan.steps
        for action in step.actions
        if {"fp32", "fp16", "bf16", "float"} & set(map(str, action.component.arguments))
        or action.component.kind in {"int_to_float", "float_mac"}
    )


def chain(strategy: str) -> tuple[Plan, ...]:
    """Plans of the second of two linear layers with a ReLU between, where the first delivers the operand."""
    first = workloads.Layer("first", "mk,kn->mn", {"m": 64, "k": 128, "n": 128}, "x", "w1", "h")
    second = workloads.Layer(
        "second", "mk,kn->mn", {"m": 64, "k": 128, "n": 128}, "h", "w2", "y", lhs_producer="contraction"
    )
    machine = Accelerator.load(MACHINE)
    return tuple(lower(layer, textbook(strategy), machine) for layer in (first, second))
