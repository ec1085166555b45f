"""Zero points: what they add to a product of integers, and what that costs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

import workloads
from hwsim.accelerator import Accelerator
from hwsim.cost.pricing import price
from hwsim.plan import SumForZeroPoint
from hwsim.results import Result
from hwsim.simulation import simulate
from quant import Scheme, decide, quantize, sqnr_db

from . import samples
from .claim import Case, claims_of

claim = claims_of("zero points")

Integers = npt.NDArray[np.int64]
Expansion = Callable[[Integers, Integers, int, int], Integers]
By = Literal["adders", "channel"]


def _terms(x: Integers, w: Integers) -> tuple[Integers, Integers, Integers]:
    return x @ w, x.sum(axis=1, keepdims=True), w.sum(axis=0, keepdims=True)


def as_written(x: Integers, w: Integers, x_zero: int, w_zero: int) -> Integers:
    """Expansion of the lecture notes, term by term, sums over k put in where they are left out."""
    product, row_sums, column_sums = _terms(x, w)
    total: Integers = product + w_zero * x_zero + x_zero * column_sums + w_zero * row_sums
    return total


def corrected(x: Integers, w: Integers, x_zero: int, w_zero: int) -> Integers:
    """Both cross terms subtracted, the constant K times the zero points."""
    product, row_sums, column_sums = _terms(x, w)
    total: Integers = product - x_zero * column_sums - w_zero * row_sums + x.shape[1] * x_zero * w_zero
    return total


def _worst(expansion: Expansion, *, with_zeros: bool, shapes: int = 30) -> int:
    """Largest difference from the product of the shifted integers over random shapes."""
    rng = np.random.default_rng(samples.SEED)
    worst = 0
    for _ in range(shapes):
        m, k, n = rng.integers(1, 20, 3)
        x, w = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
        zeros = rng.integers(1, 128, 2) if with_zeros else (0, 0)
        x_zero, w_zero = int(zeros[0]), int(zeros[1])
        exact = (x - x_zero) @ (w - w_zero)
        worst = max(worst, int(np.abs(expansion(x, w, x_zero, w_zero) - exact).max()))
    return worst


@claim(
    "N25",
    text='"W X ~ ... + S_w Z_w S_x Z_x + S_x Z_x S_w W_q + S_w Z_w S_x X_q": terms, signs and constant as written',
    data="30 random shapes of int8 (seed 7), exact integers; largest difference from sum (X_q - Z_X)(W_q - Z_W)",
)
def expansion_as_written(expansion: Expansion = as_written) -> list[Case]:
    """Evaluate the expansion with and without zero points."""
    cases = []
    for name, which in (("both zero points are 0", False), ("zero points are not 0", True)):
        worst = _worst(expansion, with_zeros=which)
        cases.append(Case(name, worst, "is the largest difference", worst == 0))
    return cases


@claim(
    "N25",
    text="Corrected: sum W_q X_q - Z_X sum W_q - Z_W sum X_q + K Z_W Z_X",
    data="30 random shapes of int8 (seed 7), exact integers",
)
def expansion_corrected(expansion: Expansion = corrected) -> list[Case]:
    """Evaluate the corrected expansion."""
    return expansion_as_written.measure(expansion=expansion)  # type: ignore[return-value]


@claim(
    "N27",
    "N29",
    text='Z_X sum W_q is "precomputed offline & folded into bias addition"',
    data="verdicts of quant.decide: when the term is computed, and operations a call that it leaves",
)
def offset_is_offline(cases: Mapping[str, Mapping[str, Any]] | None = None) -> list[Case]:
    """Ask the verifier when the term of the activation's zero point is computed."""
    sizes = {"m": 256, "k": 512, "n": 256}
    given = cases or {
        "Z_X is static": {"contraction": "mk,kn->mn", "sizes": sizes, "lhs_static": True},
        "Z_X is dynamic": {"contraction": "mk,kn->mn", "sizes": sizes},
        "X and W are both activations": {
            "contraction": "mk,kn->mn", "sizes": sizes, "lhs_static": True, "rhs_kind": "activation",
        },
        "a convolution pads with other integers than Z_X": {
            "contraction": "conv2d padding=1",
            "sizes": {"b": 1, "c": 8, "h": 8, "w": 8, "o": 8, "r": 3, "s": 3},
            "lhs_static": True,
        },
    }  # fmt: skip
    found = []
    for name, arguments in given.items():
        verdict = decide(**arguments, lhs_zero="per_tensor")
        term = next(one for one in verdict.corrections if one.term == "T_A")
        free = term.when == "offline" and not term.condition
        where = term.when + (f", if {term.condition}" if term.condition else "")
        found.append(Case(name, term.adds + term.multiply_adds, f"operations a call: {where}", free))
    return found


@dataclass(frozen=True)
class Overhead:
    """What zero points on the weights add to a product, in percent of the same one without them."""

    columns: int
    array: int
    by: By
    cycles: float
    energy: float
    mac_energy: float
    area: float


@functools.cache
def schemes() -> dict[str, Scheme]:
    """List the preset with zero points on activations only, and with such on weights, their sums formed either way."""
    base = Scheme.load("w8a8-asym-act").replace(weight__format="int8")
    asymmetric = base.replace(name="asymmetric weights", weight__symmetric=False)
    return {
        "symmetric": base,
        "adders": asymmetric.replace(zero_point_sums="adders"),
        "channel": asymmetric.replace(zero_point_sums="channel"),
    }


def _array(width: int) -> Accelerator:
    machine = Accelerator.load("edge-16x16")
    return machine.replace(array__rows=width, array__columns=width, vector__lanes=width)


def _mac_pj(result: Result) -> float:
    """Energy of the products and of what sums them for zero points."""
    total = 0.0
    for layer in result.layers:
        total += layer.energy.mac_pj
        for step in layer.plan.steps:
            if isinstance(step, SumForZeroPoint) and step.by == "adders":
                total += sum(a.count * price(result.technology, a.component).energy_pj for a in step.actions)
    return float(total)


@functools.cache
def overhead(columns: int, array: int, by: By, m: int = 256, k: int = 512) -> Overhead:
    """Price a product [m, k] x [k, columns] on a square array with and without zero points on the weights."""
    network, machine = workloads.gemm(m, k, columns), _array(array)
    base, more = (simulate(network, schemes()[name], machine, numerics=False) for name in ("symmetric", by))

    def percent(read: Callable[[Result], float]) -> float:
        return 100 * (read(more) / read(base) - 1)

    return Overhead(
        columns,
        array,
        by,
        percent(lambda result: float(sum(layer.timing.compute_cycles for layer in result.layers))),
        percent(lambda result: result.energy_pj),
        percent(_mac_pj),
        percent(lambda result: float(result.built.total_um2)),
    )


@claim(
    "N28",
    "N30",
    text='Z_W sum X_q: "Online overhead is roughly equivalent to cost of adding 1 channel"',
    data="256 x 512 x N int8; energy of products and sums, extra over 1/N: within a factor of 2",
)
def overhead_is_a_channel(
    points: Mapping[str, Overhead] | None = None, columns: Sequence[int] = (1, 16, 256)
) -> list[Case]:
    """Divide the extra energy of products and sums by that of one channel."""
    given = points or {
        f"N = {n}, {'an extra channel' if by == 'channel' else 'adders beside the array'}": overhead(n, 16, by)
        for by in ("channel", "adders")
        for n in columns
    }
    cases = []
    for name, point in given.items():
        channels = point.mac_energy / 100 * point.columns
        cases.append(Case(name, channels, "channels' worth of energy", 0.5 <= channels <= 2))
    return cases


@claim(
    "N31",
    text='"for multiple channels, it is insignificant overhead"',
    data="256 x 512 x N int8 on 16 x 16: cycles of the array, extra channel or adders; insignificant: at most 5 %",
)
def insignificant_for_many(points: Mapping[str, Overhead] | None = None, limit: float = 5.0) -> list[Case]:
    """Extra cycles where there are several channels."""
    given = points or {
        **{f"N = {n}, an extra channel": overhead(n, 16, "channel") for n in (256, 250, 64, 16, 15)},
        "N = 64, an extra channel, array 64 wide": overhead(64, 64, "channel"),
        "N = 16, adders": overhead(16, 16, "adders"),
    }
    return [Case(name, point.cycles, "% more cycles", point.cycles <= limit) for name, point in given.items()]


@claim(
    "N32",
    text='"for single channels, it is significant overhead"',
    data="256 x 512 x 1 int8 on 16 x 16, and a 3x3 depthwise convolution, where each group has one output; "
    "significant: at least 5 %",
)
def significant_for_one(points: Mapping[str, Overhead] | None = None, limit: float = 5.0) -> list[Case]:
    """Extra work, cycles and energy where there is one channel."""
    given = points or {by: overhead(1, 16, by) for by in ("channel", "adders")}
    labels = {"channel": "an extra channel", "adders": "adders"}
    cases = []
    for by, point in given.items():
        for what, value in (
            ("energy of products and sums", point.mac_energy),
            ("cycles of the array", point.cycles),
            ("energy with memories", point.energy),
        ):
            cases.append(Case(f"{what}, {labels.get(by, by)}", value, "% more", value >= limit))
    if points is None:
        share = _depthwise_share()
        cases.append(Case("additions in a depthwise convolution", share, "% of its products more", share >= limit))
    return cases


def _depthwise_share() -> float:
    """Additions that sum up the activation of a 3x3 depthwise convolution, in percent of its products."""
    sizes = {"b": 1, "c": 32, "h": 16, "w": 16, "r": 3, "s": 3}
    found = decide("depthwise2d padding=1", rhs_zero="per_tensor", sizes=sizes)
    term = next(one for one in found.corrections if one.term == "T_W")
    return 100 * term.adds / found.problem.gemm.macs


@claim(
    "N33",
    text='"Use symmetric quantization for weights ... asymmetric quantization for activations"',
    data="linear layers of the MiniLM block, int8: dB gained by a zero point on the activation less dB gained on the "
    "weight (per channel); operations a call that each costs, 256 x 512 x 256",
)
def where_zero_points_pay(
    layers: Mapping[str, tuple[samples.Float32, samples.Float32]] | None = None,
    operations: Mapping[str, tuple[int, int]] | None = None,
) -> list[Case]:
    """Compare gain and cost of a zero point on either operand."""
    given = layers or {name: samples.operands(name) for name in ("q", "ffn_up", "ffn_down")}
    cases = []
    for name, (lhs, rhs) in given.items():
        gains = [
            sqnr_db(x, quantize(x, "int8", layout, axes=axes, symmetric=False).dequantize())
            - sqnr_db(x, quantize(x, "int8", layout, axes=axes).dequantize())
            for x, layout, axes in ((lhs, "1", "mk"), (rhs, "n:1", "kn"))
        ]
        cases.append(Case(f"errors of {name}", gains[0] - gains[1], "dB more on the activation", gains[0] > gains[1]))
    for name, (activation, weight) in (operations or _operations()).items():
        cases.append(
            Case(
                f"costs, {name}",
                weight,
                f"operations for the weight's, {activation:,} for the other",
                weight > activation,
            )
        )
    return cases


def _operations() -> dict[str, tuple[int, int]]:
    """Operations a call for a zero point on the activation and on the weight."""
    found = {}
    for name, static in (("X static", True), ("X dynamic", False)):
        verdict = decide(
            "mk,kn->mn", lhs_zero="per_tensor", rhs_zero="per_tensor", sizes={"m": 256, "k": 512, "n": 256},
            lhs_static=static,
        )  # fmt: skip
        work = {term.term: term.adds + term.multiply_adds for term in verdict.corrections}
        found[name] = (work["T_A"], work["T_W"])
    return found
