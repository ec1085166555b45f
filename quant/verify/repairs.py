"""A repair, a way to a better verdict that can be carried out on operands, and what it makes of them.

A repair takes the real operands, before they are quantized, and gives one or more products whose sum is the result: it
says whether that sum equals the original product in the reals, what it costs offline and at run time, and what is found
on the question after it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.layout import ScaleLayoutError

from .finding import RANK, Finding
from .judgement import judge
from .problem import OPERANDS, Problem
from .work import Work, total

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """One contraction of a repaired problem.

    Attributes
    ----------
    problem
        Contraction, sizes, layouts and formats.
    lhs, rhs
        Real operands, to be quantized in the layouts of `problem`; of the dtype given to `Repair.apply`.
    arithmetic
        ``integer``: on the array; ``float``: beside it, unquantized.
    """

    problem: Problem
    lhs: Array
    rhs: Array
    arithmetic: str = "integer"

    @property
    def verdict(self) -> Finding:
        """Verdict of this product; float products need none and are ``once``."""
        return judge(self.problem)

    def real(self) -> Array:
        """Multiply the real operands; exact for object arrays of Fractions."""
        contraction = self.problem.contraction
        left, right = contraction.to_gemm(self.lhs, self.rhs, self.problem.sizes)
        return contraction.from_gemm(left @ right, self.problem.sizes)


@dataclass(frozen=True, slots=True, eq=False)
class Repaired:
    """Operands after a repair: their products add up to the result."""

    products: tuple[Product, ...]

    @property
    def verdict(self) -> str:
        """Worst verdict of the integer products."""
        found = [one.verdict.verdict for one in self.products if one.arithmetic == "integer"]
        return min(found, key=RANK.__getitem__)

    def real(self) -> Array:
        """Sum of the products of the real operands."""
        first, *rest = (one.real() for one in self.products)
        return sum(rest, first)


@dataclass(frozen=True, eq=False)
class Repair:
    """One way to a better verdict.

    Attributes
    ----------
    name
        Short name.
    does
        What it does, in words that name the axis.
    exact
        The real result is unchanged for every operand.
    offline, run_time
        Operations before run time, and with every call.
    problem
        The question after the repair, at the sizes of the verdict.
    """

    name: str
    does: str
    exact: bool
    offline: tuple[Work, ...]
    run_time: tuple[Work, ...]
    problem: Problem
    _before: Problem
    _carry_out: Callable[[Problem, Problem, Array, Array], Repaired]

    @cached_property
    def after(self) -> Finding:
        """Verdict after the repair."""
        return judge(self.problem)

    @property
    def offline_operations(self) -> int:
        """Operations before run time, at the sizes of the verdict."""
        return total(self.offline, self._before.sizes)

    @property
    def run_time_operations(self) -> int:
        """Operations with every call, at the sizes of the verdict."""
        return total(self.run_time, self._before.sizes)

    def apply(self, lhs: npt.ArrayLike, rhs: npt.ArrayLike) -> Repaired:
        """Carry the repair out on real operands.

        Parameters
        ----------
        lhs, rhs : float or object array of Fraction
            Operands before they are quantized.

        Raises
        ------
        ScaleLayoutError
            If a shape is not that of the verdict.
        """
        arrays = [np.asarray(lhs), np.asarray(rhs)]
        for operand, array in zip(OPERANDS, arrays, strict=True):
            shape = self._before.contraction.shape_of(operand, self._before.sizes)
            if array.shape != shape:
                msg = f"{operand} must have shape {shape}, not {array.shape}"
                raise ScaleLayoutError(msg)
        return self._carry_out(self._before, self.problem, arrays[0], arrays[1])

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain data, for JSON."""
        return {
            "name": self.name,
            "does": self.does,
            "exact": self.exact,
            "offline": [asdict(one) for one in self.offline],
            "offline_operations": self.offline_operations,
            "run_time": [asdict(one) for one in self.run_time],
            "run_time_operations": self.run_time_operations,
            "verdict_after": self.after.verdict,
            "lhs_after": str(self.problem.lhs),
            "rhs_after": str(self.problem.rhs),
        }

    def __str__(self) -> str:
        return f"{self.name}: {self.does}"
