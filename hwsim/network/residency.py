"""Keep tensors in the activation buffer between the layer that makes them and the last that reads them.

The rule, for a machine whose `Memories.keeps_results` is true:

- A tensor lives from the node that makes it to the last that reads it, an input from the layer that reads it first.
- Kept, it takes its bytes at every node of its life, and the tiles of other tensors get what is left of the buffer.
  Operands that are read where they are need no tiles.
- The tensor that saves most DRAM bits for a byte and node comes first. It stays if the bytes of all that stay never
  exceed the buffer, every tile still fits, and over the layers of its life bits through DRAM become fewer and cycles
  not more.
- A tensor that a function reads after the last layer has may be written too, and leave the chip with that layer.
- What a function makes on the vector unit is written into the buffer as a layer's result is. A result that no node
  reads leaves the chip.
- Of a tensor that several layers quantize alike at run time, the integers of the first stay instead of the floats.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from hwsim.network.sequence import Clock
from hwsim.network.sharing import groups, integers_of, quantized_earlier
from hwsim.network.tensors import tensors_of

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from hwsim.network.tensors import Tensor
    from hwsim.plan import Plan, Stored
    from hwsim.timing import Timing
    from workloads import Network


class Timed(Protocol):
    """What reads the cycles of plans, as `Clock` does."""

    def times(self, plans: Iterable[Plan]) -> list[Timing]:
        """Cycles of layers, each alone."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A tensor that stays on chip.

    Parameters
    ----------
    tensor
        Its name.
    form
        ``only``: the chip holds the only copy; ``copy``: DRAM holds another, of an input or for a function that reads
        it later; ``integers``: what the first reader made of it.
    first, last
        Positions of the nodes between which it lives.
    bits : bits for each element
        As kept.
    total_bytes : bytes
        That it takes.
    saved_bits : bits
        Through DRAM, each transfer counted once.
    layers
        Names of the layers that make or read it, in order.
    """

    tensor: str
    form: Literal["only", "copy", "integers"]
    first: int
    last: int
    bits: int
    total_bytes: int
    saved_bits: int
    layers: tuple[str, ...]

    @property
    def worth(self) -> float:
        """Bits saved for each byte and node."""
        return self.saved_bits / (self.total_bytes * (self.last - self.first + 1))


def keep(
    network: Network, plans: Sequence[Plan], accelerator: Accelerator, clock: Timed | None = None
) -> tuple[Plan, ...]:
    """Rewrite the plans of a network so that what fits stays on chip.

    Parameters
    ----------
    plans
        One for each layer, in the order of the network.
    clock
        What reads their cycles; the closed form on `accelerator` if left out.

    Returns
    -------
    plans
        With `kept_bits` of the tensors that stay and `kept_bytes` of every layer; as given where the machine keeps
        nothing.

    Examples
    --------
    >>> import hwsim, quant, workloads
    >>> block = workloads.load("minilm-block")
    >>> machine = hwsim.Accelerator.load("edge-16x16").replace(memories__keeps_results=True)
    >>> for scheme in ("fp32", "w8a8-static"):
    ...     plans = [hwsim.lower(layer, quant.Scheme.load(scheme), machine) for layer in block.layers]
    ...     print(scheme, any(plan.kept_bytes for plan in keep(block, plans, machine)))
    fp32 False
    w8a8-static True
    """
    return _Keeper.run(network, plans, accelerator, clock or Clock(accelerator)).plans()


def kept_tensors(network: Network, plans: Sequence[Plan], accelerator: Accelerator) -> tuple[Kept, ...]:
    """List what `keep` keeps, in the order in which it was chosen."""
    return tuple(_Keeper.run(network, plans, accelerator, Clock(accelerator)).chosen)


class _Keeper:
    """Plans as they are rewritten, and the bytes taken at each node."""

    def __init__(self, network: Network, plans: Sequence[Plan], accelerator: Accelerator, clock: Timed) -> None:
        self.accelerator, self.clock = accelerator, clock
        self.made = {plan.layer.name: plan for plan in plans}
        self.position = {node.name: at for at, node in enumerate(network.nodes)}
        self.tensors = tensors_of(network)
        self.root = {name: tensor.name for tensor in self.tensors for name in tensor.names}
        self.inputs = {tensor.name for tensor in self.tensors if tensor.made < 0}
        self.taken = [0] * len(network.nodes)
        self.chosen: list[Kept] = []

    @classmethod
    def run(cls, network: Network, plans: Sequence[Plan], accelerator: Accelerator, clock: Timed) -> _Keeper:
        keeper = cls(network, plans, accelerator, clock)
        if accelerator.memories.keeps_results:
            keeper.clock.times(plans)  # together
            found = [forms for tensor in keeper.tensors if (forms := keeper.candidates(tensor))]
            for forms in sorted(found, key=lambda forms: -max(form.worth for form in forms)):
                any(keeper.stays(form) for form in forms)  # the first that can
        return keeper

    def plans(self) -> tuple[Plan, ...]:
        return tuple(self.made.values())

    def candidates(self, tensor: Tensor) -> list[Kept]:
        """List the forms in which a tensor can stay, those that save most first, then those that leave soonest."""
        if not tensor.reads or not (tensor.layer_reads or tensor.maker):
            return []
        found = [self._integers(tensor, names) for names in groups(tensor, self.made)]
        found += [self._copy(tensor)]
        if tensor.made >= 0:
            found.append(self._only(tensor))
        capacity = self.accelerator.memories.activation.capacity_bytes
        forms = [one for one in found if one is not None and one.total_bytes <= capacity and one.saved_bits > 0]
        return sorted(forms, key=lambda one: (-one.saved_bits, one.last))

    def _only(self, tensor: Tensor) -> Kept:
        reads = [(read.layer or "", read.role) for read in tensor.layer_reads]
        stored = [getattr(self.made[name], role) for name, role in reads]
        names = [name for name, _ in reads]
        if tensor.maker is not None:
            stored, names = [self.made[tensor.maker].out, *stored], [tensor.maker, *names]
        for plan in self.made.values():
            side = [one.stored for one in plan.side if one.tensor == tensor.name]
            stored, names = [*stored, *side], [*names, *[plan.layer.name] * len(side)]
        names.sort(key=self.position.__getitem__)
        width, size = _widest(stored)
        saved = sum(one.total_dram_bits for one in stored)
        last = tensor.reads[-1].node
        return Kept(tensor.name, "only", tensor.made, last, width, size, saved, tuple(dict.fromkeys(names)))

    def _copy(self, tensor: Tensor) -> Kept | None:
        """Keep what is in DRAM too: an input once it has been fetched, or a result until the last layer reads it."""
        reads = [(read.layer or "", read.role) for read in tensor.layer_reads]
        if not reads or (tensor.made >= 0 and tensor.reads[-1].layer is not None):
            return None
        stored = [getattr(self.made[name], role) for name, role in reads]
        if tensor.made < 0 and (reads[0][1] == "rhs" or any(one.dram_bits != one.sram_bits for one in stored)):
            return None  # an operand that is fetched as it is multiplied stays where it is
        (width, size), names = _widest(stored), [name for name, _ in reads]
        first = tensor.made if tensor.made >= 0 else tensor.layer_reads[0].node
        saved = sum(one.total_dram_bits for one in stored[tensor.made < 0 :])
        if tensor.maker is not None:
            names = [tensor.maker, *names]
        last = tensor.layer_reads[-1].node
        return Kept(tensor.name, "copy", first, last, width, size, saved, tuple(dict.fromkeys(names)))

    def _integers(self, tensor: Tensor, names: list[str]) -> Kept | None:
        """Keep what the first of a group of dynamic layers quantizes."""
        first = self.made[names[0]]
        if first.lhs.dram_bits == first.lhs.sram_bits:
            return None
        integers = integers_of(first)
        size = -(-integers.total_dram_bits // 8)
        saved = (len(names) - 1) * first.lhs.total_dram_bits
        ends = self.position[names[0]], self.position[names[-1]]
        return Kept(tensor.name, "integers", *ends, first.lhs.sram_bits, size, saved, tuple(names))

    def stays(self, candidate: Kept) -> bool:
        """Keep a tensor if it fits and helps."""
        nodes = range(candidate.first, candidate.last + 1)
        capacity = self.accelerator.memories.activation.capacity_bytes
        if any(self.taken[at] + candidate.total_bytes > capacity for at in nodes):
            return False
        touched = [name for name in self.made if candidate.first <= self.position[name] <= candidate.last]
        after = {name: self._rewritten(self.made[name], candidate) for name in touched}
        try:
            timings = self.clock.times(after.values())
        except ValueError:  # a tile of some layer fits no longer
            return False
        before = self.clock.times(self.made[name] for name in touched)
        if sum(t.dram.total_bits for t in timings) >= sum(t.dram.total_bits for t in before):
            return False
        if sum(t.total_cycles for t in timings) > sum(t.total_cycles for t in before):
            return False
        self.made |= after
        self.chosen.append(candidate)
        for at in nodes:
            self.taken[at] += candidate.total_bytes
        return True

    def _rewritten(self, plan: Plan, kept: Kept) -> Plan:
        """Change a plan of the life of a tensor: room for it, and the tensor itself where the layer uses it."""
        plan = replace(plan, kept_bytes=plan.kept_bytes + kept.total_bytes)
        if plan.layer.name not in kept.layers:
            return plan
        if kept.form == "integers":
            stays = replace(plan.lhs, kept_bits=kept.bits)
            if plan.layer.name == kept.layers[0]:
                return replace(plan, lhs=stays)
            return quantized_earlier(plan, replace(stays, dram_bits=0, overhead_bits=0))
        names = {"lhs": plan.layer.lhs, "rhs": plan.layer.rhs, "out": plan.layer.output}
        roles = [role for role, name in names.items() if self.root.get(name) == kept.tensor]  # a constant has no root
        changes: dict[str, Any] = {}
        for role in roles:
            stored = getattr(plan, role)
            stored = replace(stored, kept_bits=stored.dram_bits)
            # A copy is brought in by the first layer that reads an input, and written out by the one that makes it.
            through = (
                kept.form == "copy"
                and plan.layer.name == kept.layers[0]
                and (kept.tensor in self.inputs or role == "out")
            )
            changes[role] = stored if through else replace(stored, dram_bits=0, overhead_bits=0)
        if kept.form == "only":
            changes["side"] = tuple(
                replace(one, stored=replace(one.stored, kept_bits=one.stored.dram_bits, dram_bits=0))
                if one.tensor == kept.tensor
                else one
                for one in plan.side
            )
        return replace(plan, **changes)


def _widest(stored: Sequence[Stored]) -> tuple[int, int]:
    """Bits of an element and bytes in all, of the use of a tensor that takes most."""
    most = max(stored, key=lambda one: one.elements * one.dram_bits)
    return most.dram_bits, -(-most.elements * most.dram_bits // 8)
