"""Prices of the components that plans name, at the nominal value or an edge of its band."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hwsim.technology.primitives import LIMITS

if TYPE_CHECKING:
    from hwsim.plan import Component
    from hwsim.technology import Cost, Technology

Number = Any  # an int or float, or an array of them: one design point or a column of many
Band = Literal["low", "nominal", "high"]
BANDS: tuple[Band, Band, Band] = ("low", "nominal", "high")


_WIDEST_REGISTER = LIMITS["register"]["bits"][1]


class PricingError(ValueError):
    """A component that a technology can not price.

    Parameters
    ----------
    component
        Which.
    technology
        Name of the technology.
    reason
        What it lacks.
    """

    def __init__(self, component: Component, technology: str, reason: object) -> None:
        super().__init__(f"{component} must have a price in {technology}, but {reason}")
        self.component = component


def price(technology: Technology, component: Component) -> Cost:
    """Cost of a component: the method of the technology that it names, with its arguments.

    Flip-flops stand side by side: a register of any width is so many of one bit.

    Raises
    ------
    PricingError
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
        raise PricingError(component, technology.name, f"it has no model of {component.kind}")
    try:
        if component.kind == "register" and np.max(component.arguments[0]) > _WIDEST_REGISTER:
            return technology.register(1).times(component.arguments[0])
        cost: Cost = model(*component.arguments)
    except ValueError as error:
        raise PricingError(component, technology.name, error) from error
    return cost


def energy_pj(cost: Cost, band: Band) -> Number:
    """Energy of one use."""
    return {"low": cost.low_pj, "nominal": cost.energy_pj, "high": cost.high_pj}[band]
