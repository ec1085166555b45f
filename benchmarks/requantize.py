"""Speed of every requantization profile, in copies of its accumulators.

    python -m benchmarks requantize

A copy reads and writes int32; the requantizer reads int32, writes int8 and makes one pass, bias, zero point and clamp
included. One thread, time of the processor, best of interleaved runs.
"""

from __future__ import annotations

import argparse
import functools
import time
from typing import Any

import numpy as np

from benchmarks._side_by_side import single_thread
from hwsim.datapath import PROFILES, Convertor, ScalePair, requantize


def scale_of(name: str, rows: int, columns: int) -> Any:
    """Scales that bring the accumulators to about the range of int8; one column stands for a tensor's one scale."""
    if name == "cutlass-two-scales":
        return ScalePair(np.full((rows, 1), 0.01, np.float32), np.linspace(0.009, 0.011, columns, dtype=np.float32))
    if name == "nvdla-convertor":
        return Convertor(np.array(3), np.full(columns, 1234), np.full(columns, 23))
    if "shift" in name:
        return np.full(columns, 2.0**-13)
    return np.linspace(0.9, 1.1, columns) * (2.0**-7 if name == "xnnpack-8.8" else 2.0**-13)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048, help="rows and columns of the accumulators")
    parser.add_argument("--repeat", type=int, default=7, help="interleaved repeats")
    arguments, _ = parser.parse_known_args()
    single_thread()
    size = arguments.size
    acc = np.random.default_rng(7).integers(-(2**20), 2**20, (size, size)).astype(np.int32)
    other = np.empty_like(acc)
    runs: dict[tuple[str, str], Any] = {("copy", ""): functools.partial(np.copyto, other, acc)}
    for name, profile in PROFILES.items():
        bias = np.linspace(-99, 99, size).astype(np.float32 if profile.real_bias else np.int64)
        for kind, columns, added in (("tensor", 1, None), ("channel", size, None), ("channel, bias", size, bias)):
            scale = scale_of(name, size, columns)
            runs[name, kind] = functools.partial(requantize, acc, scale, profile=name, zero_point=3, bias=added)
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()  # compiles, or loads what was compiled
    for _ in range(arguments.repeat):
        for key, run in runs.items():
            start = time.process_time()
            run()
            best[key] = min(best[key], time.process_time() - start)
    copy = best.pop(("copy", ""))
    print(f"{size} x {size} int32; a copy takes {copy * 1e3:.2f} ms; one thread\n")
    print(f"{'copies, scale per':<22} {'tensor':>9} {'channel':>9} {'channel, bias':>14}")
    for name in PROFILES:
        print(
            f"{name:<22} {best[name, 'tensor'] / copy:9.2f} {best[name, 'channel'] / copy:9.2f} "
            f"{best[name, 'channel, bias'] / copy:14.2f}"
        )


if __name__ == "__main__":
    main()
