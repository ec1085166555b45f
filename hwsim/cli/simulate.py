"""``hwsim simulate``."""

from __future__ import annotations

import json
import math
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from hwsim.cli.shared import OutputFile, check_streams, console, print_json, progress, records, write_frame, write_text
from hwsim.cli.strict import Strict
from hwsim.defaults import DEFAULT_SCHEME

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.results import Result
    from hwsim.timing.models import Model, Profile
    from workloads import Network

DATAFLOWS = ["os", "ws", "is"]
MODELS = ["closed", "event", "register"]
PROFILES = ["hwsim", "scalesim"]


@click.command(cls=Strict)
@click.argument("workload", required=False)
@click.option("--gemm", metavar="MxNxK", help="One product of synthetic operands instead of a workload.")
@click.option("--scheme", "-s", default=DEFAULT_SCHEME, show_default=True, metavar="NAME|FILE", help="The scheme.")
@click.option("--accelerator", "-a", default="edge-16x16", show_default=True, metavar="NAME|FILE", help="The machine.")
@click.option("--array", metavar="RxC", help="Rows and columns instead of the machine's own; lanes follow the columns.")
@click.option("--dataflow", type=click.Choice(DATAFLOWS), help="Dataflow instead of the machine's own.")
@click.option(
    "--convolution",
    type=click.Choice(["direct", "im2col"]),
    help="Hold a convolution's activations as the image or as patches, instead of the machine's own way.",
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="Repetitions of the workload.")
@click.option(
    "--activity",
    type=click.Choice(["random", "measured"]),
    default="random",
    show_default=True,
    help="Energy of the array for random operands, or by the toggles of the actual ones.",
)
@click.option("--model", type=click.Choice(MODELS), help="Time only, by this model.")
@click.option("--profile", type=click.Choice(PROFILES), help="Time only, counted as another tool reports it.")
@click.option(
    "--timeline",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Time only, by the event model: write its trace for Perfetto (.json) or its intervals (.csv, .parquet).",
)
@click.option("--costs-only", is_flag=True, help="Skip the numerics: no errors, only costs.")
@click.option(
    "--plan", "show_plan", is_flag=True, help="Print the steps of every layer; with --json they are a part of it."
)
@click.option("--json", "as_json", is_flag=True, help="Print totals and layers as JSON.")
@click.option("--csv", type=OutputFile(".csv", allow_dash=True), help="Write layers to a .csv file; - prints them.")
def simulate(
    workload: str | None,
    gemm: str | None,
    scheme: str,
    accelerator: str,
    array: str | None,
    dataflow: str | None,
    convolution: str | None,
    batch: int,
    activity: Literal["random", "measured"],
    model: Model | None,
    profile: Profile | None,
    timeline: Path | None,
    costs_only: bool,
    show_plan: bool,
    as_json: bool,
    csv: Path | None,
) -> None:
    """Cycles, energy, area and error of one workload under one scheme.

    WORKLOAD is minilm-block (the default), an .npz file of operands, or for its costs alone resnet50 or a transformer
    by its shape: gpt2-prefill-512, gpt2-decode-512, minilm-l6-prefill-128, tinyllama-1.1b-decode-2048.
    """
    import hwsim
    import workloads

    if gemm is not None and workload is not None:
        msg = f"workload must be given by name or by --gemm, not both {workload} and {gemm}"
        raise ValueError(msg)
    network = (
        workloads.load(workload or "minilm-block") if gemm is None else workloads.gemm(*workloads.parse_gemm(gemm))
    )
    machine = _machine(accelerator, array, dataflow, convolution)
    place = _place(machine, array, dataflow, convolution)
    check_streams(as_json=as_json, csv=csv)
    if show_plan and str(csv) == "-":
        msg = "--plan and --csv - must not be given together: both print to standard output"
        raise ValueError(msg)
    if costs_only and activity == "measured":
        msg = "--activity measured must go without --costs-only: toggles are counted while the numerics run"
        raise ValueError(msg)
    if model is not None or profile is not None or timeline is not None:
        if show_plan or costs_only or activity == "measured":
            msg = (
                "--model, --profile and --timeline must go without --plan, --costs-only and --activity measured: "
                "they read time only"
            )
            raise ValueError(msg)
        default: Model = "closed" if timeline is None else "event"
        _time(
            network.batched(batch),
            scheme,
            machine,
            model or default,
            profile or "hwsim",
            timeline,
            place=place,
            as_json=as_json,
            csv=csv,
        )
        return
    with progress(len(network.layers)) as report:
        result = hwsim.simulate(
            network,
            scheme,
            machine,
            batch=batch,
            numerics=False if costs_only else None,
            activity=activity,
            progress=report,
        )
    if csv is not None:
        write_frame(result.to_frame(), csv)
    if as_json:
        print_json(_json(result, with_plans=show_plan))
    elif show_plan:
        _print_plans(result)
    elif str(csv) != "-":
        _print(result, network, place)


def _time(
    network: Network,
    scheme: str,
    machine: Accelerator,
    model: Model,
    profile: Profile,
    timeline: Path | None,
    *,
    place: str,
    as_json: bool,
    csv: Path | None,
) -> None:
    """Read time alone, by one model."""
    import pandas as pd

    from hwsim.network import plan_network
    from hwsim.timing import chrome_trace, timeline_frame, timing_row
    from hwsim.timing.event_driven import network_intervals
    from quant import Scheme
    from reports import frame_table

    if timeline is not None and model != "event":
        msg = f"model must be event for a timeline, not {model}"
        raise ValueError(msg)
    if timeline is not None and timeline.suffix not in {".json", ".csv", ".parquet"}:
        msg = f"timeline must end in .json, .csv or .parquet, not {timeline.suffix or timeline.name!r}"
        raise ValueError(msg)
    rows, runs = [], []
    with progress(len(network.layers)) as report:
        for plan in plan_network(network, Scheme.load(scheme), machine):
            report(f"{model}: {plan.layer.name}")
            row, run = timing_row(plan, machine, model, profile)
            rows.append(row)
            runs += [] if run is None else [run]
    frame = pd.DataFrame(rows)
    if timeline is not None:
        intervals = network_intervals(runs)
        if timeline.suffix == ".json":
            write_text(timeline, json.dumps(chrome_trace(intervals, machine.cycle_ns)))
        else:
            write_frame(timeline_frame(intervals), timeline)
    if csv is not None:
        write_frame(frame, csv)
    names = ["compute_cycles", "stall_cycles", "total_cycles", "dram_read_bytes", "dram_write_bytes"]
    totals: dict[str, Any] = {"model": model, "profile": profile, **{name: frame[name].sum() for name in names}}
    # each layer's share of the peak, weighted by its time
    totals["utilization"] = float((frame["utilization"] * frame["total_cycles"]).sum() / totals["total_cycles"])
    totals["bound"] = str(frame.groupby("bound")["total_cycles"].sum().idxmax())
    if as_json:
        print_json({**records(pd.DataFrame([totals]))[0], "layers": records(frame)})
    elif str(csv) != "-":
        out = console()
        title = f"{network.name} under {scheme} on {place}"
        out.print(frame_table(frame.drop(columns=["model", "profile"]), title=title, width=out.width))
        out.print(frame_table(pd.DataFrame([totals]), title="In all", width=out.width))


def _machine(name: str, array: str | None, dataflow: str | None, convolution: str | None) -> Accelerator:
    from hwsim.accelerator import Accelerator
    from hwsim.exploration.fields import DATAFLOWS as NAMES

    machine = Accelerator.load(name)
    changes: dict[str, Any] = {}
    if array is not None:
        rows, _, columns = array.lower().partition("x")
        if not (rows.isdigit() and columns.isdigit()):
            msg = f"array must look like 32x32, not {array!r}"
            raise ValueError(msg)
        lanes = max(1, machine.vector.lanes * int(columns) // machine.array.columns)
        changes |= {"array__rows": int(rows), "array__columns": int(columns), "vector__lanes": lanes}
    if dataflow is not None:
        changes["array__dataflow"] = NAMES[dataflow]
    if convolution is not None:
        changes["array__convolution"] = convolution
    return machine.replace(**changes) if changes else machine


def _place(machine: Accelerator, array: str | None, dataflow: str | None, convolution: str | None) -> str:
    """Name a machine with what is changed of it."""
    changed = ([f"{machine.array.rows}x{machine.array.columns}"] if array else []) + ([dataflow] if dataflow else [])
    article = "an" if changed and changed[0].startswith(("8", "11x", "18x", "os", "is")) else "a"
    named = f"{machine.name} with {article} {' '.join(changed)} array" if changed else machine.name
    return f"{named}, convolutions {convolution}" if convolution else named


def _json(result: Result, *, with_plans: bool) -> dict[str, Any]:
    import pandas as pd

    totals = records(pd.DataFrame([result.totals()]))[0]
    bounds = result.to_frame().groupby("bound")["total_cycles"].sum()
    rows = records(result.to_frame())
    if with_plans:
        rows = [{**row, "plan": str(layer.plan).splitlines()} for row, layer in zip(rows, result.layers, strict=True)]
    return {**totals, "bound": str(bounds.idxmax()), "layers": rows}


def _print_plans(result: Result) -> None:
    """Print the steps of every layer, long lines going on further in."""
    width = console().width
    for layer in result.layers:
        for line in str(layer.plan).splitlines():
            click.echo(textwrap.fill(line, width, subsequent_indent=" " * 6, break_on_hyphens=False))


def _print(result: Result, network: Network, place: str) -> None:
    import pandas as pd

    from hwsim.cost import clock_statements, critical_paths
    from hwsim.remarks import remarks_on
    from reports import frame_table

    out = console()
    frame = result.to_frame()
    if frame["sqnr_db"].isna().all():
        frame = frame.drop(columns="sqnr_db")
    shown = ["layer", "verdict", "sqnr_db", "total_cycles", "stall_cycles", "utilization", "bound", "energy_pj"]
    if out.width >= 120:
        shown = [*shown, "mac_pj", "sram_pj", "dram_pj", "weight_bytes", "traffic_bytes"]
    out.print(
        frame_table(
            frame[[name for name in shown if name in frame]],
            title=f"{result.workload} under {result.scheme.name} on {place}",
            width=out.width,
        )
    )
    totals = result.totals()
    errors = [name for name in ("sqnr_db", "block_sqnr_db") if not math.isnan(totals[name])]
    rows = ["total_cycles", *errors, "latency_us", "utilization", "energy_pj", "area_um2", "power_mw", "tops_per_w"]
    rows += ["weight_bytes", "dram_read_bytes", "dram_write_bytes"]
    rows += [name for name in ("tokens_per_s", "energy_per_token_pj", "traffic_per_token_bytes") if name in totals]
    out.print(frame_table(pd.DataFrame([{name: totals[name] for name in rows}]), title="In all", width=out.width))
    for remark in remarks_on(network, [layer.plan for layer in result.layers], result.accelerator):
        out.print(f"- {remark}.")
    for lead, text in clock_statements(critical_paths(result.built, result.accelerator, result.technology)):
        out.print(f"- {lead}: {text}")
