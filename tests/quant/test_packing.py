from __future__ import annotations

import importlib
import importlib.util
import re
from typing import Any

import numpy as np
import pytest

from quant.formats import IntFormat
from quant.packing import PACKINGS, pack_codes, unpack_codes


def bits_of(words: np.ndarray[Any, Any]) -> int:
    """A row of words as one number, the first lowest."""
    width = 8 * words.dtype.itemsize
    return sum((int(w) % 2**width) << (width * i) for i, w in enumerate(words))


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("name", [f"{kind}{bits}" for kind in ("int", "u") for bits in range(1, 9)])
def test_fields_lie_side_by_side_and_come_back(packing: str, name: str) -> None:
    form = IntFormat.parse(name)
    for shape in ((1,), (3, 7), (2, 3, 32), (5, 33), (4, 1)):
        codes = np.random.default_rng(7).integers(form.lo, form.hi + 1, shape).astype(form.dtype)
        words = pack_codes(codes, form, packing)
        rows = codes.reshape(-1, shape[-1]) if PACKINGS[packing].by_row else codes.reshape(1, -1)
        offset = 2 ** (form.bits - 1) if PACKINGS[packing].offset and form.signed else 0
        for row, packed in zip(rows, words.reshape(len(rows), -1), strict=True):
            want = sum(((int(c) + offset) % 2**form.bits) << (form.bits * i) for i, c in enumerate(row))
            assert bits_of(packed) == want
            assert packed.nbytes == -(-row.size * form.bits // (8 * packed.itemsize)) * packed.itemsize
        np.testing.assert_array_equal(unpack_codes(words, form, shape, packing), codes)


@pytest.mark.parametrize(("name", "kind"), [("int4", "INT4"), ("u4", "UINT4")])
def test_nibbles_have_the_order_of_onnx(name: str, kind: str) -> None:
    onnx: Any = pytest.importorskip("onnx")
    form = IntFormat.parse(name)
    codes = np.random.default_rng(7).integers(form.lo, form.hi + 1, (5, 7))
    made = onnx.helper.make_tensor("x", getattr(onnx.TensorProto, kind), codes.shape, codes.ravel().tolist())
    array = onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(made))
    assert pack_codes(codes, name, "onnx").tobytes() == array.raw_data


@pytest.mark.parametrize("bits", range(1, 9))
def test_words_are_those_of_compressed_tensors(bits: int) -> None:
    if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers", "compressed_tensors")):
        pytest.skip("compressed-tensors is not installed")
    torch: Any = importlib.import_module("torch")
    compressors: Any = importlib.import_module("compressed_tensors.compressors")
    form = IntFormat(bits)
    for shape in ((3, 7), (5, 32), (4, 65)):
        codes = np.random.default_rng(7).integers(form.lo, form.hi + 1, shape).astype(np.int8)
        want = compressors.pack_to_int32(torch.from_numpy(codes), bits).numpy()
        np.testing.assert_array_equal(pack_codes(codes, form, "compressed-tensors"), want)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([1], "int9"), "format must have at most 8 bits to be packed, not 9"),
        (([8], "int4"), "codes must be integers in -8..7, not int64 up to 8"),
        (([0.5], "int4"), "codes must be integers in -8..7, not float64 up to 0.5"),
        (([1], "int4", "gguf"), "packing must be one of onnx, compressed-tensors, not 'gguf'"),
    ],
)
def test_what_cannot_be_packed_is_refused(arguments: tuple[Any, ...], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        pack_codes(*arguments)


def test_words_too_few_for_a_shape_are_refused() -> None:
    text = "words must hold codes of shape (2, 9), not be (8,) of uint8"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        unpack_codes(pack_codes(np.zeros((2, 8), int), "int4"), "int4", (2, 9))
