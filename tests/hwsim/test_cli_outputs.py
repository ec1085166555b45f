"""What a command writes and where: one format a stream, endings that fit, names that the user gave."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from hwsim.cli import main as entry
from hwsim.cli.shared import write_frame, write_text


class Call(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Call]
GEMM = ("compare", "operands.npz", "-s", "w8a8-static", "--costs-only")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Call the entry point in this process, in a folder with an operands file, 80 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    rng = np.random.default_rng(7)
    lhs, rhs = rng.standard_normal((5, 131)), rng.standard_normal((131, 7))
    np.savez("operands.npz", lhs=lhs.astype("f4"), rhs=rhs.astype("f4"))

    def call(*arguments: str) -> Call:
        monkeypatch.setattr(sys, "argv", ["hwsim", *arguments])
        code: Any = 0
        try:
            entry.main()
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return Call(int(code or 0), captured.out, captured.err)

    return call


@pytest.mark.parametrize("silencer", [("--json",), ("--csv", "-")], ids=" ".join)
def test_the_picture_is_written_whatever_goes_to_standard_output(silencer: tuple[str, ...], run: Run) -> None:
    shown = run(*GEMM, "--svg", "shown.svg")
    assert shown.code == 0
    assert "In short" in shown.out
    code, out, _ = run(*GEMM, *silencer, "--svg", "silent.svg")
    assert code == 0
    assert "In short" not in out
    assert Path("silent.svg").read_text(encoding="utf-8").startswith("<svg")
    # The generated identifiers are a hash of the text, so that equal pictures are equal files.
    assert Path("silent.svg").read_bytes() == Path("shown.svg").read_bytes()


def test_json_is_an_object_of_what_was_asked_for(run: Run) -> None:
    _, plain, _ = run(*GEMM, "--json")
    rows = json.loads(plain)
    assert [row["scheme"] for row in rows] == ["fp32", "w8a8-static"]
    _, out, _ = run(*GEMM, "--json", "--explain", "--per-layer")
    found = json.loads(out)
    assert list(found) == ["schemes", "layers", "explanation", "near_ties"]
    assert found["schemes"] == rows
    assert [(row["scheme"], row["layer"]) for row in found["layers"]] == [("fp32", "gemm"), ("w8a8-static", "gemm")]
    energy = [row for row in found["explanation"] if row["quantity"] == "energy_pj"]
    assert sum(row["value"] for row in energy) == pytest.approx(rows[1]["energy_pj"])
    _, out, _ = run(*GEMM, "--json", "--per-layer")
    assert list(json.loads(out)) == ["schemes", "layers"]
    _, out, _ = run(*GEMM, "--json", "-t", "45nm-horowitz", "--advantages")
    found = json.loads(out)
    assert list(found) == ["schemes", "technologies", "advantages", "losses"]
    assert found.pop("losses") == [], "a static scheme loses nothing"
    assert all(found.values())


def test_per_layer_files_keep_rows_of_one_kind(run: Run) -> None:
    run(*GEMM, "--per-layer", "--csv", "layers.csv")
    run(*GEMM, "--explain", "--csv", "schemes.csv")
    assert "layer" in pd.read_csv("layers.csv")
    assert "layer" not in pd.read_csv("schemes.csv")


@pytest.mark.parametrize(
    ("command", "option", "name", "endings"),
    [
        ("compare", "--csv", "x.parquet", ".csv"),
        ("compare", "--csv", "x.json", ".csv"),
        ("compare", "--parquet", "x.csv", ".parquet"),
        ("compare", "--svg", "x.png", ".svg"),
        ("compare", "--html", "x.txt", ".html or .htm"),
        ("explore", "--csv", "x.parquet", ".csv"),
        ("explore", "--parquet", "x.csv", ".parquet"),
        ("area", "--csv", "x.json", ".csv"),
        ("simulate", "--csv", "x.parquet", ".csv"),
        ("claims", "--csv", "x.txt", ".csv"),
        ("claims", "--markdown", "x.html", ".md"),
        ("qat", "--csv", "x.json", ".csv"),
        ("layouts", "--image", "x.bmp", ".png or .svg"),
        ("layouts", "--html", "x.svg", ".html"),
    ],
)
def test_an_ending_that_the_option_does_not_write_is_refused_at_once(
    command: str, option: str, name: str, endings: str, run: Run
) -> None:
    code, out, err = run(command, option, name)
    assert (code, out) == (2, "")
    assert f"Invalid value for '{option}': file must end in {endings}, not '{Path(name).suffix}'" in err
    assert not Path(name).exists()


def test_a_file_without_an_ending_is_named(run: Run) -> None:
    assert "file must end in .parquet, not 'rows'" in run("compare", "--parquet", "rows").err


@pytest.mark.parametrize("command", ["compare", "explore", "area", "simulate", "claims", "qat"])
def test_two_formats_do_not_share_standard_output(command: str, run: Run) -> None:
    code, out, err = run(command, "--json", "--csv", "-")
    assert (code, out) == (2, "")
    assert err == "hwsim: --json and --csv - must not be given together: both print to standard output\n"


@pytest.mark.parametrize(("option", "name"), [("--html", "none/x.html"), ("--csv", "none/x.csv")])
def test_a_missing_folder_is_said_with_the_name_given(option: str, name: str, run: Run) -> None:
    code, out, err = run("compare", option, name)
    assert (code, out) == (2, "")
    assert f"{name} must be in a folder that exists, not in none" in err
    assert ".part" not in err


def test_a_write_that_fails_names_the_file_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        write_text(tmp_path / "none" / "x.svg", "text")
    assert caught.value.filename == str(tmp_path / "none" / "x.svg")

    def full(_: pd.DataFrame, path: Path, **__: Any) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_frame(pd.DataFrame({"a": [1]}), tmp_path / "x.csv")
    assert caught.value.filename == str(tmp_path / "x.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["compare", "area"])
def test_an_option_of_one_value_is_given_once(command: str, run: Run) -> None:
    code, out, err = run(command, "-a", "edge-16x16", "-a", "tpu-v1")
    assert (code, out) == (2, "")
    assert "--accelerator" in err
    assert "once" in err


def test_area_shares_are_percents_that_sum_to_the_whole(run: Run) -> None:
    code, out, _ = run("area", "-s", "w8a8-static", "--csv", "parts.csv")
    assert code == 0
    shares = pd.read_csv("parts.csv")["area_share"]
    table = out.split("Together and alone")[0].splitlines()
    assert [line.split()[-1] for line in table[1:4]] == ["area", "share", "%"]
    shown = [found[1] for line in table[5:] if (found := re.search(r" (\d+\.\d)$", line))]  # names may take two lines
    assert shown == [f"{100 * share:.1f}" for share in shares]
