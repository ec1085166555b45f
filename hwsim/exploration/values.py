"""Values of one field along an axis of a design space, checked: numbers as a column, all else by distinct values."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.exploration.fields import COLUMNS, SIZES, checked_values

Column = npt.NDArray[Any]

_TABLE = 1 << 18  # places of a table that stays in the second-level cache
_WORDS = 16  # distinct words that are looked for one by one
_EXACT = 2**53


class Values:
    """Values of one field, one for each row of its axis.

    Parameters
    ----------
    numbers : int64 or float64 [rows], or None
        Where they are numbers.
    distinct
        Python values that are distinct, and the place among them of each row's; found when it is asked for, where
        there are numbers.
    """

    def __init__(self, numbers: Column | None, distinct: tuple[list[Any], Column] | None = None) -> None:
        self.numbers = numbers
        if distinct is not None:
            self.__dict__["distinct"] = distinct

    @classmethod
    def of_list(cls, path: str, values: Sequence[Any]) -> Values:
        """Check values of which each is one row."""
        found = checked_values(path, values)
        return cls._looked_up(found, np.arange(len(found), dtype=np.int32))

    @classmethod
    def of_column(cls, path: str, column: Any) -> Values:
        """Check a column, a number only by the least and the greatest where its rule is an interval."""
        array = np.asarray(column)
        numbers = _numbers_within(path, array)
        if numbers is not None:
            return cls(numbers)
        values, codes = told_apart(array)
        return cls._looked_up(checked_values(path, values), codes)

    @classmethod
    def _looked_up(cls, values: list[Any], codes: Column) -> Values:
        array = np.array(values)
        return cls(array[codes] if array.dtype.kind in "if" else None, (values, codes))

    @functools.cached_property
    def distinct(self) -> tuple[list[Any], Column]:
        """Distinct values, and the place among them of each row's."""
        return told_apart(np.asarray(self.numbers))

    @property
    def values(self) -> list[Any]:
        """Distinct values."""
        return self.distinct[0]

    @functools.cached_property
    def floats(self) -> Column:
        """The numbers as float64."""
        return np.ascontiguousarray(self.numbers, np.float64)

    def at(self, places: Column) -> Any:
        """Values of some rows for a frame: numbers as they are, words as categories."""
        if self.numbers is not None:
            return self.numbers[places]
        values, codes = self.distinct
        array, words = np.array(values), [str(value) for value in values]
        if array.dtype.kind == "b":
            return array[codes[places]]
        if len(set(words)) < len(words):
            return np.array(words, object)[codes[places]]
        return categories(codes[places], words)

    def fingerprint(self) -> bytes:
        """Bytes that tell these values from others."""
        if self.numbers is not None:
            return self.numbers.dtype.str.encode() + self.numbers.tobytes()
        values, codes = self.distinct
        return repr(values).encode() + codes.tobytes()


def categories(codes: Column, words: Sequence[str]) -> Any:
    """Words by their places; none where the place is -1."""
    import pandas as pd  # noqa: PLC0415

    build: Any = pd.Categorical.from_codes
    return build(codes, list(words))


def _numbers_within(path: str, column: Column) -> Column | None:
    """Numbers whose least and greatest keep the rule of their field; the rules of these fields are intervals."""
    whole = column.dtype.kind in "iu"
    if path not in COLUMNS and path not in SIZES:
        return None
    if not len(column) or not (whole or (column.dtype.kind == "f" and path not in SIZES)):
        return None
    ends = [column.min().item(), column.max().item()]
    try:
        least, greatest = checked_values(path, ends)
    except ValueError:
        return None  # each value is looked at, to name the first that is wrong
    if abs(greatest) > _EXACT:
        return None
    return column.astype(np.int64 if isinstance(least, int) else np.float64)


def told_apart(column: Column) -> tuple[list[Any], Column]:
    """Distinct values, and the place among them of each row's; what is missing is a value too."""
    import pandas as pd  # noqa: PLC0415

    found = None
    if column.dtype.kind in "iu":
        found = _small_distinct(column)
    elif column.dtype.kind == "U":
        found = _few_words(column)
    codes, values = found or pd.factorize(column, use_na_sentinel=False)
    if column.dtype.kind == "O":
        first = np.zeros(len(values), np.intp)
        first[codes[::-1]] = np.arange(len(column))[::-1]
        values = column[first]  # None stays None
    return list(np.asarray(values).tolist()), codes.astype(np.int32, copy=False)


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


def _few_words(column: Column) -> tuple[Column, Column] | None:
    """Places and values, as they come, of few different words; faster than making each a Python word."""
    codes = np.full(len(column), -1, np.int32)
    first: list[int] = []
    for number in range(_WORDS):
        unknown = int(np.argmax(codes < 0))
        if not len(column) or codes[unknown] >= 0:
            return codes, column[first]
        codes[column == column[unknown]] = number
        first.append(unknown)
    return None
