"""Pareto fronts against the definition, pair by pair."""

from __future__ import annotations

import re
import time

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim


def by_definition(rows: npt.NDArray[np.float64]) -> list[int]:
    kept = []
    for i, row in enumerate(rows):
        if not any((other <= row).all() and (other < row).any() for other in rows):
            kept.append(i)
    return kept


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 5), st.integers(1, 60), st.integers(1, 12), st.integers(0, 10**6))
def test_fronts_are_those_of_the_definition(columns: int, rows: int, values: int, seed: int) -> None:
    """Few distinct values, so that there are ties of every kind."""
    table = np.random.default_rng(seed).integers(0, values, (rows, columns)).astype(float)
    names = [f"c{i}" for i in range(columns)]
    front = hwsim.pareto(pd.DataFrame(table, columns=names), names)
    assert sorted(front.index.tolist()) == by_definition(table)
    assert front["c0"].is_monotonic_increasing


@pytest.mark.parametrize("columns", [2, 3, 4])
def test_larger_fronts_than_a_batch_are_those_of_the_definition(columns: int) -> None:
    """Points near a sphere: most of them are good."""
    table = np.abs(np.random.default_rng(columns).standard_normal((3000, columns)))
    table = 2 - table / np.linalg.norm(table, axis=1, keepdims=True)
    names = list("abcd"[:columns])
    front = hwsim.pareto(pd.DataFrame(table, columns=names), names)
    worse = np.ones((len(table), len(table)), bool)
    strictly = np.zeros_like(worse)
    for axis in range(columns):
        worse &= table[:, None, axis] >= table[None, :, axis]
        strictly |= table[:, None, axis] > table[None, :, axis]
    assert sorted(front.index.tolist()) == np.flatnonzero(~(worse & strictly).any(axis=1)).tolist()


def test_more_can_be_better() -> None:
    frame = pd.DataFrame({"area_um2": [1.0, 2.0, 3.0], "tops_per_w": [1.0, 5.0, 4.0]})
    assert hwsim.pareto(frame, ["area_um2"], maximize=["tops_per_w"]).index.tolist() == [0, 1]


def test_rows_without_numbers_are_left_out() -> None:
    frame = pd.DataFrame({"latency_us": [np.nan, 2.0], "energy_pj": [1.0, 2.0]})
    assert hwsim.pareto(frame, ["latency_us", "energy_pj"]).index.tolist() == [1]


def test_unknown_columns_are_one_clear_error() -> None:
    with pytest.raises(ValueError, match=f"^{re.escape('columns must be of the frame, not speed')}$"):
        hwsim.pareto(pd.DataFrame({"a": [1.0]}), ["speed"])


def test_a_hundred_thousand_points_take_about_a_second() -> None:
    """Bound with room for a busy machine; pairs alone would be 10**10 comparisons."""
    table = np.random.default_rng(0).random((100_000, 3))
    start = time.process_time()
    front = hwsim.pareto(pd.DataFrame(table, columns=list("abc")), list("abc"))
    assert time.process_time() - start < 5
    assert 20 < len(front) < 500
