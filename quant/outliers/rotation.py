"""Rotation: multiply both operands along the channels by a Hadamard matrix, which spreads outliers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quant.rewriting import rotate_blocks
from quant.scales import Float32

from .transform import OutlierTransform, TransformCost, Transformed


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
        rotated: Float32 = rotate_blocks(x, -1, self.block) / np.sqrt(np.float32(self.block))
        return rotated

    def cost(self, rows: int, columns: int) -> TransformCost:
        """``log2(block)`` additions an element, of the weight offline, of the activation each call unless fused.

        The factor ``1 / sqrt(block)`` of each operand is left to its scales; signs are free in an adder.
        """
        stages = self.block.bit_length() - 1
        return TransformCost(
            offline_adds=self.length * columns * stages, adds=0 if self.fused else rows * self.length * stages
        )
