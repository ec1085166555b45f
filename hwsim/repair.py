"""Turn a scheme that no integer array can run into the nearest one that it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quant.scheme import Smooth

if TYPE_CHECKING:
    from quant.scheme import Scheme
    from quant.verify import Verdict


def repaired(scheme: Scheme, verdict: Verdict) -> tuple[Scheme, str] | None:
    """Repair the operands whose scales vary along the reduction.

    Activation scales of each channel move into the weights before these are quantized, which is exact in the reals
    and costs no pass over the activations; what is left is one scale for the tensor (static) or for each token
    (dynamic). Weight scales move from the reduction to the output channels, offline.

    Parameters
    ----------
    scheme
        The refused scheme.
    verdict
        Why it was refused; names the operands at fault.

    Returns
    -------
    scheme, note
        A scheme that runs and what was done; None if the scheme's own products of activations are at fault, or
        nothing this function can move is.
    """
    operands = {varying.operand for varying in verdict.varying}
    if scheme.activation is None or scheme.weight is None or scheme.weight.code != "affine" or not operands:
        return None
    changes: dict[str, object] = {}
    done = []
    if "lhs" in operands:
        outer = "per_tensor" if scheme.strategy == "static" else "per_token"
        changes |= {"smooth": Smooth(alpha=1.0).model_dump(), "activation__layout": outer}
        done.append("the scale of each k moved into the weights before quantizing them")
    if "rhs" in operands:
        changes["weight__layout"] = "per_channel"
        done.append("weights scaled for each output channel")
    fixed = scheme.replace(name=f"{scheme.name}-folded", **changes)
    return fixed, f"repairs {scheme.name}: {'; '.join(done)}"
