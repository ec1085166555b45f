"""Quantization-aware training against exact codes and analytic gradients; needs PyTorch."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from hwsim import infer, qat_study  # noqa: E402
from hwsim.training import narrowed  # noqa: E402
from quant import OperandSpec, Scheme  # noqa: E402
from quant import qat as training  # noqa: E402
from workloads.digits import digits_network, load_digits  # noqa: E402

SPECS = [
    OperandSpec(format="int8"),
    OperandSpec(format="int4", layout="per_token"),
    OperandSpec(format="u8", symmetric=False),
    OperandSpec(format="int3", layout="group:4"),
    OperandSpec(format="int8_narrow", range="percentile", percentile=5.0),
    OperandSpec(format="int8", scale_format="bf16"),
]


def _tensor(rows: int, columns: int, seed: int = 0) -> Any:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "spec", SPECS, ids=lambda spec: f"{spec.format}-{spec.layout}-{spec.range}-{spec.scale_format}"
)
def test_the_forward_pass_is_the_quantizer_bit_for_bit(spec: OperandSpec) -> None:
    x = _tensor(6, 8)
    module = training.FakeQuantize(spec, "lhs")
    q = module.quantize(x)
    got = module(x).numpy()
    # every value is an integer of the format, times the element's scale, in one float32 rounding
    zero = np.zeros(q.shape, int) if q.zero_point is None else q.element_zero_point()
    assert zero is not None
    steps = q.codes.astype(np.int64) - zero
    fmt = spec.integer_format
    assert q.codes.min() >= fmt.lo
    assert q.codes.max() <= fmt.hi
    for index in np.ndindex(*q.shape):
        exact = int(steps[index]) * Fraction(float(q.element_scale()[index]))
        assert got[index] == np.float32(float(exact))
    assert np.array_equal(got, q.dequantize())


def test_per_tensor_symmetric_agrees_with_pytorchs_own_fake_quantization() -> None:
    # PyTorch multiplies by the reciprocal of the scale: a scale that is a power of two makes both exact
    x = _tensor(16, 32) * 3
    module = training.FakeQuantize(OperandSpec(format="int8"), "lhs", static=True)
    module.calibrate(torch.tensor([[127 / 32.0]]))
    theirs = torch.fake_quantize_per_tensor_affine(x, 1 / 32, 0, -128, 127)
    assert torch.equal(module(x), theirs)
    mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    weight = _tensor(16, 32, seed=1)
    (module(mine) * weight).sum().backward()
    (torch.fake_quantize_per_tensor_affine(other, 1 / 32, 0, -128, 127) * weight).sum().backward()
    assert torch.equal(mine.grad, other.grad)
    assert (mine.grad == 0).any()  # something was clipped


def test_gradients_stop_where_values_are_clipped() -> None:
    module = training.FakeQuantize(OperandSpec(format="int4"), "lhs", static=True)
    module.calibrate(torch.tensor([[7.0]]))  # scale 1, codes -8..7
    x = torch.tensor([[-9.0, -8.4, -8.0, 0.3, 7.4, 7.6]], requires_grad=True)
    module(x).sum().backward()
    assert x.grad.tolist() == [[0, 1, 1, 1, 1, 0]]


def test_a_static_quantizer_must_be_calibrated() -> None:
    module = training.FakeQuantize(OperandSpec(), "lhs", static=True)
    with pytest.raises(ValueError, match="static scales must be calibrated before they are used"):
        module(torch.ones(1, 1))


@pytest.mark.parametrize("scheme", ["fp32", "w8a8-smoothquant"])
def test_schemes_without_fake_quantization_are_refused(scheme: str) -> None:
    with pytest.raises(ValueError, match=f"scheme must quantize and leave outliers to the training, not {scheme}"):
        training.prepare_qat(torch.nn.Linear(2, 2), Scheme.load(scheme))


def test_product_quantization_is_refused() -> None:
    spec = OperandSpec(code="pq", prototypes=4, width=2)
    with pytest.raises(ValueError, match="code must be one of affine, pow2, codebook to train through, not pq"):
        training.FakeQuantize(spec, "rhs")


def test_powers_of_two_are_trained_through() -> None:
    x = torch.tensor([[0.9, -0.3, 0.05]], requires_grad=True)
    out = training.FakeQuantize(OperandSpec(code="pow2", format="int4"), "rhs")(x)
    ratios = np.log2(np.abs(out.detach().numpy() / out.detach().numpy()[0, 0]))
    assert np.array_equal(ratios, np.rint(ratios))
    out.sum().backward()
    assert x.grad.tolist() == [[1, 1, 1]]


def test_models_without_linear_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="model must have a linear layer, not only ReLU"):
        training.prepare_qat(torch.nn.ReLU(), Scheme.load("w8a8-dynamic"))


def test_preparing_leaves_the_model_as_it_was() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
    prepared = training.prepare_qat(model, Scheme.load("w8a8-dynamic"))
    with torch.no_grad():
        for parameter in prepared.parameters():
            parameter.zero_()
    assert isinstance(model[0], torch.nn.Linear)
    assert all(parameter.abs().sum() > 0 for parameter in model.parameters())


def _model(seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = torch.nn.Sequential()
    model.add_module("hidden", torch.nn.Linear(64, 16))
    model.add_module("relu", torch.nn.ReLU())
    model.add_module("logits", torch.nn.Linear(16, 10))
    return model


def _network(model: Any) -> Any:
    state = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    return digits_network({name: (value.T if value.ndim == 2 else value) for name, value in state.items()})


def _trained(scheme: Scheme) -> tuple[Any, Any]:
    """Logits of a trained network in PyTorch and through the integer datapath."""
    digits, model = load_digits(), training.prepare_qat(_model(), scheme)
    images, classes = torch.from_numpy(digits.train), torch.from_numpy(digits.train_classes)
    losses = training.fit(model, images, classes, epochs=3)
    assert losses[-1] < losses[0]
    with torch.no_grad():
        fake = model(torch.from_numpy(digits.test)).numpy()
    return fake, infer(_network(model), scheme)["logits"]


@pytest.mark.parametrize(("strategy", "bits"), [("weight_only", 3), ("dynamic", 8), ("dynamic", 4)])
def test_the_trained_network_is_what_the_integer_datapath_runs(strategy: Any, bits: int) -> None:
    # fp32 between layers, as PyTorch has it: only the last bits of its float sums may differ
    fake, integers = _trained(narrowed(strategy, bits).replace(carrier="fp32"))
    assert np.abs(fake - integers).max() < 1e-6 * np.abs(fake).max()


def test_a_static_network_differs_by_the_double_rounding_of_its_requantizer_alone() -> None:
    fake, integers = _trained(narrowed("static", 8))
    step = np.abs(fake).max() / 127
    assert np.mean(np.abs(fake - integers) < 0.01 * step) > 0.99
    assert np.abs(fake - integers).max() < 1.05 * step


def test_training_is_reproducible() -> None:
    digits = load_digits()
    images, classes = torch.from_numpy(digits.train[:200]), torch.from_numpy(digits.train_classes[:200])
    losses = [
        training.fit(training.prepare_qat(_model(), narrowed("dynamic", 4)), images, classes, epochs=2) for _ in "ab"
    ]
    assert losses[0] == losses[1]


def test_counts_and_lengths_are_checked() -> None:
    with pytest.raises(ValueError, match="inputs and targets must be as many and at least one, not 2 and 1"):
        training.fit(_model(), torch.ones(2, 64), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match="epochs and batch must be at least 1, not 0 and 64"):
        training.fit(_model(), torch.ones(1, 64), torch.zeros(1, dtype=torch.int64), epochs=0)


def test_training_recovers_what_two_bits_lose() -> None:
    frame = qat_study([2], ["dynamic"], epochs=8)
    row = frame.iloc[0]
    assert row.float_accuracy > 0.9
    assert row.ptq_accuracy < row.float_accuracy - 0.1
    assert row.qat_accuracy > row.ptq_accuracy + 0.05
    assert abs(row.qat_accuracy - row.fake_accuracy) < 0.02


def test_a_static_bias_is_rounded_to_the_scale_of_the_sums() -> None:
    layer = training.FakeQuantLinear(torch.nn.Linear(1, 1), narrowed("static", 4))
    with torch.no_grad():
        layer.weight.fill_(3.5)  # scale 1/2, code 7
        layer.bias.fill_(1.3)
    training.calibrate(layer, torch.tensor([[-1.0], [7.0]]))  # scale 1
    layer.quantize_output = torch.nn.Identity()
    out = layer(torch.tensor([[2.0]]))
    assert out.item() == 2 * 3.5 + 1.5  # 1.3 is nearer to 3 halves than to 2 halves
    out.backward()
    assert layer.bias.grad.item() == 1
