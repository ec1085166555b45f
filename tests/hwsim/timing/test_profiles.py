"""What SCALE-Sim 3.0.0 reported for 135 products, and the arrays that it does not know."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hwsim
from hwsim.accelerator import Array
from hwsim.cli.main import main
from hwsim.timing import closed_form, scalesim_report, timing_row
from quant import Scheme
from tests.hwsim.machines import attention_layer, machine
from workloads import Layer

DATAFLOWS = {"os": "output_stationary", "ws": "weight_stationary", "is": "input_stationary"}
GOLDEN = Path(__file__).parent / "golden" / "scalesim.csv"


def array_of(rows: int, columns: int, dataflow: str, **changes: Any) -> Array:
    return Array.from_fields({"rows": rows, "columns": columns, "dataflow": dataflow, **changes})


def test_reports_equal_those_of_scale_sim() -> None:
    with GOLDEN.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert len(rows) == 135
    for row in rows:
        array = array_of(int(row["rows"]), int(row["columns"]), DATAFLOWS[row["dataflow"]])
        got = scalesim_report(int(row["m"]), int(row["k"]), int(row["n"]), array)
        assert got.cycles == int(row["total_cycles"]), row
        assert row["stall_cycles"] == "0"
        # the same doubles, divided in another order
        for value, column in (
            (got.utilization, "overall_util_percent"),
            (got.mapping_efficiency, "mapping_efficiency_percent"),
            (got.compute_utilization, "compute_util_percent"),
        ):
            assert 100 * value == pytest.approx(float(row[column]), rel=1e-12), (column, row)


@pytest.mark.parametrize(
    ("sizes", "changes", "text"),
    [
        ((0, 1, 1), {}, "m must be 1 or more, not 0"),
        ((2, 2, 2), {"dot_depth": 4}, "array.dot_depth must be 1 under the profile scalesim, not 4"),
        ((2, 2, 2), {"drain": "shift"}, "array.drain must be bus under the profile scalesim, not shift"),
        (
            (2, 2, 2),
            {"double_buffered": True},
            "array.double_buffered must be False under the profile scalesim, not True",
        ),
        ((1, 1, 1), {}, "product must take more than the one cycle that the profile scalesim counts as 0"),
    ],
)  # fmt: skip
def test_what_scale_sim_does_not_know_is_refused(sizes: Any, changes: Any, text: str) -> None:
    m, k, n = sizes
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        scalesim_report(m, k, n, array_of(1, 1, "output_stationary", **changes))


# ---- one row, whichever model reads it ----


@pytest.mark.parametrize("scheme", ["w8a8-static", "w8a8-asym-weight", "w4a8-g128"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"array__double_buffered": True, "array__dataflow": "weight_stationary"},
        {"array__overlap_folds": True},
        {"array__overlap_folds": True, "array__double_buffered": True, "array__dataflow": "weight_stationary"},
        {"array__partial_tiles": "part"},
    ],
    ids=str,
)
def test_registers_and_closed_form_agree_on_batches_segments_and_extra_columns(
    scheme: str, changes: dict[str, Any]
) -> None:
    accelerator = machine(**changes)
    plan = hwsim.lower(attention_layer(2, 3, 5, 7, 257), Scheme.load(scheme), accelerator)
    row, run = timing_row(plan, accelerator, "register")
    assert run is None
    assert row["total_cycles"] == row["compute_cycles"] == closed_form(plan, accelerator).compute_cycles


def test_several_arrays_share_tiles_or_the_rows_that_stream() -> None:
    """Four arrays of 3 x 2 sum two of 8 tiles each; one tile of weights is held by all, past each a quarter streams."""
    accelerator = machine(arrays=4)
    layer = Layer("gemm", "mk,kn->mn", {"m": 5, "k": 11, "n": 7}, "x", "w", "y")
    timing = closed_form(hwsim.lower(layer, Scheme.load("w8a8-static"), accelerator), accelerator)
    assert timing.compute_cycles == 2 * (11 + 3 + 2 - 2)
    assert timing.utilization == pytest.approx(5 * 11 * 7 / (4 * 6 * timing.total_cycles))
    held = machine(arrays=4, array__dataflow="weight_stationary")
    narrow = Layer("gemm", "mk,kn->mn", {"m": 20, "k": 3, "n": 2}, "x", "w", "y")
    timing = closed_form(hwsim.lower(narrow, Scheme.load("w8a8-static"), held), held)
    assert timing.compute_cycles == 3 + 5 + 3 + 2 - 2
    row, _ = timing_row(hwsim.lower(narrow, Scheme.load("w8a8-static"), held), held, "register")
    assert row["total_cycles"] == 3 + 5 + 3 + 2 - 2


def test_a_port_of_their_own_takes_weights_beside_activations() -> None:
    """64 x 512 int8 activations at 1 GB/s, 512 x 64 weights at 0.5: the longer of the two transfers sets the pace."""
    fields = {"memories__dram__bandwidth_gb_per_s": 1.0, "memories__dram__latency_ns": 0}
    alone = machine(**fields, array__rows=64, array__columns=64, memories__dram__weight_bandwidth_gb_per_s=0.5)
    shared = machine(**fields, array__rows=64, array__columns=64)
    layer = Layer("gemm", "mk,kn->mn", {"m": 64, "k": 512, "n": 64}, "x", "w", "y")

    def cycles(accelerator: hwsim.Accelerator) -> Any:
        return closed_form(hwsim.lower(layer, Scheme.load("w8a8-static"), accelerator), accelerator).dram_cycles

    weights = 512 * 64 + 4  # and one scale
    assert cycles(alone) == pytest.approx(weights / (0.5 * 4))
    everything = cycles(shared)
    assert everything == pytest.approx((64 * 512 + weights + 64 * 64) / 4, rel=0.01)


def test_the_profile_refuses_what_is_not_one_product() -> None:
    accelerator = machine()
    plan = hwsim.lower(attention_layer(), Scheme.load("w8a8-static"), accelerator)
    with pytest.raises(ValueError, match=r"^scores must be one product and one sum under the profile scalesim$"):
        timing_row(plan, accelerator, "closed", "scalesim")


GEMM = ["simulate", "--gemm", "128x512x256", "--array", "32x32", "--json"]


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["hwsim", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return int(left.value.code or 0), captured.out, captured.err

    return run


@pytest.mark.parametrize(("dataflow", "cycles"), [("os", 20351), ("ws", 28415), ("is", 19391)])
def test_the_command_reports_the_cycles_of_scale_sim(command: Command, dataflow: str, cycles: int) -> None:
    """Cycles that SCALE-Sim 3.0.0 printed for 128 x 512 x 256 on 32 x 32 without stalls."""
    code, out, _ = command(*GEMM, "--dataflow", dataflow, "--profile", "scalesim")
    got = json.loads(out)
    assert (code, got["total_cycles"], got["stall_cycles"]) == (0, cycles, 0)
    assert got["utilization"] == pytest.approx(128 * 512 * 256 / (1024 * cycles))


def test_the_command_reads_three_models_and_writes_a_trace(command: Command, tmp_path: Path) -> None:
    rows = {
        model: json.loads(command(*GEMM, "--dataflow", "os", "--model", model)[1])
        for model in ("closed", "event", "register")
    }
    assert {row["compute_cycles"] for row in rows.values()} == {16 * 8 // 2 * (256 + 32 + 32 - 2)}
    assert rows["register"]["stall_cycles"] == 0
    assert rows["event"]["dram_read_bytes"] == rows["closed"]["dram_read_bytes"]
    code, _, _ = command(*GEMM, "--timeline", str(tmp_path / "t.json"))
    assert code == 0
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--profile", "scalesim", "--model", "event"], "model must be closed under the profile scalesim, not event"),
        (["--timeline", "t.txt"], "timeline must end in .json, .csv or .parquet, not '.txt'"),
        (["--timeline", "t.json", "--model", "closed"], "model must be event for a timeline, not closed"),
        (["--model", "register", "-s", "fp32"], "must be an integer product for the model register, not fp32 by fp32"),
        (
            ["--model", "event", "--plan"],
            "must go without --plan, --costs-only and --activity measured: they read time only",
        ),
    ],
    ids=str,
)
def test_bad_combinations_are_one_clear_line(command: Command, arguments: list[str], text: str) -> None:
    code, out, err = command(*GEMM, *arguments)
    assert code != 0
    assert out == ""
    assert text in err
    assert len(err.strip().splitlines()) == 1


MACHINE = """
name: small
description: a machine of a test
source: none
technology: 45nm-horowitz
clock_mhz: 250
array: {rows: 16, columns: 16, dataflow: DATAFLOW}
accumulator: {bits: 32}
vector: {lanes: 16}
memories:
  activation: {capacity_bytes: 4096}
  weight: {capacity_bytes: WEIGHT}
  output: {capacity_bytes: 65536}
  dram: {type: LPDDR4, bandwidth_gb_per_s: BANDWIDTH, latency_ns: 100}
"""
GOOD = {"DATAFLOW": "output_stationary", "WEIGHT": "4096", "BANDWIDTH": "3.2"}


@pytest.mark.parametrize(
    ("fields", "arguments", "text"),
    [
        ({"BANDWIDTH": "0"}, [], "memories.dram.bandwidth_gb_per_s must be greater than 0, not 0"),
        (
            {"DATAFLOW": "row_stationary"},
            [],
            "'weight_stationary' or 'input_stationary', not 'row_stationary'",
        ),
        ({"WEIGHT": "16"}, [], "memories.weight.capacity_bytes must hold one tile of gemm, 16 bytes, not 8"),
        (
            {},
            ["--array", "4096x1"],
            "memories.activation.capacity_bytes must hold one tile of gemm, 4096 bytes, not 2048",
        ),
        ({}, ["--gemm", "0x4x4"], "gemm must be MxNxK in positive integers, as in 256x384x1536, not '0x4x4'"),
        ({}, ["--gemm", "4x-4x4"], "gemm must be MxNxK in positive integers, as in 256x384x1536, not '4x-4x4'"),
        ({}, ["--dataflow", "rs"], "'rs' is not one of 'os', 'ws', 'is'"),
    ],
)  # fmt: skip
def test_bad_machines_and_sizes_are_one_clear_line(
    command: Command, tmp_path: Path, fields: dict[str, str], arguments: list[str], text: str
) -> None:
    """A zero bandwidth, an unknown dataflow, a buffer too small for a tile: which, and how much it needs."""
    written = MACHINE
    for name, value in (GOOD | fields).items():
        written = written.replace(name, value)
    path = tmp_path / "small.yaml"
    path.write_text(written, encoding="utf-8")
    sizes = [] if "--gemm" in arguments else ["--gemm", "64x64x64"]
    code, out, err = command("simulate", *sizes, "-a", str(path), "--model", "closed", *arguments)
    assert (code != 0, out) == (True, "")
    assert text in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [[], ["--model", "closed"], ["--model", "event"], ["--model", "register"]], ids=str
)
def test_json_has_what_a_program_needs(command: Command, arguments: list[str]) -> None:
    got = json.loads(command("simulate", "--gemm", "32x48x40", "--array", "8x8", "--json", *arguments)[1])
    names = {"compute_cycles", "stall_cycles", "total_cycles", "utilization", "bound"}
    assert names | {"dram_read_bytes", "dram_write_bytes"} <= set(got)
    assert got["total_cycles"] == got["compute_cycles"] + got["stall_cycles"]
    assert got["compute_cycles"] == 4 * 6 * (40 + 8 + 8 - 2)
    assert got["utilization"] == pytest.approx(32 * 48 * 40 / (64 * got["total_cycles"]))
