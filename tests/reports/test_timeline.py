from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from reports import save, timeline_chart

ROWS = [("dram", "lhs", "a", 0, 8), ("array", "fold", "a", 8, 14), ("dram", "out", "a", 14, 16)]
COLUMNS = ["resource", "work", "layer", "start_cycle", "end_cycle"]


def test_a_bar_for_each_interval_and_a_row_for_each_resource(tmp_path: Path) -> None:
    chart = timeline_chart(pd.DataFrame(ROWS, columns=COLUMNS), title="one fold")
    spec = chart.to_dict()
    (values,) = spec["datasets"].values() if "datasets" in spec else (spec["data"]["values"],)
    assert [tuple(row[name] for name in COLUMNS) for row in values] == ROWS
    assert spec["encoding"]["y"]["sort"] == ["dram", "array"]
    assert spec["encoding"]["color"]["scale"]["domain"] == ["lhs", "fold", "out"]
    save(chart, tmp_path / "t.svg")
    assert "one fold" in (tmp_path / "t.svg").read_text()


def test_a_chart_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^intervals must have a row$"):
        timeline_chart(pd.DataFrame([], columns=COLUMNS))
