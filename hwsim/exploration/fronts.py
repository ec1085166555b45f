"""Pareto fronts: the points that no other beats in every column."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Values = npt.NDArray[np.float64]

# Rows that are compared at once.
_BATCH = 2048


def pareto(
    frame: pd.DataFrame,
    columns: Sequence[str] = ("latency_us", "energy_pj", "area_um2"),
    maximize: Sequence[str] = (),
) -> pd.DataFrame:
    """Rows that no other row beats: none is at least as good in all columns and better in one.

    Parameters
    ----------
    frame
        As `explore` returns; rows with a missing value in one of the columns are left out.
    columns
        Numbers of which less is better, unless in `maximize`.
    maximize
        Those of which more is better.

    Returns
    -------
    front
        In order of the first column; equal rows all stay.

    Raises
    ------
    ValueError
        If no column is named or one is not in the frame.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"latency_us": [1.0, 2.0, 3.0, 2.0], "energy_pj": [9.0, 4.0, 5.0, 4.0]})
    >>> pareto(frame, ["latency_us", "energy_pj"]).index.tolist()
    [0, 1, 3]
    """
    names = [*columns, *(name for name in maximize if name not in columns)]
    unknown = [name for name in names if name not in frame]
    if unknown or not names:
        msg = f"columns must be of the frame, not {', '.join(unknown) or 'none'}"
        raise ValueError(msg)
    values = np.stack([frame[name].to_numpy(np.float64) * (-1 if name in maximize else 1) for name in names], axis=1)
    whole = np.flatnonzero(~np.isnan(values).any(axis=1))
    kept = whole[_front(values[whole])]
    return frame.iloc[kept[np.argsort(values[kept, 0], kind="stable")]]


def _front(values: Values) -> npt.NDArray[np.intp]:
    """Places of the rows that no other beats, in any number of dimensions.

    Sorted by the sum of ranks, no row is beaten by a later one, so that each batch has to meet the front so far and
    itself only.
    """
    distinct, place = np.unique(values, axis=0, return_inverse=True) if len(values) < _BATCH else _unique(values)
    good = _front_of_distinct(distinct)
    return np.flatnonzero(good[place.ravel()])


def _unique(values: Values) -> tuple[Values, npt.NDArray[np.intp]]:
    """Return distinct rows in lexicographic order and the place of each row among them."""
    order = np.lexsort(values.T[::-1])
    ranked = values[order]
    new = np.empty(len(values), bool)
    new[:1] = True
    np.any(ranked[1:] != ranked[:-1], axis=1, out=new[1:])
    place = np.empty(len(values), np.intp)
    place[order] = np.cumsum(new) - 1
    return ranked[new], place


def _front_of_distinct(values: Values) -> npt.NDArray[np.bool_]:
    good = np.ones(len(values), bool)
    if values.shape[1] == 1:
        good[1:] = False
        return good
    if values.shape[1] == 2:
        # In order of the first column, a row is good where the second is below all before.
        good[1:] = values[1:, 1] < np.minimum.accumulate(values[:, 1])[:-1]
        return good
    alive = np.arange(len(values))
    # Rows that are good in all columns together beat most others: they are asked first.
    scale = values.max(axis=0) - values.min(axis=0)
    total = ((values - values.min(axis=0)) / np.where(scale > 0, scale, 1)).sum(axis=1)
    for champion in np.argsort(total)[:8]:
        beaten = (values[champion] <= values[alive]).all(axis=1)
        beaten &= alive != champion
        good[alive[beaten]] = False
        alive = alive[~beaten]
    if values.shape[1] == 3:
        good[alive] = _staircase(values[alive])
        return good
    # In lexicographic order only an earlier row can beat a later one.
    front = np.empty((0, values.shape[1]))
    for start in range(0, len(alive), _BATCH):
        rows = alive[start : start + _BATCH]
        rows = rows[~_beaten(values[rows], front)]
        mine = values[rows]
        fresh = ~_beaten_within(mine)
        good[alive[start : start + _BATCH]] = False
        good[rows[fresh]] = True
        front = np.concatenate([front, mine[fresh]])
    return good


def _staircase(values: Values) -> npt.NDArray[np.bool_]:
    """Tell which of distinct rows of three columns, in lexicographic order, no earlier one beats.

    Of the rows so far only the corners of a staircase matter: second column rising, third falling.
    """
    good = np.zeros(len(values), bool)
    seconds: list[float] = []
    thirds: list[float] = []
    for row, (second, third) in enumerate(values[:, 1:].tolist()):
        place = bisect.bisect_right(seconds, second)
        if place and thirds[place - 1] <= third:
            continue
        good[row] = True
        first = place - 1 if place and seconds[place - 1] == second else place
        last = first
        while last < len(thirds) and thirds[last] >= third:
            last += 1
        seconds[first:last] = [second]
        thirds[first:last] = [third]
    return good


def _beaten(rows: Values, front: Values) -> npt.NDArray[np.bool_]:
    """Tell which rows a member of the front beats; all are distinct."""
    beaten = np.zeros(len(rows), bool)
    for start in range(0, len(front), 256):
        part = front[start : start + 256]
        left = np.flatnonzero(~beaten)
        if not left.size:
            break
        worse = np.ones((left.size, len(part)), bool)
        for axis in range(rows.shape[1]):
            worse &= rows[left, axis, None] >= part[None, :, axis]
        beaten[left] = worse.any(axis=1)
    return beaten


def _beaten_within(rows: Values) -> npt.NDArray[np.bool_]:
    """Tell which of distinct rows another of them beats."""
    worse = np.ones((len(rows), len(rows)), bool)
    for axis in range(rows.shape[1]):
        worse &= rows[:, axis, None] >= rows[None, :, axis]
    np.fill_diagonal(worse, val=False)
    return np.asarray(worse.any(axis=1), bool)
