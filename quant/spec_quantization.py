"""Quantize a tensor as a scheme's spec says."""

from __future__ import annotations

import numpy.typing as npt

from .affine import quantize
from .calibrate import MovingAverageObserver
from .codebook_search import quantize_codebook_best
from .codes import quantize_codebook, quantize_pow2
from .inputs import check_tensor
from .layout import ScaleLayout
from .operand_spec import OperandSpec
from .qtensor import QTensor
from .scales import Float32, Range
from .thresholds import RangeMethod


def quantize_operand(
    x: npt.ArrayLike,
    spec: OperandSpec,
    layout: ScaleLayout,
    like: QTensor | None = None,
    *,
    zero_layout: ScaleLayout | None = None,
) -> QTensor:
    """Quantize a tensor as a spec says; with the scales of `like` if given.

    Parameters
    ----------
    x : float [...]
    spec
        Code, format, range, rounding and scale format; of ``pq`` the values before they are encoded.
    layout
        The spec's layout, resolved for the axes of `x`.
    like
        Quantized earlier in the same layout, such as the calibration tensor of a static scheme.
    zero_layout
        Layout of the zero point where the spec names one.

    Raises
    ------
    ValueError
        If the tensor is empty or not finite, or scales do not fit it.

    Examples
    --------
    >>> from quant import parse_layout
    >>> quantize_operand([0.6, -1.0], OperandSpec(format="int4"), parse_layout("per_tensor", "k")).codes
    array([ 4, -7], dtype=int8)
    """
    match spec.code:
        case "pow2":
            return quantize_pow2(
                x,
                spec.integer_format.bits,
                layout,
                geometric=spec.exponent == "geometric",
                search=spec.range == "mse",
                **spec.scale_arguments(),
            )
        case "codebook":
            find = quantize_codebook_best if spec.range == "mse" else quantize_codebook
            return find(x, spec.table_entries, layout, centroids=spec.centroids or "int8", **spec.scale_arguments())
        case "affine" | "pq":
            return _quantize_affine(check_tensor(x), spec, layout, like, zero_layout)


def _quantize_affine(
    x: Float32, spec: OperandSpec, layout: ScaleLayout, like: QTensor | None, zero_layout: ScaleLayout | None
) -> QTensor:
    if like is not None:
        return quantize(
            x,
            spec.integer_format,
            layout,
            symmetric=spec.symmetric,
            rounding=spec.rounder,
            scale=like.scales,
            zero_point=like.zero_point,
            zero_layout=like.zero_layout,
            **spec.scale_arguments(),
        )
    chosen: RangeMethod | Range
    if spec.range == "moving_average":
        observer = MovingAverageObserver(layout, momentum=spec.momentum or 0.01)
        for entry in x:
            observer.update(entry[None])
        chosen = observer.range()
    else:
        chosen = spec.range
    return quantize(
        x,
        spec.integer_format,
        layout,
        symmetric=spec.symmetric,
        rounding=spec.rounder,
        range=chosen,
        percentile=spec.percentile or 0.0,
        zero_layout=zero_layout,
        **spec.scale_arguments(),
    )
