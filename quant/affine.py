"""Affine quantization: float tensors to integers, scales and zero points, for every layout of the grammar.

The arithmetic is float32 throughout, in this order and with one rounding an operation, as ONNX QuantizeLinear and
onnxruntime have it: ``q = clamp(round(x / scale) + zero_point)`` with a true division; ``real = float32(q -
zero_point) * scale``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import TILE, Shape, as_matrix, block_extrema, block_shape, parts, scale_shape, spread, tile_of, tiles
from .extremes import extrema, is_large
from .formats import FP32, FloatArray, FloatFormat, IntArray, IntFormat, Rounding
from .inputs import as_layout, check_finite, check_tensor
from .layout import ScaleLayout
from .qtensor import QTensor
from .rounding import Rounder, round_into
from .scales import (
    Float32,
    Power,
    Range,
    ScaleRule,
    cell_shape,
    check_symmetric,
    coarsen,
    combine_levels,
    fit_levels,
    refine,
    scale_from_range,
)
from .thresholds import RangeMethod, block_range

__all__ = ["QTensor", "dequantize", "fake_quantize", "quantize"]


def quantize(
    x: npt.ArrayLike,
    format: IntFormat | str = "int8",  # noqa: A002  the word of the field
    layout: ScaleLayout | str = "per_tensor",
    *,
    axes: str | Sequence[str] | None = None,
    symmetric: bool = True,
    rounding: Rounding | Rounder = Rounding.HALF_EVEN,
    range: RangeMethod | Range = "minmax",  # noqa: A002  the word of the field
    percentile: float = 0.01,
    scale: npt.ArrayLike | tuple[npt.ArrayLike, ...] | None = None,
    zero_point: npt.ArrayLike | None = None,
    zero_layout: ScaleLayout | str | None = None,
    scale_format: FloatFormat = FP32,
    integer_bits: int = 8,
    power: Power = "floor",
) -> QTensor:
    r"""Quantize a tensor.

    .. math:: q = \mathrm{clamp}(\mathrm{round}(x / s) + z)

    in float32 with a true division. Without `scale`, scales come from the range of each block: ``s = max|x| / hi``
    if symmetric (the same for full and narrow formats), else ``(hi - lo) / (q_hi - q_lo)`` over the range extended
    to contain 0, with the nudged zero point of `scale_from_range`. A block of zeros has scale 1.

    Parameters
    ----------
    x : float [...]
        Finite values; converted to float32 first.
    format
        Format of the codes, up to 32 bits.
    layout
        Which elements share a scale: a layout, or its text.
    axes
        Labels of the axes of `x` for a layout given as text: ``"mk"``. Default ``a``, ``b``, ``c``, ...
    symmetric
        Without a zero point if true.
    rounding
        A `Rounding`, or a rounder such as `Stochastic`.
    range
        Method that chooses the range of each block (``minmax``, ``percentile``, ``mse``, ``entropy``), or a `Range`.
    percentile : percent of each side, in [0, 50)
        What ``range="percentile"`` cuts off.
    scale, zero_point
        Given instead of a range (static quantization); a tuple of scales with several levels.
    zero_layout
        Layout of the zero point where it differs from that of the first level. Scales are then chosen, after the
        zero points, so that they cover each block.
    scale_format, integer_bits, power
        How real, ``@int`` and ``@pow2`` levels are stored and derived: see `ScaleRule` and `power_scale`.

    Returns
    -------
    QTensor

    Raises
    ------
    ValueError
        If `x` is empty or not finite, or an argument does not fit it.

    Examples
    --------
    >>> q = quantize([[0.5, -1.0], [2.0, 4.0]], "int8", "m:1", axes="mk")
    >>> q.codes
    array([[  64, -127], [  64,  127]], dtype=int8)
    >>> quantize([-1.0, 0.0, 3.0], "u8", symmetric=False).codes
    array([  0,  64, 255], dtype=uint8)
    """
    values = check_tensor(x)
    fmt = IntFormat.parse(format) if isinstance(format, str) else format
    if fmt.bits > 32:
        msg = f"format must have at most 32 bits, not {fmt.bits}"
        raise ValueError(msg)
    scale_layout = as_layout(layout, axes, values.ndim)
    other = None if zero_layout is None else as_layout(zero_layout, scale_layout.axes, values.ndim)
    rule = ScaleRule(fmt, scale_format, integer_bits, power)
    cell = cell_shape((scale_layout,) if other is None else (scale_layout, other), values.shape)
    if scale is not None:
        scales, zero = _given(scale, zero_point, values.shape, scale_layout, other, fmt)
    else:
        if zero_point is not None:
            msg = "zero_point must come with a scale, not alone"
            raise ValueError(msg)
        bounds = _bounds(values, cell, range, percentile, fmt, symmetric)
        scales, zero = _fit(bounds, cell, values.shape, scale_layout, other, rule, symmetric)
    zero_block = _first_block(other or scale_layout, values.shape)
    codes, saturated = _apply(
        values,
        cell,
        combine_levels(scales, cell, values.shape, scale_layout),
        None if zero is None else refine(zero, zero_block, cell, values.shape),
        fmt,
        rounding,
        checked=scale is None,
    )
    return QTensor(
        codes=codes,
        format=fmt,
        layout=scale_layout,
        scales=scales,
        zero_point=zero,
        zero_layout=other if zero is not None else None,
        level_bits=tuple(rule.bits(level.kind) for level in scale_layout.levels),
        saturated=saturated,
    )


def dequantize(q: QTensor) -> Float32:
    """Real values of a quantized tensor, ``float32(q - zero_point) * scale``."""
    return q.dequantize()


def fake_quantize(x: npt.ArrayLike, *args: Any, **kwargs: Any) -> Float32:
    """Quantize and dequantize: ``quantize(x, ...).dequantize()``, with the arguments of `quantize`."""
    return quantize(x, *args, **kwargs).dequantize()


def _first_block(layout: ScaleLayout, shape: Shape) -> Shape:
    return block_shape(layout.levels[0].block_size(layout.axes), shape)


def _bounds(
    x: Float32, cell: Shape, chosen: RangeMethod | Range, percentile: float, fmt: IntFormat, symmetric: bool
) -> Range:
    """Range of each cell, by a method or as given."""
    lo, hi = extrema(x, cell)
    check_finite(lo, hi)
    if not isinstance(chosen, Range):
        return block_range(x, cell, Range(lo, hi), chosen, fmt, symmetric, percentile)
    try:
        return Range(np.broadcast_to(chosen.lo, lo.shape), np.broadcast_to(chosen.hi, lo.shape))
    except ValueError:
        msg = f"range must broadcast to the scale shape {lo.shape}, not {chosen.lo.shape}"
        raise ValueError(msg) from None


def _fit(
    bounds: Range,
    cell: Shape,
    shape: Shape,
    layout: ScaleLayout,
    zero_layout: ScaleLayout | None,
    rule: ScaleRule,
    symmetric: bool,
) -> tuple[tuple[Float32, ...], IntArray | None]:
    """Scales of all levels, and the zero point."""
    fmt = rule.format
    if symmetric:
        check_symmetric(bounds.lo, fmt)
        if zero_layout is not None:
            msg = "zero_layout must come with symmetric=False, not with symmetric codes"
            raise ValueError(msg)
        return fit_levels(bounds.bound, cell, shape, layout, rule), None
    if zero_layout is None and len(layout.levels) == 1 and layout.levels[0].kind == "real":
        scale, zero = scale_from_range(bounds, fmt, symmetric=False, scale_format=rule.scale_format)
        return (scale,), zero
    block = _first_block(zero_layout or layout, shape)
    whole = Range(-coarsen(-bounds.lo, cell, block), coarsen(bounds.hi, cell, block))
    _, zero = scale_from_range(whole, fmt, symmetric=False)
    if zero is None:  # symmetric=False always gives one; for the type checker
        raise TypeError
    at = refine(zero, block, cell, shape)
    # One code of room at least: a side that the zero point leaves empty holds less than half a step.
    above = np.maximum(bounds.hi, 0) / np.maximum(fmt.hi - at, 1).astype(np.float32)
    below = -np.minimum(bounds.lo, 0) / np.maximum(at - fmt.lo, 1).astype(np.float32)
    bound = np.maximum(above, below) * np.float32(fmt.hi)
    return fit_levels(bound, cell, shape, layout, rule), zero


def _given(
    scale: npt.ArrayLike | tuple[npt.ArrayLike, ...],
    zero_point: npt.ArrayLike | None,
    shape: Shape,
    layout: ScaleLayout,
    zero_layout: ScaleLayout | None,
    fmt: IntFormat,
) -> tuple[tuple[Float32, ...], IntArray | None]:
    """Given scales and zero point, checked and broadcast to their shapes."""
    given = scale if isinstance(scale, tuple) else (scale,)
    if len(given) != len(layout.levels):
        msg = f"scale must have one array for each of the {len(layout.levels)} levels of {layout}, not {len(given)}"
        raise ValueError(msg)
    scales = []
    for level, values in zip(layout.levels, given, strict=True):
        array = _fitted("scale", np.asarray(values, np.float32), level.scale_shape(layout.axes, shape))
        if not np.all((array > 0) & np.isfinite(array)):
            msg = f"scale must be positive and finite, not {array[~((array > 0) & np.isfinite(array))].flat[0]}"
            raise ValueError(msg)
        scales.append(array)
    if zero_point is None:
        return tuple(scales), None
    layout = zero_layout or layout
    zero = np.asarray(zero_point)
    if not np.issubdtype(zero.dtype, np.integer):
        msg = f"zero_point must be integers, not {zero.dtype}"
        raise TypeError(msg)
    zero = _fitted("zero_point", zero, layout.levels[0].scale_shape(layout.axes, shape))
    if not fmt.contains(zero):
        msg = f"zero_point must be in {fmt.lo}..{fmt.hi}, not {zero.min()}..{zero.max()}"
        raise ValueError(msg)
    return tuple(scales), zero.astype(np.int32)


def _fitted(name: str, array: npt.NDArray[Any], shape: Shape) -> npt.NDArray[Any]:
    if array.size == math.prod(shape) and array.ndim <= 1:
        return array.reshape(shape)
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        msg = f"{name} must have the scale shape {tuple(shape)}, not {array.shape}"
        raise ValueError(msg) from None


def _apply(
    x: Float32,
    cell: Shape,
    scale: Float32,
    zero: IntArray | None,
    fmt: IntFormat,
    rounding: Rounding | Rounder,
    checked: bool,
) -> tuple[IntArray, int]:
    """Codes of `x`, and how many values were outside the format; finite as `checked`, or checked here."""
    if rounding is Rounding.HALF_EVEN and fmt.bits <= 22 and is_large(x.size):
        compiled = _apply_compiled(x, cell, scale, zero, fmt)
        if compiled is not None:
            return compiled
    if not checked:
        check_finite(*block_extrema(x, x.shape))
    codes = np.empty(x.shape, fmt.dtype)
    work = np.dtype(np.float32 if fmt.bits <= 22 else np.float64)  # holds q + zero_point exactly
    offset = None if zero is None else zero.astype(work)
    if not isinstance(rounding, Rounding):  # rounders see the quotients in C order
        with np.errstate(over="ignore"):
            whole = rounding(x / spread(scale, cell, x.shape)).astype(work)
        if offset is not None:
            whole += spread(offset, cell, x.shape)
        return codes, _store(whole, fmt, codes)
    saturated = 0
    scratch = np.empty(min(x.size, TILE), np.float32)  # one for all tiles: fresh memory costs page faults
    for part in parts(x.shape, cell):
        view, out, divisor = part.view(x), part.view(codes), part.scales(scale)
        shift = None if offset is None else part.scales(offset)
        for index in tiles(view.shape):
            tile = view[index]
            quotient: FloatArray = scratch[: tile.size].reshape(tile.shape)
            with np.errstate(over="ignore"):
                np.divide(tile, tile_of(index, divisor), out=quotient)
            round_into(quotient, rounding, quotient)
            quotient = quotient.astype(work, copy=False)
            if shift is not None:
                quotient += tile_of(index, shift)
            saturated += _store(quotient, fmt, out[index])
    return codes, saturated


def _apply_compiled(
    x: Float32, cell: Shape, scale: Float32, zero: IntArray | None, fmt: IntFormat
) -> tuple[IntArray, int] | None:
    """Do what `_apply` does in one compiled pass, finite or not; None if `x` is no matrix to it."""
    found = as_matrix(x, cell)
    if found is None:
        return None
    from .kernels import quantize_matrix  # noqa: PLC0415  numba only where it pays

    matrix, block = found
    blocks = scale_shape(block, matrix.shape)
    shift = None if zero is None else zero.reshape(blocks)
    codes, saturated = quantize_matrix(matrix, block, scale.reshape(blocks), shift, fmt)
    if saturated < 0:
        check_finite(x.min(), x.max())
    return codes.reshape(x.shape), saturated


def _store(rounded: FloatArray, fmt: IntFormat, out: IntArray) -> int:
    """Clamp to the format and store; count what was outside."""
    outside = 0
    if rounded.min() < fmt.lo or rounded.max() > fmt.hi:
        outside = int(np.count_nonzero((rounded < fmt.lo) | (rounded > fmt.hi)))
        rounded = np.clip(rounded, fmt.lo, fmt.hi)
    np.copyto(out, rounded, casting="unsafe")
    return outside
