"""Columns of points: checked as their values are one by one, told apart, and never the caller's own memory."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import hwsim
import workloads
from hwsim.exploration.fields import COLUMNS, checked_values
from hwsim.exploration.values import Values, told_apart


def found_by_each(path: str, column: np.ndarray) -> list[Any] | str:
    try:
        return checked_values(path, list(dict.fromkeys(column.tolist())))
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("path", [*sorted(COLUMNS), "m", "array.dot_depth"])
@pytest.mark.parametrize(
    "column",
    [
        [3, 1, 2], [3, 0, 2, -1], [-5], [1.5, 2.0], [0.0, 4.0], [2.0, np.nan], [np.inf, 1.0], [True, False],
        [1 << 60, 1], [4.0, 8.0], np.array([5, 7], np.uint8), np.array([0.25, 2], np.float32),
    ],
)  # fmt: skip
def test_a_column_keeps_the_rule_of_its_field_where_each_value_does(path: str, column: Any) -> None:
    array = np.asarray(column)
    wanted = found_by_each(path, array)
    if isinstance(wanted, str):
        with pytest.raises(ValueError, match=f"^{re.escape(wanted)}$"):
            Values.of_column(path, array)
        return
    values = Values.of_column(path, array)
    listed, codes = values.distinct
    assert [listed[code] for code in codes] == checked_values(path, array.tolist())
    assert all(type(one) is type(other) for one, other in zip(sorted(listed), sorted(wanted), strict=True))


@pytest.mark.parametrize("different", [1, 3, 16, 17, 40])
def test_words_are_told_apart(different: int) -> None:
    words = np.array([f"word-{i}" for i in range(different)])
    column = words[np.random.default_rng(different).integers(0, different, 300)]
    values, codes = told_apart(column)
    assert [values[code] for code in codes] == column.tolist()
    assert len(values) == len(set(column.tolist()))


def test_changing_a_frame_changes_no_points() -> None:
    points = {"m": np.array([8, 16]), "memories.dram.bandwidth_gb_per_s": np.array([1.0, 2.0])}
    frame = hwsim.explore(workloads.gemm(2, 3, 5), points=points)
    frame.loc[0, ["m", "memories.dram.bandwidth_gb_per_s"]] = 99
    assert points["m"].tolist() == [8, 16]
    assert points["memories.dram.bandwidth_gb_per_s"].tolist() == [1.0, 2.0]


def test_no_bandwidth_of_its_own_is_a_value_of_points_as_of_a_grid() -> None:
    path = "memories.dram.weight_bandwidth_gb_per_s"
    wanted = hwsim.explore(workloads.gemm(64, 512, 256), grid={path: [None, 0.5, 3.0]})
    points = hwsim.explore(workloads.gemm(64, 512, 256), points={path: np.array([None, 0.5, 3.0], object)})
    assert points.equals(wanted)
    assert wanted["total_cycles"].nunique() == 3
