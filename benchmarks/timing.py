"""Speed of the three models of time; SimPy alone in the same run.

``python -m benchmarks timing``. CPU seconds of one thread, the best of several runs. With ``--peers`` also SCALE-Sim
and ZigZag on the same products.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Generator, Sequence

import numpy as np
import simpy

import hwsim
import workloads
from benchmarks import _timing_peers
from hwsim.network import network_timings, plan_network
from hwsim.plan import Plan
from hwsim.timing import closed_form, run_array, run_events
from quant import Scheme
from workloads import Layer

# Layers of ResNet-50 v1 (He et al., arXiv 1512.03385, table 1) as products [m, k] x [k, n]: first 7x7, then for each
# stage its output size, width and blocks; the stride is in the 3x3 convolution, as in v1.5.
STAGES = ((56, 64, 3), (28, 128, 4), (14, 256, 6), (7, 512, 3))


def best(work: Callable[[], object], runs: int = 3) -> float:
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def resnet50() -> list[tuple[int, int, int]]:
    """Sizes m, k, n of the 53 convolutions and the classifier."""
    layers, inputs, before = [(112 * 112, 147, 64)], 64, 56
    for size, width, blocks in STAGES:
        for block in range(blocks):
            entry = before if block == 0 else size
            layers += [(entry * entry, inputs, width), (size * size, 9 * width, width), (size * size, width, 4 * width)]
            if block == 0:
                layers.append((size * size, inputs, 4 * width))
            inputs = 4 * width
        before = size
    return [*layers, (1, 2048, 1000)]


def bare_events(count: int) -> Callable[[], object]:
    """One process that waits `count` times, which is what SimPy takes at least."""

    def work() -> None:
        env = simpy.Environment()

        def process() -> Generator[simpy.Event, None, None]:
            for _ in range(count):
                yield env.timeout(1)

        env.process(process())
        env.run()

    return work


def counted(work: Callable[[], object]) -> int:
    """Events that SimPy processes in one run."""
    count, step = 0, simpy.Environment.step

    def counting(env: simpy.Environment) -> None:
        nonlocal count
        count += 1
        step(env)

    setattr(simpy.Environment, "step", counting)  # noqa: B010  as any name would be
    try:
        work()
    finally:
        setattr(simpy.Environment, "step", step)  # noqa: B010
    return count


def registers(machine: hwsim.Accelerator) -> None:
    rng = np.random.default_rng(0)
    lhs, rhs = rng.integers(-128, 128, (128, 256)), rng.integers(-128, 128, (256, 512))
    print(f"{'register level, 128 x 256 x 512':<44} {'cycles':>9} {'s':>7} {'M element-cycles/s':>19}")
    for dataflow in ("output_stationary", "weight_stationary", "input_stationary"):
        for rows, columns in ((8, 8), (16, 16), (32, 32), (128, 128)):
            array = machine.array.replace(rows=rows, columns=columns, dataflow=dataflow)
            run_array(lhs[:2], rhs[:, :2], array)  # compiled, or read from the cache
            cycles = run_array(lhs, rhs, array).total_cycles
            seconds = best(lambda array=array: run_array(lhs, rhs, array))  # type: ignore[misc]
            name = f"{dataflow} {rows} x {columns}"
            print(f"{name:<44} {cycles:>9} {seconds:7.3f} {cycles * rows * columns / seconds / 1e6:19.0f}")


def events(machine: hwsim.Accelerator) -> None:
    scheme = Scheme.load("w8a8-static")
    plans = [
        hwsim.lower(Layer(f"l{i}", "mk,kn->mn", {"m": m, "k": k, "n": n}, "x", "w", "y"), scheme, machine)
        for i, (m, k, n) in enumerate(resnet50())
    ]
    count = 200_000
    bare = best(bare_events(count))
    print(f"{'SimPy alone, one process that waits':<44} {count / bare:10.0f} events/s")
    seconds = best(lambda: [run_events(plan, machine) for plan in plans], 2)
    name = f"ResNet-50, {len(plans)} layers, {sum(p.mac.macs for p in plans) / 1e9:.2f} GMAC"
    print(f"{name:<44} {seconds:10.2f} s")
    number = counted(lambda: [run_events(plan, machine) for plan in plans])
    print(f"{'':<44} {number:10d} events, {number / seconds:.0f} events/s with what they do")
    closed = best(lambda: [closed_form(plan, machine) for plan in plans])
    print(f"{'the same by the closed form':<44} {closed * 1e3:10.1f} ms, {len(plans) / closed:.0f} layers/s")
    gaps = sorted(
        run_events(plan, machine).total_cycles / closed_form(plan, machine).total_cycles - 1 for plan in plans
    )
    print(f"{'events over closed form, least and most':<44} {100 * gaps[0]:+.2f} % {100 * gaps[-1]:+.2f} %")


def one_by_one(plans: Sequence[Plan], machine: hwsim.Accelerator) -> None:
    for plan in plans:
        closed_form(plan, machine)


def networks(machine: hwsim.Accelerator) -> None:
    """Time from plans to cycles of every layer, nothing remembered: what `simulate` does once it has planned."""
    for workload in ("resnet50", "gpt2-prefill-512"):
        plans = plan_network(workloads.load(workload), Scheme.load("w8a8-static"), machine)
        together = best(functools.partial(network_timings, plans, machine), 40)
        alone = best(functools.partial(one_by_one, plans, machine), 9)
        name = f"{workload}, {len(plans)} plans to cycles"
        print(f"{name:<44} {together * 1e3:10.1f} ms, one by one {alone * 1e3:.1f} ms")


def main() -> None:
    machine = hwsim.Accelerator.load("edge-16x16")
    registers(machine)
    events(machine)
    networks(machine)
    if "--peers" in sys.argv:
        _timing_peers.main()
    else:
        print("SCALE-Sim and ZigZag were not run: --peers makes their environment and runs them")


if __name__ == "__main__":
    main()
