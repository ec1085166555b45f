"""Compiled loops against numpy's columns and single points, digit for digit."""

from __future__ import annotations

import numpy as np
import pytest

import hwsim
import workloads
from hwsim.exploration import blocks
from hwsim.timing.numbers import ceil_div, maximum
from hwsim.timing.symbols import Record
from tests.hwsim.exploration.test_sweeps import DATAFLOWS, SCHEMES, random_points, single


@pytest.mark.parametrize(("scheme", "costs"), [("w8a8-dynamic", False), *((scheme, True) for scheme in SCHEMES)])
def test_compiled_rows_are_those_of_numpy_and_of_single_points(
    scheme: str, costs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = hwsim.Accelerator.load("edge-16x16")
    points = random_points(360, 17)
    # Few variants, so that a test compiles few loops.
    points["array.dataflow"] = np.array(DATAFLOWS)[np.arange(360) % 3]
    points |= {"array.drain": ["shift"] * 360, "array.dot_depth": [1] * 360, "accumulator.bits": [32] * 360}
    points["memories.weight.double_buffered"] = [True, False] * 180
    points["array.columns"] = points["array.columns"] * 4
    # Some plans depend on the rows.
    points["array.rows"] = points["array.rows"] // 20 * 20 + 5
    network = workloads.gemm(2, 3, 5)
    columns = hwsim.explore(network, scheme, machine, points=points, costs=costs)
    monkeypatch.setattr(blocks, "COMPILED_FROM", 10)
    compiled = hwsim.explore(network, scheme, machine, points=points, costs=costs)
    assert list(columns) == list(compiled)
    assert columns["reason"].notna().any()
    assert columns["reason"].isna().sum() > 150
    for name in columns:
        assert columns[name].equals(compiled[name]), name
    for _, row in compiled[compiled["reason"].isna()].head(8).iterrows():
        totals = single(row, machine, list(points))
        for name in sorted({str(name) for name in compiled} & set(totals) - {"scheme"}):
            assert row[name] == totals[name], name


def test_buffers_beyond_their_law_keep_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = {"memories.activation.capacity_bytes": [8192, 1 << 40], "array.rows": [16, 5000], "lanes": [1, 2, 3]}
    columns = hwsim.explore(workloads.gemm(64, 64, 64), "w8a8-static", grid=grid)
    monkeypatch.setattr(blocks, "COMPILED_FROM", 1)
    compiled = hwsim.explore(workloads.gemm(64, 64, 64), "w8a8-static", grid=grid)
    for name in columns:
        assert columns[name].equals(compiled[name]), name
    assert compiled["reason"].isna().sum() == 3


def test_equal_operations_are_written_down_once() -> None:
    record = Record()
    one, other = record.column(), record.column()
    first, second = ceil_div(one, other), ceil_div(one, other)
    assert first is second
    assert [name for name, _ in record.operations] == ["input", "input", "/", "ceil"]


def test_a_branch_on_a_column_is_refused() -> None:
    record = Record()
    with pytest.raises(TypeError, match=r"^formula must choose between columns by where, not by a branch$"):
        bool(maximum(record.column(), 0) > 1)
