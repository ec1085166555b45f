"""Networks whose layers leave tensors on chip: columns against single points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import hwsim
import workloads
from hwsim.exploration import blocks
from hwsim.exploration.chains import Asked, MisfitError, Together, Watch
from hwsim.exploration.variants import of_columns
from hwsim.timing import Machine, closed_form
from quant import Scheme
from tests.hwsim.exploration.test_sweeps import plain


def random_points(count: int) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    return {
        "array.rows": rng.choice([8, 32], count),
        "array.columns": rng.choice([8, 16, 32], count),
        "array.dataflow": rng.choice(["output_stationary", "weight_stationary"], count),
        "vector.lanes": rng.choice([4, 64], count),
        "memories.activation.capacity_bytes": rng.choice([8192, 131072, 262144, 1 << 20], count),
        "memories.weight.capacity_bytes": rng.choice([8192, 65536], count),
        "memories.dram.bandwidth_gb_per_s": rng.choice([0.5, 3.0, 64.0], count),
    }


@pytest.mark.parametrize(
    ("scheme", "keeps", "prefetches"),
    [("w8a8-static", True, True), ("w8a8-dynamic", True, False), ("w8a8-static", False, True)],
)
def test_points_that_decide_alike_are_those_of_their_own(scheme: str, keeps: bool, prefetches: bool) -> None:
    block = workloads.load("minilm-block")
    machine = hwsim.Accelerator.load("edge-16x16").replace(
        memories__keeps_results=keeps, memories__prefetches_weights=prefetches
    )
    points = random_points(120)
    # Half of the output buffer is too small for the sums of the widest arrays.
    points["array.columns"][::10] = 512
    points["memories.output.capacity_bytes"] = np.where(np.arange(120) % 10 == 0, 8192, 65536)
    frame = hwsim.explore(block, scheme, machine, points=points)
    small = frame["reason"].notna()
    assert 0 < small.sum() < 20
    assert frame["traffic_bytes"].nunique() > 4
    for _, row in frame[small].head(3).iterrows():
        with pytest.raises(ValueError, match=r"^memories\.output\.capacity_bytes must hold one tile") as error:
            hwsim.simulate(block, scheme, changed(machine, row, points), numerics=False)
        assert str(error.value) == row["reason"]
    for _, row in frame[~small].iloc[::7].iterrows():
        totals = hwsim.simulate(block, scheme, changed(machine, row, points), numerics=False).totals()
        common = [name for name in frame if name in totals and name != "scheme"]
        assert len(common) > 20
        assert {name: row[name] for name in common} == {name: totals[name] for name in common}


def changed(machine: hwsim.Accelerator, row: Any, points: dict[str, Any]) -> hwsim.Accelerator:
    return machine.replace(**{name.replace(".", "__"): plain(row[name]) for name in points})


def test_few_points_are_read_one_by_one_with_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    block = workloads.load("minilm-block")
    machine = hwsim.Accelerator.load("edge-16x16").replace(memories__keeps_results=True)
    points = random_points(24)
    columns = hwsim.explore(block, "w8a8-static", machine, points=points)
    monkeypatch.setattr(blocks, "_FEW", 1000)
    alone = hwsim.explore(block, "w8a8-static", machine, points=points)
    for name in columns:
        assert columns[name].equals(alone[name]), name


def test_a_network_that_no_machine_can_lower_says_why() -> None:
    block = workloads.load("minilm-block")
    machine = hwsim.Accelerator.load("edge-16x16").replace(memories__keeps_results=True)
    frame = hwsim.explore(block, "w8a8-channel-in", machine, grid={"lanes": list(range(1, 12))}, costs=False)
    with pytest.raises(ValueError, match=r"^scale layouts of") as error:
        hwsim.simulate(block, "w8a8-channel-in", machine, numerics=False)
    assert frame["reason"].tolist() == [str(error.value)] * 11


def test_those_that_agree_with_most_go_on_together() -> None:
    together = Together(np.arange(6))
    number = 1 + Asked(together, np.array([1, 5, 5, 5, 1, 5]), 6)
    assert number > 3
    assert together.rows.tolist() == [1, 2, 3, 5]
    assert not number <= 5
    assert together.rows.tolist() == [1, 2, 3, 5]
    assert number >= Asked(together, np.array([0, 0, 9, 0, 0, 0]), 6)
    assert together.rows.tolist() == [1, 3, 5]
    assert not number < 6


def test_a_tensor_that_leaves_no_room_for_tiles_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_FEW", 1)
    block, tensor = workloads.load("minilm-block"), 98304
    machine = hwsim.Accelerator.load("edge-16x16").replace(memories__keeps_results=True)
    grid = {"memories.activation.capacity_bytes": [tensor, tensor + 64, tensor + 1024], "array.rows": [8, 64, 128]}
    frame = hwsim.explore(block, "w8a8-static", machine, grid=grid, costs=False)
    assert frame["reason"].isna().all()
    for _, row in frame.iterrows():
        totals = hwsim.simulate(block, "w8a8-static", changed(machine, row, grid), numerics=False).totals()
        for name in ("total_cycles", "traffic_bytes"):
            assert row[name] == totals[name], name


def test_points_whose_tiles_fit_part_from_the_others() -> None:
    layer, machine = workloads.gemm(64, 64, 64).layers[0], hwsim.Accelerator.load("edge-16x16")
    plan = hwsim.lower(layer, Scheme.load("w8a8-static"), machine)
    rows = np.array([8.0, 1 << 20, 16.0])
    watch = Watch(Machine.of(of_columns(machine, {"array.rows": rows})), 3)
    (cycles,) = watch.times([plan])
    assert watch.together.rows.tolist() == [0, 2]
    found = np.broadcast_to(cycles.total_cycles.values, 3)[[0, 2]].tolist()
    assert found == [closed_form(plan, machine.replace(array__rows=int(one))).total_cycles for one in (8, 16)]
    watch.together = Together(np.array([1]))
    with pytest.raises(MisfitError, match=r"^buffers must hold one tile of gemm$"):
        watch.times([plan])
