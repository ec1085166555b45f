from __future__ import annotations

import math
import re
from collections import Counter
from typing import Any

import pytest

import hwsim
from hwsim import plan as steps
from hwsim.execution import Samples, prepare
from hwsim.lowering import operands
from hwsim.plan import ScanRange
from hwsim.repair import repaired
from quant import Contraction, IntFormat, Scheme
from tests.hwsim.machines import attention_layer, machine, operands_of, values_layer, weight_layer
from workloads import Layer


def names(plan: hwsim.Plan) -> list[str]:
    return [type(step).__name__ for step in plan.steps]


def counts(plan: hwsim.Plan) -> Counter[str]:
    """Uses of each component; those of ScanRange and the like counted once a call."""
    total: Counter[str] = Counter()
    for step in plan.steps:
        for action in step.actions:
            total[text(action.component)] += action.count
    return total


def text(component: steps.Component) -> str:
    """The method of a technology and its arguments, which is what is priced."""
    return f"{component.kind}({', '.join(map(str, component.arguments))})"


SCHEMES = {
    "fp32": (["MultiplyAccumulate", "AddBias"], "float"),
    "fp16": (["MultiplyAccumulate", "AddBias"], "float"),
    "w8a16": (["DequantizeWeights", "MultiplyAccumulate", "AddBias"], "float"),
    "w8a8-static": (["Quantize", "AddBias", "MultiplyAccumulate", "Requantize"], "once"),
    "w8a8-dynamic": (["ScanRange", "Quantize", "MultiplyAccumulate", "Dequantize", "AddBias"], "once"),
    "w8a8-asym-act": (["Quantize", "AddBias", "MultiplyAccumulate", "Requantize"], "once"),
    "w8a8-asym-weight": (
        ["Quantize", "AddBias", "MultiplyAccumulate", "SumForZeroPoint", "CorrectZeroPoints", "Requantize"],
        "once",
    ),
    "w8a8-smoothquant": (
        ["Migrate", "ScanRange", "Quantize", "MultiplyAccumulate", "Dequantize", "AddBias"],
        "once",
    ),
    "w4a16-g128": (["DequantizeWeights", "MultiplyAccumulate", "AddBias"], "float"),
    "codebook-16-real": (["DequantizeWeights", "MultiplyAccumulate", "AddBias"], "float"),
    "tflite-int8": (["Quantize", "AddBias", "MultiplyAccumulate", "Requantize"], "once"),
    "onnx-qdq-u8s8": (["Quantize", "AddBias", "MultiplyAccumulate", "Requantize"], "once"),
    "tensorrt-int8": (["Quantize", "AddBias", "MultiplyAccumulate", "Requantize"], "once"),
    "llm-int8": (
        ["ScanRange", "ScanRange", "Quantize", "MultiplyAccumulate", "Dequantize", "MultiplyOutliers", "AddBias"],
        "once",
    ),
    "pow2": (["ScanRange", "Quantize", "MultiplyAccumulate", "Dequantize", "AddBias"], "once"),
    "codebook-16": (["ScanRange", "Quantize", "Decode", "MultiplyAccumulate", "Dequantize", "AddBias"], "once"),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_steps_of_a_weight_layer(scheme: str) -> None:
    plan = hwsim.lower(weight_layer(), Scheme.load(scheme), machine())
    expected, verdict = SCHEMES[scheme]
    assert names(plan) == expected
    assert plan.verdict_name == verdict
    assert (plan.mac.batch, plan.mac.m, plan.mac.k, plan.mac.n) == (1, 5, 11, 7)


@pytest.mark.parametrize("scheme", Scheme.presets())
def test_every_preset_is_lowered_or_refused_with_a_verdict_that_holds(scheme: str) -> None:
    for layer in (weight_layer(), attention_layer(), values_layer()):
        try:
            plan = hwsim.lower(layer, Scheme.load(scheme), machine())
        except hwsim.IllegalLayoutError as error:
            witness = error.verdict.witness
            if witness is None or not witness.check():
                pytest.fail(f"{scheme} must be refused with a witness that checks")
            continue
        gemm = layer.gemm
        k = 3 if plan.mac.unit == "lookup" else gemm.k  # pieces of 4 out of 11
        assert plan.mac.macs == gemm.batch * gemm.m * k * gemm.n
        assert plan.out.elements == gemm.batch * gemm.m * gemm.n


# ---- counts, written by hand for 5 x 11 x 7 ----


def test_counts_of_a_dynamic_scheme() -> None:
    plan = hwsim.lower(weight_layer(), Scheme.load("w8a8-dynamic"), machine())
    assert counts(plan) == {
        "range_scan(fp16, absmax)": 55,
        "quantizer(fp16, 8)": 55,
        "integer_mac(8, 8, 32, False)": 385,
        "dequantizer(32, fp32)": 35,
        "float_mul(fp32)": 35,  # lhs_scale * (rhs_scale * sum)
        "float_add(fp32)": 35,
    }
    assert (plan.lhs.dram_bits, plan.lhs.sram_bits, plan.lhs.elements) == (16, 8, 55)
    assert (plan.rhs.dram_bits, plan.rhs.sram_bits, plan.rhs.overhead_bits) == (8, 8, 7 * 32)
    assert (plan.out.dram_bits, plan.out.elements) == (16, 35)
    assert plan.bias is not None
    assert plan.bias.total_dram_bits == 7 * 16
    assert plan.weight_bytes == 77 + 7 * 4 + 7 * 2


def test_counts_of_asymmetric_weights_by_channel_and_by_adders() -> None:
    scheme = Scheme.load("w8a8-asym-weight")
    channel = hwsim.lower(weight_layer(), scheme, machine())
    assert counts(channel) == {
        "quantizer(fp32, 8)": 55,
        "integer_mac(8, 8, 32, False)": 385 + 55,  # one more column against ones
        "multiplier(9, 32)": 35,
        "adder(32)": 35,
        "requantizer(fixed, 32, 32, True)": 35,
    }
    assert (channel.extra_columns, channel.extra_rows) == (1, 0)
    adders = hwsim.lower(weight_layer(), scheme.replace(zero_point_sums="adders"), machine())
    assert counts(adders)["integer_mac(8, 8, 32, False)"] == 385
    assert counts(adders)["adder(12)"] == 55  # 8 bits summed 11 times need 8 + 4
    assert (adders.extra_columns, adders.extra_rows) == (0, 0)
    assert channel.rhs.overhead_bits == 7 * (32 + 8)


def test_counts_of_groups() -> None:
    scheme = Scheme.load("w4a8-g128").replace(weight__layout="group:4")
    plan = hwsim.lower(weight_layer(), scheme, machine())
    assert plan.mac.segments == 3
    assert plan.verdict_name == "segmented"
    assert counts(plan)["dequantizer(32, fp32)"] == 3 * 35
    assert counts(plan)["float_mul(fp32)"] == 3 * 35  # the product of both scales of a partial sum
    assert counts(plan)["float_add(fp32)"] == 3 * 35 + 35  # partial sums, and the bias once
    assert counts(plan)["integer_mac(8, 4, 32, False)"] == 385
    assert plan.rhs.total_dram_bits == 77 * 4 + 3 * 7 * 16


def test_zero_points_of_partial_sums_are_corrected_for_each() -> None:
    scheme = Scheme.load("w4a8-g128").replace(
        weight__layout="group:4", weight__symmetric=False, activation__symmetric=False
    )
    plan = hwsim.lower(weight_layer(), scheme, machine())
    assert counts(plan)["multiplier(9, 32)"] == 2 * 3 * 35  # two terms, three segments


def test_counts_of_attention() -> None:
    """Both operands are activations, ranges of both are taken at run time."""
    plan = hwsim.lower(attention_layer(2, 3, 5, 7, 11), Scheme.load("w8a8-dynamic"), machine())
    lhs, rhs = 2 * 3 * 5 * 11, 2 * 3 * 7 * 11
    assert counts(plan)["range_scan(fp16, absmax)"] == lhs + rhs
    assert counts(plan)["integer_mac(8, 8, 32, False)"] == 2 * 3 * 5 * 11 * 7
    assert plan.weight_bytes == 0
    assert plan.bias is None


def test_storage_of_weights_equals_that_of_the_quantized_tensor() -> None:
    """Bits counted from the scheme are those of the codes, scales, zero points and tables that prepare makes."""
    layer = weight_layer(17)  # rows enough for 16 prototypes
    lhs, rhs, bias = operands_of(layer)
    samples = Samples(lhs, rhs, layer.contract(lhs, rhs, bias))
    for name in Scheme.presets():
        try:
            plan = hwsim.lower(layer, Scheme.load(name), machine())
        except hwsim.IllegalLayoutError:
            continue
        prepared = prepare(plan, samples, bias)
        weight = prepared.weight if prepared.prototypes is None else prepared.prototypes.tables
        if weight is not None:
            assert plan.rhs.total_dram_bits == weight.storage.total_bits, name


def test_unsigned_operands_take_one_more_bit_in_the_multiplier() -> None:
    scheme = Scheme.load("w8a8-asym-act").replace(activation__format="u8")
    plan = hwsim.lower(weight_layer(), scheme, machine())
    assert text(plan.mac.component) == "integer_mac(9, 8, 32, False)"


@pytest.mark.parametrize(
    ("scheme", "component"),
    [
        ("w8a8-static", "integer_mac(8, 8, 20, True)"),
        ("pow2", "shift_mac(8, 6, 20, True)"),
    ],
)
def test_a_saturating_accumulator_is_built_saturating(scheme: str, component: str) -> None:
    accelerator = machine(accumulator={"bits": 20, "overflow": "saturate"})
    assert text(hwsim.lower(weight_layer(), Scheme.load(scheme), accelerator).mac.component) == component


# ---- producers ----


def static_layer(producer: Any) -> Layer:
    sizes = {"m": 5, "k": 11, "n": 7}
    return Layer("up", "mk,kn->mn", sizes, "x", "w", "y", lhs_producer=producer)


@pytest.mark.parametrize(("producer", "quantized"), [("input", 55), ("function", 55), ("contraction", 0)])
def test_a_requantizer_delivers_the_next_operand_for_nothing(producer: str, quantized: int) -> None:
    plan = hwsim.lower(static_layer(producer), Scheme.load("w8a8-static"), machine())
    assert counts(plan)["quantizer(fp32, 8)"] == quantized
    assert plan.lhs.dram_bits == 8


@pytest.mark.parametrize("changes", [{"smooth": {"alpha": 0.5}}, {"output__symmetric": False}], ids=str)
def test_a_requantizer_made_for_other_codes_does_not_replace_a_quantizer(changes: dict[str, Any]) -> None:
    plan = hwsim.lower(static_layer("contraction"), Scheme.load("w8a8-static").replace(**changes), machine())
    assert counts(plan)["quantizer(fp32, 8)"] == 55


# ---- requantizers ----


@pytest.mark.parametrize(
    ("profile", "bits", "component"),
    [
        ("gemmlowp-double", 32, "requantizer(fixed, 32, 32, True)"),
        ("ruy-avx512", 32, "requantizer(fixed, 32, 32, True)"),
        ("tflite-single", 32, "requantizer(fixed, 32, 32, False)"),
        ("gemmlowp-double", 16, "requantizer(fixed, 32, 16, False)"),
        ("float32-even", 32, "requantizer(float, 32)"),
        ("shift-up", 0, "requantizer(shift, 32)"),
    ],
)
def test_requantizers_are_built_as_they_compute(profile: str, bits: int, component: str) -> None:
    scheme = Scheme.load("w8a8-static").replace(requantization=profile)
    plan = hwsim.lower(weight_layer(), scheme, machine(requantizer__multiplier_bits=bits))
    assert counts(plan)[component] == 35


REFUSED = {
    "profile must be one of": (Scheme.load("w8a8-static").replace(requantization="gemlowp"), {}),
    "requantization must be a shift, as this machine has no multiplier for it, not gemmlowp-double": (
        Scheme.load("w8a8-static"),
        {"requantizer__multiplier_bits": 0},
    ),
    "requantization must be of integer sums by one scale, not cutlass-two-scales": (
        Scheme.load("w8a8-static").replace(requantization="cutlass-two-scales"),
        {},
    ),
    "output of w8a8-static must be affine and per_tensor, not affine and n:1": (
        Scheme.load("w8a8-static").replace(output__layout="n:1"),
        {},
    ),
    "static activation scales of up must not vary along tokens, which are not known beforehand, not m:1": (
        Scheme.load("w8a8-static").replace(activation__layout="per_token"),
        {},
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_can_not_run_is_refused_before_it_is_priced(message: str) -> None:
    scheme, changes = REFUSED[message]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        hwsim.lower(weight_layer(), scheme, machine(**changes))


# ---- illegal layouts ----


def test_scales_along_the_reduction_are_refused_with_a_witness() -> None:
    with pytest.raises(hwsim.IllegalLayoutError, match=r"^scale layouts of up under w8a8-channel-in must be") as caught:
        hwsim.lower(weight_layer(), Scheme.load("w8a8-channel-in"), machine())
    verdict, layer = caught.value.verdict, caught.value.layer
    assert (layer, verdict.verdict) == ("up", "incompatible")
    assert {v.operand for v in verdict.varying} == {"lhs", "rhs"}
    said = str(caught.value)
    assert " of up under w8a8-channel-in must be " in said
    assert f" on {machine().name}, but the activation scale changes every step of k" in said
    assert said.endswith("; hwsim compare runs a repair of w8a8-channel-in where it knows one")
    witness = verdict.witness
    assert witness is not None
    assert witness.check()
    # equal sums and different results, recomputed from the dense operands
    one, two = (side.dense(witness.problem) for side in (witness.first, witness.second))
    assert (one[0] @ one[1]).tolist() == (two[0] @ two[1]).tolist()
    assert witness.real(witness.first) != witness.real(witness.second)


def test_groups_shorter_than_the_array_is_deep_are_refused() -> None:
    scheme = Scheme.load("w4a8-g128").replace(weight__layout="group:4")
    assert hwsim.lower(weight_layer(), scheme, machine(array__dot_depth=4)).mac.segments == 3
    with pytest.raises(hwsim.IllegalLayoutError):
        hwsim.lower(weight_layer(), scheme, machine(array__dot_depth=8))
    with pytest.raises(hwsim.IllegalLayoutError):
        hwsim.lower(weight_layer(), scheme, machine(array__dataflow="weight_stationary", array__rows=8))


def test_a_segmented_layout_that_must_be_gathered_says_what_the_array_lacks() -> None:
    """A scale for each pixel, which a kernel of 3 x 3 mixes: legal sums in an order that the array does not stream."""
    sizes = {"b": 1, "c": 4, "h": 8, "w": 8, "o": 4, "r": 3, "s": 3}
    conv = Layer("conv", "conv2d", sizes, "x", "conv.weight", "y")
    pixels = Scheme.load("w8a8-dynamic").replace(name="pixels", activation__layout="b:1,h:1,w:1")
    with pytest.raises(hwsim.IllegalLayoutError) as caught:
        hwsim.lower(conv, pixels, machine())
    assert caught.value.verdict.verdict == "segmented"
    said = f"of conv under pixels must be dequantizable after accumulation on {machine().name}, but the array streams "
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "scale"),
    [("conv1d padding=1", "b:1"), ("conv2d stride=2", "b:1"), ("grouped2d", "b:1"), ("depthwise2d padding=1", "b:1")],
)
def test_a_token_of_a_convolution_is_an_image(text: str, scale: str) -> None:
    sizes = {"b": 3, "g": 2, "c": 4, "h": 8, "w": 8, "o": 4, "r": 3, "s": 3}
    labels = Contraction.parse(text).labels
    conv = Layer("conv", text, {x: n for x, n in sizes.items() if x in labels}, "x", "conv.weight", "y")
    plan = hwsim.lower(conv, Scheme.load("w8a8-dynamic"), machine())
    assert plan.verdict_name == "once"
    scan = next(step for step in plan.steps if isinstance(step, ScanRange))
    assert (scan.scales, scan.barrier_elements) == (3, math.prod(conv.lhs_shape) // 3)
    assert str(operands(conv, Scheme.load("w8a8-dynamic"))[0].layout) == scale


def test_repairs_are_legal_and_keep_the_rest_of_the_scheme() -> None:
    scheme = Scheme.load("w8a8-channel-in")
    with pytest.raises(hwsim.IllegalLayoutError) as caught:
        hwsim.lower(weight_layer(), scheme, machine())
    found = repaired(scheme, caught.value.verdict)
    assert found is not None
    fixed, note = found
    assert note.startswith("repairs w8a8-channel-in: ")
    assert fixed.name == "w8a8-channel-in+smooth"
    for layer in (weight_layer(), attention_layer(), values_layer()):
        assert hwsim.lower(layer, fixed, machine()).verdict_name == "once"
    assert (fixed.strategy, fixed.output, fixed.attention) == (scheme.strategy, scheme.output, scheme.attention)


def test_what_no_repair_can_move_stays_refused() -> None:
    scheme = Scheme.load("w8a8-channel-in")
    with pytest.raises(hwsim.IllegalLayoutError) as caught:
        hwsim.lower(weight_layer(), scheme, machine())
    coded = scheme.replace(weight={"code": "codebook", "format": "u4", "layout": "per_channel_in"})
    assert repaired(coded, caught.value.verdict) is None


def test_a_layout_that_does_not_fit_names_layer_and_scheme() -> None:
    scheme = Scheme.load("w8a8-dynamic").replace(weight__layout="z:3")
    with pytest.raises(ValueError, match="z") as caught:
        hwsim.lower(weight_layer(), scheme, machine())
    assert caught.value.__notes__ == ["in the rhs layout of up under w8a8-dynamic"]


def test_attention_may_stay_float_or_have_its_own_pair() -> None:
    scheme = Scheme.load("w8a8-dynamic")
    floating = hwsim.lower(attention_layer(), scheme.replace(attention="float"), machine())
    assert floating.verdict is None
    assert text(floating.mac.component) == "float_mac(fp16)"
    pair = {"lhs": {"format": "int4"}, "rhs": {"format": "int8"}}
    own = hwsim.lower(attention_layer(), scheme.replace(attention=pair), machine())
    assert (own.mac.lhs, own.mac.rhs) == (IntFormat(4), IntFormat(8))


def test_plans_print_their_steps_and_counts() -> None:
    plan = hwsim.lower(weight_layer(), Scheme.load("w8a8-dynamic"), machine())
    lines = str(plan).splitlines()
    assert lines[0] == "up under w8a8-dynamic: once"
    assert lines[1:5] == [
        "  lhs: 55 x 16 bits in DRAM, 8 on chip",
        "  rhs: 77 x 8 bits in DRAM and 224 of scales, zero points and tables, 8 on chip",
        "  bias: 7 x 16 bits in DRAM, 16 on chip",
        "  out: 35 x 16 bits in DRAM, 16 on chip",
    ]
    assert lines[5].startswith("  ScanRange of lhs for range, 11 values before the first product: 55 x ")
    assert lines[6].startswith("  Quantize lhs to int8, as it is loaded: 55 x ")
    assert lines[7].startswith("  MultiplyAccumulate: 385 x ")
    assert len(lines) == 5 + len(plan.steps)
    assert isinstance(plan.steps[-1], steps.AddBias)
