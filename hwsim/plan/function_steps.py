"""Steps for the functions between layers."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.plan.components import Action, Component, Place


@dataclass(frozen=True, slots=True)
class ApplyFunction:
    """Apply a function to results on the lanes, in fp32: so many additions (or comparisons) and multiplications.

    Parameters
    ----------
    kind
        What it does, for people: ``softmax``.
    additions, multiplications
        In all.
    """

    kind: str
    additions: int
    multiplications: int

    @property
    def actions(self) -> tuple[Action, ...]:
        """One use of an adder or a multiplier for each operation."""
        counts = {"float_add": self.additions, "float_mul": self.multiplications}
        return tuple(Action(Component(kind, ("fp32",)), n, Place.LANE) for kind, n in counts.items() if n)

    @property
    def lane_slots(self) -> int:
        """Cycles of one lane: an operation each."""
        return self.additions + self.multiplications
