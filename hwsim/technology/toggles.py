r"""From toggling bits to energy: every part of a multiply-accumulate by its own toggles.

A multiplier takes energy as its product toggles, an adder with its register as their sum does:

.. math:: E = E_{product} \, t_{product} + E_{sum} \, t_{sum}

with toggles relative to those of fresh random operands, for which the parts of an array MAC are known: its multiplier,
and what the simulated MACs leave to the sum. Nothing is fitted; each MAC was simulated with five kinds of operands,
drawn again here, and ``python -m hwsim.technology.residuals toggles`` shows how the law meets them.

Where an operand is held in the element, sums of different results pass. Their adder and register take what those of
any random bits would for as many toggles; what the simulated MACs take beyond that are glitches of the product, and
stay with it. A multiplier with a held operand has fewer glitches than its toggles say: `fading`, the mean over a
library's rows with a held operand.
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


@dataclass(frozen=True, slots=True)
class Parts:
    """Energy of a multiply-accumulate unit that depends on data, in pJ.

    Parameters
    ----------
    product_pj
        Of the multiplier, or what forms the product, with fresh random operands.
    whole_pj
        Of all of it, with fresh random operands and a sum that stays.
    adder_pj, sum_bits
        Adder and register of the sum, of so many bits, if all of them were random.
    """

    product_pj: float
    whole_pj: float
    adder_pj: float
    sum_bits: int

    def activity(self, counted: Toggles, random: Toggles) -> float:
        """Energy relative to fresh random operands where the sum stays.

        Parameters
        ----------
        counted, random
            Toggles of the actual operands, and of fresh random ones.
        """
        product, total = relative(counted, random)
        share = self.product_pj / self.whole_pj
        return share * product + (1 - share) * total

    def passing_activity(self, counted: Toggles, random: Toggles, fading: float) -> float:
        """Energy, relative to the same as `activity`, where an operand is held and sums pass."""
        product = max(self.product_pj, self.whole_pj - self._sum_pj(random))
        spent = fading * product * counted.product / random.product + self._sum_pj(counted)
        return spent / self.whole_pj

    def _sum_pj(self, toggled: Toggles) -> float:
        """Adder and register: half of random bits toggle."""
        return self.adder_pj * toggled.accumulator / (self.sum_bits / 2)


def _simulated(library: Library) -> Iterator[tuple[str, str, Parts, Toggles, Toggles, float]]:
    """Design, stimulus, parts, toggles drawn and random, and energy of every simulated array MAC, in pJ."""
    base = {s.widths: s.value for s in library.mac_samples()}
    law = library.law
    for stimulus in ACTIVITIES:
        for sample in library.mac_samples(stimulus):
            a, b, c = (int(width) for width in sample.widths)
            clock = library.clock_pj_per_bit * c
            adder = float(law("adder", "energy_pj")(c)) + float(law("register", "energy_pj")(c)) - clock
            product = float(law("multiplier", "energy_pj", "array")(a, b))
            lhs, rhs = operands(stimulus, (a, b))
            parts = Parts(product, base[sample.widths], adder, c)
            yield sample.design, stimulus, parts, toggles(lhs, rhs, a + b, c), reference(a, b, c), sample.value


@functools.cache
def residuals(name: str) -> list[tuple[str, str, float, float]]:
    """Design, stimulus, simulated energy relative to random operands, and what the law says.

    Raises
    ------
    MissingConstantError
        If the library's MACs were not simulated.
    """
    library = Library.load(name)
    _ = library.mac_law  # raises where nothing was simulated
    return [
        (design, stimulus, energy / parts.whole_pj, parts.activity(drawn, random))
        for design, stimulus, parts, drawn, random, energy in _simulated(library)
    ]


@functools.cache
def fading(name: str) -> float:
    """Energy of a product with a held operand over what its toggles say, mean of a library's rows with one."""
    library = Library.load(name)
    _ = library.mac_law
    shares = []
    for _, stimulus, parts, drawn, random, energy in _simulated(library):
        if stimulus == "held":
            rest = energy / parts.whole_pj - parts.passing_activity(drawn, random, 0.0)
            toggled = parts.passing_activity(drawn, random, 1.0) - parts.passing_activity(drawn, random, 0.0)
            shares.append(rest / toggled)
    return sum(shares) / len(shares)
