"""Adaptive rounding: each weight goes up or down so that the layer's output, not the weight, has least error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .affine import quantize
from .formats import Rounding
from .inputs import check_finite, check_tensor
from .qtensor import QTensor

Float64 = npt.NDArray[np.float64]


def output_square_error(lhs: npt.ArrayLike, weight: npt.ArrayLike, quantized: npt.ArrayLike) -> float:
    """Square error of a layer's output, ``sum((lhs @ (quantized - weight))**2)``, in float64.

    Parameters
    ----------
    lhs : float [..., k]
        Calibration activations.
    weight, quantized : float [k, n]
        Weight, and what it became.
    """
    error = np.asarray(quantized, np.float64) - np.asarray(weight, np.float64)
    return float(np.square(np.asarray(lhs, np.float64) @ error).sum())


def adaptive_round(
    weight: npt.ArrayLike,
    lhs: npt.ArrayLike,
    format: str = "int4",  # noqa: A002  the word of the field
    layout: str = "n:1",
    *,
    sweeps: int = 50,
    **settings: Any,
) -> QTensor:
    r"""Round a weight up or down to lower the square error of the layer's output on calibration inputs.

    Each column is a binary quadratic problem, :math:`\min d^T H d` with :math:`H = A^T A` and d the column's error
    (AdaRound, Nagel et al., arXiv 2004.10568, equation 13). Coordinate descent starts at rounding to nearest and
    moves one weight of each column at a time to its other neighbour where that lowers the error, until no single
    move does. So the error never rises; the weights' own error may.

    Parameters
    ----------
    weight : float [k, n]
        Axes ``kn``.
    lhs : float [..., k]
        Calibration activations.
    format, layout, settings
        As in `quantize`; the scales are those it chooses, half to even.
    sweeps
        Most passes over the k weights.

    Returns
    -------
    QTensor
        Every code is one of the two neighbours of its quotient, inside the format.

    Raises
    ------
    ValueError
        If the operands do not fit or are not finite.

    Examples
    --------
    >>> weight, lhs = [[0.4], [0.4], [1.0]], [[1.0, 1.0, 0.0]]
    >>> quantize(weight, "int2", "n:1", axes="kn").codes.ravel()
    array([0, 0, 1], dtype=int8)
    >>> adaptive_round(weight, lhs, "int2").codes.ravel()
    array([1, 0, 1], dtype=int8)
    """
    w, a = check_tensor(weight), check_tensor(lhs)
    if w.ndim != 2 or a.shape[-1] != w.shape[0]:
        msg = f"weight and lhs must be [k, n] and [..., k], not {w.shape} and {a.shape}"
        raise ValueError(msg)
    check_finite(a.min(), a.max())
    start = quantize(w, format, layout, axes="kn", **settings)
    down = quantize(
        w, format, start.layout, scale=start.scales, zero_point=start.zero_point, zero_layout=start.zero_layout,
        rounding=Rounding.DOWN,
    )  # fmt: skip
    step = start.element_scale().astype(np.float64)
    low = down.codes.astype(np.int64)
    # Above a quotient that is an integer, or at the top of the format, there is no second neighbour.
    exact = down.dequantize().astype(np.float64) == w
    high = np.where(exact, low, np.minimum(low + 1, start.format.hi))
    codes = np.clip(start.codes.astype(np.int64), low, high)
    zero = start.element_zero_point()
    real = (codes - (0 if zero is None else zero)) * step
    codes = _descend(codes, low, high, step, real - w, _gram(a), sweeps)
    return replace(start, codes=codes.astype(start.codes.dtype))


def _gram(lhs: npt.NDArray[np.float32]) -> Float64:
    rows = lhs.reshape(-1, lhs.shape[-1]).astype(np.float64)
    return rows.T @ rows


def _descend(
    codes: npt.NDArray[np.int64],
    low: npt.NDArray[np.int64],
    high: npt.NDArray[np.int64],
    step: Float64,
    error: Float64,
    gram: Float64,
    sweeps: int,
) -> npt.NDArray[np.int64]:
    """Move single weights of all columns while the square error falls by more than rounding noise."""
    slope = gram @ error
    floor = 1e-12 * np.einsum("kn,kn->n", error, slope)
    for _ in range(sweeps):
        moved = False
        for k in range(codes.shape[0]):
            other = low[k] + high[k] - codes[k]
            delta = (other - codes[k]) * step[k]
            change = 2 * delta * slope[k] + delta * delta * gram[k, k]
            better = np.flatnonzero(change < -floor)
            if better.size:
                moved = True
                codes[k, better] = other[better]
                slope[:, better] += np.outer(gram[:, k], delta[better])
        if not moved:
            break
    return codes
