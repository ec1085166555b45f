"""Which components a machine needs to run a set of plans, and how many of each in every place.

- Steps of the vector unit that take a slot of their own (scan, quantize, ...) share components from slot to slot. The
  steps that turn sums into results are stages of one pipeline, and each has its own.
- Plans run one after the other: of each component a machine has as many as the plan that needs most.
- A unit that differs in its widths only is built once, as wide as any plan needs: the sums of a narrow zero point run
  on the adder of the wide one. Multiply-accumulate units are not shared: one that is narrower saves energy, and
  formats that differ stand beside each other.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsim.cost.elements import Element
from hwsim.plan import (
    AddBias,
    Component,
    CorrectZeroPoints,
    Dequantize,
    Place,
    Requantize,
    RescalePartialSums,
)

if TYPE_CHECKING:
    from hwsim.accelerator import Array
    from hwsim.plan import Plan

_PIPELINE = (CorrectZeroPoints, RescalePartialSums, AddBias, Requantize, Dequantize)
_BY_WIDTH = frozenset({"adder", "register", "multiplier", "shifter", "int_to_float", "multiplexer"})


@dataclass(frozen=True, slots=True)
class Need:
    """So many of one component in each of the places of its kind."""

    place: Place
    component: Component
    copies: int


def needed(plans: Iterable[Plan], array: Array, *, widest: bool = False) -> list[Need]:
    """List the components of a machine that runs all of `plans`, none of them together.

    Parameters
    ----------
    widest
        Build integer multiply-accumulate units once too, in the widest format of all: narrow operands are extended.
    """
    groups: dict[tuple[Place, str, str], list[list[tuple[int | str | bool, ...]]]] = {}
    shared = _BY_WIDTH | {"integer_mac", "dot_product"} if widest else _BY_WIDTH
    for plan in plans:
        found: dict[tuple[Place, str, str], list[tuple[int | str | bool, ...]]] = {}
        for (place, role, component), copies in _of_plan(plan, array).items():
            found.setdefault((place, role, component.kind), []).extend([component.arguments] * copies)
        for key, arguments in found.items():
            groups.setdefault(key, []).append(arguments)
    needs: list[Need] = []
    for (place, _, kind), several in groups.items():
        counts = _widest(several) if kind in shared else _most(several)
        needs += [Need(place, Component(kind, arguments), copies) for arguments, copies in counts.items()]
    return needs


def _of_plan(plan: Plan, array: Array) -> Counter[tuple[Place, str, Component]]:
    """Components of one plan; those of an element by what they are for."""
    slots: Counter[tuple[Place, str, Component]] = Counter()
    pipeline: Counter[tuple[Place, str, Component]] = Counter()
    for role, component in Element.of(plan.mac, array).components.items():
        slots[Place.ELEMENT, role, component] = 1
    for step in plan.steps:
        for action in step.actions:
            key = (action.place, "", action.component)
            if action.place is Place.ELEMENT:
                continue
            if isinstance(step, _PIPELINE):
                pipeline[key] += 1
            else:
                slots[key] = 1
    return slots | pipeline


def _most(several: list[list[tuple[int | str | bool, ...]]]) -> Counter[tuple[int | str | bool, ...]]:
    """Of each component as many as the plan with most of it has."""
    most: Counter[tuple[int | str | bool, ...]] = Counter()
    for arguments in several:
        most |= Counter(arguments)
    return most


def _widest(several: list[list[tuple[int | str | bool, ...]]]) -> Counter[tuple[int | str | bool, ...]]:
    """Match the widest of every plan, then the next, and take the larger of each width."""
    ordered = [sorted(arguments, reverse=True) for arguments in several]
    rows = itertools.zip_longest(*ordered)
    return Counter(tuple(map(max, zip(*(row for row in match if row is not None), strict=True))) for match in rows)
