"""Columns against single points, reasons, order of rows, folders that go on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hwsim
import workloads
from hwsim.exploration import sweeps
from quant import Scheme

SCHEMES = ["fp32", "w8a16", "w8a8-static", "w8a8-dynamic", "w8a8-asym-weight", "w4a8-g128"]
DATAFLOWS = ["output_stationary", "weight_stationary", "input_stationary"]


def single(row: Any, machine: hwsim.Accelerator, fields: list[str]) -> dict[str, Any]:
    """One row by the front door of one point."""
    changes = {name.replace(".", "__"): plain(row[name]) for name in fields if "." in name or name == "arrays"}
    changes |= {"clock_mhz": plain(row["clock_mhz"])} if "clock_mhz" in fields else {}
    network = workloads.gemm(int(row["m"]), int(row["k"]), int(row["n"]))
    return hwsim.simulate(network, row["scheme"], machine.replace(**changes), numerics=False).totals()


def plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def random_points(count: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "m": rng.integers(1, 400, count),
        "k": rng.choice([1, 7, 64, 128, 200, 384, 1000], count),
        "n": rng.integers(1, 300, count),
        "array.rows": rng.integers(1, 40, count),
        "array.columns": rng.integers(1, 40, count),
        "array.dot_depth": rng.choice([1, 1, 4], count),
        "array.dataflow": rng.choice(DATAFLOWS, count),
        "array.drain": rng.choice(["bus", "shift"], count),
        "arrays": rng.choice([1, 1, 3], count),
        "clock_mhz": rng.choice([100.0, 333.0, 1000.0], count),
        "vector.lanes": rng.integers(1, 40, count),
        "accumulator.bits": rng.choice([24, 32], count),
        "memories.activation.capacity_bytes": rng.choice([2048, 8192, 65536, 1 << 20], count) * 8,
        "memories.weight.capacity_bytes": rng.choice([2048, 8192, 65536, 1 << 20], count) * 8,
        "memories.output.capacity_bytes": rng.choice([1024, 8192, 65536], count) * 8,
        "memories.weight.double_buffered": rng.choice([True, False], count),
        "memories.output.banks": rng.choice([1, 8], count),
        "memories.dram.bandwidth_gb_per_s": rng.choice([0.05, 0.8, 3.2, 17.3, 400.0], count),
        "memories.dram.latency_ns": rng.choice([0.0, 100.0], count),
    }


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_number_of_a_column_is_that_of_the_point_alone(scheme: str) -> None:
    machine = hwsim.Accelerator.load("edge-16x16")
    points = random_points(60, SCHEMES.index(scheme))
    frame = hwsim.explore(workloads.gemm(2, 3, 5), scheme, machine, points=points)
    ran = frame[frame["reason"].isna()]
    assert len(ran) > 20
    for _, row in frame.iterrows():
        if isinstance(row["reason"], str):
            with pytest.raises(ValueError, match=r".") as error:
                single(row, machine, list(points))
            assert str(error.value) in row["reason"]
            continue
        totals = single(row, machine, list(points))
        common = [name for name in frame if name in totals and name != "scheme"]
        assert len(common) > 20
        for name in common:
            assert row[name] == totals[name], (name, row)


@pytest.mark.parametrize("scheme", ["fp32", "w8a8-dynamic", "w4a8-g128"])
def test_a_network_of_columns_is_the_sum_of_its_layers(scheme: str) -> None:
    """Floats are added in another order, counts exactly."""
    block = workloads.load("minilm-block")
    machine = hwsim.Accelerator.load("edge-16x16").replace(
        memories__keeps_results=False, memories__prefetches_weights=False
    )
    grid = {"array.rows": [8, 24], "array.dataflow": ["output_stationary", "weight_stationary"], "lanes": [4, 16]}
    frame = hwsim.explore(block, scheme, machine, grid=grid)
    for _, row in frame.iterrows():
        changes = {
            "array__rows": row["array.rows"],
            "array__dataflow": row["array.dataflow"],
            "vector__lanes": row["vector.lanes"],
        }
        if isinstance(row["reason"], str):
            with pytest.raises(ValueError, match=re.escape(row["reason"])):
                hwsim.simulate(block, scheme, machine.replace(**changes), numerics=False)
            continue
        totals = hwsim.simulate(block, scheme, machine.replace(**changes), numerics=False).totals()
        for name in ("macs", "compute_cycles", "total_cycles", "dram_read_bytes", "verdict"):
            assert row[name] == totals[name], name
        for name in ("energy_pj", "energy_low_pj", "energy_high_pj", "sram_pj", "area_um2", "latency_us", "tops_per_w"):
            assert row[name] == pytest.approx(totals[name], rel=1e-12), name


def test_rows_are_in_the_order_of_the_grid_and_schemes_come_first() -> None:
    frame = hwsim.explore(
        workloads.gemm(8, 8, 8), ["fp32", "w8a8-static"], grid={"rows": [4, 8], "lanes": [1, 2, 3]}, costs=False
    )
    got = list(zip(frame["scheme"], frame["array.rows"], frame["vector.lanes"], strict=True))
    assert got == [(s, r, v) for s in ("fp32", "w8a8-static") for r in (4, 8) for v in (1, 2, 3)]
    assert "energy_pj" not in frame


def test_blocks_join_to_the_frame_of_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = {"m": [1, 9, 70], "array.rows": [4, 8], "array.dataflow": DATAFLOWS, "capacity": [1024, 65536]}
    grid["memories.activation.capacity_bytes"] = grid.pop("capacity")
    whole = hwsim.explore(workloads.gemm(8, 64, 8), ["fp32", "w8a8-dynamic"], grid=grid)
    monkeypatch.setattr(sweeps, "PRODUCT_BLOCK", 7)
    pieces = hwsim.explore(workloads.gemm(8, 64, 8), ["fp32", "w8a8-dynamic"], grid=grid)
    for name in whole:
        assert [str(v) for v in whole[name]] == [str(v) for v in pieces[name]], name


def test_a_folder_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "BLOCK", 4)
    grid = {"rows": [1, 2, 4], "lanes": [1, 2, 3]}
    seen: list[int] = []

    def stop(done: int, rows: int) -> None:
        assert rows == 9
        seen.append(done)
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hwsim.explore(workloads.gemm(8, 8, 8), grid=grid, folder=tmp_path / "out", progress=stop)
    first = sorted((tmp_path / "out").glob("part-*"))
    assert len(first) == 2
    times = [path.stat().st_mtime_ns for path in first]
    frame = hwsim.explore(workloads.gemm(8, 8, 8), grid=grid, folder=tmp_path / "out")
    assert [path.stat().st_mtime_ns for path in first] == times
    fresh = hwsim.explore(workloads.gemm(8, 8, 8), grid=grid)
    assert frame["energy_pj"].tolist() == fresh["energy_pj"].tolist()
    text = f"folder must be empty or hold parts of the same space, not another: {tmp_path / 'out'}"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        hwsim.explore(workloads.gemm(8, 8, 9), grid=grid, folder=tmp_path / "out")


def test_a_damaged_part_is_written_again(tmp_path: Path) -> None:
    whole = hwsim.explore(workloads.gemm(8, 8, 8), grid={"rows": [4, 8]}, folder=tmp_path / "out")
    (part,) = (tmp_path / "out").glob("part-*")
    part.write_bytes(b"\x00\xff not a part")
    again = hwsim.explore(workloads.gemm(8, 8, 8), grid={"rows": [4, 8]}, folder=tmp_path / "out")
    assert again.equals(whole)
    assert part.stat().st_size > 100


def test_a_point_that_can_not_run_says_why_and_the_others_stay() -> None:
    grid = {"memories.activation.capacity_bytes": [8192, 1 << 40], "array.rows": [16, 5000]}
    frame = hwsim.explore(workloads.gemm(64, 64, 64), "w8a8-static", grid=grid)
    assert frame["reason"].isna().tolist() == [True, False, False, False]
    assert "memories.activation.capacity_bytes must hold one tile of gemm, 5000 bytes, not 4096" in frame["reason"][1]
    assert frame["total_cycles"][0] > 0
    assert frame["total_cycles"].isna().tolist() == [False, True, True, True]


def test_an_illegal_layout_is_a_reason() -> None:
    frame = hwsim.explore(workloads.gemm(64, 64, 64), ["w8a8-channel-in", "w8a8-static"], grid={"rows": [16]})
    assert "must be dequantizable after accumulation" in frame["reason"][0]
    assert frame["reason"].isna()[1]


@pytest.mark.parametrize(
    ("grid", "text"),
    [
        ({"array.row": [8]}, "field must be one of an accelerator's, not 'array.row'; did you mean array.rows?"),
        ({"array.rows": [8, 0]}, "array.rows must be greater than 0, not 0"),
        ({"rows": [8], "array.rows": [8]}, "field must be given once, not twice: array.rows"),
        ({"m": [0]}, "m must be 1 or more, not 0"),
        ({"rows": []}, "a design space must have a point"),
    ],
    ids=str,
)
def test_bad_fields_are_one_clear_error(grid: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        hwsim.explore(workloads.gemm(8, 8, 8), grid=grid)


def test_columns_of_points_must_be_equally_long() -> None:
    text = "columns must be equally long, not array.rows 2, array.columns 3"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        hwsim.explore(workloads.gemm(8, 8, 8), points={"array.rows": [1, 2], "array.columns": [1, 2, 3]})


def test_schemes_need_different_names() -> None:
    with pytest.raises(ValueError, match=r"^schemes must be one or more of different names, not fp32, fp32$"):
        hwsim.explore(workloads.gemm(8, 8, 8), [Scheme.load("fp32"), "fp32"])
