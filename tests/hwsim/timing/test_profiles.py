"""What SCALE-Sim 3.0.0 reported for 135 products, and the arrays that it does not know."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import pytest

from hwsim.accelerator import Array
from hwsim.timing import scalesim_report

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
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        scalesim_report(*sizes, array_of(1, 1, "output_stationary", **changes))
