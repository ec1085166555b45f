"""Rounding: bias, spread and speed of each mode, in software and as hardware."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from hwsim.technology import Technology
from quant import Rounding, adaptive_round, quantize, round_geometric, round_pow2
from quant.adaptive import output_square_error

from . import samples
from .claim import Case, claims_of
from .rounding_modes import DOT, MODES, NODE, Measured, Rounder, fixed, hardware, measure, measured, software_ns, steps
from .samples import Float32

claim = claims_of("rounding")

BIAS_LIMIT, SQUARE_LIMIT = 0.02, 2.1
"""Good: bias below this many steps, and square error at most so many times that of rounding to nearest."""


def _is_good(found: Measured, nearest: Measured) -> bool:
    return abs(found.bias) < BIAS_LIMIT and found.mean_square <= SQUARE_LIMIT * nearest.mean_square


def _grid() -> Float32:
    """Values on halves and quarters, as a fixed-point sum leaves them: ties are common."""
    return np.round(steps() * 2) / np.float32(2)


@claim(
    "N10",
    "N16",
    text='Nearest: accuracy "Good"',
    data="524,288 values of 0 to 100 steps (seed 7), and the same on a grid of half steps, where ties are common; "
    "good: bias below 0.02 steps",
)
def nearest_is_good(x: Float32 | None = None, grid: Float32 | None = None) -> list[Case]:
    """Bias of rounding to nearest, by what happens to ties."""
    values, halves = steps() if x is None else x, _grid() if grid is None else grid
    cases = []
    for rounding, ties in ((Rounding.HALF_EVEN, "to even"), (Rounding.HALF_AWAY, "away"), (Rounding.HALF_UP, "up")):
        for data, where in ((values, "rare"), (halves, "common")):
            found = measure(fixed(rounding), data)
            cases.append(
                Case(f"ties are {where} and go {ties}", found.bias, "steps of bias", abs(found.bias) < BIAS_LIMIT)
            )
    return cases


def _poor(mode: Rounding, x: Float32 | None) -> list[Case]:
    values = steps() if x is None else x
    found, nearest = measure(fixed(mode), values), measure(fixed(Rounding.HALF_EVEN), values)
    ratio = found.mean_square / nearest.mean_square if nearest.mean_square else 1.0
    return [
        Case("biases are compared", found.bias, "steps of bias", abs(found.bias) >= BIAS_LIMIT),
        Case("square errors are compared", ratio, "x that of nearest", ratio > SQUARE_LIMIT),
        Case(f"sums of {DOT:,} are compared", found.sum_bias, "steps of bias", abs(found.sum_bias) > 1),
    ]


@claim("N11", "N16", text='Ceil: accuracy "Poor"', data="524,288 values of 0 to 100 steps (seed 7)")
def ceil_is_poor(x: Float32 | None = None) -> list[Case]:
    """Bias and square error of rounding up."""
    return _poor(Rounding.UP, x)


@claim("N12", "N16", text='Floor: accuracy "Poor"', data="524,288 values of 0 to 100 steps (seed 7)")
def floor_is_poor(x: Float32 | None = None) -> list[Case]:
    """Bias and square error of rounding down."""
    return _poor(Rounding.DOWN, x)


@claim(
    "N12",
    "N16",
    text='Floor: speed "Fastest"',
    data="hardware: energy of the logic that cuts 16 bits off, 45 nm; software: numpy, processor time a value, best of "
    "15, fastest if 10 % below every other",
    timed=True,
)
def floor_is_fastest(
    hardware_pj: Mapping[str, float] | None = None, software: Mapping[str, float] | None = None
) -> list[Case]:
    """Compare floor with the best of the others, as hardware and in software."""
    if hardware_pj is None:
        hardware_pj = {name: pj for name, pj in ((m.name, hardware(m)[0]) for m in MODES) if not math.isnan(pj)}
    if software is None:
        software = software_ns({mode.name: mode.make for mode in MODES if mode.name in _SOFTWARE})
    energy = min(pj for name, pj in hardware_pj.items() if name != "floor")
    rival = min(ns for name, ns in software.items() if name != "floor")
    ratio = software["floor"] / rival
    return [
        Case("built as hardware", hardware_pj["floor"], f"pJ, the next {energy:.2g}", hardware_pj["floor"] < energy),
        Case("run in software", ratio, "x the time of the fastest other", ratio < 0.9),
    ]


_SOFTWARE = ("floor", "ceil", "nearest, ties to even", "stochastic, ideal", "logarithmic, geometric mean")


@claim(
    "N13",
    "N16",
    text='Stochastic: "Good (but large standard deviation)"',
    data="524,288 values of 0 to 100 steps (seed 7): bias, square error and spread of sums of 1,024 over those of "
    "nearest",
)
def stochastic_is_good(rounders: Mapping[str, Callable[[], Rounder]] | None = None) -> list[Case]:
    """Bias and spread of stochastic rounding, by its source of random bits."""
    given = rounders or {mode.name: mode.make for mode in MODES if mode.name.startswith("stochastic")}
    nearest = measured()["nearest, ties to even"]
    cases = []
    for name, make in given.items():
        found = measure(make, steps())
        spread = found.sum_spread / nearest.sum_spread
        cases.append(
            Case(
                name,
                spread,
                f"x the spread of nearest, bias {found.bias:+.3f}",
                _is_good(found, nearest) and spread > 1.2,
            )
        )
    return cases


@claim(
    "N14",
    text="Logarithmic (left blank), read as limits at the geometric mean: nearly as good as nearest",
    data="values of 0 to 100 steps (seed 7), and of 0 to 3 steps as low widths have them",
)
def geometric_is_near(tensors: Mapping[str, Float32] | None = None) -> list[Case]:
    """Square error of rounding at the geometric mean over that of nearest."""
    given = tensors or {"values take many steps": steps(), "values take few steps": steps() * np.float32(0.03)}
    cases = []
    for name, x in given.items():
        found, nearest = measure(lambda: round_geometric, x), measure(fixed(Rounding.HALF_EVEN), x)
        ratio = found.mean_square / nearest.mean_square
        cases.append(Case(name, ratio, f"x the square error, bias {found.bias:+.3f}", ratio < 1.1))
    return cases


@claim(
    "N14",
    text="Logarithmic, read as snapping to a power of two: error at most sqrt(2) - 1, and a shifter multiplies",
    data="65,536 normal values (seed 7); MAC into 32 bits, 45 nm",
)
def powers_shift(
    x: Float32 | None = None, shift_pj: float | None = None, multiply_pj: Mapping[str, float] | None = None
) -> list[Case]:
    """Largest relative error, and energy of the MAC that shifts over the one that multiplies."""
    values = samples.normal() if x is None else x
    node = Technology.load(NODE)
    shift = float(node.shift_mac(8, 6, 32).energy_pj) if shift_pj is None else shift_pj
    # Four-bit codes of powers of two span 1 to 64: a linear code of that span has 8 bits.
    given = multiply_pj or {
        "int4": float(node.integer_mac(8, 4, 32).energy_pj),
        "int8": float(node.integer_mac(8, 8, 32).energy_pj),
    }
    worst = float((np.abs(round_pow2(values, geometric=True) - values) / np.abs(values)).max())
    return [
        Case("errors are compared", 100 * worst, "% largest error", worst <= math.sqrt(2) - 1 + 1e-6),
        *(
            Case(f"MACs are compared with {name} weights", shift / pj, "x the energy", shift < pj)
            for name, pj in given.items()
        ),
    ]


@claim(
    "N15",
    text="Adaptive rounding (left blank), read as AdaRound: less error of the layer's output than nearest",
    data="64 columns of ffn_up, 4 bits per channel: output on calibration inputs, output on other sentences, weights",
)
def adaptive_is_better(
    calibration: Float32 | None = None, evaluation: Float32 | None = None, weight: Float32 | None = None
) -> list[Case]:
    """Error of the layer's output with each weight rounded up or down for the output's sake."""
    seen = samples.operands("ffn_up", calibration=True)[0] if calibration is None else calibration
    other = samples.operands("ffn_up")[0] if evaluation is None else evaluation
    w = np.ascontiguousarray(samples.operands("ffn_up")[1][:, :64]) if weight is None else weight
    nearest = quantize(w, "int4", "n:1", axes="kn").dequantize()
    adapted = adaptive_round(w, seen, "int4").dequantize()
    ratios = {
        "calibration inputs": output_square_error(seen, w, adapted) / output_square_error(seen, w, nearest),
        "other inputs": output_square_error(other, w, adapted) / output_square_error(other, w, nearest),
        "the weights themselves": float(np.square(adapted - w).sum() / np.square(nearest - w).sum()),
    }
    return [
        Case(f"the error is that of {name}" if "weights" in name else f"on {name}", ratio, "x of nearest", ratio < 1)
        for name, ratio in ratios.items()
    ]
