from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hwsim import Accelerator
from hwsim.technology import Technology, dram_types

EDGE = Accelerator.load("edge-16x16")


@pytest.mark.parametrize("name", Accelerator.presets())
def test_presets_load_back_and_name_what_exists(name: str, tmp_path: Path) -> None:
    preset = Accelerator.load(name)
    assert preset.name == name
    assert preset.source
    path = tmp_path / "copy.yaml"
    path.write_text(preset.to_yaml(), encoding="utf-8")
    assert Accelerator.load(path) == preset
    assert Accelerator.load(preset) is preset
    assert Technology.load(preset.technology).name == preset.technology
    assert preset.memories.dram.type in dram_types()


def test_units_of_clock_and_bandwidth() -> None:
    """250 MHz is 4 ns; 3.2 GB/s is 3.2 bytes a ns, 12.8 bytes or 102.4 bits a cycle."""
    assert EDGE.cycle_ns == 4
    assert EDGE.dram_bits_per_cycle == pytest.approx(102.4)
    assert EDGE.memories.output.bits_per_cycle == 8 * 64
    assert EDGE.memories.output.tile_bytes == 32768
    assert EDGE.replace(memories__output__double_buffered=False).memories.output.tile_bytes == 65536


@pytest.mark.parametrize(
    ("dataflow", "depth", "native"),
    [
        ("output_stationary", 1, 2),
        ("output_stationary", 4, 4),
        ("weight_stationary", 1, 16),
        ("input_stationary", 2, 32),
    ],
)
def test_native_depth_is_what_the_array_adds_before_a_sum_is_seen(dataflow: str, depth: int, native: int) -> None:
    assert EDGE.replace(array__dataflow=dataflow, array__dot_depth=depth).array.native_depth == native


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"name": ""}, "name must have a character, not ''"),
        ({"array__rows": 0}, "array.rows must be greater than 0, not 0"),
        ({"array__rows": 1.5}, "array.rows must be a valid integer, not 1.5"),
        ({"clock_mhz": float("inf")}, "clock_mhz must be a finite number, not inf"),
        ({"clock_mhz": 0}, "clock_mhz must be greater than 0, not 0"),
        ({"accumulator__bits": 7}, "accumulator.bits must be greater than or equal to 8, not 7"),
        ({"accumulator__bits": 65}, "accumulator.bits must be less than or equal to 64, not 65"),
        ({"accumulator__overflow": "clip"}, "accumulator.overflow must be 'wrap', 'saturate' or 'trap', not 'clip'"),
        ({"requantizer__multiplier_bits": 33}, "requantizer.multiplier_bits must be less than or equal to 32, not 33"),
        ({"memories__dram__latency_ns": -1}, "memories.dram.latency_ns must be greater than or equal to 0, not -1"),
        ({"memories__weight__bank": 2}, "unknown field memories.weight.bank, did you mean banks?"),
    ],
)
def test_fields_are_validated_one_by_one(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'Accelerator: {text}')}$"):
        EDGE.replace(**changes)


def test_an_unknown_technology_is_refused_when_it_is_used() -> None:
    import hwsim
    import workloads

    with pytest.raises(ValueError, match="45nm-horowitz"):
        hwsim.simulate(workloads.gemm(2, 3, 5), "fp32", EDGE.replace(technology="45nm-horowtz"), numerics=False)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"memories__output__capacity_bytes": 2048},
            "memories.output: capacity_bytes of a bank must be in 1024..4194304, not 256",
        ),
        ({"memories__weight__bank_width_bits": 4}, "memories.weight: width_bits must be in 8..512, not 4"),
        (
            {"memories__activation__capacity_bytes": 262145},
            "memories.activation: capacity_bytes must be whole bytes in each of 8 banks, not 262145",
        ),
    ],
)
def test_memories_that_can_not_be_built_are_named(changes: dict[str, Any], text: str) -> None:
    import hwsim
    import workloads

    product, machine = workloads.gemm(2, 3, 5), EDGE.replace(**changes)
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        hwsim.simulate(product, "w8a8-static", machine, numerics=False)
    assert hwsim.explore(product, accelerator=machine)["reason"].tolist() == [text]
