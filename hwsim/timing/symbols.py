"""Numbers that write down what is done with them: a formula read once becomes a list of operations.

The closed form, energies and areas are written once, for a design point and for columns. Given symbols in place of
columns the same text leaves its operations in a `Record`, equal ones once, which `hwsim.exploration.loops` compiles.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

FLAGS = frozenset({"<", "<=", ">", ">=", "&", "|"})
"""Operations whose result is true or false."""

_UFUNCS: dict[Any, str] = {
    np.add: "+", np.subtract: "-", np.multiply: "*", np.true_divide: "/", np.less: "<", np.less_equal: "<=",
    np.greater: ">", np.greater_equal: ">=", np.bitwise_and: "&", np.bitwise_or: "|", np.ceil: "ceil",
    np.floor: "floor", np.maximum: "max", np.minimum: "min",
}  # fmt: skip

_CARRIED_OUT: dict[str, Callable[..., Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge, "&": operator.and_, "|": operator.or_, "ceil": np.ceil,
    "floor": np.floor, "max": np.maximum, "min": np.minimum, "select": np.where,
}  # fmt: skip


class Record:
    """Operations in the order of their results.

    Attributes
    ----------
    operations : list of (name, operands)
        An operand is a symbol or a constant; an ``input`` has its number.
    """

    def __init__(self) -> None:
        self.operations: list[tuple[str, tuple[Any, ...]]] = []
        self.inputs = 0
        self._known: dict[tuple[Any, ...], Symbol] = {}

    def column(self) -> Symbol:
        """Take the next input."""
        self.inputs += 1
        return self.add("input", self.inputs - 1)

    def add(self, name: str, *operands: Any) -> Symbol:
        """Write an operation down, or find the same one."""
        key = (name, *((x.place, None) if isinstance(x, Symbol) else (x, type(x)) for x in operands))
        if key not in self._known:
            flag = name in FLAGS or (name == "select" and all(_is_flag(x) for x in operands[1:]))
            self._known[key] = Symbol(self, len(self.operations), flag)
            self.operations.append((name, operands))
        return self._known[key]

    def needed(self, results: Iterable[Any]) -> list[int]:
        """Places of the operations that some result needs, in order."""
        used: set[int] = set()
        rest = [result.place for result in results if isinstance(result, Symbol)]
        while rest:
            place = rest.pop()
            if place not in used:
                used.add(place)
                rest += [x.place for x in self.operations[place][1] if isinstance(x, Symbol)]
        return sorted(used)

    def read(self, results: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Carry out what was written down.

        Parameters
        ----------
        results
            Symbols that are asked for; what is none is its own result.
        inputs
            Numbers, columns, or symbols of another record, into which the operations then go.
        """
        found: dict[int, Any] = {}

        def value(x: Any) -> Any:
            return found[x.place] if isinstance(x, Symbol) else x

        for place in self.needed(results):
            name, operands = self.operations[place]
            if name == "input":
                found[place] = inputs[operands[0]]
            else:
                found[place] = _CARRIED_OUT[name](*(value(x) for x in operands))
        return [value(result) for result in results]


def _is_flag(x: Any) -> bool:
    return x.flag if isinstance(x, Symbol) else isinstance(x, bool)


class Symbol(float):
    """A number that is not known yet; what is not written down of it is not a number.

    Parameters
    ----------
    record
        Where operations go.
    place
        Of the one whose result this is.
    flag
        Whether it is true or false.
    """

    __slots__ = ("flag", "place", "record")
    record: Record
    place: int
    flag: bool

    def __new__(cls, record: Record, place: int, flag: bool) -> Symbol:
        """Make one that is not a number to everything that does not write it down."""
        symbol = super().__new__(cls, "nan")
        symbol.record, symbol.place, symbol.flag = record, place, flag
        return symbol

    def __repr__(self) -> str:
        return f"t{self.place}"

    def __array_ufunc__(self, ufunc: Any, method: str, *operands: Any, **settings: Any) -> Any:
        """Write down what numpy is asked for."""
        if method != "__call__" or settings or ufunc not in _UFUNCS:
            return NotImplemented
        return self.record.add(_UFUNCS[ufunc], *operands)

    def __array_function__(self, function: Any, _: Any, operands: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Write `np.where` down, and have the one axis of a column."""
        if function is np.ndim:
            return 1
        if function is not np.where or settings:
            return NotImplemented
        return self.record.add("select", *operands)

    def __bool__(self) -> bool:
        """Refuse: no branch of a formula may depend on a column."""
        msg = "formula must choose between columns by where, not by a branch"
        raise TypeError(msg)

    def __add__(self, other: Any) -> Any:
        return self if type(other) is int and other == 0 else self.record.add("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return self if type(other) is int and other == 0 else self.record.add("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return self.record.add("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self.record.add("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return self.record.add("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self.record.add("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return self.record.add("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self.record.add("/", other, self)

    def __lt__(self, other: Any) -> Any:
        return self.record.add("<", self, other)

    def __le__(self, other: Any) -> Any:
        return self.record.add("<=", self, other)

    def __gt__(self, other: Any) -> Any:
        return self.record.add(">", self, other)

    def __ge__(self, other: Any) -> Any:
        return self.record.add(">=", self, other)

    def __and__(self, other: Any) -> Any:
        return self.record.add("&", self, other)

    def __or__(self, other: Any) -> Any:
        return self.record.add("|", self, other)

    __rand__, __ror__ = __and__, __or__
    # Operations that no formula uses would else be a float's.
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = __neg__ = __abs__ = None  # type: ignore[assignment]
