"""The four advantages against floating point, and products where they are lost."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from click.testing import CliRunner

import hwsim
import workloads
from hwsim.advantages import advantages, losing_cases, memory_bytes
from hwsim.cli.compare import compare as command


def results_of(m: int, k: int, n: int, *schemes: str) -> dict[str, hwsim.Result]:
    network = workloads.gemm(m, k, n)
    return {name: hwsim.simulate(network, name, numerics=False) for name in schemes}


def rows_of(results: dict[str, hwsim.Result]) -> dict[str, dict[str, Any]]:
    return {
        row["scheme"]: {str(key): value for key, value in row.items()} for row in advantages(results).to_dict("records")
    }


def test_memory_is_constants_and_the_largest_activations() -> None:
    """16 x 64 x 32 by hand: weights, scales, operand and result."""
    results = results_of(16, 64, 32, "fp32", "fp16", "w8a8-static", "w8a8-dynamic")
    assert memory_bytes(results["fp32"]) == 4 * (64 * 32 + 16 * 64 + 16 * 32)
    assert memory_bytes(results["fp16"]) == 2 * (64 * 32 + 16 * 64 + 16 * 32)
    assert memory_bytes(results["w8a8-static"]) == 64 * 32 + 4 + 16 * 64 + 16 * 32
    # floats travel, weights have a scale for each of 32 channels
    assert memory_bytes(results["w8a8-dynamic"]) == 64 * 32 + 32 * 4 + 2 * (16 * 64 + 16 * 32)


def test_static_int8_wins_everything_on_a_large_product() -> None:
    """The notes: less memory, power, latency and area than fp32."""
    rows = rows_of(results_of(256, 512, 256, "fp32", "fp16", "w8a8-static"))
    for what in ("memory", "power", "latency", "area"):
        assert rows["w8a8-static"][f"{what}_vs_fp32"] > 1, what
        assert rows["fp32"][f"{what}_vs_fp32"] == 1
    assert rows["w8a8-static"]["loses"] == ""
    assert rows["w8a8-static"]["memory_vs_fp32"] == pytest.approx(4.0, rel=1e-4)


def test_factors_are_ratios_of_totals() -> None:
    results = results_of(16, 64, 16, "fp32", "fp16", "w8a8-dynamic")
    row = rows_of(results)["w8a8-dynamic"]
    own = results["w8a8-dynamic"].totals()
    for ref in ("fp32", "fp16"):
        totals = results[ref].totals()
        for what, column in (("power", "power_mw"), ("latency", "latency_us"), ("area", "area_um2")):
            assert math.isclose(row[f"{what}_vs_{ref}"], totals[column] / own[column], rel_tol=1e-12)
    with pytest.raises(ValueError, match=r"^reference must be one of fp32, fp16, w8a8-dynamic, not 'bf16'$"):
        advantages(results, ["bf16"])


def test_int8_loses_where_the_work_around_the_product_is_larger_than_it() -> None:
    """A channel of ones against four columns at k = 4, a scan of a vector, groups of one product."""
    frame = losing_cases(sizes={"m": (1, 16), "k": (4, 512), "n": (1, 16)})
    assert (frame["factor"] < 1).all()
    lost = {(row.scheme, row.reference, row.advantage): row for row in frame.itertuples()}
    assert lost["w8a8-asym-weight", "fp32", "latency"].gemm == "1x16x4"
    assert ("w8a8-dynamic", "fp16", "latency") in lost
    assert not any(row.scheme == "w8a8-static" for row in lost.values())
    worst = lost["w8a8-asym-weight", "fp32", "latency"]
    m, k, n = workloads.parse_gemm(str(worst.gemm))
    again = results_of(m, k, n, "fp32", "w8a8-asym-weight")
    factor = again["fp32"].latency_us / again["w8a8-asym-weight"].latency_us
    assert math.isclose(float(worst.factor), factor, rel_tol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [80, 140])
def test_the_command_says_what_stands(width: int) -> None:
    arguments = ["--costs-only", "-s", "w8a8-static", "-s", "pow2", "-t", "all", "--advantages"]
    done = CliRunner().invoke(command, arguments, env={"COLUMNS": str(width)})
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= width
    for text in ("Ranking by energy", "Energy by technology", "Memory, power, latency and chip area"):
        assert text in done.output
    assert "Longer than the clock's 4 ns" in done.output


def test_losses_are_those_of_the_schemes_at_hand() -> None:
    """A scheme that no product has room for is in no row; a few schemes are tried themselves."""
    said: list[str] = []
    sizes = {"m": (16,), "k": (512,), "n": (1,)}
    frame = losing_cases(schemes=("w8a8-dynamic", "w8a8-channel-in"), sizes=sizes, progress=said.append)
    assert set(frame["scheme"]) == {"w8a8-dynamic"}
    assert said == ["advantages over 16x1x512"]
    arguments = ["--costs-only", "-s", "w8a8-dynamic", "-s", "pow2", "--advantages", "--json"]
    done = CliRunner().invoke(command, arguments)
    assert {row["scheme"] for row in json.loads(done.stdout)["losses"]} == {"w8a8-dynamic", "pow2"}
