"""Channels taken out of the integer product, or repeated in it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from quant.scales import Float32

from .transform import OutlierTransform, TransformCost, Transformed


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
