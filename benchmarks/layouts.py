"""Time of verdicts: ``python -m benchmarks.layouts`` prints a table.

Every figure is a fresh decision: caches are emptied before it. A row that names a witness builds and checks it too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import workloads
from quant.verify import layout_table
from quant.verify.catalogue import layouts_for
from quant.verify.decision import decide, verdict_on
from quant.verify.judgement import judge
from quant.verify.runs import block_axis, link_axes

REPEATS = 20


def convolutions() -> list[tuple[str, dict[str, int]]]:
    """List every convolution of ResNet-50: text and sizes of the operands."""
    layers = [layer for layer in workloads.resnet50().layers if layer.contraction.startswith("conv2d")]
    return [(layer.contraction, {x: layer.sizes[x] for x in "bchwors"}) for layer in layers]


def fresh() -> None:
    """Forget earlier verdicts."""
    verdict_on.cache_clear()
    judge.cache_clear()
    link_axes.cache_clear()
    block_axis.cache_clear()


def milliseconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median CPU time of a piece of work, which is the wall time on a quiet machine."""
    times = []
    for _ in range(repeats):
        fresh()
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times) * 1e3


def gemm(size: int, lhs: str, rhs: str, *, witness: bool = False) -> object:
    """Decide one GEMM, and prove it if asked."""
    found = decide("mk,kn->mn", lhs, rhs, sizes={"m": size, "k": size, "n": size})
    return found.witness.check() if witness and found.witness is not None else found


def convolution(text: str, sizes: dict[str, int], lhs: str) -> object:
    """Decide one convolution."""
    return decide(text, lhs, "per_channel", sizes=sizes)


def table(size: int) -> object:
    """Decide every pair of a cube."""
    return layout_table(sizes={"m": size, "k": size, "n": size})


def main() -> None:
    """Measure and print."""
    rows = [
        (f"GEMM {size}^3, mx:32 x group:128", milliseconds(partial(gemm, size, "mx:32", "group:128")))
        for size in (64, 512, 4096, 65536)
    ]
    rows.append(("GEMM 4096^3, k:32 x k:48", milliseconds(partial(gemm, 4096, "k:32", "k:48"))))
    prove = milliseconds(partial(gemm, 4096, "per_channel_in", "per_channel", witness=True))
    rows.append(("GEMM 4096^3, per_channel_in x per_channel, with checked witness", prove))
    layers = convolutions()
    for lhs in ("per_tensor", "per_channel_in", "per_token", "h:8,w:8"):
        times = [milliseconds(partial(convolution, *layer, lhs), 3) for layer in layers]
        rows.append((f"ResNet-50, {len(layers)} convolutions, {lhs} x per_channel, slowest", max(times)))
        rows.append((f"ResNet-50, {len(layers)} convolutions, {lhs} x per_channel, median", statistics.median(times)))
    pairs = len(layouts_for("mk,kn->mn", "lhs")) * len(layouts_for("mk,kn->mn", "rhs"))
    rows += [
        (f"table of {pairs} pairs with repairs, GEMM {size}^3", milliseconds(partial(table, size), 3))
        for size in (512, 4096)
    ]
    width = max(len(name) for name, _ in rows)
    print(f"{'verdict':<{width}}  {'CPU ms':>9}")
    for name, value in rows:
        print(f"{name:<{width}}  {value:9.3f}")


if __name__ == "__main__":
    main()
