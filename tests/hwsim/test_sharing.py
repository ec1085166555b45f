"""Area of one machine for a set of schemes."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import pytest
from click.testing import CliRunner

import hwsim
import workloads
from hwsim.cli.area import area as command
from hwsim.technology import Technology
from quant import Scheme

NETWORK = workloads.gemm(16, 256, 16)
TECHNOLOGY = Technology.load("45nm-horowitz")
SET = ("w8a8-static", "w8a8-dynamic", "w4a8-g128")


def test_the_parts_list_sums_to_the_total() -> None:
    shared = hwsim.shared_area(SET, NETWORK)
    frame = shared.to_frame()
    exact = float(sum(Fraction(um2) for um2 in frame["area_um2"]))
    assert math.isclose(shared.built.total_um2, exact, rel_tol=1e-14)
    assert math.isclose(frame["area_share"].sum(), 1.0, rel_tol=1e-12)
    summary = shared.summary().set_index("scheme")
    for name, built in {"all of them": shared.built, **shared.alone}.items():
        parts = [summary[part].to_dict()[name] for part in ("array_um2", "edge_um2", "vector_um2", "sram_um2")]
        assert math.isclose(math.fsum(parts), built.total_um2, rel_tol=1e-12)


def test_a_set_needs_at_least_the_largest_and_at_most_all_without_the_memories() -> None:
    shared = hwsim.shared_area(SET, NETWORK)
    memories = shared.built.parts()["sram_um2"]
    alone = [built.total_um2 for built in shared.alone.values()]
    assert max(alone) < shared.built.total_um2 < sum(alone) - (len(SET) - 1) * memories
    one = hwsim.shared_area(["w8a8-static"], NETWORK)
    assert one.built.total_um2 == one.alone["w8a8-static"].total_um2
    assert one.built.total_um2 == hwsim.simulate(NETWORK, "w8a8-static", numerics=False).built.total_um2


def test_schemes_share_what_they_both_need() -> None:
    """Two schemes of 8 x 8 bits: one array; scanner and dequantizer beside the requantizer."""
    shared = hwsim.shared_area(["w8a8-static", "w8a8-dynamic"], NETWORK)
    static, both = shared.alone["w8a8-static"], shared.built
    assert both.parts()["array_um2"] == static.parts()["array_um2"]
    lane = TECHNOLOGY.range_scan("fp16", "absmax") + TECHNOLOGY.quantizer("fp16", 8) + TECHNOLOGY.dequantizer(32)
    product = TECHNOLOGY.float_mul("fp32") + TECHNOLOGY.register(80 + 106)  # both scales, each behind a cut
    added = 16 * (lane + product).area_um2
    assert math.isclose(both.total_um2 - static.total_um2, added, rel_tol=1e-9)
    frame = shared.to_frame().set_index("component")
    assert frame.loc["8x8-bit MAC into 32 bits", "schemes"] == "w8a8-static, w8a8-dynamic"
    assert frame.loc["fp16 absmax scanner", "schemes"] == "w8a8-dynamic"
    assert frame.loc["32x32-bit requantizer, rounding twice", "schemes"] == "w8a8-static"
    cuts = "pipeline flip-flop of 32x32-bit requantizer, rounding twice"
    assert (frame.loc[cuts, "schemes"], frame.loc[cuts, "count"]) == ("w8a8-static", 16 * 2 * 93)


def test_one_wide_array_instead_of_two() -> None:
    beside, widest = (hwsim.shared_area(SET, NETWORK, widest=widest) for widest in (False, True))
    narrow = 256 * TECHNOLOGY.integer_mac(8, 4, 32).area_um2
    assert math.isclose(beside.built.total_um2 - widest.built.total_um2, narrow, rel_tol=1e-9)


def test_a_set_has_different_schemes() -> None:
    text = r"^schemes must be at least one and have different names, not "
    for schemes in ([], ["fp16", "fp16"]):
        with pytest.raises(ValueError, match=text):
            hwsim.shared_area(schemes, NETWORK)
    table = {"code": "codebook", "format": "u4", "layout": "per_channel_in"}
    coded = Scheme.load("w8a8-channel-in").replace(weight=table)
    with pytest.raises(hwsim.IllegalLayoutError):  # no repair moves the scales of a table
        hwsim.shared_area([coded], NETWORK)


def test_a_refused_scheme_stands_in_repaired_as_in_compare() -> None:
    shared = hwsim.shared_area(["w8a8-static", "w8a8-channel-in"], NETWORK)
    compared = hwsim.compare(NETWORK, ["w8a8-channel-in"], numerics=False)
    fixed = "w8a8-channel-in+smooth"
    assert list(shared.alone) == ["w8a8-static", fixed]
    assert shared.alone[fixed].total_um2 == compared.results[fixed].built.total_um2
    assert [note.split()[:3] for note in shared.notes] == [[fixed, "repairs", "w8a8-channel-in:"]]
    done = CliRunner().invoke(command, ["resnet50", "-s", "w8a8-static", "-s", "w8a8-channel-in"])
    assert done.exit_code == 0, done.output
    assert "repairs w8a8-channel-in" in " ".join(done.output.split())


@pytest.mark.parametrize("width", [80, 140])
def test_the_command_fits_its_terminal(width: int) -> None:
    done = CliRunner().invoke(command, ["-s", "fp16", "-s", "w8a8-static"], env={"COLUMNS": str(width)})
    assert done.exit_code == 0
    assert max(map(len, done.output.splitlines())) <= width
    assert "One machine takes " in done.output


def test_the_command_prints_json_and_csv() -> None:
    done = CliRunner().invoke(command, ["-s", "fp16", "-t", "7nm-asap7", "--json"])
    data = json.loads(done.output)
    assert math.isclose(math.fsum(part["area_um2"] for part in data["parts"]), data["area_um2"], rel_tol=1e-12)
    assert [machine["scheme"] for machine in data["machines"]] == ["all of them", "fp16"]
    done = CliRunner().invoke(command, ["--csv", "-"])
    assert done.output.startswith("part,component,place,count,area_um2,")
