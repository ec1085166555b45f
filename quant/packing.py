"""Codes of a few bits as the bytes that files and memories hold, in the orders of public formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .formats import IntArray, IntFormat


@dataclass(frozen=True)
class Packing:
    """How codes become words: fields side by side without gaps, the first in the lowest bits.

    Parameters
    ----------
    name
        Name to ask for.
    word
        Type of a word, little-endian.
    offset
        Signed codes are stored plus ``2**(bits - 1)``; else in two's complement.
    by_row
        Each row of the last axis starts a word; else the tensor is one run in C order.
    source
        Public code or document that says so.
    """

    name: str
    word: str
    offset: bool
    by_row: bool
    source: str


PACKINGS = {
    packing.name: packing
    for packing in (
        Packing("onnx", "<u1", offset=False, by_row=False, source="onnx.proto TensorProto INT4, UINT4, INT2, UINT2"),
        Packing(
            "compressed-tensors",
            "<i4",
            offset=True,
            by_row=True,
            source="compressed_tensors/compressors/pack_quantized/helpers.py pack_to_int32",
        ),
    )
}
"""Packings by name."""


def pack_codes(codes: npt.ArrayLike, format: IntFormat | str, packing: str = "onnx") -> npt.NDArray[Any]:  # noqa: A002
    """Pack codes into words.

    Parameters
    ----------
    codes : int [..., n]
        Within `format`.
    format
        Of at most 8 bits.
    packing
        Name in `PACKINGS`.

    Returns
    -------
    words
        [..., words of a row], or one row of words for the whole tensor; the last word ends in zeros.

    Raises
    ------
    ValueError
        If the format has more than 8 bits, a code is outside it, or the packing is unknown.

    Examples
    --------
    >>> pack_codes([1, -2, 3], "int4")
    array([225,   3], dtype=uint8)
    """
    form, chosen = _checked(format, packing)
    values = np.atleast_1d(np.asarray(codes))
    if values.dtype.kind not in "iu" or not form.contains(values):
        msg = f"codes must be integers in {form.lo}..{form.hi}, not {values.dtype} up to {values.max(initial=0)}"
        raise ValueError(msg)
    if not chosen.by_row:
        values = values.reshape(-1)
    shift = 1 << (form.bits - 1) if chosen.offset and form.signed else 0
    fields = (values.astype(np.int16) + shift).astype(np.uint8)
    bits = (fields[..., None] >> np.arange(form.bits, dtype=np.uint8)) & 1
    packed = np.packbits(bits.reshape(*values.shape[:-1], -1), axis=-1, bitorder="little")
    word = np.dtype(chosen.word)
    missing = -packed.shape[-1] % word.itemsize
    padded = np.pad(packed, [(0, 0)] * (packed.ndim - 1) + [(0, missing)])
    return np.ascontiguousarray(padded).view(word)


def unpack_codes(
    words: npt.NDArray[Any],
    format: IntFormat | str,  # noqa: A002  the word of the field
    shape: tuple[int, ...],
    packing: str = "onnx",
) -> IntArray:
    """Codes of packed words; the inverse of `pack_codes`.

    Parameters
    ----------
    words
        What `pack_codes` returned.
    format, packing
        As there.
    shape
        Of the codes.

    Raises
    ------
    ValueError
        If the words are too few for the shape.

    Examples
    --------
    >>> unpack_codes(pack_codes([1, -2, 3], "int4"), "int4", (3,))
    array([ 1, -2,  3], dtype=int8)
    """
    form, chosen = _checked(format, packing)
    rows = (*shape[:-1], shape[-1]) if chosen.by_row else (int(np.prod(shape)),)
    count = rows[-1] * form.bits
    stored = np.ascontiguousarray(words, np.dtype(chosen.word)).view(np.uint8)
    if stored.shape[:-1] != rows[:-1] or stored.shape[-1] * 8 < count:
        msg = f"words must hold codes of shape {shape}, not be {words.shape} of {np.dtype(chosen.word)}"
        raise ValueError(msg)
    bits = np.unpackbits(stored, axis=-1, bitorder="little")[..., :count].reshape(*rows, form.bits)
    fields = (bits.astype(np.int16) << np.arange(form.bits)).sum(axis=-1)
    half = 1 << (form.bits - 1)
    if form.signed:
        fields = fields - half if chosen.offset else fields - ((fields & half) << 1)
    codes: IntArray = fields.reshape(shape).astype(form.dtype)
    return codes


def _checked(format: IntFormat | str, packing: str) -> tuple[IntFormat, Packing]:  # noqa: A002
    form = IntFormat.parse(format) if isinstance(format, str) else format
    if form.bits > 8:
        msg = f"format must have at most 8 bits to be packed, not {form.bits}"
        raise ValueError(msg)
    if packing not in PACKINGS:
        msg = f"packing must be one of {', '.join(PACKINGS)}, not {packing!r}"
        raise ValueError(msg)
    return form, PACKINGS[packing]
