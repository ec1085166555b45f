"""Repeated channels of an activation, and the rows of the weight that go with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hwsim.plan import RepeatChannels
from quant import Contraction, DuplicateChannels
from quant.rewriting import widths

if TYPE_CHECKING:
    from hwsim.execution.quantization import Float32
    from hwsim.execution.samples import Samples
    from hwsim.plan import Plan

Copies = npt.NDArray[np.int64]


def copies_of(plan: Plan, samples: Samples) -> Copies | None:
    """How often each channel occurs, by the widths of the calibration tensor; None where the plan repeats none."""
    for step in plan.steps:
        if isinstance(step, RepeatChannels):
            bounds = widths(samples.lhs, Contraction.parse(plan.layer.contraction).lhs, (step.axis,))
            return DuplicateChannels.fit(bounds, step.extra).copies
    return None


def repeat_activation(x: Float32, copies: Copies, axis: int) -> Float32:
    """Divide each channel by the number of its copies, in float32, and repeat it where it stands."""
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    divided: Float32 = x / copies.astype(np.float32).reshape(shape)
    return np.repeat(divided, copies, axis=axis)


def repeat_weight(x: Float32, copies: Copies, axis: int) -> Float32:
    """Repeat the weights of each channel."""
    return np.repeat(x, copies, axis=axis)
