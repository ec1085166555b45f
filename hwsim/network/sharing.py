"""Quantize a tensor once for all layers that read it with the same spec.

The first of the layers scans and quantizes. A static scheme has integers in memory anyway, so that the others only
stop paying for them. Of a dynamic scheme the first writes the integers with their scales, and the others read these
instead of floats and take no range; where that would move more bits than it saves, every layer goes on by itself.
Integers that stay on chip are shared by `hwsim.network.keep`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hwsim import plan as steps
from hwsim.lowering import operands
from hwsim.network.tensors import tensors_of
from hwsim.plan import Plan, Stored

if TYPE_CHECKING:
    from hwsim.network.tensors import Tensor
    from workloads import Network

# What may stand before the array beside the quantization of lhs: none of it changes lhs.
_HARMLESS = (steps.ScanRange, steps.Quantize, steps.DequantizeWeights, steps.Decode, steps.AddBias)


def share(network: Network, plans: Sequence[Plan]) -> tuple[Plan, ...]:
    """Let layers that quantize the same tensor in the same way do it once.

    Parameters
    ----------
    plans
        One for each layer, in the order of the network.

    Returns
    -------
    plans
        Bits through DRAM are never more than before.

    Examples
    --------
    >>> import hwsim, quant, workloads
    >>> block, machine = workloads.load("minilm-block"), hwsim.Accelerator.load("edge-16x16")
    >>> plans = [hwsim.lower(layer, quant.Scheme.load("w8a8-dynamic"), machine) for layer in block.layers]
    >>> q, k = share(block, plans)[:2]
    >>> [[type(step).__name__ for step in plan.steps[:2]] for plan in (q, k)]
    [['ScanRange', 'Quantize'], ['Quantize', 'MultiplyAccumulate']]
    """
    made = {plan.layer.name: plan for plan in plans}
    for tensor in tensors_of(network):
        for group in groups(tensor, made):
            first, *others = (made[name] for name in group)
            if not _scans(first):
                made |= {plan.layer.name: quantized_earlier(plan, plan.lhs) for plan in others}
                continue
            integers = integers_of(first)
            floats = first.lhs.total_dram_bits
            if floats + len(group) * integers.total_dram_bits > len(group) * floats:
                continue
            made[first.layer.name] = replace(first, shared=integers)
            made |= {plan.layer.name: quantized_earlier(plan, integers) for plan in others}
    return tuple(made.values())


def groups(tensor: Tensor, plans: dict[str, Plan]) -> list[list[str]]:
    """List the layers that quantize a tensor in the same way, two or more, in order."""
    found: dict[Any, list[str]] = {}
    for read in tensor.layer_reads:
        plan = plans[read.layer or ""]
        kind = _quantization(plan) if read.role == "lhs" else None
        if kind is not None:
            found.setdefault(kind, []).append(plan.layer.name)
    return [names for names in found.values() if len(names) > 1]


def _quantization(plan: Plan) -> Any:
    """Everything that decides the integers of lhs; None where the layer does not make them from the tensor alone."""
    before = plan.steps[: plan.steps.index(plan.mac)]
    made = [s for s in before if isinstance(s, steps.ScanRange | steps.Quantize) and s.operand == "lhs"]
    if not made or not all(isinstance(step, _HARMLESS) for step in before):
        return None
    if any(isinstance(s, steps.Quantize) and s.at in {"requantizer", "earlier"} for s in made):
        return None
    # Channels that a layer multiplies in floating point are zeros among its integers: every layer needs the floats.
    if any(isinstance(step, steps.MultiplyOutliers) for step in plan.steps):
        return None
    lhs = operands(plan.layer, plan.scheme)[0]
    if lhs.layout is None:
        return None
    return lhs.sizes, tuple(level.block_size(lhs.axes) for level in lhs.layout.levels), tuple(made)


def _scans(plan: Plan) -> bool:
    return any(isinstance(step, steps.ScanRange) and step.operand == "lhs" for step in plan.steps)


def integers_of(plan: Plan) -> Stored:
    """Lhs of a plan as integers in memory, with their scales."""
    lhs = operands(plan.layer, plan.scheme)[0]
    return Stored(plan.lhs.elements, plan.lhs.sram_bits, plan.lhs.sram_bits, lhs.overhead_bits)


def quantized_earlier(plan: Plan, lhs: Stored) -> Plan:
    """Rewrite a plan whose lhs another layer has quantized."""
    kept = [s for s in plan.steps if not (isinstance(s, steps.ScanRange) and s.operand == "lhs")]
    made = tuple(replace(s, at="earlier") if isinstance(s, steps.Quantize) and s.operand == "lhs" else s for s in kept)
    return replace(plan, steps=made, lhs=lhs)
