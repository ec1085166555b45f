"""Data made so that each claim holds, and data made so that it fails, with the reason in sight."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsim.claims import advantages, zero_points
from quant import FP16, FP32, Smoothing, Stochastic, round_values

RNG = np.random.default_rng(11)
NORMAL = RNG.standard_normal(4096).astype(np.float32)
SIGNS = np.where(RNG.random(4096) < 0.5, -1, 1).astype(np.float32)
"""Two values: any range but the full one clips half of everything."""
HALVES = (np.arange(4096) % 64 + 0.5).astype(np.float32)
WHOLE = (np.arange(4096) % 64).astype(np.float32)
EVEN_COLUMNS = np.tile(np.linspace(-1, 1, 64, dtype=np.float32)[:, None], (1, 16))
SPREAD_COLUMNS = EVEN_COLUMNS * np.float32(2.0) ** -np.arange(16, dtype=np.float32)
IDENTITY = np.eye(16, dtype=np.float32)

ALL_LESS = {"made up": advantages.Ratios(0.5, 0.5, 0.5, 0.5, 0.5)}
ALL_MORE = {"made up": advantages.Ratios(2.0, 2.0, 2.0, 2.0, 2.0)}


def point(cycles: float, energy: float, mac_energy: float, columns: int = 1) -> zero_points.Overhead:
    return zero_points.Overhead(columns, 16, "adders", cycles, energy, mac_energy, 0.0)


def study(ptq: float, qat: float, fake: float) -> Any:
    row = {"strategy": "static", "weight_bits": 4, "float_accuracy": 1.0}
    return lambda: [{**row, "ptq_accuracy": ptq, "qat_accuracy": qat, "fake_accuracy": fake}]


def strategy_rows(weight_only: float, dynamic: float, static: float, static_cycles: int) -> dict[str, Any]:
    return {
        "weight-only": {"db": weight_only, "samples": 0, "cycles": 20},
        "dynamic": {"db": dynamic, "samples": 0, "cycles": 20},
        "static": {"db": static, "samples": 4, "cycles": static_cycles},
    }


def outlier(factor: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Rows in which one row has a channel `factor` times larger."""
    x = np.random.default_rng(3).standard_normal((64, 16)).astype(np.float32)
    x[0, 0] = factor
    return x


WEIGHT = np.random.default_rng(5).standard_normal((16, 8)).astype(np.float32)
SIZES = {"m": 4, "k": 8, "n": 4}
GEMM = {"contraction": "mk,kn->mn", "sizes": SIZES}
ORDINARY = np.random.default_rng(9).standard_normal((256, 16)).astype(np.float32)
SAME_SIZE = np.where(np.arange(16) == 0, 4, np.clip(ORDINARY, -3, 3)).astype(np.float32)
ON_STEPS = np.array([0, 3] * 100 + [0.999, 1.001, 1.999, 2.001] * 50, np.float32)
"""The ends of the range and, a little off the steps, what lies between: four centroids can do no better."""


def two_ranges(cut: float) -> dict[str, dict[str, float]]:
    return {
        "w8a8-static": {"sqnr_db": 20.0, "block_sqnr_db": 20.0},
        "w8a8-percentile-10": {"sqnr_db": cut, "block_sqnr_db": cut},
    }


def repair(before: float, after: float) -> dict[str, dict[str, float]]:
    return {"before": {"sqnr_db": before, "energy_pj": 1.0}, "after": {"sqnr_db": after, "energy_pj": 2.0}}


def constant(value: float) -> Any:
    return lambda _: value


HOLDS: dict[str, dict[str, Any]] = {
    # advantages
    "less_memory": {"ratios": ALL_LESS},
    "less_power": {"ratios": ALL_LESS},
    "less_energy": {"ratios": ALL_LESS},
    "less_latency": {"ratios": ALL_LESS},
    "less_area": {"ratios": ALL_LESS},
    "more_units": {"areas_um2": {"made up": (1.0, 2.0)}},
    # linear quantization
    "smaller_set": {"x": NORMAL, "coders": {"round": (9, lambda x: np.clip(np.rint(x), -4, 4))}},
    "literal_scale": {"tensors": {"a range": np.array([0.0, 1.0], np.float32)}},
    "exact_zero": {"ranges": {"around 0": (-1.0, 1.0)}},
    "literal_symmetric": {"tensors": {"positive": np.abs(NORMAL)}},
    "half_a_step": {"x": NORMAL, "percentile": 0.0},
    "asymmetric_gain": {"tensors": {"one sided": np.abs(NORMAL)}},
    # ranges
    "errors_trade_off": {"tensors": {"normal": NORMAL}, "formats": ("int8",)},
    "best_threshold_inside": {"tensors": {"normal": NORMAL}, "formats": ("int4",)},
    "ten_ninety": {"tensors": {"normal": NORMAL}, "percentile": 0.0},
    "ten_ninety_network": {"totals": two_ranges(cut=20)},
    "own_range_clips_nothing": {"own": NORMAL, "other": 2 * NORMAL},
    "samples_settle": {"draws": {"constant": [np.ones((10, 4), np.float32)]}},
    "any_range_method": {"calibration": [NORMAL[:, None]], "evaluation": NORMAL[:, None], "within": 100.0},
    # rounding
    "nearest_is_good": {"x": WHOLE, "grid": WHOLE},
    "ceil_is_poor": {"x": HALVES - np.float32(0.25)},
    "floor_is_poor": {"x": HALVES + np.float32(0.25)},
    "floor_is_fastest": {
        "hardware_pj": {"floor": 0.0, "nearest": 1.0},
        "software": {"floor": 1.0, "nearest": 2.0},
    },
    "stochastic_is_good": {"rounders": {"as named": lambda: Stochastic(1)}},
    "geometric_is_near": {"tensors": {"large": (np.arange(4096) + 0.3).astype(np.float32)}},
    "powers_shift": {"x": NORMAL, "shift_pj": 1.0, "multiply_pj": {"made up": 2.0}},
    "adaptive_is_better": {
        # Both inputs see the sum of two weights only; the nearest weights are far from what makes it small.
        "calibration": np.array([[1.0, 1.0, 1.0]], np.float32),
        "evaluation": np.array([[1.0, 1.0, 1.0]], np.float32),
        "weight": np.array([[0.4], [0.4], [7.0]], np.float32),
    },
    # granularity
    "per_tensor_is_poor": {"weights": {"spread": SPREAD_COLUMNS}},
    "finer_pays": {"weight": SPREAD_COLUMNS, "layouts": ("1", "n:1")},
    "scales_are_negligible": {"layouts": {"one": ("1", FP32)}},
    "supported_by_arrays": {"pairs": {"one scale": ("1", "1")}},
    # zero points
    "expansion_as_written": {"expansion": zero_points.corrected},
    "expansion_corrected": {"expansion": zero_points.corrected},
    "offset_is_offline": {"cases": {"static": {**GEMM, "lhs_static": True}}},
    "overhead_is_a_channel": {"points": {"a channel": point(0, 0, 10, columns=10)}},
    "insignificant_for_many": {"points": {"free": point(0, 0, 0)}},
    "significant_for_one": {"points": {"adders": point(50, 50, 50)}},
    "where_zero_points_pay": {
        "layers": {"one-sided activation": (np.abs(NORMAL).reshape(256, 16), WEIGHT)},
        "operations": {"made up": (0, 10)},
    },
    # layouts
    "not_any_pair": {"native_depths": (2,)},
    "tensor_by_tensor": {},
    "token_by_channel": {"problems": {"gemm": {**GEMM, "lhs": "m:1", "rhs": "n:1"}}},
    "both_along_k": {"problems": {"gemm": {**GEMM, "lhs": "k:1", "rhs": "k:1"}}},
    "per_channel_in": {"problems": {"gemm": {**GEMM, "lhs": "k:1", "rhs": "n:1"}}},
    "legal_for_training": {"layouts": {"one scale": ("1", "1", "1")}},
    "brackets_in_int8": {"length": 1, "lhs": "int2", "rhs": "int2"},
    "textbook_width": {"cases": {"below": (511, "int8", "int8")}},
    # codes
    "below_uniform": {
        "tensors": {"four clusters": np.array([-100, -99, 0, 0.1, 5, 5.1, 60, 61] * 9, np.float32)},
        "bits": (2,),
    },
    "log2_bits": {"weight": NORMAL, "clusters": (2, 8)},
    "table_is_cheap": {"costs_pj": {"made up": (0.1, 1.0)}},
    "operation_unchanged": {"verdicts": {"real": "codebook(real) 1"}},
    "storage_reduced": {"weights": {"many": NORMAL}, "clusters": (4,)},
    "accuracy_preserved": {"lhs": IDENTITY, "weight": WEIGHT, "clusters": (64,)},
    "only_for_weights": {"columns": (1,), "entries": 256},
    "pow2_keeps_accuracy": {
        "tensors": {"powers": np.float32(2.0) ** -(np.arange(64, dtype=np.float32) % 7).reshape(8, 8)}
    },
    "fewer_operations": {"points": ((8, 2, 1000),)},
    "product_survives": {"calibration": IDENTITY, "lhs": IDENTITY, "weight": WEIGHT, "points": ((16, 2),)},
    "codebook_on_int8_array": {"schemes": ("codebook-16",)},
    "product_saves_energy": {"ratios": {"made up": 0.5}},
    # outliers
    # The weight of the outlier is 0: it does nothing but widen the scale of the others.
    "outliers_ruin": {
        "operands": {"one token": (outlier(400.0), np.vstack([np.zeros((1, 8), np.float32), WEIGHT[1:]]))}
    },
    "repairs_help": {
        "lhs": ORDINARY * np.where(np.arange(16) == 0, 100, 1).astype(np.float32),
        "rhs": WEIGHT,
        "bounds": np.where(np.arange(16) == 0, 100, 1).astype(np.float32),
        "repairs": {"all of it": lambda bounds, w: Smoothing.fit(bounds, w, 0.75)},
    },
    "repairs_help_networks": {"pairs": {"made up": ("after", "before")}, "totals": repair(before=10, after=20)},
    # strategies
    "four_times_smaller": {"ratios": {"made up": 4.0}},
    "whole_memory": {"ratios": {"made up": 4.0}},
    "misses_the_benefit": {"ratio": constant(2.0)},
    "weight_only_is_faster": {"ratio": constant(0.5)},
    "entirely_int8": {"cases": {"made up": (0, "float operations")}},
    "dynamic_is_faster": {"ratios": {"made up": 0.5}},
    "bias_joins_the_sum": {"steps": 3.0, "places": {"static": {"lhs_static": True}}},
    "each_is_best": {"rows": strategy_rows(30, 20, 10, 10)},
    # static and dynamic
    "never_as_accurate": {"settings": {"min-max": ("int8", 512, 0.0)}},
    "static_saves_time": {"ratios": {"made up": 1.5}},
    "scan_is_a_barrier": {"shares": {"made up": 50.0}},
    "activations_shrink": {"ratios": {"made up": 4.0}},
    # training
    "fake_is_real": {"x": NORMAL.reshape(64, 64)},
    "qat_is_better": {"results": study(0.8, 0.9, 0.9)},
    "trained_is_deployed": {"results": study(0.8, 0.9, 0.9)},
}

FAILS: dict[str, dict[str, Any]] = {
    "less_memory": {"ratios": ALL_MORE},
    "less_power": {"ratios": ALL_MORE},
    "less_energy": {"ratios": ALL_MORE},
    "less_latency": {"ratios": ALL_MORE},
    "less_area": {"ratios": ALL_MORE},
    "more_units": {"areas_um2": {"made up": (2.0, 1.0)}},
    "smaller_set": {"x": NORMAL, "coders": {"nothing": (256, lambda x: x)}},
    "literal_scale": {"tensors": {"constant": np.ones(4, np.float32)}},
    "exact_zero": {"ranges": {"far from 0": (100.0, 101.0)}},
    "literal_symmetric": {"tensors": {"signs": SIGNS}},
    "half_a_step": {"x": NORMAL, "percentile": 25.0},
    "asymmetric_gain": {"tensors": {"symmetric": SIGNS * np.abs(NORMAL)}},
    # The rounding error of a constant goes up and down as multiples of the step pass it.
    "errors_trade_off": {"tensors": {"a constant": np.array([0.5] * 15 + [1.0], np.float32)}, "formats": ("int4",)},
    "best_threshold_inside": {"tensors": {"two values": SIGNS}, "formats": ("int8",)},
    "ten_ninety": {
        "tensors": {
            "ends hold a tenth": np.where(
                np.arange(100) < 5, -100, np.where(np.arange(100) < 10, 100, np.arange(100))
            ).astype(np.float32)
        },
        "percentile": 10.0,
    },
    "ten_ninety_network": {"totals": two_ranges(cut=10)},
    "own_range_clips_nothing": {"own": 2 * NORMAL, "other": NORMAL},
    "samples_settle": {"draws": {"growing": [np.exp(np.arange(40, dtype=np.float32)).reshape(20, 2)]}},
    "any_range_method": {"calibration": [NORMAL[:, None]], "evaluation": NORMAL[:, None], "within": -1.0},
    "nearest_is_good": {"x": HALVES, "grid": HALVES},
    "ceil_is_poor": {"x": WHOLE},
    "floor_is_poor": {"x": WHOLE},
    "floor_is_fastest": {
        "hardware_pj": {"floor": 1.0, "nearest": 0.5},
        "software": {"floor": 1.0, "nearest": 1.0},
    },
    "stochastic_is_good": {"rounders": {"floor": lambda: np.floor}},
    "geometric_is_near": {"tensors": {"small": np.full(4096, 0.2, np.float32)}},
    "powers_shift": {"shift_pj": 2.0, "multiply_pj": {"made up": 1.0}},
    "adaptive_is_better": {
        # Nothing to gain: every weight is on the grid.
        "calibration": IDENTITY,
        "evaluation": IDENTITY,
        "weight": np.tile(np.arange(-8, 8, dtype=np.float32)[:, None] + np.float32(0.1), (1, 4)),
    },
    "per_tensor_is_poor": {"weights": {"even": EVEN_COLUMNS}},
    "finer_pays": {"weight": EVEN_COLUMNS, "layouts": ("1", "n:1")},
    "scales_are_negligible": {"layouts": {"each": ("k:1,n:1", FP16)}, "size": 16},
    "supported_by_arrays": {"pairs": {"along k": ("k:1", "1")}},
    "expansion_as_written": {"expansion": lambda x, w, *_: x @ w + 1},
    "expansion_corrected": {"expansion": lambda x, w, *_: x @ w + 1},
    "offset_is_offline": {"cases": {"dynamic": GEMM}},
    "overhead_is_a_channel": {"points": {"ten channels": point(0, 0, 100, columns=10)}},
    "insignificant_for_many": {"points": {"a fold": point(100, 0, 0)}},
    "significant_for_one": {"points": {"adders": point(0, 0, 0)}},
    "where_zero_points_pay": {
        "layers": {"one-sided weight": (SIGNS.reshape(256, 16) * np.abs(NORMAL).reshape(256, 16), np.abs(WEIGHT))},
        "operations": {"made up": (10, 0)},
    },
    "tensor_by_tensor": {"lhs": "k:1"},
    "token_by_channel": {"problems": {"gemm": {**GEMM, "lhs": "k:1", "rhs": "n:1"}}},
    "both_along_k": {"problems": {"gemm": {**GEMM, "lhs": "m:1", "rhs": "n:1"}}},
    "per_channel_in": {"problems": {"gemm": {**GEMM, "lhs": "m:1", "rhs": "n:1"}}},
    "legal_for_training": {"layouts": {"along k": ("k:1", "1", "1")}},
    "brackets_in_int8": {"lhs": "int16", "rhs": "int16"},
    "textbook_width": {"cases": {"a power of two": (512, "int8", "int8")}},
    "below_uniform": {"tensors": {"equal steps": ON_STEPS}, "bits": (2,)},
    "log2_bits": {"weight": NORMAL, "clusters": (3, 5)},
    "table_is_cheap": {"costs_pj": {"made up": (1.0, 1.0)}},
    "operation_unchanged": {"verdicts": {"int8": "codebook(int8) 1"}},
    "storage_reduced": {"weights": {"four": NORMAL[:4]}, "clusters": (4,)},
    "accuracy_preserved": {"lhs": IDENTITY, "weight": WEIGHT, "clusters": (2,)},
    "only_for_weights": {"columns": (1000,)},
    "pow2_keeps_accuracy": {"tensors": {"between powers": np.tile(np.arange(1, 8, dtype=np.float32), 8).reshape(7, 8)}},
    "fewer_operations": {"points": ((8, 16, 1),)},
    "product_survives": {"calibration": ORDINARY, "lhs": ORDINARY, "weight": WEIGHT, "points": ((1, 2),)},
    "codebook_on_int8_array": {"schemes": ("fp16",)},
    "product_saves_energy": {"ratios": {"made up": 1.5}},
    "outliers_ruin": {"operands": {"rows of one size": (SAME_SIZE, WEIGHT)}},
    "repairs_help": {
        "lhs": ORDINARY,
        "rhs": WEIGHT,
        "bounds": np.ones(16, np.float32),
        "repairs": {"ones": lambda bounds, _: Smoothing(np.ones_like(bounds))},
    },
    "repairs_help_networks": {"pairs": {"made up": ("after", "before")}, "totals": repair(before=20, after=20)},
    "four_times_smaller": {"ratios": {"made up": 2.0}},
    "whole_memory": {"ratios": {"made up": 2.0}},
    "misses_the_benefit": {"ratio": constant(1.0)},
    "weight_only_is_faster": {"ratio": constant(1.0)},
    "entirely_int8": {"cases": {"made up": (1, "float operations")}},
    "dynamic_is_faster": {"ratios": {"made up": 1.0}},
    "bias_joins_the_sum": {"steps": 2.5, "places": {"dynamic": {}}},
    "each_is_best": {"rows": strategy_rows(10, 20, 30, 30)},
    "never_as_accurate": {"settings": {"percentile": ("int4", 4096, 0.1)}},
    "static_saves_time": {"ratios": {"made up": 1.0}},
    "scan_is_a_barrier": {"shares": {"made up": 0.1}},
    "activations_shrink": {"ratios": {"made up": 2.0}},
    "fake_is_real": {"x": NORMAL.reshape(64, 64), "fake": lambda x, *_, **__: round_values(x)},
    "qat_is_better": {"results": study(0.9, 0.9, 0.9)},
    "trained_is_deployed": {"results": study(0.8, 0.9, 0.8)},
}
PARTLY = {
    "adaptive_is_better": "no weight is nearer than the nearest",
    "half_a_step": "a range that covers the data is tried beside the other",
    "own_range_clips_nothing": "no tensor exceeds its own range",
    "nearest_is_good": "ties to even have no bias on any of these data",
    "powers_shift": "the bound on the relative error is a theorem",
}
"""Claims of which one case can not be made to change, and why."""
CERTAIN = {"not_any_pair": "no choice of depth makes scales along the sum legal"}
