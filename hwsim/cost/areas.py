"""Area of the machine that can run a set of plans: every component once for each place that needs it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.cost.pricing import price
from hwsim.plan import Place

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.plan import Component, Plan
    from hwsim.technology import Technology
    from hwsim.timing.tiling import Number

PARTS = ("array_um2", "edge_um2", "vector_um2", "sram_um2")

_PART_OF = {
    Place.ELEMENT: "array_um2",
    Place.ROW: "edge_um2",
    Place.COLUMN: "edge_um2",
    Place.LANE: "vector_um2",
}


@dataclass(frozen=True, slots=True)
class Area:
    """Area and leakage of a machine; the entries of `tree` sum to the total.

    Parameters
    ----------
    tree : um2
        By part and component: ``{("array_um2", "256 8x8-bit MAC into 32 bits (element)"): ...}``.
    leakage_uw
        Of everything in it.
    """

    tree: dict[tuple[str, str], Number]
    leakage_uw: Number

    @property
    def total_um2(self) -> Number:
        """Sum of the tree."""
        return sum(self.tree.values())

    def parts(self) -> dict[str, Number]:
        """Area by part, in order of `PARTS`."""
        return {part: sum(um2 for (p, _), um2 in self.tree.items() if p == part) for part in PARTS}


def area(plans: Iterable[Plan], accelerator: Accelerator, technology: Technology) -> Area:
    """Area of the machine that runs all of `plans`, with its leakage.

    A component that several plans use is built once in each place; formats that differ are built beside each
    other, as a machine that must run both would.

    Raises
    ------
    ValueError
        If the technology lacks a component or its law does not reach the width.
    """
    array = accelerator.array
    count = {
        Place.ELEMENT: accelerator.elements,
        Place.ROW: accelerator.arrays * array.rows,
        Place.COLUMN: accelerator.arrays * array.columns,
        Place.LANE: accelerator.vector.lanes,
    }
    needed: dict[tuple[Place, Component], None] = {
        (action.place, action.component): None for plan in plans for step in plan.steps for action in step.actions
    }
    tree: dict[tuple[str, str], Number] = {}
    leakage: Number = 0.0
    for place, component in needed:
        cost = price(technology, component)
        tree[_PART_OF[place], f"{count[place]} {component} ({place.value})"] = count[place] * cost.area_um2
        leakage = leakage + count[place] * cost.leakage_uw
    for name in ("activation", "weight", "output"):
        memory = getattr(accelerator.memories, name)
        sram = technology.sram(memory.capacity_bytes, memory.bank_width_bits, memory.banks)
        bank_kib = memory.capacity_bytes / memory.banks / 1024
        tree["sram_um2", f"{memory.banks} banks of {bank_kib:g} KiB ({name})"] = sram.area_um2
        leakage = leakage + sram.leakage_uw
    return Area(tree=tree, leakage_uw=leakage)
