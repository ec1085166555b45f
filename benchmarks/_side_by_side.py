"""Rows timed side by side: interleaved, on one thread, in the processor's own time, whatever else the machine does."""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numba


class Row(NamedTuple):
    """Something to time, how many values it handles, and the rows it is compared with."""

    name: str
    run: Callable[[], Any]
    values: int
    beside: tuple[str, ...] = ()


def single_thread() -> None:
    """Keep numba, and torch where it is installed, to one thread."""
    numba.set_num_threads(1)
    if importlib.util.find_spec("torch"):
        importlib.import_module("torch").set_num_threads(1)


def compare(rows: Iterable[Row], repeat: int = 7) -> dict[str, float]:
    """Print one line a row: best time, values a second, and its time over that of each row beside it."""
    kept = list(rows)
    best = dict.fromkeys((row.name for row in kept), float("inf"))
    for row in kept:
        row.run()
    for _ in range(repeat):
        for row in kept:
            start = time.process_time()
            row.run()
            best[row.name] = min(best[row.name], time.process_time() - start)
    for row in kept:
        ratios = [f"{best[row.name] / best[peer]:.2f} x {peer}" for peer in row.beside if peer in best]
        speed = row.values / best[row.name] / 1e6
        print(f"{row.name:<46} {best[row.name] * 1e3:9.2f} ms {speed:9.1f} M/s  {', '.join(ratios)}", flush=True)
    return best
