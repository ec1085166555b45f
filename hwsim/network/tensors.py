"""Tensors of a network over its run: who makes each, who reads it, and when for the last time.

Time is the position of a node. Functions that only move values make no tensor of their own: addresses do that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from workloads import Layer

if TYPE_CHECKING:
    from workloads import Network


@dataclass(frozen=True, slots=True)
class Read:
    """One use of a tensor.

    Parameters
    ----------
    node
        Position of the reader.
    layer
        Its name; None where a function reads.
    role
        Operand that the tensor is.
    """

    node: int
    layer: str | None
    role: Literal["lhs", "rhs"] = "lhs"


@dataclass(slots=True)
class Tensor:
    """A tensor that is made at run time.

    Parameters
    ----------
    made
        Position of the node that makes it; -1 for an input.
    maker
        Name of the layer that makes it; None if a function does, or for an input.
    reads
        In order of the nodes.
    names
        Its own and those it has where its values are in another order.
    """

    name: str
    made: int
    maker: str | None
    reads: list[Read] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names.append(self.name)

    @property
    def layer_reads(self) -> list[Read]:
        """Uses by layers."""
        return [read for read in self.reads if read.layer is not None]


def tensors_of(network: Network) -> tuple[Tensor, ...]:
    """List the tensors of a network, constants excepted, in the order in which they are made.

    Examples
    --------
    >>> import workloads
    >>> hidden, q = tensors_of(workloads.load("minilm-block"))[:2]
    >>> hidden.name, hidden.made, [read.layer for read in hidden.reads]
    ('hidden', -1, ['q', 'k', 'v', None])
    >>> q.maker, [(read.layer, read.role) for read in q.reads]
    ('q', [('scores', 'lhs')])
    """
    found = {name: Tensor(name, -1, None) for name in network.evaluation}
    for position, node in enumerate(network.nodes):
        if isinstance(node, Layer):
            found[node.lhs].reads.append(Read(position, node.name, "lhs"))
            if node.rhs in found:
                found[node.rhs].reads.append(Read(position, node.name, "rhs"))
            found[node.output] = Tensor(node.output, position, node.name)
        elif node.kind.moves_only:
            found[node.output] = found[node.inputs[0]]
            found[node.output].names.append(node.output)
        else:
            for name in node.inputs:
                if name in found:
                    found[name].reads.append(Read(position, None))
            found[node.output] = Tensor(node.output, position, None)
    return tuple({id(tensor): tensor for tensor in found.values()}.values())
