"""Plans and accelerators of columns: one object whose numbers are arrays over many layers or design points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.timing.work import Work

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.plan import Plan

Column = npt.NDArray[Any]


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
    operands = tuple(getattr(step, "operand", None) for step in plan.steps)
    return steps, formats, tensors, operands, plan.layer.rhs_kind, plan.extra_rows, plan.extra_columns


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
    if is_dataclass(first) and not isinstance(first, type):
        changes = {f.name: _stacked([getattr(value, f.name) for value in values]) for f in fields(first) if f.init}
        return replace(first, **changes)
    return first


class Stencil:
    """Objects whose arrays are found once, to make copies with other arrays quickly.

    Parameters
    ----------
    *values
        Dataclasses and tuples of them, with arrays somewhere inside; equal arrays are changed once.
    """

    def __init__(self, *values: Any) -> None:
        self.arrays: list[Column] = []
        self._root = self._node(values)

    def _node(self, value: Any) -> Any:
        """Place of an array; what changes in a tuple or dataclass; or the value that stays, in a list."""
        if isinstance(value, np.ndarray):
            for place, array in enumerate(self.arrays):
                if array is value or np.array_equal(array, value):
                    return place
            self.arrays.append(value)
            return len(self.arrays) - 1
        if isinstance(value, tuple):
            items = [self._node(item) for item in value]
            return [value] if all(isinstance(item, list) for item in items) else (None, tuple(items))
        if is_dataclass(value) and not isinstance(value, type):
            nodes = {f.name: self._node(getattr(value, f.name)) for f in fields(value) if f.init}
            changes = {name: node for name, node in nodes.items() if not isinstance(node, list)}
            return (value, changes) if changes else [value]
        return [value]

    def __call__(self, change: Callable[[Column], Any]) -> tuple[Any, ...]:
        """Copy the objects with every array in them changed."""
        copies: tuple[Any, ...] = self._copy(self._root, [change(array) for array in self.arrays])
        return copies

    def _copy(self, node: Any, arrays: list[Any]) -> Any:
        if isinstance(node, int):
            return arrays[node]
        if isinstance(node, list):
            return node[0]
        value, changes = node
        if value is None:
            return tuple(self._copy(item, arrays) for item in changes)
        return replace(value, **{name: self._copy(item, arrays) for name, item in changes.items()})


def of_columns(accelerator: Accelerator, columns: Mapping[str, Any]) -> Accelerator:
    """Copy of an accelerator with columns, which have been checked, in place of some numbers."""
    nested: dict[str, Any] = {}
    for path, column in columns.items():
        *outer, last = path.split(".")
        level = nested
        for name in outer:
            level = level.setdefault(name, {})
        level[last] = column
    copy: Accelerator = _with(accelerator, nested)
    return copy


def _with(document: Any, changes: Mapping[str, Any]) -> Any:
    update = {
        name: _with(getattr(document, name), value) if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    return document.model_copy(update=update)
