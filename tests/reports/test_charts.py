import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import reports
from reports.labels import CHAR_PX, LINE_PX
from reports.scatter import pareto
from tests.reports import sample

SCHEMES, METADATA = sample.schemes(), sample.metadata()


def records(chart: Any) -> list[dict[str, Any]]:
    """All rows of data anywhere in a chart's specification."""
    spec = chart.to_dict()
    found = [row for rows in spec.get("datasets", {}).values() for row in rows]

    def walk(node: object) -> None:
        if isinstance(node, dict):
            if isinstance(node.get("data"), dict):
                found.extend(node["data"].get("values", []))
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(spec)
    return found


CHARTS: dict[str, Callable[[], Any]] = {
    "error_energy": lambda: reports.error_energy_chart(SCHEMES, METADATA),
    "energy": lambda: reports.energy_chart(SCHEMES, METADATA),
    "area": lambda: reports.area_chart(SCHEMES, METADATA),
    "ratio": lambda: reports.ratio_chart(SCHEMES, METADATA),
    "layer": lambda: reports.layer_chart(sample.layers(), METADATA),
}


@pytest.mark.parametrize("name", CHARTS)
def test_every_scheme_with_a_value_is_in_every_chart_and_no_nan(name: str) -> None:
    chart = CHARTS[name]()
    json.dumps(chart.to_dict(), allow_nan=False)
    drawn = {row["scheme"] for row in records(chart) if "scheme" in row}
    values = "sqnr_db" if name in {"error_energy", "layer"} else "energy_pj"
    assert drawn == set(SCHEMES.loc[SCHEMES[values].notna(), "scheme"])


def test_the_front_is_what_no_scheme_beats() -> None:
    energy, error = SCHEMES["energy_pj"].tolist(), SCHEMES["block_sqnr_db"].tolist()
    known = [i for i in range(len(SCHEMES)) if not math.isnan(error[i])]
    expected = {i for i in known if all(energy[j] > energy[i] or error[j] < error[i] for j in known if j != i)}
    front = pareto([energy[i] for i in known], [error[i] for i in known])
    assert {known[k] for k in front} == expected
    assert [energy[known[k]] for k in front] == sorted(energy[i] for i in expected)
    lines = [row for row in records(reports.error_energy_chart(SCHEMES, METADATA)) if set(row) == {"energy", "error"}]
    assert {round(row["error"], 6) for row in lines} == {round(error[i], 6) for i in expected}


def test_equal_points_are_all_on_the_front() -> None:
    assert pareto([1.0, 1.0, 1.0, 2.0], [5.0, 5.0, 4.0, 5.0]) == [0, 1]


def test_the_scatter_falls_back_to_the_plain_error_and_needs_one() -> None:
    chart = reports.error_energy_chart(SCHEMES.drop(columns="block_sqnr_db"), METADATA)
    assert {row["error"] for row in records(chart) if "anchor" in row} == set(SCHEMES["sqnr_db"].dropna())
    with pytest.raises(ValueError, match=r"^schemes must have a row with energy_pj and a finite block_sqnr_db"):
        reports.error_energy_chart(SCHEMES.drop(columns=["block_sqnr_db", "sqnr_db"]), METADATA)


def test_one_scheme_and_infinite_errors_can_be_drawn() -> None:
    frame = pd.DataFrame({"scheme": ["a", "b"], "energy_pj": [1e6, 2e6], "sqnr_db": [30.0, math.inf]})
    assert {row["scheme"] for row in records(reports.error_energy_chart(frame)) if "scheme" in row} == {"a"}


@pytest.mark.parametrize(
    ("chart", "parts", "total"), [("energy", "energy_parts", "energy_pj"), ("area", "area_parts", "area_um2")]
)
def test_the_parts_of_a_bar_sum_to_the_whole(chart: str, parts: str, total: str) -> None:
    rows = [row for row in records(CHARTS[chart]()) if "part" in row]
    ends = {row["row"]: row["end"] for row in records(CHARTS[chart]()) if "end" in row}
    assert len({row["part"] for row in rows}) == len(METADATA[parts])
    for name, end in ends.items():
        assert sum(row["value"] for row in rows if row["row"] == name) == pytest.approx(end, rel=1e-9)
    assert ends["fp32"] == pytest.approx(SCHEMES[total].iloc[0] / 1e6)


def test_a_refused_scheme_has_a_row_that_says_so_and_no_bar() -> None:
    rows = records(reports.energy_chart(SCHEMES, METADATA))
    mine = [row for row in rows if row.get("row") == "channel-in x token"]
    assert [row["text"] for row in mine] == ["incompatible: no cost"]


def test_breakdowns_need_their_parts() -> None:
    with pytest.raises(ValueError, match=r"^metadata must list the columns to stack in energy_parts$"):
        reports.energy_chart(SCHEMES, {})
    with pytest.raises(ValueError, match=r"^schemes must have a column absent_pj, not only"):
        reports.energy_chart(SCHEMES, {"energy_parts": ["absent_pj"]})


def test_ratios_are_those_of_the_frame() -> None:
    rows = [row for row in records(reports.ratio_chart(SCHEMES, METADATA)) if row.get("scheme") == "pow2"]
    got = sorted(row["ratio"] for row in rows)
    names = ["latency_ratio", "energy_ratio", "area_ratio", "equal_area_latency_ratio", "equal_area_energy_ratio"]
    assert got == sorted(float(SCHEMES.set_index("scheme")[column]["pow2"]) for column in names)
    with pytest.raises(ValueError, match=r"^schemes must have a value in latency_ratio"):
        reports.ratio_chart(SCHEMES[["scheme"]])


def test_layers_need_a_finite_value() -> None:
    with pytest.raises(ValueError, match=r"^layers must have a finite value in sqnr_db$"):
        reports.layer_chart(sample.layers().assign(sqnr_db=math.nan))


def test_labels_of_the_scatter_do_not_overlap() -> None:
    rows = [row for row in records(reports.error_energy_chart(SCHEMES, METADATA)) if "anchor" in row]
    spec = reports.error_energy_chart(SCHEMES, METADATA).to_dict()
    x = next(layer["encoding"]["x"] for layer in spec["layer"] if layer["encoding"]["x"].get("field") == "label_x")
    y = next(
        layer["encoding"]["y"] for layer in spec["layer"] if layer["encoding"].get("y", {}).get("field") == "label_y"
    )
    (low, high), (bottom, top) = x["scale"]["domain"], y["scale"]["domain"]
    boxes = []
    for row in rows:
        px = math.log(row["label_x"] / low) / math.log(high / low) * spec["width"]
        py = (top - row["label_y"]) / (top - bottom) * spec["height"]
        wide = len(row["scheme"]) * CHAR_PX
        left = {"left": px, "center": px - wide / 2, "right": px - wide}[row["anchor"]]
        boxes.append((left, py - LINE_PX / 2, left + wide, py + LINE_PX / 2))
    assert len(boxes) == 11
    for a, b in itertools.combinations(boxes, 2):
        assert min(a[2], b[2]) <= max(a[0], b[0]) + 1e-6 or min(a[3], b[3]) <= max(a[1], b[1]) + 1e-6


def test_charts_are_saved_by_the_ending_of_the_name(tmp_path: Path) -> None:
    chart = reports.energy_chart(SCHEMES, METADATA)
    reports.save(chart, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n")
    reports.save(chart, str(tmp_path / "a.SVG"))
    assert "<svg" in (tmp_path / "a.SVG").read_text()
    assert "incompatible: no cost" in (tmp_path / "a.SVG").read_text()
    with pytest.raises(ValueError, match=r"^chart file must end in .png, .svg or .html, not '.gif'$"):
        reports.save(chart, tmp_path / "a.gif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.SVG", "a.png"]
