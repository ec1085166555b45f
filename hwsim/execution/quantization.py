"""Quantize an operand as its spec says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from quant import FloatFormat, QTensor, ScaleLayout, parse_format, quantize, quantize_codebook, quantize_pow2

if TYPE_CHECKING:
    from hwsim.lowering import Operand
    from quant import Format, OperandSpec

Float32 = npt.NDArray[np.float32]


def quantize_operand(x: npt.ArrayLike, spec: OperandSpec, layout: ScaleLayout, like: QTensor | None = None) -> QTensor:
    """Quantize a tensor as a spec says; with the scales of `like` if given.

    Raises
    ------
    ValueError
        If the tensor is empty or not finite, or scales do not fit it.
    """
    match spec.code:
        case "pow2":
            return quantize_pow2(x, spec.integer_format.bits, layout)
        case "codebook":
            return quantize_codebook(x, 1 << spec.integer_format.bits, layout)
        case "affine":
            pass
    fmt, symmetric, scale_format = spec.integer_format, spec.symmetric, _float_format(spec.scale_format)
    if like is not None:
        scale, zero_point = like.scales, like.zero_point
        return quantize(
            x, fmt, layout, symmetric=symmetric, scale=scale, zero_point=zero_point, scale_format=scale_format
        )
    percentile = 0.0 if spec.percentile is None else spec.percentile
    return quantize(
        x, fmt, layout, symmetric=symmetric, range=spec.range, percentile=percentile, scale_format=scale_format
    )


def quantized(operand: Operand, x: Float32, like: QTensor | None = None) -> QTensor:
    """Quantize an operand of a layer."""
    if operand.spec is None or operand.layout is None:
        msg = f"{operand.role} must have a spec to be quantized"
        raise ValueError(msg)
    return quantize_operand(x, operand.spec, operand.layout, like)


def rounded(values: Float32, target: Format) -> Float32:
    """Round to a float format, kept as float32."""
    if not isinstance(target, FloatFormat):
        msg = f"target must be a float format, not {target}"
        raise TypeError(msg)
    return target.round(values)


def _float_format(name: str) -> FloatFormat:
    parsed = parse_format(name)
    if not isinstance(parsed, FloatFormat):
        msg = f"scale_format must be a float format, not {name}"
        raise TypeError(msg)
    return parsed
