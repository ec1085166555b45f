"""The verdict on the scale layouts of a layer, and what is raised where it forbids a plan."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from hwsim.lowering.layer_operands import operands
from quant import Verdict, decide

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from quant import Scheme
    from workloads import Layer


class IllegalLayoutError(ValueError):
    """A scheme whose scales can not leave the integer sums of a layer on this machine.

    Parameters
    ----------
    layer, scheme, accelerator
        Names.
    verdict
        Why, with a witness and repairs.
    """

    def __init__(self, layer: str, scheme: str, accelerator: str, verdict: Verdict) -> None:
        why = verdict.explanation
        why = why[:1].lower() + why[1:].removesuffix(".")
        if verdict.verdict != "incompatible":
            why = f"the array streams the reduction in its own order and can not gather equal scales: {why}"
        super().__init__(
            f"scale layouts of {layer} under {scheme} must be dequantizable after accumulation on {accelerator}, "
            f"but {why}; hwsim compare runs a repair of {scheme} where it knows one"
        )
        self.layer = layer
        self.verdict = verdict


def verdict_of(layer: Layer, scheme: Scheme, accelerator: Accelerator) -> Verdict | None:
    """Verdict on the scale layouts of a layer; None where its MAC is a float one."""
    lhs, rhs = operands(layer, scheme)
    if lhs.layout is None or rhs.layout is None or lhs.spec is None or rhs.spec is None:
        return None
    return _decide(
        layer.contraction,
        str(lhs.layout),
        str(rhs.layout),
        tuple(layer.sizes.items()),
        accelerator.array.native_depth,
        None if lhs.spec.symmetric else str(lhs.zero_layout or lhs.layout),
        None if rhs.spec.symmetric else str(rhs.zero_layout or rhs.layout),
        lhs.mac_format.name,
        rhs.mac_format.name,
    )


@functools.lru_cache(maxsize=4096)
def _decide(
    contraction: str,
    lhs: str,
    rhs: str,
    sizes: tuple[tuple[str, int], ...],
    native_depth: int,
    lhs_zero: str | None,
    rhs_zero: str | None,
    lhs_format: str,
    rhs_format: str,
) -> Verdict:
    return decide(
        contraction,
        lhs=lhs,
        rhs=rhs,
        sizes=dict(sizes),
        native_depth=native_depth,
        lhs_zero=lhs_zero,
        rhs_zero=rhs_zero,
        lhs_format=lhs_format,
        rhs_format=rhs_format,
    )
