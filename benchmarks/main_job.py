"""Time and memory of whole commands, as a user waits for them: start-up and the main job.

``python -m benchmarks main_job``. Each command runs in its own process after one run that warms caches; the figures
are the median of five, of one BLAS thread and of as many as the machine has.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

RUNS = 5
COMMANDS = {
    "python -c 'pass'": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import hwsim": ["-c", "import hwsim"],
    "hwsim --help": ["-m", "hwsim", "--help"],
    "hwsim layouts (the whole table)": ["-m", "hwsim", "layouts"],
    "hwsim simulate --gemm 128x512x256": ["-m", "hwsim", "simulate", "--gemm", "128x512x256"],
    "hwsim compare --costs-only": ["-m", "hwsim", "compare", "--costs-only"],
    "hwsim compare": ["-m", "hwsim", "compare"],
}


def run(arguments: list[str], threads: int) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MB of one process."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(threads)}
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise RuntimeError(f"{arguments} failed with status {status}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    print(f"{'command':<36} {'BLAS':>5} {'wall s':>8} {'CPU s':>8} {'peak MB':>8}")
    for name, arguments in COMMANDS.items():
        for threads in sorted({1, os.cpu_count() or 1}):
            run(arguments, threads)
            rows = [run(arguments, threads) for _ in range(RUNS)]
            wall, cpu, peak = (statistics.median(column) for column in zip(*rows, strict=True))
            print(f"{name:<36} {threads:>5} {wall:8.2f} {cpu:8.2f} {peak:8.0f}", flush=True)


if __name__ == "__main__":
    main()
