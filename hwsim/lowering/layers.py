"""Write the plan of one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.lowering.float_plans import float_plan
from hwsim.lowering.integer_plans import integer_plan
from hwsim.lowering.layer_operands import operands
from hwsim.lowering.operand_plans import channel_axis
from hwsim.lowering.verdicts import IllegalLayoutError, verdict_of

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.plan import Plan
    from quant import Scheme
    from workloads import Layer


def lower(layer: Layer, scheme: Scheme, accelerator: Accelerator, *, like: Layer | None = None) -> Plan:
    """Write the plan of one layer.

    Parameters
    ----------
    like
        A layer with the same verdict, to be asked in its place: one that differs in sizes which no verdict reads.

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
    seen = widened(layer, scheme)
    lhs, rhs = operands(seen, scheme)
    if lhs.spec is None or rhs.spec is None:
        return float_plan(layer, scheme, accelerator, lhs, rhs)
    verdict = verdict_of(seen if like is None else widened(like, scheme), scheme, accelerator)
    if verdict is None:
        msg = f"operands of {layer.name} must both be quantized or both float under {scheme.name}"
        raise ValueError(msg)
    # The array streams the reduction in order; it has no address generator that gathers equal scales.
    if verdict.verdict == "incompatible" or verdict.needs_reorder:
        raise IllegalLayoutError(layer.name, scheme.name, accelerator.name, verdict)
    return integer_plan(layer, seen, scheme, accelerator, (lhs, rhs), verdict)


def widened(layer: Layer, scheme: Scheme) -> Layer:
    """Give a layer that meets a weight the channels that its scheme adds."""
    axis = channel_axis(layer.contraction)
    if scheme.duplicate is None or layer.rhs_kind != "weight" or not axis:
        return layer
    size = layer.sizes[axis]
    return layer.resized(**{axis: size + added_channels(layer, scheme, size)})


def added_channels(layer: Layer, scheme: Scheme, channels: int) -> int:
    """Count the channels that a scheme adds where a layer has so many."""
    if scheme.duplicate is None or layer.rhs_kind != "weight":
        return 0
    return scheme.duplicate.added(channels)
