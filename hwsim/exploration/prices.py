"""Prices of the buffers that the points of a design space may have."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.timing.numbers import is_column

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.exploration.spaces import Space
    from hwsim.technology import Technology
    from hwsim.technology.memory import SramCost

Column = npt.NDArray[Any]

Table = tuple[tuple[str, ...], "SramCost | None", list[str | None]]


def priced_buffers(technology: Technology, accelerator: Accelerator, space: Space) -> dict[str, Table]:
    """Price every size that the buffers of the points may have.

    Returns
    -------
    tables
        By buffer: the fields that vary, the costs over all combinations of their values (a plain cost where none
        does), and the reason of each combination that can not be built.
    """
    found: dict[str, Table] = {}
    for name in ("activation", "weight", "output"):
        memory = getattr(accelerator.memories, name)
        sizes = ("capacity_bytes", "bank_width_bits", "banks")
        varying = tuple(path for size in sizes if (path := f"memories.{name}.{size}") in space.fields)
        lists = [
            space.values(path) if (path := f"memories.{name}.{size}") in space.fields else [getattr(memory, size)]
            for size in sizes
        ]
        costs: list[SramCost | None] = []
        reasons: list[str | None] = []
        for combination in itertools.product(*lists):
            try:
                costs.append(technology.sram(*combination))
                reasons.append(None)
            except ValueError as error:
                costs.append(None)
                reasons.append(f"memories.{name}: {error}")
        found[name] = (varying, _table(costs), reasons)
    return found


def _table(costs: Sequence[SramCost | None]) -> SramCost | None:
    """Costs of many sizes as columns, nothing where there is none."""
    whole = [cost for cost in costs if cost is not None]
    if not whole:
        return None
    if len(costs) == 1:
        return whole[0]
    changes: dict[str, Any] = {}
    for field in fields(whole[0]):
        if isinstance(getattr(whole[0], field.name), int | float):
            changes[field.name] = np.array(
                [np.nan if cost is None else getattr(cost, field.name) for cost in costs], np.float64
            )
    return replace(whole[0], **changes)


def columns_of(table: SramCost) -> dict[str, Column]:
    """Prices that are columns, by name."""
    return {f.name: value for f in fields(table) if isinstance(value := getattr(table, f.name), np.ndarray)}


def with_columns(table: SramCost, columns: Mapping[str, Any]) -> SramCost:
    """Copy of a table with other columns."""
    return replace(table, **columns)


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
