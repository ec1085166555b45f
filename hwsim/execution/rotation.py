"""Hadamard rotations of both operands along the reduction: the activation in each call, the weight offline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.lowering.operand_plans import channel_axis
from hwsim.plan import Rotate
from quant import Contraction
from quant.rewriting import rotate_blocks

if TYPE_CHECKING:
    from hwsim.execution.quantization import Float32
    from hwsim.plan import Plan


def rotate_activation(plan: Plan, x: Float32) -> Float32:
    """Rotate without normalizing: ``log2(block)`` stages of float32 sums and differences, neighbours first."""
    return _along(plan, x, Contraction.parse(plan.layer.contraction).lhs, offline=False).astype(np.float32)


def rotate_weight(plan: Plan, x: Float32) -> Float32:
    """Rotate by the inverse, in float64 and rounded once."""
    return _along(plan, x, Contraction.parse(plan.layer.contraction).rhs, offline=True).astype(np.float32)


def _along(plan: Plan, x: Float32, axes: tuple[str, ...], *, offline: bool) -> npt.NDArray[np.floating[Any]]:
    block = next((step.block for step in plan.steps if isinstance(step, Rotate)), 1)
    if block == 1:
        return x
    axis = axes.index(channel_axis(plan.layer.contraction))
    last = np.moveaxis(x, axis, -1)
    seed = None if plan.scheme.rotate is None else plan.scheme.rotate.seed
    if seed is not None:
        last = last * np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), last.shape[-1])
    turned = rotate_blocks(last.astype(np.float64), -1, block) / block if offline else rotate_blocks(last, -1, block)
    return np.moveaxis(turned, -1, axis)
