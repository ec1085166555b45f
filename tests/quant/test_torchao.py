"""Codes and packed bytes of 4-bit weights beside those of torchao."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from quant import pack_codes, quantize, unpack_codes

torch: Any = pytest.importorskip("torch")
kernels: Any = pytest.importorskip("torchao.prototype.mx_formats.kernels")
primitives: Any = pytest.importorskip("torchao.quantization.quant_primitives")
pytestmark = pytest.mark.filterwarnings("ignore")


def test_packed_bytes_are_the_same() -> None:
    """Two codes a byte along the last axis, the first in the lower half: that of ONNX where rows are of even length."""
    codes = np.random.default_rng(7).integers(0, 16, (5, 14)).astype(np.uint8)
    theirs = kernels.pack_uint4(torch.from_numpy(codes)).numpy()
    np.testing.assert_array_equal(pack_codes(codes, "u4").reshape(5, 7), theirs)
    np.testing.assert_array_equal(unpack_codes(theirs.ravel(), "u4", codes.shape), codes)
    np.testing.assert_array_equal(kernels.unpack_uint4(torch.from_numpy(theirs)).numpy(), codes)


@pytest.mark.parametrize("group", [32, 128])
@pytest.mark.parametrize("symmetric", [True, False])
def test_codes_of_groups_are_the_same(group: int, symmetric: bool) -> None:
    """Scales of our ranges, given to torchao's quantizer: it multiplies by the reciprocal, so that rare ties differ."""
    weight = np.random.default_rng(7).normal(size=(64, 512)).astype(np.float32)
    name, low, high = ("int4", -8, 7) if symmetric else ("u4", 0, 15)
    ours = quantize(weight, name, f"n:1,k:{group}", axes="nk", symmetric=symmetric)
    zero = np.zeros_like(ours.scales[0], np.int32) if ours.zero_point is None else ours.zero_point
    theirs = primitives.quantize_affine(
        torch.from_numpy(weight),
        (1, group),
        torch.from_numpy(ours.scales[0]),
        torch.from_numpy(zero),
        torch.int8 if symmetric else torch.uint8,
        low,
        high,
    ).numpy()
    differs = theirs != ours.codes
    assert differs.mean() < 1e-4
    assert np.abs(theirs.astype(int) - ours.codes)[differs].max(initial=0) <= 1


@pytest.mark.parametrize("group", [32, 128])
def test_asymmetric_ranges_of_groups_are_the_same(group: int) -> None:
    weight = np.random.default_rng(7).normal(size=(64, 512)).astype(np.float32)
    scale, zero = primitives.choose_qparams_affine(
        torch.from_numpy(weight),
        primitives.MappingType.ASYMMETRIC,
        (1, group),
        torch.uint8,
        0,
        15,
        eps=1e-9,
        zero_point_dtype=torch.int32,
    )
    ours = quantize(weight, "u4", f"n:1,k:{group}", axes="nk", symmetric=False)
    np.testing.assert_array_equal(ours.scales[0], scale.numpy().reshape(ours.scales[0].shape))
    assert ours.zero_point is not None
    np.testing.assert_array_equal(ours.zero_point, zero.numpy().reshape(ours.zero_point.shape))
