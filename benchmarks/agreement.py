"""How far the closed form is from the events: random layers on random machines, differences counted in tiles.

    python -m benchmarks agreement

A tile is its transfers, latency, lanes and folds one after the other (`EventRun.longest_tile_cycles`). Any buffers:
from 8 bytes to 1 MiB, double or single; roomy ones: 64 KiB or more, double, beside a lane a column. Machines that can
not hold one tile, and layers of very many tiles, are drawn again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import hwsim
from hwsim.plan import Plan
from hwsim.timing import Timing, closed_form, run_events
from quant import Scheme
from workloads import Layer

LAYERS = 2000
_MOST_LOADS = 2000
_SIDES = (1, 2, 3, 5, 8, 16)
_CHOICES: dict[str, tuple[Any, ...]] = {
    "array.rows": _SIDES,
    "array.columns": _SIDES,
    "array.dataflow": ("output_stationary", "weight_stationary", "input_stationary"),
    "vector.lanes": (1, 3, 8, 64, 1024),
    "memories.dram.bandwidth_gb_per_s": (0.05, 0.2, 0.8, 3.2, 20.0, 400.0),
    "memories.dram.weight_bandwidth_gb_per_s": (None, None, 0.2, 3.2),
    "memories.dram.latency_ns": (0, 20, 100, 500),
}
_SCHEMES = ("fp32", "w8a16", "w8a8-static", "w8a8-dynamic", "w8a8-asym-weight", "w4a8-g128", "mxint8")


class Case(NamedTuple):
    """A layer on a machine, as the closed form has it."""

    plan: Plan
    accelerator: hwsim.Accelerator
    timing: Timing


def cases(seed: int, *, roomy: bool) -> Iterator[Case]:
    """Draw layers without end, on machines with any buffers or with roomy ones."""
    rng = np.random.default_rng(seed)
    base = hwsim.Accelerator.load("edge-16x16")

    def pick(values: tuple[Any, ...]) -> Any:
        return values[rng.integers(len(values))]

    while True:
        changes = {name.replace(".", "__"): pick(values) for name, values in _CHOICES.items()}
        if roomy:
            changes["vector__lanes"] = changes["array__columns"]
        for name in ("activation", "weight", "output"):
            changes[f"memories__{name}__capacity_bytes"] = int(2 ** rng.uniform(16 if roomy else 3, 20))
            changes[f"memories__{name}__double_buffered"] = roomy or bool(rng.integers(2))
        m, k, n = (int(size) for size in rng.integers(1, 61, 3))
        layer = Layer("gemm", "mk,kn->mn", {"m": m, "k": k, "n": n}, "x", "w", "y")
        if rng.integers(2):
            sizes = {"b": int(rng.integers(1, 4)), "h": 2, "q": m, "k": n, "d": k}
            layer = Layer("scores", "bhqd,bhkd->bhqk", sizes, "q", "k", "y", "activation", rhs_producer="input")
        try:
            accelerator = base.replace(**changes)
            plan = hwsim.lower(layer, Scheme.load(pick(_SCHEMES)), accelerator)
            timing = closed_form(plan, accelerator)
        except ValueError:
            continue
        schedule = timing.schedule
        if schedule.folds * max(schedule.lhs_pieces, schedule.rhs_pieces) < _MOST_LOADS:
            yield Case(plan, accelerator, timing)


def differences(count: int, seed: int, *, roomy: bool) -> pd.DataFrame:
    """Run both models; one row a layer, its difference in tiles and as a share of its cycles."""
    rows = []
    for plan, accelerator, timing in itertools.islice(cases(seed, roomy=roomy), count):
        got = run_events(plan, accelerator, most_tiles=1 << 30)
        gap = abs(got.total_cycles - timing.total_cycles)
        rows.append({"tiles": gap / got.longest_tile_cycles, "share": gap / got.total_cycles})
    return pd.DataFrame(rows)


def main() -> None:
    for roomy in (False, True):
        frame = differences(LAYERS, 11, roomy=roomy)
        beyond = frame[frame["tiles"] > 1]
        print(f"{len(frame)} random layers, {'roomy' if roomy else 'any'} buffers: events against the closed form")
        for share in (0.5, 0.95, 0.99):
            print(f"{share:4.0%} of them within {frame['tiles'].quantile(share):6.2f} tiles")
        print(f"more than one tile: {len(beyond)} ({len(beyond) / len(frame):.2%})")
        if len(beyond):
            print(f"the worst of these: {beyond['tiles'].max():.1f} tiles, {beyond['share'].max():.1%} of the layer")


if __name__ == "__main__":
    main()
