"""Area of one machine that runs several schemes, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import workloads
from hwsim.accelerator import Accelerator
from hwsim.cost import Area, area, needed
from hwsim.cost.areas import PARTS
from hwsim.lowering import IllegalLayoutError
from hwsim.network import plan_network
from hwsim.repair import run_repaired
from hwsim.technology import Technology
from quant import Scheme

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.plan import Plan
    from workloads import Network


@dataclass(frozen=True)
class SharedArea:
    """A machine for a set of schemes, and the machine that each of them would need alone.

    Parameters
    ----------
    built
        Everything that the set needs, each component once for all that share it.
    alone
        By scheme.
    users
        By component and place as they stand in `built`: the schemes that need a component of that kind there.
    notes
        What was done to schemes that this machine refuses as they are.
    """

    workload: str
    accelerator: Accelerator
    technology: Technology
    built: Area
    alone: dict[str, Area]
    users: dict[tuple[str, str], tuple[str, ...]]
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """One row a component: the areas sum to the total.

        Returns
        -------
        frame
            ``part``, ``component``, ``place``, ``count``, ``area_um2`` with its band, ``area_share``, ``leakage_uw``,
            ``schemes``.
        """
        import pandas as pd  # noqa: PLC0415

        total = self.built.total_um2
        rows: list[dict[str, Any]] = [
            {
                "part": line.part.removesuffix("_um2"),
                "component": line.what,
                "place": line.place,
                "count": line.count,
                "area_um2": line.um2,
                "area_low_um2": line.low_um2,
                "area_high_um2": line.high_um2,
                "area_share": line.um2 / total,
                "leakage_uw": line.leakage_uw,
                "schemes": ", ".join(self.users.get((line.what, line.place), tuple(self.alone))),
            }
            for line in self.built.built
        ]
        order = {part.removesuffix("_um2"): i for i, part in enumerate(PARTS)}
        rows.sort(key=lambda row: (order[row["part"]], -row["area_um2"]))
        return pd.DataFrame(rows)

    def summary(self) -> pd.DataFrame:
        """One row for the set and one for each scheme alone: total, band and parts."""
        import pandas as pd  # noqa: PLC0415

        machines = {"all of them": self.built, **self.alone}
        return pd.DataFrame(
            [
                {
                    "scheme": name,
                    "area_um2": built.total_um2,
                    "area_low_um2": built.low_um2,
                    "area_high_um2": built.high_um2,
                    **built.parts(),
                }
                for name, built in machines.items()
            ]
        )


def shared_area(
    schemes: Sequence[Scheme | str | Path],
    workload: Network | str | Path = "minilm-block",
    accelerator: Accelerator | str | Path = "edge-16x16",
    *,
    widest: bool = False,
) -> SharedArea:
    """Area of the machine that runs a workload under any of several schemes.

    Parameters
    ----------
    schemes
        Presets, YAML files or objects. Of one that the machine refuses, its cheapest repair stands in, as in
        `compare`.
    workload, accelerator
        As `simulate` takes them.
    widest
        Build one integer multiply-accumulate unit in the widest format for all, which extends narrow operands; then
        narrow formats save no energy in the array. Otherwise formats that differ stand beside each other.

    Raises
    ------
    IllegalLayoutError
        If the machine can run neither a scheme nor its repair.
    ValueError
        If there is no scheme, or two have one name.

    Examples
    --------
    >>> import workloads
    >>> shared = shared_area(["w8a8-dynamic", "w8a8-static"], workloads.gemm(16, 64, 16))
    >>> shared.built.total_um2 < sum(alone.total_um2 for alone in shared.alone.values())
    True
    """
    network, machine = workloads.load(workload), Accelerator.load(accelerator)
    technology = Technology.load(machine.technology)
    chosen = [Scheme.load(scheme) for scheme in schemes]
    names = [scheme.name for scheme in chosen]
    if not names or len(set(names)) < len(names):
        msg = f"schemes must be at least one and have different names, not {', '.join(names) or 'none'}"
        raise ValueError(msg)
    plans: dict[str, tuple[Plan, ...]] = {}
    notes: list[str] = []
    for scheme in chosen:
        try:
            plans[scheme.name] = plan_network(network, scheme, machine)
        except IllegalLayoutError as error:
            repair = run_repaired(scheme, error.verdict, lambda fixed: plan_network(network, fixed, machine))
            if repair is None:
                raise
            fixed, plans[repair[0].name], note = repair
            notes.append(f"{fixed.name} {note}")
    every = [plan for several in plans.values() for plan in several]
    built = area(every, machine, technology, widest=widest)
    users: dict[tuple[str, str], tuple[str, ...]] = {}
    needs = {
        name: {(need.component, need.place.value) for need in needed(several, machine.array)}
        for name, several in plans.items()
    }
    for line in built.built:
        unit = line.cuts or line.component
        if unit is None:
            continue
        exact = tuple(name for name, need in needs.items() if (unit, line.place) in need)
        kind = tuple(
            name
            for name, need in needs.items()
            if any(c.kind == unit.kind and place == line.place for c, place in need)
        )
        # A unit built wider than one scheme needs serves it too.
        widened = kind if unit.kind in {"adder", "register", "multiplier", "shifter"} or widest else exact
        users[line.what, line.place] = widened or kind
    alone = {name: area(several, machine, technology, widest=widest) for name, several in plans.items()}
    return SharedArea(network.name, machine, technology, built, alone, users, tuple(notes))
