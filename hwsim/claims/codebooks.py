"""Codes that are not linear: k-means codebooks, powers of two, product quantization."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

import workloads
from hwsim.accelerator import Accelerator
from hwsim.lowering import lower
from hwsim.simulation import simulate
from hwsim.technology import Technology
from quant import (
    ProductQuantizer,
    QTensor,
    Scheme,
    decide,
    entropy_bits,
    quantize,
    quantize_codebook,
    quantize_pow2,
    sqnr_db,
)

from . import samples
from .claim import Case, claims_of
from .linear import USABLE_DB
from .rounding_modes import NODE
from .samples import Float32

claim = claims_of("codes")

CLUSTERS = (4, 8, 16, 32)
DRASTIC = 3.0
"""Times smaller than fp32 from which storage counts as drastically reduced."""


def _weight() -> Float32:
    return samples.operands("ffn_up")[1]


@claim(
    "N43",
    "N44",
    text='"Represent each group of numbers by a single centroid": less error than equal steps of as many bits',
    data="square error of a k-means codebook (real centroids, one table) over that of affine codes with min-max: "
    "trained and heavy-tailed weights, uniform values",
)
def below_uniform(tensors: Mapping[str, Float32] | None = None, bits: Sequence[int] = (2, 4)) -> list[Case]:
    """Compare k-means with equal steps."""
    given = tensors or {
        "trained weights": _weight(),
        "heavy tails": samples.heavy_tails(),
        "uniform values": samples.uniform(),
    }
    cases = []
    for width in bits:
        for name, x in given.items():
            codebook = quantize_codebook(x, 1 << width, centroids="real").dequantize()
            steps = quantize(x, f"u{width}", symmetric=False).dequantize()
            ratio = float(np.square(codebook - x).sum(dtype=np.float64) / np.square(steps - x).sum(dtype=np.float64))
            cases.append(Case(f"{name}, {width} bits", ratio, "x the square error of equal steps", ratio < 0.9))
    return cases


@claim(
    "N45",
    text='"For k clusters, you need log2 k bits"',
    data="ffn_up's weight: bits of a stored index; an entropy coder would need less",
)
def log2_bits(weight: Float32 | None = None, clusters: Sequence[int] = (4, 5, 16, 20)) -> list[Case]:
    """Compare the stored width of an index with log2 k."""
    w = _weight() if weight is None else weight
    cases = []
    for k in clusters:
        q = quantize_codebook(w, k)
        bits = q.storage.code_bits / w.size
        unit = f"bits, log2 k = {math.log2(k):.2f}, entropy {entropy_bits(q.codes):.2f}"
        cases.append(Case(f"k = {k}", bits, unit, bits <= math.log2(k) + 1e-12))
    return cases


@claim(
    "N46",
    text='"De-quantization function: Lookup table": cheap beside the product',
    data="energy of one look-up (flip-flop table) over that of one MAC, 45 nm",
)
def table_is_cheap(costs_pj: Mapping[str, tuple[float, float]] | None = None) -> list[Case]:
    """Energy of a look-up against the multiply-accumulate it feeds."""
    node = Technology.load(NODE)
    macs = {"float32": float(node.float_mac("fp32").energy_pj), "int8": float(node.integer_mac(8, 8, 32).energy_pj)}
    given = costs_pj or {
        f"{entries} entries of {bits} bits, {mac} MAC": (float(node.codebook(entries, bits).energy_pj), macs[mac])
        for entries, bits, mac in ((16, 32, "float32"), (16, 8, "int8"), (256, 8, "int8"))
    }
    return [Case(name, table / mac, "x the energy of a MAC", table < 0.5 * mac) for name, (table, mac) in given.items()]


@claim(
    "N47",
    text='"No effect on operation itself - still full precision"',
    data="plan of a layer with codebook weights: type of the multiply-accumulate after the look-up, and the verdict",
)
def operation_unchanged(verdicts: Mapping[str, str] | None = None) -> list[Case]:
    """Bits that enter the multiplier for real and for int8 centroids."""
    sizes = {"m": 256, "k": 512, "n": 256}
    given = verdicts or {"centroids are real": "codebook(real) n:1", "centroids are int8": "codebook(int8) n:1"}
    cases = []
    for name, layout in given.items():
        found = decide("mk,kn->mn", lhs="m:1", rhs=layout, sizes=sizes)
        full = any(step.kind == "real" for step in found.decode)
        unit = f"bits enter the multiplier, integer array: {found.verdict}"
        cases.append(Case(name, 32 if full else 8, unit, full))
    return cases


@claim(
    "N48",
    text='"Storage footprint reduced drastically"',
    data="codebook of 32-bit centroids and one scale, against fp32; drastically: more than 3 times",
)
def storage_reduced(weights: Mapping[str, Float32] | None = None, clusters: Sequence[int] = CLUSTERS) -> list[Case]:
    """Storage ratio, table and scale included."""
    given = weights or {"ffn_up [384, 1536]": _weight(), "64 weights": samples.normal(64)}
    cases = []
    for name, w in given.items():
        for k in clusters:
            q = quantize_codebook(w, k, centroids="real")
            ratio = 32 * w.size / q.storage.total_bits
            cases.append(Case(f"{k} clusters, {name}", ratio, "x smaller", ratio > DRASTIC))
    return cases


@claim(
    "N49",
    text='"Accuracy [typically] well preserved"',
    data="ffn_up with real evaluation inputs: SQNR of its output with clustered weights; well: at least 20 dB",
)
def accuracy_preserved(
    lhs: Float32 | None = None, weight: Float32 | None = None, clusters: Sequence[int] = CLUSTERS
) -> list[Case]:
    """Error of the layer's output with codebook weights, one table, a scale for each channel."""
    a, w = samples.operands("ffn_up")
    a, w = a if lhs is None else lhs, w if weight is None else weight
    exact = a @ w
    cases = []
    for k in clusters:
        db = sqnr_db(exact, a @ quantize_codebook(w, k, "n:1", axes="kn", centroids="real").dequantize())
        cases.append(Case(f"{k} clusters", db, "dB", db >= USABLE_DB))
    return cases


@claim(
    "N50",
    text='"Only applicable to weights"',
    data="activations of ffn_up coded with 16 centroids found on calibration inputs (log2 k comparisons a value): "
    "energy of coding over that of the products it feeds, 45 nm",
)
def only_for_weights(columns: Sequence[int] = (1, 1536), entries: int = 16) -> list[Case]:
    """Coding activations at run time: it can be done, and is dear only where little is computed with them."""
    node = Technology.load(NODE)
    lhs, _ = samples.operands("ffn_up")
    table = quantize_codebook(samples.operands("ffn_up", calibration=True)[0], entries, centroids="real")
    limits = np.sort(np.asarray(table.table, np.float64)) * float(table.scales[0].item())
    coded = limits[np.searchsorted((limits[1:] + limits[:-1]) / 2, lhs)]
    db = sqnr_db(lhs, coded)
    compare = float(node.comparator(32).energy_pj) * math.ceil(math.log2(entries))
    mac = float(node.integer_mac(8, 8, 32).energy_pj)
    return [
        Case(
            f"N = {n}", compare / (mac * n), f"x the energy of the products, at {db:.1f} dB", compare / (mac * n) > 0.5
        )
        for n in columns
    ]


@claim(
    "N04",
    "N14",
    text="Power-of-two weights keep the accuracy of as many bits in equal steps",
    data="4 bits, one scale a channel, output SQNR of ffn_up; and heavy-tailed values; at most 1 dB lost",
)
def pow2_keeps_accuracy(tensors: Mapping[str, Float32] | None = None) -> list[Case]:
    """Compare powers of two with affine int4."""
    given = tensors or {"trained weights": _weight(), "heavy tails": samples.heavy_tails().reshape(256, 256)}
    cases = []
    for name, w in given.items():
        powers: QTensor = quantize_pow2(w, 4, "n:1", axes="kn", search=True)
        lost = sqnr_db(w, quantize(w, "int4", "n:1", axes="kn").dequantize()) - sqnr_db(w, powers.dequantize())
        cases.append(Case(name, lost, "dB lost against int4", lost <= 1))
    return cases


@claim(
    "N52",
    "N53",
    "N55",
    text="Product quantization: C look-ups and additions replace the K products of each result",
    data="ffn_up [256 x 384], N columns: encoding multiplications, look-ups and additions over exact "
    "multiply-accumulates",
)
def fewer_operations(
    points: Sequence[tuple[int, int, int]] = ((48, 16, 1536), (48, 16, 64), (48, 16, 1)),
) -> list[Case]:
    """Operations of a product by tables, its encoding included, over the exact ones."""
    length = 384
    cases = []
    for subspaces, prototypes, columns in points:
        # Encoding holds each of C pieces against k prototypes; each result then adds C table entries.
        operations = prototypes * length + subspaces * columns
        ratio = operations / (length * columns)
        cases.append(Case(f"N = {columns}, C = {subspaces}, k = {prototypes}", ratio, "x the operations", ratio < 1))
    return cases


@claim(
    "N52",
    "N53",
    "N54",
    text='Product quantization: "C log2(k) bits" store a row, and the product survives',
    data="ffn_up's input coded with prototypes of calibration inputs, int8 tables, exact integer sums; survives: at "
    "least 20 dB",
)
def product_survives(
    calibration: Float32 | None = None,
    lhs: Float32 | None = None,
    weight: Float32 | None = None,
    points: Sequence[tuple[int, int]] = ((48, 16), (192, 16), (384, 16)),
) -> list[Case]:
    """Error of the product by tables, and bits of a coded row."""
    seen = samples.operands("ffn_up", calibration=True)[0] if calibration is None else calibration
    a, w = samples.operands("ffn_up")
    a, w = a if lhs is None else lhs, w if weight is None else weight
    exact = a @ w
    cases = []
    for subspaces, prototypes in points:
        quantizer = ProductQuantizer.fit(seen, subspaces, prototypes, seed=samples.SEED, steps=5)
        tables = quantizer.tables(w)
        db = sqnr_db(exact, tables.aggregate(quantizer.encode(a)) * tables.scale)
        bits = quantizer.code_bits
        ratio = 32 * a.shape[1] / bits
        cases.append(
            Case(f"C = {subspaces}, k = {prototypes}", db, f"dB, {bits} bits a row, {ratio:.0f}x less", db >= USABLE_DB)
        )
    return cases


def _machine() -> Accelerator:
    return Accelerator.load("edge-16x16")


@claim(
    "N46",
    "N47",
    text="A codebook runs on an int8 array",
    data="plans of 256 x 512 x 256 on edge-16x16: width of the multiplier's weight input",
)
def codebook_on_int8_array(schemes: Sequence[Scheme | str] = ("codebook-16", "codebook-16-real")) -> list[Case]:
    """Lower a layer with codebook weights."""
    cases = []
    for scheme in schemes:
        plan = lower(workloads.gemm(256, 512, 256).layers[0], Scheme.load(scheme), _machine())
        held = plan.mac.rhs.bits <= 8 and plan.mac.unit == "multiply"
        cases.append(Case(f"the scheme is {plan.scheme.name}", plan.mac.rhs.bits, f"bits, {plan.mac.unit}", held))
    return cases


PRODUCT_SIZES = ((256, 512, 512), (256, 512, 16), (256, 512, 1))


def product_ratio(m: int, k: int, n: int) -> float:
    """Energy of a product by tables over that of dynamic int8."""
    tables, integers = (
        simulate(workloads.gemm(m, k, n), name, _machine(), numerics=False) for name in ("pq", "w8a8-dynamic")
    )
    return tables.energy_pj / integers.energy_pj


@claim(
    "N53",
    "N55",
    text="Product quantization saves energy",
    data="M x K x N on edge-16x16, encoding and tables included: preset pq over w8a8-dynamic",
)
def product_saves_energy(ratios: Mapping[str, float] | None = None) -> list[Case]:
    """Price a product by tables."""
    given = ratios or {f"{m} x {k} x {n}": product_ratio(m, k, n) for m, k, n in PRODUCT_SIZES}
    return [Case(name, ratio, "x the energy of int8", ratio < 1) for name, ratio in given.items()]
