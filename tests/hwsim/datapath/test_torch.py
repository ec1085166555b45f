"""Profiles beside the torch they are named after. Runs only where torch is installed: it is no test dependency."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
import pytest

from hwsim.datapath import dequantize, matmul, output_multiplier, quantize, requantize
from quant import IntFormat

if importlib.util.find_spec("torch") is None:
    pytest.skip("torch is not installed", allow_module_level=True)
torch: Any = importlib.import_module("torch")
pytestmark = pytest.mark.filterwarnings("ignore")


def values(scale: float) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(7)
    ties = (np.arange(-300, 300) + 0.5) * scale
    return np.concatenate([rng.normal(0, 60 * scale, 5000), ties, [np.nan, np.inf, -np.inf, 3e9, -3e9]]).astype(
        np.float32
    )


@pytest.mark.parametrize("scale", [0.5, 0.1, 0.00214854861, 0.037])
@pytest.mark.parametrize("zero", [0, 3, -7, 20])
def test_quantize_per_tensor(scale: float, zero: int) -> None:
    x = values(scale)
    want = torch.quantize_per_tensor(torch.from_numpy(x), scale, zero, torch.qint8)
    got = quantize(x, scale, zero, profile="torch")
    np.testing.assert_array_equal(got, want.int_repr().numpy())
    np.testing.assert_array_equal(dequantize(got, scale, zero), want.dequantize().numpy())


@pytest.mark.parametrize("scale", [0.5, 0.1, 0.037])
@pytest.mark.parametrize("zero", [0, 3, -7])
def test_fake_quantize(scale: float, zero: int) -> None:
    x = values(scale)
    want = torch.fake_quantize_per_tensor_affine(torch.from_numpy(x), scale, zero, -128, 127).numpy()
    got = dequantize(quantize(x, scale, zero, profile="torch-fake"), scale, zero)
    np.testing.assert_array_equal(got, want)


def test_dequantize_per_channel() -> None:
    rng = np.random.default_rng(7)
    x = torch.from_numpy(rng.normal(0, 9, (5, 700)).astype(np.float32))
    scale, zero = torch.tensor([0.1, 0.037, 0.5, 0.011, 0.3], dtype=torch.float64), torch.tensor([0, 3, -7, 1, 9])
    want = torch.quantize_per_channel(x, scale, zero, 0, torch.qint8)
    got = dequantize(want.int_repr().numpy(), scale.numpy()[:, None], zero.numpy()[:, None], profile="float64")
    np.testing.assert_array_equal(got, want.dequantize().numpy())


@pytest.mark.parametrize("engine", ["fbgemm", "x86"])
@pytest.mark.parametrize("seed", range(4))
def test_quantized_linear(engine: str, seed: int) -> None:
    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"{engine} is not built in")
    torch.backends.quantized.engine = engine
    rng = np.random.default_rng(seed)
    m, k, n = 11, 64, 17
    # Scales of powers of two put many sums on ties; odd zero points make the order of rounding visible.
    sx, sw, sy = (0.5, 0.25, 64.0) if seed % 2 else (0.031, 0.017, 0.29)
    zx, zy = 2 * seed + 1, 4 * seed + 3
    x = torch.quantize_per_tensor(
        torch.from_numpy(rng.normal(0, 20 * sx, (m, k)).astype(np.float32)), sx, zx, torch.quint8
    )
    w = torch.quantize_per_tensor(
        torch.from_numpy(rng.normal(0, 20 * sw, (n, k)).astype(np.float32)), sw, 0, torch.qint8
    )
    bias = rng.normal(0, 5, n).astype(np.float32)
    packed = torch.ops.quantized.linear_prepack(w, torch.from_numpy(bias))
    want = torch.ops.quantized.linear(x, packed, sy, zy).int_repr().numpy()
    acc = matmul(x.int_repr().numpy().astype(np.int32) - zx, w.int_repr().numpy().T)
    product = np.float32(sx) * np.float32(sw)
    got = requantize(
        acc,
        output_multiplier(sx, sw, sy, "torch-linear"),
        profile="torch-linear",
        bias=bias / product,
        zero_point=zy,
        output=IntFormat(8, signed=False),
    )
    np.testing.assert_array_equal(got, want)


# Engines of one wheel; only the last adds the zero point before it rounds.
ENGINES = {
    "fbgemm": "float32-even",
    "x86": "float32-even",
    "qnnpack": "float32-even",
    "onednn": "zero-point-first",
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(4))
def test_quantized_linear_on_ties(engine: str, seed: int) -> None:
    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"{engine} is not built in")
    torch.backends.quantized.engine = engine
    rng = np.random.default_rng(seed)
    (sx, sw, sy), zx, zy = (0.5, 0.25, 0.5), 2 * seed + 7, 2 * seed + 101
    x, w = rng.integers(zx - 6, zx + 7, (23, 16)).astype(np.uint8), rng.integers(-6, 7, (19, 16)).astype(np.int8)
    lhs = torch._make_per_tensor_quantized_tensor(torch.from_numpy(x), sx, zx)
    rhs = torch._make_per_tensor_quantized_tensor(torch.from_numpy(w), sw, 0)
    packed = torch.ops.quantized.linear_prepack(rhs, None)
    want = torch.ops.quantized.linear(lhs, packed, sy, zy).int_repr().numpy()
    acc = matmul(x.astype(np.int32) - zx, w.T)
    results = {
        profile: requantize(
            acc,
            output_multiplier(sx, sw, sy, profile),
            profile=profile,
            zero_point=zy,
            output=IntFormat(8, signed=False),
        )
        for profile in ("float32-even", "zero-point-first")
    }
    assert np.any(results["float32-even"] != results["zero-point-first"])
    np.testing.assert_array_equal(results[ENGINES[engine]], want)


def test_int_mm_wraps_as_matmul_does() -> None:
    lhs, rhs = np.full((17, 131_072), -128, np.int8), np.full((131_072, 8), -128, np.int8)
    want = torch._int_mm(torch.from_numpy(lhs), torch.from_numpy(rhs)).numpy()
    np.testing.assert_array_equal(matmul(lhs, rhs), want)
