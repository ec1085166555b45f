"""Compiled Lloyd iteration; the same bits as that of `quant.clustering`.

Importing this module imports numba.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

RUN = 128
"""Rows whose nearest centers are found together, side by side in vectors."""


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def _nearest(columns: Any, centers: Any, index: Any) -> None:
    """Index of the nearest center of each row, the first of equals; squares are added in order of the columns."""
    width, rows = columns.shape
    distance, least = np.empty(RUN), np.empty(RUN)
    for left in range(0, rows, RUN):
        some = index[left : left + RUN]
        least[:] = np.inf
        for c in range(centers.shape[0]):
            distance[:] = 0.0
            for w in range(width):
                values, center = columns[w, left : left + RUN], centers[c, w]
                for i in range(values.size):
                    apart = values[i] - center
                    distance[i] += apart * apart
            for i in range(some.size):
                nearer = distance[i] < least[i]
                least[i] = distance[i] if nearer else least[i]
                some[i] = c if nearer else some[i]


@numba.njit(nogil=True, cache=True, error_model="numpy")  # type: ignore[untyped-decorator]
def iterate(x: Any, centers: Any, steps: int) -> None:
    """Move centers to the means of the rows they are nearest to, until nothing moves or `steps` are done.

    Parameters
    ----------
    x : float64 [m, width]
    centers : float64 [count, width]
        Moved in place; one without rows stays.
    steps
        Most steps.
    """
    columns = x.T.copy()
    seen, index = np.full(x.shape[0], -1), np.zeros(x.shape[0], np.int64)
    for _ in range(steps):
        _nearest(columns, centers, index)
        if (index == seen).all():
            return
        seen[:] = index
        sums, rows = np.zeros(centers.shape), np.zeros(centers.shape[0])
        for i in range(x.shape[0]):
            rows[index[i]] += 1
            for w in range(x.shape[1]):
                sums[index[i], w] += x[i, w]
        for c in range(centers.shape[0]):
            if rows[c] > 0:
                centers[c] = sums[c] / rows[c]
