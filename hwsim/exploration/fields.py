"""Fields of an accelerator by their path in YAML: which there are, what they may be, and which are numbers."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import pydantic

from hwsim.accelerator import Accelerator

SIZES = ("m", "k", "n")
"""Sizes of a product that points may vary when the workload is one."""

DATAFLOWS = {"os": "output_stationary", "ws": "weight_stationary", "is": "input_stationary"}
"""Short names of dataflows."""

# Numbers that formulas take as columns; other fields decide between formulas and components, and group the points.
COLUMNS = frozenset(
    {
        "array.rows",
        "array.columns",
        "arrays",
        "vector.lanes",
        "clock_mhz",
        *(
            f"memories.{name}.{field}"
            for name in ("activation", "weight", "output")
            for field in ("capacity_bytes", "banks", "bank_width_bits")
        ),
        "memories.dram.bandwidth_gb_per_s",
        "memories.dram.latency_ns",
    }
)


@functools.cache
def known_fields() -> dict[str, Any]:
    """Types of all fields that a design space may vary, by path, with the rules on their values.

    Examples
    --------
    >>> "memories.dram.bandwidth_gb_per_s" in known_fields()
    True
    """
    fixed = ("name", "description", "source")
    return {path: kind for path, kind in _leaves(Accelerator, "") if path not in fixed}


def _leaves(model: type[pydantic.BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, info in model.model_fields.items():
        nested = [kind for kind in (info.annotation, *get_args(info.annotation)) if _is_model(kind)]
        if nested:
            yield from _leaves(nested[0], f"{prefix}{name}.")
        else:
            # The rules of an annotation that stands alone are with the field.
            kind = info.annotation
            for rule in info.metadata:
                kind = _annotated(kind, rule)
            yield f"{prefix}{name}", kind


def _annotated(kind: Any, rule: Any) -> Any:
    from typing import Annotated  # noqa: PLC0415

    return Annotated[kind, rule]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def full_path(name: str, sizes: bool) -> str:
    """Path of a field, given whole or by an ending that only one field has, such as ``rows``.

    Raises
    ------
    ValueError
        If there is no such field, naming the nearest, or an ending is shared by several, or it is a size of a product
        and the workload is none.

    Examples
    --------
    >>> full_path("bandwidth_gb_per_s", False)
    'memories.dram.bandwidth_gb_per_s'
    """
    paths = known_fields()
    if name in paths or (sizes and name in SIZES):
        return name
    ends = [path for path in paths if path.endswith(f".{name}")]
    if len(ends) == 1:
        return ends[0]
    if name in SIZES:
        msg = (
            f"field {name} must vary with one product only (--gemm MxNxK), not with a network, which has its own sizes"
        )
        raise ValueError(msg)
    if ends:
        msg = f"field must be one of {', '.join(ends)}, not {name}"
        raise ValueError(msg)
    near = _nearest(name, [*paths, *(SIZES if sizes else ())])
    msg = f"field must be one of an accelerator's, not {name!r}; did you mean {near}?"
    raise ValueError(msg)


def _nearest(name: str, paths: Sequence[str]) -> str:
    """Path nearest to a name, by the whole or by the last word."""

    def likeness(path: str) -> float:
        whole = difflib.SequenceMatcher(None, name, path).ratio()
        last = difflib.SequenceMatcher(None, name.rpartition(".")[2], path.rpartition(".")[2]).ratio()
        return max(whole, last)

    return max(paths, key=likeness)


def checked_values(path: str, values: Sequence[Any]) -> list[Any]:
    """Values of one field as an accelerator would take them; dataflows may be short.

    Raises
    ------
    ValueError
        If one breaks the rule of its field, naming both.

    Examples
    --------
    >>> checked_values("array.dataflow", ["os", "weight_stationary"])
    ['output_stationary', 'weight_stationary']
    """
    if path == "array.dataflow":
        values = [DATAFLOWS.get(value, value) if isinstance(value, str) else value for value in values]
    kind = int if path in SIZES else known_fields()[path]
    rule = pydantic.TypeAdapter(list[kind])  # type: ignore[valid-type]
    try:
        found: list[Any] = rule.validate_python(list(values))
    except pydantic.ValidationError as error:
        detail = error.errors()[0]
        text = detail["msg"].replace("Input should be", "must be")
        msg = f"{path} {text}, not {detail['input']!r}"
        raise ValueError(msg) from None
    if path in SIZES and min(found, default=1) < 1:
        msg = f"{path} must be 1 or more, not {min(found)}"
        raise ValueError(msg)
    return found
