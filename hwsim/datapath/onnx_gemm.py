"""Exact int8 products on onnxruntime, where it is installed and proves exact on this processor.

Its u8 by s8 kernels use matrix units (AMX, VNNI, sdot). Signed rows run as unsigned with zero point 128, which the
operator subtracts again modulo 2**32. Processors without such units saturate pairs of products (``vpmaddubsw``):
the probe finds that out, and BLAS is used instead.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.formats import IntArray

from .probes import multiplies_extremes
from .processors import usable_processors

# Element types of onnx.proto.
_UINT8, _INT8, _INT32 = 2, 3, 6


@functools.cache
def is_exact() -> bool:
    """Tell whether onnxruntime is there and multiplies extreme operands exactly."""
    return _session() is not None and multiplies_extremes(product)


def product(lhs: npt.NDArray[Any], rhs: npt.NDArray[Any]) -> IntArray:
    """Multiply bytes modulo 2**32.

    Parameters
    ----------
    lhs : int8 or uint8 [m, k]
    rhs : int8 or uint8 [k, n]

    Returns
    -------
    product : int32 [m, n]
    """
    feeds: dict[str, npt.NDArray[Any]] = {}
    feeds["a"], feeds["a_zero"] = _recoded(lhs, np.dtype(np.uint8))
    feeds["b"], feeds["b_zero"] = _recoded(rhs, np.dtype(np.int8))
    result: IntArray = _session().run(None, feeds)[0]
    return result


def _recoded(x: npt.NDArray[Any], dtype: np.dtype[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return bytes of a signedness and their zero point: flipping the top bit moves a byte by 128."""
    if x.dtype == dtype:
        return np.ascontiguousarray(x), np.zeros((), dtype)
    flipped = np.bitwise_xor(x.view(np.uint8), np.uint8(0x80)).view(dtype)
    return np.ascontiguousarray(flipped), np.array(128 if dtype == np.uint8 else -128, dtype)


@functools.cache
def _session() -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 optional, and slow to import
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    # Left alone it takes one thread for two processors that it holds for one.
    options.intra_op_num_threads = usable_processors()
    # Threads that wait busily would take the processors from whatever runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(_model(), options, providers=["CPUExecutionProvider"])


def _model() -> bytes:
    """Return a model of one MatMulInteger, written out in the wire format of onnx.proto."""
    names = ("a", "b", "a_zero", "b_zero")
    node = b"".join(_text(1, name) for name in names) + _text(2, "y") + _text(4, "MatMulInteger")
    graph = _bytes(1, node) + _text(2, "product")
    for name, element, dims in (
        ("a", _UINT8, "mk"),
        ("b", _INT8, "kn"),
        ("a_zero", _UINT8, ""),
        ("b_zero", _INT8, ""),
    ):
        graph += _bytes(11, _value(name, element, dims))
    graph += _bytes(12, _value("y", _INT32, "mn"))
    opset = _text(1, "") + _number(2, 13)
    return _number(1, 8) + _bytes(7, graph) + _bytes(8, opset)


def _value(name: str, element: int, dims: str) -> bytes:
    shape = b"".join(_bytes(1, _text(2, dim)) for dim in dims)
    tensor = _number(1, element) + _bytes(2, shape)
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
