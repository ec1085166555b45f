"""Prices of the components that plans name, at the nominal value or an edge of its band."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from hwsim.plan import Component
    from hwsim.technology import Cost, Technology

Number = Any  # an int or float, or an array of them: one design point or a column of many
Band = Literal["low", "nominal", "high"]
BANDS: tuple[Band, Band, Band] = ("low", "nominal", "high")


def price(technology: Technology, component: Component) -> Cost:
    """Cost of a component: the method of the technology that it names, with its arguments.

    Raises
    ------
    ValueError
        If the technology lacks the component or its law does not reach the width.

    Examples
    --------
    >>> from hwsim.plan import Component
    >>> from hwsim.technology import Technology
    >>> round(price(Technology.load("45nm-horowitz"), Component("multiplier", (8, 8))).energy_pj, 6)
    0.2
    """
    model = getattr(technology, component.kind, None)
    if model is None:
        msg = f"technology {technology.name} must have a model of {component.kind}, which a plan needs"
        raise ValueError(msg)
    cost: Cost = model(*component.arguments)
    return cost


def energy_pj(cost: Cost, band: Band) -> Number:
    """Energy of one use."""
    return {"low": cost.low_pj, "nominal": cost.energy_pj, "high": cost.high_pj}[band]
