"""Arithmetic that serves one design point, in Python numbers, and columns of many, in numpy arrays.

One point stays in Python numbers, which are exact and ten times faster than arrays of one element. Columns are
float64: whole numbers up to 2**53 are exact in it, and so is the rounding of their quotients. A
`Symbol` is a column that is not there yet.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.timing.symbols import Symbol

Number = Any  # an int or float, or an array of them: one design point or a column of many

_COLUMNS = frozenset({np.ndarray, Symbol})


def is_column(x: Number) -> bool:
    """Tell whether a number is one for each of many design points."""
    return type(x) in _COLUMNS


def ceil_div(numerator: Number, denominator: Number) -> Number:
    """Quotient of whole numbers rounded up, exactly while both add up to less than 2**53.

    Examples
    --------
    >>> ceil_div(7, 2), ceil_div(np.array([6.0, 7.0]), 2)
    (4, array([3., 4.]))
    """
    if type(numerator) in _COLUMNS or type(denominator) in _COLUMNS:
        return np.ceil(numerator / denominator)
    return -(-numerator // denominator)


def floor_div(numerator: Number, denominator: Number) -> Number:
    """Quotient of whole numbers rounded down, exactly as `ceil_div` is.

    Examples
    --------
    >>> floor_div(7, 2), floor_div(np.array([6.0, 7.0]), 2)
    (3, array([3., 3.]))
    """
    if type(numerator) in _COLUMNS or type(denominator) in _COLUMNS:
        return np.floor(numerator / denominator)
    return numerator // denominator


def maximum(one: Number, other: Number) -> Number:
    """Return the larger of two, element by element."""
    if type(one) in _COLUMNS or type(other) in _COLUMNS:
        return np.maximum(one, other)
    return one if one >= other else other


def minimum(one: Number, other: Number) -> Number:
    """Return the smaller of two, element by element."""
    if type(one) in _COLUMNS or type(other) in _COLUMNS:
        return np.minimum(one, other)
    return one if one <= other else other


def where(condition: Number, one: Number, other: Number) -> Number:
    """`one` where the condition holds, `other` elsewhere."""
    if type(condition) in _COLUMNS:
        return np.where(condition, one, other)
    return one if condition else other


def round_up(value: Number) -> Number:
    """Return the next whole number.

    Examples
    --------
    >>> round_up(2.5), round_up(np.array([2.5, 3.0]))
    (3, array([3., 3.]))
    """
    if type(value) in _COLUMNS:
        return np.ceil(value)
    return -int(-value // 1)


def plus(base: Number, factor: Number, count: Number) -> Number:
    """Return ``base + factor * count``, without the product where the factor is 0 in all rows."""
    return base if type(factor) is int and factor == 0 else base + factor * count
