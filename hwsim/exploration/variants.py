"""What a group of design points shares: a scheme and an accelerator but for its columns, with prices of its buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hwsim.lowering import operands
from quant import Contraction

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.exploration.prices import Table
    from hwsim.technology import Technology
    from quant import Scheme
    from workloads import Layer


@dataclass(frozen=True)
class Variant:
    """What rows share that differ in columns only.

    Parameters
    ----------
    tables
        Prices of the buffers, see `priced_buffers`; empty where costs are not asked for.
    chained
        Whether the layers of a point depend on one another.
    """

    scheme: Scheme
    accelerator: Accelerator
    technology: Technology
    tables: Mapping[str, Table]
    chained: bool


def cuts(layer: Layer, scheme: Scheme) -> frozenset[int]:
    """Lengths after which some scale of a layer changes along its reduction.

    Raises
    ------
    ValueError
        If a layout does not fit the contraction.
    """
    reduction = Contraction.parse(layer.contraction).reduction
    levels = [level for operand in operands(layer, scheme) if operand.layout for level in operand.layout.levels]
    return frozenset(block for level in levels for axis in reduction if (block := level.block_of(axis)) is not None)


def sensitive_to_depth(layers: Sequence[Layer], scheme: Scheme) -> bool:
    """Tell whether plans may change with the products that an array adds natively: scales vary along a reduction."""
    try:
        return any(cuts(layer, scheme) for layer in layers)
    except ValueError:
        return True


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
