"""Delays against the clock: stages, and loops in which sums take turns."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import hwsim
from hwsim.cost import area
from hwsim.cost.clock import CriticalPath, clock_statements, critical_paths
from hwsim.cost.pipelines import Pipeline
from hwsim.technology import Technology
from hwsim.technology.pipelining import stages_of
from quant import Scheme
from tests.hwsim.machines import machine, weight_layer

TECHNOLOGY = Technology.load("45nm-horowitz")

# OpenSTA, Nangate45, ns: fp32 multiply, fp32 add, fp32 to int8, 32-bit flip-flop.
MULTIPLY, ADD, ROUND, FLIP_FLOP = 4.1953, 5.3945, 1.1858, 0.0822


def paths_of(scheme: str, technology: Technology = TECHNOLOGY, **changes: object) -> dict[str, CriticalPath]:
    base = machine(**changes)
    plan = hwsim.lower(weight_layer(), Scheme.load(scheme), base)
    return {path.component: path for path in critical_paths(area([plan], base, technology), base, technology)}


def test_stages_are_whole_periods_of_the_synthesised_path() -> None:
    """A stage of 4 ns has 3.9178 ns for logic; at 183 MHz 5.382 ns hold all of 5.3811."""
    path = paths_of("w8a8-static")["fp32 to 8-bit quantizer"]
    assert path.delay_ns == pytest.approx(MULTIPLY + ROUND, rel=1e-9)
    assert path.delay_fo4 == pytest.approx((MULTIPLY + ROUND) / 0.0258, rel=1e-9)
    assert (path.stages, path.too_long, path.too_slow) == (2, True, False)
    slow = paths_of("w8a8-static", clock_mhz=183)["fp32 to 8-bit quantizer"]  # 5.4645 ns
    assert (slow.stages, slow.too_long) == (1, False)
    edge = paths_of("w8a8-static", clock_mhz=184)["fp32 to 8-bit quantizer"]  # 5.4348 ns less 0.0822
    assert edge.stages == 2


def test_an_adder_of_two_stages_has_two_sums_in_turn() -> None:
    """5.3945 ns of adder in stages of 3.9178; all of 9.5898 in three of them."""
    path = paths_of("fp32")["fp32 MAC"]
    assert path.loop_ns == pytest.approx(ADD + FLIP_FLOP, rel=1e-9)
    assert (path.stages, path.turns, path.too_slow) == (3, 2, False)
    assert paths_of("fp32", clock_mhz=180)["fp32 MAC"].turns == 1
    assert paths_of("w8a8-static")["8x8-bit MAC into 32 bits"].turns == 1


def test_a_sum_that_saturates_can_not_take_turns() -> None:
    """A 32-bit adder, its clamp and flip-flop take 1.21 ns and some: too long at 1 GHz, and passing on helps."""
    changes: dict[str, Any] = {"accumulator": {"bits": 32, "overflow": "saturate"}, "clock_mhz": 1000}
    name = "8x8-bit MAC into 32 bits, saturating"
    path = paths_of("w8a8-static", **changes)[name]
    assert (path.turns, path.too_slow) == (2, True)
    assert not paths_of("w8a8-static", **changes | {"clock_mhz": 250})[name].too_slow
    assert not paths_of("w8a8-static", **changes, array__dataflow="weight_stationary")[name].too_slow
    wraps = paths_of("w8a8-static", clock_mhz=1000)["8x8-bit MAC into 32 bits"]
    assert (wraps.turns, wraps.too_slow) == (2, False)


def test_the_width_of_a_cut_is_the_mean_over_the_path() -> None:
    """Multipliers pass sum, carry and operands from row to row; adders half a sum and two halves of operands."""
    t = TECHNOLOGY
    assert t.multiplier(8, 8).cut_bits == 8 + 8 + 8 + 8
    assert t.multiplier(4, 8).cut_bits == t.multiplier(8, 4).cut_bits == 4 + 4 + 4 + 8
    assert t.adder(32).cut_bits == 16 + 2 * 16
    assert t.float_mul("fp32").cut_bits == 4 * 24 + 8 + 2
    assert t.float_mul("bf16").cut_bits == 4 * 8 + 8 + 2
    assert t.float_add("fp16").cut_bits == 2 * (11 + 3) + 5 + 2
    both = (Fraction(106) * Fraction("4.1953") + 32 * Fraction("1.1858")) / (Fraction("4.1953") + Fraction("1.1858"))
    assert t.quantizer("fp32", 8).cut_bits == pytest.approx(float(both), rel=1e-9)
    # before its loop a MAC is a multiplier; deep ones have several, and a tree that narrows
    assert t.integer_mac(8, 8, 32).cut_bits == 32
    assert t.dot_product(2, 8, 8, 32).cut_bits < 2 * 32
    beside = t.multiplier(8, 8) + t.multiplier(4, 8)
    assert beside.cut_bits == 32 + 20
    assert t.multiplier(8, 8).times(3).cut_bits == 3 * 32
    columns = t.multiplier(np.array([8, 4]), 8).then(t.adder(np.array([16, 12])))
    for place, (bits, width) in enumerate(((8, 16), (4, 12))):
        one = t.multiplier(bits, 8).then(t.adder(width))
        assert columns.cut_bits[place] == pytest.approx(one.cut_bits, rel=1e-12)


def test_flip_flops_of_a_pipelined_float_mac_by_hand() -> None:
    """Three stages: a cut of the multiplier, one of the adder, and a register where a sum waits for the other."""
    adder = (Fraction(64) * Fraction("5.3945") + 32 * Fraction("0.0822")) / (Fraction("5.3945") + Fraction("0.0822"))
    unit = TECHNOLOGY.float_mac("fp32")
    assert Pipeline.of(unit, 4.0, TECHNOLOGY) == Pipeline(3, 2, 106 + math.ceil(adder), 32)
    assert Pipeline.of(unit, 4.0, TECHNOLOGY, passes=True) == Pipeline(3, 1, 106 + math.ceil(adder), 0)
    assert Pipeline.of(unit, 10.0, TECHNOLOGY) == Pipeline(1, 1, 0, 0)
    assert Pipeline.of(unit, 6.0, TECHNOLOGY) == Pipeline(2, 1, 32, 0), "product and sum have a stage each"
    # 1.1024 ns of multiplier, 1.1250 of adder: 16 bits of product between them, or 32 wires within the array
    integers = TECHNOLOGY.integer_mac(8, 8, 32)
    assert Pipeline.of(integers, 1.25, TECHNOLOGY) == Pipeline(2, 1, 16, 0)
    assert Pipeline.of(integers, 0.8, TECHNOLOGY).turns == 2
    unknown = TECHNOLOGY.float_mul("fp32").replace(delay_ns=None)
    assert Pipeline.of(unknown, 0.1, TECHNOLOGY) == Pipeline(1, 1, 0, 0)


@pytest.mark.parametrize("name", ["45nm-horowitz", "45nm-nangate", "7nm-tpuv4i", "7nm-asap7", "130nm-sky130"])
def test_a_faster_clock_never_has_fewer_flip_flops(name: str) -> None:
    node = Technology.load(name)
    for unit in (node.float_mac("fp16"), node.integer_mac(8, 8, 32), node.requantizer("fixed", 32, 32, True)):
        cuts = [Pipeline.of(unit, 1e3 / mhz, node) for mhz in range(50, 3000, 50)]
        assert [cut.bits for cut in cuts] == sorted(cut.bits for cut in cuts)
        assert all(cut.stages >= cut.turns >= 1 for cut in cuts)
        periods = 1e3 / np.arange(50, 3000, 50)
        together = Pipeline.of(unit, periods, node)
        assert np.broadcast_to(together.bits, periods.shape).tolist() == [cut.bits for cut in cuts]
        assert np.broadcast_to(together.turns, periods.shape).tolist() == [cut.turns for cut in cuts]


def test_the_longest_comes_first_and_memories_are_there() -> None:
    base = machine()
    plan = hwsim.lower(weight_layer(), Scheme.load("w8a8-static"), base)
    found = critical_paths(area([plan], base, TECHNOLOGY), base, TECHNOLOGY)
    assert [path.delay_ns for path in found] == sorted((path.delay_ns for path in found), reverse=True)
    assert len({path.component for path in found}) == len(found), "pipeline registers are no unit"
    access = {path.component: path.delay_ns for path in found if path.place == "chip"}
    assert access["weight buffer"] == TECHNOLOGY.sram(262144, 64, 8).delay_ns
    assert set(found[0].to_row()) >= {"component", "delay_ns", "delay_fo4", "loop_ns", "period_ns", "stages", "fits"}


def test_a_scaled_node_scales_path_and_yardstick_alike() -> None:
    scaled = TECHNOLOGY.scaled_to(28)
    own, other = paths_of("w8a8-static"), paths_of("w8a8-static", scaled)
    for name in ("8x8-bit MAC into 32 bits", "16-bit register"):
        assert own[name].delay_fo4 == pytest.approx(other[name].delay_fo4, rel=1e-12)
        assert other[name].delay_ns < own[name].delay_ns


def test_statements_name_the_component_and_the_clock_it_allows() -> None:
    slow = CriticalPath("MAC", "element", 9.672, 374.9, 5.4767, 4.0, 3, 2, in_order=True)
    long = [CriticalPath(f"unit {i}", "lane", 4.5 + i, 100.0, 0.0, 4.0, 2) for i in range(5)]
    turning = CriticalPath("fp32 MAC", "element", 9.672, 374.9, 5.4767, 4.0, 3, 2)
    twice = CriticalPath("fp32 MAC", "lane", 9.672, 374.9, 5.4767, 4.0, 3, 2)
    buffer = CriticalPath("weight buffer", "chip", 6.0, 200.0, 0.0, 4.0, 2)
    fits = CriticalPath("adder", "lane", 1.0, 38.8, 0.0, 4.0, 1)
    first, second, third, fourth = clock_statements([slow, *long, turning, twice, buffer, fits])
    assert first == (
        "Too slow for a sum that saturates each cycle at 250 MHz",
        "MAC 5.5 ns, over 4 ns; at most 183 MHz.",
    )
    assert second[0] == "Longer than the clock's 4 ns and pipelined, registers counted"
    assert second[1].startswith("MAC 9.7 ns, 3 stages; unit 0 4.5 ns, 2 stages; ")
    assert second[1].endswith(" and 4 others.")
    assert third[1] == "2 in each fp32 MAC."
    assert fourth[1] == "weight buffer 6 ns, 2 cycles."
    assert clock_statements([fits]) == []
    rows = [path.to_row()["fits"] for path in (slow, turning, fits)]
    assert rows == ["too slow", "pipelined", "yes"]


def test_a_path_as_long_as_the_period_fits() -> None:
    assert stages_of(3 * (1 / 3), 1.0, 0.0) == 1
    assert stages_of(0.0, 1.0, 0.0) == 1
    assert stages_of(2.001, 1.0, 0.0) == 3
    # a clock faster than a flip-flop is no clock: stages are as long as that
    assert stages_of(1.0, 0.01, 0.1) == 10
