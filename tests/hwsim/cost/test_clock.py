"""Delays against the clock: stages, and loops that no stage cuts."""

from __future__ import annotations

import math

import pytest

import hwsim
from hwsim.cost import area
from hwsim.cost.clock import CriticalPath, clock_warnings, critical_paths
from hwsim.technology import Technology
from quant import Scheme
from tests.hwsim.machines import machine, weight_layer

TECHNOLOGY = Technology.load("45nm-horowitz")


def paths_of(scheme: str, technology: Technology = TECHNOLOGY, **changes: object) -> dict[str, CriticalPath]:
    base = machine(**changes)
    plan = hwsim.lower(weight_layer(), Scheme.load(scheme), base)
    return {path.component: path for path in critical_paths(area([plan], base, technology), base, technology)}


def test_stages_are_whole_periods_of_the_synthesised_path() -> None:
    """OpenSTA, Nangate45: fp32 multiply 4.1953 ns, fp32 to int8 1.1858 ns, FO4 25.8 ps."""
    path = paths_of("w8a8-static")["fp32 to 8-bit quantizer"]
    assert path.delay_ns == pytest.approx(4.1953 + 1.1858, rel=1e-9)
    assert path.delay_fo4 == pytest.approx((4.1953 + 1.1858) / 0.0258, rel=1e-9)
    assert (path.stages, path.too_long, path.too_slow) == (2, True, False)
    slow = paths_of("w8a8-static", clock_mhz=185)["fp32 to 8-bit quantizer"]  # 5.405 ns
    assert (slow.stages, slow.too_long) == (1, False)


def test_a_sum_that_stays_is_too_slow_where_its_adder_is() -> None:
    """OpenSTA, Nangate45: fp32 add 5.3945 ns, flip-flop 0.0822 ns; a period of 4 ns."""
    path = paths_of("fp32")["fp32 MAC"]
    assert path.loop_ns == pytest.approx(5.3945 + 0.0822, rel=1e-9)
    assert path.too_slow
    assert not paths_of("fp32", clock_mhz=180)["fp32 MAC"].too_slow
    assert not paths_of("fp32", array__dataflow="weight_stationary")["fp32 MAC"].too_slow
    assert not paths_of("w8a8-static")["8x8-bit MAC into 32 bits"].too_slow


def test_the_longest_comes_first_and_memories_are_there() -> None:
    base = machine()
    plan = hwsim.lower(weight_layer(), Scheme.load("w8a8-static"), base)
    found = critical_paths(area([plan], base, TECHNOLOGY), base, TECHNOLOGY)
    assert [path.delay_ns for path in found] == sorted((path.delay_ns for path in found), reverse=True)
    access = {path.component: path.delay_ns for path in found if path.place == "chip"}
    assert access["weight buffer"] == TECHNOLOGY.sram(262144, 64, 8).delay_ns
    assert set(found[0].to_row()) >= {"component", "delay_ns", "delay_fo4", "loop_ns", "period_ns", "stages", "fits"}


def test_a_scaled_node_scales_path_and_yardstick_alike() -> None:
    scaled = TECHNOLOGY.scaled_to(28)
    own, other = paths_of("w8a8-static"), paths_of("w8a8-static", scaled)
    for name in ("8x8-bit MAC into 32 bits", "16-bit register"):
        assert own[name].delay_fo4 == pytest.approx(other[name].delay_fo4, rel=1e-12)
        assert other[name].delay_ns < own[name].delay_ns


def test_warnings_name_the_component_and_the_clock_it_allows() -> None:
    slow = CriticalPath("fp32 MAC", "element", 9.672, 374.9, 5.4767, 4.0)
    long = [CriticalPath(f"unit {i}", "lane", 4.5 + i, 100.0, 0.0, 4.0) for i in range(5)]
    fits = CriticalPath("adder", "lane", 1.0, 38.8, 0.0, 4.0)
    first, second = clock_warnings([slow, *long, fits])
    assert first == (
        "Too slow for a sum each cycle at 250 MHz, however pipelined",
        "fp32 MAC 5.5 ns, over 4 ns; at most 183 MHz.",
    )
    assert second[0] == "Longer than the clock's 4 ns and taken as pipelined"
    assert second[1].startswith("unit 0 4.5 ns, 100 FO4, 2 stages; ")
    assert second[1].endswith(" and 2 more.")
    assert clock_warnings([fits]) == []
    assert math.isclose(1e3 / slow.loop_ns, 182.59, rel_tol=1e-4)


def test_a_path_as_long_as_the_period_fits() -> None:
    assert CriticalPath("unit", "lane", 3 * (1 / 3), 1.0, 0.0, 1.0).stages == 1
    assert CriticalPath("unit", "lane", 0.0, 0.0, 0.0, 1.0).stages == 1
    assert CriticalPath("unit", "lane", 2.001, 1.0, 0.0, 1.0).stages == 3
