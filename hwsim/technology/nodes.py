"""Technology nodes as validated YAML: published anchors, what is borrowed for the rest, memories, wires, leakage."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from quant.documents import Document

from . import tables

Kind = Literal[
    "multiplier",
    "adder",
    "register",
    "comparator",
    "shifter",
    "rounding_shift",
    "converter",
    "lfsr",
    "float_add",
    "float_mul",
]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Confidence = Literal["high", "medium", "low"]
Text = Annotated[str, Field(min_length=1)]


class Sourced(Document):
    """Where a number comes from; a source is never optional."""

    source: Text
    year: Annotated[int, Field(ge=1970, le=2100)]
    confidence: Confidence
    note: str = ""


class Anchor(Sourced):
    """A published energy or area of one operation, which the models return exactly."""

    kind: Kind
    a_bits: Annotated[int, Field(ge=1, le=64)] | None = None
    b_bits: Annotated[int, Field(ge=1, le=64)] | None = None
    format: Literal["fp32", "fp16", "bf16", "fp8_e4m3"] | None = None
    energy_pj: Positive | None = None
    area_um2: Positive | None = None

    @model_validator(mode="after")
    def _whole(self) -> Anchor:
        if self.energy_pj is None and self.area_um2 is None:
            raise ValueError("must have energy_pj or area_um2")
        is_float = self.kind in ("float_add", "float_mul")
        if is_float and self.format is None:
            raise ValueError(f"must have a format, being of kind {self.kind}")
        if not is_float and self.a_bits is None:
            raise ValueError(f"must have a_bits, being of kind {self.kind}")
        if self.kind in ("multiplier", "shifter") and self.b_bits is None:
            raise ValueError(f"must have b_bits, being of kind {self.kind}")
        return self


class Borrow(Document):
    """Which kinds' ratios of published to synthesised stand in for a kind without an anchor.

    ``library`` stands for a ratio of 1, the synthesised number itself.
    """

    energy: Annotated[tuple[Kind | Literal["library"], ...], Field(min_length=1)] | None = None
    area: Annotated[tuple[Kind | Literal["library"], ...], Field(min_length=1)] | None = None
    reason: Text


class Band(Document):
    """Factors on a nominal energy that the disagreement of sources supports."""

    low: Annotated[float, Field(gt=0, le=1)]
    high: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    source: Text


class Range(Sourced):
    """A constant with the lowest and highest value its sources support."""

    low: Positive
    nominal: Positive
    high: Positive

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low <= self.nominal <= self.high:
            raise ValueError(f"must have low <= nominal <= high, not {self.low}, {self.nominal}, {self.high}")
        return self


class SramPoint(Sourced):
    """A published read energy of an SRAM."""

    capacity_bytes: Annotated[int, Field(gt=0)]
    width_bits: Annotated[int, Field(gt=0)]
    read_pj: Positive


class Sram(Document):
    """The SRAM of a node: a family of measured or modelled macros, published points, leakage.

    `family` names rows of ``sram.csv`` whose law gives the dependence on capacity, width and operation; `points`
    pin it.
    """

    family: Text
    points: tuple[SramPoint, ...] = ()
    capacity_bytes: tuple[int, int]
    width_bits: tuple[int, int]
    area_factor: Range | None = None
    delay_factor: Positive | None = 1.0
    leakage_uw_per_byte: Range
    band: Band

    @field_validator("family")
    @classmethod
    def _known(cls, family: str) -> str:
        known = tables.document("sram_families")
        if family not in known:
            raise ValueError(f"must be one of {', '.join(known)}, not {family!r}")
        return family

    @model_validator(mode="after")
    def _one_width(self) -> Sram:
        if len({p.width_bits for p in self.points}) > 1:
            raise ValueError("points must all have the same width_bits")
        if len({p.capacity_bytes for p in self.points}) < len(self.points):
            raise ValueError("points must differ in capacity_bytes")
        return self


class Node(Document):
    """A technology node.

    `synthesised` nodes take the library's laws as they are; others have anchors, and ratios to them for the rest.
    """

    name: Text
    title: Text
    node_nm: Annotated[int, Field(ge=2, le=250)]
    voltage_v: Annotated[float, Field(gt=0.2, le=5.0)]
    library: Text
    synthesised: bool = False
    anchors: tuple[Anchor, ...] = ()
    borrow: dict[Kind, Borrow] = Field(default_factory=dict)
    band: Band
    leakage_uw_per_um2: Range | None = None
    wire_pj_per_bit_mm: Range | None = None
    sram: Sram | None = None
    caveats: tuple[str, ...] = ()


def parse_node(data: Any, where: str) -> Node:
    """Validate a node given as a mapping.

    Raises
    ------
    ValueError
        One line with `where` and, for each wrong field, its name, the rule and the value.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where} must be a YAML mapping of fields, not {type(data).__name__}")
    return Node.from_fields(data, where)


def load_node(name: str | Path) -> Node:
    """Return a shipped node by name, or a user's node from a YAML file.

    Raises
    ------
    ValueError
        If the name is unknown or the file is not a valid node.
    OSError
        If the file can not be read.
    """
    text = str(name)
    if isinstance(name, Path) or text.endswith((".yaml", ".yml")):
        return Node.from_file(name)
    names = technology_names()
    if text not in names:
        raise ValueError(f"technology must be one of {', '.join(names)} or a YAML file, not {text!r}")
    return _shipped(text)


@functools.cache
def _shipped(name: str) -> Node:
    return parse_node(tables.document(f"nodes/{name}"), f"{name}.yaml")


def technology_names() -> tuple[str, ...]:
    """Return the names of the shipped technologies."""
    return tables.node_names()
