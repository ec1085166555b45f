"""Components that a technology prices, where they are built, and how often a step uses them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass


class Place(enum.Enum):
    """Where a component is built, which decides how many of it there are."""

    ELEMENT = "element"  # one in each processing element
    ROW = "row"  # one at each row's edge of the array
    COLUMN = "column"  # one at each column's edge of the array
    LANE = "lane"  # one in each lane of the vector unit


class Per(enum.Enum):
    """How often the actions of a step are repeated within one call."""

    CALL = "call"
    LHS_FETCH = "lhs_fetch"  # each time the left operand comes from DRAM
    RHS_FETCH = "rhs_fetch"
    RHS_STREAM = "rhs_stream"  # each time the right operand is read into the array


@dataclass(frozen=True, slots=True)
class Component:
    """A piece of hardware that a technology can price: a method of `Technology` and its arguments."""

    kind: str
    arguments: tuple[int | str | bool, ...]

    def __str__(self) -> str:
        template = _LABELS.get(self.kind)
        if template is None:
            return f"{self.kind}({', '.join(map(str, self.arguments))})"
        return template(*self.arguments)


_LABELS: dict[str, Callable[..., str]] = {
    "integer_mac": lambda a, b, c, saturate: f"{a}x{b}-bit MAC into {c} bits{', saturating' if saturate else ''}",
    "shift_mac": lambda a, shift, c, saturate: (
        f"{a}-bit shift-by-0..{shift} MAC into {c} bits{', saturating' if saturate else ''}"
    ),
    "dot_product": lambda depth, a, b, c, saturate: (
        f"{depth}-deep {a}x{b}-bit dot product into {c} bits{', saturating' if saturate else ''}"
    ),
    "shift_dot_product": lambda depth, a, shift, c, saturate: (
        f"{depth}-deep {a}-bit shift-by-0..{shift} dot product into {c} bits{', saturating' if saturate else ''}"
    ),
    "float_dot_product": lambda depth, fmt: f"{depth}-deep {fmt} dot product",
    "float_mac": lambda fmt: f"{fmt} MAC",
    "multiplexer": lambda bits: f"{bits}-bit multiplexer",
    "pq_lookup": lambda prototypes, bits, c: f"{bits}-bit look-up among {prototypes} and adder of {c} bits",
    "pq_encoder": lambda prototypes, width, bits: f"encoder of {width} {bits}-bit values to {prototypes} prototypes",
    "rounder": lambda kind, bits, random_bits: f"{kind} rounder of {bits} bits from {random_bits} random ones",
    "register": lambda bits: f"{bits}-bit register",
    "adder": lambda bits: f"{bits}-bit adder",
    "multiplier": lambda a, b: f"{a}x{b}-bit multiplier",
    "shifter": lambda bits, positions: f"{bits}-bit shifter of {positions} positions",
    "float_add": lambda fmt: f"{fmt} adder",
    "float_mul": lambda fmt: f"{fmt} multiplier",
    "int_to_float": lambda bits: f"{bits}-bit to float converter",
    "range_scan": lambda fmt, kind: f"{fmt} {kind} scanner",
    "quantizer": lambda fmt, bits: f"{fmt} to {bits}-bit quantizer",
    "dequantizer": lambda bits, fmt: f"{bits}-bit to {fmt} dequantizer",
    "codebook": lambda entries, bits: f"{entries}-entry {bits}-bit table",
    "requantizer": lambda kind, bits, multiplier=0, twice=False: (
        f"{bits}x{multiplier}-bit requantizer{', rounding twice' if twice else ''}"
        if kind == "fixed"
        else f"{bits}-bit {kind} requantizer"
    ),
}


@dataclass(frozen=True, slots=True)
class Action:
    """So many uses of one component."""

    component: Component
    count: int
    place: Place
    per: Per = Per.CALL
