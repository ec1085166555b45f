"""The strategies of the chapter, side by side: weight-only, dynamic, static; memory, widths, crossover with M."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import workloads
from hwsim.accelerator import Accelerator
from hwsim.equal_area import equal_area
from hwsim.lowering import lower
from hwsim.network import plan_network
from hwsim.results import Result
from quant import Scheme, decide, quantize

from . import samples
from .claim import Case, claims_of
from .textbook import MACHINE, STRATEGIES, block_result, chain, float_actions, gemm_result, result_bytes, textbook

claim = claims_of("strategies")


def weight_bytes(scheme: Scheme, k: int = 4096, n: int = 4096) -> float:
    """Bytes of the stored weight [k, n] with its scales and tables."""
    return lower(workloads.gemm(16, k, n).layers[0], scheme, Accelerator.load(MACHINE)).weight_bytes


@claim(
    "C03",
    "C08",
    text='"reducing the layer\'s memory footprint by a factor of 4"',
    data="weight [4096, 4096] as plans store it, scales included; a factor of 4 to within 1 %",
)
def four_times_smaller(ratios: Mapping[str, float] | None = None) -> list[Case]:
    """Bytes of a float weight over those of an int8 one."""
    if ratios is None:
        fp32, fp16 = weight_bytes(Scheme.load("fp32")), weight_bytes(Scheme.load("fp16"))
        base = textbook("weight-only")
        grouped = {
            f"groups of {size}, fp16 scales": weight_bytes(
                base.replace(weight__layout=f"group:{size}", weight__scale_format="fp16")
            )
            for size in (128, 32)
        }
        ratios = {
            "per tensor, against fp32": fp32 / weight_bytes(base),
            "per channel, against fp32": fp32 / weight_bytes(base.replace(weight__layout="per_channel")),
            **{f"{name}, against fp32": fp32 / stored for name, stored in grouped.items()},
            "per tensor, against fp16": fp16 / weight_bytes(base),
        }
    return [Case(name, ratio, "x smaller", ratio >= 4 * 0.99) for name, ratio in ratios.items()]


def _footprint(result: Result) -> float:
    """Bytes of weights and of the results of all layers."""
    return sum(layer.plan.weight_bytes for layer in result.layers) + result_bytes(result)


@claim(
    "C08",
    "C16",
    "C23",
    text="The whole memory, activations between layers included, is a quarter too",
    data="MiniLM block, 256 tokens: bytes of weights and results in memory, fp32 over each strategy",
)
def whole_memory(ratios: Mapping[str, float] | None = None) -> list[Case]:
    """Weights and activations together."""
    if ratios is None:
        sizes = {name: _footprint(block_result(name, numerics=False)) for name in STRATEGIES}
        ratios = {name: sizes["float32"] / sizes[name] for name in STRATEGIES[1:]}
    return [Case(name, ratio, "x smaller", ratio >= 4 * 0.99) for name, ratio in ratios.items()]


def crossing(ratio: Callable[[int], float], limit: float, largest: int = 4096) -> int | None:
    """Find the smallest M from which a rising ratio exceeds a limit: doubling, then bisection.

    Returns
    -------
    m
        None if the ratio stays within the limit up to `largest`.

    Examples
    --------
    >>> crossing(lambda m: m / 100, 1.0), crossing(lambda m: 0.5, 1.0)
    (101, None)
    """
    below, above = 0, 1
    while ratio(above) <= limit:
        if above >= largest:
            return None
        below, above = above, min(2 * above, largest)
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if ratio(middle) > limit else (middle, above)
    return above


@functools.cache
def equal_area_us(m: int, scheme: Scheme, k: int = 512, n: int = 512) -> float:
    """Latency on as large an array as fits the area of the fp32 machine."""
    network = workloads.gemm(m, k, n)
    budget = gemm_result(16, k, n, textbook("float32")).built.total_um2
    latency: float = equal_area(network, gemm_result(m, k, n, scheme), budget)["equal_area_latency_us"]
    return latency


WEIGHT_ONLY, INTEGER, HALF = "w8a16", "w8a8-static", "fp16"


def slowdown(m: int) -> float:
    """Latency of weight-only over static int8, each on the array that fits the same area."""
    return equal_area_us(m, Scheme.load(WEIGHT_ONLY)) / equal_area_us(m, Scheme.load(INTEGER))


def speedup_lost(m: int) -> float:
    """Latency of weight-only over its own float format, on the same array."""
    return float(
        gemm_result(m, 512, 512, Scheme.load(WEIGHT_ONLY)).total_cycles
        / gemm_result(m, 512, 512, Scheme.load(HALF)).total_cycles
    )


@claim(
    "C10",
    text='Weight-only: "we\'re not getting the full benefit of int8 operations"',
    data="M x 512 x 512: w8a16 over w8a8-static, each on the array that fits the area of the fp32 machine; benefit "
    "missed: more than 10 % slower",
)
def misses_the_benefit(ratio: Callable[[int], float] = slowdown, limit: float = 1.1) -> list[Case]:
    """Find the M from which weight-only is slower than int8."""
    found = crossing(ratio, limit)
    cases = [] if found is None else [Case(f"M is {found} or more", ratio(found), "x the latency at that M", True)]
    if found is None or found > 1:
        cases.append(Case("M is 1, bound by memory", ratio(1), "x the latency", ratio(1) > limit))
    return cases


@claim(
    "C09",
    "C10",
    text="Weight-only is faster than its float format",
    data="M x 512 x 512 on edge-16x16: cycles of w8a16 over fp16; faster: at least 5 %",
)
def weight_only_is_faster(ratio: Callable[[int], float] = speedup_lost, limit: float = 0.95) -> list[Case]:
    """Find the M from which weight-only gains nothing over float."""
    found = crossing(ratio, limit)
    last = 4096 if found is None else found - 1
    cases = [Case(f"M is at most {last}", 1 / ratio(1), "x faster at M = 1", True)] if last else []
    if found is not None:
        cases.append(Case(f"M is {found} or more", 1 / ratio(found), "x at that M, bound by the array", False))
    return cases


@claim(
    "C21",
    "C22",
    text='Static: "It can be computed entirely in int8!"',
    data="plans on edge-16x16: actions of float units in one call, and the widest integer register",
)
def entirely_int8(cases: Mapping[str, tuple[float, str]] | None = None) -> list[Case]:
    """Count float work of a linear layer behind another, of the embedded block, and the width of the sums."""
    if cases is None:
        linear = chain("static")[1:]
        block = plan_network(samples.block(), textbook("static"), Accelerator.load(MACHINE))
        functions = [f for f in samples.block().functions if not workloads.FunctionKind(f.kind).moves_only]
        cases = {
            "linear layers that feed each other are looked at": (float_actions(linear), "float operations"),
            "their sums are looked at": (max(plan.mac.accumulator_bits for plan in linear) - 8, "bits beyond int8"),
            "a transformer block is looked at": (
                float_actions(block),
                f"float operations, and {len(functions)} float functions",
            ),
        }
    return [Case(name, value, unit, value == 0) for name, (value, unit) in cases.items()]


@claim(
    "C17",
    text='Dynamic: "also cut down the inference latency due to the optimized integer ops" against weight-only',
    data="M x 512 x 512, chapter's schemes: latency of dynamic over weight-only, on one array and at equal area",
)
def dynamic_is_faster(ratios: Mapping[str, float] | None = None, rows: Sequence[int] = (1, 64, 256)) -> list[Case]:
    """Compare dynamic with weight-only."""
    if ratios is None:
        ratios = {}
        for m in rows:
            same = [gemm_result(m, 512, 512, textbook(name)).total_cycles for name in ("dynamic", "weight-only")]
            fitted = [equal_area_us(m, textbook(name)) for name in ("dynamic", "weight-only")]
            ratios[f"M = {m}, same array"] = same[0] / same[1]
            ratios[f"M = {m}, same area"] = fitted[0] / fitted[1]
    return [Case(name, ratio, "x the latency", ratio < 0.99) for name, ratio in ratios.items()]


@claim(
    "C14",
    text="A quantized bias joins the integer sum (both parameter matrices are quantized to int8)",
    data="ffn_up, per tensor: steps of the sum in one step of an int8 bias (a whole number could be added); else where "
    "quant.decide puts the bias",
)
def bias_joins_the_sum(steps: float | None = None, places: Mapping[str, Mapping[str, Any]] | None = None) -> list[Case]:
    """Compare the scale of the bias with that of the accumulator, and ask the verifier where a bias is exact."""
    if steps is None:
        lhs, rhs = samples.operands("ffn_up")
        bias = samples.recording().bias(samples.block().layer("ffn_up"))
        scales = [float(quantize(np.asarray(x), "int8").scales[0].item()) for x in (bias, lhs, rhs)]
        steps = scales[0] / (scales[1] * scales[2])
    given = places or {
        "it is int32 with the scale s_X s_W, X static": {"lhs_static": True},
        "X is dynamic": {},
        "X has a scale for each token": {"lhs": "per_token", "lhs_static": True},
    }
    cases = [Case("it is int8 with a scale of its own", steps, "steps of the sum in one of the bias", steps % 1 == 0)]
    for name, arguments in given.items():
        found = decide("mk,kn->mn", sizes={"m": 256, "k": 384, "n": 1536}, **arguments)
        inside = found.bias.where == "accumulator"
        cases.append(Case(name, int(not inside), f"float additions a result ({found.bias.where})", inside))
    return cases


@claim(
    "C02",
    "C31",
    text="Each strategy is the best at something",
    data="MiniLM block on edge-16x16, chapter's schemes: output SQNR, samples to calibrate, cycles",
)
def each_is_best(rows: Mapping[str, Mapping[str, float]] | None = None) -> list[Case]:
    """Look for each strategy's strength among the post-training ones: error, data needed, time."""
    if rows is None:
        rows = {
            name: {
                "db": block_result(name).output_sqnr_db or 0.0,
                "samples": CALIBRATION_SEQUENCES if name == "static" else 0,
                "cycles": block_result(name, numerics=False).total_cycles,
            }
            for name in STRATEGIES[1:]
        }
    weight_only, dynamic, static = (rows[name] for name in STRATEGIES[1:])
    return [
        Case(
            "weight-only, by error",
            weight_only["db"],
            f"dB, dynamic {dynamic['db']:.1f}, static {static['db']:.1f}",
            weight_only["db"] > max(dynamic["db"], static["db"]),
        ),
        Case(
            "dynamic, by error among integer products without calibration",
            dynamic["db"],
            f"dB, static {static['db']:.1f} after {static['samples']:g} sequences",
            dynamic["db"] >= static["db"] and dynamic["samples"] == 0,
        ),
        Case(
            "static, by time",
            static["cycles"],
            f"cycles, dynamic {dynamic['cycles']:,}, weight-only {weight_only['cycles']:,}",
            static["cycles"] < min(dynamic["cycles"], weight_only["cycles"]),
        ),
    ]


CALIBRATION_SEQUENCES = 4
"""Sequences that static ranges of the embedded block come from, as its data say."""
