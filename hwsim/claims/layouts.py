"""Which scale layouts can leave the integer sum, and how wide that sum is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from quant import IntFormat, Verdict, accumulator_bits, decide, layout_table

from .claim import Case, claims_of

claim = claims_of("layouts")

SIZES = {"m": 256, "k": 512, "n": 256}
GEMM = "mk,kn->mn"
DEPTHWISE = {
    "contraction": "depthwise2d padding=1",
    "lhs": "c:1",
    "rhs": "c:1",
    "sizes": {"b": 1, "c": 16, "h": 8, "w": 8, "r": 3, "s": 3},
}


def _compatible(found: Verdict) -> bool:
    return found.verdict == "once"


@claim(
    "B02",
    text='"Can we apply any quantization scheme to Activation and Weight ...? The answer is no."',
    data="every pair of 13 activation and 15 weight layouts, mk,kn->mn, 256 x 512 x 256",
)
def not_any_pair(native_depths: tuple[int, ...] = (2, 64)) -> list[Case]:
    """Count the pairs that no integer array of a depth can run."""
    cases = []
    for depth in native_depths:
        frame = layout_table(sizes=SIZES, native_depth=depth)
        refused = int((frame["verdict"] == "incompatible").sum())
        cases.append(Case(f"the array adds {depth} products at once", refused, f"of {len(frame)} refused", refused > 0))
    return cases


@claim(
    "B04",
    "B08",
    text='Case 2, per-tensor x per-tensor: "HW compatible"',
    data="quant.decide, mk,kn->mn, 256 x 512 x 256; partial sums for each result",
)
def tensor_by_tensor(lhs: str = "per_tensor", rhs: str = "per_tensor") -> list[Case]:
    """Ask the verifier."""
    found = decide(GEMM, lhs=lhs, rhs=rhs, sizes=SIZES)
    return [Case(f"{lhs} x {rhs}", found.partial_sums, f"partial sum: {found.verdict}", _compatible(found))]


@claim(
    "B05",
    "B06",
    "B09",
    text='Case 3, per-token x per-channel: "HW compatible"',
    data="quant.decide for a linear layer, a 1x1 and a 3x3 convolution (a token is a pixel there)",
)
def token_by_channel(problems: Mapping[str, Mapping[str, Any]] | None = None) -> list[Case]:
    """Ask the verifier for each contraction."""
    conv = {"b": 1, "c": 64, "h": 8, "w": 8, "o": 64}
    given = problems or {
        "a linear layer": {"contraction": GEMM, "lhs": "m:1", "rhs": "n:1", "sizes": SIZES},
        "a 1x1 convolution, scale per pixel": {
            "contraction": "conv2d", "lhs": "b:1,h:1,w:1", "rhs": "o:1", "sizes": {**conv, "r": 1, "s": 1},
        },
        "a 3x3 convolution, scale per pixel": {
            "contraction": "conv2d padding=1", "lhs": "b:1,h:1,w:1", "rhs": "o:1", "sizes": {**conv, "r": 3, "s": 3},
        },
    }  # fmt: skip
    cases = []
    for name, arguments in given.items():
        found = decide(**arguments)
        cases.append(Case(name, found.partial_sums, f"partial sums: {found.verdict}", _compatible(found)))
    return cases


def _tied() -> tuple[Any, Any]:
    """Scales over k whose products are all one: what smoothing arranges."""
    powers = 2.0 ** (np.arange(SIZES["k"]) % 7)
    return powers[None, :], (1 / powers)[:, None]


@claim(
    "B10",
    "B11",
    text='Case 4, per-channel x per-token (both along k): "HW incompatible! ... scale information gets mixed up"',
    data="quant.decide; refused where no step after the sum can be right, with operands that prove it",
)
def both_along_k(problems: Mapping[str, Mapping[str, Any]] | None = None) -> list[Case]:
    """Ask the verifier; an incompatible verdict must carry a witness that checks."""
    lhs_scales, rhs_scales = _tied()
    given = problems or {
        "a linear layer, any scales": {"contraction": GEMM, "lhs": "k:1", "rhs": "k:1", "sizes": SIZES},
        "s_A[k] s_W[k] is the same for all k": {
            "contraction": GEMM, "lhs": "k:1", "rhs": "k:1", "sizes": SIZES,
            "lhs_scales": (lhs_scales,), "rhs_scales": (rhs_scales,),
        },
        "a depthwise convolution, scale per channel": DEPTHWISE,
    }  # fmt: skip
    cases = []
    for name, arguments in given.items():
        found = decide(**arguments)
        refused = found.verdict == "incompatible" and found.witness is not None and found.witness.check()
        cases.append(Case(name, found.partial_sums, f"partial sums: {found.verdict}", refused))
    return cases


@claim(
    "N36",
    text="Per-channel activations (scales along k) can not leave the sum of a matrix product",
    data="quant.decide over contractions; refused or cut into segments",
)
def per_channel_in(problems: Mapping[str, Mapping[str, Any]] | None = None) -> list[Case]:
    """Ask the verifier for activation scales per input channel."""
    conv = {"b": 1, "c": 64, "h": 8, "w": 8, "o": 64, "r": 3, "s": 3}
    given = problems or {
        "a linear layer": {"contraction": GEMM, "lhs": "k:1", "rhs": "n:1", "sizes": SIZES},
        "a 3x3 convolution": {"contraction": "conv2d padding=1", "lhs": "c:1", "rhs": "o:1", "sizes": conv},
        "a depthwise convolution": DEPTHWISE,
    }  # fmt: skip
    cases = []
    for name, arguments in given.items():
        found = decide(**arguments)
        cases.append(Case(name, found.partial_sums, f"partial sums: {found.verdict}", not _compatible(found)))
    return cases


@claim(
    "N07",
    text='"Training/inference": a layout that is legal for inference is legal for both backward products',
    data="quant.decide on x[m,k] w[k,n], dy[m,n] w[k,n] and x[m,k] dy[m,n], 256 x 512 x 256",
)
def legal_for_training(layouts: Mapping[str, tuple[str, str, str]] | None = None) -> list[Case]:
    """Count the products of training that are legal under each choice of layouts for x, w, dy."""
    given = layouts or {
        "per tensor": ("1", "1", "1"),
        "x and dy per token, w per output channel": ("m:1", "n:1", "m:1"),
    }
    cases = []
    for name, (x, w, dy) in given.items():
        products = (("mk,kn->mn", x, w), ("mn,kn->mk", dy, w), ("mk,mn->kn", x, dy))
        legal = sum(_compatible(decide(text, lhs=lhs, rhs=rhs, sizes=SIZES)) for text, lhs, rhs in products)
        cases.append(Case(name, legal, "of 3 products legal", legal == len(products)))
    return cases


@claim(
    "B12",
    "C14",
    "C15",
    text='"all operations between the square brackets can be done in int8"',
    data="exact widths at K = 512: stored codes, q - z, a product, the sum",
)
def brackets_in_int8(length: int = 512, lhs: str = "int8", rhs: str = "int8", zero_points: bool = True) -> list[Case]:
    """Bits that each value in the brackets can need, from the ends of its range."""
    a, w = IntFormat.parse(lhs), IntFormat.parse(rhs)
    span = IntFormat(a.bits + 1), IntFormat(w.bits + 1)
    factors = span if zero_points else (a, w)
    # q - z of two 8-bit numbers spans -255..255.
    ends = [((f.lo + 1) if zero_points else f.lo, f.hi) for f in factors]
    widths = {
        "the value is a stored code": a.bits,
        "the value is q - z": factors[0].bits,
        "the value is a product": _bits(ends, 1),
        f"the value is the sum over K = {length}": _bits(ends, length),
    }
    return [Case(name, bits, "bits", bits <= 8) for name, bits in widths.items()]


def _bits(ends: list[tuple[int, int]], length: int) -> int:
    products = [x * y for x in ends[0] for y in ends[1]]
    lo, hi = length * min(products), length * max(products)
    return max(hi.bit_length() + 1, (-lo - 1).bit_length() + 1)


@claim(
    "C15",
    "B12",
    text="ceil(log2(K |a| |w|)) + 1 bits hold the sum of K products",
    data="quant.accumulator_bits (exact ends of the range) against the formula",
)
def textbook_width(cases: Mapping[str, tuple[int, str, str]] | None = None) -> list[Case]:
    """Compare the usual formula with the exact width."""
    given = cases or {
        "K = 512, restricted to +-127": (512, "int8_narrow", "int8_narrow"),
        "K = 500, full int8": (500, "int8", "int8"),
        "K = 512, full int8": (512, "int8", "int8"),
    }
    found = []
    for name, (length, lhs, rhs) in given.items():
        a, w = (max(-f.lo, f.hi) for f in (IntFormat.parse(lhs), IntFormat.parse(rhs)))
        formula = (length * a * w - 1).bit_length() + 1
        exact = accumulator_bits(length, lhs, rhs)
        found.append(Case(name, exact, f"bits, the formula says {formula}", formula >= exact))
    return found
