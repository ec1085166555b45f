"""What a component costs: area, energy per operation, leakage and delay, with the band its sources leave."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal

import numpy as np

Number = Any  # float, or float64 array that broadcasts over design points

_COUNTED = ("gate_equivalents", "cut_bits", "loop_cut_bits", "join_bits", "loop_bits")
_SCALED = ("area_um2", "low_um2", "high_um2", "energy_pj", "low_pj", "high_pj", "idle_pj", "leakage_uw")


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """A sourced number with the lowest and highest value its sources support.

    Parameters
    ----------
    low, nominal, high
        In `unit`; ``low <= nominal <= high``.
    unit
        Such as ``pJ/bit``.
    boundary
        What the number includes and what it does not.
    source
        Where it comes from, with year.
    confidence
        ``high``: read in the primary or in two transcriptions; ``medium``: one transcription or a clear secondary;
        ``low``: derived or an author's constant.
    """

    low: float
    nominal: float
    high: float
    unit: str
    boundary: str
    source: str
    confidence: Literal["high", "medium", "low"]


@dataclass(frozen=True, slots=True, eq=False)
class Cost:
    """The cost of a component. Fields are floats, or float64 arrays over design points.

    Parameters
    ----------
    area_um2 : um2
        Standard-cell area, without placement utilisation.
    energy_pj : pJ
        One operation with fresh random operands; for clocked components one clock cycle, clock pins included.
    leakage_uw : uW
        Static power.
    delay_ns : ns or None
        Longest path through the component, without pipelining; None where no source gives one.
    gate_equivalents
        `area_um2` over the area of the node's two-input NAND gate.
    low_pj, high_pj : pJ
        Band of `energy_pj` from the disagreement of sources.
    idle_pj : pJ
        Part of `energy_pj` that a clocked cycle with unchanging data still takes (clock pins of flip-flops).
    low_um2, high_um2 : um2
        Band of `area_um2`.
    basis
        Statements of where the numbers come from.
    loop_ns : ns
        Longest path from a register back to itself: what sets the fastest clock at one operation a cycle, unless
        several sums take turns. 0 without a register.
    cut_bits, loop_cut_bits : bits
        Wires that a cut of the path before the loop, and of the loop, crosses on average: flip-flops of one pipeline
        stage.
    join_bits, loop_bits : bits
        Wires from the path before the loop into it, and what it feeds back.

    Notes
    -----
    ``a + b`` puts two components side by side: everything adds, delay is the longer one. ``a.then(b)`` puts them in
    series: delays add too. ``n * a`` is `n` copies that all work.
    """

    # Array times Cost is one Cost of arrays, not an array of objects.
    __array_ufunc__: ClassVar[None] = None

    area_um2: Number
    energy_pj: Number
    leakage_uw: Number
    delay_ns: Number | None
    gate_equivalents: Number
    low_pj: Number
    high_pj: Number
    idle_pj: Number
    low_um2: Number
    high_um2: Number
    basis: tuple[str, ...]
    loop_ns: Number = 0.0
    cut_bits: Number = 0.0
    loop_cut_bits: Number = 0.0
    join_bits: Number = 0.0
    loop_bits: Number = 0.0

    @property
    def source(self) -> str:
        """The statements of `basis` as one line."""
        return "; ".join(self.basis)

    def then(self, other: Cost) -> Cost:
        """Put `other` behind this component: delays add."""
        return self._join(other, in_series=True)

    def replace(self, **changes: Any) -> Cost:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def without_logic(self) -> Cost:
        """Return the same component clocked but with unchanging data: energy is `idle_pj`."""
        return replace(self, energy_pj=self.idle_pj, low_pj=self.idle_pj, high_pj=self.idle_pj)

    def in_a_loop(self, bits: Number = 0.0) -> Cost:
        """Return the component with its output of `bits` fed back to its input each cycle, as an accumulator's."""
        if self.delay_ns is None:
            return self
        return replace(self, loop_ns=self.delay_ns, cut_bits=0.0, loop_cut_bits=self.cut_bits, loop_bits=bits)

    def at_activity(self, share: Number) -> Cost:
        """Return the component at another data activity.

        Parameters
        ----------
        share
            Data-dependent energy relative to fresh random operands; the clock part stays.
        """
        idle = self.idle_pj
        # A band edge may lie below the nominal clock energy; the clock share of each edge follows the edge.
        ratio = np.divide(idle, self.energy_pj) if np.any(self.energy_pj) else 0.0
        factor = ratio + (1.0 - ratio) * share
        return replace(
            self,
            energy_pj=_plain(self.energy_pj * factor),
            low_pj=_plain(self.low_pj * factor),
            high_pj=_plain(self.high_pj * factor),
        )

    def _join(self, other: Cost, *, in_series: bool) -> Cost:
        if self.delay_ns is None or other.delay_ns is None:
            delay = None
        elif in_series:
            delay = self.delay_ns + other.delay_ns
        else:
            delay = _plain(np.maximum(self.delay_ns, other.delay_ns))
        summed = {name: getattr(self, name) + getattr(other, name) for name in (*_SCALED, *_COUNTED)}
        if in_series and delay is not None:
            summed["cut_bits"] = self._mean_cut(other)
        basis = tuple(dict.fromkeys(self.basis + other.basis))
        return Cost(delay_ns=delay, basis=basis, loop_ns=_plain(np.maximum(self.loop_ns, other.loop_ns)), **summed)

    def _mean_cut(self, other: Cost) -> Number:
        """Wires across the path through both, by the share of each in it; the loop at its end is not part of it."""
        mine, others = self.delay_ns, other.delay_ns - other.loop_ns
        whole = np.asarray(mine + others, np.float64)
        weighted = self.cut_bits * mine + other.cut_bits * others
        return _plain(np.divide(weighted, whole, out=np.zeros(np.shape(weighted + whole)), where=whole > 0))

    def __add__(self, other: Cost) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        return self._join(other, in_series=False)

    def __radd__(self, other: object) -> Cost:
        # sum() starts from the integer 0.
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def times(self, count: Any) -> Cost:
        """Return `count` (a number or an array, at least 0) of these components that all work."""
        factor = count if isinstance(count, (int, float)) else np.asarray(count, dtype=np.float64)
        if np.any(np.asarray(factor) < 0):
            raise ValueError(f"count must be at least 0, not {np.min(factor)}")
        scaled = {name: getattr(self, name) * factor for name in (*_SCALED, *_COUNTED)}
        return replace(self, **scaled)

    def __mul__(self, count: Any) -> Cost:
        return NotImplemented if isinstance(count, Cost) else self.times(count)

    __rmul__ = __mul__

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, np.generic) or getattr(value, "ndim", 1) == 0 else value
