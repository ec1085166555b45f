"""Clusters of rows of numbers: k-means in many subspaces at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .blocks import TILE
from .extremes import is_large

Float64 = npt.NDArray[np.float64]


def nearest(x: Float64, centers: Float64) -> npt.NDArray[np.int64]:
    """Index of the nearest of `centers` [subspaces, prototypes, width] to each of `x` [subspaces, m, width].

    Square distances come from one product, ``|c|**2 - 2 x c``; where rounding could decide between the two nearest,
    from the differences themselves, their squares added in order. The first of equals is the nearest.
    """
    index = np.zeros(x.shape[:2], np.int64)
    rows = max(1, TILE // (centers.shape[0] * centers.shape[1]))
    for top in range(0, x.shape[1], rows):
        index[:, top : top + rows] = _nearest_of_some(x[:, top : top + rows], centers)
    return index


def _nearest_of_some(x: Float64, centers: Float64) -> npt.NDArray[np.int64]:
    squares = np.square(centers).sum(axis=2)
    scores = np.matmul(-2 * centers, x.transpose(0, 2, 1)) + squares[:, :, None]  # [subspaces, prototypes, m]
    # The number of the prototype takes the place of the last bits, so that one minimum finds both.
    bits = (centers.shape[1] - 1).bit_length()
    numbered = scores.view(np.int64)
    numbered &= -1 << bits
    numbered |= np.arange(centers.shape[1])[:, None]
    best = scores.min(axis=1)
    index: npt.NDArray[np.int64] = best.view(np.int64) & ((1 << bits) - 1)
    # Each score is off by less than (width + 4) / 2**53 of this and the bits taken; twice for two, as much to spare.
    size = np.einsum("smw,smw->sm", x, x) + squares.max(axis=1)[:, None]
    limit = best + size * ((x.shape[2] + 4) * 2.0**-51 + 2.0 ** (bits - 50))
    close = np.nonzero((scores <= limit[:, None]).sum(axis=1) > 1)
    squares = np.square(x[close][:, None] - centers[close[0]])
    index[close] = np.cumsum(squares, axis=2)[:, :, -1].argmin(axis=1)
    return index


def _start(x: Float64, count: int, rng: np.random.Generator) -> Float64:
    """Sample centers as k-means++ (Arthur and Vassilvitskii, 2007)."""
    chosen = [int(rng.integers(x.shape[0]))]
    distance = np.square(x - x[chosen[0]]).sum(axis=1)
    for _ in range(count - 1):
        total = distance.sum()
        # Where every row already is a center, further ones repeat the first row.
        chosen.append(int(rng.choice(x.shape[0], p=distance / total)) if total > 0 else 0)
        distance = np.minimum(distance, np.square(x - x[chosen[-1]]).sum(axis=1))
    return x[chosen]


def cluster(x: Float64, count: int, rng: np.random.Generator, steps: int) -> Float64:
    """Find centers of least square error of each subspace: k-means++, then Lloyd until nothing moves.

    Parameters
    ----------
    x : float64 [subspaces, m, width]
    count
        Centers of each subspace.
    rng, steps
        Of the sampling; most steps of Lloyd's iteration.

    Returns
    -------
    centers : float64 [subspaces, count, width]
        The same bits, compiled or not.
    """
    centers = np.stack([_start(piece, count, rng) for piece in x])
    if is_large(x.size * count):
        from .cluster_kernels import iterate  # noqa: PLC0415  numba only where it pays

        for piece, some in zip(x, centers, strict=True):
            iterate(piece, some, steps)
    else:
        _iterate(x, centers, steps)
    return centers


def _iterate(x: Float64, centers: Float64, steps: int) -> None:
    """Lloyd's iteration in all subspaces that still move."""
    count = centers.shape[1]
    seen = np.full(x.shape[:2], -1)
    moving = np.arange(x.shape[0])
    for _ in range(steps):
        index = nearest(x[moving], centers[moving])
        changed = np.any(index != seen[moving], axis=1)
        moving, index = moving[changed], index[changed]
        if not moving.size:
            break
        seen[moving] = index
        cells = (np.arange(moving.size)[:, None] * count + index).ravel()
        counts = np.bincount(cells, minlength=moving.size * count).reshape(-1, count, 1)
        columns = x[moving].reshape(-1, x.shape[2]).T
        sums = np.stack([np.bincount(cells, column, moving.size * count) for column in columns], axis=1)
        means = sums.reshape(-1, count, x.shape[2]) / np.maximum(counts, 1)
        centers[moving] = np.where(counts > 0, means, centers[moving])
