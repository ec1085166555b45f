"""Turn a scheme that no integer array can run into the nearest one that it can."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from hwsim.lowering import IllegalLayoutError
from quant import Smooth

if TYPE_CHECKING:
    from quant import Scheme, Verdict

Made = TypeVar("Made")


def repaired(scheme: Scheme, verdict: Verdict) -> tuple[Scheme, str] | None:
    """Apply the first of a verdict's repairs, cheapest at run time first, that a scheme can express.

    Smoothing moves the whole activation scale of each channel into the weights before these are quantized;
    requantizing only changes layouts. A static scheme, which can not know the scale of a token beforehand, then has
    one scale for the tensor where the repair leaves one for each token.

    Parameters
    ----------
    scheme
        The refused scheme.
    verdict
        Why a layer of it was refused.

    Returns
    -------
    scheme, note
        A scheme that runs and what was done; None if no repair can be expressed.
    """
    if scheme.activation is None or scheme.weight is None:
        return None
    at_fault = {varying.operand for varying in verdict.varying}
    for repair in verdict.repairs:
        if repair.name != "smooth" and not repair.name.startswith("requantize"):
            continue
        if (repair.name == "smooth" or "rhs" in at_fault) and scheme.weight.code != "affine":
            continue  # the table and the powers of a code were chosen for its layout
        changes: dict[str, object] = {}
        if repair.name == "smooth":
            changes["smooth"] = Smooth(alpha=1.0).model_dump()
        if "lhs" in at_fault:
            changes["activation__layout"] = "per_tensor" if scheme.strategy == "static" else "per_token"
        if "rhs" in at_fault:
            changes["weight__layout"] = "per_channel"
        name = f"{scheme.name}+{repair.name.split()[0]}"
        return scheme.replace(name=name, **changes), f"repairs {scheme.name}: {repair.does}"
    return None


def run_repaired(scheme: Scheme, verdict: Verdict, run: Callable[[Scheme], Made]) -> tuple[Scheme, Made, str] | None:
    """Run the repair of a refused scheme.

    Returns
    -------
    scheme, result, note
        What ran, what `run` made of it, and what was done; None if no repair can be expressed, or none runs.
    """
    repair = repaired(scheme, verdict)
    if repair is None:
        return None
    fixed, note = repair
    # Another layer may refuse what repairs the first; one scale for the tensor is always legal.
    for attempt in (fixed, fixed.replace(activation__layout="per_tensor")):
        try:
            return attempt, run(attempt), note
        except IllegalLayoutError:
            continue
    return None
