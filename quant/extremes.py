"""Smallest and largest values of blocks, compiled where that pays."""

from __future__ import annotations

import sys

from .blocks import Shape, as_matrix, block_extrema, scale_shape
from .scales import Float32

LARGE = 1 << 23
"""Elements from which compiled passes pay for loading numba."""

SOME = 1 << 16
"""Elements from which they pay once it is there."""


def is_large(size: int) -> bool:
    """Tell whether so many elements are worth a compiled pass."""
    return size >= (SOME if "numba" in sys.modules else LARGE)


def extrema(x: Float32, block: Shape) -> tuple[Float32, Float32]:
    """Find the smallest and largest value of each block; either is NaN or infinite where one of its values is.

    Parameters
    ----------
    x : float32 [...]
    block
        Block shape.

    Returns
    -------
    lo, hi : float32 [scale shape]
    """
    matrix = as_matrix(x, block) if is_large(x.size) else None
    if matrix is None:
        return block_extrema(x, block)
    from .kernels import matrix_extrema  # noqa: PLC0415  numba only where it pays

    lo, hi = matrix_extrema(*matrix)
    shape = scale_shape(block, x.shape)
    return lo.reshape(shape), hi.reshape(shape)
