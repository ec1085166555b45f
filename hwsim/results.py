"""What a simulation delivers: rows and totals of layers and networks, units in the names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.accelerator import Accelerator
    from hwsim.cost import Area, Energy
    from hwsim.plan import Plan
    from hwsim.technology import Technology
    from hwsim.timing import Timing
    from quant import Scheme


def efficiency(energy_pj: float, latency_us: float, macs: float) -> dict[str, float]:
    """Power, operations for the energy, and energy-delay product, by the names of their columns.

    Examples
    --------
    >>> efficiency(4e6, 10.0, 1e6)
    {'power_mw': 400.0, 'tops_per_w': 0.5, 'energy_delay_pj_s': 40.0}
    """
    # pJ over ns is mW; two operations a MAC over pJ is tera-operations a second and watt
    return {
        "power_mw": energy_pj / (latency_us * 1e3),
        "tops_per_w": 2 * macs / energy_pj,
        "energy_delay_pj_s": energy_pj * latency_us * 1e-6,
    }


@dataclass(frozen=True)
class LayerResult:
    """Everything known about one layer under one scheme.

    Parameters
    ----------
    energy, low, high
        At nominal prices and at the edges of the band that their sources support.
    sqnr_db
        None where it was not measured or the result is the reference itself.
    call
        Which of the runs, one after the other, that a batch is split into.
    """

    plan: Plan
    timing: Timing
    energy: Energy
    low: Energy
    high: Energy
    sqnr_db: float | None = None
    call: int = 0

    def to_row(self, cycle_ns: float) -> dict[str, Any]:
        """Flat row with units in the names."""
        plan, timing = self.plan, self.timing
        latency_us = timing.total_cycles * cycle_ns * 1e-3
        return {
            "scheme": plan.scheme.name,
            "layer": plan.layer.name,
            "call": self.call,
            "verdict": plan.verdict_name,
            "partial_sums": plan.mac.segments,
            "sqnr_db": np.nan if self.sqnr_db is None else self.sqnr_db,
            "macs": plan.macs,
            "folds": timing.schedule.folds,
            "compute_cycles": timing.compute_cycles,
            "stall_cycles": timing.stall_cycles,
            "total_cycles": timing.total_cycles,
            "utilization": timing.utilization,
            "bound": timing.bound,
            "latency_us": latency_us,
            "energy_pj": self.energy.total_pj,
            "energy_low_pj": self.low.total_pj,
            "energy_high_pj": self.high.total_pj,
            **self.energy.parts(),
            **efficiency(self.energy.total_pj, latency_us, plan.macs),
            "weight_bytes": plan.weight_bytes,
            "dram_read_bytes": timing.dram.read_bits / 8,
            "dram_write_bytes": timing.dram.write_bits / 8,
            "traffic_bytes": timing.dram.total_bits / 8,
            "kept_bytes": plan.kept_bytes,
        }


@dataclass(frozen=True)
class Result:
    """One workload under one scheme on one accelerator.

    Parameters
    ----------
    layers
        In the order of the network; of a batch that is split, one call after the other.
    built
        Area of the machine that runs all of them.
    output_sqnr_db
        Error of the network's output with errors carried from layer to layer; None if not measured or exact.
    batch, calls
        Repetitions of the workload, and runs that they are split into.
    tokens
        That all calls together read or make; None where that has no meaning.
    """

    workload: str
    scheme: Scheme
    accelerator: Accelerator
    technology: Technology
    layers: tuple[LayerResult, ...]
    built: Area
    output_sqnr_db: float | None
    batch: int = 1
    calls: int = 1
    tokens: int | None = None

    @property
    def total_cycles(self) -> int:
        """Cycles of all layers, one after the other."""
        return sum(layer.timing.total_cycles for layer in self.layers)

    @property
    def latency_us(self) -> float:
        """Time of all layers, one after the other."""
        return self.total_cycles * self.accelerator.cycle_ns * 1e-3

    @property
    def energy_pj(self) -> float:
        """Energy of all layers."""
        return float(sum(layer.energy.total_pj for layer in self.layers))

    @property
    def sqnr_db(self) -> float | None:
        """Signal over noise of the contractions: the mean over layers of noise power over signal power, in dB."""
        measured = [layer.sqnr_db for layer in self.layers if layer.sqnr_db is not None]
        if not measured:
            return None
        return float(-10 * np.log10(np.mean([10 ** (-db / 10) for db in measured])))

    def totals(self) -> dict[str, Any]:
        """Flat row over all layers, with units in the names."""
        layers, cycles = self.layers, self.total_cycles
        macs = sum(layer.plan.macs for layer in layers)
        used = sum(layer.plan.mac.macs for layer in layers)
        parts = [layer.energy.parts() for layer in layers]
        read = sum(layer.timing.dram.read_bits for layer in layers) / 8
        write = sum(layer.timing.dram.write_bits for layer in layers) / 8
        compute = sum(layer.timing.compute_cycles for layer in layers)
        verdicts = [layer.plan.verdict_name for layer in layers]
        return {
            "scheme": self.scheme.name,
            "verdict": next((v for v in ("segmented", "once", "float") if v in verdicts), "float"),
            "sqnr_db": np.nan if self.sqnr_db is None else self.sqnr_db,
            "block_sqnr_db": np.nan if self.output_sqnr_db is None else self.output_sqnr_db,
            "macs": macs,
            "compute_cycles": compute,
            "stall_cycles": cycles - compute,
            "total_cycles": cycles,
            "utilization": used / (self.accelerator.elements * cycles),
            "latency_us": self.latency_us,
            "energy_pj": self.energy_pj,
            "energy_low_pj": float(sum(layer.low.total_pj for layer in layers)),
            "energy_high_pj": float(sum(layer.high.total_pj for layer in layers)),
            **{name: sum(part[name] for part in parts) for name in parts[0]},
            "area_um2": self.built.total_um2,
            **{name: float(part) for name, part in self.built.parts().items()},
            **efficiency(self.energy_pj, self.latency_us, macs),
            "weight_bytes": sum(layer.plan.weight_bytes for layer in layers),
            "dram_read_bytes": read,
            "dram_write_bytes": write,
            "traffic_bytes": read + write,
            **self._per_token(read + write),
        }

    def _per_token(self, traffic_bytes: float) -> dict[str, float]:
        if self.tokens is None:
            return {}
        return {
            "tokens_per_s": self.tokens / self.latency_us * 1e6,
            "energy_per_token_pj": self.energy_pj / self.tokens,
            "traffic_per_token_bytes": traffic_bytes / self.tokens,
        }

    def to_frame(self) -> pd.DataFrame:
        """One row for each layer."""
        import pandas as pd  # noqa: PLC0415  a script that only wants totals never pays for it

        return pd.DataFrame([layer.to_row(self.accelerator.cycle_ns) for layer in self.layers])

    def _repr_html_(self) -> str:
        html: str = self.to_frame().to_html(index=False, float_format="{:.4g}".format)
        return html
