from __future__ import annotations

import numpy as np
import pytest

from hwsim.datapath import amx, gemm, onnx_gemm
from tests import reference

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TYPES = ["int8", "uint8"]


@pytest.mark.parametrize("rhs_type", TYPES)
@pytest.mark.parametrize("lhs_type", TYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (33, 257, 31), (65, 1031, 3)])
def test_onnxruntime_equals_blas_and_python(lhs_type: str, rhs_type: str, shape: tuple[int, int, int]) -> None:
    pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(7)
    m, k, n = shape
    lhs = rng.integers(np.iinfo(lhs_type).min, np.iinfo(lhs_type).max, (m, k), lhs_type, endpoint=True)
    rhs = rng.integers(np.iinfo(rhs_type).min, np.iinfo(rhs_type).max, (k, n), rhs_type, endpoint=True)
    blas = gemm.blas_product(lhs[np.newaxis], rhs[np.newaxis], np.dtype(np.int32))[0]
    if shape == (3, 5, 7):
        assert blas.tolist() == reference.matmul(lhs.tolist(), rhs.tolist())
    if not onnx_gemm.is_exact():
        pytest.skip("this processor saturates pairs of products")
    np.testing.assert_array_equal(onnx_gemm.product(lhs, rhs), blas)


def test_onnxruntime_wraps_as_int32_does() -> None:
    pytest.importorskip("onnxruntime")
    if not onnx_gemm.is_exact():
        pytest.skip("this processor saturates pairs of products")
    lhs, rhs = np.full((1, 131_072), -128, np.int8), np.full((131_072, 1), -128, np.int8)
    assert onnx_gemm.product(lhs, rhs)[0, 0] == -(2**31)


def test_large_products_are_exact_whatever_computes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    lhs, rhs = (
        rng.integers(-128, 128, (512, 1024)).astype(np.int8),
        rng.integers(-128, 128, (1024, 512)).astype(np.int8),
    )
    for asked in (0, gemm._WORTH_A_START):
        monkeypatch.setattr(gemm, "_asked", [asked])
        got = gemm.exact_product(lhs[np.newaxis], rhs[np.newaxis], np.dtype(np.int32))[0]
        np.testing.assert_array_equal(got, lhs.astype(np.int64) @ rhs.astype(np.int64))


def test_probes_that_fail_leave_it_to_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    for engine in (amx, onnx_gemm):
        monkeypatch.setattr(engine, "is_exact", lambda: False)
        monkeypatch.setattr(engine, "product", lambda *_: pytest.fail("must not run"))
    monkeypatch.setattr(gemm, "_asked", [gemm._WORTH_A_START])
    gemm._fastest.cache_clear()
    lhs, rhs = np.full((1, 256, 256), -128, np.int8), np.full((1, 256, 256), -128, np.int8)
    got = gemm.exact_product(lhs, rhs, np.dtype(np.int32))
    gemm._fastest.cache_clear()
    assert (got == 256 << 14).all()


def test_onnxruntime_is_used_where_there_are_no_matrix_units(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    if not onnx_gemm.is_exact():
        pytest.skip("this processor saturates pairs of products")
    monkeypatch.setattr(amx, "is_exact", lambda: False)
    monkeypatch.setattr(gemm, "_asked", [gemm._WORTH_A_START])
    gemm._fastest.cache_clear()
    assert gemm._fastest() is onnx_gemm.product
    gemm._fastest.cache_clear()


def test_the_probe_notices_saturating_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    def saturating(
        lhs: np.ndarray[tuple[int, int], np.dtype[np.int8]], rhs: np.ndarray[tuple[int, int], np.dtype[np.int8]]
    ) -> object:
        a, b = lhs.astype(np.int64), rhs.astype(np.int64)
        even = a.shape[1] // 2 * 2
        pairs = a[:, :even].reshape(len(a), -1, 2)[..., None] * b[:even].reshape(-1, 2, b.shape[1])[None]
        return np.clip(pairs.sum(axis=2), -(2**15), 2**15 - 1).sum(axis=1) + a[:, even:] @ b[even:]

    pytest.importorskip("onnxruntime")
    onnx_gemm.is_exact.cache_clear()
    monkeypatch.setattr(onnx_gemm, "product", saturating)
    assert not onnx_gemm.is_exact()
    onnx_gemm.is_exact.cache_clear()


@pytest.mark.parametrize("bits", [8, 9, 12, 13, 16, 17])
def test_blocks_are_exact_at_every_width(bits: int) -> None:
    lo, hi = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    for k in (63, 64, 65, 257, 1025):
        for value in (lo, hi):
            lhs, rhs = np.full((1, 2, k), value), np.full((1, k, 3), lo)
            got = gemm.blas_product(lhs, rhs, np.dtype(np.int64))
            np.testing.assert_array_equal(got, np.full((1, 2, 3), k * value * lo))
