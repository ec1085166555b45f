"""Outlier channels of activations: transforms of (activation, weight) that keep the real product and quantize better.

An activation `lhs` has shape [..., k], a weight `rhs` [k, n]; channels lie along the reduction axis k, where the
scales of an integer product cannot vary. Each transform treats the weight offline and states what it costs for each
call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .affine import fake_quantize
from .errors import measure_errors
from .formats import IntFormat
from .inputs import check_finite, check_tensor
from .rounding import round_pow2
from .scales import Float32


@dataclass(frozen=True)
class TransformCost:
    """Operations a transform adds to the product of [m, k] and [k, n].

    Offline ones happen once a weight, the others once a call.
    """

    offline_adds: int = 0
    offline_multiplies: int = 0
    adds: int = 0
    multiplies: int = 0
    integer_macs: int = 0
    """More (or, if negative, fewer) multiply-accumulates of the integer array."""
    float_macs: int = 0
    """Multiply-accumulates in floating point beside it."""
    weight_elements: int = 0
    """More elements of the quantized weight to store."""


@dataclass(frozen=True, eq=False)
class Transformed:
    """Operands whose product is that of the original ones, in the reals.

    Parameters
    ----------
    lhs : float32 [..., k']
    rhs : float32 [k', n]
        To be quantized.
    real_lhs, real_rhs : float32 [..., o], [o, n], or None
        To be multiplied in floating point and added.
    """

    lhs: Float32
    rhs: Float32
    real_lhs: Float32 | None = None
    real_rhs: Float32 | None = None

    def product(self) -> npt.NDArray[np.float64]:
        """Real product, in float64."""
        out: npt.NDArray[np.float64] = self.lhs.astype(np.float64) @ self.rhs.astype(np.float64)
        if self.real_lhs is not None and self.real_rhs is not None:
            out = out + self.real_lhs.astype(np.float64) @ self.real_rhs.astype(np.float64)
        return out


class OutlierTransform(ABC):
    """A transform of (activation, weight) over `length` channels."""

    length: int

    def apply(self, lhs: npt.ArrayLike, rhs: npt.ArrayLike) -> Transformed:
        """Transform both operands.

        Parameters
        ----------
        lhs : float [..., k]
        rhs : float [k, n]

        Raises
        ------
        ValueError
            If an operand has another number of channels, or is not finite.
        """
        a, w = check_tensor(lhs), check_tensor(rhs)
        if w.ndim != 2 or a.shape[-1] != self.length or w.shape[0] != self.length:
            msg = f"operands must be [..., {self.length}] and [{self.length}, n], not {a.shape} and {w.shape}"
            raise ValueError(msg)
        for x in (a, w):
            check_finite(x.min(), x.max())
        return self._apply(a, w)

    @abstractmethod
    def _apply(self, lhs: Float32, rhs: Float32) -> Transformed: ...

    @abstractmethod
    def cost(self, rows: int, columns: int) -> TransformCost:
        """Operations for `rows` rows of the activation and `columns` columns of the weight."""


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
    if not 0 <= alpha <= 1:
        msg = f"alpha must be in 0..1, not {alpha}"
        raise ValueError(msg)
    a = np.asarray(lhs_bounds, np.float64)
    w = channel_bounds(rhs, 0).astype(np.float64)
    if a.shape != w.shape or np.any(a < 0):
        msg = f"lhs_bounds must be {w.shape[0]} magnitudes, one for each row of rhs, not of shape {a.shape}"
        if a.shape == w.shape:
            msg = f"lhs_bounds must be magnitudes, not {a.min()}"
        raise ValueError(msg)
    used = (a > 0) & (w > 0)
    scales = np.where(used, a, 1) ** alpha / np.where(used, w, 1) ** (1 - alpha)
    return scales.astype(np.float32)


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


def walsh_hadamard(x: npt.NDArray[Any], axis: int = -1) -> npt.NDArray[Any]:
    """Multiply along an axis by the Hadamard matrix in natural order: ``log2`` stages of sums and differences.

    Raises
    ------
    ValueError
        If the length is no power of two.

    Examples
    --------
    >>> walsh_hadamard(np.array([1, 2, 3, 4]))
    array([10, -2, -4,  0])
    """
    out = np.moveaxis(x, axis, -1)
    length = out.shape[-1]
    if length & (length - 1) or length == 0:
        msg = f"length must be a power of two, not {length}"
        raise ValueError(msg)
    width = 1
    while width < length:
        pairs = out.reshape(*out.shape[:-1], length // (2 * width), 2, width)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        out = np.stack([first + second, first - second], axis=-2).reshape(out.shape)
        width *= 2
    return np.moveaxis(out, -1, axis)


@dataclass(frozen=True, eq=False)
class HadamardRotation(OutlierTransform):
    """Rotate blocks of channels by a Hadamard matrix over the square root of its size: outliers spread.

    Parameters
    ----------
    length
        Number of channels.
    block : power of two
        Size of the rotations; must divide `length`.
    seed
        Random signs before the rotation (QuaRot, arXiv 2404.00456), None for none.
    fused
        Whether the layer before absorbs the rotation of the activation.

    Raises
    ------
    ValueError
        If `block` is no power of two or does not divide `length`.
    """

    length: int
    block: int
    seed: int | None = None
    fused: bool = False

    def __post_init__(self) -> None:
        if self.block < 1 or self.block & (self.block - 1) or self.length % self.block:
            msg = f"block must be a power of two that divides {self.length}, not {self.block}"
            raise ValueError(msg)

    def _apply(self, lhs: Float32, rhs: Float32) -> Transformed:
        return Transformed(self._rotate(lhs), np.ascontiguousarray(self._rotate(rhs.T).T))

    def _rotate(self, x: Float32) -> Float32:
        if self.seed is not None:
            x = x * np.random.default_rng(self.seed).choice(np.array([-1, 1], np.float32), self.length)
        blocks = x.reshape(*x.shape[:-1], -1, self.block)
        rotated: Float32 = walsh_hadamard(blocks).reshape(x.shape) / np.sqrt(np.float32(self.block))
        return rotated

    def cost(self, rows: int, columns: int) -> TransformCost:
        """``log2(block)`` additions an element, of the weight offline, of the activation each call unless fused.

        The factor ``1 / sqrt(block)`` of each operand is left to its scales; signs are free in an adder.
        """
        stages = self.block.bit_length() - 1
        return TransformCost(
            offline_adds=self.length * columns * stages, adds=0 if self.fused else rows * self.length * stages
        )


@dataclass(frozen=True, eq=False)
class OutlierSplit(OutlierTransform):
    """Multiply outlier channels in floating point, the others as integers (LLM.int8(), arXiv 2208.07339).

    Parameters
    ----------
    length
        Number of channels.
    channels : int [o]
        Indices of the outliers, not all channels.

    Raises
    ------
    ValueError
        If an index is out of range or occurs twice, or nothing would be left.
    """

    length: int
    channels: npt.NDArray[np.int64]
    _kept: npt.NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        chosen = np.unique(self.channels)
        inside = chosen.size == 0 or (chosen[0] >= 0 and chosen[-1] < self.length)
        if not inside or chosen.size != np.size(self.channels) or chosen.size >= self.length:
            msg = (
                f"channels must be distinct, fewer than {self.length} and in 0..{self.length - 1}, not {self.channels}"
            )
            raise ValueError(msg)
        object.__setattr__(self, "channels", chosen.astype(np.int64))
        object.__setattr__(self, "_kept", np.setdiff1d(np.arange(self.length), chosen))

    @classmethod
    def fit(cls, lhs_bounds: npt.ArrayLike, threshold: float = 6.0) -> OutlierSplit:
        """Take the channels whose largest magnitude reaches the threshold, 6 in the paper."""
        bounds = np.asarray(lhs_bounds)
        return cls(bounds.size, np.flatnonzero(bounds >= threshold))

    def _apply(self, lhs: Float32, rhs: Float32) -> Transformed:
        return Transformed(
            lhs[..., self._kept], rhs[self._kept], lhs[..., self.channels].copy(), rhs[self.channels].copy()
        )

    def cost(self, rows: int, columns: int) -> TransformCost:
        """Multiply-accumulates move to a float unit, and its sums are added."""
        moved = self.channels.size * rows * columns
        return TransformCost(
            adds=rows * columns if moved else 0,
            integer_macs=-moved,
            float_macs=moved,
            weight_elements=-self.channels.size * columns,
        )


@dataclass(frozen=True, eq=False)
class DuplicateChannels(OutlierTransform):
    """Repeat a channel and its weight row, each copy of the activation divided by their number.

    Outlier channel splitting (Zhao et al., arXiv 1901.09504) without its half-step shifts. The copies of a channel
    stand where it stood.

    Parameters
    ----------
    copies : int [k]
        How often each channel occurs, at least once; powers of two keep the product bit for bit.

    Raises
    ------
    ValueError
        If a number is below 1.
    """

    copies: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        copies = np.asarray(self.copies)
        if copies.ndim != 1 or copies.size == 0 or not np.issubdtype(copies.dtype, np.integer) or copies.min() < 1:
            msg = f"copies must be a row of integers from 1, not {self.copies}"
            raise ValueError(msg)
        object.__setattr__(self, "copies", copies.astype(np.int64))

    @classmethod
    def fit(cls, lhs_bounds: npt.ArrayLike, extra: int) -> DuplicateChannels:
        """Add `extra` channels one by one, each to the channel whose copies are largest at that point.

        Raises
        ------
        ValueError
            If `extra` is negative.
        """
        if extra < 0:
            msg = f"extra must be at least 0, not {extra}"
            raise ValueError(msg)
        bounds = np.asarray(lhs_bounds, np.float64)
        copies = np.ones(bounds.size, np.int64)
        for _ in range(extra):
            copies[np.argmax(bounds / copies)] += 1
        return cls(copies)

    @property
    def length(self) -> int:  # type: ignore[override]
        """Number of channels before."""
        return self.copies.size

    def _apply(self, lhs: Float32, rhs: Float32) -> Transformed:
        divided = lhs / self.copies.astype(np.float32)
        return Transformed(np.repeat(divided, self.copies, axis=-1), np.repeat(rhs, self.copies, axis=0))

    def cost(self, rows: int, columns: int) -> TransformCost:
        """More channels for the array and the weight memory; the division folds into the layer before."""
        extra = int(self.copies.sum()) - self.length
        return TransformCost(integer_macs=extra * rows * columns, weight_elements=extra * columns)
