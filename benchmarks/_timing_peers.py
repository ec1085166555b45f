"""SCALE-Sim and ZigZag beside hwsim: the same products in the same run, each tool a process of its own.

``python -m benchmarks timing --peers`` makes their environment once (a virtual environment in the user's cache, with
the versions below) and runs small cases: SCALE-Sim takes time and memory that grow with cycles times the array's edge.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

# scalesim 3.0.0 calls int() on lists, which numpy 2.4 refuses; zigzag-dse imports six without declaring it.
PACKAGES = ("scalesim==3.0.0", "numpy<2.4", "zigzag-dse==3.9.1", "six")
HOME = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hwsim-peers"
# m, k, n and the square array of each case.
CASES = ((64, 64, 64, 32), (128, 512, 256, 32), (96, 200, 100, 12), (256, 576, 128, 16))
LAYOUT_FIELDS = ("SRAMBankBandwidth", "SRAMBankNum", "SRAMBankPort")


@dataclass(frozen=True)
class Process:
    """What a process said, took and held."""

    text: str
    cpu_s: float
    peak_mb: float


def run(command: list[str], folder: Path) -> Process:
    """Run a command to its end.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    with (folder / "log.txt").open("w+", encoding="utf-8") as log:
        child = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        text = log.read()
    if child.returncode:
        msg = f"{command[0]} must end well, not with {child.returncode}: {text[-400:]}"
        raise RuntimeError(msg)
    return Process(text, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def environment() -> Path:
    """Make the peers' environment unless it is there; return its Python."""
    python = HOME / "bin" / "python"
    if not (HOME / "ready").exists():
        print(f"making {HOME} with {', '.join(PACKAGES)}", flush=True)
        venv.create(HOME, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
        (HOME / "ready").touch()
    return python


def scalesim(python: Path, case: tuple[int, int, int, int], dataflow: str) -> tuple[int, float, Process]:
    """Cycles and overall utilization in percent that SCALE-Sim reports without stalls."""
    m, k, n, edge = case
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        layout = [f"{which}{field} = 10" for which in ("Ifmap", "Filter") for field in LAYOUT_FIELDS]
        settings = {
            "general": ["run_name = case"],
            "architecture_presets": [
                f"ArrayHeight = {edge}", f"ArrayWidth = {edge}", f"Dataflow = {dataflow}",
                *(f"{which}SramSzkB = 1024" for which in ("Ifmap", "Filter", "Ofmap")),
                "IfmapOffset = 0", "FilterOffset = 10000000", "OfmapOffset = 20000000", "Bandwidth = 10",
                "ReadRequestBuffer = 32", "WriteRequestBuffer = 32",
            ],
            "layout": ["IfmapCustomLayout = False", "FilterCustomLayout = False", *layout],
            "sparsity": ["SparsitySupport = false"],
            "run_presets": ["InterfaceBandwidth = CALC", "UseRamulatorTrace = False"],
        }  # fmt: skip
        lines = [line for section, fields in settings.items() for line in (f"[{section}]", *fields)]
        (folder / "case.cfg").write_text("\n".join(lines), encoding="utf-8")
        (folder / "case.csv").write_text(f"Layer,M,N,K,\ncase,{m},{n},{k},\n", encoding="utf-8")
        header = "Layer name," + "x," * 30
        (folder / "layout.csv").write_text(f"{header}\ncase,{'1,' * 30}\n", encoding="utf-8")
        command = [str(python), "-m", "scalesim.scale", "-c", "case.cfg", "-t", "case.csv", "-l", "layout.csv"]
        process = run([*command, "-p", ".", "-i", "gemm"], folder)
        report = next(folder.rglob("COMPUTE_REPORT.csv"))
        with report.open(encoding="utf-8") as file:
            row = {key.strip(): value for key, value in next(csv.DictReader(file)).items() if key}
    # "Total Cycles" under the name of the version; the one with prefetch is another
    cycles = next(row[key] for key in row if key.startswith("Total Cycles") and "prefetch" not in key)
    return int(float(cycles)), float(row["Overall Util %"]), process


ZIGZAG = """
import json, sys, zigzag
from pathlib import Path
from zigzag.api import get_hardware_performance_zigzag
m, k, n = map(int, sys.argv[1:])
layer = (
    "- id: 0\\n  name: case\\n  operator_type: Gemm\\n  equation: O[b][k]+=I[b][c]*W[c][k]\\n"
    f"  dimension_relations: []\\n  loop_dims: [B, C, K]\\n  loop_sizes: [{m}, {k}, {n}]\\n"
    "  operand_precision: {W: 8, I: 8, O: 16, O_final: 8}\\n  operand_source: {I: 0, W: 0}\\n"
)
Path("case.yaml").write_text(layer)
inputs = Path(zigzag.__file__).parent / "inputs"
energy, latency, _ = get_hardware_performance_zigzag(
    "case.yaml", str(inputs / "hardware/tpu_like.yaml"), str(inputs / "mapping/tpu_like.yaml"),
    dump_folder="out", loma_show_progress_bar=False,
)
print("latency", int(latency))
"""


def zigzag(python: Path, case: tuple[int, int, int, int]) -> tuple[int, Process]:
    """Cycles that ZigZag finds for its 32 x 32 ``tpu_like`` machine."""
    m, k, n, _ = case
    with tempfile.TemporaryDirectory() as name:
        process = run([str(python), "-c", ZIGZAG, str(m), str(k), str(n)], Path(name))
    return int(process.text.rsplit("latency", 1)[1].split()[0]), process


def ours(case: tuple[int, int, int, int], *arguments: str) -> tuple[dict[str, float], Process]:
    """Report of ``hwsim simulate``."""
    m, k, n, edge = case
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-m", "hwsim", "simulate", "--gemm", f"{m}x{n}x{k}"]
        process = run([*command, "--array", f"{edge}x{edge}", "--json", *arguments], Path(name))
    return json.loads(process.text), process


def main() -> None:
    """Print both comparisons."""
    python = environment()
    print(f"{'SCALE-Sim, m x k x n on R x R':<32} {'cycles':>8} {'ours':>8} {'util %':>8} {'ours':>8}", end="")
    print(f" {'CPU s':>7} {'ours':>6} {'MB':>6} {'ours':>6}")
    for case in CASES:
        for dataflow in ("os", "ws", "is"):
            cycles, utilization, theirs = scalesim(python, case, dataflow)
            report, own = ours(case, "--dataflow", dataflow, "--profile", "scalesim")
            print(
                f"{f'{case[0]} x {case[1]} x {case[2]} on {case[3]} {dataflow}':<32} {cycles:8d} "
                f"{report['total_cycles']:8d} {utilization:8.3f} {100 * report['utilization']:8.3f} "
                f"{theirs.cpu_s:7.1f} {own.cpu_s:6.1f} {theirs.peak_mb:6.0f} {own.peak_mb:6.0f}",
                flush=True,
            )
    heads = f"{'cycles':>8} {'ours':>8} {'CPU s':>7} {'ours':>6} {'MB':>6} {'ours':>6}"
    print(f"\n{'ZigZag tpu_like, our array 32 x 32 ws':<36} {heads}")
    for case in CASES:
        if case[3] == 32:
            cycles, theirs = zigzag(python, case)
            report, own = ours(case, "--dataflow", "ws", "--model", "closed")
            print(
                f"{f'{case[0]} x {case[1]} x {case[2]}':<36} {cycles:8d} {report['compute_cycles']:8d} "
                f"{theirs.cpu_s:7.1f} {own.cpu_s:6.1f} {theirs.peak_mb:6.0f} {own.peak_mb:6.0f}"
            )
