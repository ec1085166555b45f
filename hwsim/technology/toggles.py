r"""From toggling bits to energy: a law over the stimuli that the array MACs were simulated with.

Each MAC was simulated with five kinds of operands. The same kinds, drawn again here, give the toggles per cycle of its
product and of its sum; energy follows them:

.. math:: E / E_{random} = w \, t_{product} + (1 - w) \, t_{sum}

with toggles relative to those of fresh random operands, so that 1 is returned for these and 0 where nothing moves. One
weight a library is fitted; ``python -m hwsim.technology.residuals toggles`` shows how it meets the simulated rows.

Where an operand is held in the element, sums of different results pass, whose sign bits toggle far more than those of
any simulated accumulator but cost little. There energy follows the product alone, through the rows with a held operand.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from .synthesis import ACTIVITIES, Library

if TYPE_CHECKING:
    from collections.abc import Iterator

Integers = npt.NDArray[np.int64]

_CYCLES = 1 << 14
_SEED = 7
# The accumulators were cleared in 3 % of the cycles, and an operand was held for 64.
_CLEARED, _HELD = 0.03, 64


@dataclass(frozen=True, slots=True)
class Toggles:
    """Mean bit toggles per cycle of the product and of the sum of a multiply-accumulate unit."""

    product: float
    accumulator: float


def operands(stimulus: str, widths: tuple[int, int], unit: Literal["multiply", "shift"] = "multiply") -> list[Integers]:
    """Draw both operands of a stimulus of the simulations; with ``shift`` rhs is a signed power of two.

    Raises
    ------
    ValueError
        If there is no such stimulus.
    """
    if stimulus not in ACTIVITIES:
        raise ValueError(f"stimulus must be one of {', '.join(ACTIVITIES)}, not {stimulus!r}")
    rng = np.random.default_rng(_SEED)
    random, gaussian = [], []
    for bits in widths:
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        random.append(rng.integers(low, high + 1, _CYCLES))
        # sigma is a quarter of full scale
        gaussian.append(np.clip(np.rint(rng.normal(0, (high + 1) / 4, _CYCLES)), low, high).astype(np.int64))
    if unit == "shift":
        # widths[1] is the largest shift; codes are 0 and plus or minus each power
        codes = rng.integers(-widths[1] - 1, widths[1] + 2, _CYCLES)
        random[1] = np.sign(codes) * (1 << np.maximum(np.abs(codes) - 1, 0))
    match stimulus:
        case "uniform":
            return random
        case "gaussian":
            return gaussian
        case "relu":
            return [np.maximum(gaussian[0], 0), gaussian[1]]
        case "held":
            return [gaussian[0], np.repeat(gaussian[1][: _CYCLES // _HELD], _HELD)]
        case _:
            return [np.zeros(_CYCLES, np.int64), gaussian[1]]


def toggles(lhs: Integers, rhs: Integers, product_bits: int, accumulator_bits: int) -> Toggles:
    """Count toggles while products are added up in a wrapping accumulator that is cleared now and then."""
    products = lhs * rhs
    cleared = np.random.default_rng(_SEED + 1).random(len(products)) < _CLEARED
    # The sum since the last clear: a running sum less what it was before that cycle.
    total = np.cumsum(products)
    before = np.where(cleared, total - products, 0)
    last = np.maximum.accumulate(np.where(cleared, np.arange(len(products)), 0))
    sums = total - before[last]
    return Toggles(_per_cycle(products, product_bits), _per_cycle(sums, accumulator_bits))


def _per_cycle(values: Integers, bits: int) -> float:
    mask = np.int64(-1) if bits >= 64 else np.int64((1 << bits) - 1)
    return float(np.bitwise_count((values[1:] ^ values[:-1]) & mask).mean())


@functools.cache
def reference(a: int, b: int, c: int, unit: Literal["multiply", "shift"] = "multiply") -> Toggles:
    """Toggles with fresh random operands of `a` and `b` bits (or shifts up to `b`) into `c` bits."""
    lhs, rhs = operands("uniform", (a, b), unit)
    return toggles(lhs, rhs, a + b, c)


def relative(counted: Toggles, random: Toggles) -> tuple[float, float]:
    """Toggles of product and sum over those of random operands."""
    return counted.product / random.product, counted.accumulator / random.accumulator


def _rows(library: Library) -> Iterator[tuple[str, str, float, float, float]]:
    """Design, stimulus, relative toggles of product and sum, and relative energy of every simulated array MAC."""
    base = {s.widths: s.value for s in library.mac_samples()}
    for stimulus in ACTIVITIES:
        for sample in library.mac_samples(stimulus):
            a, b, c = (int(width) for width in sample.widths)
            lhs, rhs = operands(stimulus, (a, b))
            product, total = relative(toggles(lhs, rhs, a + b, c), reference(a, b, c))
            yield sample.design, stimulus, product, total, sample.value / base[sample.widths]


@functools.cache
def product_weight(name: str) -> float:
    """Share of a library's MAC energy that follows the product's toggles, in 0..1; the rest follows the sum's.

    Raises
    ------
    MissingConstantError
        If the library's MACs were not simulated.
    """
    library = Library.load(name)
    _ = library.mac_law  # raises where nothing was simulated
    rows = np.array([row[2:] for row in _rows(library)])
    product, total, energy = rows.T
    # Least squares of w (product - total) = energy - total.
    weight = float((product - total) @ (energy - total) / ((product - total) @ (product - total)))
    return min(1.0, max(0.0, weight))


def residuals(name: str) -> list[tuple[str, str, float, float]]:
    """Design, stimulus, simulated energy relative to random operands, and what the law says."""
    weight = product_weight(name)
    return [
        (design, stimulus, energy, weight * product + (1 - weight) * total)
        for design, stimulus, product, total, energy in _rows(Library.load(name))
    ]


@functools.cache
def held_slope(name: str) -> float:
    """Energy over the product's relative toggles, mean of a library's rows with a held operand."""
    rows = [(product, energy) for _, stimulus, product, _, energy in _rows(Library.load(name)) if stimulus == "held"]
    return sum(energy for _, energy in rows) / sum(product for product, _ in rows)


def data_activity(library: str, counted: Toggles, random: Toggles, *, held: bool = False) -> float:
    """Data-dependent energy of a MAC relative to fresh random operands, from counted toggles per cycle.

    Parameters
    ----------
    library
        Whose MACs were simulated.
    counted, random
        Toggles of the actual operands, and of fresh random ones.
    held
        Whether an operand stays in the element while sums pass through it.
    """
    product, total = relative(counted, random)
    if held:
        return held_slope(library) * product
    weight = product_weight(library)
    return weight * product + (1 - weight) * total
