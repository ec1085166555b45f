"""SRAM laws, banks, wires, and scaling between nodes."""

import itertools
import re
from fractions import Fraction

import numpy as np
import pytest

from hwsim.technology import MissingConstantError, Technology, node_scaling, technology_names


@pytest.mark.parametrize("name", technology_names())
def test_srams_grow_with_capacity_and_width(name: str) -> None:
    node = Technology.load(name)
    assert node.node.sram is not None
    low, high = node.node.sram.capacity_bytes
    capacity = np.unique(np.geomspace(low, high, 50).astype(int))
    cost = node.sram(capacity, 64)
    for field in ("read_pj", "write_pj", "area_um2", "leakage_uw"):
        assert (np.diff(getattr(cost, field)) > 0).all(), field
    widths = np.array([8, 16, 32, 64])
    by_width = node.sram(8192, widths)
    assert (np.diff(by_width.read_pj) > 0).all()
    assert (np.diff(by_width.write_pj) > 0).all()
    assert (np.diff(by_width.read_pj / widths) < 0).all()
    assert cost.low_read_pj[0] <= cost.read_pj[0] <= cost.high_read_pj[0]
    assert cost.low_write_pj[0] <= cost.write_pj[0] <= cost.high_write_pj[0]
    assert cost.low_leakage_uw[0] <= cost.leakage_uw[0] <= cost.high_leakage_uw[0]
    for i in (0, 20, len(capacity) - 1):
        assert node.sram(int(capacity[i]), 64).read_pj == pytest.approx(cost.read_pj[i], rel=1e-12)


# CACTI 7 at 45 nm, 64-bit reads (pJ) and areas (mm2).
CACTI = {
    8192: (5.2883, 0.026291),
    32768: (14.9248, 0.094915),
    262144: (34.1767, 0.872084),
    4194304: (118.302, 12.448953),
}


@pytest.mark.parametrize("capacity", CACTI)
def test_the_cacti_law_stays_within_its_stated_residuals(capacity: int) -> None:
    cost = Technology.load("45nm-nangate").sram(capacity, 64)
    pj, mm2 = CACTI[capacity]
    assert cost.read_pj == pytest.approx(pj, rel=0.40)
    assert cost.area_um2 == pytest.approx(mm2 * 1e6, rel=0.12)
    assert cost.low_read_pj <= pj <= cost.high_read_pj


def test_leakage_is_that_of_low_standby_cells() -> None:
    # CACTI ITRS-LSTP, 45 nm: 1.7 uW for 64 KiB and 6.7 uW for 256 KiB; itrs-hp says 73846 uW for 64 KiB.
    node = Technology.load("45nm-nangate")
    assert node.sram(65536, 64).leakage_uw == pytest.approx(1.7, rel=0.02)
    assert node.sram(262144, 64).leakage_uw == pytest.approx(6.7, rel=0.02)


def test_foundry_macros_are_met_within_their_residuals() -> None:
    node = Technology.load("130nm-sky130")
    for capacity, width, pj, um2 in [
        (8192, 64, 91.8272, 263946.1),
        (1024, 8, 15.5961, 49419.2),
        (512, 16, 14.192, 28127.1),
    ]:
        cost = node.sram(capacity, width)
        assert cost.read_pj == pytest.approx(pj, rel=0.12)
        assert cost.area_um2 == pytest.approx(um2, rel=0.17)
        assert cost.delay_ns is None


def test_banks_read_less_and_hold_the_same() -> None:
    node = Technology.load()
    one, eight = node.sram(1048576, 64), node.sram(1048576, 64, banks=8)
    assert eight.read_pj < one.read_pj
    assert eight.leakage_uw == one.leakage_uw
    assert eight.area_um2 > one.area_um2
    bank = node.sram(131072, 64)
    wire = 64 * 0.24 * (eight.area_um2**0.5 / 1000) / 2
    assert eight.read_pj == pytest.approx(bank.read_pj + wire, rel=1e-12)
    assert node.sram(24 * 2**20, 256, banks=16).read_pj > 0


@pytest.mark.parametrize(
    ("capacity", "width", "banks", "text"),
    [
        (512, 64, 1, "capacity_bytes must be in 1024..4194304, not 512"),
        (8388608, 64, 1, "capacity_bytes must be in 1024..4194304, not 8.38861e+06"),
        (8192, 64, 16, "capacity_bytes of a bank must be in 1024..4194304, not 512"),
        (8192, 4, 1, "width_bits must be in 8..512, not 4"),
        (8192, 64, 0, "banks must be in 1..4096, not 0"),
    ],
)
def test_outside_the_limits_raises(capacity: int, width: int, banks: int, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Technology.load().sram(capacity, width, banks)


def test_wires_are_published_figures() -> None:
    assert Technology.load().wire().nominal == 0.24  # Keckler 2011, 40 nm
    seven = Technology.load("7nm-tpuv4i").wire()
    assert (seven.low, seven.high) == (0.05, 0.1)  # Dally 2022 at 5 nm and 2020 at 14 nm
    assert seven.nominal == pytest.approx((0.05 * 0.1) ** 0.5, rel=0.02)


# ---- scaling ----

# Stillmaker & Baas 2017, energy polynomials of the high-performance rows and area factors from 45 nm.
ENERGY = {
    45: (Fraction("1.018"), Fraction("-0.3107"), Fraction("0.1539")),
    32: (Fraction("0.8367"), Fraction("-0.4341"), Fraction("0.1701")),
    16: (Fraction("0.2958"), Fraction("-0.1241"), Fraction("0.03024")),
    7: (Fraction("0.1776"), Fraction("-0.09097"), Fraction("0.02447")),
}
DELAY = {
    45: tuple(Fraction(t) for t in ("-501.6", "1567", "-1619", "566.1")),
    7: tuple(Fraction(t) for t in ("-28.58", "76.6", "-70.26", "24.69")),
}
AREA_FROM_45 = {45: 1.0, 32: 0.46, 16: 0.19, 7: 0.059}


def _energy(node_nm: int, volts: Fraction) -> Fraction:
    e2, e1, e0 = ENERGY[node_nm]
    return e2 * volts**2 + e1 * volts + e0


def _delay(node_nm: int, volts: Fraction) -> Fraction:
    d3, d2, d1, d0 = DELAY[node_nm]
    return d3 * volts**3 + d2 * volts**2 + d1 * volts + d0


@pytest.mark.parametrize("node_nm", [7, 10, 14, 16, 20, 28, 32, 40, 45, 65, 90, 130, 180])
def test_scaling_a_node_to_itself_is_one(node_nm: int) -> None:
    same = node_scaling(node_nm, node_nm)
    assert (same.energy, same.area, same.delay, same.low, same.high, same.warning) == (1.0, 1.0, 1.0, 1.0, 1.0, "")


@pytest.mark.parametrize("name", technology_names())
def test_a_technology_scaled_to_itself_is_unchanged(name: str) -> None:
    node = Technology.load(name)
    same = node.scaled_to(node.node_nm)
    assert same.integer_mac(8, 8, 32).energy_pj == node.integer_mac(8, 8, 32).energy_pj
    assert same.caveats == node.caveats
    assert (same.node_nm, same.voltage_v) == (node.node_nm, node.voltage_v)


@pytest.mark.parametrize(("node_nm", "volts"), [(32, "0.9"), (16, "0.85"), (7, "0.7"), (45, "1.0")])
def test_energy_and_area_factors_are_those_of_the_paper(node_nm: int, volts: str) -> None:
    found = node_scaling(45, node_nm, from_voltage_v=0.9, to_voltage_v=float(volts))
    expected = _energy(node_nm, Fraction(volts)) / _energy(45, Fraction("0.9"))
    assert found.energy == pytest.approx(float(expected), rel=1e-9)
    assert found.area == pytest.approx(AREA_FROM_45[node_nm], rel=1e-12)
    assert "Stillmaker & Baas" in found.warning


def test_delay_factor_is_that_of_the_paper_and_does_not_turn_upward() -> None:
    found = node_scaling(45, 7, from_voltage_v=0.9, to_voltage_v=0.7)
    assert found.delay == pytest.approx(float(_delay(7, Fraction("0.7")) / _delay(45, Fraction("0.9"))), rel=1e-9)
    delays = [node_scaling(45, 45, to_voltage_v=v / 100).delay for v in range(80, 121, 5)]
    assert all(a >= b for a, b in itertools.pairwise(delays))


def test_scaling_there_and_back_is_one() -> None:
    there, back = node_scaling(45, 16), node_scaling(16, 45)
    assert there.energy * back.energy == pytest.approx(1.0, rel=1e-12)
    assert there.area * back.area == pytest.approx(1.0, rel=1e-12)


def test_a_node_between_two_of_the_paper_lies_between_them() -> None:
    high, low = node_scaling(45, 32), node_scaling(45, 20)
    between = node_scaling(45, 28)
    assert low.energy < between.energy < high.energy
    assert low.area < between.area < high.area


def test_shrinking_widens_the_band_upward_by_the_measured_optimism() -> None:
    found = node_scaling(45, 7)
    assert found.low == 1.0
    assert found.high == pytest.approx(7.0)
    grown = node_scaling(7, 45)
    assert grown.low == pytest.approx(1 / 7)
    assert grown.high == 1.0


def test_scaled_costs_carry_the_warning() -> None:
    base = Technology.load()
    scaled = base.scaled_to(28, 0.9)
    factors = node_scaling(45, 28, from_voltage_v=0.9, to_voltage_v=0.9)
    cost, before = scaled.integer_mac(8, 8, 32), base.integer_mac(8, 8, 32)
    assert cost.energy_pj == pytest.approx(before.energy_pj * factors.energy, rel=1e-12)
    assert cost.high_pj == pytest.approx(before.high_pj * factors.energy * factors.high, rel=1e-12)
    assert cost.area_um2 == pytest.approx(before.area_um2 * factors.area, rel=1e-12)
    assert cost.gate_equivalents == pytest.approx(before.gate_equivalents, rel=1e-12)
    assert scaled.caveats[0] == factors.warning
    assert factors.warning in cost.basis
    assert (scaled.node_nm, scaled.voltage_v) == (28, 0.9)
    sram, sram_before = scaled.sram(32768, 64), base.sram(32768, 64)
    assert sram.read_pj == pytest.approx(sram_before.read_pj * factors.energy, rel=1e-12)
    assert cost.delay_ns is not None
    assert before.delay_ns is not None
    assert cost.delay_ns == pytest.approx(before.delay_ns * factors.delay, rel=1e-12)
    many, many_before = scaled.sram(1048576, 64, 8), base.sram(1048576, 64, 8)
    bank, bank_before = scaled.sram(131072, 64), base.sram(131072, 64)
    wire, wire_before = many.read_pj - bank.read_pj, many_before.read_pj - bank_before.read_pj
    assert wire == pytest.approx(wire_before * factors.energy * factors.area**0.5, rel=1e-9)
    assert scaled.codebook(16, 8).area_um2 == pytest.approx(base.codebook(16, 8).area_um2 * factors.area, rel=1e-12)
    assert scaled.wire().nominal == pytest.approx(0.24 * factors.energy, rel=1e-12)
    assert scaled.dram("DDR4").nominal == base.dram("DDR4").nominal
    assert repr(scaled) == "Technology.load('45nm-horowitz@28nm,0.9V')"
    again = Technology.load(scaled.name)
    assert again.integer_mac(8, 8, 32).energy_pj == cost.energy_pj
    assert Technology.load("45nm-horowitz@28nm").voltage_v == pytest.approx(0.9, abs=0.02)
    assert Technology.load("45nm-horowitz@45nm").name == "45nm-horowitz"
    with pytest.raises(ValueError, match=r"^technology must be one of .* not '45nm-horowitz@28'$"):
        Technology.load("45nm-horowitz@28")


def test_scaling_outside_the_paper_raises() -> None:
    with pytest.raises(ValueError, match=r"^node_nm must be in 7..180, not 5$"):
        Technology.load().scaled_to(5)
    with pytest.raises(ValueError, match=r"^voltage_v must be near the nominal 1.8 V of 180 nm, not 0.5$"):
        Technology.load().scaled_to(180, 0.5)


def test_a_node_without_memory_raises() -> None:
    node = Technology.load()
    bare = Technology(node.node.model_copy(update={"sram": None, "wire_pj_per_bit_mm": None}))
    with pytest.raises(MissingConstantError, match=r"^45nm-horowitz has no sram$"):
        bare.sram(8192, 64)
    with pytest.raises(MissingConstantError, match=r"^45nm-horowitz has no wire_pj_per_bit_mm$"):
        bare.wire()
