"""Claims as a table for any width and as a page."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from reports import claims_markdown, claims_table
from reports.grid import Grid
from tests.reports.render import rendered

FRAME = pd.DataFrame(
    {
        "topic": ["rounding", "rounding", "codes"],
        "ids": ["N10 N16", "N12", "N45"],
        "claim": ['Nearest: accuracy "Good"', "Floor | fastest", "log2 k bits_"],
        "verdict": ["holds only when", "holds", "not measured"],
        "result": ["0.25 steps of bias", "0 pJ", ""],
        "condition": ["when: a. Not when: b", "", "needs torch: pip install it"],
        "data": ["many values", "one node", "one node"],
        "name": ["nearest", "floor", "bits"],
    }
)
CASES = pd.DataFrame(
    {
        "name": ["nearest", "nearest", "floor"],
        "when": ["ties go to even", "ties go up", "built as hardware"],
        "result": ["0.001 steps of bias", "0.25 steps of bias", "0 pJ"],
        "holds": [True, False, True],
    }
)


def lines(table: Grid, width: int) -> list[str]:
    return rendered(table, width).splitlines()


@pytest.mark.parametrize("width", [50, 80, 140])
def test_a_table_keeps_to_its_width_and_names_every_claim(width: int) -> None:
    shown = lines(claims_table(FRAME, CASES, width), width)
    assert max(map(len, shown)) <= width
    text = "\n".join(shown)
    assert "3 claims: 1 holds, 1 holds only when, 1 not measured" in " ".join(text.split())
    for one in ("N10 N16", "N12", "N45", "Rounding", "Codes"):
        assert one in text
    assert text.index("Rounding") < text.index("N12") < text.index("Codes") < text.index("N45")


def test_conditions_stand_under_claims_that_hold_in_part() -> None:
    shown = [line.strip() for line in lines(claims_table(FRAME, CASES, 100), 100)]
    assert "when: ties go to even (0.001)" in shown
    assert "not: ties go up (0.25)" in shown
    assert not any("built as hardware" in line for line in shown)
    assert "needs torch: pip install it" in shown


def test_details_are_every_case_and_the_data() -> None:
    shown = [line.strip() for line in lines(claims_table(FRAME, CASES, 100, detail=True), 100)]
    assert "yes  ties go to even: 0.001 steps of bias" in shown
    assert "no   ties go up: 0.25 steps of bias" in shown
    assert "yes  built as hardware: 0 pJ" in shown
    assert shown.count("on: one node") == 2


def test_a_page_escapes_its_cells() -> None:
    tables = {"A table": (pd.DataFrame({"mode": ["floor"], "energy_pj": [2.5]}), "What it shows.")}
    page = claims_markdown(FRAME, CASES, tables, ["Made by a test."])
    rows = [line for line in page.splitlines() if line.startswith("| N")]
    assert rows == [
        '| N10 N16 | Nearest: accuracy "Good" | **holds only when** '
        "| yes: ties go to even: 0.001 steps of bias<br>**no**: ties go up: 0.25 steps of bias |",
        r"| N12 | Floor \| fastest | **holds** | built as hardware: 0 pJ |",
        r"| N45 | log2 k bits\_ | **not measured** | needs torch: pip install it |",
    ]
    assert "- N10, N16: many values." in page
    assert "- N12: one node." in page
    assert "## A table\n\n| mode | energy pJ |\n| --- | ---: |\n| floor | 2.50 |\n\nWhat it shows.\n" in page


def test_a_missing_column_is_named() -> None:
    text = "frame must have a column verdict, not only"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}"):
        claims_table(FRAME.drop(columns="verdict"), CASES)
    with pytest.raises(ValueError, match=r"^cases must have a column holds, not only"):
        claims_markdown(FRAME, CASES.drop(columns="holds"), {}, [])
