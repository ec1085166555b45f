"""What functions on the vector unit move beside results: second operands that they read, and more results than one.

The functions behind a layer work in its epilogue, on results as they leave the array. An operand that is not made there
is read once: the other side of an addition, a gate, the constants of a norm. Of the tensors made there that something
else reads, the largest is the layer's result as its plan writes it; the others are written beside it. What comes before
the first layer is read as that layer's operand.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hwsim.network.tensors import tensors_of
from hwsim.plan import SideTensor, Stored
from quant import parse_format
from workloads import Function, Layer

if TYPE_CHECKING:
    from hwsim.network.tensors import Tensor
    from hwsim.plan import Plan
    from workloads import Network


@dataclass
class _Epilogue:
    """Functions behind a layer: what is at hand, how large it is, and what must be read."""

    layer: str
    first: int
    sizes: dict[str, int]
    read: dict[str, int] = field(default_factory=dict)
    constants: dict[str, int] = field(default_factory=dict)


def with_side_tensors(network: Network, plans: dict[str, Plan]) -> dict[str, Plan]:
    """Add to the plans what the functions behind their layers read and write beside results."""
    tensors = {name: tensor for tensor in tensors_of(network) for name in tensor.names}
    ends = [*[at for at, node in enumerate(network.nodes) if isinstance(node, Layer)][1:], len(network.nodes)]
    made = dict(plans)
    for epilogue, end in zip(_epilogues(network, plans, tensors), ends, strict=True):
        plan = plans[epilogue.layer]
        width = plan.out.dram_bits
        carrier = parse_format(plan.scheme.carrier).bits
        side = [SideTensor(name, Stored(size, width, width)) for name, size in epilogue.read.items()]
        side += [SideTensor(name, Stored(size, carrier, carrier)) for name, size in epilogue.constants.items()]
        leaving = [
            name
            for name in epilogue.sizes
            if tensors[name].made >= epilogue.first
            and (network.output in tensors[name].names or any(read.node >= end for read in tensors[name].reads))
        ]
        leaving.sort(key=lambda name: -epilogue.sizes[name])
        side += [SideTensor(name, Stored(epilogue.sizes[name], width, width), written=True) for name in leaving[1:]]
        made[epilogue.layer] = replace(plan, side=tuple(side))
    return made


def _epilogues(network: Network, plans: dict[str, Plan], tensors: dict[str, Tensor]) -> list[_Epilogue]:
    found: list[_Epilogue] = []
    for position, node in enumerate(network.nodes):
        if isinstance(node, Layer):
            root = tensors[node.output].name
            found.append(_Epilogue(node.name, position, {root: plans[node.name].out.elements}))
        elif found and not node.kind.moves_only:
            _add(found[-1], node, tensors)
    return found


def _add(epilogue: _Epilogue, node: Function, tensors: dict[str, Tensor]) -> None:
    """Read what a function needs and keep what it makes at hand."""
    for name in node.inputs:
        if name not in tensors:
            epilogue.constants[name] = node.sizes[node.axes[-1]]
        elif tensors[name].name not in epilogue.sizes:
            epilogue.read[tensors[name].name] = node.elements()
            epilogue.sizes[tensors[name].name] = node.elements()
    epilogue.sizes[tensors[node.output].name] = node.elements()
