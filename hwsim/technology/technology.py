"""One technology node: component models, memories, wires, and the bibliography behind them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import memory, stillmaker
from .bibliography import entries
from .calibration import require_units
from .columns import cached
from .cost import Number, Spread
from .lookups import Lookups
from .memory import SramCost
from .nodes import load_node, technology_names

if TYPE_CHECKING:
    import pandas as pd


_SCALED = re.compile(r"(?P<base>.+)@(?P<nm>\d+)nm(?:,(?P<volts>\d+(?:\.\d+)?)V)?")
_SHIPPED: dict[tuple[type, str], Technology] = {}


class Technology(Lookups):
    """A technology node whose methods are component models.

    Load one with `load`; methods take widths as scalars or arrays and return a `Cost`.

    Examples
    --------
    >>> node = Technology.load("45nm-horowitz")
    >>> round(node.multiplier(8, 8).energy_pj, 6), round(node.adder(32).area_um2, 6)
    (0.2, 137.0)
    >>> node.multiplier(8, 8).gate_equivalents > node.multiplier(4, 8).gate_equivalents
    True
    """

    @classmethod
    def load(cls, name: str | Path = "45nm-horowitz") -> Technology:
        """Return a shipped technology by name, or a user's from a YAML file.

        Parameters
        ----------
        name
            One of `technology_names`, or the path of a file ending in ``.yaml``; followed by ``@28nm`` or
            ``@28nm,0.9V`` for `scaled_to` that node and supply.

        Raises
        ------
        ValueError
            If the name is unknown, or a field of the file is wrong: one line a field, with file, field and rule.
        """
        scaled = _SCALED.fullmatch(str(name))
        if scaled is not None:
            volts = scaled["volts"]
            return cls.load(scaled["base"]).scaled_to(int(scaled["nm"]), None if volts is None else float(volts))
        # Technologies do not change, so that the shipped ones are shared with what they remember.
        key = (cls, str(name))
        if key not in _SHIPPED:
            node = load_node(name)
            if name not in technology_names():
                require_units(node, str(name))
                return cls(node)
            _SHIPPED[key] = cls(node)
        return _SHIPPED[key]

    @property
    def name(self) -> str:
        """Name of the node, with what it is scaled to: `load` takes it back."""
        if not self.scaling.warning:
            return self.node.name
        return f"{self.node.name}@{self.node_nm}nm,{self.voltage_v:g}V"

    @property
    def node_nm(self) -> int:
        """Node, after scaling if any."""
        return self.scaling.node_nm or self.node.node_nm

    @property
    def voltage_v(self) -> float:
        """Supply, after scaling if any."""
        return self.scaling.voltage_v or self.node.voltage_v

    @property
    def fo4_ns(self) -> float:
        """Delay of an inverter that drives four, the yardstick of paths, of the library behind the delays."""
        return self.library.fo4_ps * 1e-3 * self.scaling.delay

    @property
    def caveats(self) -> tuple[str, ...]:
        """What a reader of its numbers must know, the scaling warning first."""
        warning = (self.scaling.warning,) if self.scaling.warning else ()
        return warning + self.node.caveats

    def scaled_to(self, node_nm: int, voltage_v: float | None = None) -> Technology:
        """Return this technology scaled to another node or supply.

        Parameters
        ----------
        node_nm : 7..180 nm
            Target.
        voltage_v : V, optional
            Target supply: by default the node's nominal one, or this supply where the node stays.

        Returns
        -------
        technology
            With a warning in `caveats` and in the basis of every cost. Scaling to the same node and supply changes
            nothing. Scaling starts from the unscaled node each time. DRAM does not scale.
        """
        source = self.node
        if voltage_v is None and node_nm == source.node_nm:
            voltage_v = source.voltage_v
        scaling = stillmaker.node_scaling(
            source.node_nm, node_nm, from_voltage_v=source.voltage_v, to_voltage_v=voltage_v
        )
        return type(self)(source, scaling)

    @cached
    def sram(self, capacity_bytes: Number, width_bits: Number, banks: Number = 1) -> SramCost:
        """Return the cost of a single-port SRAM.

        Parameters
        ----------
        capacity_bytes
            Whole capacity; that of one bank must lie in the node's range (`node.sram.capacity_bytes`).
        width_bits
            Bits of one access, inside `node.sram.width_bits`.
        banks : 1..4096
            Equal banks, one accessed at a time; from two on a wire of half the memory's side is added.

        Raises
        ------
        ValueError
            Outside the stated limits.
        MissingConstantError
            If the node has no SRAM.
        """
        return memory.sram_cost(self.node, self.scaling, capacity_bytes, width_bits, banks)

    def dram(self, type_name: str) -> Spread:
        """Return the energy per bit of a DRAM type; it does not depend on the node."""
        return memory.dram(type_name)

    @cached
    def wire(self) -> Spread:
        """Return the energy of moving one bit one millimetre on chip."""
        return memory.wire_spread(self.node, self.scaling)

    def bibliography(self) -> list[dict[str, Any]]:
        """Return every constant with name, value, unit, node_nm, voltage_v, source, year, confidence and note."""
        return entries(self.node, self.library)

    def bibliography_frame(self) -> pd.DataFrame:
        """Return `bibliography` as a pandas frame."""
        import pandas as pd  # noqa: PLC0415 - loaded only where a frame is asked for

        return pd.DataFrame(self.bibliography())

    def __repr__(self) -> str:
        return f"Technology.load({self.name!r})"
