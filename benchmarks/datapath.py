"""Speed of the integer datapath beside its peers, in one run and one table.

    python benchmarks/datapath.py [--repeat 7] [--large]

Every row is the best of interleaved repeats; ratios are to the row named in the last column, within the same run.
Peers that are not installed are left out. Operands are rounded normal values, as layers have them, unless a row says
otherwise.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from hwsim.datapath import Accumulator, matmul, requantize
from hwsim.datapath.gemm import blas_product
from quant import Overflow

Task = tuple[str, Callable[[], Any], str, float]
SATURATE = Overflow.SATURATE


def operands(m: int, k: int, n: int, sigma: float = 32.0) -> Any:
    rng = np.random.default_rng(7)
    return tuple(np.clip(np.rint(rng.normal(0, sigma, shape)), -128, 127).astype(np.int8) for shape in ((m, k), (k, n)))


def plain_loop() -> Any:
    """Compile what one would write first: three loops and a clamp."""
    from numba import njit  # noqa: PLC0415 only this peer needs it

    def loop(lhs: Any, rhs: Any, out: Any, lo: int, hi: int) -> None:
        for m in range(lhs.shape[0]):
            for n in range(rhs.shape[1]):
                acc = 0
                for k in range(lhs.shape[1]):
                    acc = min(max(acc + int(lhs[m, k]) * int(rhs[k, n]), lo), hi)
                out[m, n] = acc

    return njit(loop)


def exact_tasks(m: int, k: int, n: int) -> list[Task]:
    a, b = operands(m, k, n)
    af, bf = a.astype(np.float32), b.astype(np.float32)
    size, macs = f"{m}x{k}x{n}", m * k * n / 1e9
    tasks: list[Task] = [
        (f"numpy sgemm {size}", lambda: af @ bf, f"numpy sgemm {size}", macs),
        (
            f"matmul int32 on BLAS {size}",
            lambda: blas_product(a[None], b[None], np.dtype(np.int32)),
            f"numpy sgemm {size}",
            macs,
        ),
        (f"matmul int32 {size}", lambda: matmul(a, b), f"numpy sgemm {size}", macs),
    ]
    if importlib.util.find_spec("torch"):
        torch = importlib.import_module("torch")
        ta, tb = torch.from_numpy(a), torch.from_numpy(b)
        tasks.append((f"torch._int_mm {size}", lambda: torch._int_mm(ta, tb), f"numpy sgemm {size}", macs))
    return tasks


def accumulator_tasks(m: int, k: int, n: int) -> list[Task]:
    a, b = operands(m, k, n)
    rng = np.random.default_rng(7)
    hard_a, hard_b = (rng.choice(np.array([-128, 127], np.int8), shape) for shape in ((m, k), (k, n)))
    size, macs = f"{m}x{k}x{n}", m * k * n / 1e9
    base = f"matmul int32 on BLAS {size}"
    tasks: list[Task] = [
        (f"saturate {bits} {size}", functools.partial(matmul, a, b, Accumulator(bits, SATURATE)), base, macs)
        for bits in (24, 22, 20, 18, 17, 16)
    ]
    tasks += [
        (
            f"saturate 20, depth 4 {size}",
            lambda: matmul(a, b, Accumulator(20, SATURATE, dot_depth=4)),
            f"saturate 20 {size}",
            macs,
        ),
        (f"trap 24 {size}", lambda: matmul(a, b, Accumulator(24, Overflow.TRAP)), f"saturate 24 {size}", macs),
    ]
    # The plain loop is too slow for the whole: an eighth of the rows, and the same rows beside it.
    part, hard = a[: m // 8], hard_a[: m // 8]
    loop, out = plain_loop(), np.zeros((m // 8, n), np.int32)
    lo, hi = Accumulator(16).range
    slow = f"plain numba loop, adversarial 16, 1/8 of {size}"
    tasks += [
        (slow, lambda: loop(hard, hard_b, out, lo, hi), slow, macs / 8),
        (f"adversarial 16, 1/8 of {size}", lambda: matmul(hard, hard_b, Accumulator(16, SATURATE)), slow, macs / 8),
        (
            f"drop 4 bits, 1/8 of {size}",
            lambda: matmul(part, b, Accumulator(20, SATURATE, dropped_bits=4)),
            slow,
            macs / 8,
        ),
        (
            f"spill 64, 1/8 of {size}",
            lambda: matmul(part, b, Accumulator(18, SATURATE, spill_steps=64)),
            slow,
            macs / 8,
        ),
        (
            f"pair tree 15 bits, 1/8 of {size}",
            lambda: matmul(part, b, Accumulator(22, SATURATE, dot_depth=2, tree_bits=15)),
            slow,
            macs / 8,
        ),
    ]
    return tasks


def requantize_tasks(m: int, n: int) -> list[Task]:
    acc = np.random.default_rng(7).integers(-(2**20), 2**20, (m, n)).astype(np.int32)
    scale = np.linspace(1e-4, 2e-4, n)
    size, count = f"{m}x{n}", m * n / 1e9
    copy = f"copy of int32 {size}"
    return [
        (copy, acc.copy, copy, count),
        *(
            (f"requantize {p} {size}", functools.partial(requantize, acc, scale, profile=p), copy, count)
            for p in ("gemmlowp-double", "tflite-single", "float32-even", "float64-away")
        ),
    ]


def measure(tasks: list[Task], repeat: int) -> dict[str, float]:
    best = {name: float("inf") for name, *_ in tasks}
    for _, run, *_ in tasks:
        run()
    for _ in range(repeat):
        for name, run, *_ in tasks:
            start = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7, help="interleaved repeats of every row")
    parser.add_argument("--large", action="store_true", help="also 512x4096x4096")
    options = parser.parse_args()
    groups = [exact_tasks(1024, 1024, 1024) + accumulator_tasks(1024, 1024, 1024), requantize_tasks(1024, 1024)]
    if options.large:
        groups.insert(1, exact_tasks(512, 4096, 4096))
    table = Table("what", "ms", "G/s", "ratio", "to")
    for tasks in groups:
        best = measure(tasks, options.repeat)
        for name, _, base, work in tasks:
            seconds = best[name]
            table.add_row(name, f"{seconds * 1e3:.2f}", f"{work / seconds:.2f}", f"{best[base] / seconds:.2f}", base)
    Console(width=180).print(table)


if __name__ == "__main__":
    main()
