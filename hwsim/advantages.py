"""The four advantages of quantization that textbooks list, against fp32 and fp16: memory, power, latency, chip area.

Each is a factor: the reference's value over the scheme's, above 1 where the scheme saves, below 1 where it loses.
Memory is what a device must hold at once: all constants, and the operands and result of the layer with most of them.
Chip area is that of the machine with buffers of equal size, so that the buffers, which store more values then, count
against the scheme.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hwsim.numerics import Progress, silent
from hwsim.results import Result
from hwsim.simulation import simulate

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from hwsim.accelerator import Accelerator
    from quant import Scheme

REFERENCES = ("fp32", "fp16")
ADVANTAGES = ("memory", "power", "latency", "area")
# Sizes from one token and tiny reductions to layers that fill the array many times over.
SIZES: Mapping[str, tuple[int, ...]] = {"m": (1, 16, 256), "k": (4, 64, 512), "n": (1, 16, 256)}
CASES = ("w8a8-static", "w8a8-dynamic", "w8a8-asym-weight", "w4a8-g128", "w8a16")


def memory_bytes(result: Result) -> float:
    """Bytes of all constants, and of the activations of the layer that has most."""
    layers = [layer for layer in result.layers if layer.call == 0]
    constants = sum(layer.plan.weight_bytes for layer in layers)
    moving = []
    for layer in layers:
        plan = layer.plan
        bits = plan.lhs.elements * _held(plan.lhs) + plan.out.elements * _held(plan.out)
        if plan.layer.rhs_kind == "activation":
            bits += plan.rhs.elements * _held(plan.rhs)
        moving.append(bits / 8)
    return float(constants + max(moving))


def _held(tensor: Any) -> int:
    """Bits of a value where the tensor waits: outside, or in the activation buffer if it stays there."""
    return int(tensor.dram_bits or tensor.kept_bits)


def advantages(results: Mapping[str, Result], references: Sequence[str] = REFERENCES) -> pd.DataFrame:
    """Compare schemes with floating point in the four quantities.

    Parameters
    ----------
    results
        By scheme, of one workload on one machine.
    references
        Schemes among them that others are compared with.

    Returns
    -------
    frame
        One row a scheme: for each reference ``memory_vs_fp32_ratio`` and so on, and ``loses``, the advantages that it
        has not.

    Raises
    ------
    ValueError
        If a reference is not among the results.
    """
    import pandas as pd  # noqa: PLC0415

    for name in references:
        if name not in results:
            msg = f"reference must be one of {', '.join(results)}, not {name!r}"
            raise ValueError(msg)
    values = {name: _four(result) for name, result in results.items()}
    rows = []
    for name, own in values.items():
        factors = {ref: {what: values[ref][what] / own[what] for what in ADVANTAGES} for ref in references}
        losses = [f"{what} against {ref}" for ref in references for what, x in factors[ref].items() if x < 1 - 5e-4]
        flat = {f"{what}_vs_{ref}": x for ref in references for what, x in factors[ref].items()}
        rows.append({"scheme": name, **flat, "loses": ", ".join(losses)})
    return pd.DataFrame(rows)


def _four(result: Result) -> dict[str, float]:
    totals = result.totals()
    quantities = (memory_bytes(result), totals["power_mw"], totals["latency_us"], totals["area_um2"])
    return dict(zip(ADVANTAGES, map(float, quantities), strict=True))


def losing_cases(
    accelerator: Accelerator | str | Path = "edge-16x16",
    schemes: Sequence[Scheme | str | Path] = CASES,
    references: Sequence[str] = REFERENCES,
    sizes: Mapping[str, Sequence[int]] = SIZES,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Find for each scheme and advantage the matrix product on which it loses most.

    Parameters
    ----------
    sizes
        Values of m, k and n; every combination is tried.
    progress
        Called with the name of what is being done.

    Returns
    -------
    frame
        ``scheme``, ``reference``, ``advantage``, ``factor`` (below 1), ``gemm`` as ``1x256x4`` (m, n, k, as
        ``--gemm`` and `workloads.parse_gemm` take them), and ``losing_share`` of the products that the scheme can run.
        An advantage that is nowhere lost has no row.
    """
    import pandas as pd  # noqa: PLC0415

    import workloads  # noqa: PLC0415

    found: dict[tuple[str, str, str], list[tuple[float, str]]] = {}
    for m, k, n in itertools.product(sizes["m"], sizes["k"], sizes["n"]):
        gemm = f"{m}x{n}x{k}"  # as `workloads.parse_gemm` reads it
        progress(f"advantages over {gemm}")
        network = workloads.gemm(m, k, n)
        results = {str(one): simulate(network, one, accelerator, numerics=False) for one in references}
        for scheme in schemes:
            with contextlib.suppress(ValueError):  # groups or layouts that this product has no room for
                result = simulate(network, scheme, accelerator, numerics=False)
                results[result.scheme.name] = result
        for row in advantages(results, references).to_dict("records"):
            if row["scheme"] in references:
                continue
            for ref, what in itertools.product(references, ADVANTAGES):
                factor = float(row[f"{what}_vs_{ref}"])
                found.setdefault((row["scheme"], ref, what), []).append((factor, gemm))
    rows = []
    for (scheme, reference, what), tried in found.items():
        factor, gemm = min(tried, key=lambda one: one[0])
        if factor < 1 - 5e-4:
            share = sum(x < 1 - 5e-4 for x, _ in tried) / len(tried)
            rows.append(
                {
                    "scheme": scheme,
                    "reference": reference,
                    "advantage": what,
                    "factor": factor,
                    "gemm": gemm,
                    "losing_share": share,
                }
            )
    return pd.DataFrame(rows, columns=["scheme", "reference", "advantage", "factor", "gemm", "losing_share"])
