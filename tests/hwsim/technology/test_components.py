"""Component models: sums, monotony, limits, arrays."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hwsim.technology import Cost, Technology, technology_names

NODES = technology_names()
FIELDS = ("area_um2", "energy_pj", "low_pj", "high_pj", "idle_pj", "leakage_uw", "gate_equivalents", "delay_ns")


@pytest.fixture(params=NODES)
def node(request: pytest.FixtureRequest) -> Technology:
    return Technology.load(request.param)


def test_a_mac_is_its_multiplier_adder_and_register_in_area(node: Technology) -> None:
    mac = node.integer_mac(8, 5, 23)
    parts = node.multiplier(8, 5).area_um2 + node.adder(23).area_um2 + node.register(23).area_um2
    assert mac.area_um2 == pytest.approx(parts, rel=1e-12)
    assert mac.idle_pj == pytest.approx(node.register(23).idle_pj, rel=1e-12)


def test_a_mac_costs_more_than_its_multiplier_and_less_than_full_activity(node: Technology) -> None:
    for a, b, c in [(2, 2, 8), (4, 4, 16), (8, 4, 24), (8, 8, 32), (16, 16, 48), (2, 16, 64)]:
        mac = node.integer_mac(a, b, c)
        assert mac.energy_pj >= node.multiplier(a, b).energy_pj + node.register(c).idle_pj
    assert node.integer_mac(4, 4, 32).energy_pj < (node.multiplier(4, 4) + node.accumulator(32)).energy_pj


def test_narrower_weights_cost_less_energy_and_area(node: Technology) -> None:
    wide, narrow = node.integer_mac(8, 8, 32), node.integer_mac(8, 4, 32)
    assert narrow.energy_pj < 0.85 * wide.energy_pj
    assert narrow.area_um2 < 0.85 * wide.area_um2


@pytest.mark.parametrize("field", ["area_um2", "energy_pj", "low_pj", "high_pj", "leakage_uw", "delay_ns"])
def test_integer_macs_are_monotone_in_every_width(node: Technology, field: str) -> None:
    a = np.arange(2, 17)[:, None, None]
    b = np.arange(2, 17)[None, :, None]
    c = np.arange(8, 65)[None, None, :]
    values = np.broadcast_to(getattr(node.integer_mac(a, b, c), field), (15, 15, 57))
    for axis in range(3):
        assert (np.diff(values, axis=axis) >= 0).all(), (field, axis)


@pytest.mark.parametrize(
    "model",
    [
        lambda t, n: t.multiplier(n, 8),
        lambda t, n: t.multiplier(32, n),
        lambda t, n: t.adder(n),
        lambda t, n: t.register(n),
        lambda t, n: t.accumulator(n, True),
        lambda t, n: t.comparator(n),
        lambda t, n: t.range_scan(n),
        lambda t, n: t.range_scan(n, "absmax"),
        lambda t, n: t.shifter(n, 16),
        lambda t, n: t.lfsr(n),
        lambda t, n: t.codebook(n, 8),
        lambda t, n: t.codebook(16, n),
        lambda t, n: t.int_to_float(n),
        lambda t, n: t.requantizer("shift", n),
        lambda t, n: t.requantizer("fixed", n, 16),
        lambda t, n: t.requantizer("fixed", n, 32, True),
        lambda t, n: t.requantizer("float", n),
        lambda t, n: t.dequantizer(n, "fp32"),
    ],
)
def test_components_are_monotone(node: Technology, model: Callable[[Technology, Any], Cost]) -> None:
    widths = np.arange(8, 33)
    cost = model(node, widths)
    for field in ("area_um2", "energy_pj", "leakage_uw"):
        values = np.broadcast_to(getattr(cost, field), widths.shape)
        assert (np.diff(values) > 0).all(), field
    assert (np.asarray(cost.low_pj) <= cost.energy_pj).all()
    assert (np.asarray(cost.high_pj) >= cost.energy_pj).all()
    assert (np.asarray(cost.idle_pj) <= cost.energy_pj).all()


def test_arrays_equal_scalars(node: Technology) -> None:
    a, b, c = np.array([2, 8, 16]), np.array([4, 8, 3]), np.array([16, 32, 24])
    whole = node.integer_mac(a, b, c, True)
    for i in range(3):
        single = node.integer_mac(int(a[i]), int(b[i]), int(c[i]), True)
        for field in FIELDS:
            assert np.broadcast_to(getattr(whole, field), 3)[i] == pytest.approx(getattr(single, field), rel=1e-12)
            assert isinstance(getattr(single, field), float), field


def test_floats_cost_more_than_integers(node: Technology) -> None:
    order = [
        node.integer_mac(8, 8, 32),
        node.float_mac("bf16"),
        node.float_mac("fp32"),
    ]
    assert order[0].energy_pj < order[1].energy_pj < order[2].energy_pj
    assert order[0].area_um2 < order[1].area_um2 < order[2].area_um2


def test_a_wider_requantizer_multiplier_costs_more(node: Technology) -> None:
    shift = node.requantizer("shift", 32)
    narrow, wide = node.requantizer("fixed", 32, 8), node.requantizer("fixed", 32, 32)
    assert shift.energy_pj < narrow.energy_pj < wide.energy_pj
    assert shift.area_um2 < narrow.area_um2 < wide.area_um2


def test_saturation_costs_a_multiplexer_a_bit(node: Technology) -> None:
    plain, clamped = node.accumulator(24), node.accumulator(24, saturate=True)
    stage = node.shifter(24, 2)
    assert clamped.area_um2 - plain.area_um2 == pytest.approx(stage.area_um2, rel=1e-9)
    assert clamped.energy_pj - plain.energy_pj == pytest.approx(stage.energy_pj, rel=1e-9)


def test_a_saturating_mac_adds_the_same_clamp(node: Technology) -> None:
    extra = node.integer_mac(8, 8, 24, True).area_um2 - node.integer_mac(8, 8, 24).area_um2
    assert extra == pytest.approx(node.shifter(24, 2).area_um2, rel=1e-9)


def test_requantizers_shift_the_whole_product_or_its_high_half(node: Technology) -> None:
    # rq_core in designs.v: the product is 24 + 16 bits; the doubling profile adds over it and shifts 24 bits.
    fixed, double = node.requantizer("fixed", 24, 16), node.requantizer("fixed", 24, 16, True)
    product = node.multiplier(24, 16).area_um2
    assert fixed.area_um2 == pytest.approx(product + node.rounding_shift(40).area_um2, rel=1e-12)
    nudge = node.adder(40).area_um2
    assert double.area_um2 == pytest.approx(product + nudge + node.rounding_shift(24).area_um2, rel=1e-12)


def test_quantizers_shrink_with_the_significand(node: Technology) -> None:
    # Aligning shifter: 24 + 8 bits for fp32 to int8, 8 + 4 for bf16 to int4.
    full, small = node.float_to_int("fp32", 8), node.float_to_int("bf16", 4)
    assert small.area_um2 == pytest.approx(full.area_um2 * 12 / 32, rel=1e-12)
    frontend = node.quantizer("bf16", 4)
    assert frontend.area_um2 == pytest.approx(node.float_mul("bf16").area_um2 + small.area_um2, rel=1e-12)


def test_an_absolute_maximum_has_one_end_and_a_negation(node: Technology) -> None:
    both, one = node.range_scan(16), node.range_scan(16, "absmax")
    assert one.area_um2 == pytest.approx(both.area_um2 / 2 + node.adder(16).area_um2 / 2, rel=1e-12)
    assert node.range_scan("fp16", "absmax").area_um2 == pytest.approx(both.area_um2 / 2, rel=1e-12)


def test_bands_of_synthesised_units_are_wire_load_and_default_arithmetic() -> None:
    # Nangate45, random operands: 32-bit adder 0.30291 + 0.15361 pJ of wire; 8x8 by the tool 0.96973 + 0.52081.
    node = Technology.load("45nm-nangate")
    adder = node.adder(32)
    assert adder.low_pj == pytest.approx(0.30291, rel=0.04)
    assert adder.high_pj == pytest.approx(0.30291 + 2 * 0.15361, rel=0.04)
    product = node.multiplier(8, 8)
    assert product.low_pj == pytest.approx(0.42752, rel=0.02)
    assert product.high_pj == pytest.approx(0.96973 + 0.52081, rel=0.02)
    assert product.high_um2 == pytest.approx(472.15, rel=0.13)


def test_delays_meet_the_synthesised_paths() -> None:
    # OpenSTA, ns: array 8x8 1.1095, 32-bit adder 1.1459, flip-flop 0.0822, fp32 add 5.3945.
    node = Technology.load("45nm-nangate")
    assert node.multiplier(8, 8).delay_ns == pytest.approx(1.1095, rel=0.02)
    assert node.adder(32).delay_ns == pytest.approx(1.1459, rel=0.04)
    assert node.register(9).delay_ns == pytest.approx(0.0822, rel=1e-6)
    assert node.float_add("fp32").delay_ns == pytest.approx(5.3945, rel=1e-6)
    assert node.integer_mac(8, 8, 32).delay_ns == pytest.approx(2.5484, rel=0.10)


def test_gate_equivalents_are_areas_over_the_nand_of_the_library() -> None:
    # NAND2 X1: 0.798 um2 in Nangate45, 0.0875 in ASAP7, 3.754 in sky130hd.
    for name, nand in [("45nm-horowitz", 0.798), ("7nm-asap7", 0.0875), ("130nm-sky130", 3.754)]:
        cost = Technology.load(name).multiplier(8, 8)
        assert cost.gate_equivalents == pytest.approx(cost.area_um2 / nand, rel=1e-12)


def test_codebooks_meet_the_synthesised_tables() -> None:
    node = Technology.load("45nm-nangate")
    for entries, width, um2 in [(16, 8, 1052.562), (16, 16, 2069.48), (256, 8, 16795.506)]:
        assert node.codebook(entries, width).area_um2 == pytest.approx(um2, rel=0.02)
    # 128 flip-flops clocked: 1.06899 pJ.
    assert node.codebook(16, 8, clock_gated=False).idle_pj == pytest.approx(1.06899, rel=1e-4)
    assert node.codebook(16, 8).idle_pj == 0.0


def test_power_of_two_and_ternary_macs_are_smaller_than_multipliers() -> None:
    node = Technology.load("45nm-nangate")
    assert node.shift_mac(8, 7, 24).area_um2 == pytest.approx(391.286, rel=0.10)
    assert node.ternary_mac(8, 24).area_um2 == pytest.approx(296.59, rel=0.10)
    assert node.ternary_mac(8, 24).area_um2 < node.shift_mac(8, 7, 24).area_um2 < node.integer_mac(8, 8, 24).area_um2


def test_a_dot_product_of_one_is_a_mac(node: Technology) -> None:
    assert node.dot_product(1, 8, 8, 32).energy_pj == node.integer_mac(8, 8, 32).energy_pj
    four = node.dot_product(4, 8, 8, 32)
    adders = 2 * node.adder(16).area_um2 + node.adder(17).area_um2
    expected = 4 * node.multiplier(8, 8).area_um2 + adders + node.accumulator(32).area_um2
    assert four.area_um2 == pytest.approx(expected, rel=1e-12)
    assert four.energy_pj < 4 * node.integer_mac(8, 8, 32).energy_pj


def test_processing_elements_add_the_registers_of_their_dataflow(node: Technology) -> None:
    mac = node.integer_mac(8, 4, 24).area_um2
    bit = node.register(1).area_um2
    stationary = node.processing_element(8, 4, 24, "output_stationary")
    weights = node.processing_element(8, 4, 24, "weight_stationary")
    assert stationary.area_um2 == pytest.approx(mac + 12 * bit, rel=1e-12)
    assert weights.area_um2 == pytest.approx(mac + 16 * bit, rel=1e-12)
    assert weights.idle_pj == pytest.approx(node.register(24 + 16).idle_pj, rel=1e-12)


def test_dot_products_of_every_unit_are_their_parts(node: Technology) -> None:
    shifts = node.shift_mac(8, 7, 32).area_um2 - node.accumulator(32).area_um2
    # five products: two pairs and one left over, a pair and the one left over, the last two
    five = 2 * node.adder(15).area_um2 + node.adder(16).area_um2 + node.adder(17).area_um2
    got = node.shift_dot_product(5, 8, 7, 32).area_um2
    assert got == pytest.approx(5 * shifts + five + node.accumulator(32).area_um2, rel=1e-12)
    floats = node.float_dot_product(4, "fp16")
    expected = 4 * node.float_mul("fp16").area_um2 + 4 * node.float_add("fp32").area_um2 + node.register(32).area_um2
    assert floats.area_um2 == pytest.approx(expected, rel=1e-12)
    assert node.float_dot_product(1, "fp16").energy_pj == pytest.approx(node.float_mac("fp16").energy_pj, rel=1e-12)
    assert node.shift_dot_product(1, 8, 7, 32).area_um2 == node.shift_mac(8, 7, 32).area_um2
    clamp = node.multiplexer(32).area_um2
    assert node.dot_product(4, 8, 8, 32, True).area_um2 == pytest.approx(
        node.dot_product(4, 8, 8, 32).area_um2 + clamp, rel=1e-12
    )


def test_a_sum_is_a_loop_that_no_pipeline_register_cuts(node: Technology) -> None:
    loop = _ns(node.adder(24)) + _ns(node.register(24))
    assert node.accumulator(24).loop_ns == pytest.approx(loop, rel=1e-12)
    assert node.integer_mac(8, 8, 24).loop_ns == pytest.approx(loop, rel=1e-12)
    assert node.dot_product(4, 8, 8, 24).loop_ns == pytest.approx(loop, rel=1e-12)
    assert node.integer_mac(8, 8, 24, True).loop_ns > loop
    assert _ns(node.integer_mac(8, 8, 24)) == pytest.approx(_ns(node.multiplier(8, 8)) + loop, rel=1e-12)
    floats = _ns(node.float_add("fp32")) + _ns(node.register(32))
    assert node.float_mac("fp16").loop_ns == pytest.approx(floats, rel=1e-12)
    assert node.multiplier(8, 8).loop_ns == node.requantizer("fixed", 32).loop_ns == 0.0
    assert node.processing_element(8, 8, 24, "weight_stationary").loop_ns == 0.0


def test_product_quantization_is_its_multipliers_comparisons_and_tables(node: Technology) -> None:
    """16 prototypes of 4 values of 8 bits: 64 products, sums of 3 adders, 16 corrections, 15 comparisons."""
    got = node.pq_encoder(16, 4, 8)
    score = 8 + 8 + 2 + 1
    logic = 64 * node.multiplier(8, 8).area_um2 + 16 * (2 * node.adder(16).area_um2 + node.adder(17).area_um2)
    logic += 16 * node.adder(score).area_um2 + 15 * node.maximum(score).area_um2
    assert got.area_um2 == pytest.approx(logic + 16 * (32 + score) * _enable_bit(node), rel=1e-9)
    assert got.energy_pj > 64 * node.multiplier(8, 8).energy_pj
    tree = node.pq_encoder(16, 4, 8, "tree")
    assert tree.energy_pj < got.energy_pj / 20
    assert tree.area_um2 < got.area_um2 / 10
    for one, two in [((4, 4, 8), (8, 4, 8)), ((8, 4, 8), (8, 8, 8)), ((8, 4, 4), (8, 4, 8))]:
        for kind in ("distance", "tree"):
            assert node.pq_encoder(*one, kind).energy_pj < node.pq_encoder(*two, kind).energy_pj
            assert node.pq_encoder(*one, kind).area_um2 < node.pq_encoder(*two, kind).area_um2
    sums = node.pq_lookup(16, 8, 24)
    expected = node.codebook(16, 8).area_um2 + node.accumulator(24).area_um2
    assert sums.area_um2 == pytest.approx(expected, rel=1e-12)


def _enable_bit(node: Technology) -> float:
    plain, enabled = (node.library.row(name).area_um2 or 0.0 for name in ("reg32", "reg32en"))
    return float(node.register(1).area_um2 * enabled / plain)


def _ns(cost: Cost) -> float:
    assert cost.delay_ns is not None
    return float(cost.delay_ns)


def test_stochastic_rounding_takes_an_adder_and_random_bits(node: Technology) -> None:
    """The notes' table: nearest needs one increment, stochastic an adder and a random source."""
    nearest, stochastic = node.rounder("nearest", 24), node.rounder("stochastic", 24, 16)
    assert nearest.area_um2 == pytest.approx(node.adder(24).area_um2 / 2, rel=1e-12)
    assert stochastic.area_um2 == pytest.approx(node.adder(24).area_um2 + node.lfsr(16).area_um2, rel=1e-12)
    assert stochastic.energy_pj > nearest.energy_pj


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (lambda t: t.rounder("down", 8), "kind must be one of nearest, stochastic, not 'down'"),
        (lambda t: t.pq_encoder(16, 4, 8, "hash"), "kind must be one of distance, tree, not 'hash'"),
        (lambda t: t.pq_encoder(512, 4, 8), "prototypes must be in 2..256, not 512"),
        (lambda t: t.integer_mac(1, 8, 32), "lhs_bits must be in 2..16, not 1"),
        (lambda t: t.integer_mac(8, 17, 32), "rhs_bits must be in 2..16, not 17"),
        (lambda t: t.integer_mac(8, 8, 7), "accumulator_bits must be in 8..64, not 7"),
        (lambda t: t.integer_mac(8, 8, np.array([16, 65])), "accumulator_bits must be in 8..64, not 65"),
        (lambda t: t.multiplier(8, 65), "b_bits must be in 2..64, not 65"),
        (lambda t: t.adder(3), "bits must be in 4..128, not 3"),
        (lambda t: t.requantizer("fixed", 32, 33), "multiplier_bits must be in 8..32, not 33"),
        (lambda t: t.requantizer("round", 32), "profile_kind must be one of shift, fixed, float, not 'round'"),
        (lambda t: t.float_mul("int8"), "float format must be one of fp32, fp16, bf16, fp8_e4m3, not 'int8'"),
        (lambda t: t.range_scan(8, "mean"), "kind must be one of minmax, absmax, not 'mean'"),
        (lambda t: t.codebook(1, 8), "entries must be in 2..1024, not 1"),
        (lambda t: t.dot_product(0, 8, 8, 32), "depth must be in 1..1024, not 0"),
        (
            lambda t: t.integer_mac(8, 8, 32, activity="typical"),
            "activity must be one of uniform, gaussian, relu, held, zero, not 'typical'",
        ),
        (
            lambda t: t.processing_element(8, 8, 32, "none"),
            "dataflow must be one of output_stationary, weight_stationary, not 'none'",
        ),
    ],
)
def test_outside_the_limits_raises(node: Technology, model: Callable[[Any], Cost], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        model(node)


@pytest.mark.parametrize("value", [7.5, True, "8"])
def test_widths_are_whole_numbers(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^bits must be whole numbers, not "):
        Technology.load().register(value)


def test_scalar_calls_are_remembered_and_arrays_are_not() -> None:
    node = Technology.load()
    assert node.adder(16) is node.adder(16)
    widths = np.array([8, 16])
    assert node.adder(widths) is not node.adder(widths)


def test_long_columns_are_evaluated_by_distinct_row() -> None:
    rng = np.random.default_rng(7)
    a, b, c = rng.integers(2, 17, 5003), rng.integers(3, 12, 5003), rng.integers(9, 41, 5003)
    node = Technology.load()
    long, short = node.integer_mac(a, b, c, True), node.integer_mac(a[:4001], b[:4001], c[:4001], True)
    for field in FIELDS:
        values = getattr(long, field)
        assert values.shape == (5003,), field
        np.testing.assert_allclose(values[:4001], np.broadcast_to(getattr(short, field), 4001), rtol=1e-12)
        last = getattr(node.integer_mac(int(a[-1]), int(b[-1]), int(c[-1]), True), field)
        assert values[-1] == pytest.approx(last, rel=1e-12)
    with pytest.raises(ValueError, match=r"^lhs_bits must be in 2..16, not 17$"):
        node.integer_mac(a + 1, b, c)


def test_long_columns_of_srams_agree_with_scalars() -> None:
    rng = np.random.default_rng(11)
    capacity, width = rng.integers(1024, 4194305, 5003), rng.choice([32, 64, 256], 5003)
    cost = Technology.load().sram(capacity, width)
    for i in (0, 17, 5002):
        single = Technology.load().sram(int(capacity[i]), int(width[i]))
        assert cost.read_pj[i] == pytest.approx(single.read_pj, rel=1e-12)
        assert cost.write_pj[i] == pytest.approx(single.write_pj, rel=1e-12)


def test_format_objects_and_names_agree() -> None:
    class Format:
        name = "bf16"

    node = Technology.load()
    assert node.float_mul(Format()).energy_pj == node.float_mul("bf16").energy_pj
    assert node.range_scan(Format()).area_um2 == node.range_scan(16).area_um2


def test_costs_add_scale_and_chain() -> None:
    node = Technology.load()
    mul, add = node.multiplier(8, 8), node.adder(32)
    both, chain = mul + add, mul.then(add)
    assert both.area_um2 == chain.area_um2 == mul.area_um2 + add.area_um2
    assert both.energy_pj == pytest.approx(0.3, rel=1e-12)
    assert mul.delay_ns is not None
    assert add.delay_ns is not None
    assert both.delay_ns == max(mul.delay_ns, add.delay_ns)
    assert chain.delay_ns == mul.delay_ns + add.delay_ns
    assert (3 * mul).energy_pj == pytest.approx(0.6, rel=1e-12)
    assert (mul * 3).delay_ns == mul.delay_ns
    assert sum([mul, add, add], start=mul.times(0)).area_um2 == mul.area_um2 + 2 * add.area_um2
    assert (0 + mul).area_um2 == mul.area_um2
    columns = np.array([1, 4]) * mul
    np.testing.assert_allclose(columns.area_um2, [282.0, 1128.0], rtol=1e-12)
    assert both.basis[0] in both.source
    with pytest.raises(ValueError, match=r"^count must be at least 0, not -1$"):
        mul.times(-1)
    with pytest.raises(TypeError):
        _ = mul * add
    with pytest.raises(TypeError):
        _ = mul + 1  # type: ignore[operator]


def test_zeros_among_the_operands_save_data_energy(node: Technology) -> None:
    shares = node.zero_activity(np.array([0.0, 0.25, 0.5, 1.0]))
    gaussian, relu = (node.library.activity(name)[1] for name in ("gaussian", "relu"))
    assert list(shares[[0, 2]]) == [gaussian, relu]
    assert shares[1] == pytest.approx((gaussian + relu) / 2, rel=1e-12)
    assert (np.diff(shares) < 0).all()
    assert shares[3] < 0.05
    mac = node.integer_mac(8, 8, 32)
    half = mac.at_activity(node.zero_activity(0.5)).energy_pj
    assert half == pytest.approx(node.integer_mac(8, 8, 32, activity="relu").energy_pj, rel=1e-12)
    with pytest.raises(ValueError, match=r"^zero_share must be in 0..1, not 1.5$"):
        node.zero_activity(1.5)


def test_activity_moves_data_energy_and_not_the_clock() -> None:
    register = Technology.load("45nm-nangate").register(32)
    still = register.at_activity(0.0)
    assert still.energy_pj == pytest.approx(register.idle_pj, rel=1e-12)
    assert still.energy_pj == pytest.approx(register.without_logic().energy_pj, rel=1e-12)
    half = register.at_activity(0.5)
    assert half.energy_pj == pytest.approx((register.energy_pj + register.idle_pj) / 2, rel=1e-12)
    assert half.low_pj <= half.energy_pj <= half.high_pj
