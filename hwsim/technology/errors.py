"""Errors and argument checks of the technology models."""

from typing import Any

import numpy as np
import numpy.typing as npt


class MissingConstantError(ValueError):
    """A node has no sourced constant for what is asked of it."""


def checked_widths(name: str, value: npt.ArrayLike, lo: int, hi: int) -> Any:
    """Return a width, or an array of them, that lies inside the limits of a law.

    Parameters
    ----------
    name
        What the value is, for the error.
    value : integer scalar or array
        Widths, counts of entries and the like.
    lo, hi
        Stated limits of the law.

    Returns
    -------
    value : int, or float64 array
        Python int for a scalar.

    Raises
    ------
    TypeError
        If `value` is not whole numbers.
    ValueError
        If any value lies outside `lo..hi`.
    """
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be whole numbers, not {value}")
    if isinstance(value, (int, np.integer)):
        if not lo <= value <= hi:
            raise ValueError(f"{name} must be in {lo}..{hi}, not {value}")
        return int(value)
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or np.any(array != np.floor(array)):
        raise TypeError(f"{name} must be whole numbers, not {value}")
    if array.size:
        low, high = array.min(), array.max()
        if low < lo or high > hi:
            raise ValueError(f"{name} must be in {lo}..{hi}, not {low if low < lo else high:g}")
    return array.astype(np.float64) if array.ndim else int(array)
