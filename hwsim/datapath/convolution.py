"""Two-dimensional convolution through the accumulators of `matmul`, a few output rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray, IntFormat

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
        If a trapping register leaves its range; `output` counts (group, pixel, kernel) within one band of rows.

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
    columns = _columns(_corrected(kernels, per_kernel[:, None, None, None]), groups)
    out = np.empty((images.shape[0], groups, kernels.shape[0] // groups, height, width), accumulator.dtype)
    # [g, 1, m / g]: the same start for every pixel of a kernel.
    preload = None if start is None else start.reshape(groups, 1, -1)
    for image, result in zip(images, out, strict=True):
        corrected = _corrected(image, np.asarray(as_integers("x_zero", x_zero, IntFormat(OPERAND_BITS))))
        for top, rows, patches in _patches(corrected, kernels.shape[2:], (height, width), geometry):
            acc = matmul(patches, columns, accumulator, initial=preload, order=order)
            result[:, :, top : top + rows] = acc.swapaxes(1, 2).reshape(groups, -1, rows, width)
    return out.reshape(images.shape[0], kernels.shape[0], height, width)


def _corrected(x: IntArray, zero: IntArray) -> IntArray:
    """Subtract zero points; keep the narrow type if there are none."""
    if not np.any(zero):
        return x
    return np.asarray(x.astype(np.int32) - zero.astype(np.int32))


def _columns(kernels: IntArray, groups: int) -> IntArray:
    """Turn kernels [m, c / g, kh, kw] into matrices [g, k, m / g]."""
    m = kernels.shape[0]
    return kernels.reshape(groups, m // groups, -1).swapaxes(1, 2)


def _patches(
    image: IntArray, kernel: tuple[int, ...], size: tuple[int, int], geometry: Geometry
) -> Iterator[tuple[int, int, IntArray]]:
    """Yield bands of output rows: the first row, their number, and the patches [g, rows * ow, k] under them."""
    top, left, bottom, right = geometry.pads
    padded = np.pad(image, ((0, 0), (top, bottom), (left, right)))
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
        count = band.shape[3]
        yield first, count, band.reshape(groups, -1, count * width).swapaxes(1, 2)


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
