"""Design spaces: every combination of lists, or points that are given one by one."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.exploration.fields import checked_values, full_path

if TYPE_CHECKING:
    import pandas as pd

Column = npt.NDArray[Any]

_TABLE = 1 << 18  # places of a table that stays in the second-level cache


@dataclass(frozen=True)
class Axis:
    """What varies: distinct values, and the place among them of each of its own rows.

    Parameters
    ----------
    fields
        Paths of the fields that vary together.
    values
        Of each field, as Python values, the distinct ones.
    codes
        Of each field, the place of every row's value; None where row i has value i.
    rows
        How many.
    """

    fields: tuple[str, ...]
    values: tuple[list[Any], ...]
    codes: tuple[Column | None, ...]
    rows: int


@dataclass(frozen=True)
class Space:
    """Rows of a design space: the product of its axes, the last one fastest."""

    axes: tuple[Axis, ...]

    @property
    def rows(self) -> int:
        """Number of points."""
        return math.prod(axis.rows for axis in self.axes)

    @property
    def fields(self) -> tuple[str, ...]:
        """Paths of what varies."""
        return tuple(itertools.chain.from_iterable(axis.fields for axis in self.axes))

    @property
    def values(self) -> dict[str, list[Any]]:
        """Distinct values of each field."""
        return {field: values for axis in self.axes for field, values in zip(axis.fields, axis.values, strict=True)}

    def codes(self, start: int, stop: int) -> dict[str, Column]:
        """Places among the distinct values, of rows ``start`` to ``stop``."""
        rest = np.arange(start, stop)
        found: dict[str, Column] = {}
        for number, axis in reversed(list(enumerate(self.axes))):
            # What is left for the first axis is its place.
            rest, place = np.divmod(rest, axis.rows) if number else (rest, rest)
            for field, codes in zip(axis.fields, axis.codes, strict=True):
                found[field] = place if codes is None else codes[place]
        return {field: found[field] for field in self.fields}

    def digest(self) -> str:
        """Return a fingerprint of all values in order."""
        state = hashlib.sha256()
        for axis in self.axes:
            state.update(repr((axis.fields, axis.values)).encode())
            for codes in axis.codes:
                state.update(b"" if codes is None else codes.tobytes())
        return state.hexdigest()


def make_space(grid: Mapping[str, Any], points: Mapping[str, Any] | pd.DataFrame | None, *, sizes: bool) -> Space:
    """Check every value and lay out the rows.

    Parameters
    ----------
    grid
        Lists of values by field; all combinations are points.
    points
        Columns of equal length by field; every row is a point, with every combination of the grid.
    sizes
        Whether the sizes of a product may vary.

    Raises
    ------
    ValueError
        If a field is unknown or given twice, a value breaks its rule, or columns differ in length.
    """
    axes: list[Axis] = []
    given: set[str] = set()

    def path_of(name: str) -> str:
        path = full_path(str(name), sizes)
        if path in given:
            msg = f"field must be given once, not twice: {path}"
            raise ValueError(msg)
        given.add(path)
        return path

    if points is not None and list(points):
        columns = {path_of(str(name)): np.asarray(points[str(name)]) for name in points}
        lengths = {path: len(column) for path, column in columns.items()}
        if len(set(lengths.values())) > 1:
            msg = f"columns must be equally long, not {', '.join(f'{path} {n}' for path, n in lengths.items())}"
            raise ValueError(msg)
        listed = [_distinct(path, column) for path, column in columns.items()]
        values, codes = zip(*listed, strict=True)
        axes.append(Axis(tuple(columns), values, codes, next(iter(lengths.values()))))
    for name, listed_values in grid.items():
        path = path_of(name)
        found = checked_values(path, _listed(listed_values))
        axes.append(Axis((path,), (found,), (None,), len(found)))
    space = Space(tuple(axes))
    if not space.rows:
        msg = "a design space must have a point"
        raise ValueError(msg)
    return space


def _listed(values: Any) -> Sequence[Any]:
    if isinstance(values, str) or not hasattr(values, "__len__"):
        return list(values) if hasattr(values, "__iter__") and not isinstance(values, str) else [values]
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _distinct(path: str, column: Column) -> tuple[list[Any], Column | None]:
    import pandas as pd  # noqa: PLC0415

    found = _small_distinct(column) if column.dtype.kind in "iu" else None
    codes, values = found or pd.factorize(column)
    return checked_values(path, list(np.asarray(values).tolist())), codes.astype(np.int32)


def _small_distinct(column: Column) -> tuple[Column, Column] | None:
    """Places and values, ascending, of whole numbers that a short table holds; three times as fast as hashing."""
    if not len(column):
        return None
    low, high = int(column.min()), int(column.max())
    if high - low >= min(_TABLE, len(column)):
        return None
    shifted = column - low
    there = np.zeros(high - low + 1, bool)
    there[shifted] = True
    return (np.cumsum(there, dtype=np.int32) - np.int32(1))[shifted], np.flatnonzero(there) + low
