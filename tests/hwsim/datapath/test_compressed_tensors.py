"""The quantize profile beside compressed-tensors. Runs only where that is installed with torch and transformers."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
import pytest

from hwsim.datapath import quantize

if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "compressed_tensors")):
    pytest.skip("compressed-tensors is not installed", allow_module_level=True)
torch: Any = importlib.import_module("torch")
forward: Any = importlib.import_module("compressed_tensors.quantization.lifecycle.forward")
arguments: Any = importlib.import_module("compressed_tensors.quantization").QuantizationArgs
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("scale", [0.5, 0.05, 0.037])
@pytest.mark.parametrize("zero", [0, 3, -7, 20])
@pytest.mark.parametrize("bits", [8, 4])
def test_quantize(scale: float, zero: int, bits: int) -> None:
    zero = zero if bits == 8 else zero % 8
    rng = np.random.default_rng(7)
    x = np.concatenate([rng.normal(0, 40 * scale, 4000), (np.arange(-300, 300) + 0.5) * scale]).astype(np.float32)
    settings = arguments(num_bits=bits, symmetric=False, strategy="tensor")
    want = forward.quantize(
        torch.from_numpy(x), torch.tensor([scale]), torch.tensor([zero], dtype=torch.int8), settings, dtype=torch.int8
    )
    got = quantize(x, scale, zero, output=f"int{bits}", profile="compressed-tensors")
    np.testing.assert_array_equal(got, want.numpy())
