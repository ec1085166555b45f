"""Energy by the actual integers: zeros and small numbers cost less, time and area do not change."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from click.testing import CliRunner

import hwsim
import workloads
from hwsim.activity import activities, measure
from hwsim.cli.simulate import simulate as command
from hwsim.cost import DataActivity, area, energy
from hwsim.numerics import Recording
from hwsim.technology import Technology, toggles
from hwsim.timing import closed_form
from quant import Scheme
from tests.hwsim.machines import machine, network_of, weight_layer

TECHNOLOGY = Technology.load("45nm-nangate")
LAYER = weight_layer(24, 48, 20)
DATAFLOWS = ("output_stationary", "weight_stationary", "input_stationary")


def counted(lhs: np.ndarray, rhs: np.ndarray, scheme: str = "w8a8-static", dataflow: str = "output_stationary"):  # type: ignore[no-untyped-def]
    base = machine(array__rows=8, array__columns=8, array__dataflow=dataflow)
    plan = hwsim.lower(LAYER, Scheme.load(scheme), base)
    return measure(plan, lhs[None], rhs[None], base, TECHNOLOGY)


def tiny(lhs: list[list[int]], rhs: list[list[int]], dataflow: str, rows: int = 1) -> tuple[float, float, float]:
    """Data-dependent energies of a product on one column of elements."""
    x, y = np.array(lhs, np.int8), np.array(rhs, np.int8)
    base = machine(array__rows=rows, array__columns=1, array__dataflow=dataflow)
    plan = hwsim.lower(weight_layer(len(lhs), len(rhs), len(rhs[0])), Scheme.load("w8a8-static"), base)
    data = measure(plan, x[None], y[None], base, TECHNOLOGY).data
    return data.mac, data.registers, data.loads


def of_parts(product: float, total: float, *, passes: bool) -> float:
    """Energy of the 8 x 8-bit MAC into 32 bits whose product and sum toggle so often a cycle."""
    t, random = TECHNOLOGY, toggles.reference(8, 8, 32)
    mac, multiplier = t.integer_mac(8, 8, 32), t.multiplier(8, 8).energy_pj
    whole = mac.energy_pj - mac.idle_pj
    if not passes:
        spent = multiplier * product / random.product + (whole - multiplier) * total / random.accumulator
        return float(spent / whole)
    adder = (t.adder(32).energy_pj + t.register(32).energy_pj - t.register(32).idle_pj) / 16
    products = (whole - adder * random.accumulator) * product / random.product
    return float((toggles.fading("nangate45") * products + adder * total) / whole)


def test_a_held_weight_rests_while_the_other_operand_and_the_sum_move() -> None:
    """1, 3, 2, 6 stream past a weight of 1: one bit changes each time, in operand, product and passing sum."""
    mac, registers, loads = tiny([[1], [3], [2], [6]], [[1]], "weight_stationary")
    assert registers == pytest.approx(1 / 4, rel=1e-12)  # of four that toggle in a random byte
    assert mac == pytest.approx(of_parts(1, 1, passes=True), rel=1e-12)
    assert loads == 1.0, "no second value passes"
    swapped = tiny([[1]], [[1, 3, 2, 6]], "input_stationary")
    assert swapped == (mac, registers, loads)


def test_operands_that_stream_and_a_sum_that_stays_by_hand() -> None:
    """1, 3, 2, 6 by ones: sums 1, 4, 6, 12 change 1, 2, 1 and 2 bits; the other register takes its one once."""
    mac, registers, _ = tiny([[1, 3, 2, 6]], [[1], [1], [1], [1]], "output_stationary")
    assert registers == pytest.approx((4 + 1) / 4 / 8, rel=1e-12)
    assert mac == pytest.approx(of_parts(1, 6 / 4, passes=False), rel=1e-12)


def test_held_weights_toggle_while_they_are_loaded() -> None:
    """1, 3, 2 go down a column: 0001 to 0011 to 0010, two bits in two steps; all alike move nothing."""
    assert tiny([[1, 1, 1]], [[1], [3], [2]], "weight_stationary", rows=3)[2] == pytest.approx(1 / 4, rel=1e-12)
    assert tiny([[1, 1, 1]], [[5], [5], [5]], "weight_stationary", rows=3)[2] == 0.0
    base = machine(array__dataflow="weight_stationary")
    plan = hwsim.lower(LAYER, Scheme.load("w8a8-static"), base)
    timing, built = closed_form(plan, base), area([plan], base, TECHNOLOGY)
    some, none = (
        energy(plan, timing, base, TECHNOLOGY, built, activity=DataActivity(loads=loads)).mac_pj for loads in (0.25, 0)
    )
    byte = TECHNOLOGY.register(8)
    moved = 48 * 20 * timing.schedule.rhs_streams * 2  # (3 + 1) / 2 registers each
    assert some - none == pytest.approx(0.25 * moved * (byte.energy_pj - byte.idle_pj), rel=1e-9)


def random_operands(seed: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(-127, 128, (24, 48), dtype=np.int8), rng.integers(-127, 128, (48, 20), dtype=np.int8)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_zeros_move_nothing(dataflow: str) -> None:
    lhs, rhs = random_operands()
    found = counted(lhs * 0, rhs * 0, dataflow=dataflow)
    assert (found.data.mac, found.data.registers, found.zero_share) == (0.0, 0.0, 1.0)
    one_sided = counted(lhs * 0, rhs, dataflow=dataflow)
    assert one_sided.data.mac == 0.0
    assert one_sided.zero_share == 1.0


def test_random_operands_cost_what_the_default_says() -> None:
    found = counted(*random_operands())
    assert found.data.mac == pytest.approx(1.0, abs=0.06)
    assert found.data.registers == pytest.approx(1.0, abs=0.05)
    assert found.counted_share == 1.0
    assert found.zero_share == pytest.approx(2 / 255, abs=0.01)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_the_more_zeros_the_less_energy(dataflow: str) -> None:
    """Zeros are added to those that are there already."""
    lhs, rhs = random_operands()
    order = np.random.default_rng(11).random(lhs.shape)
    shares = [counted(np.where(order < z, 0, lhs).astype(np.int8), rhs, dataflow=dataflow) for z in (0, 0.4, 0.7, 1)]
    for one, two in itertools.pairwise(shares):
        assert two.data.mac < one.data.mac
        assert two.zero_share > one.zero_share


def test_small_operands_cost_less_than_large_ones() -> None:
    lhs, rhs = random_operands()
    small = counted(np.abs(lhs) // 16, rhs)  # unsigned and four bits
    assert small.data.mac < 0.9 * counted(lhs, rhs).data.mac
    assert small.data.registers < 0.8


def test_only_some_tiles_are_counted_and_they_are_spread() -> None:
    base = machine(array__rows=4, array__columns=4)
    layer = weight_layer(400, 16, 400)
    plan = hwsim.lower(layer, Scheme.load("w8a8-static"), base)
    rng = np.random.default_rng(5)
    lhs, rhs = rng.integers(-99, 99, (400, 16), dtype=np.int8), rng.integers(-99, 99, (16, 400), dtype=np.int8)
    found = measure(plan, lhs[None], rhs[None], base, TECHNOLOGY)
    assert found.counted_share == pytest.approx((12 / 400) ** 2)
    lhs[190:] = 0  # the tiles in the middle and at the end
    assert measure(plan, lhs[None], rhs[None], base, TECHNOLOGY).zero_share > 0.6


def test_measured_energy_differs_in_the_array_only() -> None:
    network = network_of(LAYER)
    for scheme in ("w8a8-static", "w8a8-dynamic", "pow2", "w4a8-g128"):
        random, measured = (
            hwsim.simulate(network, scheme, machine(), numerics=False, activity=activity)
            for activity in ("random", "measured")
        )
        one, two = random.totals(), measured.totals()
        # Exponents of normal weights are no uniform codes: their products may move more.
        assert two["mac_pj"] != one["mac_pj"] if scheme == "pow2" else two["mac_pj"] < one["mac_pj"]
        for same in ("clock_pj", "vector_pj", "sram_pj", "dram_pj", "leakage_pj", "area_um2", "latency_us"):
            assert one[same] == two[same], same
        assert two["energy_low_pj"] < two["energy_pj"] < two["energy_high_pj"]


def test_the_array_costs_at_least_its_clock_and_follows_the_counts() -> None:
    network, base = network_of(LAYER), machine(technology="45nm-nangate")
    random = hwsim.simulate(network, "w8a8-static", base, numerics=False)
    measured = hwsim.simulate(network, "w8a8-static", base, numerics=False, activity="measured")
    data = activities(random, Recording(network))["up"].data
    mac, register, macs = TECHNOLOGY.integer_mac(8, 8, 32), TECHNOLOGY.register(16), 24 * 48 * 20
    expected = mac.at_activity(data.mac).energy_pj + register.at_activity(data.registers).energy_pj
    assert math.isclose(measured.totals()["mac_pj"], macs * expected, rel_tol=1e-12)
    assert measured.totals()["mac_pj"] > macs * (mac.idle_pj + register.idle_pj)


def test_floats_keep_the_default() -> None:
    network = network_of(LAYER)
    random, measured = (
        hwsim.simulate(network, "fp16", machine(), numerics=False, activity=activity)
        for activity in ("random", "measured")
    )
    assert random.energy_pj == measured.energy_pj
    plan = hwsim.lower(LAYER, Scheme.load("fp16"), machine())
    with pytest.raises(ValueError, match=r"^unit must be multiply or shift to count toggles, not float$"):
        measure(plan, np.zeros((1, 24, 48), np.int8), np.zeros((1, 48, 20), np.int8), machine(), TECHNOLOGY)


def test_wrong_activities_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^activity must be random or measured, not 'typical'$"):
        hwsim.simulate(network_of(LAYER), "fp16", machine(), numerics=False, activity="typical")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shapes only"):
        hwsim.simulate(workloads.load("resnet50"), "w8a8-static", numerics=False, activity="measured")


def test_the_command_measures_and_warns() -> None:
    plain = CliRunner().invoke(command, ["--json"])
    done = CliRunner().invoke(command, ["--json", "--activity", "measured"])
    assert done.exit_code == 0
    assert '"mac_pj"' in done.output
    assert done.output != plain.output
    text = CliRunner().invoke(command, ["--costs-only", "--scheme", "fp32"], env={"COLUMNS": "80"}).output
    said = " ".join(text.split())
    assert "Longer than the clock's 4 ns and pipelined, registers counted: fp32 MAC 9.7 ns, 3 stages" in said
    assert "Partial sums in turn in an adder of several stages, added up at the end: 2 in each fp32 MAC." in said
