"""Arithmetic over blocks of an array: reduce them, spread one value over each, cut into cache-sized tiles.

A block shape has one size an axis, at most the length of the axis; the last block of an axis may be shorter. An
array of one value a block has the scale shape, ``ceil(shape / block)``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]
Index = tuple[slice, ...]
_T = TypeVar("_T", bound=np.generic)

TILE = 1 << 16
"""Elements handled at once, so that intermediate results stay in a cache."""

SHORT = 64
"""Longest row that is reduced by halving."""


def block_shape(block_size: Sequence[int], shape: Shape) -> Shape:
    """Replace -1 and sizes beyond the axis by the length of the axis."""
    return tuple(n if b == -1 else min(b, n) for b, n in zip(block_size, shape, strict=True))


def scale_shape(block: Shape, shape: Shape) -> Shape:
    """Shape of the array with one value a block."""
    return tuple(-(-n // b) for b, n in zip(block, shape, strict=True))


class Part(NamedTuple):
    """A region in which all blocks have the same size."""

    region: Index
    """Where it lies in the array."""
    blocks: Index
    """Where its blocks lie in the array of one value a block."""
    split: Shape
    """Its shape with each axis split in two: number of blocks, block size."""

    def view(self, x: npt.NDArray[_T]) -> npt.NDArray[_T]:
        """View the region of `x` with split axes."""
        return x[self.region].reshape(self.split)

    def scales(self, scale: npt.NDArray[_T]) -> npt.NDArray[_T]:
        """View the region of an array of one value a block so that it broadcasts against `view`."""
        return np.expand_dims(scale[self.blocks], tuple(range(1, 2 * scale.ndim, 2)))


def parts(shape: Shape, block: Shape) -> Iterator[Part]:
    """Cut an array into regions of equal blocks: one, and one more for each set of axes that end in a short block."""
    choices = []
    for n, b in zip(shape, block, strict=True):
        whole, rest = divmod(n, b)
        axis = [(slice(0, whole * b), slice(0, whole), (whole, b))]
        if rest:
            axis.append((slice(whole * b, n), slice(whole, whole + 1), (1, rest)))
        choices.append(axis)
    for choice in itertools.product(*choices):
        yield Part(
            tuple(region for region, _, _ in choice),
            tuple(blocks for _, blocks, _ in choice),
            tuple(itertools.chain.from_iterable(split for _, _, split in choice)),
        )


def tiles(shape: Shape, limit: int = TILE) -> Iterator[Index]:
    """Cut an array into runs along its leading axes of at most `limit` elements."""
    inner, axis = math.prod(shape), 0
    while inner > limit:
        inner //= shape[axis]
        axis += 1
    if axis == 0:
        yield ()
        return
    step = max(1, limit // inner)
    for lead in np.ndindex(shape[: axis - 1]):
        for start in range(0, shape[axis - 1], step):
            yield (*(slice(i, i + 1) for i in lead), slice(start, start + step))


def tile_of(index: Index, x: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """Apply the index of a tile to an array that broadcasts against the tiled one."""
    return x[tuple(slice(None) if n == 1 else s for s, n in zip(index, x.shape, strict=False))]


def block_extrema(x: npt.NDArray[_T], block: Shape) -> tuple[npt.NDArray[_T], npt.NDArray[_T]]:
    """Find the smallest and largest value of each block, in one pass over `x`.

    Returns
    -------
    lo, hi : [scale shape]
        NaN where the block holds one.
    """
    lo = np.empty(scale_shape(block, x.shape), x.dtype)
    hi = np.empty_like(lo)
    for part in parts(x.shape, block):
        view, low, high = part.view(x), part.scales(lo), part.scales(hi)
        low[...] = high[...] = view[tuple(slice(0, 1) if i % 2 else slice(None) for i in range(view.ndim))]
        for index in tiles(view.shape):
            for ufunc, found in ((np.minimum, low), (np.maximum, high)):
                so_far = tile_of(index, found)
                ufunc(so_far, _reduce_tile(ufunc, view[index]), out=so_far)
    return lo, hi


def _reduce_tile(ufunc: np.ufunc, tile: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """Reduce the odd axes of a tile.

    numpy reduces short rows one by one. Halving them with one operation over all rows is several times faster.
    """
    while tile.shape[-1] % 2 == 0 and tile.shape[-1] <= SHORT:
        tile = ufunc(tile[..., ::2], tile[..., 1::2])
    reduced: npt.NDArray[_T] = ufunc.reduce(tile, axis=tuple(range(1, tile.ndim, 2)), keepdims=True)
    return reduced


def as_matrix(x: npt.NDArray[_T], block: Shape) -> tuple[npt.NDArray[_T], Shape] | None:
    """View a C-contiguous array as a matrix whose blocks, in C order, are those of the array.

    Returns
    -------
    matrix, block
        None where the blocks are no rectangles of any such matrix: one beyond the first axis and another one are cut.
    """
    cut = [axis for axis, (n, b) in enumerate(zip(x.shape, block, strict=True)) if b < n]
    at = max(cut, default=x.ndim - 1) or min(1, x.ndim - 1)
    if not x.flags.c_contiguous or not x.ndim or not set(cut) <= {0, at}:
        return None
    matrix = x.reshape(math.prod(x.shape[:at]), -1)
    height = block[0] * math.prod(x.shape[1:at]) if at else 1
    return matrix, (height, block[at] * math.prod(x.shape[at + 1 :]))


def block_reduce(ufunc: np.ufunc, x: npt.NDArray[_T], block: Shape) -> npt.NDArray[_T]:
    """Reduce each block by a binary ufunc: ``np.maximum``, ``np.add``."""
    out = np.empty(scale_shape(block, x.shape), x.dtype)
    for part in parts(x.shape, block):
        view = part.view(x)
        part.scales(out)[...] = ufunc.reduce(view, axis=tuple(range(1, view.ndim, 2)), keepdims=True)
    return out


def spread(values: npt.NDArray[_T], block: Shape, shape: Shape) -> npt.NDArray[_T]:
    """Repeat the value of each block over its elements; axes of one block are broadcast without a copy."""
    out = values
    for axis, (b, n) in enumerate(zip(block, shape, strict=True)):
        if 1 < b < n:
            out = np.repeat(out, b, axis=axis).take(np.arange(n), axis=axis)
    return np.broadcast_to(out, shape)


def block_rows(x: npt.NDArray[_T], block: Shape) -> Iterator[tuple[Index, Shape, npt.NDArray[_T]]]:
    """Copy the elements of each block into one row.

    Yields
    ------
    blocks
        Where the rows' blocks lie in the array of one value a block.
    counts
        Shape of that region.
    rows : [number of blocks, elements of a block]
        Blocks in C order.
    """
    for part in parts(x.shape, block):
        view = part.view(x)
        order = (*range(0, view.ndim, 2), *range(1, view.ndim, 2))
        counts = part.split[::2]
        yield part.blocks, counts, view.transpose(order).reshape(math.prod(counts), -1)
