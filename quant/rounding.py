"""Rounding to integers and to powers of two: exact deterministic modes, stochastic and logarithmic ones.

Every function takes floats and returns floats that hold integers, exact for the values it is given: no half is added
in floating point, so the neighbours of a tie round the right way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from .formats import FloatArray, IntArray, Rounding

Rounder = Callable[[FloatArray], FloatArray]
"""A rounding that is not a `Rounding`: gets quotients in C order, returns integers as floats."""


def round_values(x: npt.ArrayLike, rounding: Rounding | Rounder = Rounding.HALF_EVEN) -> FloatArray:
    """Round to integers, kept as floats of the dtype of `x`.

    Parameters
    ----------
    x : float [...]
        Any values; infinities stay.
    rounding
        A `Rounding`, or any callable that does the same job, such as `Stochastic`.

    Returns
    -------
    rounded : float [...]

    Examples
    --------
    >>> round_values([-2.5, -0.5, 0.5, 1.5]).astype(int)
    array([-2,  0,  0,  2])
    >>> round_values([-2.5, -0.5, 0.5, 1.5], Rounding.HALF_AWAY).astype(int)
    array([-3, -1,  1,  2])
    """
    values = np.asarray(x)
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    if not isinstance(rounding, Rounding):
        return rounding(values)
    out = np.empty_like(values)
    round_into(values, rounding, out)
    return out


def round_into(x: FloatArray, rounding: Rounding, out: FloatArray) -> None:
    """Write the rounded `x` to `out`, which may be `x` itself.

    A half is recognized by ``x - rint(x)``, which is exact, and moved from the even side where the mode wants the
    other.
    """
    match rounding:
        case Rounding.HALF_EVEN:
            np.rint(x, out=out)
        case Rounding.DOWN:
            np.floor(x, out=out)
        case Rounding.UP:
            np.ceil(x, out=out)
        case Rounding.TOWARD_ZERO:
            np.trunc(x, out=out)
        case Rounding.HALF_UP | Rounding.HALF_AWAY:
            even = np.rint(x)
            with np.errstate(invalid="ignore"):  # inf - inf is no tie
                below = x - even
            move = (below == 0.5).astype(x.dtype)
            if rounding is Rounding.HALF_AWAY:
                move[x < 0] = 0
                move[(below == -0.5) & (x < 0)] = -1
            np.add(even, move, out=out)
        case _:
            assert_never(rounding)


@dataclass(frozen=True)
class Stochastic:
    """Round up with the probability of the fractional part.

    Unbiased; its mean square error on uniform fractions is 1/6, twice that of rounding to nearest.

    Parameters
    ----------
    seed
        Seed of the generator. The same object goes on drawing; a new one starts again.

    Examples
    --------
    >>> float(Stochastic(seed=7)(np.full(10_000, 0.25)).mean().round(2))
    0.25
    """

    seed: int
    _generator: np.random.Generator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_generator", np.random.default_rng(self.seed))

    def __call__(self, x: FloatArray) -> FloatArray:
        """Round `x` in C order; integers stay."""
        floor = np.floor(x)
        with np.errstate(invalid="ignore"):  # infinities have no fraction, and stay
            fraction = x - floor
        return floor + (self._generator.random(x.shape) < fraction)


_TAPS = {
    3: (3, 2), 4: (4, 3), 5: (5, 3), 6: (6, 5), 7: (7, 6), 8: (8, 6, 5, 4), 9: (9, 5), 10: (10, 7), 11: (11, 9),
    12: (12, 6, 4, 1), 13: (13, 4, 3, 1), 14: (14, 5, 3, 1), 15: (15, 14), 16: (16, 15, 13, 4), 17: (17, 14),
    18: (18, 11), 19: (19, 6, 2, 1), 20: (20, 17), 21: (21, 19), 22: (22, 21), 23: (23, 18), 24: (24, 23, 22, 17),
}  # fmt: skip
"""Taps of maximal-length shift registers (Xilinx XAPP052, P. Alfke, 1996, table 3)."""


@dataclass
class Lfsr:
    """Fibonacci linear-feedback shift register of maximal period ``2**width - 1``.

    The new bit is the exclusive or of the tapped bits; the state is the last `width` bits, newest lowest.

    Parameters
    ----------
    width : bits, 3..24
        Length of the register.
    state : 1..2**width - 1
        State before the first step.

    Raises
    ------
    ValueError
        If `width` or `state` is out of range; state 0 would stay 0.

    Examples
    --------
    >>> Lfsr(4, state=1).take(5)
    array([2, 4, 9, 3, 6])
    """

    width: int
    state: int = 1

    def __post_init__(self) -> None:
        if self.width not in _TAPS:
            msg = f"width must be in {min(_TAPS)}..{max(_TAPS)}, not {self.width}"
            raise ValueError(msg)
        if not 1 <= self.state < 1 << self.width:
            msg = f"state must be in 1..{(1 << self.width) - 1}, not {self.state}"
            raise ValueError(msg)

    def take(self, count: int) -> IntArray:
        """Step `count` times and give the state after each step.

        The recurrence ``a[n] = xor of a[n - t]`` over the taps t also holds for the taps 2t, 4t, ... (squaring is
        linear over GF(2)), so ever longer runs of bits come from one exclusive or of whole slices.
        """
        bits = np.empty(self.width + count, np.uint8)
        bits[: self.width] = [self.state >> (self.width - 1 - i) & 1 for i in range(self.width)]
        known = self.width
        taps = _TAPS[self.width]
        while known < bits.size:
            stretch = 1
            while 2 * stretch * self.width <= known:
                stretch *= 2
            run = min(stretch * taps[-1], bits.size - known)
            fresh = np.zeros(run, np.uint8)
            for tap in taps:
                start = known - stretch * tap
                fresh ^= bits[start : start + run]
            bits[known : known + run] = fresh
            known += run
        states = np.zeros(count, np.int64)
        for i in range(self.width):
            states |= bits[1 + i : 1 + i + count].astype(np.int64) << (self.width - 1 - i)
        if count:
            self.state = int(states[-1])
        return states


@dataclass(frozen=True)
class LfsrStochastic:
    """Stochastic rounding as hardware does it: add a register of random bits below the point, and cut there.

    The fraction is cut to `width` bits, f; the register takes one step an element; the value goes up if f plus the
    state carries out of `width` bits. Over a whole period that is f of the ``2**width - 1`` states, so the
    probability of going up is
    ``f / (2**width - 1)``, and integers stay.

    Parameters
    ----------
    width : bits, 3..24
        Width of the register and of the fraction.
    seed : 1..2**width - 1
        First state.
    """

    width: int
    seed: int = 1
    _register: Lfsr = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_register", Lfsr(self.width, self.seed))

    def __call__(self, x: FloatArray) -> FloatArray:
        """Round `x` in C order."""
        floor = np.floor(x)
        part = np.where(np.isfinite(x), x, 0) - np.where(np.isfinite(x), floor, 0)  # infinities have none, and stay
        fraction = np.floor(part * x.dtype.type(1 << self.width)).astype(np.int64)
        states = self._register.take(x.size).reshape(x.shape)
        return floor + (fraction + states >= 1 << self.width)


def round_geometric(x: FloatArray) -> FloatArray:
    """Round each magnitude at the geometric mean of its two neighbours: logarithmic rounding, first meaning.

    Between n and n + 1 the limit is ``sqrt(n (n + 1))``, a little below the half, so magnitudes grow on average;
    between 0 and 1 it is 0, so only 0 becomes 0. No rational number is a tie.

    Examples
    --------
    >>> round_geometric(np.array([0.0, 0.1, 1.41, 1.42, -2.45])).astype(int)
    array([ 0,  1,  1,  2, -3])
    """
    magnitude = np.abs(x).astype(np.float64)
    floor = np.floor(magnitude)
    up = magnitude * magnitude > floor * (floor + 1)
    rounded: FloatArray = np.copysign(floor + up, x).astype(x.dtype)
    return rounded


def round_pow2(x: npt.ArrayLike, geometric: bool = False) -> FloatArray:
    """Round each magnitude to a power of two: logarithmic rounding, second meaning.

    Parameters
    ----------
    x : float [...]
        Any finite values; 0 stays 0.
    geometric
        False: nearest in linear distance, limit ``1.5 * 2**j``, ties up, relative error at most 1/3.
        True: nearest exponent, limit ``sqrt(2) * 2**j``, relative error at most ``sqrt(2) - 1``.

    Returns
    -------
    rounded : float [...]
        0 or plus or minus a power of two.

    Raises
    ------
    ValueError
        If a value is not finite.

    Examples
    --------
    >>> round_pow2([3.0, -2.9, 0.7]), round_pow2([3.0, -2.9, 0.7], geometric=True)
    (array([ 4. , -2. ,  0.5]), array([ 4. , -4. ,  0.5]))
    """
    values: npt.NDArray[np.floating[Any]] = np.asarray(x)
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    if not np.isfinite(values).all():
        msg = "x must be finite, not NaN or infinite"
        raise ValueError(msg)
    mantissa, exponent = np.frexp(values)  # |mantissa| in [0.5, 1)
    fraction = np.abs(mantissa).astype(np.float64)
    up = fraction * fraction > 0.5 if geometric else fraction >= 0.75
    power = np.ldexp(np.ones_like(values), exponent - 1 + up)
    return np.where(values == 0, values, np.copysign(power, values))
