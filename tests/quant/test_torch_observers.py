"""Observers and fake quantization beside those of PyTorch. Runs only where torch is installed."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
import pytest

import quant

if importlib.util.find_spec("torch") is None:
    pytest.skip("torch is not installed", allow_module_level=True)
torch: Any = importlib.import_module("torch")
observers: Any = importlib.import_module("torch.ao.quantization")
pytestmark = pytest.mark.filterwarnings("ignore")

Array = np.ndarray[Any, Any]


def stream(seed: int = 7) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0.2, 1 + i, (40, 6)).astype(np.float32) for i in range(5)]


def seen(observer: Any, batches: list[Array]) -> Any:
    for batch in batches:
        observer(torch.from_numpy(batch))
    return observer


@pytest.mark.parametrize(("theirs", "ours"), [("quint8", "u8"), ("qint8", "int8")])
@pytest.mark.parametrize("shift", [0.0, 5.0, -5.0])
def test_minmax_gives_the_same_scale_and_zero_point(theirs: str, ours: str, shift: float) -> None:
    batches = [b + np.float32(shift) for b in stream()]
    observer = seen(observers.MinMaxObserver(dtype=getattr(torch, theirs), qscheme=torch.per_tensor_affine), batches)
    scale, zero = observer.calculate_qparams()
    got_scale, got_zero = quant.scale_from_range(quant.observe(batches), ours, symmetric=False)
    assert got_zero is not None
    assert got_scale.item() == scale.item()
    assert got_zero.item() == zero.item()


def test_minmax_of_channels_gives_the_same_scales_and_zero_points() -> None:
    batches = stream()
    made = observers.PerChannelMinMaxObserver(ch_axis=1, dtype=torch.qint8, qscheme=torch.per_channel_affine)
    scale, zero = seen(made, batches).calculate_qparams()
    got_scale, got_zero = quant.scale_from_range(quant.observe(batches, "n:1", "mn"), "int8", symmetric=False)
    assert got_zero is not None
    np.testing.assert_array_equal(got_scale[0], scale.numpy())
    np.testing.assert_array_equal(got_zero[0], zero.numpy())


def test_symmetric_scales_of_torch_divide_by_a_half_more() -> None:
    # (127 + 128) / 2: torch spreads the range over both ends of the format, so that the largest value saturates.
    batches = stream()
    made = observers.MinMaxObserver(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric)
    scale, zero = seen(made, batches).calculate_qparams()
    bound = quant.observe(batches).bound
    assert zero.item() == 0
    assert scale.item() == (bound / np.float32(127.5)).item()


@pytest.mark.parametrize("momentum", [0.01, 0.3, 1.0])
def test_moving_averages_agree_to_float32(momentum: float) -> None:
    made = seen(observers.MovingAverageMinMaxObserver(averaging_constant=momentum), stream())
    got = quant.observe(stream(), method="moving_average", momentum=momentum)
    np.testing.assert_allclose([got.lo.item(), got.hi.item()], [made.min_val.item(), made.max_val.item()], rtol=1e-6)


def test_the_histogram_for_least_error_is_as_good() -> None:
    rng = np.random.default_rng(7)
    batches = [rng.normal(size=4096).astype(np.float32) for _ in range(8)]
    batches[3][5] = 40.0
    whole = np.concatenate(batches)

    def error(scale: Any, zero: Any) -> float:
        codes = np.clip(np.rint(whole / np.float32(scale)) + int(zero), 0, 255)
        return float(np.square((codes - int(zero)) * np.float32(scale) - whole).mean())

    made = observers.HistogramObserver(dtype=torch.quint8, qscheme=torch.per_tensor_affine)
    theirs = error(*(v.item() for v in seen(made, batches).calculate_qparams()))
    chosen = quant.observe(batches, method="mse", format="u8", symmetric=False)
    scale, zero = quant.scale_from_range(chosen, "u8", symmetric=False)
    assert zero is not None
    plain_scale, plain_zero = quant.scale_from_range(quant.observe(batches), "u8", symmetric=False)
    assert plain_zero is not None
    assert error(scale.item(), zero.item()) <= 1.05 * theirs
    assert error(scale.item(), zero.item()) < error(plain_scale.item(), plain_zero.item())


@pytest.mark.parametrize("scale", [0.5, 0.0625])
@pytest.mark.parametrize("zero", [0, 3, -7])
def test_fake_quantize_has_the_bits_of_torch_where_the_reciprocal_is_exact(scale: float, zero: int) -> None:
    rng = np.random.default_rng(7)
    x = np.concatenate([rng.normal(0, 60 * scale, 4000), (np.arange(-300, 300) + 0.5) * scale]).astype(np.float32)
    want = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), scale, zero, -128, 127).numpy()
    got = quant.fake_quantize(x, "int8", scale=scale, zero_point=zero)
    np.testing.assert_array_equal(got, want)


def test_fake_quantize_of_channels_has_the_bits_of_torch() -> None:
    x = np.random.default_rng(7).normal(size=(50, 6)).astype(np.float32)
    scale, zero = 2.0 ** -np.arange(3, 9, dtype=np.float32), np.array([0, 3, -7, 1, 9, 2])
    want = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(x), torch.from_numpy(scale), torch.from_numpy(zero).to(torch.int32), 1, -128, 127
    )
    got = quant.fake_quantize(x, "int8", "n:1", axes="mn", scale=scale[None], zero_point=zero[None])
    np.testing.assert_array_equal(got, want.numpy())
