"""Float tensors that a plan is prepared on."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.execution.quantization import Float32


@dataclass(frozen=True)
class Samples:
    """Float tensors of one layer, recorded on calibration inputs; a static scheme takes its ranges from them.

    Parameters
    ----------
    lhs, rhs, out : float
        Both operands and the result, in the axes of the contraction. `rhs` of a weight is the weight.
    """

    lhs: Float32
    rhs: Float32
    out: Float32
