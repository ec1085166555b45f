"""Let the requantizer clamp: a ReLU or ReLU6 after a layer costs nothing, and what it leaves is quantized already.

Where a layer's integers are read by the function alone, they saturate at the zero point, and at the integer of 6,
instead of at the ends of their format. Their scale is that of the function's values. Layers that read these in the
format of results take them as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from hwsim.network.tensors import tensors_of
from hwsim.plan import Migrate, Plan, Quantize, Requantize, Rotate
from workloads import Function, FunctionKind

if TYPE_CHECKING:
    from hwsim.network.tensors import Tensor
    from workloads import Network

CLAMPS: dict[FunctionKind, Literal["relu", "relu6"]] = {FunctionKind.RELU: "relu", FunctionKind.RELU6: "relu6"}


def fuse(network: Network, plans: Sequence[Plan]) -> tuple[Plan, ...]:
    """Put clamping functions into the requantizers before them.

    Parameters
    ----------
    plans
        One for each layer, in the order of the network.

    Examples
    --------
    >>> import hwsim, quant, workloads
    >>> network, machine = workloads.load("resnet50"), hwsim.Accelerator.load("edge-16x16")
    >>> plans = [hwsim.lower(layer, quant.Scheme.load("w8a8-static"), machine) for layer in network.layers]
    >>> reduce, spatial = fuse(network, plans)[1:3]
    >>> reduce.steps[-1].clamp, spatial.steps[0].at
    ('relu', 'requantizer')
    """
    made = {plan.layer.name: plan for plan in plans}
    tensors = {name: tensor for tensor in tensors_of(network) for name in tensor.names}
    for node in network.nodes:
        if not isinstance(node, Function) or node.kind not in CLAMPS:
            continue
        source = tensors[node.inputs[0]]
        if source.maker is None or network.output in source.names or len(source.reads) != 1:
            continue
        plan = made[source.maker]
        last = plan.steps[-1]
        if not isinstance(last, Requantize):
            continue
        made[source.maker] = replace(plan, steps=(*plan.steps[:-1], replace(last, clamp=CLAMPS[node.kind])))
        _deliver(tensors[node.output], made)
    return tuple(made.values())


def functions_done(network: Network, plans: Sequence[Plan]) -> frozenset[str]:
    """Names of the functions that requantizers do."""
    clamping = {plan.layer.output for plan in plans if plan.clamp}
    roots = {name: tensor.name for tensor in tensors_of(network) for name in tensor.names}
    return frozenset(
        node.name
        for node in network.nodes
        if isinstance(node, Function) and node.kind in CLAMPS and roots[node.inputs[0]] in clamping
    )


def _deliver(tensor: Tensor, made: dict[str, Plan]) -> None:
    """Take the quantizer from layers that read a clamped result as it was requantized."""
    for read in tensor.layer_reads:
        plan = made[read.layer or ""]
        if any(isinstance(step, Migrate | Rotate) for step in plan.steps):
            continue
        made[plan.layer.name] = replace(
            plan,
            steps=tuple(
                replace(step, at="requantizer")
                if isinstance(step, Quantize)
                and (step.operand, step.at) == (read.role, "producer")
                and step.plain_spec == plan.scheme.output
                else step
                for step in plan.steps
            ),
        )
