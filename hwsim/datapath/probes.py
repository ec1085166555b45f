"""Proof, before it is used, that what multiplies bytes on this processor does so exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Product = Callable[[npt.NDArray[Any], npt.NDArray[Any]], npt.NDArray[Any]]

_SHAPES = ((1, 1, 1), (1, 64, 16), (33, 67, 65), (64, 192, 96), (64, 256, 64), (130, 515, 97))


def multiplies_extremes(product: Product) -> bool:
    """Tell whether a product of bytes, of any signs, is exact where sums are largest: saturating pairs show there."""
    rng = np.random.default_rng(7)
    for m, k, n in _SHAPES:
        lhs = rng.choice(np.array([-128, 127, 127], np.int8), (m, k))
        rhs = rng.choice(np.array([-128, -128, 127], np.int8), (k, n))
        for a in (lhs, np.full_like(lhs, -128), lhs.view(np.uint8), np.full((m, k), 255, np.uint8)):
            for b in (rhs, np.full_like(rhs, -128), np.full_like(rhs, 127), rhs.view(np.uint8)):
                if not np.array_equal(product(a, b), a.astype(np.int64) @ b.astype(np.int64)):
                    return False
    return True
