from __future__ import annotations

import itertools
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

import hwsim
from hwsim.plan import Component, MultiplyAccumulate, Stored
from quant import IntFormat, Scheme
from tests.hwsim.machines import machine, weight_layer

# Every argument of every kind of component changed in turn: (arguments, other arguments).
COMPONENTS: dict[str, list[tuple[int | str | bool, ...]]] = {
    "integer_mac": [(8, 8, 32, False), (9, 8, 32, False), (8, 4, 32, False), (8, 8, 20, False), (8, 8, 32, True)],
    "shift_mac": [(8, 6, 32, False), (9, 6, 32, False), (8, 2, 32, False), (8, 6, 20, False), (8, 6, 32, True)],
    "float_mac": [("fp16",), ("fp32",)],
    "register": [(16,), (32,)],
    "adder": [(16,), (32,)],
    "multiplier": [(8, 32), (9, 32), (8, 20)],
    "shifter": [(32, 32), (20, 32), (32, 8)],
    "pq_lookup": [(16, 8, 32), (8, 8, 32), (16, 4, 32), (16, 8, 20)],
    "pq_encoder": [(16, 4, 8), (8, 4, 8), (16, 8, 8), (16, 4, 16)],
    "rounder": [("stochastic", 24, 16), ("stochastic", 20, 16), ("stochastic", 24, 12), ("nearest", 24, 16)],
    "float_add": [("fp16",), ("fp32",)],
    "float_mul": [("fp16",), ("fp32",)],
    "int_to_float": [(8,), (32,)],
    "range_scan": [("fp16", "absmax"), ("fp32", "absmax"), ("fp16", "minmax")],
    "quantizer": [("fp16", 8), ("fp32", 8), ("fp16", 4)],
    "dequantizer": [(32, "fp32"), (20, "fp32"), (32, "fp16")],
    "codebook": [(16, 8), (256, 8), (16, 4)],
    "requantizer": [
        ("fixed", 32, 32, True),
        ("fixed", 32, 32, False),
        ("fixed", 32, 16, False),
        ("fixed", 20, 32, True),
        ("float", 32),
        ("shift", 32),
    ],
    "something_else": [(1, "a"), (2, "a")],
}


def test_different_components_have_different_labels() -> None:
    """Labels are keys of the area's tree: two components of one label would be built for the price of one."""
    labels = [str(Component(kind, arguments)) for kind, several in COMPONENTS.items() for arguments in several]
    for one, two in itertools.combinations(labels, 2):
        assert one != two


def test_every_component_of_a_preset_has_a_label_and_a_price() -> None:
    from hwsim.cost.pricing import price
    from hwsim.technology import Technology

    technology = Technology.load("45nm-horowitz")
    for name in Scheme.presets():
        try:
            plan = hwsim.lower(weight_layer(), Scheme.load(name), machine())
        except hwsim.IllegalLayoutError:
            continue
        for step in plan.steps:
            for action in step.actions:
                assert not str(action.component).startswith(action.component.kind + "(")
                assert price(technology, action.component).energy_pj > 0
                assert action.count > 0


def test_counts_broadcast_over_columns_of_sizes() -> None:
    m = np.array([5, 7, 11])
    mac = MultiplyAccumulate(1, m, 3, 2, (0,), IntFormat(8), IntFormat(8), 32, "multiply")  # type: ignore[arg-type]
    np.testing.assert_array_equal(mac.macs, m * 6)
    np.testing.assert_array_equal(Stored(m, 16, 8, 5).total_dram_bits, m * 16 + 5)  # type: ignore[arg-type]


def test_plans_are_frozen() -> None:
    plan = hwsim.lower(weight_layer(), Scheme.load("w8a8-dynamic"), machine())
    with pytest.raises(FrozenInstanceError):
        plan.mac = plan.mac  # type: ignore[misc]


def test_weight_bytes_count_scales_zero_points_tables_and_bias() -> None:
    """11 x 7 weights for 7 outputs, written by hand."""
    expected = {
        "fp32": 77 * 4 + 7 * 4,
        "fp16": 77 * 2 + 7 * 2,
        "w8a16": 77 + 7 * 4 + 7 * 2,
        "w8a8-static": 77 + 4 + 7 * 4,
        "w8a8-asym-weight": 77 + 7 * (4 + 1) + 7 * 4,
        "w4a8-g128": 77 / 2 + 7 * 2 + 7 * 2,
        "pow2": 77 / 2 + 7 * 4 + 7 * 2,
        "codebook-16": 77 / 2 + 7 * 4 + 16 + 7 * 2,
        "w4a16-g128": 77 / 2 + 7 * 2 + 7 / 2 + 7 * 2,
        "codebook-16-real": 77 / 2 + 4 + 16 * 4 + 7 * 2,
        "llm-int8": 77 + 7 * 4 + 7 * 2,
        "mxint8": 77 + 7 + 7 * 2,
        "pq": 3 * 7 * 16 + 7 * 4 + 7 * 4,
    }
    for name, size in expected.items():
        assert hwsim.lower(weight_layer(), Scheme.load(name), machine()).weight_bytes == size, name
