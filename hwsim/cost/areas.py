"""Area of the machine that can run a set of plans: every component once for each place that needs it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hwsim.cost.hardware import needed
from hwsim.cost.pipelines import Pipeline
from hwsim.cost.pricing import price
from hwsim.plan import Component, Place

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.cost.pricing import Number
    from hwsim.plan import Plan
    from hwsim.technology import Cost, Technology

PARTS = ("array_um2", "edge_um2", "vector_um2", "sram_um2")

_PART_OF = {
    Place.ELEMENT: "array_um2",
    Place.ROW: "edge_um2",
    Place.COLUMN: "edge_um2",
    Place.LANE: "vector_um2",
}


@dataclass(frozen=True, slots=True)
class Built:
    """One line of a machine's parts list.

    Parameters
    ----------
    part
        One of `PARTS`.
    what
        The component, or the memory.
    place
        Where it stands: ``element``, ``row``, ``column``, ``lane`` or ``chip``.
    count
        How many there are.
    um2, low_um2, high_um2 : um2
        Of all of them, with the band of its sources.
    leakage_uw : uW
        Of all of them.
    component
        What a plan calls it; None for a memory.
    cuts
        The component that these are the pipeline registers of; None for others.
    """

    part: str
    what: str
    place: str
    count: Number
    um2: Number
    low_um2: Number
    high_um2: Number
    leakage_uw: Number
    component: Component | None = None
    cuts: Component | None = None

    @classmethod
    def of(
        cls, what: str, place: Place, count: Number, cost: Cost, *, component: Component, cuts: Component | None = None
    ) -> Built:
        """So many of a component in all."""
        whole = cost.times(count)
        edges = (whole.area_um2, whole.low_um2, whole.high_um2, whole.leakage_uw)
        return cls(_PART_OF[place], what, place.value, count, *edges, component, cuts)


@dataclass(frozen=True, slots=True)
class Area:
    """Area and leakage of a machine, as a list of its parts."""

    built: tuple[Built, ...]

    @property
    def tree(self) -> dict[tuple[str, str], Number]:
        """Area in um2 by part and component, which sums to the total.

        Keys are as ``("array_um2", "256 8x8-bit MAC into 32 bits (element)")``.
        """
        return {(line.part, f"{line.count} {line.what} ({line.place})"): line.um2 for line in self.built}

    @property
    def leakage_uw(self) -> Number:
        """Of everything."""
        return sum(line.leakage_uw for line in self.built)

    @property
    def total_um2(self) -> Number:
        """Sum of the list."""
        return sum(line.um2 for line in self.built)

    @property
    def low_um2(self) -> Number:
        """Sum of the low edges of the band."""
        return sum(line.low_um2 for line in self.built)

    @property
    def high_um2(self) -> Number:
        """Sum of the high edges of the band."""
        return sum(line.high_um2 for line in self.built)

    def parts(self) -> dict[str, Number]:
        """Area by part, in order of `PARTS`."""
        return {part: sum(line.um2 for line in self.built if line.part == part) for part in PARTS}


def area(plans: Iterable[Plan], accelerator: Accelerator, technology: Technology, *, widest: bool = False) -> Area:
    """Area of the machine that runs all of `plans`, with its leakage.

    Components that several plans use are built once in each place, as `hardware.needed` says. Registers that cut a
    unit for the clock stand beside it, in a line of their own.

    Parameters
    ----------
    widest
        Share integer multiply-accumulate units too, in the widest format; otherwise formats that differ stand beside
        each other.

    Raises
    ------
    PricingError
        If the technology lacks a component or its law does not reach the width.
    """
    array, arrays = accelerator.array, accelerator.arrays
    places = {
        Place.ELEMENT: arrays * array.rows * array.columns,
        Place.ROW: arrays * array.rows,
        Place.COLUMN: arrays * array.columns,
        Place.LANE: accelerator.vector.lanes,
    }
    flip_flop = Component("register", (1,))
    built = []
    for need in needed(plans, array, widest=widest):
        count, unit = places[need.place] * need.copies, price(technology, need.component)
        built.append(Built.of(str(need.component), need.place, count, unit, component=need.component))
        passes = need.place is Place.ELEMENT and array.dataflow != "output_stationary"
        cut = Pipeline.of(unit, accelerator.cycle_ns, technology, passes=passes)
        bits = cut.bits + cut.waiting_bits
        if type(bits) is not int or bits:
            what, one = f"pipeline flip-flop of {need.component}", price(technology, flip_flop)
            line = Built.of(what, need.place, count * bits, one, component=flip_flop, cuts=need.component)
            built.append(line)
    return Area((*built, *_memories(accelerator, technology)))


def _memories(accelerator: Accelerator, technology: Technology) -> list[Built]:
    built = []
    for name in ("activation", "weight", "output"):
        memory = getattr(accelerator.memories, name)
        try:
            sram = technology.sram(memory.capacity_bytes, memory.bank_width_bits, memory.banks)
        except ValueError as error:
            raise type(error)(f"memories.{name}: {error}") from None
        bank_kib = memory.capacity_bytes / memory.banks / 1024
        what = f"banks, {name}" if np.ndim(bank_kib) else f"banks of {bank_kib:g} KiB, {name}"
        edges = (sram.area_um2, sram.low_um2, sram.high_um2)
        built.append(Built("sram_um2", what, "chip", memory.banks, *edges, sram.leakage_uw))
    return built
