"""Quantize an operand of a layer as its scheme says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from quant import FloatFormat, quantize_operand

if TYPE_CHECKING:
    from hwsim.lowering import Operand
    from quant import Format, QTensor

Float32 = npt.NDArray[np.float32]


def quantized(operand: Operand, x: Float32, like: QTensor | None = None) -> QTensor:
    """Quantize an operand of a layer."""
    if operand.spec is None or operand.layout is None:
        msg = f"{operand.role} must have a spec to be quantized"
        raise ValueError(msg)
    return quantize_operand(x, operand.spec, operand.layout, like, zero_layout=operand.zero_layout)


def rounded(values: Float32, target: Format) -> Float32:
    """Round to a float format, kept as float32."""
    if not isinstance(target, FloatFormat):
        msg = f"target must be a float format, not {target}"
        raise TypeError(msg)
    return target.round(values)
