"""Where data enters: tensors become float32, layouts are read against the tensor's axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .formats import FloatArray
from .layout import ScaleLayout, parse_layout

Float32 = npt.NDArray[np.float32]


def as_axes(axes: str | Sequence[str] | None, ndim: int) -> tuple[str, ...]:
    """Labels of the axes; without any, ``a``, ``b``, ``c``, ...

    Raises
    ------
    ValueError
        If their number is not that of the array's axes.
    """
    labels: tuple[Any, ...] = tuple("abcdefghijklmnopqrstuvwxyz"[:ndim]) if axes is None else tuple(axes)
    if len(labels) != ndim:
        msg = f"axes must name the {ndim} axes of the tensor, not {labels}"
        raise ValueError(msg)
    return labels


def check_tensor(x: npt.ArrayLike) -> Float32:
    """Tensor as float32 with at least one axis and one element.

    Raises
    ------
    ValueError
        If it is empty or a scalar, or a value overflows float32.
    TypeError
        If it is not numeric.
    """
    array = np.asarray(x)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        msg = f"x must be real numbers, not {array.dtype}"
        raise TypeError(msg)
    if array.ndim == 0 or array.size == 0:
        msg = f"x must have at least one axis and one element, not shape {array.shape}"
        raise ValueError(msg)
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)


def check_finite(lo: FloatArray, hi: FloatArray) -> None:
    """Refuse extremes that show a NaN or an infinity in the data.

    Raises
    ------
    ValueError
        If there is one.
    """
    if not (np.isfinite(lo).all() and np.isfinite(hi).all()):
        msg = f"x must be finite in float32, not {'NaN' if np.isnan(lo).any() or np.isnan(hi).any() else 'infinite'}"
        raise ValueError(msg)


def as_layout(layout: ScaleLayout | str, axes: str | Sequence[str] | None, ndim: int) -> ScaleLayout:
    """Parse a layout, or check that a parsed one has the tensor's number of axes."""
    parsed = parse_layout(layout, as_axes(axes, ndim)) if isinstance(layout, str) else layout
    as_axes(parsed.axes, ndim)
    if parsed.code != "affine":
        msg = f"layout must be of affine codes, not {parsed}: quantize_pow2 and quantize_codebook make the others"
        raise ValueError(msg)
    return parsed
