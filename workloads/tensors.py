"""Tensors by name that are read or drawn when first asked for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]


class LazyTensors(Mapping[str, FloatArray]):
    """A mapping of names to arrays, each made by a callable on first use and kept.

    The arrays are read-only, since all users of a network share them.

    Parameters
    ----------
    makers
        By name, what makes the array. Module-level functions and partials of them keep the mapping picklable.

    Examples
    --------
    >>> tensors = LazyTensors({"x": lambda: np.ones(2, np.float32)})
    >>> tensors, tensors["x"]
    (LazyTensors(x), array([1., 1.], dtype=float32))
    """

    def __init__(self, makers: Mapping[str, Callable[[], FloatArray]]) -> None:
        self._makers = dict(makers)
        self._made: dict[str, FloatArray] = {}

    def __getitem__(self, name: str) -> FloatArray:
        if name not in self._made:
            array = self._makers[name]()
            array.flags.writeable = False
            self._made[name] = array
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def __repr__(self) -> str:
        return f"LazyTensors({', '.join(self._makers)})"


class ShapesOnly(Mapping[str, FloatArray]):
    """Names of tensors that are not at hand: enough for costs, not for errors.

    Parameters
    ----------
    names
        Of the tensors.
    network
        Named when an array is asked for.

    Examples
    --------
    >>> tensors = ShapesOnly(("x",), "resnet50")
    >>> "x" in tensors, len(tensors)
    (True, 1)
    >>> tensors["x"]
    Traceback (most recent call last):
    ...
    ValueError: network resnet50 must have tensors to be run, but it has shapes only: ask for its costs
    """

    def __init__(self, names: Iterable[str], network: str) -> None:
        self._names = dict.fromkeys(names)
        self._network = network

    def __getitem__(self, name: str) -> FloatArray:
        if name not in self._names:
            raise KeyError(name)
        msg = f"network {self._network} must have tensors to be run, but it has shapes only: ask for its costs"
        raise ValueError(msg)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"ShapesOnly({', '.join(self._names)})"


def read_member(archive: Traversable, member: str) -> FloatArray:
    """Read one array of an ``.npz`` archive as float32.

    Parameters
    ----------
    archive
        The file.
    member
        Name of the array.

    Returns
    -------
    array : float32 [...]
        Converted from the dtype stored; from float16 this is exact.

    Raises
    ------
    KeyError
        If the archive has no such member.
    """
    with archive.open("rb") as file, np.load(file) as data:
        array: npt.NDArray[np.float32] = data[member].astype(np.float32)
    return array


def archive_tensors(archive: Traversable, members: Mapping[str, str]) -> LazyTensors:
    """Name arrays of an ``.npz`` archive without reading them.

    Parameters
    ----------
    archive
        The file.
    members
        Names of the tensors and of the archive's arrays behind them.

    Returns
    -------
    tensors
        float32, read on demand.
    """
    return LazyTensors({name: functools.partial(read_member, archive, key) for name, key in members.items()})
