"""What buffers hold of a convolution, against the index maps of small ones; and what it does to traffic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import hwsim
import workloads
from hwsim.cost.elements import Uses
from hwsim.network import plan_network
from hwsim.plan import Windows
from hwsim.timing import closed_form
from hwsim.timing.event_driven import run_events
from quant import Contraction, Scheme
from workloads import Layer

NAMES = ["conv1d", "conv2d", "grouped2d", "depthwise2d", "transposed2d"]
EDGE = hwsim.Accelerator.load("edge-16x16")
STATIC = Scheme.load("w8a8-static")


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[str, dict[str, int]]:
    settings_ = " ".join(
        f"{key}={draw(st.integers(*span))}"
        for key, span in {"stride": (1, 3), "padding": (0, 3), "dilation": (1, 2)}.items()
    )
    text = f"{draw(st.sampled_from(NAMES))} {settings_}"
    spans = {"b": (1, 2), "c": (1, 2), "h": (1, 7), "w": (1, 7), "o": (1, 2), "r": (1, 4), "s": (1, 4), "g": (2, 2)}
    parsed = Contraction.parse(text)
    sizes = {label: draw(st.integers(*span)) for label, span in spans.items() if label in parsed.labels}
    try:
        return text, parsed.complete(sizes)
    except ValueError:
        assume(False)
        raise


def patches_of(text: str, sizes: dict[str, int]) -> np.ndarray[Any, Any]:
    """Rows of the product as numbers of the image's values, 0 for padding."""
    parsed = Contraction.parse(text)
    image = 1 + np.arange(np.prod([sizes[x] for x in parsed.lhs])).reshape([sizes[x] for x in parsed.lhs])
    return parsed.to_gemm(image, np.zeros([sizes[x] for x in parsed.rhs], int), sizes)[0]


@settings(max_examples=120, deadline=None)
@given(convolutions(), st.data())
def test_a_run_of_rows_sees_no_more_than_its_room(case: tuple[str, dict[str, int]], data: st.DataObject) -> None:
    text, sizes = case
    patches = patches_of(text, sizes)
    windows = Windows.of(text, sizes, "direct")
    assert windows is not None
    assert windows.elements == max(1, len(np.unique(patches[patches > 0])))
    _, m, k = patches.shape
    for _ in range(8):
        first = data.draw(st.integers(0, m - 1))
        last = data.draw(st.integers(first + 1, m))
        run = patches[data.draw(st.integers(0, len(patches) - 1)), first:last]
        assert len(np.unique(run[run > 0])) <= min((last - first) * k, (last - first) * windows.row + windows.halo)


def test_a_product_has_no_windows() -> None:
    assert Windows.of("mk,kn->mn", {"m": 2, "k": 3, "n": 5}, "im2col") is None


def test_a_stride_of_one_keeps_the_lines_between() -> None:
    sizes = {"b": 1, "c": 5, "h": 11, "w": 13, "o": 2, "r": 3, "s": 3}
    windows = Windows.of("conv2d padding=1", sizes, "direct")
    # Two lines of 13, and two columns of three at either end, of 5 channels.
    assert windows == Windows(5 * 11 * 13, 5, 5 * (2 * 13 + 2 * 2 * 3))


def convolution(text: str, sizes: dict[str, int]) -> Layer:
    return Layer("conv", text, sizes, "x", "w", "y")


def times(layer: Layer, **changes: Any) -> dict[str, Any]:
    found = {}
    for kind in ("direct", "im2col"):
        machine = EDGE.replace(array__convolution=kind, **changes)
        found[kind] = closed_form(hwsim.lower(layer, STATIC, machine), machine)
    return found


def test_buffer_reads_of_a_layer_small_enough_to_count() -> None:
    """One tile column: the array reads each value once, or once for each of the windows it is in."""
    sizes = {"b": 1, "c": 2, "h": 5, "w": 5, "o": 16, "r": 3, "s": 3}
    found = times(convolution("conv2d padding=1", sizes))
    assert found["direct"].buffers["activation"].read_bits == 8 * 2 * 5 * 5
    assert found["im2col"].buffers["activation"].read_bits == 8 * 25 * 2 * 9
    assert found["direct"].dram.read_bits == found["im2col"].dram.read_bits


@pytest.mark.parametrize("dataflow", ["output_stationary", "weight_stationary", "input_stationary"])
@settings(max_examples=60, deadline=None)
@given(
    c=st.integers(1, 40), size=st.integers(3, 40), o=st.integers(1, 90), taps=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2), kilobytes=st.sampled_from([4, 16, 64]),
)  # fmt: skip
def test_direct_moves_every_byte_and_never_more_than_im2col(
    dataflow: str, c: int, size: int, o: int, taps: int, stride: int, kilobytes: int
) -> None:
    sizes = {"b": 1, "c": c, "h": size, "w": size, "o": o, "r": taps, "s": taps}
    layer = convolution(f"conv2d stride={stride} padding={taps // 2}", sizes)
    found = times(layer, array__dataflow=dataflow, memories__activation__capacity_bytes=1024 * kilobytes)
    direct, im2col = found["direct"], found["im2col"]
    seen = len(range(0, size, stride)) ** 2 if taps == 1 else size * size  # of the image
    assert direct.dram.read_bits >= 8 * (c * size * size + c * o * taps * taps)
    assert seen * c * 8 <= direct.buffers["activation"].read_bits
    streams = direct.schedule.lhs_streams, im2col.schedule.lhs_streams
    assert direct.buffers["activation"].read_bits * streams[1] <= im2col.buffers["activation"].read_bits * streams[0]


def test_an_image_that_fits_is_fetched_once_while_its_patches_are_not() -> None:
    sizes = {"b": 1, "c": 32, "h": 28, "w": 28, "o": 256, "r": 3, "s": 3}
    layer = convolution("conv2d padding=1", sizes)
    found = times(layer, memories__activation__capacity_bytes=1 << 16, memories__weight__capacity_bytes=1 << 14)
    assert found["direct"].dram.read_bits == 8 * (32 * 28 * 28 + 32 * 9 * 256) + 32
    assert found["im2col"].dram.read_bits > 1.5 * found["direct"].dram.read_bits


@pytest.mark.parametrize("kind", ["direct", "im2col"])
def test_events_move_the_same_bits(kind: str) -> None:
    machine = EDGE.replace(array__convolution=kind, memories__activation__capacity_bytes=1 << 15)
    layer = convolution("conv2d padding=1", {"b": 1, "c": 32, "h": 14, "w": 14, "o": 48, "r": 3, "s": 3})
    plan = hwsim.lower(layer, STATIC, machine)
    run, closed = run_events(plan, machine), closed_form(plan, machine)
    assert (run.read_bits, run.write_bits) == (closed.dram.read_bits, closed.dram.write_bits)
    assert abs(run.total_cycles - closed.total_cycles) <= 1.5 * run.longest_tile_cycles


def test_patches_of_a_kept_image_are_another_copy() -> None:
    network = workloads.load("resnet50")
    for kind in ("direct", "im2col"):
        machine = EDGE.replace(array__convolution=kind)
        plan = next(p for p in plan_network(network, STATIC, machine) if p.layer.name == "2.1.expand")
        assert plan.lhs.in_place
        timing = closed_form(plan, machine)
        filled = timing.buffers["activation"].write_bits - plan.out.elements * plan.out.kept_bits
        # A 1 x 1 convolution has as many patches as values: they are written only if they are a copy.
        assert filled == (0 if kind == "direct" else plan.lhs.elements * 8 * timing.schedule.lhs_fetches)


def test_exploration_reads_both() -> None:
    frame = hwsim.explore(
        workloads.load("resnet50"),
        "w8a8-static",
        EDGE.replace(memories__keeps_results=False),
        grid={"array.convolution": ["direct", "im2col"]},
    )
    direct, im2col = frame["energy_pj"]
    assert direct < im2col
    for kind, energy in zip(("direct", "im2col"), (direct, im2col), strict=True):
        machine = EDGE.replace(memories__keeps_results=False, array__convolution=kind)
        assert energy == pytest.approx(hwsim.simulate(workloads.load("resnet50"), STATIC, machine).energy_pj)


@pytest.mark.parametrize("kind", ["direct", "im2col"])
def test_an_array_that_holds_inputs_is_loaded_with_patches(kind: str) -> None:
    machine = EDGE.replace(array__convolution=kind, array__dataflow="input_stationary")
    plan = hwsim.lower(
        convolution("conv2d padding=1", {"b": 1, "c": 2, "h": 5, "w": 5, "o": 3, "r": 3, "s": 3}), STATIC, machine
    )
    loads = Uses.of(plan, machine.array, closed_form(plan, machine)).loads
    # Every one of 25 x 18 patch values passes half of the 16 rows, and one more step.
    assert loads == 25 * 18 * 17 / 2
