"""Remembered calls of component models, and calls over columns with few distinct values."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import numpy as np
import numpy.typing as npt

P = ParamSpec("P")
S = TypeVar("S")
R = TypeVar("R")

# Columns shorter than this are not worth finding the distinct rows of; more distinct rows than this are not few.
_LONG = 4096
_FEW = 1 << 18


def cached(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Remember the results of a component model for scalars; evaluate long columns once for each distinct row.

    The instance must have a dict `_cache`; an lru_cache on the class would keep instances alive. Results are frozen
    dataclasses.
    """
    name = method.__name__

    @functools.wraps(method)
    def call(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        cache: dict[Any, Any] = self._cache  # type: ignore[attr-defined]
        # Types too: True equals 1, and must not find what 1 left.
        key = (name, args, tuple(kwargs.items()), tuple(map(type, args)))
        try:
            found = cache.get(key)
        except TypeError:  # an array is not hashable
            rows = _distinct([a for a in args if isinstance(a, np.ndarray)]) if not kwargs else None
            if rows is None:
                return method(self, *args, **kwargs)
            columns = iter(rows[0])
            few = [next(columns) if isinstance(a, np.ndarray) else a for a in args]
            once = cast("Callable[..., R]", method)
            whole: R = _expanded(once(self, *few), rows[1])
            return whole
        if found is None:
            found = cache[key] = method(self, *args, **kwargs)
        result: R = found
        return result

    return cast("Callable[Concatenate[S, P], R]", call)


def _distinct(columns: list[npt.NDArray[Any]]) -> tuple[list[npt.NDArray[Any]], npt.NDArray[np.intp]] | None:
    """Return the distinct rows of integer columns and where each row went, or None where that does not pay."""
    if not columns or any(c.dtype.kind not in "iu" or c.ndim != 1 for c in columns):
        return None
    if len({c.size for c in columns}) > 1 or columns[0].size < _LONG:
        return None
    lows = [int(c.min()) for c in columns]
    spans = [int(c.max()) - low + 1 for c, low in zip(columns, lows, strict=True)]
    if np.prod(spans, dtype=float) > _FEW:
        return None
    code = np.zeros(columns[0].size, dtype=np.intp)
    for column, low, span in zip(columns, lows, spans, strict=True):
        code *= span
        code += column
        code -= low
    present = np.flatnonzero(np.bincount(code))
    place = np.zeros(int(present[-1]) + 1, dtype=np.intp)
    place[present] = np.arange(present.size)
    rest, found = present, []
    for low, span in zip(reversed(lows), reversed(spans), strict=True):
        found.append(rest % span + low)
        rest = rest // span
    return found[::-1], place[code]


def _expanded(result: Any, place: npt.NDArray[np.intp]) -> Any:
    changes = {f.name: value[place] for f in fields(result) if isinstance(value := getattr(result, f.name), np.ndarray)}
    return replace(result, **changes)
