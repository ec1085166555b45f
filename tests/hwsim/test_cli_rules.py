"""Options that go together or must not, and what the printed tables say, as a user sees it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hwsim.cli import main as entry


class Call(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Standard output on one line, as wrapping is not what is tested."""
        return " ".join(self.out.split())


Run = Callable[..., Call]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Call the entry point in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, columns: int = 80) -> Call:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["hwsim", *arguments])
        code: Any = 0
        try:
            entry.main()
        except SystemExit as stop:
            code = stop.code
        captured = capsys.readouterr()
        return Call(int(code or 0), captured.out, captured.err)

    return call


GEMM = ("simulate", "--gemm", "16x16x16")
SWEEP = ("explore", "--gemm", "16x16x16")

REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "two schemes to simulate": (
        (*GEMM, "-s", "fp16", "--scheme", "fp32"),
        "--scheme must be given once, not 2 times (see hwsim simulate --help)",
    ),
    "two accelerators": ((*GEMM, "-a", "tpu-v1", "-a", "edge-16x16"), "--accelerator must be given once, not 2 times"),
    "two products": ((*GEMM, "--gemm", "4x5x6"), "--gemm must be given once"),
    "two sizes of explore": (("explore", "--top", "1", "--top", "2"), "--top must be given once"),
    "measured activity of no numerics": (
        (*GEMM, "--costs-only", "--activity", "measured"),
        "--activity measured must go without --costs-only",
    ),
    "measured activity of time": ((*GEMM, "--model", "closed", "--activity", "measured"), "they read time only"),
    "csv and json": ((*GEMM, "--csv", "-", "--json"), "--json and --csv - must not be given together"),
    "csv and plan": ((*GEMM, "--csv", "-", "--plan"), "--plan and --csv - must not be given together"),
    "a value twice": ((*SWEEP, "--set", "rows=8,16,8"), "values of --set rows must differ, not be 8 twice"),
    "a dataflow twice": ((*SWEEP, "--set", "dataflow=os,output_stationary"), "must differ, not be output_stationary"),
    "a size of a network": (("explore", "--set", "m=3,4"), "field m must vary with one product only (--gemm MxNxK)"),
    "two presets": (("presets", "edge-16x16", "fp16"), "presets must be given one name, not edge-16x16 and fp16"),
    "no technology": (("presets", "technology"), "technology must be followed by a name or a .yaml file; known: 130nm"),
    "strange preset": (("presets", "zzz"), "preset must exist, not 'zzz'; hwsim presets lists them"),
    "nearly a workload": (("presets", "resnet-50"), "did you mean resnet50?"),
    "nearly a technology": (("presets", "45nm-horowtz"), "did you mean 45nm-horowitz?"),
    "too long a text": (("presets", "gpt2-prefill-5000"), "1024"),
    "order by what is left out": (
        (*SWEEP, "--set", "rows=8", "--time-only", "--by", "area"),
        "--by area must go without --time-only, which leaves energy and area out",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_refused(case: str, run: Run) -> None:
    arguments, expected = REFUSED[case]
    code, out, err = run(*arguments)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("hwsim: ")
    assert expected in err


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    "arguments", [("compare", "--costs-only", "-s", "w8a8-static"), ("presets",), (*GEMM, "--costs-only")]
)
def test_no_line_ends_in_a_blank(arguments: tuple[str, ...], columns: int, run: Run) -> None:
    lines = run(*arguments, columns=columns).out.splitlines()
    assert len(lines) > 5
    assert [line for line in lines if line != line.rstrip()] == []


def test_colours_follow_the_last_word(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = run("compare", "--costs-only", "-s", "w8a8-static").out
    assert "\x1b[" in out
    assert not re.search(r" (\x1b\[[0-9;]*m)*\n", out)


def test_options_of_many_values_and_flags_may_be_repeated(run: Run) -> None:
    assert run(*GEMM, "--json", "--json", "--costs-only").code == 0


# ---- compare ----


@pytest.mark.parametrize("columns", [80, 140])
def test_near_ties_are_counted_in_short_and_named_where_asked(columns: int, run: Run) -> None:
    arguments = ("compare", "--costs-only", *(word for name in ("pow2", "w8a8-asym-weight") for word in ("-s", name)))
    short = run(*arguments, columns=columns)
    assert "- Neighbours closer than the sources agree: 1 in " in short.text
    assert "pow2 and w8a8-asym-weight" not in short.text
    long = run(*arguments, "--explain", columns=columns)
    assert "Closer in energy-delay product than the sources agree" in long.out
    assert max(map(len, long.out.splitlines())) <= columns
    rows = json.loads(run(*arguments, "--explain", "--json").out)["near_ties"]
    assert {row["quantity"] for row in rows} >= {"energy_delay_pj_s"}
    assert all(row["low"] <= 0 <= row["difference"] <= row["high"] for row in rows)


# ---- simulate ----


@pytest.mark.parametrize("columns", [80, 140])
def test_simulate_prints_both_errors_of_the_whole(columns: int, run: Run) -> None:
    arguments = ("simulate", "minilm-block", "-s", "w8a8-dynamic")
    found = json.loads(run(*arguments, "--json").out)
    whole = run(*arguments, columns=columns).out.partition("In all")[2]
    words = whole.split()
    assert words.count("SQNR") == 2
    assert "block" in words
    assert f"{found['sqnr_db']:.1f}" in words
    assert f"{found['block_sqnr_db']:.1f}" in words
    assert max(map(len, whole.splitlines())) <= columns


def test_costs_alone_have_no_errors(run: Run) -> None:
    assert "SQNR" not in run(*GEMM, "--costs-only").out


@pytest.mark.parametrize("model", [(), ("--model", "closed")])
@pytest.mark.parametrize(
    ("changes", "place"),
    [
        (("--array", "32x32", "--dataflow", "ws"), "edge-16x16 with a 32x32 ws array"),
        (("--array", "8x4"), "edge-16x16 with an 8x4 array"),
        (("--dataflow", "is"), "edge-16x16 with an is array"),
        ((), "edge-16x16"),
    ],
)
def test_the_title_names_what_is_changed(
    changes: tuple[str, ...], place: str, model: tuple[str, ...], run: Run
) -> None:
    title = run(*GEMM, *changes, *(model or ("--costs-only",)), columns=140).out.splitlines()[0]
    assert title.endswith(f" under w8a8-static on {place}")


def test_plans_are_a_part_of_the_json(run: Run) -> None:
    found = json.loads(run(*GEMM, "--plan", "--json", "--costs-only").out)
    assert found["layers"][0]["plan"][0] == "gemm under w8a8-static: once"
    assert any(line.strip().startswith("MultiplyAccumulate: 4,096 x ") for line in found["layers"][0]["plan"])
    assert "plan" not in json.loads(run(*GEMM, "--json", "--costs-only").out)["layers"][0]


def test_plans_keep_to_the_width(run: Run) -> None:
    out = run("simulate", "minilm-block", "-s", "w4a8-g128", "--plan", "--costs-only").out
    assert max(map(len, out.splitlines())) <= 80
    whole = run("simulate", "minilm-block", "-s", "w4a8-g128", "--plan", "--costs-only", columns=400).out
    assert " ".join(out.split()) == " ".join(whole.split())


def test_help_says_that_a_timeline_is_of_the_event_model(run: Run) -> None:
    assert "--timeline FILE Time only, by the event model" in run("simulate", "--help").text


# ---- explore ----


def test_explore_prints_reasons_whole_and_fails_when_every_point_does(run: Run) -> None:
    code, out, err = run(*SWEEP, "-s", "w8a8-channel-in", "--set", "array.rows=8")
    assert code == 2
    assert out.startswith("1 point, 1 can not run.\n")
    assert "divide lhs by s[k] and multiply rhs by it" in " ".join(out.split())
    assert err == "hwsim: a point must be able to run, not none of 1 point\n"
    code, out, _ = run(*SWEEP, "-s", "w8a8-channel-in", "--set", "array.rows=8", "--json")
    assert code == 2
    assert "s[k]" in json.loads(out)[0]["reason"]


def test_explore_says_which_points_fail(run: Run) -> None:
    found = run(*SWEEP, "--set", "memories.activation.capacity_bytes=1,16,262144", "--set", "array.rows=8,16")
    assert found.code == 0
    assert "6 points, 4 can not run." in found.out
    assert "- 2 points with capacity_bytes 1: memories.activation:" in found.text
    assert "- 2 points with capacity_bytes 16: memories.activation:" in found.text
    found = run(*SWEEP, "--set", "array.rows=8", "-s", "w8a8-static,w8a8-channel-in")
    assert "- 1 point with scheme w8a8-channel-in: " in found.text


def test_explore_takes_the_short_names_of_dataflows(run: Run) -> None:
    whole = ("output_stationary", "weight_stationary", "input_stationary")
    short, long = (
        json.loads(run(*SWEEP, "--set", f"array.dataflow={','.join(names)}", "--json").out)
        for names in (("os", "ws", "is"), whole)
    )
    assert [row["array.dataflow"] for row in short] == list(whole)
    assert short == long


@pytest.mark.parametrize("columns", [80, 140])
def test_explore_says_what_is_shown(columns: int, run: Run) -> None:
    found = run(*SWEEP, "--set", "memories.dram.bandwidth_gb_per_s=1:50:+1", columns=columns)
    assert "bandwidth GB/s" in found.out
    assert "50 points, the first 40 in the order of --set; --csv FILE writes all" in found.text
    assert max(map(len, found.out.splitlines())) <= columns


@pytest.mark.parametrize(
    ("extra", "note"),
    [((), "none beats in latency, energy and area, by latency"), (("--time-only",), "none beats in latency, by")],
)
def test_explore_says_what_a_front_is_over(extra: tuple[str, ...], note: str, run: Run) -> None:
    assert note in run(*SWEEP, "--set", "rows=8,16", "--pareto", *extra).text


# ---- presets ----


def test_everything_that_presets_lists_is_printed(run: Run) -> None:
    rows = json.loads(run("presets", "--json").out)
    assert {row["kind"] for row in rows} == {"accelerator", "scheme", "technology", "workload"}
    for row in rows:
        code, out, err = run("presets", row["name"])
        assert (code, err) == (0, ""), row
        assert max(map(len, out.splitlines())) <= 80 or row["kind"] in {"accelerator", "scheme"}


def test_a_workload_is_printed_by_its_layers(run: Run) -> None:
    out = run("presets", "minilm-block").out
    assert [line.split()[0] for line in out.splitlines() if "->" in line] == [
        *("q", "k", "v", "scores", "values", "attention_out", "ffn_up", "ffn_down")
    ]
    assert "m=256 k=384 n=1536" in out
    # 4 products of 256 x 384 x 384, 2 of 24 heads of 128 x 32 x 128, 2 of 256 x 384 x 1536
    assert f"8 contractions, {4 * 256 * 384**2 + 2 * 24 * 128**2 * 32 + 2 * 256 * 384 * 1536:,} MACs." in out
    found = json.loads(run("presets", "gpt2-decode-100", "--json").out)
    assert found["tensors"] == "shapes only"
    assert len(found["layers"]) % 12 in {0, 1}
    assert next(layer["sizes"] for layer in found["layers"] if layer["layer"] == "0.q") == {"m": 1, "k": 768, "n": 768}


def test_a_technology_is_printed_by_its_name(run: Run) -> None:
    assert run("presets", "7nm-asap7") == run("presets", "technology", "7nm-asap7")


@pytest.mark.parametrize("columns", [80, 140])
def test_presets_are_listed_by_kind(columns: int, run: Run) -> None:
    out = run("presets", columns=columns).out
    lines = [line.rstrip() for line in out.splitlines()]
    heads = [number for number, line in enumerate(lines) if line.split(" (")[0] in
             {"Accelerators", "Schemes", "Technologies", "Workloads"}]  # fmt: skip
    assert len(heads) == 4
    assert all(lines[number - 1] == "" for number in heads[1:])
    assert "45 nm, 0.9 V" in out
    assert "Horowitz, ISSCC 2014" in " ".join(out.split())
    assert "hwsim presets technology" not in out
    assert max(map(len, lines)) <= columns


# ---- fields and words that nothing knows ----


def test_unknown_fields_share_one_list_of_the_known(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "machine.yaml"
    path.write_text(run("presets", "edge-16x16").out, encoding="utf-8")
    code, out, err = run(*GEMM, "-s", str(path))
    assert (code, out) == (2, "")
    assert err.count("known: ") == 1
    assert "field strategy is missing" in err
    assert "unknown field requantizer, did you mean requantization?" in err
    assert "unknown fields technology, clock_mhz, array, arrays, accumulator, vector, memories, known: " in err


def test_an_unknown_claim_names_the_nearest_only(run: Run) -> None:
    code, _, err = run("claims", "--only", "ZZZ")
    assert code == 2
    assert "nearest of " in err
    assert len(err) < 160
