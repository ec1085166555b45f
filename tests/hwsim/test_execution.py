from __future__ import annotations

import functools
import itertools
import re
from fractions import Fraction
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import hwsim
from hwsim.datapath import AccumulatorOverflowError
from hwsim.execution import Samples, prepare
from hwsim.lowering import operands
from quant import OperandSpec, QTensor, Scheme, quantize_operand
from tests import reference
from tests.hwsim import exact
from tests.hwsim.machines import attention_layer, machine, operands_of, values_layer, weight_layer
from workloads import Layer

Float32 = npt.NDArray[np.float32]

INTEGER_SCHEMES = (
    "w8a8-static",
    "w8a8-dynamic",
    "w8a8-asym-act",
    "w8a8-asym-weight",
    "w4a8-g128",
    "w8a8-smoothquant",
    "pow2",
    "codebook-16",
    "tflite-int8",
    "onnx-qdq-u8s8",
    "tensorrt-int8",
)
LAYERS = {
    "weights": weight_layer(),
    "weights without bias": weight_layer(bias=False),
    "transposed weights": weight_layer(contraction="mk,nk->mn"),
    "transposed activations": weight_layer(contraction="km,kn->mn"),
    "two reductions": Layer("o", "bhd,hdn->bn", {"b": 5, "h": 3, "d": 7, "n": 2}, "x", "w", "y", bias="b"),
    "scores": attention_layer(2, 1, 5, 3, 7),
    "values": values_layer(2, 1, 5, 7, 3),
}


def asymmetric(name: str = "both") -> Scheme:
    """A dynamic scheme with zero points on both operands."""
    return Scheme.load("w8a8-dynamic").replace(
        name=name, carrier="fp32", activation__symmetric=False, weight__symmetric=False, weight__format="int8"
    )


def grouped(**changes: Any) -> Scheme:
    """Groups of four along the reduction, so that eleven steps make three segments."""
    return Scheme.load("w4a8-g128").replace(**({"weight__layout": "group:4"} | changes))


EXTRA_SCHEMES = {
    "asymmetric both, dynamic": asymmetric(),
    "groups of 4": grouped(),
    "groups of 4 with zero points": grouped(weight__symmetric=False, activation__symmetric=False),
    "groups of 4, one zero point": grouped(
        weight__symmetric=False, weight__zero_layout="per_channel", activation__symmetric=False
    ),
    "groups of 4, static": Scheme.load("w8a8-asym-act").replace(name="static groups", weight__layout="group:4"),
    "static, zero points by adders": Scheme.load("w8a8-asym-weight").replace(zero_point_sums="adders"),
    "static, multiplied once": Scheme.load("w8a8-static").replace(requantization="multiply-even"),
    "static, float requantization": Scheme.load("w8a8-static").replace(requantization="float32-even"),
    "static, smoothed": Scheme.load("w8a8-static").replace(smooth={"alpha": 0.5}),
}
SCHEMES = {name: Scheme.load(name) for name in INTEGER_SCHEMES} | EXTRA_SCHEMES
# A group runs along one reduction axis.
PAIRS = {
    f"{scheme}: {layer}": (LAYERS[layer], SCHEMES[scheme])
    for scheme in SCHEMES
    for layer in LAYERS
    if not (layer == "two reductions" and "g" in (SCHEMES[scheme].weight or OperandSpec()).layout.split(":")[0][:1])
}


class Case:
    """One executed layer, and everything needed to compute it again from its codes."""

    def __init__(self, layer: Layer, scheme: Scheme, accelerator: hwsim.Accelerator | None = None) -> None:
        self.layer, self.scheme = layer, scheme
        self.accelerator = accelerator or machine()
        self.plan = hwsim.lower(layer, scheme, self.accelerator)
        lhs, rhs, bias = operands_of(layer, 7, lhs_offset=0.5)
        calibration, other, _ = operands_of(layer, 8, lhs_offset=0.5)
        weight = layer.rhs_kind == "weight"
        samples_rhs = rhs if weight else other
        self.bias = bias
        self.samples = Samples(calibration, samples_rhs, layer.contract(calibration, samples_rhs, bias))
        self.prepared = prepare(self.plan, self.samples, bias)
        self.lhs, self.rhs = lhs, rhs
        self.run = hwsim.execute(self.prepared, lhs, None if weight else rhs, self.accelerator)

    @property
    def carrier(self) -> Any:
        return exact.half if self.scheme.carrier == "fp16" else reference.to_float

    def codes(self) -> tuple[QTensor, QTensor]:
        """Both operands quantized here from the floats as they reach the quantizer."""
        sides = operands(self.layer, self.scheme)
        tensors = [self.lhs, self.rhs]
        if self.scheme.carrier == "fp16" and self.scheme.strategy == "dynamic":
            tensors[0] = tensors[0].astype(np.float16).astype(np.float32)
            if self.layer.rhs_kind == "activation":
                tensors[1] = tensors[1].astype(np.float16).astype(np.float32)
        found = []
        for side, x in zip(sides, tensors, strict=True):
            tensor = x
            if side.role == "rhs" and self.prepared.weight is not None:
                found.append(self.prepared.weight)
                continue
            if side.role == "lhs" and self.prepared.migration is not None:
                reduced = [axis for axis, label in enumerate(side.axes) if label not in self.layer.parsed.out]
                shape = [x.shape[axis] if axis in reduced else 1 for axis in range(x.ndim)]
                order = [label for label in self.layer.parsed.rhs if label in {side.axes[axis] for axis in reduced}]
                factors = self.prepared.migration.reshape([self.layer.sizes[label] for label in order])
                moved = [order.index(side.axes[axis]) for axis in reduced]
                tensor = tensor / factors.transpose(moved).reshape(shape)
            assert side.spec is not None
            assert side.layout is not None
            found.append(quantize_operand(tensor, side.spec, side.layout, self.prepared.static.get(side.role)))
        return found[0], found[1]

    def terms(self) -> dict[exact.Index, list[exact.Term]]:
        return exact.terms(self.layer.contraction, *self.codes())

    def bias_at(self, index: exact.Index) -> Fraction | None:
        return None if self.bias is None else exact.fraction(self.bias[index[-1]])

    def integer_bias(self, index: exact.Index, term: exact.Term) -> int:
        """int32 at scale lhs * rhs, zero point 0, half to even."""
        bias = self.bias_at(index)
        if bias is None:
            return 0
        scale = reference.to_float(term.a_scale * term.w_scale)
        return reference.rounded(reference.to_double(bias / scale), "HALF_EVEN")

    def requantized(self, index: exact.Index, products: list[exact.Term]) -> int:
        """Integer sum, bias and corrections included, through the scheme's profile by the reference."""
        out = self.prepared.static["out"]
        total = sum((t.a - t.a_zero) * (t.w - t.w_zero) for t in products)
        acc = reference.fit(total + self.integer_bias(index, products[0]), self.accelerator.accumulator.bits, "WRAP")
        out_scale = exact.fraction(out.scales[0].reshape(())[()])
        first = products[0]
        if self.scheme.requantization == "float32-even":
            scale = reference.to_float(reference.to_float(first.a_scale * first.w_scale) / out_scale)
        else:
            scale = reference.to_double(reference.to_double(first.a_scale * first.w_scale) / out_scale)
        zero = 0 if out.zero_point is None else int(out.zero_point.reshape(())[()])
        value = reference.requantize(acc, scale, zero, self.scheme.requantization)
        return min(max(value, out.format.lo), out.format.hi)


@pytest.mark.parametrize(("layer", "scheme"), PAIRS.values(), ids=list(PAIRS))
def test_a_layer_equals_exact_arithmetic_on_its_codes(layer: Layer, scheme: Scheme) -> None:
    case = Case(layer, scheme)
    found = case.terms()
    if case.plan.mac.segments > 1:
        expected = exact.each(found, lambda i, t: exact.rescaled(t, case.bias_at(i), case.carrier))
    elif scheme.strategy == "static":
        codes = exact.each(found, case.requantized)
        assert case.run.codes is not None
        np.testing.assert_array_equal(case.run.codes.codes, codes.astype(np.int64))
        out = case.prepared.static["out"]
        zero = 0 if out.zero_point is None else int(out.zero_point.reshape(())[()])
        scale = exact.fraction(out.scales[0].reshape(())[()])
        expected = exact.each(found, lambda i, _: reference.to_float(scale * (codes[i] - zero)))
    else:
        expected = exact.each(found, lambda i, t: exact.dequantized(t, case.bias_at(i), case.carrier))
    values = exact.floats(expected)
    if scheme.strategy == "static" and case.plan.mac.segments > 1:
        out = case.prepared.static["out"]
        assert case.run.codes is not None
        quotient = np.rint(values / out.scales[0].reshape(())) + (
            0 if out.zero_point is None else out.zero_point.reshape(())
        )
        np.testing.assert_array_equal(case.run.codes.codes, np.clip(quotient, out.format.lo, out.format.hi))
        values = case.run.codes.dequantize()
    np.testing.assert_array_equal(case.run.out, values)
    assert case.run.out.shape == layer.output_shape


def products_between(start: int, stop: int, _: exact.Index, products: list[exact.Term]) -> int:
    return sum(t.a * t.w for t in products[start:stop])


@pytest.mark.parametrize(("layer", "scheme"), PAIRS.values(), ids=list(PAIRS))
def test_sums_that_leave_the_array_equal_exact_integers(layer: Layer, scheme: Scheme) -> None:
    case = Case(layer, scheme)
    boundaries = (*case.plan.mac.boundaries, case.plan.mac.k)
    found = case.terms()
    total = np.zeros(layer.output_shape, object)
    for start, stop in itertools.pairwise(boundaries):
        total = total + exact.each(found, functools.partial(products_between, start, stop))
    if scheme.strategy == "static" and case.plan.mac.segments == 1 and layer.rhs_kind == "weight":
        # bias and the terms of a constant zero point are in the accumulator from the start
        total = total + exact.each(
            found,
            lambda i, t: case.integer_bias(i, t[0]) - sum(x.a_zero * x.w - x.a_zero * x.w_zero for x in t),
        )
    gemm = layer.gemm
    delivered = sum(s.astype(np.int64) for s in case.run.sums)
    assert isinstance(delivered, np.ndarray)
    assert delivered.shape == (gemm.batch, gemm.m, gemm.n)
    np.testing.assert_array_equal(layer.parsed.from_gemm(delivered, dict(layer.sizes)), total.astype(np.int64))


def test_segments_start_where_the_groups_do() -> None:
    plan = hwsim.lower(weight_layer(), grouped(), machine())
    assert plan.mac.boundaries == (0, 4, 8)
    assert hwsim.lower(weight_layer(), grouped(weight__layout="group:11"), machine()).mac.boundaries == (0,)


def test_adders_and_channel_give_the_same_integers() -> None:
    scheme = Scheme.load("w8a8-asym-weight")
    one, two = (Case(weight_layer(), scheme.replace(zero_point_sums=sums)) for sums in ("adders", "channel"))
    assert one.run.codes is not None
    assert two.run.codes is not None
    np.testing.assert_array_equal(one.run.codes.codes, two.run.codes.codes)
    assert str(one.plan) != str(two.plan)


def test_result_does_not_depend_on_array_or_dataflow() -> None:
    layer, scheme = weight_layer(), asymmetric()
    first = Case(layer, scheme).run.out
    for dataflow in ("weight_stationary", "input_stationary"):
        other = Case(layer, scheme, machine(array__rows=5, array__columns=7, array__dataflow=dataflow)).run.out
        np.testing.assert_array_equal(other, first)


# ---- a bias that meets a product of activations ----


def test_bias_of_a_static_product_of_activations_is_added_once() -> None:
    layer = Layer(
        "p", "mk,kn->mn", {"m": 5, "k": 11, "n": 7}, "x", "v", "y", "activation", bias="b", rhs_producer="input"
    )
    case = Case(layer, Scheme.load("w8a8-asym-act"))
    expected = exact.each(case.terms(), case.requantized)
    assert case.run.codes is not None
    np.testing.assert_array_equal(case.run.codes.codes, expected.astype(np.int64))


# ---- onnxruntime ----


def session(node: onnx.NodeProto, inputs: list[onnx.ValueInfoProto], output: onnx.ValueInfoProto) -> Any:
    graph = helper.make_graph([node], "one", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("activation_format", ["int8", "u8"])
def test_sums_equal_those_of_onnxruntime_matmulinteger(activation_format: str) -> None:
    layer = weight_layer(bias=False)
    scheme = asymmetric().replace(activation__format=activation_format, activation__layout="per_tensor")
    case = Case(layer, scheme)
    lhs, rhs = case.codes()
    assert lhs.zero_point is not None
    assert rhs.zero_point is not None
    kind = TensorProto.UINT8 if activation_format == "u8" else TensorProto.INT8
    node = helper.make_node("MatMulInteger", ["a", "b", "az", "bz"], ["y"])
    run = session(
        node,
        [
            helper.make_tensor_value_info("a", kind, [5, 11]),
            helper.make_tensor_value_info("b", TensorProto.INT8, [11, 7]),
            helper.make_tensor_value_info("az", kind, []),
            helper.make_tensor_value_info("bz", TensorProto.INT8, [7]),
        ],
        helper.make_tensor_value_info("y", TensorProto.INT32, [5, 7]),
    )
    az = lhs.zero_point.reshape(()).astype(lhs.codes.dtype)
    bz = rhs.zero_point.reshape(7).astype(np.int8)
    theirs = run.run(None, {"a": lhs.codes, "b": rhs.codes, "az": az, "bz": bz})[0]
    ours = lhs.scales[0].reshape(()) * (rhs.scales[0].reshape(1, 7) * theirs.astype(np.float32))
    np.testing.assert_array_equal(case.run.out, ours)
    # and the sums before the correction, on the same codes without zero points
    raw = run.run(None, {"a": lhs.codes, "b": rhs.codes, "az": np.zeros_like(az), "bz": np.zeros_like(bz)})[0]
    np.testing.assert_array_equal(case.run.sums[0][0], raw)


@pytest.mark.parametrize("form", ["int8", "u8"])
def test_codes_equal_those_of_onnxruntime_qlinearmatmul(form: str) -> None:
    layer = weight_layer(13, 29, 17, bias=False)
    scheme = Scheme.load("w8a8-asym-act").replace(
        requantization="float32-even",
        activation__format=form,
        output__format=form,
        weight__format="int8",
        weight__layout="per_tensor",
    )
    case = Case(layer, scheme)
    lhs, rhs = case.codes()
    out = case.prepared.static["out"]
    assert case.run.codes is not None
    assert out.zero_point is not None
    assert lhs.zero_point is not None
    kind = TensorProto.UINT8 if form == "u8" else TensorProto.INT8
    info, real = helper.make_tensor_value_info, TensorProto.FLOAT
    names = ["a", "as", "az", "b", "bs", "bz", "ys", "yz"]
    run = session(
        helper.make_node("QLinearMatMul", names, ["y"]),
        [
            info("a", kind, [13, 29]),
            info("as", real, []),
            info("az", kind, []),
            info("b", TensorProto.INT8, [29, 17]),
            info("bs", real, []),
            info("bz", TensorProto.INT8, []),
            info("ys", real, []),
            info("yz", kind, []),
        ],
        info("y", kind, [13, 17]),
    )
    dtype = lhs.codes.dtype
    feeds = {
        "a": lhs.codes,
        "as": lhs.scales[0].reshape(()),
        "az": lhs.zero_point.reshape(()).astype(dtype),
        "b": rhs.codes,
        "bs": rhs.scales[0].reshape(()),
        "bz": np.zeros((), np.int8),
        "ys": out.scales[0].reshape(()),
        "yz": out.zero_point.reshape(()).astype(dtype),
    }
    np.testing.assert_array_equal(case.run.codes.codes, run.run(None, feeds)[0])
    assert len(np.unique(case.run.codes.codes)) > 50


# ---- narrow requantizers and accumulators ----


def test_a_narrow_requantizer_computes_with_its_own_multiplier() -> None:
    case = Case(weight_layer(), Scheme.load("w8a8-static"), machine(requantizer__multiplier_bits=4))
    out = case.prepared.static["out"]

    def code(index: exact.Index, products: list[exact.Term]) -> int:
        first = products[0]
        acc = sum(t.a * t.w for t in products) + case.integer_bias(index, first)
        scale = reference.to_double(
            reference.to_double(first.a_scale * first.w_scale) / exact.fraction(out.scales[0].reshape(())[()])
        )
        multiplier, shift = reference.quantize_multiplier(scale, 4)
        value = reference.rounded(Fraction(acc * multiplier, 2**3) / Fraction(2) ** shift, "HALF_UP")
        return min(max(value, -128), 127)

    assert case.run.codes is not None
    assert case.run.codes.codes.tolist() == exact.each(case.terms(), code).tolist()
    wide = Case(weight_layer(), Scheme.load("w8a8-static"))
    assert wide.run.codes is not None
    assert case.run.codes.codes.tolist() != wide.run.codes.codes.tolist()


def narrow(bits: int, overflow: str, depth: int = 1) -> hwsim.Accelerator:
    return machine(accumulator={"bits": bits, "overflow": overflow}, array__dot_depth=depth)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("bits", [12, 15])
@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_a_narrow_accumulator_equals_a_loop(overflow: str, bits: int, depth: int) -> None:
    case = Case(weight_layer(bias=False), Scheme.load("w8a8-dynamic"), narrow(bits, overflow, depth))
    expected = exact.each(
        case.terms(),
        lambda _, t: (
            reference.accumulate([x.a for x in t], [x.w for x in t], bits, overflow.upper(), depth=depth).register
        ),
    )
    np.testing.assert_array_equal(case.run.sums[0][0], expected.astype(np.int64))
    wide = Case(weight_layer(bias=False), Scheme.load("w8a8-dynamic"))
    assert not np.array_equal(case.run.sums[0], wide.run.sums[0]), "the width must be too narrow to matter"


@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_a_narrow_accumulator_starts_at_bias_and_constant_terms(overflow: str) -> None:
    case = Case(weight_layer(), Scheme.load("w8a8-asym-act"), narrow(15, overflow))

    def register(index: exact.Index, t: list[exact.Term]) -> int:
        initial = case.integer_bias(index, t[0]) - sum(x.a_zero * x.w for x in t)
        initial = reference.fit(initial, 15, overflow.upper())
        return reference.accumulate([x.a for x in t], [x.w for x in t], 15, overflow.upper(), initial=initial).register

    np.testing.assert_array_equal(case.run.sums[0][0], exact.each(case.terms(), register).astype(np.int64))


def test_corrections_saturate_with_a_saturating_accumulator() -> None:
    case = Case(weight_layer(bias=False), asymmetric(), narrow(15, "saturate"))

    def corrected(_: exact.Index, t: list[exact.Term]) -> Fraction:
        acc = reference.accumulate([x.a for x in t], [x.w for x in t], 15, "SATURATE").register
        terms = sum(-x.a_zero * x.w - x.w_zero * x.a + x.a_zero * x.w_zero for x in t)
        total = reference.fit(acc + terms, 15, "SATURATE")
        f32 = reference.to_float
        return f32(t[0].a_scale * f32(t[0].w_scale * f32(Fraction(total))))

    np.testing.assert_array_equal(case.run.out, exact.floats(exact.each(case.terms(), corrected)))


def test_a_trapping_accumulator_raises_on_the_first_sum_that_does_not_fit() -> None:
    with pytest.raises(AccumulatorOverflowError, match="accumulator must stay within"):
        Case(weight_layer(bias=False), Scheme.load("w8a8-dynamic"), narrow(14, "trap"))
    wide = Case(weight_layer(bias=False), Scheme.load("w8a8-dynamic"), narrow(32, "trap"))
    np.testing.assert_array_equal(wide.run.out, Case(weight_layer(bias=False), Scheme.load("w8a8-dynamic")).run.out)


def test_a_trapping_accumulator_raises_on_corrections_and_preloads_that_do_not_fit() -> None:
    """Operands far from 0: eleven products of codes up to 127 x 127 fit 19 bits, (127 + 128)**2 do not."""
    layer, rng = weight_layer(bias=False), np.random.default_rng(7)
    lhs = rng.uniform(5, 6, layer.lhs_shape).astype(np.float32)
    rhs = rng.uniform(5, 6, layer.rhs_shape).astype(np.float32)
    samples = Samples(lhs, rhs, layer.contract(lhs, rhs))
    trap = narrow(19, "trap")
    assert 11 * 127 * 127 < 1 << 18 < 11 * 200 * 200
    for scheme in (asymmetric(), Scheme.load("w8a8-asym-act")):
        prepared = prepare(hwsim.lower(layer, scheme, trap), samples)
        with pytest.raises(AccumulatorOverflowError, match=r"within int19"):
            hwsim.execute(prepared, lhs, None, trap)


# ---- floats ----


def test_fp32_equals_the_float_contraction() -> None:
    for layer in LAYERS.values():
        case = Case(layer, Scheme.load("fp32"))
        np.testing.assert_array_equal(case.run.out, layer.contract(case.lhs, case.rhs, case.bias))
        assert case.run.codes is None
        assert case.run.sums == ()


def test_fp16_rounds_operands_and_result_to_half_precision() -> None:
    layer = weight_layer()
    case = Case(layer, Scheme.load("fp16"))
    lhs, rhs = (x.astype(np.float16).astype(np.float32) for x in (case.lhs, case.rhs))
    expected = layer.contract(lhs, rhs, case.bias).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(case.run.out, expected)


def test_weight_only_multiplies_dequantized_weights() -> None:
    layer = weight_layer()
    case = Case(layer, Scheme.load("w8a16"))
    weight = case.prepared.weight
    assert weight is not None
    values = (weight.codes.astype(np.float32) * weight.scales[0]).astype(np.float16).astype(np.float32)
    lhs = case.lhs.astype(np.float16).astype(np.float32)
    expected = layer.contract(lhs, values, case.bias).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(case.run.out, expected)
    assert np.abs(weight.codes.astype(int)).max(axis=0).tolist() == [127] * 7, "one scale for each output channel"


def test_dynamic_operands_come_from_memory_in_the_carrier() -> None:
    """An fp16 tensor holds fp16 values: what the quantizer reads is rounded before its range is taken."""
    layer = weight_layer(bias=False)
    scheme = Scheme.load("w8a8-dynamic")
    case = Case(layer, scheme)
    rounded = case.lhs.astype(np.float16).astype(np.float32)
    again = hwsim.execute(case.prepared, rounded, None, case.accelerator)
    np.testing.assert_array_equal(case.run.out, again.out)


# ---- smoothing ----


@pytest.mark.parametrize("contraction", ["mk,kn->mn", "mk,nk->mn", "km,kn->mn"])
def test_smoothing_follows_the_reduction_whatever_the_order_of_axes(contraction: str) -> None:
    """s = max|A|**alpha / max|W|**(1 - alpha) for each k; the products of reals stay what they were."""
    layer = weight_layer(7, 7, 7, contraction=contraction)  # equal sizes, so that a wrong axis would fit
    case = Case(layer, Scheme.load("w8a8-smoothquant"))
    lhs_axis, rhs_axis = layer.parsed.lhs.index("k"), layer.parsed.rhs.index("k")
    a = np.abs(case.samples.lhs).max(axis=1 - lhs_axis).astype(np.float64)
    w = np.abs(case.samples.rhs).max(axis=1 - rhs_axis).astype(np.float64)
    np.testing.assert_allclose(cast("Float32", case.prepared.migration), np.sqrt(a / w), rtol=1e-6)
    exact_result = layer.contract(case.lhs.astype(np.float64), case.rhs.astype(np.float64))
    assert case.bias is not None
    error = case.run.out - (exact_result + case.bias)
    assert 10 * np.log10((exact_result**2).sum() / (error**2).sum()) > 30


def test_a_search_takes_the_alpha_of_least_error_on_calibration_tensors() -> None:
    layer = weight_layer(13, 29, 17, bias=False)
    rng = np.random.default_rng(7)
    lhs, rhs, _ = operands_of(layer)
    lhs = lhs * np.exp(2 * rng.standard_normal(29)).astype(np.float32)
    product = lhs.astype(np.float64) @ rhs
    scheme = Scheme.load("w8a8-smoothquant-search").replace(carrier="fp32")
    samples = Samples(lhs, rhs, layer.contract(lhs, rhs))

    def run(smooth: dict[str, Any]) -> tuple[Float32, float]:
        prepared = prepare(hwsim.lower(layer, scheme.replace(smooth=smooth), machine()), samples)
        out = hwsim.execute(prepared, lhs, None, machine()).out
        return cast("Float32", prepared.migration), float(np.square(out - product).sum())

    tried = {alpha: run({"alpha": alpha, "search": False}) for alpha in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)}
    factors, found = run({"search": True, "alpha": None})
    assert found <= min(error for _, error in tried.values()) * 1.001
    assert max(error for _, error in tried.values()) > 1.5 * found
    a, w = np.abs(lhs).max(axis=0).astype(np.float64), np.abs(rhs).max(axis=1).astype(np.float64)
    possible = [a ** (t / 10) / w ** (1 - t / 10) for t in range(11)]
    assert any(np.allclose(factors, each, rtol=1e-6) for each in possible)


def test_static_scales_are_those_of_the_calibration_operands() -> None:
    """The largest magnitude over 127 in float32; of smoothed activations, after the smoothing."""
    case = Case(values_layer(), Scheme.load("w8a8-static"))
    for role, samples in (("lhs", case.samples.lhs), ("rhs", case.samples.rhs), ("out", case.samples.out)):
        assert case.prepared.static[role].scales[0].item() == np.abs(samples).max() / np.float32(127)
    smoothed = Case(weight_layer(), SCHEMES["static, smoothed"])
    moved = smoothed.samples.lhs / cast("Float32", smoothed.prepared.migration)
    assert smoothed.prepared.static["lhs"].scales[0].item() == np.abs(moved).max() / np.float32(127)
    weight = smoothed.prepared.weight
    assert weight is not None
    grown = smoothed.samples.rhs * cast("Float32", smoothed.prepared.migration)[:, np.newaxis]
    assert weight.scales[0].item() == np.abs(grown).max() / np.float32(127)


# ---- what is refused ----


def test_operands_that_are_not_finite_are_refused() -> None:
    case = Case(weight_layer(), Scheme.load("w8a8-dynamic"))
    case.lhs[2, 3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        hwsim.execute(case.prepared, case.lhs, None, case.accelerator)


@pytest.mark.parametrize("scheme", ["fp32", "w8a8-dynamic", "w8a8-static"])
def test_operands_that_do_not_contract_are_refused(scheme: str) -> None:
    case = Case(weight_layer(), Scheme.load(scheme))
    with pytest.raises(ValueError, match=r"k"):
        hwsim.execute(case.prepared, case.lhs[:, :10], None, case.accelerator)


@pytest.mark.parametrize("scheme", ["fp32", "w8a8-dynamic", "w8a8-static"])
def test_a_layer_with_a_bias_can_not_be_prepared_without_it(scheme: str) -> None:
    layer = weight_layer()
    lhs, rhs, bias = operands_of(layer)
    plan = hwsim.lower(layer, Scheme.load(scheme), machine())
    text = "bias must be given for layer up, which has one"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        prepare(plan, Samples(lhs, rhs, layer.contract(lhs, rhs, bias)))


@pytest.mark.parametrize("name", ["w8a8-static", "w8a8-asym-act", "tflite-int8", "w8a8-dynamic", "w8a8-asym-weight"])
def test_padding_of_a_convolution_is_zero_in_every_scheme(name: str) -> None:
    """A convolution with padding gives what one without gives of an image that carries its border of zeros."""
    rng = np.random.default_rng(7)
    image = rng.standard_normal((2, 3, 5, 5)).astype(np.float32) + np.float32(1)
    weight = rng.standard_normal((7, 3, 3, 3)).astype(np.float32)
    bordered = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
    scheme = Scheme.load(name).replace(activation__layout="per_tensor")
    runs = []
    for text, x in (("conv2d padding=1", image), ("conv2d", bordered)):
        sizes = {"b": 2, "c": 3, "h": x.shape[2], "w": x.shape[3], "o": 7, "r": 3, "s": 3}
        layer = Layer("conv", text, sizes, "x", "w", "y")
        plan = hwsim.lower(layer, scheme, hwsim.Accelerator.load("edge-16x16"))
        # The border is inside the range of the image, so that both are quantized alike.
        out = layer.contract(x, weight)
        runs.append(
            hwsim.execute(prepare(plan, Samples(x, weight, out)), x, None, hwsim.Accelerator.load("edge-16x16"))
        )
    np.testing.assert_array_equal(runs[0].sums[0], runs[1].sums[0])
    np.testing.assert_array_equal(runs[0].out, runs[1].out)
