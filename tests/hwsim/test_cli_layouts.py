"""``hwsim layouts`` from the outside: text for people, JSON for programs, exit codes for scripts."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hwsim.cli.main import main

PAIR = ["--lhs", "per_token", "--rhs", "n:1,k:128", "--size", "m=256,k=512,n=256"]


@dataclass
class Result:
    """What a shell sees."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str, columns: int = 80) -> Result:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr("sys.argv", ["hwsim", "layouts", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Result(int(stop.value.code or 0), captured.out, captured.err)

    return call


def test_one_pair_is_explained(run: Run) -> None:
    result = run("mk,kn->mn", *PAIR, "--lhs-zero", "m:1", "--rhs-zero", "n:1")
    assert result.returncode == 0
    assert result.stdout.startswith("SEGMENTED")
    for part in ("cut into 4 integer", "Zero points", "Witness (checked", "Repairs", "s_rhs[n, k/128]", "T_AW"):
        assert part in " ".join(result.stdout.split())
    assert not any(line != line.rstrip() for line in result.stdout.splitlines())
    assert "\x1b" not in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


@pytest.mark.parametrize("columns", [80, 140])
def test_the_table_fits_the_width(run: Run, columns: int) -> None:
    result = run(columns=columns)
    assert result.returncode == 0
    assert max(len(line) for line in result.stdout.splitlines()) <= columns
    assert "incompatible: no dequantization" in result.stdout
    row = next(line for line in result.stdout.splitlines() if line.startswith("m:1,k:32@pow2"))
    assert " ".join(row.split()[1:]) == "16s 16s 16s - 16f 16f 16f 16f 16f 16s 16i 32i - 16s -"
    assert ("codebook codebook" in result.stdout) == (columns == 140)


def test_json_has_the_fields_of_the_verdict(run: Run) -> None:
    result = run("mk,kn->mn", *PAIR, "--json")
    found = json.loads(result.stdout)
    expected = {
        "verdict": "segmented",
        "rescale": "float",
        "partial_sums": 4,
        "segment": 128,
        "min_run": 128,
        "needs_reorder": False,
        "accumulator_bits": 23,
        "varying": [{"operand": "rhs", "level": 0, "axis": "k", "block": 128, "kind": "real"}],
    }
    assert {name: found[name] for name in expected} == expected
    assert found["repairs"][0]["name"] == "requantize rhs"


def test_json_of_the_table_is_a_list_of_rows(run: Run) -> None:
    rows = json.loads(run("--json").stdout)
    assert len(rows) == 13 * 15
    assert {"lhs", "rhs", "verdict", "partial_sums", "repairs"} <= set(rows[0])


def test_require_decides_the_exit_code(run: Run) -> None:
    assert run(*PAIR, "--require", "segmented").returncode == 0
    result = run(*PAIR, "--require", "once")
    assert result.returncode == 1
    # the reason is on standard output, once
    assert result.stderr == "hwsim: once is required, not segmented\n"
    assert result.stdout.count("The weight scale changes every 128 steps") == 1
    found = json.loads(run(*PAIR, "--require", "once", "--json").stdout)
    assert found["explanation"].startswith("The weight scale changes every 128 steps")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lhs", "x:1"], "axis must be one of m, k, not 'x' in 'x:1'"),
        (["--lhs", "m:0"], "block must be at least 1, not m:0"),
        (["mk,kn->mn", "--lhs", "m:1", "--size", "m=4,k=4"], "sizes must give every label of mk,kn->mn, not lack n"),
        (["--size", "m=4;k=4"], "size must look like m=256,k=512,n=256, not 'm=4;k=4'"),
        (
            ["mk,kj->mn", "--lhs", "m:1"],
            "label must occur in two or three of lhs, rhs and the output, not 'j' in rhs only",
        ),
        (["mm,mn->n"], "label must occur once in lhs, not 'm' in 'mm'"),
        (["--lhs", "m:1", "--image", "x.png"], "--image and --html must go with the table of all layouts, not with"),
        (["--require", "once"], "--require must go with --lhs or --rhs"),
        (["--size", "m=1,m=2,k=3,n=4"], "size of m must be given once, not 1 and 2"),
        (
            ["conv2d"],
            "sizes must be given for conv2d, as --size b=...,c=...,h=...,w=...,o=...,r=...,s=... does",
        ),
        (["mk,kj->mj", "--lhs", "m:1"], "sizes must be given for mk,kj->mj, as --size m=...,k=...,j=... does"),
        (["--lhs", "m:1", "--lhs", "per_tensor"], "--lhs must be given once, not 2 times"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run: Run, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert re.match(f"^hwsim: {re.escape(message)}.*\n$", result.stderr)


def test_convolutions_and_loop_orders(run: Run) -> None:
    size = ["--size", "b=1,c=64,h=56,w=56,o=64,r=3,s=3"]
    found = json.loads(run("conv2d padding=1", "--lhs", "per_channel_in", *size, "--order", "crs", "--json").stdout)
    assert (found["verdict"], found["segment"], found["needs_reorder"]) == ("segmented", 9, False)
    found = json.loads(run("conv2d padding=1", "--lhs", "per_channel_in", *size, "--order", "rsc", "--json").stdout)
    assert (found["segment"], found["needs_reorder"], found["gathered"]) == (9, True, 56 * 56 * 576)


def test_pictures_are_written(run: Run, tmp_path: Path) -> None:
    image, page = tmp_path / "t.svg", tmp_path / "t.html"
    assert run("--image", str(image), "--html", str(page)).returncode == 0
    assert image.read_bytes().startswith(b"<svg")
    assert page.read_bytes().lstrip().startswith(b"<!DOCTYPE html>")


def test_help_names_the_layout_of_the_other_side(run: Run) -> None:
    text = " ".join(run("--help").stdout.split())
    assert text.count("[default: per_tensor where only the other is given]") == 2
    alone = json.loads(run("--lhs", "per_token", "--json").stdout)
    assert alone == json.loads(run("--lhs", "per_token", "--rhs", "per_tensor", "--json").stdout)
