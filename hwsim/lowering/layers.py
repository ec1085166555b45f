"""Write the plan of one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsim.lowering.float_plans import float_plan
from hwsim.lowering.integer_plans import integer_plan
from hwsim.lowering.layer_operands import operands
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
    lhs, rhs = operands(layer, scheme)
    if lhs.spec is None or rhs.spec is None:
        return float_plan(layer, scheme, accelerator, lhs, rhs)
    verdict = verdict_of(like or layer, scheme, accelerator)
    if verdict is None:
        msg = f"operands of {layer.name} must both be quantized or both float under {scheme.name}"
        raise ValueError(msg)
    # The array streams the reduction in order; it has no address generator that gathers equal scales.
    if verdict.verdict == "incompatible" or verdict.needs_reorder:
        raise IllegalLayoutError(layer.name, scheme.name, accelerator.name, verdict)
    return integer_plan(layer, scheme, accelerator, lhs, rhs, verdict)
