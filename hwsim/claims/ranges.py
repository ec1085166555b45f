"""Clipping ranges: the two errors that trade off, percentiles, calibration samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from quant import ErrorCurve, error_curve, measure_errors, observe, quantize, scale_from_range

from . import samples
from .claim import Case, claims_of
from .samples import Float32

claim = claims_of("ranges")

INSIDE = 0.95
"""Share of the largest magnitude below which the best threshold clips on purpose."""


def _tensors() -> dict[str, Float32]:
    return {"normal values": samples.normal(), "uniform values": samples.uniform()}


def _curves(tensors: Mapping[str, Float32], formats: Sequence[str]) -> Iterator[tuple[str, Float32, ErrorCurve]]:
    """Clipping and rounding errors of every tensor in every format, with a name."""
    for name, x in tensors.items():
        for fmt in formats:
            yield f"{name}, {fmt}", x, error_curve(x, fmt)


@claim(
    "N08",
    text='"Tradeoff between 2 types": clipping falls as the range widens, rounding as it narrows',
    data="65,536 values (seed 7), 100 symmetric thresholds up to the largest magnitude; each step must go its way",
)
def errors_trade_off(
    tensors: Mapping[str, Float32] | None = None, formats: Sequence[str] = ("int4", "int8")
) -> list[Case]:
    """Count the steps of the curve on which clipping does not rise and rounding does not fall."""
    cases = []
    for name, _, curve in _curves(tensors or _tensors(), formats):
        falls = np.diff(curve.clipping) <= 0
        # Rounding noise of a finite sample wiggles by its own spread; a fall must be larger to count.
        rises = np.diff(curve.rounding) >= -0.05 * curve.rounding[1:]
        share = 100 * float(np.mean(falls & rises))
        cases.append(Case(name, share, "% of steps as claimed", share == 100))
    return cases


@claim(
    "N08",
    text="A range narrower than the data is best: clipping and rounding meet in between",
    data="the same curves; best threshold over the largest magnitude",
)
def best_threshold_inside(
    tensors: Mapping[str, Float32] | None = None, formats: Sequence[str] = ("int4", "int8")
) -> list[Case]:
    """Find the threshold of least error."""
    cases = []
    for name, x, curve in _curves(tensors or _tensors(), formats):
        share = curve.best / float(curve.thresholds[-1])
        sigmas = curve.best / float(np.std(x, dtype=np.float64))
        cases.append(Case(name, sigmas, "standard deviations", share < INSIDE))
    return cases


def _square_error(x: Float32, fmt: str, percentile: float) -> float:
    q = quantize(x, fmt, symmetric=False, range="percentile", percentile=percentile)
    return float(measure_errors(x, q.dequantize()).mean_square)


@claim(
    "N22",
    text='"r_min and r_max is usually 10th and 90th percentile"',
    data="65,536 values (seed 7), with a zero point; square error over that of min-max must be at most 1",
)
def ten_ninety(tensors: Mapping[str, Float32] | None = None, percentile: float = 10.0) -> list[Case]:
    """Compare the percentile range with min-max."""
    given = tensors or {"normal": samples.normal(), "heavy tails": samples.heavy_tails()}
    cases = []
    for fmt, bits in (("int8", 8), ("int4", 4), ("int2", 2)):
        for name, x in given.items():
            ratio = _square_error(x, fmt, percentile) / _square_error(x, fmt, 0.0)
            cases.append(Case(f"{bits} bits, {name}", ratio, "x the square error of min-max", ratio <= 1))
    return cases


@claim(
    "N22",
    text='"usually 10th and 90th percentile", in a whole network',
    data="MiniLM block, static int8 with ranges from the 10th to the 90th percentile against min-max: SQNR lost, at "
    "most 1 dB",
)
def ten_ninety_network(totals: Mapping[str, Mapping[str, float]] | None = None) -> list[Case]:
    """Error of the contractions and of the block's output with both ranges."""
    given = totals or {name: samples.block_totals(name) for name in ("w8a8-static", "w8a8-percentile-10")}
    whole, cut = given["w8a8-static"], given["w8a8-percentile-10"]
    cases = []
    for name, column in (("errors of the contractions", "sqnr_db"), ("the error of the output", "block_sqnr_db")):
        lost = whole[column] - cut[column]
        cases.append(Case(name, lost, f"dB lost, from {whole[column]:.1f}", lost <= 1))
    return cases


@claim(
    "C05",
    "C13",
    text="Min-max, and so a dynamic range, clips nothing of the tensor it was taken from",
    data="ffn_down's input: range of the evaluation tensor itself, and the one calibrated on other sentences",
)
def own_range_clips_nothing(own: Float32 | None = None, other: Float32 | None = None) -> list[Case]:
    """Count saturated values under the tensor's own range and under another's."""
    tensor = samples.operands("ffn_down")[0] if own is None else own
    calibration = samples.operands("ffn_down", calibration=True)[0] if other is None else other
    dynamic = quantize(tensor, "int8").saturated
    scale = quantize(calibration, "int8").scales[0]
    static = quantize(tensor, "int8", scale=scale).saturated
    unit = f"of {tensor.size:,} values clipped"
    return [
        Case("the range is the tensor's own (dynamic)", dynamic, unit, dynamic == 0),
        Case("the range comes from calibration (static)", static, unit, static == 0),
    ]


@claim(
    "C19",
    "N39",
    "N40",
    text='"usually between 100-500" samples are enough to calibrate',
    data="samples of 512 values, 20 draws (seed 7): change of the range from 100 to 500 samples, worst draw; "
    "settled if below 5 %",
)
def samples_settle(draws: Mapping[str, Sequence[Float32]] | None = None, limit: float = 5.0) -> list[Case]:
    """Compare the range after 100 samples with that after 500."""
    given = draws or {"normal values": _draws(heavy=False), "heavy tails": _draws(heavy=True)}
    cases = []
    for name, sets in given.items():
        for method, percentile in (("minmax", 0.0), ("percentile", 0.1)):
            worst = max(_change(rows, method, percentile) for rows in sets)
            label = "min-max" if method == "minmax" else f"percentile {percentile:g}"
            cases.append(Case(f"{name}, {label}", worst, "% change", worst < limit))
    return cases


def _draws(*, heavy: bool) -> list[Float32]:
    rng = np.random.default_rng(samples.SEED)
    shape = (500, 512)
    return [(rng.standard_t(3, shape) if heavy else rng.standard_normal(shape)).astype(np.float32) for _ in range(20)]


def _change(rows: Float32, method: str, percentile: float) -> float:
    """Percent by which the bound moves between the first fifth of the samples and all of them."""
    few, many = rows[: len(rows) // 5], rows
    if method == "minmax":
        first, last = float(np.abs(few).max()), float(np.abs(many).max())
    else:
        first, last = (float(np.percentile(np.abs(part), 100 - 2 * percentile)) for part in (few, many))
    return 100 * abs(last - first) / first


@claim(
    "C04",
    "C20",
    text='Ranges by "min-max method", "averages or histograms": any of them will do',
    data="ffn_down's input, calibrated on 4 sequences, error on 2 others, int8 per tensor; within 1 dB of the best",
)
def any_range_method(
    calibration: Sequence[Float32] | None = None, evaluation: Float32 | None = None, within: float = 1.0
) -> list[Case]:
    """Calibrate with every observer and compare the errors on other inputs."""
    if calibration is None or evaluation is None:
        calibration = np.array_split(samples.operands("ffn_down", calibration=True)[0], 4)
        evaluation = samples.operands("ffn_down")[0]
    found = {}
    for method in ("minmax", "moving_average", "percentile", "mse", "entropy"):
        bounds = observe(calibration, "per_tensor", "mk", method)
        scale, _ = scale_from_range(bounds, "int8")
        codes = quantize(evaluation, "int8", scale=scale)
        found[method.replace("_", " ")] = float(measure_errors(evaluation, codes.dequantize()).sqnr_db)
    best = max(found.values())
    return [Case(name, db, "dB", db >= best - within) for name, db in found.items()]
