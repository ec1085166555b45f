"""Roundings as the table lists them: software, hardware, and how their errors and times are measured."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hwsim.technology import Cost, Technology
from quant import LfsrStochastic, Rounding, Stochastic, round_geometric, round_values

from . import samples
from .samples import Float32

Rounder = Callable[[npt.NDArray[np.floating]], npt.NDArray[np.floating]]

DOT = 1024
"""Values summed for the error of a sum."""
DROPPED_BITS, KEPT_BITS = 16, 8
"""Bits below and above the cut, for hardware."""
NODE = "45nm-horowitz"


@dataclass(frozen=True)
class Mode:
    """One rounding, in software and in hardware.

    Parameters
    ----------
    name
        Row of the table.
    make
        Gives a fresh rounder, seeded where it is random.
    logic
        What hardware adds to cut `DROPPED_BITS` bits off; None where no component model says.
    adders, random_bits
        What the notes' table counts: adders and random bits for each value.
    """

    name: str
    make: Callable[[], Rounder]
    logic: Callable[[Technology], Cost | None]
    adders: int
    random_bits: int


def fixed(rounding: Rounding) -> Callable[[], Rounder]:
    """Give what makes a rounder of a deterministic mode."""
    return lambda: functools.partial(round_values, rounding=rounding)


def _nothing(_: Technology) -> Cost | None:
    return None


MODES = (
    Mode("floor", fixed(Rounding.DOWN), _nothing, 0, 0),
    Mode("ceil", fixed(Rounding.UP), lambda node: node.adder(KEPT_BITS), 1, 0),
    Mode("toward zero", fixed(Rounding.TOWARD_ZERO), lambda node: node.adder(KEPT_BITS), 1, 0),
    Mode("nearest, ties up", fixed(Rounding.HALF_UP), lambda node: node.adder(KEPT_BITS), 1, 0),
    Mode("nearest, ties away", fixed(Rounding.HALF_AWAY), lambda node: node.adder(KEPT_BITS), 1, 0),
    Mode(
        "nearest, ties to even",
        fixed(Rounding.HALF_EVEN),
        lambda node: node.adder(KEPT_BITS) + node.comparator(DROPPED_BITS),
        1,
        0,
    ),
    Mode(
        "stochastic, LFSR of 16 bits",
        lambda: LfsrStochastic(DROPPED_BITS, samples.SEED),
        lambda node: node.adder(KEPT_BITS + DROPPED_BITS) + node.lfsr(DROPPED_BITS),
        1,
        DROPPED_BITS,
    ),
    Mode(
        "stochastic, LFSR of 4 bits",
        lambda: LfsrStochastic(4, samples.SEED),
        lambda node: node.adder(KEPT_BITS + 4) + node.lfsr(4),
        1,
        4,
    ),
    Mode("stochastic, ideal", lambda: Stochastic(samples.SEED), _nothing, 1, 53),
    Mode("logarithmic, geometric mean", lambda: round_geometric, _nothing, 0, 0),
)
_HAS_NO_MODEL = {"stochastic, ideal", "logarithmic, geometric mean"}


@dataclass(frozen=True)
class Measured:
    """Errors of one rounding, in steps, on positive values of many steps."""

    bias: float
    signed_bias: float
    mean_square: float
    sum_bias: float
    sum_spread: float


def measure(rounder: Callable[[], Rounder], x: Float32) -> Measured:
    """Round values, their mirror images, and sums of `DOT` of them.

    Parameters
    ----------
    x : float32 [n]
        Positive values in steps; n a multiple of `DOT`.
    """
    error = rounder()(x).astype(np.float64) - x
    mixed = x * np.where(np.arange(x.size) % 2, 1, -1).astype(np.float32)
    signed = rounder()(mixed).astype(np.float64) - mixed
    sums = error.reshape(-1, DOT).sum(axis=1)
    return Measured(
        float(error.mean()), float(signed.mean()), float(np.square(error).mean()), float(sums.mean()), float(sums.std())
    )


@functools.cache
def steps() -> Float32:
    """Positive values of 0 to 100 steps, 512 sums of `DOT`."""
    return np.random.default_rng(samples.SEED).uniform(0, 100, 512 * DOT).astype(np.float32)


@functools.cache
def measured() -> dict[str, Measured]:
    """Errors of every mode on `steps`."""
    return {mode.name: measure(mode.make, steps()) for mode in MODES}


def software_ns(modes: Mapping[str, Callable[[], Rounder]], size: int = 1 << 14, repeats: int = 15) -> dict[str, float]:
    """Time roundings in this process: processor time a value, in turns and warm, the best of several."""
    x = samples.uniform(size) * np.float32(100)
    best = dict.fromkeys(modes, math.inf)
    names = list(modes)
    for turn in range(repeats):
        # Each goes first once in a while: what ran before leaves its traces in caches and in the allocator.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            rounder = modes[name]()
            rounder(x)
            start = time.process_time_ns()
            for _ in range(4):
                rounder(x)
            best[name] = min(best[name], (time.process_time_ns() - start) / (4 * size))
    return best


def hardware(mode: Mode, node: str = NODE) -> tuple[float, float]:
    """Energy (pJ) and area (um2) of the logic of a rounding; NaN where there is no model of it."""
    if mode.name in _HAS_NO_MODEL:
        return math.nan, math.nan
    cost = mode.logic(Technology.load(node))
    # No logic at all: the low bits' wires end here.
    return (0.0, 0.0) if cost is None else (float(cost.energy_pj), float(cost.area_um2))
