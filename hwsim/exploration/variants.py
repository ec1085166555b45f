"""What a group of design points shares: an accelerator but for its columns, and the plans of a workload on it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.exploration.columns import Stencil, stacked_plan, stacked_work, structure
from hwsim.lowering import lower, operands
from hwsim.technology import Technology
from hwsim.timing.numbers import is_column
from hwsim.timing.work import Work
from quant import Contraction

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.plan import Plan
    from hwsim.technology.memory import SramCost
    from quant import Scheme
    from workloads import Layer

Column = npt.NDArray[Any]


@dataclass(frozen=True)
class Group:
    """Layers whose plans differ in numbers only, as columns."""

    plan: Plan
    work: Work
    layers: int
    verdict: str

    @functools.cached_property
    def _stencil(self) -> Stencil:
        plan = self.plan
        return Stencil(self.work, plan.steps, plan.lhs, plan.rhs, plan.bias, plan.out, plan.shared)

    def changed(self, change: Callable[[Column], Any]) -> Group:
        """Copy with every column changed."""
        if self.layers == 1 and not self._stencil.arrays:
            return self
        work, steps, lhs, rhs, bias, out, shared = self._stencil(change)
        plan = replace(self.plan, steps=steps, lhs=lhs, rhs=rhs, bias=bias, out=out, shared=shared)
        return replace(self, plan=plan, work=work)

    def rows(self, places: Column) -> Group:
        """Layers at these places, one a design point."""
        return self.rows_by(functools.partial(np.take, indices=places))

    def rows_by(self, change: Callable[[Column], Any]) -> Group:
        """Copy with every column over layers changed to one over design points."""
        return replace(self.changed(change), layers=1)

    @property
    def columns(self) -> list[Column]:
        """Numbers in which the layers differ, in the order that `changed` takes them."""
        return self._stencil.arrays

    def upright(self) -> Group:
        """Layers along the first of two axes; design points go along the second."""
        return self.changed(functools.partial(np.expand_dims, axis=1))


@dataclass(frozen=True)
class Plans:
    """Plans of all layers, or of all shapes of one layer, by structure.

    Parameters
    ----------
    groups
        Of those that can be run.
    places
        Group and place in it of every layer; group -1 where there is no plan.
    reasons
        Why not, by layer.
    """

    groups: tuple[Group, ...]
    places: tuple[Column, Column]
    reasons: dict[int, str]


def sensitive_to_depth(layers: Sequence[Layer], scheme: Scheme) -> bool:
    """Tell whether plans may change with the products that an array adds natively: scales vary along a reduction."""
    for layer in layers:
        try:
            pair = operands(layer, scheme)
        except ValueError:
            return True
        reduction = Contraction.parse(layer.contraction).reduction
        for operand in pair:
            if operand.layout is not None and set(operand.layout.varying) & set(reduction):
                return True
    return False


def plan_layers(layers: Sequence[Layer], scheme: Scheme, accelerator: Accelerator) -> Plans:
    """Lower every layer alone and sort the plans by structure; a layer that can not be run gets its reason."""
    plans: list[Plan | None] = []
    reasons: dict[int, str] = {}
    for place, layer in enumerate(layers):
        try:
            plans.append(lower(layer, scheme, accelerator))
        except ValueError as error:
            plans.append(None)
            reasons[place] = str(error)
    return sort_plans(plans, reasons)


def sort_plans(plans: Sequence[Plan | None], reasons: Mapping[int, str]) -> Plans:
    """Put plans of one structure together."""
    members: dict[Any, list[int]] = {}
    for place, plan in enumerate(plans):
        if plan is not None:
            members.setdefault((structure(plan), plan.verdict_name), []).append(place)
    which, where = np.full(len(plans), -1), np.zeros(len(plans), np.intp)
    groups = []
    for number, ((_, verdict), places) in enumerate(members.items()):
        mine = [plan for place in places if (plan := plans[place]) is not None]
        which[places], where[places] = number, np.arange(len(places))
        groups.append(Group(stacked_plan(mine), stacked_work([Work.of(plan) for plan in mine]), len(places), verdict))
    return Plans(tuple(groups), (which, where), dict(reasons))


class Prices:
    """A technology whose memories have been priced for the rows at hand.

    Other component models are the technology's own.
    """

    def __init__(self, technology: Technology, found: Mapping[tuple[Any, ...], SramCost]) -> None:
        self._technology = technology
        self._found = found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._technology, name)

    def sram(self, capacity_bytes: Any, width_bits: Any, banks: Any = 1) -> SramCost:
        """Price a buffer as `Technology.sram`."""
        return self._found[key_of(capacity_bytes, width_bits, banks)]


def key_of(*sizes: Any) -> tuple[Any, ...]:
    """Name sizes by their values, columns by themselves."""
    return tuple(id(size) if is_column(size) else size for size in sizes)
