"""Laws over widths, fitted to measured rows by relative least squares."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .cost import Number
from .errors import checked_widths

Widths = tuple[Any, ...]


def _log2(value: Any) -> Any:
    return math.log2(value) if isinstance(value, (int, float)) else np.log2(value)


def _max(a: Any, b: Any) -> Any:
    return max(a, b) if isinstance(a, (int, float)) and isinstance(b, (int, float)) else np.maximum(a, b)


def _min(a: Any, b: Any) -> Any:
    return min(a, b) if isinstance(a, (int, float)) and isinstance(b, (int, float)) else np.minimum(a, b)


FEATURES: Mapping[str, Callable[..., Any]] = {
    "1": lambda *_: 1.0,
    "a": lambda a, *_: a,
    "b": lambda _, b, *__: b,
    "c": lambda _, __, c: c,
    "a*b": lambda a, b, *_: a * b,
    "(a+b)": lambda a, b, *_: a + b,
    "max(a,b)": lambda a, b, *_: _max(a, b),
    "min(a,b)": lambda a, b, *_: _min(a, b),
    "log2(a)": lambda a, *_: _log2(a),
    "log2(b)": lambda _, b, *__: _log2(b),
    "a*log2(a)": lambda a, *_: a * _log2(a),
    "a*log2(b)": lambda a, b, *_: a * _log2(b),
    "(a+b)*(1+log2(b+1))": lambda a, b, *_: (a + b) * (1.0 + _log2(b + 1)),
    "max(a,b)*log2(min(a,b))": lambda a, b, *_: _max(a, b) * _log2(_min(a, b)),
    "(a-1)*(b-1)": lambda a, b, *_: (a - 1.0) * (b - 1.0),
    "a*b*log2(min(a,b))": lambda a, b, *_: a * b * _log2(_min(a, b)),
    "min(a,b)*c": lambda a, b, c: _min(a, b) * c,
    "(a+2*b+c)": lambda a, b, c: a + 2.0 * b + c,
    "sqrt(a)": lambda a, *_: a**0.5,
    "sqrt(a)*b": lambda a, b, *_: a**0.5 * b,
    "a/b": lambda a, b, *_: a / b,
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured row: the design's name, its widths and the value."""

    design: str
    widths: tuple[float, ...]
    value: float


@dataclass(frozen=True, slots=True)
class Residual:
    """How a law meets one of its rows: relative error of the fit, and of the fit made without that row.

    `left_out` is None where the law has as many parameters as rows, so that nothing is left to test it by.
    """

    design: str
    measured: float
    fitted: float
    error: float
    left_out: float | None


@dataclass(frozen=True, slots=True)
class Law:
    """A sum of features with fitted coefficients, or a product of powers of them.

    Parameters
    ----------
    features
        Keys of `FEATURES`.
    coefficients
        One a feature; for a power law the logarithm of the factor first, then exponents.
    power
        Product of powers instead of a sum.
    samples
        The rows it was fitted to.
    """

    features: tuple[str, ...]
    coefficients: tuple[float, ...]
    power: bool
    samples: tuple[Sample, ...]

    def __call__(self, *widths: Any) -> Number:
        """Evaluate at `widths`, scalars or arrays that broadcast."""
        if self.power:
            result: Any = math.exp(self.coefficients[0])
            for name, exponent in zip(self.features, self.coefficients[1:], strict=True):
                result = result * FEATURES[name](*widths) ** exponent
            return result
        total: Any = 0.0
        for name, coefficient in zip(self.features, self.coefficients, strict=True):
            total = total + coefficient * FEATURES[name](*widths)
        return total

    @property
    def text(self) -> str:
        """The law as a formula."""
        if self.power:
            powers = " ".join(f"({n})^{e:.3f}" for n, e in zip(self.features, self.coefficients[1:], strict=True))
            return f"{math.exp(self.coefficients[0]):.4g} {powers}"
        parts = zip(self.features, self.coefficients, strict=True)
        return " ".join(f"{c:+.4g}" + ("" if n == "1" else f" {n}") for n, c in parts).removeprefix("+")

    def residuals(self) -> list[Residual]:
        """Return the relative error of every row, fitted with it and without it."""
        found = []
        parameters = len(self.coefficients)
        for i, sample in enumerate(self.samples):
            fitted = float(self(*sample.widths))
            others = self.samples[:i] + self.samples[i + 1 :]
            left_out: float | None = None
            if len(others) >= parameters:
                law = fit(self.features, others, power=self.power)
                left_out = float(law(*sample.widths)) / sample.value - 1.0
            found.append(Residual(sample.design, sample.value, fitted, fitted / sample.value - 1.0, left_out))
        return found


def fit(features: tuple[str, ...], samples: tuple[Sample, ...], *, power: bool = False, positive: bool = False) -> Law:
    """Fit a law to rows so that the sum of squared relative errors is least.

    Parameters
    ----------
    features
        Keys of `FEATURES`; a power law has a constant factor besides.
    samples
        At least one row; with fewer rows than parameters the shortest solution is taken.
    power
        Fit a product of powers (least squares of logarithms).
    positive
        Leave out features whose coefficient would be negative.

    Returns
    -------
    law

    Examples
    --------
    >>> rows = (Sample("x2", (2,), 5.0), Sample("x4", (4,), 9.0))
    >>> fit(("a", "1"), rows).text
    '2 a +1'
    """
    values = np.array([s.value for s in samples])
    columns = np.array([[float(FEATURES[n](*s.widths)) for n in features] for s in samples])
    if power:
        logs = np.concatenate([np.ones((len(samples), 1)), np.log(columns)], axis=1)
        return Law(features, tuple(map(float, np.linalg.lstsq(logs, np.log(values), rcond=None)[0])), True, samples)
    relative = columns / values[:, None]
    active = list(range(len(features)))
    while True:
        found = np.linalg.lstsq(relative[:, active], np.ones(len(samples)), rcond=None)[0]
        if not positive or (found >= 0).all():
            break
        active.pop(int(np.argmin(found)))
    coefficients = [0.0] * len(features)
    for place, value in zip(active, found, strict=True):
        coefficients[place] = float(value)
    return Law(features, tuple(coefficients), False, samples)


def check(limits: Mapping[str, tuple[int, int]], values: Widths) -> Widths:
    """Return `values` checked against the limits of the same order."""
    return tuple(checked_widths(n, v, *lohi) for (n, lohi), v in zip(limits.items(), values, strict=True))
