"""Plans of columns: one object whose numbers are arrays over many layers or design points."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from hwsim.exploration.counts import Count
from hwsim.plan import Plan
from hwsim.timing.work import Work

Column = npt.NDArray[Any]


@dataclass(frozen=True)
class Group:
    """Layers whose plans differ in numbers only, as columns.

    Parameters
    ----------
    macs
        That the contractions ask for.
    """

    plan: Plan
    work: Work
    macs: Any
    layers: int
    verdict: str

    @classmethod
    def of(cls, plan: Plan) -> Group:
        """Take one layer."""
        return cls(plan, Work.of(plan), plan.macs, 1, plan.verdict_name)

    @property
    def values(self) -> tuple[Any, ...]:
        """All that has numbers in it."""
        plan = self.plan
        return self.macs, self.work, plan.steps, plan.lhs, plan.rhs, plan.bias, plan.out, plan.shared

    @functools.cached_property
    def _stencil(self) -> Stencil:
        return Stencil(self.values)

    @property
    def columns(self) -> list[Any]:
        """Numbers that are arrays or counts, in the order that `changed` takes them."""
        return self._stencil.columns

    def changed(self, columns: Sequence[Any], layers: int) -> Group:
        """Copy with other columns, over so many layers."""
        return self.with_values(self._stencil(columns), layers) if columns else self

    def with_values(self, values: tuple[Any, ...], layers: int) -> Group:
        """Copy with other `values`."""
        macs, work, steps, lhs, rhs, bias, out, shared = values
        plan = replace(self.plan, steps=steps, lhs=lhs, rhs=rhs, bias=bias, out=out, shared=shared)
        return Group(plan, work, macs, layers, self.verdict)

    def upright(self) -> Group:
        """Layers along the first of two axes; design points go along the second."""
        return self.changed([np.expand_dims(column, 1) for column in self.columns], self.layers)


def grouped(plans: Sequence[Plan]) -> tuple[Group, ...]:
    """Put plans of one structure together."""
    members: dict[Any, list[Plan]] = {}
    for plan in plans:
        members.setdefault((structure(plan), plan.verdict_name), []).append(plan)
    return tuple(
        Group(
            stacked_plan(mine),
            stacked_work([Work.of(plan) for plan in mine]),
            _stacked([plan.macs for plan in mine]),
            len(mine),
            verdict,
        )
        for (_, verdict), mine in members.items()
    )


def structure(plan: Plan) -> tuple[Any, ...]:
    """Say what must agree for plans to differ in numbers only: steps, components and formats."""
    mac = plan.mac
    steps = tuple(
        (type(step), tuple((action.component, action.place, action.per) for action in step.actions))
        for step in plan.steps
    )
    formats = (mac.lhs, mac.rhs, mac.accumulator_bits, mac.unit, mac.saturate)
    tensors = tuple(
        None if stored is None else (stored.dram_bits, stored.sram_bits, stored.kept_bits)
        for stored in (plan.lhs, plan.rhs, plan.bias, plan.out, plan.shared)
    )
    # Operands, and stages of a rotation.
    kinds = tuple((getattr(step, "operand", None), getattr(step, "block", None)) for step in plan.steps)
    return steps, formats, tensors, kinds, plan.layer.rhs_kind, plan.extra_rows, plan.extra_columns


def stacked_plan(plans: Sequence[Plan]) -> Plan:
    """One plan whose counts are columns over plans of one structure."""
    if len(plans) == 1:
        return plans[0]
    names = ("steps", "lhs", "rhs", "bias", "out", "shared", "kept_bytes")
    changes = {name: _stacked([getattr(plan, name) for plan in plans]) for name in names}
    return replace(plans[0], **changes)


def stacked_work(works: Sequence[Work]) -> Work:
    """One work whose numbers are columns over works of one structure."""
    if len(works) == 1:
        return works[0]
    kinds = max(len(work.segments) for work in works)
    # A kind of segment that a layer lacks occurs in it no time.
    padded = [replace(work, segments=work.segments + ((0, 0),) * (kinds - len(work.segments))) for work in works]
    changes = {f.name: _stacked([getattr(work, f.name) for work in padded]) for f in fields(Work) if f.name != "name"}
    return replace(works[0], **changes)


def _stacked(values: list[Any]) -> Any:
    """Join values that are alike but for their numbers."""
    first = values[0]
    if isinstance(first, bool) or first is None:
        return first
    if isinstance(first, int | float):
        return first if all(value == first for value in values) else np.array(values, np.float64)
    if isinstance(first, tuple):
        if any(len(value) != len(first) for value in values):
            return first
        return tuple(_stacked(list(items)) for items in zip(*values, strict=True))
    if names := _fields(first.__class__):
        return replace(first, **{name: _stacked([getattr(value, name) for value in values]) for name in names})
    return first


@functools.cache
def _fields(kind: type) -> tuple[str, ...]:
    """Names of what objects of a dataclass are made from; none of another class."""
    return tuple(f.name for f in fields(kind) if f.init) if is_dataclass(kind) else ()


def leaves(value: Any) -> Iterator[Any]:
    """Walk through the numbers of dataclasses and tuples of them."""
    if isinstance(value, tuple):
        for item in value:
            yield from leaves(item)
    elif names := _fields(value.__class__):
        for name in names:
            yield from leaves(getattr(value, name))
    elif isinstance(value, int | float | Count) and not isinstance(value, bool):
        yield value


def with_leaves(value: Any, numbers: Iterator[Any]) -> Any:
    """Copy with other numbers, in the order of `leaves`."""
    if isinstance(value, tuple):
        return tuple(with_leaves(item, numbers) for item in value)
    if names := _fields(value.__class__):
        return replace(value, **{name: with_leaves(getattr(value, name), numbers) for name in names})
    return next(numbers) if isinstance(value, int | float | Count) and not isinstance(value, bool) else value


class Stencil:
    """Objects whose columns are found once, to make copies with other columns quickly.

    Parameters
    ----------
    value
        Dataclasses and tuples of them, with arrays or counts somewhere inside; equal ones are changed once.
    """

    def __init__(self, value: Any) -> None:
        self.columns: list[Any] = []
        self._root = self._node(value)

    def _node(self, value: Any) -> Any:
        """Place of a column; what changes in a tuple or dataclass; or the value that stays, in a list."""
        if isinstance(value, np.ndarray | Count):
            for place, column in enumerate(self.columns):
                if _same(column, value):
                    return place
            self.columns.append(value)
            return len(self.columns) - 1
        if isinstance(value, tuple):
            items = [self._node(item) for item in value]
            return [value] if all(isinstance(item, list) for item in items) else (None, tuple(items))
        if names := _fields(value.__class__):
            nodes = {name: self._node(getattr(value, name)) for name in names}
            changes = {name: node for name, node in nodes.items() if not isinstance(node, list)}
            return (value, changes) if changes else [value]
        return [value]

    def __call__(self, columns: Sequence[Any]) -> Any:
        """Copy the objects with other columns."""
        return self._copy(self._root, columns)

    def _copy(self, node: Any, columns: Sequence[Any]) -> Any:
        if isinstance(node, int):
            return columns[node]
        if isinstance(node, list):
            return node[0]
        value, changes = node
        if value is None:
            return tuple(self._copy(item, columns) for item in changes)
        return replace(value, **{name: self._copy(item, columns) for name, item in changes.items()})


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Count) or isinstance(other, Count):
        return isinstance(one, Count) and isinstance(other, Count) and one.symbol is other.symbol
    return one is other or np.array_equal(one, other)
