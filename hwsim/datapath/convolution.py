"""Two-dimensional convolution through the accumulators of `matmul`, a few output rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray, IntFormat, Overflow

from . import steps
from .accumulator import Accumulator
from .multiply import matmul
from .operands import OPERAND_BITS, as_integers

_DEFAULT = Accumulator()
_PATCH_ELEMENTS = 1 << 20


class Geometry(NamedTuple):
    """Sizes of a convolution.

    Attributes
    ----------
    strides, dilations : (vertical, horizontal)
    pads : (top, left, bottom, right)
    groups
    """

    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1


def conv2d(
    x: npt.ArrayLike,
    weight: npt.ArrayLike,
    accumulator: Accumulator = _DEFAULT,
    *,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilations: tuple[int, int] = (1, 1),
    groups: int = 1,
    x_zero: int = 0,
    weight_zero: npt.ArrayLike = 0,
    initial: npt.ArrayLike | None = None,
    order: npt.ArrayLike | None = None,
) -> IntArray:
    """Convolve integer images, each output through its own accumulator.

    Zero points are subtracted before the multiplication, and the border is padded with `x_zero`, so that it adds
    nothing. Unless `order` is given, the reduction is walked with the channel outermost, then the kernel's rows, then
    its columns.

    Parameters
    ----------
    x : int [n, c, h, w]
        Images.
    weight : int [m, c / groups, kh, kw]
        Kernels. ``groups = c`` is a depthwise convolution.
    accumulator
        Width, overflow and depth of the accumulation.
    strides, pads, dilations, groups
        See `Geometry`; `pads` is (top, left, bottom, right).
    x_zero
        Zero point of `x`.
    weight_zero : int, scalar or [m]
        Zero point of `weight`.
    initial : int, scalar or [m]
        Start of the accumulators, such as a bias.
    order : int [c / groups * kh * kw]
        Order in which the reduction (channel, row, column) is walked, as `reduction_order` makes it of loops.

    Returns
    -------
    acc : int32 or int64 [n, m, oh, ow]

    Raises
    ------
    TypeError
        If an array does not hold integers.
    ValueError
        If the shapes and the geometry do not fit, or as `matmul` does.
    AccumulatorOverflowError
        If a trapping register leaves its range; `output` counts (group, kernel, pixel) within one band of rows.

    Examples
    --------
    >>> conv2d(np.ones((1, 1, 3, 3), np.int8), np.ones((1, 1, 2, 2), np.int8))[0, 0]
    array([[4, 4],
           [4, 4]], dtype=int32)
    """
    geometry = Geometry(strides, pads, dilations, groups)
    images, kernels = as_integers("x", x), as_integers("weight", weight)
    height, width = _output_size(images, kernels, geometry)
    per_kernel = _per_kernel("weight_zero", weight_zero, kernels.shape[0])
    start = None if initial is None else _per_kernel("initial", initial, kernels.shape[0])
    zero = int(_per_kernel("x_zero", as_integers("x_zero", x_zero, IntFormat(OPERAND_BITS)), 1)[0])
    border = 0
    wraps = accumulator.overflow is Overflow.WRAP and accumulator.is_plain and accumulator.bits <= 32
    if zero and wraps and not np.any(per_kernel) and _fits(zero, images.dtype):
        # Bytes stay bytes: what the zero point adds is the same in every sum of a kernel, equation (36).
        sums = kernels.reshape(len(kernels), -1).sum(axis=1, dtype=np.int64)
        start = _wrapped((0 if start is None else start.astype(np.int64)) - zero * sums, accumulator)
        border = zero
    else:
        images, kernels = _corrected(images, zero), _corrected(kernels, per_kernel[:, None, None, None])
    rows = kernels.reshape(groups, len(kernels) // groups, -1)
    # [g, m / g, 1]: the same start for every pixel of a kernel.
    preload = None if start is None else start.reshape(groups, -1, 1)
    out = np.empty((images.shape[0], groups, rows.shape[1], height, width), accumulator.dtype)
    for image, result in zip(images, out, strict=True):
        for top, patches in _patches(image, border, kernels.shape[2:], (height, width), geometry):
            band = result[:, :, top : top + patches.shape[2] // width]
            acc = _depthwise(rows, patches, accumulator, preload, order)
            if acc is None:
                acc = matmul(rows, patches, accumulator, initial=preload, order=order)
            band[...] = acc.reshape(band.shape)
    return out.reshape(images.shape[0], kernels.shape[0], height, width)


def _depthwise(
    rows: IntArray,
    patches: IntArray,
    accumulator: Accumulator,
    start: IntArray | None,
    order: npt.ArrayLike | None,
) -> IntArray | None:
    """Step all registers of one kernel a channel at once, a tap after the other; None if that is not what is asked."""
    lo, hi = accumulator.range
    match accumulator.overflow:
        case Overflow.WRAP:
            fits = accumulator.bits == 32
        case Overflow.SATURATE:
            # A register and an addend of two bytes fit int32.
            fits = accumulator.bits <= 30 and accumulator.dot_depth == 1
        case Overflow.TRAP:
            fits = False
    plain = accumulator.is_plain and accumulator.final_bits is None and order is None
    if rows.shape[1] > 1 or rows.dtype.itemsize > 1 or patches.dtype.itemsize > 1 or not (plain and fits):
        return None
    register = np.zeros((len(rows), patches.shape[2]), np.int32)
    if start is not None:
        register += start[:, 0].astype(np.int32)
    for tap in range(rows.shape[2]):
        register += patches[:, tap] * rows[:, 0, tap, np.newaxis].astype(np.int32)
        if accumulator.overflow is Overflow.SATURATE:
            np.clip(register, lo, hi, out=register)
    return register


def _fits(value: int, dtype: np.dtype[Any]) -> bool:
    info = np.iinfo(dtype)
    return bool(info.min <= value <= info.max)


def _wrapped(x: IntArray, accumulator: Accumulator) -> IntArray:
    return np.asarray(steps.fit(x, *accumulator.range, Overflow.WRAP, steps.choose_array))


def _corrected(x: IntArray, zero: int | IntArray) -> IntArray:
    """Subtract zero points; keep the narrow type if there are none."""
    if not np.any(zero):
        return x
    return np.asarray(x.astype(np.int32) - np.asarray(zero).astype(np.int32))


def _patches(
    image: IntArray, border: int, kernel: tuple[int, ...], size: tuple[int, int], geometry: Geometry
) -> Iterator[tuple[int, IntArray]]:
    """Yield bands of output rows: the first row, and the patches [g, k, rows * ow] under them."""
    top, left, bottom, right = geometry.pads
    padded = np.pad(image, ((0, 0), (top, bottom), (left, right)), constant_values=border)
    channels, groups = image.shape[0], geometry.groups
    (kh, kw), (dy, dx), (sy, sx) = kernel, geometry.dilations, geometry.strides
    height, width = size
    window = np.lib.stride_tricks.as_strided(
        padded,
        (channels, kh, kw, height, width),
        (
            padded.strides[0],
            padded.strides[1] * dy,
            padded.strides[2] * dx,
            padded.strides[1] * sy,
            padded.strides[2] * sx,
        ),
        writeable=False,
    )
    rows = max(1, _PATCH_ELEMENTS // max(1, channels * kh * kw * width))
    for first in range(0, height, rows):
        band = window[:, :, :, first : first + rows]
        yield first, band.reshape(groups, -1, band.shape[3] * width)


def _output_size(images: IntArray, kernels: IntArray, geometry: Geometry) -> tuple[int, int]:
    for name, array in (("x", images), ("weight", kernels)):
        if array.ndim != 4:
            msg = f"{name} must have 4 axes, not shape {array.shape}"
            raise ValueError(msg)
    groups = geometry.groups
    if groups < 1 or images.shape[1] != groups * kernels.shape[1] or kernels.shape[0] % groups:
        msg = f"channels must split into {groups} groups, not {images.shape} and {kernels.shape}"
        raise ValueError(msg)
    if min(geometry.strides) < 1 or min(geometry.dilations) < 1 or min(geometry.pads) < 0:
        msg = f"strides and dilations must be at least 1 and pads at least 0, not {tuple(geometry)[:3]}"
        raise ValueError(msg)
    top, left, bottom, right = geometry.pads
    sizes = []
    for axis, before, after in ((0, top, bottom), (1, left, right)):
        reach = geometry.dilations[axis] * (kernels.shape[2 + axis] - 1) + 1
        free = images.shape[2 + axis] + before + after - reach
        if free < 0:
            msg = f"kernel must fit the padded image, not {kernels.shape} in {images.shape} with pads {geometry.pads}"
            raise ValueError(msg)
        sizes.append(free // geometry.strides[axis] + 1)
    return sizes[0], sizes[1]


def _per_kernel(name: str, value: npt.ArrayLike, count: int) -> IntArray:
    array = as_integers(name, value, IntFormat(64))
    if array.size not in {1, count} or array.ndim > 1:
        msg = f"{name} must be a scalar or have one value for each of {count} kernels, not shape {array.shape}"
        raise ValueError(msg)
    return np.broadcast_to(array.reshape(-1), (count,))
