"""Put schemes side by side on one workload and one machine: error, latency, energy, area, and why they differ."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

import workloads
from hwsim import rankings
from hwsim.accelerator import Accelerator
from hwsim.cost import PricingError, clock_statements, critical_paths
from hwsim.defaults import DEFAULT_SCHEMES
from hwsim.equal_area import equal_area
from hwsim.ledger import ledger_rows
from hwsim.lowering import IllegalLayoutError
from hwsim.numerics import Progress, Recording, has_numerics, silent
from hwsim.repair import run_repaired
from hwsim.results import Result
from hwsim.simulation import simulate
from quant import Scheme
from workloads import FunctionKind

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.cost import CriticalPath
    from quant import Verdict
    from workloads import Network

_RATIOS = {
    "latency_ratio": "latency_us",
    "energy_ratio": "energy_pj",
    "area_ratio": "area_um2",
    "power_ratio": "power_mw",
    "energy_delay_ratio": "energy_delay_pj_s",
    "weight_ratio": "weight_bytes",
    "traffic_ratio": "traffic_bytes",
    "equal_area_latency_ratio": "equal_area_latency_us",
    "equal_area_energy_ratio": "equal_area_energy_pj",
}
"""Each ratio column and the column that is divided by the baseline's."""

_COUNTS = dict.fromkeys(("macs", "compute_cycles", "stall_cycles", "total_cycles"), "Int64")
"""Columns of whole numbers whether some scheme is refused, and has none, or not."""


@dataclass(frozen=True)
class Comparison:
    """Frames of a comparison.

    Parameters
    ----------
    schemes
        One row a scheme; refused schemes have no costs, and the row after one is its repair. Counts are ``Int64``.
    layers
        One row a scheme and layer.
    ledger
        What each scheme's difference to the baseline is made of.
    pairs
        Every two schemes in energy, area and energy-delay product: whether the bands of the sources leave open
        which is better.
    paths
        The longest paths of every component that some scheme needs, against the clock.
    technologies
        Every scheme in other technologies, where they were asked for; else None.
    metadata
        Workload, machine, assumptions and sources, for reports.
    results
        By scheme name, those that ran.
    """

    schemes: pd.DataFrame
    layers: pd.DataFrame
    ledger: pd.DataFrame
    pairs: pd.DataFrame
    paths: pd.DataFrame
    technologies: pd.DataFrame | None
    metadata: dict[str, Any]
    results: dict[str, Result]

    def to_frame(self) -> pd.DataFrame:
        """One row a scheme."""
        return self.schemes

    def to_html(self) -> str:
        """Self-contained page."""
        from reports import render_page  # noqa: PLC0415  charts are heavy

        return render_page(self.schemes, self.layers, self.ledger, self.metadata)

    def _repr_html_(self) -> str:
        shown = self.schemes[["scheme", "verdict", "sqnr_db", "latency_us", "energy_pj", "area_um2", "tops_per_w"]]
        html: str = shown.to_html(index=False, float_format="{:.4g}".format, na_rep="-")
        return html


@dataclass(frozen=True)
class _Row:
    """One line of the comparison."""

    scheme: Scheme
    result: Result | None
    repair_of: str | None
    note: str


def compare(
    workload: Network | str | Path = "minilm-block",
    schemes: Scheme | str | Path | Sequence[Scheme | str | Path] | None = None,
    accelerator: Accelerator | str | Path = "edge-16x16",
    *,
    baseline: str = "fp32",
    batch: int = 1,
    numerics: bool | None = None,
    technologies: str | Sequence[str] = (),
    progress: Progress = silent,
) -> Comparison:
    """Compare schemes on one workload and one machine.

    All schemes share the array's geometry, the memories, bandwidth and clock; each has processing elements and
    vector lanes of its own formats. A second set of columns gives each scheme as many elements as fit the area of
    the baseline's machine.

    Parameters
    ----------
    workload
        A network, the name of an embedded one, or an ``.npz`` file of operands.
    schemes
        One or several presets, YAML files or objects; `DEFAULT_SCHEMES` if None. The baseline is added if missing.
    accelerator
        A preset's name, a YAML file or an object.
    baseline
        Scheme that ratios and the ledger refer to.
    batch
        Repetitions of the workload, as `simulate` takes them.
    numerics
        Measure errors; otherwise only costs are computed. None does so where the workload has tensors.
    technologies
        ``all``, or names and files: whether the ranking of the schemes holds there, on the same machine and clock.
    progress
        Called with the name of what is being done.

    Returns
    -------
    Comparison
        A scheme whose layouts no array of this machine can run is listed as incompatible with a witness, without
        costs, followed by its cheapest repair that can run; so is one whose hardware the technology can not price.

    Raises
    ------
    ValueError
        If a name, a field or an operand is wrong, or the baseline is refused.
    """
    network, machine = workloads.load(workload), Accelerator.load(accelerator)
    base = Scheme.load(baseline)
    several = [schemes] if isinstance(schemes, Scheme | str | Path) else DEFAULT_SCHEMES if schemes is None else schemes
    chosen = [Scheme.load(s) for s in several]
    chosen = [base, *(s for s in chosen if s.name != base.name)]
    names = [s.name for s in chosen]
    if len(set(names)) != len(names):
        msg = f"schemes must have different names, not {', '.join(sorted(names))}"
        raise ValueError(msg)
    recording, measured = Recording(network), has_numerics(network, numerics)

    def run(scheme: Scheme) -> Result:
        return simulate(
            network, scheme, machine, batch=batch, numerics=measured, recording=recording, progress=progress
        )

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        # Schemes side by side use the cores better than the threads of one matrix product, and sums of floats then
        # have one order on every machine. The frames' library takes most of a second to import, beside them.
        pool.submit(importlib.import_module, "pandas")
        try:
            if measured:
                recording.run_all()
            rows = [row for several in pool.map(lambda scheme: _rows(scheme, run, progress), chosen) for row in several]
            reference = rows[0].result
            if reference is None:
                msg = f"baseline must be a scheme that the machine can run, not {base.name}: {rows[0].note}"
                raise ValueError(msg)
            budget = reference.built.total_um2
            grown = list(pool.map(lambda row: _grown(network, row, budget, progress), rows))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return _assemble(network, base, reference, rows, grown, technologies)


def _grown(network: Network, row: _Row, budget_um2: float, progress: Progress) -> dict[str, Any]:
    """Read a scheme's plans again on as many elements as fit the area of the baseline's machine."""
    if row.result is None:
        return {}
    progress(f"{row.scheme.name}: with the area of the baseline")
    return equal_area(network, row.result, budget_um2)


def _rows(scheme: Scheme, run: Callable[[Scheme], Result], progress: Progress) -> list[_Row]:
    """Run one scheme, or list why it can not be run and run its repair."""
    progress(scheme.name)
    try:
        result = run(scheme)
    except IllegalLayoutError as error:
        refused = _Row(scheme, None, None, f"{error.layer}: {witness_line(error.verdict)}")
        try:
            repair = run_repaired(scheme, error.verdict, run)
        except PricingError:
            repair = None
        if repair is None:
            return [refused]
        fixed, repaired, note = repair
        return [refused, _Row(fixed, repaired, scheme.name, note)]
    except PricingError as error:
        return [_Row(scheme, None, None, f"{scheme.name}: {error}")]
    return [_Row(scheme, result, None, scheme.description)]


def witness_line(verdict: Verdict) -> str:
    """Say in one line what the witness of a verdict shows: equal sums, different results."""
    witness = verdict.witness
    if witness is None:
        return verdict.explanation
    sides = witness.first, witness.second
    products = [
        " + ".join(f"lhs{_at(a)}*rhs{_at(b)}" for (a, _), (b, _) in zip(side.lhs, side.rhs, strict=False))
        for side in sides
    ]
    first, second = (f"{float(witness.real(side)):.4g}" for side in sides)
    return f"{products[0]}, {products[1]}: equal sums, real results {first} and {second}"


def _at(position: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, position))}]"


def _assemble(
    network: Network,
    base: Scheme,
    reference: Result,
    rows: list[_Row],
    grown: list[dict[str, Any]],
    technologies: str | Sequence[str],
) -> Comparison:
    import pandas as pd  # noqa: PLC0415

    records = []
    for row, larger in zip(rows, grown, strict=True):
        record: dict[str, Any] = {
            "scheme": row.scheme.name,
            "verdict": "incompatible",
            "repair_of": row.repair_of,
            "note": row.note,
        }
        if row.result is not None:
            record |= {**row.result.totals(), **larger}
        records.append(record)
    first = records[0]
    for record in records:
        for ratio, column in _RATIOS.items():
            # Products of activations alone have no weights to compare.
            record[ratio] = record.get(column, np.nan) / first[column] if first[column] else np.nan
    results = {row.scheme.name: row.result for row in rows if row.result is not None}
    layers = pd.concat([result.to_frame() for result in results.values()], ignore_index=True)
    ledger = pd.DataFrame(
        [line for name, result in results.items() if name != base.name for line in ledger_rows(result, reference)],
        columns=["scheme", "quantity", "component", "baseline_value", "value", "difference", "reason"],
    )
    pairs = rankings.pairs(results)
    priced = rankings.across(results, technologies) if technologies else None
    longest = _longest_paths(results)
    metadata = _metadata(network, reference, base)
    metadata["cautions"] = _unreached_clock(results)
    metadata["statements"] = [
        *rankings.band_statements(pairs),
        *([] if priced is None else rankings.ranking_statements(priced, pairs)),
        *clock_statements(longest),
    ]
    paths = pd.DataFrame([path.to_row() for path in longest])
    schemes = pd.DataFrame(records).astype(_COUNTS)
    # Text even where all are missing; older pandas writes the missing ones out as text too.
    repaired = schemes["repair_of"]
    schemes["repair_of"] = repaired.astype("str").where(repaired.notna(), None)
    return Comparison(schemes, layers, ledger, pairs, paths, priced, metadata, results)


def _unreached_clock(results: dict[str, Result]) -> list[tuple[str, str]]:
    """Say first which schemes' figures stand on a clock that their own array does not reach."""
    slow = [
        name
        for name, result in results.items()
        if any(
            path.too_slow and path.place == "element"  # a sum that saturates
            for path in critical_paths(result.built, result.accelerator, result.technology)
        )
    ]
    if not slow:
        return []
    clock_mhz = results[slow[0]].accelerator.clock_mhz
    return [("Counted faster than it runs", f"{', '.join(slow)} at {clock_mhz:g} MHz, which the MACs do not reach.")]


def _longest_paths(results: dict[str, Result]) -> list[CriticalPath]:
    """Paths of every component that some scheme needs, the longest first."""
    every: dict[tuple[str, str], CriticalPath] = {}
    for result in results.values():
        for path in critical_paths(result.built, result.accelerator, result.technology):
            every.setdefault((path.component, path.place), path)
    return sorted(every.values(), key=lambda path: -path.delay_ns)


def _metadata(network: Network, reference: Result, base: Scheme) -> dict[str, Any]:
    from hwsim.cost.areas import PARTS as AREA_PARTS  # noqa: PLC0415
    from hwsim.cost.energies import PARTS as ENERGY_PARTS  # noqa: PLC0415

    machine = reference.accelerator
    array = machine.array
    kinds = (FunctionKind(f.kind) for f in network.functions)
    functions = ", ".join(dict.fromkeys(kind.replace("_", " ") for kind in kinds if not kind.moves_only))
    assumptions = [
        f"{machine.name}: {array.rows} x {array.columns} elements, {array.dataflow.replace('_', ' ')}, "
        f"{machine.clock_mhz:g} MHz, {machine.accumulator.bits}-bit accumulators, {machine.technology}.",
        "Layers run one after the other; "
        + (
            "what fits stays in the activation buffer between them, the rest goes through DRAM."
            if machine.memories.keeps_results
            else "operands and results of each go through DRAM."
        ),
        "Every scheme shares array geometry, memories, bandwidth and clock and has elements and lanes of its own "
        "formats; units longer than a clock period are pipelined, and their registers counted.",
    ]
    if network.shapes_only:
        assumptions.append("The workload has shapes only: no errors are measured.")
    else:
        assumptions += [
            "SQNR is 10 log10(sum y^2 / sum e^2) of each contraction on its recorded float inputs, y being "
            "the fp32 result; a scheme's figure averages noise over signal across contractions. "
            "Block SQNR carries errors from layer to layer to the end of the network.",
            f"Static ranges come from: {network.calibration_source}. "
            f"Errors are measured on: {network.evaluation_source}.",
        ]
    counted = ""
    if functions and machine.vector.runs_functions:
        counted = f"Functions between contractions ({functions}) run in fp32 on the lanes of the vector unit."
        assumptions.append(counted)
    elif functions:
        counted = (
            f"Functions between contractions ({functions}) run in fp32 in the error and are not "
            "counted in latency, energy or area; quantizing their results is."
        )
        assumptions.append(counted)
    return {
        "title": f"{network.name} on {machine.name}",
        "workload": network.name,
        "workload_source": network.source,
        "accelerator": machine.name,
        "accelerator_source": machine.source,
        "technology": machine.technology,
        "baseline": base.name,
        "assumptions": assumptions,
        "counted": counted,
        "sources": [f"Workload: {network.source}", f"Machine: {machine.source}"],
        "energy_parts": list(ENERGY_PARTS),
        "area_parts": list(AREA_PARTS),
    }
