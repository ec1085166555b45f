from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hwsim
import workloads
from hwsim import plan as steps
from hwsim.cost import Area, Energy, area, energy
from hwsim.cost.pricing import BANDS, price
from hwsim.technology import Technology
from hwsim.timing import Timing, closed_form
from quant import Scheme
from tests.hwsim.machines import attention_layer, machine, weight_layer
from workloads import Layer

TECHNOLOGY = Technology.load("45nm-horowitz")

# Flip-flops that cut units for 4 ns: one cut of 90 (mean of 106 over 4.1953 ns and 32 over 1.1858), two of 93 ...
CUTS = {"fp32 quantizer": 90, "requantizer": 2 * 93, "dequantizer": 80, "fp32 multiplier": 106, "fp32 adder": 64}
FLOAT_MAC_CUTS = {"fp32": 106 + 64, "fp16": 64}


class Reading:
    """A plan with its time, area and energy."""

    def __init__(self, layer: Layer, scheme: str | Scheme, **changes: Any) -> None:
        self.machine = machine(**changes)
        self.plan = hwsim.lower(layer, Scheme.load(scheme), self.machine)
        self.timing: Timing = closed_form(self.plan, self.machine)
        self.built: Area = area([self.plan], self.machine, TECHNOLOGY)
        self.energy: Energy = self.spent("nominal")

    def spent(self, band: Any) -> Energy:
        return energy(self.plan, self.timing, self.machine, TECHNOLOGY, self.built, band)


def close(got: float, expected: float) -> None:
    assert math.isclose(got, expected, rel_tol=1e-12), (got, expected)


def buffer_pj(reads: int, writes: int, capacity: int) -> float:
    """Bits read and written through a buffer of eight 64-bit banks."""
    bank = TECHNOLOGY.sram(capacity, 64, 8)
    return float((reads * bank.read_pj + writes * bank.write_pj) / 64)


def test_energy_of_a_static_layer_by_hand() -> None:
    """5 x 11 x 7 with bias on 3 x 2 elements: 2 x 4 tiles of 11 + 3 cycles."""
    got, t = Reading(weight_layer(), "w8a8-static"), TECHNOLOGY
    close(got.energy.mac_pj, 385 * (t.integer_mac(8, 8, 32).energy_pj + t.register(16).energy_pj))
    cycles = 2 * 4 * (11 + 3)
    assert got.timing.compute_cycles == cycles
    close(got.energy.clock_pj, (cycles * 6 - 385) * t.register(8 + 8 + 32).idle_pj)
    quantized = 55 * t.quantizer("fp32", 8).energy_pj
    close(got.energy.vector_pj, quantized + 35 * t.requantizer("fixed", 32, 32, True).energy_pj)
    bits = 55 * CUTS["fp32 quantizer"] + 35 * CUTS["requantizer"]
    close(got.energy.pipeline_pj, bits * t.register(1).energy_pj)
    close(
        got.energy.sram_pj,
        buffer_pj(4 * 55 * 8, 55 * 8, 262144)  # lhs goes in once for each of 4 column tiles
        + buffer_pj(2 * 77 * 8, 77 * 8, 262144)  # rhs for each of 2 row tiles
        + buffer_pj(35 * 8, 35 * 8, 65536),
    )
    bits = 55 * 8 + (77 * 8 + 32) + 7 * 32 + 35 * 8  # one fp32 weight scale, int32 bias
    close(got.energy.dram_pj, bits * t.dram("LPDDR4").nominal)
    close(got.energy.leakage_pj, got.built.leakage_uw * got.timing.total_cycles * 4 * 1e-3)  # 250 MHz: 4 ns


def test_area_and_leakage_of_a_static_layer_by_hand() -> None:
    got, t = Reading(weight_layer(), "w8a8-static"), TECHNOLOGY
    parts = got.built.parts()
    close(parts["array_um2"], 6 * (t.integer_mac(8, 8, 32).area_um2 + t.register(16).area_um2))
    cuts = t.register(CUTS["fp32 quantizer"]) + t.register(CUTS["requantizer"])
    lane = [t.quantizer("fp32", 8), t.requantizer("fixed", 32, 32, True), cuts]
    close(parts["vector_um2"], 2 * sum(c.area_um2 for c in lane))
    assert parts["edge_um2"] == 0
    memories = [t.sram(262144, 64, 8), t.sram(262144, 64, 8), t.sram(65536, 64, 8)]
    close(parts["sram_um2"], sum(m.area_um2 for m in memories))
    leaks = [6 * t.integer_mac(8, 8, 32).leakage_uw, 6 * t.register(16).leakage_uw]
    close(got.built.leakage_uw, sum(leaks) + 2 * sum(c.leakage_uw for c in lane) + sum(m.leakage_uw for m in memories))


def test_energy_of_a_dynamic_layer_by_hand() -> None:
    got, t = Reading(weight_layer(), "w8a8-dynamic"), TECHNOLOGY
    vector = 55 * (t.range_scan("fp16", "absmax").energy_pj + t.quantizer("fp16", 8).energy_pj)
    # each sum is converted and multiplied by both scales, and the bias added
    product = t.dequantizer(32, "fp32").energy_pj + t.float_mul("fp32").energy_pj
    close(got.energy.vector_pj, vector + 35 * (product + t.float_add("fp32").energy_pj))
    cuts = CUTS["dequantizer"] + CUTS["fp32 multiplier"] + CUTS["fp32 adder"]
    close(got.energy.pipeline_pj, 35 * cuts * t.register(1).energy_pj)  # scans and fp16 quantizers take a period
    bits = 55 * 16 + (77 * 8 + 7 * 32) + 7 * 16 + 35 * 16
    close(got.energy.dram_pj, bits * t.dram("LPDDR4").nominal)


def test_energy_of_a_float_layer_starts_at_the_published_operations() -> None:
    """Horowitz (ISSCC 2014, figure 1.1.9): 3.7 pJ for an fp32 product, 0.9 pJ for an fp32 sum, at 45 nm."""
    got = Reading(weight_layer(), "fp32")
    registers = TECHNOLOGY.register(32).energy_pj + TECHNOLOGY.register(64).energy_pj
    joined = 35 * 0.9  # two sums take turns in an adder of two stages
    assert got.energy.mac_pj == pytest.approx(385 * (3.7 + 0.9 + registers) + joined, rel=1e-6)
    slow = Reading(weight_layer(), "fp32", clock_mhz=100)
    assert slow.energy.mac_pj == pytest.approx(385 * (3.7 + 0.9 + registers), rel=1e-6)
    assert slow.energy.pipeline_pj == 0
    passing = Reading(weight_layer(), "fp32", array__dataflow="weight_stationary").energy
    assert passing.mac_pj < got.energy.mac_pj, "sums of different results take no turns"


@pytest.mark.parametrize("scheme", ["fp32", "fp16"])
def test_flip_flops_of_float_macs_are_in_area_energy_and_clock(scheme: str) -> None:
    """5 x 11 x 7 on six elements: 385 uses of each; a fold is two cycles longer, in which two sums are joined."""
    got, flip_flop = Reading(weight_layer(), scheme), TECHNOLOGY.register(1)
    bits = FLOAT_MAC_CUTS[scheme]
    lines = [line for line in got.built.built if line.cuts == got.plan.mac.component]
    waiting = 32  # one of two sums
    assert [(line.part, line.place, line.count) for line in lines] == [("array_um2", "element", 6 * (bits + waiting))]
    close(lines[0].um2, 6 * (bits + waiting) * flip_flop.area_um2)
    in_lanes = CUTS["fp32 adder"] * 35  # the bias
    close(got.energy.pipeline_pj, (385 * bits + 35 * waiting + in_lanes) * flip_flop.energy_pj)
    cycles = 2 * 4 * (11 + 3 + 2)
    assert got.timing.compute_cycles == cycles
    operands = 2 * int(scheme[2:])
    close(got.energy.clock_pj, (cycles * 6 - 385) * (operands + 32 + bits) * flip_flop.idle_pj)


@pytest.mark.parametrize("dataflow", ["weight_stationary", "input_stationary"])
def test_sums_that_pass_take_all_stages_of_an_adder_in_each_element(dataflow: str) -> None:
    """Three rows: the last sum of a fold comes 3 - 1 hops of one more cycle later than at a clock of 100 MHz."""
    fast, slow = (Reading(weight_layer(), "fp16", array__dataflow=dataflow, clock_mhz=mhz) for mhz in (250, 100))
    folds = fast.timing.schedule.folds
    assert folds == slow.timing.schedule.folds == 4 * (4 if dataflow == "weight_stationary" else 3)
    assert fast.timing.compute_cycles - slow.timing.compute_cycles == folds * 2
    integers = [
        Reading(weight_layer(), "w8a8-static", array__dataflow=dataflow, clock_mhz=mhz).timing.compute_cycles
        for mhz in (250, 100)
    ]
    assert integers[0] == integers[1]


@pytest.mark.parametrize("dataflow", ["output_stationary", "weight_stationary"])
@pytest.mark.parametrize("scheme", ["fp32", "w8a16", "w8a8-static"])
@pytest.mark.parametrize("compiled_from", [1, 1000])
def test_columns_of_clocks_cut_as_one_clock_does(
    scheme: str, dataflow: str, compiled_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hwsim.exploration.blocks.COMPILED_FROM", compiled_from)
    base, network = machine(array__dataflow=dataflow), workloads.gemm(16, 64, 16)
    clocks = [50.0, 100.0, 183.0, 250.0, 500.0, 1000.0, 2500.0]
    found = hwsim.explore(network, scheme, base, grid={"clock_mhz": clocks, "array.rows": [2, 3, 8]}).to_dict("records")
    assert len(found) == 3 * len(clocks)
    for row in found:
        one = base.replace(clock_mhz=row["clock_mhz"], array__rows=row["array.rows"])
        totals = hwsim.simulate(network, scheme, one, numerics=False).totals()
        for name in ("total_cycles", "pipeline_pj", "clock_pj", "mac_pj", "energy_pj", "energy_high_pj", "area_um2"):
            assert row[name] == pytest.approx(totals[name], rel=1e-12), (name, row["clock_mhz"])


def test_a_slower_clock_needs_fewer_flip_flops_and_no_other_part() -> None:
    fast, slow = (Reading(weight_layer(), "w8a8-static", clock_mhz=mhz) for mhz in (250, 100))
    other = [line for line in fast.built.built if line.cuts is None]
    assert [(line.what, line.um2) for line in other] == [(line.what, line.um2) for line in slow.built.built]
    assert fast.built.total_um2 > slow.built.total_um2
    for part in ("mac_pj", "clock_pj", "vector_pj", "sram_pj", "dram_pj"):
        assert getattr(fast.energy, part) == getattr(slow.energy, part)


def test_a_channel_of_ones_is_computed_by_the_array() -> None:
    scheme, t = Scheme.load("w8a8-asym-weight"), TECHNOLOGY
    channel = Reading(weight_layer(n=6), scheme)
    mac, register = t.integer_mac(8, 8, 32).energy_pj, t.register(16).energy_pj
    close(channel.energy.mac_pj, (330 + 55) * mac + 330 * register)
    cycles = 2 * 4 * 14  # a seventh column
    close(channel.energy.clock_pj, (cycles * 6 - 330 - 55) * t.register(48).idle_pj)
    adders = Reading(weight_layer(n=6), scheme.replace(zero_point_sums="adders"))
    close(adders.energy.mac_pj, 330 * (mac + register))
    # an adder and a register of 12 bits at each of three rows
    close(adders.built.parts()["edge_um2"], 3 * (t.adder(12).area_um2 + t.register(12).area_um2))
    assert adders.timing.compute_cycles < channel.timing.compute_cycles


def test_tables_are_at_the_columns_and_read_with_every_weight() -> None:
    got, table = Reading(weight_layer(), "codebook-16"), TECHNOLOGY.codebook(16, 8)
    plain = Reading(weight_layer(), "w8a8-dynamic")
    close(got.energy.vector_pj - plain.energy.vector_pj, 2 * 77 * table.energy_pj)
    close(got.built.parts()["edge_um2"], 2 * table.area_um2)


SCHEMES = (
    "fp32",
    "fp16",
    "w8a16",
    "w8a8-static",
    "w8a8-dynamic",
    "w8a8-asym-weight",
    "w4a8-g128",
    "pow2",
    "codebook-16",
)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_totals_are_the_exact_sum_of_their_parts(scheme: str) -> None:
    for layer in (weight_layer(), attention_layer()):
        got = Reading(layer, scheme)
        exact = float(sum(Fraction(part) for part in got.energy.parts().values()))
        close(got.energy.total_pj, exact)
        parts = {"mac_pj", "pipeline_pj", "clock_pj", "vector_pj", "sram_pj", "dram_pj", "leakage_pj"}
        assert set(got.energy.parts()) == parts
        assert all(value >= 0 for value in got.energy.parts().values())
        close(got.built.total_um2, float(sum(Fraction(um2) for um2 in got.built.tree.values())))
        close(got.built.total_um2, math.fsum(got.built.parts().values()))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_low_is_at_most_nominal_and_nominal_at_most_high(scheme: str) -> None:
    got = Reading(weight_layer(), scheme)
    low, nominal, high = (got.spent(band) for band in BANDS)
    for part in low.parts():
        assert low.parts()[part] <= nominal.parts()[part] <= high.parts()[part], part
    assert low.total_pj < nominal.total_pj < high.total_pj


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.tuples(*[st.integers(1, 60)] * 3),
    axis=st.integers(0, 2),
    scheme=st.sampled_from(["fp16", "w8a8-static", "w8a8-dynamic", "w8a8-asym-weight"]),
)
def test_energy_grows_with_every_size(sizes: tuple[int, int, int], axis: int, scheme: str) -> None:
    larger = [size + 1 if i == axis else size for i, size in enumerate(sizes)]
    one, two = Reading(weight_layer(*sizes), scheme), Reading(weight_layer(*larger), scheme)
    assert two.energy.total_pj > one.energy.total_pj
    assert two.energy.mac_pj > one.energy.mac_pj
    assert two.energy.dram_pj > one.energy.dram_pj
    # adders that sum along k are as wide as k asks; everything else is the same machine
    assert two.built.total_um2 >= one.built.total_um2


def test_cost_grows_with_every_width() -> None:
    base = Scheme.load("w8a8-dynamic")
    for path in ("weight__format", "activation__format"):
        readings = [Reading(weight_layer(), base.replace(**{path: f"int{bits}"})) for bits in (2, 4, 8, 12, 16)]
        for one, two in itertools.pairwise(readings):
            assert one.energy.mac_pj < two.energy.mac_pj
            assert one.energy.sram_pj < two.energy.sram_pj
            assert one.energy.total_pj < two.energy.total_pj
            assert one.built.total_um2 < two.built.total_um2
    widths = [
        Reading(weight_layer(), base, accumulator={"bits": bits, "overflow": "wrap"}) for bits in (16, 20, 24, 32, 48)
    ]
    for one, two in itertools.pairwise(widths):
        assert one.energy.total_pj < two.energy.total_pj
        assert one.built.total_um2 < two.built.total_um2
    assert (
        Reading(weight_layer(), base, accumulator={"bits": 16, "overflow": "saturate"}).built.total_um2
        > widths[0].built.total_um2
    )


def test_more_lanes_and_elements_take_more_area() -> None:
    base = Reading(weight_layer(), "w8a8-dynamic")
    for change in ({"vector__lanes": 3}, {"array__rows": 4}, {"array__columns": 3}, {"array__dot_depth": 2}):
        assert Reading(weight_layer(), "w8a8-dynamic", **change).built.total_um2 > base.built.total_um2


def test_a_machine_for_several_layers_builds_each_component_once() -> None:
    base = machine()
    plans = [hwsim.lower(layer, Scheme.load("w8a8-dynamic"), base) for layer in (weight_layer(), weight_layer(7, 3, 2))]
    both = area(plans, base, TECHNOLOGY)
    assert both.total_um2 == area(plans[:1], base, TECHNOLOGY).total_um2
    mixed = hwsim.lower(weight_layer(), Scheme.load("fp16"), base)
    wider = area([plans[0], mixed], base, TECHNOLOGY)
    # the operand registers of 16 bits become those of 32
    cuts = TECHNOLOGY.register(FLOAT_MAC_CUTS["fp16"] + 32).area_um2
    added = TECHNOLOGY.float_mac("fp16").area_um2 + TECHNOLOGY.register(16).area_um2 + cuts
    close(wider.total_um2 - both.total_um2, 6 * added)


def test_sums_for_zero_points_are_as_wide_as_the_longest_and_built_once() -> None:
    """Reductions of 11 and 200: sums of 8 + 4 and 8 + 8 bits at each of three rows."""
    scheme = Scheme.load("w8a8-asym-weight").replace(zero_point_sums="adders")
    base = machine()
    plans = [hwsim.lower(weight_layer(k=k), scheme, base) for k in (11, 200)]
    for several in (plans, plans[::-1]):
        edge = area(several, base, TECHNOLOGY).parts()["edge_um2"]
        close(edge, 3 * (TECHNOLOGY.adder(16).area_um2 + TECHNOLOGY.register(16).area_um2))


def test_stages_of_one_pipeline_have_units_of_their_own() -> None:
    """Partial sums are added up in fp32, then the bias is: two adders a lane; scans and quantizers share theirs."""
    base = machine()
    plan = hwsim.lower(weight_layer(k=256), Scheme.load("w4a8-g128"), base)
    lane = {line.what: line.count for line in area([plan], base, TECHNOLOGY).built if line.place == "lane"}
    assert lane["fp32 adder"] == 2 * 2
    assert lane["pipeline flip-flop of fp32 adder"] == 2 * 2 * CUTS["fp32 adder"]
    assert lane["fp32 multiplier"] == 2, "of the two scales of a partial sum"
    assert lane["fp16 to 8-bit quantizer"] == 2


def test_the_widest_unit_serves_narrow_formats_if_asked_to() -> None:
    base = machine()
    plans = [hwsim.lower(weight_layer(k=256), Scheme.load(name), base) for name in ("w4a8-g128", "w8a8-dynamic")]
    beside, shared = area(plans, base, TECHNOLOGY), area(plans, base, TECHNOLOGY, widest=True)
    close(beside.total_um2 - shared.total_um2, 6 * TECHNOLOGY.integer_mac(8, 4, 32).area_um2)


def test_area_has_a_band() -> None:
    built = Reading(weight_layer(), "w8a8-static").built
    assert built.low_um2 <= built.total_um2 < built.high_um2
    close(built.high_um2, math.fsum(line.high_um2 for line in built.built))


def test_a_deep_element_is_a_dot_product_unit() -> None:
    """Depth 4 on 5 x 11 x 7: three uses a result, of 4, 4 and 3 products; 12 - 11 products rest."""
    t = TECHNOLOGY
    got = Reading(weight_layer(), "w8a8-static", array__dot_depth=4)
    unit = t.dot_product(4, 8, 8, 32)
    spent = 35 * 3 * (unit.energy_pj + t.register(4 * 16).energy_pj) - 35 * t.multiplier(8, 8).energy_pj
    close(got.energy.mac_pj, spent)
    close(got.built.parts()["array_um2"], 6 * (unit.area_um2 + t.register(64).area_um2))
    idle = got.timing.compute_cycles * 6 - 35 * 3
    close(got.energy.clock_pj, idle * t.register(64 + 32).idle_pj)
    four = Reading(weight_layer(), "w8a8-static", array__rows=12)
    assert got.built.parts()["array_um2"] < four.built.parts()["array_um2"]


@pytest.mark.parametrize("scheme", ["pow2", "fp16", "w8a8-static"])
def test_units_of_every_kind_can_be_deep(scheme: str) -> None:
    # a clock at which no unit needs more registers than another
    one, two = (Reading(weight_layer(k=12), scheme, array__dot_depth=depth, clock_mhz=50) for depth in (1, 2))
    assert one.built.parts()["array_um2"] < two.built.parts()["array_um2"] < 2 * one.built.parts()["array_um2"]
    assert two.energy.mac_pj < one.energy.mac_pj


def test_held_weights_move_when_they_are_loaded() -> None:
    """3 x 2 elements, k = 11 and n = 7: 77 weights enter once and pass (3 + 1) / 2 registers."""
    t = TECHNOLOGY
    got = Reading(weight_layer(), "w8a8-static", array__dataflow="weight_stationary")
    assert got.timing.schedule.rhs_streams == 1
    byte = t.register(8)
    held, moved = 385 * byte.idle_pj, 77 * 2 * (byte.energy_pj - byte.idle_pj)
    close(got.energy.mac_pj, 385 * (t.integer_mac(8, 8, 32).energy_pj + byte.energy_pj) + held + moved)
    close(got.built.parts()["array_um2"], 6 * (t.integer_mac(8, 8, 32).area_um2 + t.register(16).area_um2))


def test_a_second_register_for_the_next_weights_has_area_and_energy() -> None:
    t = TECHNOLOGY
    changes = {"array__dataflow": "weight_stationary"}
    one = Reading(weight_layer(), "w8a8-static", **changes)
    two = Reading(weight_layer(), "w8a8-static", array__double_buffered=True, **changes)
    byte = t.register(8)
    close(two.built.total_um2 - one.built.total_um2, 6 * byte.area_um2)
    more = 385 * byte.idle_pj + 77 * (byte.energy_pj - byte.idle_pj)
    close(two.energy.mac_pj - one.energy.mac_pj, more)
    still = {"array__double_buffered": True}
    assert (
        Reading(weight_layer(), "w8a8-static", **still).built.total_um2
        == Reading(weight_layer(), "w8a8-static").built.total_um2
    )


def test_sums_that_leave_through_their_neighbours_pass_multiplexers() -> None:
    """Three rows: a sum of 32 bits passes two multiplexers on its way out."""
    t = TECHNOLOGY
    bus, shift = (Reading(weight_layer(), "w8a8-static", array__drain=drain) for drain in ("bus", "shift"))
    close(shift.built.total_um2 - bus.built.total_um2, 6 * t.multiplexer(32).area_um2)
    close(shift.energy.mac_pj - bus.energy.mac_pj, 35 * 2 * t.multiplexer(32).energy_pj)


def test_an_unknown_component_is_refused_and_never_free() -> None:
    text = r"^flux_capacitor\(8\) must have a price in 45nm-horowitz, but it has no model of flux_capacitor$"
    with pytest.raises(ValueError, match=text):
        price(TECHNOLOGY, steps.Component("flux_capacitor", (8,)))
    with pytest.raises(ValueError, match="bits"):
        price(TECHNOLOGY, steps.Component("integer_mac", (1, 8, 32, False)))


def test_an_unknown_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="DRAM type must be one of"):
        Reading(weight_layer(), "w8a8-static", memories__dram__type="core")
