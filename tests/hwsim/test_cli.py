"""The command as a user calls it: arguments in, exit code, standard output and standard error out."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import hwsim
from hwsim.cli import main as entry
from quant import Scheme


class Call(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Call]

REQUIRED = {
    "scheme",
    "verdict",
    "sqnr_db",
    "total_cycles",
    "latency_us",
    "energy_pj",
    "area_um2",
    "power_mw",
    "tops_per_w",
    "weight_bytes",
    "traffic_bytes",
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Call the entry point in this process, in a folder of its own, 80 columns wide."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

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


@pytest.fixture
def operands(tmp_path: Path) -> Path:
    rng = np.random.default_rng(7)
    path = tmp_path / "operands.npz"
    np.savez(path, lhs=rng.standard_normal((5, 131)).astype("f4"), rhs=rng.standard_normal((131, 7)).astype("f4"))
    return path


# ---- bad input: exit code 2, one line on standard error, no traceback ----


def npz(folder: Path, **arrays: Any) -> str:
    path = folder / "bad.npz"
    np.savez(path, **arrays)
    return str(path)


def text(folder: Path, name: str, content: str) -> str:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return str(path)


def folder(where: Path, name: str) -> str:
    (where / name).mkdir()
    return str(where / name)


ONES = np.ones((2, 3), np.float32)

BAD: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "missing operands": (lambda _: ["compare", "none.npz"], "none.npz"),
    "malformed operands": (lambda d: ["compare", text(d, "bad.npz", "not a zip")], "bad.npz"),
    "operands without rhs": (lambda d: ["compare", npz(d, lhs=ONES)], "rhs"),
    "nan operands": (lambda d: ["compare", npz(d, lhs=ONES * np.nan, rhs=ONES.T)], "finite"),
    "infinite operands": (lambda d: ["compare", npz(d, lhs=ONES * np.inf, rhs=ONES.T)], "finite"),
    "operands that do not contract": (lambda d: ["compare", npz(d, lhs=ONES, rhs=ONES)], "must share k, not 3 and 2"),
    "unknown workload": (lambda _: ["compare", "minilm-blok"], "minilm-block"),
    "unknown scheme": (lambda _: ["compare", "-s", "w8a8-dynamc"], "did you mean w8a8-dynamic?"),
    "unknown baseline": (lambda _: ["compare", "-b", "fp23"], "fp32"),
    "unknown accelerator": (lambda _: ["compare", "-a", "edge-16x61"], "did you mean edge-16x16?"),
    "missing scheme file": (lambda _: ["compare", "-s", "none.yaml"], "none.yaml: No such file or directory"),
    "misspelt field": (
        lambda d: ["compare", "-s", text(d, "s.yaml", "name: s\ndescription: d\nsource: t\nstrategi: float\n")],
        "unknown field strategi, did you mean strategy?",
    ),
    "misspelt nested field": (
        lambda d: [
            "simulate",
            "-a",
            text(d, "a.yaml", hwsim.Accelerator.load("edge-16x16").to_yaml().replace("lanes", "lane")),
        ],
        "unknown field vector.lane, did you mean lanes?",
    ),
    "malformed yaml": (lambda d: ["compare", "-s", text(d, "s.yaml", "name: [")], "s.yaml must be YAML"),
    "yaml that is a list": (lambda d: ["compare", "-s", text(d, "s.yaml", "- 1\n")], "must be a YAML mapping"),
    "yaml with a strange key": (lambda d: ["compare", "-s", text(d, "s.yaml", "? [a]\n: b\n")], ""),
    "binary yaml": (lambda d: ["compare", "-s", text(d, "s.yaml", "\x00\x01")], "s.yaml"),
    "folder as yaml": (lambda d: ["compare", "-s", folder(d, "folder.yaml")], "folder"),
    "scheme given twice": (lambda _: ["compare", "-s", "fp16", "-s", "fp16", "--costs-only"], "different names"),
    "wrong suffix": (lambda _: ["compare", "-s", "fp16", "--costs-only", "--csv", "out.txt"], ".csv"),
    "no such folder": (lambda _: ["compare", "-s", "fp16", "--costs-only", "--csv", "none/o.csv"], "none"),
    "unknown command": (lambda _: ["compair"], "did you mean compare?"),
    "unknown option": (lambda _: ["compare", "--jsn"], "--jsn"),
    "unknown preset": (lambda _: ["presets", "edge-16x61"], "did you mean edge-16x16?"),
    "unknown technology": (lambda _: ["presets", "technology", "45nm-horowtz"], "45nm-horowitz"),
    "malformed gemm": (lambda _: ["simulate", "--gemm", "4x5"], "MxNxK"),
    "empty gemm": (lambda _: ["simulate", "--gemm", "0x5x6"], "MxNxK"),
    "malformed array": (lambda _: ["simulate", "--gemm", "4x5x6", "--array", "16"], "32x32"),
    "empty array": (lambda _: ["simulate", "--gemm", "4x5x6", "--array", "0x16"], "array.rows"),
    "unknown dataflow": (lambda _: ["simulate", "--gemm", "4x5x6", "--dataflow", "xs"], "os"),
    "workload and gemm": (lambda _: ["simulate", "minilm-block", "--gemm", "4x5x6"], "not both"),
    "illegal layout": (
        lambda _: ["simulate", "--gemm", "4x5x6", "-s", "w8a8-channel-in"],
        "must be dequantizable after accumulation",
    ),
    "unknown layout": (lambda _: ["layouts", "--lhs", "per_tocken"], "per_tocken"),
    "array larger than its buffers": (
        lambda _: ["simulate", "--gemm", "4x5x6", "--array", "512x512"],
        "capacity_bytes",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_on_standard_error(case: str, run: Run, tmp_path: Path) -> None:
    build, expected = BAD[case]
    before = set(tmp_path.iterdir())
    arguments = build(tmp_path)
    given = set(tmp_path.iterdir())
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert err.startswith("hwsim: ")
    assert expected in err
    assert "Traceback" not in err
    assert set(tmp_path.iterdir()) == given, "no file is left behind"
    assert before <= given


@pytest.mark.parametrize("where", ["before", "after"])
def test_debug_shows_the_traceback(where: str, run: Run) -> None:
    arguments = ["compare", "-s", "w8a8-dynamc"]
    with pytest.raises(ValueError, match="did you mean w8a8-dynamic"):
        run(*(["--debug", *arguments] if where == "before" else [*arguments, "--debug"]))


def test_a_process_ends_with_code_2_and_one_line(tmp_path: Path) -> None:
    """The installed entry point, and the traceback that --debug brings."""
    command = [sys.executable, "-c", "from hwsim.cli.main import main; main()", "simulate", "--gemm", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)  # noqa: S603  our own interpreter
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    done = subprocess.run([*command, "--debug"], capture_output=True, text=True, cwd=tmp_path, check=False)  # noqa: S603  our own interpreter
    assert done.returncode != 0
    assert done.stderr.startswith("Traceback")


# ---- output ----


def test_json_is_a_list_of_rows_with_the_promised_keys(run: Run, operands: Path) -> None:
    code, out, err = run("compare", str(operands), "--json")
    assert (code, err) == (0, "")
    rows = json.loads(out, parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))
    assert [r["scheme"] for r in rows][:2] == ["fp32", "fp16"]
    assert all(set(r) >= REQUIRED for r in rows)
    by_name = {r["scheme"]: r for r in rows}
    assert by_name["fp32"]["sqnr_db"] is None
    assert by_name["w8a8-channel-in"]["verdict"] == "incompatible"
    assert by_name["w8a8-channel-in"]["energy_pj"] is None
    assert by_name["w8a8-static"]["sqnr_db"] > 20
    frame = hwsim.compare(str(operands)).schemes
    assert [r["energy_pj"] for r in rows] == [None if np.isnan(v) else v for v in frame["energy_pj"]]


def test_per_layer_json_has_a_row_for_each_layer(run: Run, operands: Path) -> None:
    code, out, _ = run("compare", str(operands), "-s", "fp16", "--per-layer", "--json")
    assert code == 0
    assert [(r["scheme"], r["layer"]) for r in json.loads(out)["layers"]] == [("fp32", "gemm"), ("fp16", "gemm")]


def test_files_hold_what_json_prints(run: Run, operands: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    code, out, _ = run("compare", str(operands), "-s", "w8a8-static", "--csv", str(target), "--json")
    assert code == 0
    rows = json.loads(out)
    written = pd.read_csv(target)
    assert list(written["scheme"]) == [r["scheme"] for r in rows]
    np.testing.assert_array_equal(written["energy_pj"], [r["energy_pj"] for r in rows])
    assert [p.name for p in tmp_path.iterdir() if "part" in p.name] == []


def test_parquet_is_written_whole_or_refused_in_one_line(run: Run, operands: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.parquet"
    code, _, err = run("compare", str(operands), "-s", "w8a8-static", "--costs-only", "--parquet", str(target))
    try:
        import pyarrow  # type: ignore[import-untyped, unused-ignore]  # noqa: F401
    except ImportError:
        assert (code, err.count("\n")) == (2, 1)
        assert "hwsim[parquet]" in err
        assert not target.exists()
    else:
        assert code == 0
        assert list(pd.read_parquet(target)["scheme"]) == ["fp32", "w8a8-static"]


def test_csv_on_standard_output_is_nothing_but_csv(run: Run, operands: Path) -> None:
    code, out, _ = run("compare", str(operands), "-s", "w8a8-static", "--costs-only", "--csv", "-")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [r["scheme"] for r in rows] == ["fp32", "w8a8-static"]
    assert set(rows[0]) >= REQUIRED


def test_a_write_that_fails_leaves_the_old_file(
    run: Run, operands: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old", encoding="utf-8")

    def full(_: pd.DataFrame, path: Any, **__: Any) -> None:
        Path(path).write_text("half", encoding="utf-8")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    code, _, err = run("compare", str(operands), "-s", "w8a8-static", "--costs-only", "--csv", str(target))
    assert code == 2
    assert "No space left on device" in err
    assert target.read_text(encoding="utf-8") == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["operands.npz", "out.csv"]


def test_html_is_one_self_contained_file(run: Run, operands: Path, tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    code, _, err = run("compare", str(operands), "-s", "w8a8-static", "--html", str(target))
    assert code == 0
    assert err.strip() == f"wrote {target}"
    page = target.read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html")
    assert page.rstrip().endswith("</html>")
    assert "w8a8-static" in page
    for attribute in ('src="http', "src='http", '<link rel="stylesheet" href="http'):
        assert attribute not in page


@pytest.mark.parametrize("columns", [80, 140])
@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "OPERANDS", "--explain", "--per-layer"),
        ("compare", "OPERANDS"),
        ("simulate", "OPERANDS"),
        ("simulate", "--gemm", "1024x4096x1024", "--costs-only"),
        ("presets",),
        ("layouts",),
        ("--help",),
        ("compare", "--help"),
        ("presets", "technology", "45nm-horowitz"),
    ],
    ids=" ".join,
)
def test_no_line_is_wider_than_the_terminal(
    arguments: tuple[str, ...], columns: int, run: Run, operands: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = run(*(str(operands) if a == "OPERANDS" else a for a in arguments))
    assert code == 0
    assert out.strip()
    from rich.cells import cell_len

    assert max(map(cell_len, out.splitlines())) <= columns


def test_compare_tells_of_every_scheme_at_80_columns(run: Run, operands: Path) -> None:
    _, out, _ = run("compare", str(operands))
    for name in ("fp32", "w8a8-static", "w8a8-channel-in", "w4a8-g128", "codebook-16"):
        assert name in out
    assert "incompatible" in out


# ---- simulate, presets ----


def test_simulate_gives_cycles_energy_and_area_of_a_gemm(run: Run) -> None:
    code, out, _ = run("simulate", "--gemm", "37x41x43", "-s", "w8a8-static", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["macs"] == 37 * 41 * 43
    # 16 x 16, output stationary: 3 x 3 tiles of 43 + 30 cycles
    assert found["compute_cycles"] == 3 * 3 * (43 + 16 + 16 - 2)
    assert found["layers"][0]["energy_pj"] == pytest.approx(found["energy_pj"])
    assert found["sqnr_db"] > 20


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_simulate_takes_another_array_and_dataflow(dataflow: str, run: Run) -> None:
    """Formulas of SCALE-Sim (arXiv 1811.02883)."""
    m, n, k, rows, columns = 37, 41, 43, 32, 8

    def up(a: int, b: int) -> int:
        return -(-a // b)

    expected = {
        "os": up(m, rows) * up(n, columns) * (k + rows + columns - 2),
        "ws": up(k, rows) * up(n, columns) * (m + 2 * rows + columns - 2),
        "is": up(k, rows) * up(m, columns) * (n + 2 * rows + columns - 2),
    }[dataflow]
    arguments = ("simulate", "--gemm", f"{m}x{n}x{k}", "--array", "32x8", "--dataflow", dataflow, "--costs-only")
    code, out, _ = run(*arguments, "--json")
    assert code == 0
    assert json.loads(out)["compute_cycles"] == expected


def test_simulate_prints_the_plan(run: Run) -> None:
    code, out, _ = run("simulate", "--gemm", "4x5x6", "-s", "w8a8-asym-weight", "--plan", "--costs-only")
    assert code == 0
    assert out.startswith("gemm under w8a8-asym-weight: once\n")
    assert "SumForZeroPoint" in out


@pytest.mark.parametrize("name", [*Scheme.presets(), *hwsim.Accelerator.presets()])
def test_a_printed_preset_loads_back(name: str, run: Run, tmp_path: Path) -> None:
    code, out, err = run("presets", name)
    assert (code, err) == (0, "")
    path = tmp_path / "copy.yaml"
    path.write_text(out, encoding="utf-8")
    model: Any = Scheme if name in Scheme.presets() else hwsim.Accelerator
    assert model.load(path) == model.load(name)


def test_presets_lists_everything_that_can_be_named(run: Run) -> None:
    code, out, _ = run("presets", "--json")
    assert code == 0
    rows = json.loads(out)
    names = {(r["kind"], r["name"]) for r in rows}
    assert {("scheme", n) for n in Scheme.presets()} <= names
    assert {("accelerator", "edge-16x16"), ("technology", "45nm-horowitz"), ("workload", "minilm-block")} <= names
    assert all(r["description"] for r in rows)


def test_help_comes_without_heavy_libraries() -> None:
    code = (
        "import sys; sys.argv = ['hwsim', '--help']\n"
        "from hwsim.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'numba', 'pandas', 'pydantic', 'rich', 'altair'} & set(sys.modules)\n"
        "sys.exit(f'{heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)  # noqa: S603  our own interpreter
    assert done.returncode == 0, done.stderr
    assert "compare" in done.stdout
