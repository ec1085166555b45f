"""Layers read as columns take the cycles that each takes alone, in the same kinds of numbers."""

from __future__ import annotations

import pytest

import hwsim
import workloads
from hwsim.network import network_timings, plan_network
from hwsim.network.sequence import Clock
from hwsim.timing import Machine, Work, closed_form, closed_forms
from quant import Scheme

MACHINES = ["edge-16x16", "tpu-v1", "nvdla-small", "gemmini-16x16"]
SCHEMES = ["fp16", "w4a16-g128", "w8a8-static", "w8a8-dynamic", "mxint8", "w8a8-asym-act", "llm-int8"]


@pytest.mark.parametrize("accelerator", MACHINES)
@pytest.mark.parametrize("workload", ["resnet50", "minilm-block", "minilm-l6-prefill-128"])
def test_every_layer_is_timed_as_it_is_alone(workload: str, accelerator: str) -> None:
    machine, network, planned = hwsim.Accelerator.load(accelerator), workloads.load(workload), 0
    for name in SCHEMES:
        try:
            plans = plan_network(network, Scheme.load(name), machine)
        except ValueError:  # a scheme that this machine refuses
            continue
        planned += 1
        alone = [closed_form(plan, machine) for plan in plans]
        # The text tells whole numbers from others, too.
        assert repr(closed_forms([Work.of(plan) for plan in plans], Machine.of(machine))) == repr(alone)
    assert planned > 2


def test_layers_that_differ_in_name_only_are_one() -> None:
    machine = hwsim.Accelerator.load("edge-16x16")
    plans = plan_network(workloads.load("minilm-l6-prefill-128"), Scheme.load("w8a8-static"), machine)
    works = [Work.of(plan) for plan in plans]
    assert works[1] == works[9]
    assert works[1].name != works[9].name
    assert len(set(works)) < len(works)
    clock = Clock(machine)
    assert clock.times(plans) == clock.times(plans) == [closed_form(plan, machine) for plan in plans]


def test_a_buffer_that_is_too_small_is_named() -> None:
    network, machine = workloads.load("resnet50"), hwsim.Accelerator.load("edge-16x16")
    plans = plan_network(network, Scheme.load("w8a8-static"), machine)
    small = machine.replace(memories__output__capacity_bytes=512)
    with pytest.raises(ValueError, match=r"^memories.output.capacity_bytes must hold one tile of stem, 1024 bytes"):
        network_timings(plans, small)
