"""``hwsim explore`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hwsim.cli import main as entry
from hwsim.cli.explore import explore

GEMM = ["--gemm", "64x64x64"]


def run(*arguments: str, width: int = 140) -> str:
    result = CliRunner().invoke(explore, [*GEMM, *arguments], env={"COLUMNS": str(width)}, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_rows_as_json_have_the_fields_and_the_numbers() -> None:
    rows = json.loads(run("--set", "array.rows=8:32:x2", "--set", "lanes=4:8:+4", "--json"))
    assert [(row["array.rows"], row["vector.lanes"]) for row in rows] == [(r, v) for r in (8, 16, 32) for v in (4, 8)]
    assert all(row["total_cycles"] > 0 and row["energy_pj"] > 0 and row["reason"] is None for row in rows)


def test_the_best_come_first() -> None:
    rows = json.loads(run("--set", "rows=4,8,16", "--set", "columns=4,8,16", "--top", "3", "--by", "edp", "--json"))
    products = [row["energy_delay_pj_s"] for row in rows]
    assert len(rows) == 3
    assert products == sorted(products)


def test_a_front_beats_what_is_not_in_it() -> None:
    everything = json.loads(run("--set", "rows=4,8,16", "--set", "columns=4,8", "--json"))
    front = json.loads(run("--set", "rows=4,8,16", "--set", "columns=4,8", "--pareto", "--json"))
    costs = [tuple(row[name] for name in ("latency_us", "energy_pj", "area_um2")) for row in everything]
    good = [c for c in costs if not any(all(a <= b for a, b in zip(o, c, strict=True)) and o != c for o in costs)]
    assert sorted(good) == sorted(tuple(row[n] for n in ("latency_us", "energy_pj", "area_um2")) for row in front)


@pytest.mark.parametrize("width", [80, 140])
def test_the_table_fits_its_width_and_tells_what_can_not_run(width: int) -> None:
    text = run(
        "-s", "w8a8-static,fp32", "--set", "rows=8,16", "--set", "memories.activation.capacity_bytes=8192,2048",
        width=width,
    )  # fmt: skip
    assert max(map(len, text.splitlines())) <= width or "capacity_bytes" in max(text.splitlines(), key=len)
    assert "8 points, 4 can not run" in text
    assert "rows" in text
    assert "capacity_bytes of a bank must be in" in " ".join(text.split())


def test_files_hold_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    run("--set", "rows=8,16", "--csv", str(path))
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("scheme,array.rows,verdict,macs,")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--set", "array.row=8"], "field must be one of an accelerator's, not 'array.row'; did you mean array.rows?"),
        (["--set", "rows"], "--set must look like array.rows=8,16 or array.rows=8:64:x2, not 'rows'"),
        (["--set", "rows=64:8:x2"], "range must rise, as 4:64:x2 or 4:64:+4 do, not 64:8:x2"),
        (["--set", "rows=1:9999999:+1"], "range must have at most 1,048,576 values, not more: 1:9999999:+1"),
        (
            ["--set", "rows=1:9000:+1", "--set", "columns=1:9000:+1"],
            "points must be at most 16,777,216 without a folder for parts, not 81,000,000",
        ),
        (["--set", "rows=8", "--by", "edq"], "--by must be a column of numbers, not 'edq'; did you mean edp?"),
        (
            ["--workload", "minilm-block"],
            "must be given by --workload or by --gemm, not both minilm-block and 64x64x64",
        ),
    ],
    ids=str,
)
def test_bad_input_is_one_clear_line(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["hwsim", "explore", *GEMM, *arguments])
    with pytest.raises(SystemExit) as stop:
        entry.main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
