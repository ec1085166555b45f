"""Plain sentences for people: why a verdict is as it is."""

from __future__ import annotations

from collections.abc import Sequence

from quant.contraction import Operand

from .finding import Finding
from .problem import Problem, Varying
from .repairs import Repair

_JOIN = {
    "shift": "shifted and added",
    "integer": "multiplied by an integer and added in an integer accumulator",
    "float": "multiplied in floating point and added in fp32",
}

_NOUN = {"shift": "shifts", "integer": "integer multiplications", "float": "multiplications in floating point"}


def operand_name(problem: Problem, operand: Operand) -> str:
    """Name an operand as an architect would."""
    if problem.rhs_kind != "weight":
        return "left" if operand == "lhs" else "right"
    return "activation" if operand == "lhs" else "weight"


def explain(found: Finding, repairs: Sequence[Repair] = ()) -> str:
    """Say why, naming the axis, what follows, and which of the repairs is the cheapest exact one."""
    for step in found.decode:
        if step.kind == "real":
            name = operand_name(found.problem, step.operand)
            return (
                f"The {name} codes stand for real table entries, so neither the codes nor the entries can be summed as "
                "integers: different codes with equal sums mean different results. "
                "Round the table to int8, and the verdict is that of its scales."
            )
    text = {"once": _once, "segmented": _segmented, "incompatible": _incompatible}[found.verdict](found)
    exact = next((one for one in repairs if one.exact), None)
    if exact is not None:
        text += f" Cheapest exact repair: {exact.does}."
    if found.tolerance and found.basis == "values":
        text += f" Scales are taken as equal within {found.tolerance:g} of their middle."
    return text


def _labels(found: Finding) -> str:
    return " and ".join(found.reduction)


def _once(found: Finding) -> str:
    if not found.reduction:
        return "Nothing is summed, so one multiply per output restores the real value."
    labels = _labels(found)
    verb = "is" if len(found.reduction) == 1 else "are"
    if found.basis == "weights":
        return (
            f"The scale product is constant over the terms whose given codes are not 0 while {labels} {verb} summed, "
            "so for these codes one multiply per output after the whole integer sum restores the real value."
        )
    if found.basis == "values":
        return (
            f"The product of these scales is constant while {labels} {verb} summed, so one multiply per output after "
            "the whole integer sum restores the real value. It need not hold for other scales of the layouts."
        )
    before = "".join(
        f" The {operand_name(found.problem, step.operand)} codes are decoded by a {step.kind} before the multipliers."
        for step in found.decode
    )
    return (
        f"Both scales are constant while {labels} {verb} summed, so one multiply per output after the whole integer "
        f"sum restores the real value.{before}"
    )


def _change(found: Finding) -> str:
    """Say which scale changes how often along which axis."""
    moving: dict[tuple[str, str], list[str]] = {}
    for one in found.varying:
        often = "every step" if one.block == 1 else f"every {one.block} steps"
        axes = moving.setdefault((operand_name(found.problem, one.operand), often), [])
        axes += [one.axis] if one.axis not in axes else []
    parts = [f"the {name} scale changes {often} of {' and '.join(axes)}" for (name, often), axes in moving.items()]
    if not parts:
        parts = ["the scale changes"]
    text = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    return text[0].upper() + text[1:]


def _segmented(found: Finding) -> str:
    text = f"{_change(found)}, so the sum is cut into {found.partial_sums} integer partial sums per output, "
    kinds = [f"{count} {_NOUN[kind]}" for kind, count in found.rescales_by_kind.items()]
    text += f"joined by {' inside '.join(kinds)}." if len(kinds) > 1 else f"each {_JOIN[found.rescale]}."
    if found.needs_reorder:
        text += (
            f" In the order {''.join(found.order)} runs are {found.segments.min_run} long, so the reduction is sorted "
            "by scale first."
        )
    if found.loop_order:
        text += f" Loops in the order {''.join(found.loop_order)} need no sorting."
    return text


def _incompatible(found: Finding) -> str:
    longest = found.segments.inner_run
    if longest >= 2:
        return (
            f"{_change(found)}, and segments of {longest} are shorter than the array's depth of {found.native_depth}: "
            f"padded, it would run at {found.utilization:.0%}."
        )
    axes = " and ".join(dict.fromkeys(one.axis for one in found.varying)) or _labels(found)
    verb = "is" if " and " not in axes else "are"
    return (
        f"{_change(found)}, and {axes} {verb} summed away: the operands of the witness give the same accumulators and "
        f"different results, so no step after accumulation can be right."
    )


def epilogue(found: Finding) -> str:
    """Write the epilogue as one line of factors."""
    parts = []
    for part in found.epilogue:
        index = ",".join(f"{axis}/{block}" if block > 1 else axis for axis, block in part.blocks)
        name = f"s_{part.operand}" + (f"[{index}]" if index else "")
        parts.append(f"{name} ({part.entries} x {part.kind}, {part.bytes} bytes, per {_when(part.when)})")
    return "; ".join(parts)


def _when(when: str) -> str:
    return "output" if when == "epilogue" else "segment"


def describe(one: Varying) -> str:
    """Write a varying level in short."""
    return f"{one.operand} {one.axis}:{one.block}" + ("" if one.kind == "real" else f"@{one.kind}")
