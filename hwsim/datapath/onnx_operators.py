"""The quantized operators of ONNX, as thin functions over the datapath.

Argument names and meanings are those of the operator set (onnx/defs/quantization, onnx/defs/math, onnx/defs/nn);
formulas and tie rules are those of onnxruntime, which the tests run beside them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quant.formats import FloatArray, IntArray, IntFormat

from .convolution import conv2d
from .float_quantization import dequantize, quantize
from .operands import as_integers
from .requantization import output_multiplier, requantize
from .zero_points import wrapping_product


def quantize_linear(
    x: npt.ArrayLike,
    y_scale: npt.ArrayLike,
    y_zero_point: npt.NDArray[Any] | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output: IntFormat | str = "u8",
    profile: str = "exact-even",
) -> IntArray:
    """Quantize per tensor, per axis or in blocks: QuantizeLinear.

    Parameters
    ----------
    x : float [...]
    y_scale : float, scalar, [axis] or blocked
    y_zero_point : int, the shape of `y_scale`
    axis
        Axis of the scales.
    block_size
        Elements of `axis` that share a scale; 0 for none.
    output
        Format of the result; the zero point must fit it.
    profile
        As in `quantize`.

    Returns
    -------
    y : int [...]

    Raises
    ------
    ValueError
        If scales do not fit the axis or the blocks; or as in `quantize`.
    """
    values = np.asarray(x)
    scale = _along(np.asarray(y_scale), values.shape, axis, block_size, "y_scale")
    zero = np.zeros((), np.int64) if y_zero_point is None else np.asarray(y_zero_point)
    spread = _along(zero, values.shape, axis, block_size, "y_zero_point")
    return quantize(values, scale, spread, output=output, profile=profile)


def dequantize_linear(
    x: npt.ArrayLike,
    x_scale: npt.ArrayLike,
    x_zero_point: npt.ArrayLike | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
) -> npt.NDArray[np.float32]:
    """Turn integers into float32 per tensor, per axis or in blocks: DequantizeLinear.

    Parameters
    ----------
    x : int [...]
    x_scale : float, scalar, [axis] or blocked
    x_zero_point : int, the shape of `x_scale`
    axis, block_size
        As in `quantize_linear`.

    Returns
    -------
    y : float32 [...]
    """
    values = np.asarray(x)
    scale = _along(np.asarray(x_scale), values.shape, axis, block_size, "x_scale")
    zero = np.zeros((), np.int64) if x_zero_point is None else np.asarray(x_zero_point)
    return dequantize(values, scale, _along(zero, values.shape, axis, block_size, "x_zero_point"))


class DynamicQuantized(NamedTuple):
    """Integers, scale and zero point of DynamicQuantizeLinear."""

    y: IntArray
    y_scale: np.float32
    y_zero_point: np.uint8


def dynamic_quantize_linear(x: npt.ArrayLike) -> DynamicQuantized:
    """Quantize to u8 with the range of the data, 0 included: DynamicQuantizeLinear.

    Parameters
    ----------
    x : float [...]
        Finite.

    Returns
    -------
    y, y_scale, y_zero_point
        The scale of an all-zero tensor is 1, as onnxruntime has it (the reference evaluator has 1 / 255).

    Raises
    ------
    ValueError
        If a value or the range is not finite.

    Examples
    --------
    >>> dynamic_quantize_linear([0.0, 2.0, -3.0]).y
    array([153, 255,   0], dtype=uint8)
    """
    values = np.asarray(x, np.float32)
    if not np.all(np.isfinite(values)):
        msg = f"x must be finite, not {values[~np.isfinite(values)].flat[0]}"
        raise ValueError(msg)
    low, high = np.minimum(values.min(initial=0), np.float32(0)), np.maximum(values.max(initial=0), np.float32(0))
    with np.errstate(over="ignore"):
        scale = np.float32((high - low) / np.float32(255)) if high > low else np.float32(1)
    if not np.isfinite(scale):
        msg = f"range of x must fit float32, not {low}..{high}"
        raise ValueError(msg)
    zero = np.uint8(np.rint(np.clip(np.float32(0) - low / scale, 0, 255)))
    return DynamicQuantized(quantize(values, scale, zero, output="u8"), scale, zero)


def matmul_integer(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    a_zero_point: npt.ArrayLike | None = None,
    b_zero_point: npt.ArrayLike | None = None,
) -> IntArray:
    """Multiply with zero points subtracted, wrapping in int32: MatMulInteger.

    Parameters
    ----------
    a : int8 or u8 [..., m, k]
    b : int8 or u8 [..., k, n]
    a_zero_point : scalar or [m], or [..., m, 1]
    b_zero_point : scalar or [n], or [..., 1, n]

    Returns
    -------
    y : int32 [..., m, n]
    """
    lhs, rhs = as_integers("a", a), as_integers("b", b)
    return wrapping_product(lhs, rhs, _spread_zero(a_zero_point, -2), _spread_zero(b_zero_point, -1))


def qlinear_matmul(
    a: npt.ArrayLike,
    a_scale: npt.ArrayLike,
    a_zero_point: npt.ArrayLike,
    b: npt.ArrayLike,
    b_scale: npt.ArrayLike,
    b_zero_point: npt.ArrayLike,
    y_scale: npt.ArrayLike,
    y_zero_point: npt.NDArray[Any],
    *,
    profile: str = "float32-even",
) -> IntArray:
    """Multiply and requantize: QLinearMatMul.

    Parameters
    ----------
    a, b
        As in `matmul_integer`.
    a_scale, b_scale, y_scale : float
        Scalars; `b_scale` may have one value per column.
    a_zero_point, b_zero_point
        As in `matmul_integer`.
    y_zero_point : int8 or u8 scalar
        Its dtype is the output's.
    profile
        Requantization profile.

    Returns
    -------
    y : int8 or u8 [..., m, n]
    """
    acc = matmul_integer(a, b, a_zero_point, b_zero_point)
    zero = np.asarray(y_zero_point)
    multiplier = output_multiplier(a_scale, b_scale, y_scale, profile)
    return requantize(acc, multiplier, profile=profile, zero_point=zero, output=_format_of(zero))


def fully_connected(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    multiplier: npt.ArrayLike,
    x_zero_point: int = 0,
    y_zero_point: int = 0,
    output: IntFormat | str = "int8",
    clamp: tuple[int, int] | None = None,
    profile: str = "gemmlowp-double",
) -> IntArray:
    """Multiply by the rows of a symmetric weight matrix, add the bias, requantize: FULLY_CONNECTED of LiteRT.

    Parameters
    ----------
    x : int [..., k]
    weight : int [n, k]
    bias : int32 [n]
    multiplier : float, scalar or [n]
        See `output_multiplier`.
    x_zero_point, y_zero_point
        Zero points of input and output.
    output, clamp, profile
        As in `requantize`.

    Returns
    -------
    y : int [..., n]
    """
    lhs = as_integers("x", x)
    acc = wrapping_product(np.atleast_2d(lhs), as_integers("weight", weight).T, x_zero_point, initial=bias)
    acc = acc.reshape(*lhs.shape[:-1], acc.shape[-1])
    return requantize(acc, multiplier, profile=profile, zero_point=y_zero_point, output=output, clamp=clamp)


def conv_integer(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    x_zero_point: int = 0,
    w_zero_point: npt.ArrayLike = 0,
    *,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
    group: int = 1,
) -> IntArray:
    """Convolve with zero points subtracted, wrapping in int32: ConvInteger.

    Parameters
    ----------
    x : int8 or u8 [n, c, h, w]
    w : int8 or u8 [m, c / group, kh, kw]
    x_zero_point, w_zero_point
        Zero points; `w_zero_point` may have one value per kernel.
    strides, pads, dilations, group
        As in `conv2d`.

    Returns
    -------
    y : int32 [n, m, oh, ow]
    """
    return conv2d(
        x,
        w,
        strides=strides,
        pads=pads,
        dilations=dilations,
        groups=group,
        x_zero=x_zero_point,
        weight_zero=w_zero_point,
    )


def qlinear_conv(
    x: npt.ArrayLike,
    x_scale: npt.ArrayLike,
    x_zero_point: int,
    w: npt.ArrayLike,
    w_scale: npt.ArrayLike,
    w_zero_point: npt.ArrayLike,
    y_scale: npt.ArrayLike,
    y_zero_point: npt.NDArray[Any],
    b: npt.ArrayLike | None = None,
    *,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
    group: int = 1,
    profile: str = "float32-even",
) -> IntArray:
    """Convolve, add the bias, requantize: QLinearConv.

    Parameters
    ----------
    x, w, x_zero_point, w_zero_point
        As in `conv_integer`.
    x_scale, y_scale : float
        Scalars.
    w_scale : float, scalar or [m]
    y_zero_point : int8 or u8 scalar
        Its dtype is the output's.
    b : int32 [m]
        Bias at scale ``x_scale * w_scale``.
    strides, pads, dilations, group
        As in `conv2d`.
    profile
        Requantization profile.

    Returns
    -------
    y : int8 or u8 [n, m, oh, ow]
    """
    acc = conv2d(
        x,
        w,
        strides=strides,
        pads=pads,
        dilations=dilations,
        groups=group,
        x_zero=x_zero_point,
        weight_zero=w_zero_point,
        initial=b,
    )
    zero = np.asarray(y_zero_point)
    multiplier = output_multiplier(x_scale, w_scale, y_scale, profile)
    if multiplier.ndim:
        multiplier = multiplier.reshape(-1, 1, 1)
    return requantize(acc, multiplier, profile=profile, zero_point=zero, output=_format_of(zero))


def _spread_zero(zero: npt.ArrayLike | None, axis: int) -> IntArray:
    """Return a zero point, a vector laid along `axis` of a matrix."""
    array = as_integers("zero point", 0 if zero is None else zero)
    if array.ndim == 1 and array.size > 1:
        return array[:, np.newaxis] if axis == -2 else array[np.newaxis]
    return array


def _along(
    values: npt.NDArray[Any], shape: tuple[int, ...], axis: int, block_size: int, name: str
) -> npt.NDArray[Any] | FloatArray:
    """Broadcast scales or zero points of QuantizeLinear to the values."""
    if values.size == 1:
        return values.reshape(())
    if not -len(shape) <= axis < len(shape):
        msg = f"axis must be in {-len(shape)}..{len(shape) - 1}, not {axis}"
        raise ValueError(msg)
    axis %= len(shape)
    length = shape[axis]
    if not block_size:
        if values.shape != (length,):
            msg = f"{name} must have shape ({length},) for axis {axis}, not {values.shape}"
            raise ValueError(msg)
        return values.reshape([length if i == axis else 1 for i in range(len(shape))])
    want = tuple(-(-size // block_size) if i == axis else size for i, size in enumerate(shape))
    if values.shape != want:
        msg = f"{name} must have shape {want} for blocks of {block_size} along axis {axis}, not {values.shape}"
        raise ValueError(msg)
    return np.take(values, np.arange(length) // block_size, axis)


def _format_of(zero: npt.NDArray[Any]) -> IntFormat:
    return IntFormat(8 * zero.dtype.itemsize, zero.dtype.kind == "i")
