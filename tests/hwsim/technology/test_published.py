"""Published numbers are returned as they were published."""

import re

import numpy as np
import pytest

from hwsim.technology import MissingConstantError, Technology, dram, dram_types, published_share, technology_names

# Horowitz, ISSCC 2014: pJ, um2.
HOROWITZ_ADD = {8: (0.03, 36.0), 16: (0.05, 67.0), 32: (0.1, 137.0)}
HOROWITZ_MULTIPLY = {8: (0.2, 282.0), 32: (3.1, 3495.0)}
HOROWITZ_FLOAT = {
    ("float_add", "fp16"): (0.4, 1360.0),
    ("float_add", "fp32"): (0.9, 4184.0),
    ("float_mul", "fp16"): (1.1, 1640.0),
    ("float_mul", "fp32"): (3.7, 7700.0),
}
# Jouppi et al., ISCA 2021, Table 2, 7 nm: pJ.
TPUV4I = {
    ("adder", (8,)): 0.007,
    ("adder", (32,)): 0.03,
    ("multiplier", (8, 8)): 0.07,
    ("multiplier", (32, 32)): 1.48,
    ("float_add", ("bf16",)): 0.11,
    ("float_mul", ("bf16",)): 0.21,
    ("float_add", ("fp16",)): 0.16,
    ("float_mul", ("fp16",)): 0.34,
    ("float_add", ("fp32",)): 0.38,
    ("float_mul", ("fp32",)): 1.31,
}


@pytest.fixture(scope="module")
def horowitz() -> Technology:
    return Technology.load("45nm-horowitz")


def test_the_default_technology_is_horowitz_at_45_nm() -> None:
    node = Technology.load()
    assert (node.name, node.node_nm, node.voltage_v) == ("45nm-horowitz", 45, 0.9)


@pytest.mark.parametrize("bits", HOROWITZ_ADD)
def test_horowitz_adders_are_exact(horowitz: Technology, bits: int) -> None:
    cost = horowitz.adder(bits)
    assert (cost.energy_pj, cost.area_um2) == pytest.approx(HOROWITZ_ADD[bits], rel=1e-12)


@pytest.mark.parametrize("bits", HOROWITZ_MULTIPLY)
def test_horowitz_multipliers_are_exact(horowitz: Technology, bits: int) -> None:
    cost = horowitz.multiplier(bits, bits)
    assert (cost.energy_pj, cost.area_um2) == pytest.approx(HOROWITZ_MULTIPLY[bits], rel=1e-12)


@pytest.mark.parametrize(("unit", "fmt"), HOROWITZ_FLOAT)
def test_horowitz_float_units_are_exact(horowitz: Technology, unit: str, fmt: str) -> None:
    cost = getattr(horowitz, unit)(fmt)
    assert (cost.energy_pj, cost.area_um2) == pytest.approx(HOROWITZ_FLOAT[unit, fmt], rel=1e-12)


@pytest.mark.parametrize(("unit", "arguments"), TPUV4I)
def test_tpuv4i_energies_are_exact(unit: str, arguments: tuple[int | str, ...]) -> None:
    node = Technology.load("7nm-tpuv4i")
    assert getattr(node, unit)(*arguments).energy_pj == pytest.approx(TPUV4I[unit, arguments], rel=1e-12)


def test_aladdin_register_and_shifter_are_exact(horowitz: Technology) -> None:
    # Shao, ISCA 2014, 40 nm at 1 ns: 9 fJ a flip-flop; shifter 0.417 pJ, 250 um2.
    assert horowitz.register(7).energy_pj == pytest.approx(7 * 0.009, rel=1e-12)
    shifter = horowitz.shifter(32, 32)
    assert (shifter.energy_pj, shifter.area_um2) == pytest.approx((0.417, 250.0), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "kib", "pj"),
    [
        ("45nm-horowitz", 8, 10.0),
        ("45nm-horowitz", 32, 20.0),
        ("45nm-horowitz", 1024, 100.0),
        ("7nm-tpuv4i", 8, 7.5),
        ("7nm-tpuv4i", 32, 8.5),
        ("7nm-tpuv4i", 1024, 14.0),
    ],
)
def test_published_sram_reads_are_exact(name: str, kib: int, pj: float) -> None:
    assert Technology.load(name).sram(kib * 1024, 64).read_pj == pytest.approx(pj, rel=1e-12)


def test_horowitz_sram_between_points_is_linear_in_the_root_of_the_capacity(horowitz: Technology) -> None:
    # Between 32 KiB (20 pJ) and 1 MiB (100 pJ), at 324 KiB whose root is 18.
    root = 2**0.5
    expected = 20 + (18 - 4 * root) * 80 / (32 - 4 * root)
    assert horowitz.sram(324 * 1024, 64).read_pj == pytest.approx(expected, rel=1e-12)


def test_tpuv4i_sram_keeps_its_intercept_below_the_first_point() -> None:
    # Line through 8 KiB (7.5) and 32 KiB (8.5), continued to 1 KiB: a root law would give 2.65.
    slope = 1.0 / (32**0.5 - 8**0.5)
    expected = 7.5 - slope * (8**0.5 - 1)
    assert Technology.load("7nm-tpuv4i").sram(1024, 64).read_pj == pytest.approx(expected, rel=1e-12)


# Measured rows of synthesised array MACs: library, widths, um2, pJ a cycle with wire under random operands.
ARRAY_MACS = [
    ("45nm-nangate", (4, 4, 16), 221.312, 0.40938 + 0.07176),
    ("45nm-nangate", (8, 4, 24), 374.262, 0.71311 + 0.13533),
    ("45nm-nangate", (8, 8, 32), 621.376, 1.19939 + 0.24099),
    ("130nm-sky130", (8, 8, 32), 3002.88, 4.21991 + 1.57399),
    ("130nm-sky130", (4, 4, 24), 1441.3824, 1.96312 + 0.53614),
    ("7nm-asap7", (8, 8, 32), 42.69024, 0.12518 + 0.04639),
    ("7nm-asap7", (8, 8, 24), 36.85824, 0.11012 + 0.04255),
]


@pytest.mark.parametrize(("name", "widths", "um2", "pj"), ARRAY_MACS)
def test_integer_macs_meet_synthesised_arrays(name: str, widths: tuple[int, int, int], um2: float, pj: float) -> None:
    cost = Technology.load(name).integer_mac(*widths)
    assert cost.area_um2 == pytest.approx(um2, rel=0.10)
    assert cost.energy_pj == pytest.approx(pj, rel=0.05)


def test_clock_energy_of_an_idle_mac_meets_the_simulated_zero_operand() -> None:
    # Nangate45 8x8 + 32: 0.26873 + 0.00223 pJ with one operand zero, of which 0.26725 are clock pins.
    node = Technology.load("45nm-nangate")
    mac = node.integer_mac(8, 8, 32)
    assert mac.idle_pj == pytest.approx(0.26725, rel=1e-4)
    assert node.integer_mac(8, 8, 32, activity="zero").energy_pj == pytest.approx(0.27096, rel=0.02)
    assert node.integer_mac(8, 8, 32, activity="relu").energy_pj == pytest.approx(0.767 + 0.12809, rel=0.15)


@pytest.mark.parametrize(
    ("kind", "pj"), [("DDR3", 20.3), ("DDR4", 20.3), ("LPDDR4", 10.0), ("LPDDR5", 9.0), ("GDDR6", 6.5), ("hbm2", 5.45)]
)
def test_dram_states_its_boundary_and_band(kind: str, pj: float) -> None:
    cost = dram(kind)
    assert (cost.nominal, cost.unit) == (pj, "pJ/bit")
    assert cost.low <= cost.nominal <= cost.high
    assert "device" in cost.boundary or "stack" in cost.boundary
    assert Technology.load().dram(kind) == cost or Technology.load().dram(kind).nominal == pj


def test_an_unknown_dram_raises() -> None:
    text = f"DRAM type must be one of {', '.join(dram_types())}, not 'HBM4'"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        dram("HBM4")


def test_published_shares_are_listed_and_not_applied() -> None:
    # EIE, Table: 1.874 of 9.157 mW.
    assert published_share("clock_network").nominal == pytest.approx(1.874 / 9.157, rel=1e-3)
    with pytest.raises(ValueError, match=r"^share must be one of clock_network, control_area, not 'io'$"):
        published_share("io")


def test_shipped_technologies_are_shared() -> None:
    assert Technology.load("7nm-asap7") is Technology.load("7nm-asap7")
    assert Technology.load() is not Technology.load("45nm-nangate")


def test_an_unknown_technology_raises_with_the_names() -> None:
    text = f"technology must be one of {', '.join(technology_names())} or a YAML file, not '3nm'"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Technology.load("3nm")


def test_an_unsimulated_constant_raises() -> None:
    library = Technology.load("130nm-sky130").library
    with pytest.raises(MissingConstantError, match=r"^library sky130hd has no energy_pj of a lfsr$"):
        library.law("lfsr", "energy_pj")
    with pytest.raises(MissingConstantError, match=r"^library sg13g2 has no energy_pj of a adder$"):
        type(library).load("sg13g2").law("adder", "energy_pj")


@pytest.mark.parametrize("name", technology_names())
def test_every_constant_has_a_source(name: str) -> None:
    found = Technology.load(name).bibliography()
    keys = {"name", "value", "unit", "node_nm", "voltage_v", "source", "year", "confidence", "note"}
    for entry in found:
        assert set(entry) == keys, entry
        assert np.isfinite(entry["value"])
        assert entry["value"] > 0, entry
        assert entry["source"]
        assert 1990 < entry["year"] < 2100
        assert entry["confidence"] in {"high", "medium", "low"}
    names = [e["name"] for e in found]
    assert len(set(names)) == len(names)
    assert len(names) > 150


def test_the_bibliography_lists_published_anchors(horowitz: Technology) -> None:
    found = {e["name"]: e for e in horowitz.bibliography()}
    entry = found["multiplier 8x8 energy"]
    assert (entry["value"], entry["unit"], entry["node_nm"], entry["voltage_v"]) == (0.2, "pJ", 45, 0.9)
    assert entry["year"] == 2014
    frame = horowitz.bibliography_frame()
    assert list(frame.columns)[:3] == ["name", "value", "unit"]
    assert len(frame) == len(found)
