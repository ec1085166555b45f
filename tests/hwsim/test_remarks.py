"""What the figures of a network do not say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from click.testing import CliRunner

import hwsim
import workloads
from hwsim.cli.simulate import simulate as command
from hwsim.remarks import remarks_on

EDGE = hwsim.Accelerator.load("edge-16x16")


def remarks(workload: str, scheme: str, machine: hwsim.Accelerator = EDGE) -> Sequence[str]:
    network = workloads.load(workload)
    result = hwsim.simulate(network, scheme, machine, numerics=False)
    return remarks_on(network, [layer.plan for layer in result.layers], machine)


def test_functions_that_requantizers_do_are_not_the_hosts() -> None:
    dynamic, static = (remarks("resnet50", scheme)[-1] for scheme in ("w8a8-dynamic", "w8a8-static"))
    assert dynamic.startswith("A host runs 49 relu, max_pool, 16 add, mean, in no figure here")
    assert static.startswith("A host runs max_pool, 16 add, 16 relu, mean, in no figure here")


def test_functions_on_lanes_need_no_remark() -> None:
    assert remarks("minilm-block", "w8a8-dynamic", EDGE.replace(vector__runs_functions=True)) == []


@pytest.mark.parametrize(("scheme", "said"), [("w8a8-dynamic", True), ("w8a8-static", False), ("fp16", False)])
def test_a_scale_for_each_image_is_said(scheme: str, said: bool) -> None:
    found = remarks("resnet50", scheme)
    assert any(text.startswith("per_token gives 53 convolutions a scale for each image") for text in found) == said


@pytest.mark.parametrize("width", [80, 140])
def test_the_command_prints_them(width: int) -> None:
    done = CliRunner().invoke(command, ["resnet50", "-s", "w8a8-dynamic"], env={"COLUMNS": str(width)})
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= width
    text = " ".join(done.output.split())
    assert "a scale for each image" in text
    assert "A host runs 49 relu" in text
