"""Design spaces: every combination of lists, or points that are given one by one."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.exploration.fields import full_path
from hwsim.exploration.values import Values

if TYPE_CHECKING:
    import pandas as pd

Column = npt.NDArray[Any]


@dataclass(frozen=True)
class Axis:
    """Fields that vary together, and how many rows there are of their values."""

    fields: Mapping[str, Values]
    rows: int


@dataclass(frozen=True)
class Places:
    """Where the rows from one to another are: how often all rows have gone by, and their places along each axis."""

    rounds: Column
    axes: tuple[Column, ...]


@dataclass(frozen=True)
class Space:
    """Rows of a design space: the product of its axes, the last one fastest."""

    axes: tuple[Axis, ...]

    @functools.cached_property
    def rows(self) -> int:
        """Number of points."""
        return math.prod(axis.rows for axis in self.axes)

    @functools.cached_property
    def fields(self) -> dict[str, tuple[int, Values]]:
        """Number of the axis, and values along it, by path."""
        return {
            field: (number, values) for number, axis in enumerate(self.axes) for field, values in axis.fields.items()
        }

    def values(self, field: str) -> list[Any]:
        """Distinct values of a field."""
        return self.fields[field][1].values

    def places(self, start: int, stop: int) -> Places:
        """Places of rows ``start`` to ``stop``, which go on from the first after the last."""
        past = start // self.rows
        if (stop - 1) // self.rows == past:
            rest, rounds = np.arange(start, stop) - past * self.rows, np.full(stop - start, past)
        else:
            rounds, rest = np.divmod(np.arange(start, stop), self.rows)
        found = []
        for number, axis in reversed(list(enumerate(self.axes))):
            # What is left for the first axis is its place.
            rest, place = np.divmod(rest, axis.rows) if number else (rest, rest)
            found.append(place)
        return Places(rounds, tuple(reversed(found)))

    def digest(self) -> str:
        """Return a fingerprint of all values in order."""
        state = hashlib.sha256()
        for axis in self.axes:
            for field, values in axis.fields.items():
                state.update(f"{field} {axis.rows} ".encode() + values.fingerprint())
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
        axes.append(
            Axis({path: Values.of_column(path, column) for path, column in columns.items()}, lengths.popitem()[1])
        )
    for name, listed_values in grid.items():
        path = path_of(name)
        values = _listed(listed_values)
        axes.append(Axis({path: Values.of_list(path, values)}, len(values)))
    space = Space(tuple(axes))
    if not space.rows:
        msg = "a design space must have a point"
        raise ValueError(msg)
    return space


def _listed(values: Any) -> Sequence[Any]:
    if isinstance(values, str) or not hasattr(values, "__len__"):
        return list(values) if hasattr(values, "__iter__") and not isinstance(values, str) else [values]
    return values.tolist() if hasattr(values, "tolist") else list(values)
