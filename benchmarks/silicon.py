"""What whole machines are predicted to take beside what their papers report: ``python -m benchmarks.silicon``.

Nothing is tuned to these. `docs/technology.md` holds the table and says where a misfit comes from.
"""

from __future__ import annotations

import hwsim
import workloads
from hwsim.cost import Element
from hwsim.cost.pipelines import Pipeline
from hwsim.cost.pricing import price
from quant import Scheme

# Jouppi et al., ISCA 2017 (10.1145/3079856.3080246): die, shares of figure 2, power of table 2, peak.
TPU_V1 = {"die_mm2": 331.0, "buffers": 0.37, "compute": 0.30, "idle_w": 28.0, "busy_w": 40.0, "peak_tops": 92.0}
# Jouppi et al., ISCA 2021 (10.1109/ISCA52012.2021.00010): the die is stated as below 400 mm2.
TPU_V4I = {"die_mm2": 400.0, "cmem": 0.28, "mxu": 0.11}
# Shao et al., MICRO 2019 (10.1145/3352460.3358302): best energy of an operation; two make a multiply-accumulate.
SIMBA_PJ_PER_OP = 0.11

Row = tuple[str, str, str, str, str]


def _row(what: str, ours: float, reported: float, source: str) -> Row:
    return what, f"{ours:.3g}", f"{reported:.3g}", f"{ours / reported:.2f}", source


def _parts(result: hwsim.Result) -> dict[str, float]:
    """Areas in mm2: arrays, vector unit, and each buffer."""
    found: dict[str, float] = {}
    for line in result.built.built:
        name = line.what.rpartition(", ")[2] if line.part == "sram_um2" else line.part.removesuffix("_um2")
        found[name] = found.get(name, 0.0) + float(line.um2) * 1e-6
    return found


def tpu_v1() -> list[Row]:
    """Compare array, buffers and energy of the first TPU."""
    result = hwsim.simulate(workloads.gemm(4096, 512, 512), "w8a8-static", "tpu-v1", numerics=False)
    totals, parts, source = result.totals(), _parts(result), "Jouppi 2017"
    buffers = parts["activation"] + parts["weight"] + parts["output"]
    compute = parts["array"] + parts["vector"]
    machine = result.accelerator
    spent = totals["mac_pj"] + totals["pipeline_pj"]
    element, flip_flop = Element.of(result.layers[0].plan.mac, machine.array), result.technology.register(1)
    cut = Pipeline.of(price(result.technology, element.unit), machine.cycle_ns, result.technology, passes=True)
    clock = (element.register_bits + cut.bits) * flip_flop.idle_pj
    increment = (TPU_V1["busy_w"] - TPU_V1["idle_w"]) / (machine.elements * machine.clock_mhz * 1e6) * 1e12
    return [
        _row("TPUv1 peak, TOPS", 2e-6 * machine.elements * machine.clock_mhz, TPU_V1["peak_tops"], source),
        _row("TPUv1 busy less idle power, pJ per MAC", spent / totals["macs"], increment, source),
        _row("same, ours without clock pins", spent / totals["macs"] - clock, increment, source),
        _row("TPUv1 data buffers, mm2", buffers, TPU_V1["buffers"] * TPU_V1["die_mm2"], source),
        _row("TPUv1 compute, mm2", compute, TPU_V1["compute"] * TPU_V1["die_mm2"], source),
        _row("TPUv1 buffers over compute", buffers / compute, TPU_V1["buffers"] / TPU_V1["compute"], source),
    ]


def tpu_v4i() -> list[Row]:
    """Compare common memory and matrix units of TPUv4i, which multiplies bfloat16."""
    scheme = Scheme.load("fp16").replace(name="bf16", carrier="bf16")
    result = hwsim.simulate(workloads.gemm(1024, 512, 512), scheme, "tpu-v4i", numerics=False)
    parts, source = _parts(result), "Jouppi 2021"
    memory = parts["activation"] + parts["weight"]
    return [
        _row("TPUv4i CMEM, mm2", memory, TPU_V4I["cmem"] * TPU_V4I["die_mm2"], source),
        _row("TPUv4i matrix units, mm2", parts["array"], TPU_V4I["mxu"] * TPU_V4I["die_mm2"], source),
        _row("TPUv4i CMEM over matrix units", memory / parts["array"], TPU_V4I["cmem"] / TPU_V4I["mxu"], source),
    ]


def simba() -> list[Row]:
    """Compare a processing element of Simba: eight lanes of eight products, weights held, three buffers."""
    machine = hwsim.Accelerator.load("edge-16x16").replace(
        name="simba-pe",
        technology="45nm-horowitz@16nm",
        array={"rows": 1, "columns": 8, "dot_depth": 8, "dataflow": "weight_stationary", "double_buffered": True},
        accumulator={"bits": 24, "overflow": "wrap"},
        memories__activation={"capacity_bytes": 8192, "banks": 1, "bank_width_bits": 64},
        memories__weight={"capacity_bytes": 32768, "banks": 1, "bank_width_bits": 512},
        memories__output={"capacity_bytes": 4096, "banks": 1, "bank_width_bits": 192},
    )
    result = hwsim.simulate(workloads.gemm(256, 64, 64), "w8a8-static", machine, numerics=False)
    totals = result.totals()
    ops = 2 * totals["macs"]
    array = totals["mac_pj"] + totals["pipeline_pj"] + totals["clock_pj"]
    return [
        _row("Simba PE, array alone, pJ per operation", array / ops, SIMBA_PJ_PER_OP, "Shao 2019"),
        _row("Simba PE with its buffers", (array + totals["sram_pj"]) / ops, SIMBA_PJ_PER_OP, "Shao 2019"),
    ]


def markdown() -> str:
    """Return all rows as a Markdown table."""
    lines = ["| what | predicted | reported | ratio | source |", "| --- | --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(row) + " |" for row in (*tpu_v1(), *tpu_v4i(), *simba())]
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    print(markdown())


if __name__ == "__main__":
    main()
