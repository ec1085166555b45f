"""What figures of a network leave out or take in another way than its scheme or its graph says, in sentences."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hwsim.lowering import per_image
from hwsim.network import functions_done
from workloads import Function

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hwsim.accelerator import Accelerator
    from hwsim.plan import Plan
    from workloads import Network


def remarks_on(network: Network, plans: Sequence[Plan], accelerator: Accelerator) -> list[str]:
    """Say what someone who reads the figures of a network must know.

    Examples
    --------
    >>> import hwsim, workloads
    >>> network = workloads.load("minilm-block")
    >>> result = hwsim.simulate(network, "w8a8-static", numerics=False)
    >>> remarks_on(network, [layer.plan for layer in result.layers], result.accelerator)[0].partition(";")[0]
    'A host runs softmax, 2 add, 2 layer_norm, gelu, in no figure here'
    """
    said = []
    scheme = plans[0].scheme
    images = sum(per_image(layer, scheme) for layer in network.layers)
    if images and not all(plan.mac.unit == "float" for plan in plans):
        said.append(
            f"per_token gives {images} convolutions a scale for each image: scales of pixels would meet in one sum, "
            "which an integer array can not undo"
        )
    if not accelerator.vector.runs_functions:
        done = functions_done(network, plans)
        kinds = Counter(
            node.kind.value
            for node in network.nodes
            if isinstance(node, Function) and not node.kind.moves_only and node.name not in done
        )
        if kinds:
            named = ", ".join(kind if count == 1 else f"{count} {kind}" for kind, count in kinds.items())
            said.append(f"A host runs {named}, in no figure here; vector.runs_functions: true counts them on the lanes")
    return said
