"""Speed of design spaces: points a second and peak memory, one core.

``python -m benchmarks explore``. CPU seconds of one thread, in a process of its own for each line, so that its peak
memory is its own. The first call compiles its loops; the better of two more is the speed.
"""

from __future__ import annotations

import multiprocessing
import resource
import time

import numpy as np
import pandas as pd

import hwsim
import workloads
from benchmarks.timing import resnet50
from hwsim.exploration.columns import stacked_work
from hwsim.timing import Machine, Work, closed_form, read_time
from quant import Scheme
from workloads import Layer

POINTS = 1_000_000
DATAFLOWS = ("output_stationary", "weight_stationary", "input_stationary")


def points(count: int, different: bool = False) -> dict[str, np.ndarray]:
    """Shapes, arrays, dataflows, buffers and bandwidths, drawn at random: of 256 shapes, or of all up to 4096."""
    rng = np.random.default_rng(0)
    shapes = {
        "m": rng.choice(np.arange(1, 17) * 64, count),
        "k": rng.choice([256, 512, 1024, 2048], count),
        "n": rng.choice([128, 256, 512, 1024], count),
    }
    if different:
        shapes = {name: rng.integers(1, 4097, count) for name in shapes}
    return {
        **shapes,
        "array.rows": rng.choice([8, 16, 32, 64, 128], count),
        "array.columns": rng.choice([8, 16, 32, 64, 128], count),
        "array.dataflow": rng.choice(DATAFLOWS, count),
        "memories.activation.capacity_bytes": rng.choice([65536, 131072, 262144], count),
        "memories.dram.bandwidth_gb_per_s": rng.uniform(1, 64, count).round(1),
    }


def measured(
    scheme: str, costs: bool, different: bool, count: int, out: multiprocessing.Queue[tuple[float, float, float]]
) -> None:
    columns, network = points(count, different), workloads.gemm(128, 512, 256)
    few = {name: column[:4096] for name, column in columns.items()}
    hwsim.explore(network, scheme, points=few, costs=costs)  # imports, first verdicts
    seconds = []
    for _ in range(3):
        start = time.process_time()
        hwsim.explore(network, scheme, points=columns, costs=costs)
        seconds.append(time.process_time() - start)
    out.put((seconds[0], min(seconds[1:]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def spaces() -> None:
    print(f"{f'{POINTS:,} points of a product':<54} {'first s':>7} {'CPU s':>7} {'M points/s':>10} {'peak MB':>8}")
    context = multiprocessing.get_context("spawn")
    for scheme, different in (
        ("w8a8-static", False), ("w8a8-dynamic", False), ("w8a8-static", True), ("w8a8-dynamic", True),
        ("w4a8-g128", True),
    ):  # fmt: skip
        for costs in (False, True):
            queue: multiprocessing.Queue[tuple[float, float, float]] = context.Queue()
            process = context.Process(target=measured, args=(scheme, costs, different, POINTS, queue))
            process.start()
            first, best, peak = queue.get()
            process.join()
            name = (
                f"{scheme}, {'time, energy, area' if costs else 'time'}{', all shapes different' if different else ''}"
            )
            print(f"{name:<54} {first:7.2f} {best:7.2f} {POINTS / best / 1e6:10.2f} {peak:8.0f}", flush=True)


def chained() -> None:
    """Time a block of MiniLM on machines that keep results and prefetch weights."""
    machine = hwsim.Accelerator.load("edge-16x16").replace(
        memories__keeps_results=True, memories__prefetches_weights=True
    )
    rng, count = np.random.default_rng(0), 20_000
    columns = {
        "array.rows": rng.choice([8, 16, 32, 64], count),
        "array.columns": rng.choice([8, 16, 32], count),
        "array.dataflow": rng.choice(DATAFLOWS, count),
        "vector.lanes": rng.choice([4, 16, 64], count),
        "memories.activation.capacity_bytes": rng.choice([65536, 131072, 262144, 1 << 20], count),
        "memories.weight.capacity_bytes": rng.choice([32768, 65536, 262144], count),
        "memories.dram.bandwidth_gb_per_s": rng.uniform(1, 64, count).round(1),
    }
    several = []
    for few in (False, True):
        # Points are read one by one where few share a dataflow.
        chosen = {name: column[:6] if few else column for name, column in columns.items()}
        start = time.process_time()
        frame = hwsim.explore("minilm-block", "w8a8-static", machine, points=chosen)
        several.append(len(frame) / (time.process_time() - start))
    print(f"{f'MiniLM block that keeps results, {count:,} points':<54} {several[0]:7.0f} points/s")
    print(f"{'the same point by point':<54} {several[1]:7.0f} points/s")


def network() -> None:
    machine, scheme = hwsim.Accelerator.load("edge-16x16"), Scheme.load("w8a8-static")
    plans = [
        hwsim.lower(Layer(f"l{i}", "mk,kn->mn", {"m": m, "k": k, "n": n}, "x", "w", "y"), scheme, machine)
        for i, (m, k, n) in enumerate(resnet50())
    ]
    times = []
    for _ in range(5):
        start = time.process_time()
        for plan in plans:
            closed_form(plan, machine)
        times.append(time.process_time() - start)
    print(f"{f'ResNet-50, {len(plans)} layers, one by one':<44} {min(times) * 1e3:7.1f} ms")
    column, numbers = stacked_work([Work.of(plan) for plan in plans]), Machine.of(machine)
    together = []
    for _ in range(5):
        start = time.process_time()
        cycles = read_time(column, numbers).total_cycles.sum()
        together.append(time.process_time() - start)
    alone = sum(closed_form(plan, machine).total_cycles for plan in plans)
    print(
        f"{'the same as one column':<44} {min(together) * 1e3:7.1f} ms, {'same' if cycles == alone else 'OTHER'} cycles"
    )


def fronts() -> None:
    table = pd.DataFrame(np.random.default_rng(0).random((POINTS, 3)), columns=["a", "b", "c"])
    start = time.process_time()
    front = hwsim.pareto(table, ["a", "b", "c"])
    seconds = time.process_time() - start
    print(f"{f'Pareto front of {POINTS:,} rows, 3 columns':<44} {seconds:7.2f} s, {len(front)} rows")


def main() -> None:
    spaces()
    chained()
    network()
    fronts()


if __name__ == "__main__":
    main()
