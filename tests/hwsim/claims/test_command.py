"""``hwsim claims`` as a user calls it."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hwsim.claims import Finding, findings
from hwsim.cli import main as entry


class Call(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Call]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Call the entry point in this process, in a folder of its own, 80 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str) -> Call:
        monkeypatch.setattr(sys, "argv", ["hwsim", "claims", *arguments])
        with pytest.raises(SystemExit) as stop:
            entry.main()
        captured = capsys.readouterr()
        return Call(int(stop.value.code or 0), captured.out, captured.err)

    return call


def test_a_claim_is_one_row_with_its_conditions(run: Run) -> None:
    code, out, err = run("--only", "N19")
    assert (code, err) == (0, "")
    assert "1 claim: 1 holds only when" in out
    assert "Linear quantization" in out
    assert "when: the range contains 0, -1..3" in out
    assert "not: the range is 2..5 (2)" in out
    assert max(map(len, out.splitlines())) <= 80


def test_cases_show_every_number_and_the_data(run: Run) -> None:
    out = run("--only", "ten_ninety", "--cases").out
    assert sum(line.lstrip().startswith(("yes ", "no ")) for line in out.splitlines()) == 6
    assert "on: 65,536 values (seed 7)" in out


def test_json_has_claims_and_cases(run: Run) -> None:
    data: dict[str, Any] = json.loads(run("--only", "N18", "-o", "C24", "--json").out)
    assert list(data) == ["claims", "cases"]
    assert [row["name"] for row in data["claims"]] == ["literal_scale", "never_as_accurate"]
    assert {case["name"] for case in data["cases"]} == {"literal_scale", "never_as_accurate"}
    assert all(isinstance(case["holds"], bool) for case in data["cases"])


def test_json_has_tables_where_asked(run: Run) -> None:
    data = json.loads(run("--only", "N18", "--tables", "--json").out)
    assert list(data) == ["claims", "cases", "rounding", "zero_points", "strategies", "training"]
    assert data["rounding"][0]["rounding"] == "floor"


def test_csv_goes_to_standard_output_or_a_file(run: Run, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("--only", "N18", "--csv", "-").out)))
    assert [row["verdict"] for row in rows] == ["holds only when"]
    assert run("--only", "N18", "--csv", "claims.csv").code == 0
    assert list(csv.DictReader(io.StringIO((tmp_path / "claims.csv").read_text()))) == rows


def test_a_page_is_written(run: Run, tmp_path: Path) -> None:
    assert run("--only", "ten_ninety", "--markdown", "page.md").err == "wrote page.md\n"
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# Claims, measured\n")
    assert "`hwsim claims --only ten_ninety --markdown docs/claims.md`" in page
    row = next(line for line in page.splitlines() if line.startswith("| N22 |"))
    assert "**holds only when**" in row
    assert row.count("<br>") == 5
    assert row.replace("\\|", "").count("|") == 5


def test_an_unknown_claim_is_one_line(run: Run) -> None:
    code, out, err = run("--only", "N99")
    assert (code, out) == (2, "")
    assert err.startswith("hwsim: claim must be an id, a name or a topic, not 'N99'; did you mean N")
    assert err.count("\n") == 1


def test_an_interrupt_keeps_what_is_measured(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*arguments: Any) -> Iterator[Finding]:
        yield next(findings(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr("hwsim.claims.runner.findings", interrupted)
    monkeypatch.setattr("hwsim.claims.findings", interrupted, raising=False)
    code, out, err = run("--only", "N18", "--only", "ten_ninety", "--markdown", "page.md")
    assert code == 130
    assert "1 claim: 1 holds only when" in out
    assert err == "hwsim: interrupted\n"
    assert not (tmp_path / "page.md").exists()
