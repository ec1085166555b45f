"""Smoothing: divide activation channels, multiply weight rows by the same factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant.affine import fake_quantize
from quant.errors import measure_errors
from quant.formats import IntFormat
from quant.inputs import check_finite, check_tensor
from quant.rewriting import smoothing_factors
from quant.rounding import round_pow2
from quant.scales import Float32

from .transform import OutlierTransform, TransformCost, Transformed


def channel_bounds(x: npt.ArrayLike, axis: int = -1) -> Float32:
    """Largest magnitude of each channel along an axis: of an activation -1, of a weight 0.

    Raises
    ------
    ValueError
        If the tensor is empty or not finite.
    """
    values = check_tensor(x)
    bounds: Float32 = np.abs(np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])).max(axis=0)
    check_finite(bounds, bounds)
    return bounds


def smooth(lhs_bounds: npt.ArrayLike, rhs: npt.ArrayLike, alpha: float = 0.5) -> Float32:
    r"""Channel scales of SmoothQuant (Xiao et al., arXiv 2211.10438, equation 4).

    .. math:: s_k = \max|A_{:k}|^\alpha / \max|W_{k:}|^{1 - \alpha}

    The activation is divided, the weight multiplied by them. Where either side is all zero the product does not need
    the channel, and its scale is 1.

    Parameters
    ----------
    lhs_bounds : float [k]
        Largest magnitude of each activation channel over calibration data: `channel_bounds`.
    rhs : float [k, n]
        Weight.
    alpha : 0..1
        How much moves: 0 evens out the weight, 1 the activation.

    Returns
    -------
    scales : float32 [k]

    Raises
    ------
    ValueError
        If `alpha` is out of range or the lengths differ.

    Examples
    --------
    >>> smooth([16.0, 1.0], [[1.0, 0.5], [1.0, -1.0]], 0.5)
    array([4., 1.], dtype=float32)
    """
    a = np.asarray(lhs_bounds, np.float64)
    w = channel_bounds(rhs, 0).astype(np.float64)
    if a.shape != w.shape or np.any(a < 0):
        msg = f"lhs_bounds must be {w.shape[0]} magnitudes, one for each row of rhs, not of shape {a.shape}"
        if a.shape == w.shape:
            msg = f"lhs_bounds must be magnitudes, not {a.min()}"
        raise ValueError(msg)
    return smoothing_factors(a, w, alpha).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Smoothing(OutlierTransform):
    """Divide activation channels, multiply weight rows by the same scales.

    Parameters
    ----------
    scales : float32 [k]
        Positive; powers of two keep the product bit for bit.
    folded
        Whether the layer before the activation absorbs the division, so that it costs nothing in a call.

    Raises
    ------
    ValueError
        If a scale is not positive and finite.
    """

    scales: Float32
    folded: bool = True

    def __post_init__(self) -> None:
        if self.scales.ndim != 1 or not np.all((self.scales > 0) & np.isfinite(self.scales)):
            msg = f"scales must be one row of positive finite numbers, not {self.scales}"
            raise ValueError(msg)

    @classmethod
    def fit(
        cls,
        lhs_bounds: npt.ArrayLike,
        rhs: npt.ArrayLike,
        alpha: float = 0.5,
        *,
        powers: bool = False,
        folded: bool = True,
    ) -> Smoothing:
        """Scales of `smooth`, rounded to the nearest exponent if `powers`."""
        scales = smooth(lhs_bounds, rhs, alpha)
        return cls(round_pow2(scales, geometric=True).astype(np.float32) if powers else scales, folded)

    @property
    def length(self) -> int:  # type: ignore[override]
        """Number of channels."""
        return self.scales.size

    def _apply(self, lhs: Float32, rhs: Float32) -> Transformed:
        return Transformed(lhs / self.scales, rhs * self.scales[:, None])

    def cost(self, rows: int, columns: int) -> TransformCost:
        """One multiplication a weight; one an activation unless folded."""
        return TransformCost(
            offline_multiplies=self.length * columns, multiplies=0 if self.folded else rows * self.length
        )


@dataclass(frozen=True, eq=False)
class AlphaSearch:
    """Relative output errors over alpha."""

    alphas: npt.NDArray[np.float64]
    errors: npt.NDArray[np.float64]

    @property
    def best(self) -> float:
        """Alpha of least error, the smallest of equals."""
        return float(self.alphas[np.argmin(self.errors)])


def search_alpha(
    lhs: npt.ArrayLike,
    rhs: npt.ArrayLike,
    alphas: Sequence[float] = tuple(np.linspace(0, 1, 21).tolist()),
    *,
    lhs_format: IntFormat | str = "int8",
    rhs_format: IntFormat | str = "int8",
    per_token: bool = True,
) -> AlphaSearch:
    """Relative error of the product after smoothing and quantizing, for each alpha.

    Parameters
    ----------
    lhs : float [m, k]
        Calibration activations.
    rhs : float [k, n]
        Weight, quantized symmetrically with one scale a column.
    alphas
        Tried values.
    lhs_format, rhs_format
        Codes.
    per_token
        One activation scale a row if true, else one in all.
    """
    a, w = check_tensor(lhs), check_tensor(rhs)
    exact = a.astype(np.float64) @ w.astype(np.float64)
    bounds = channel_bounds(a)
    errors = []
    for alpha in alphas:
        moved = Smoothing.fit(bounds, w, alpha).apply(a, w)
        left = fake_quantize(moved.lhs, lhs_format, "m:1" if per_token else "1", axes="mk")
        right = fake_quantize(moved.rhs, rhs_format, "n:1", axes="kn")
        errors.append(float(measure_errors(exact, Transformed(left, right).product()).relative_error))
    return AlphaSearch(np.asarray(alphas, np.float64), np.array(errors))
