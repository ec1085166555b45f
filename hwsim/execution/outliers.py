"""The outlier channels of an activation: found in each call, and multiplied in floating point beside the array."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hwsim import datapath
from hwsim.datapath import FloatAccumulator
from hwsim.execution.state import needed
from quant import FP32

if TYPE_CHECKING:
    from hwsim.execution.state import State
    from hwsim.plan import MultiplyOutliers, ScanRange
    from quant.formats import IntArray


def split_outliers(state: State, step: ScanRange) -> None:
    """Move the widest channels that reach the threshold out of the activation; the array then sees zeros.

    Of equal channels the first are taken; the number is bounded by the scheme's share.
    """
    rule = needed(state.plan.scheme.outliers)
    state.lhs = step.source.round(state.lhs)
    weight = needed(state.prepared.weight)
    a, b = state.gemm(state.lhs, weight.dequantize())
    bounds = np.abs(a).max(axis=(0, 1))
    order = np.argsort(-bounds, kind="stable")[: rule.capacity(bounds.size)]
    chosen = np.sort(order[bounds[order] >= rule.threshold])
    state.outlier_channels = chosen
    state.outliers = a[..., chosen], b[..., chosen, :]
    state.lhs = np.where(_mask(state, chosen), np.float32(0), state.lhs)


def multiply_outliers(state: State, step: MultiplyOutliers) -> None:
    """Multiply in the target's format, sum in float32 one channel after the other, and add to the integer part."""
    lhs, rhs = needed(state.outliers)
    if lhs.shape[-1]:
        product = datapath.matmul_float(lhs, rhs, FloatAccumulator(step.target, FP32))
        state.values = needed(state.values) + product


def _mask(state: State, chosen: IntArray) -> npt.NDArray[np.bool_]:
    """Where an activation's channel is one of those chosen, broadcast to its axes."""
    contraction = state.contraction
    sizes = state.sizes()
    labels = contraction.reduction
    marked = np.zeros(int(np.prod([sizes[x] for x in labels])), np.bool_)
    marked[chosen] = True
    ordered = marked.reshape([sizes[x] for x in labels])
    here = [x for x in contraction.lhs if x in labels]
    moved = ordered.transpose([labels.index(x) for x in here])
    return moved.reshape([sizes[x] if x in labels else 1 for x in contraction.lhs])
