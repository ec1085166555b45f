"""Numbers that follow from sizes: what is done with the sizes of one shape is written down, to be done with others.

Lowering reads sizes in arithmetic, which goes into a `Record`, and in questions (is the axis longer than a block?),
whose answers hold for some other shapes and not for the rest.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from hwsim.timing.symbols import Record, Symbol

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip
QUESTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


class Path:
    """One way through lowering.

    Attributes
    ----------
    record
        Operations on the sizes, which are its inputs.
    answers : {(question, one, other): answer}
        In the order they were asked; operands are symbols of the record and constants.
    """

    def __init__(self) -> None:
        self.record = Record()
        self.answers: dict[tuple[str, Any, Any], bool] = {}

    def size(self, value: int) -> Count:
        """Take the next size of the shape."""
        return Count(self, value, self.record.column())

    def made(self, name: str, one: Any, other: Any) -> Any:
        """Carry an operation out and write it down, unless it changes nothing."""
        if name == "*" and (_is(one, 0) or _is(other, 0)):
            return 0
        if _is(other, {"+": 0, "-": 0, "*": 1, "/": 1}[name]):
            return one
        if _is(one, {"+": 0, "*": 1}.get(name)):
            return other
        if name == "-" and _symbol(one) is _symbol(other):
            return 0
        symbol = self.record.add(name, _symbol(one), _symbol(other))
        return Count(self, _ARITHMETIC[name](_value(one), _value(other)), symbol)

    def answer(self, question: str, one: Count, other: Any) -> bool:
        """Answer for the shape at hand."""
        found: bool = QUESTIONS[question](one.value, _value(other))
        self.answers[question, one.symbol, _symbol(other)] = found
        return found


def _value(x: Any) -> Any:
    return x.value if isinstance(x, Count) else x


def _symbol(x: Any) -> Any:
    return x.symbol if isinstance(x, Count) else x


def _is(x: Any, number: int | None) -> bool:
    return type(x) is int and x == number


class Count:
    """A number that follows from sizes.

    It is none of Python's own numbers, so that whatever asks for one gets that of the shape at hand, and the question
    is written down.

    Parameters
    ----------
    path
        Where operations and questions go.
    value
        For the shape at hand.
    symbol
        For any other, in the path's record.
    """

    __slots__ = ("path", "symbol", "value")

    def __init__(self, path: Path, value: Any, symbol: Symbol) -> None:
        self.path, self.value, self.symbol = path, value, symbol

    def __add__(self, other: Any) -> Any:
        return self.path.made("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return self.path.made("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return self.path.made("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self.path.made("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return self.path.made("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self.path.made("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return self.path.made("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self.path.made("/", other, self)

    def __floordiv__(self, other: Any) -> Any:
        symbol = self.path.record.add("floor", _symbol(self / other))
        return Count(self.path, self.value // _value(other), symbol)

    def __mod__(self, other: Any) -> Any:
        return self - self // other * other

    def __lshift__(self, bits: int) -> Any:
        return self * (1 << bits)

    def __ceil__(self) -> Any:
        return Count(self.path, math.ceil(self.value), self.path.record.add("ceil", self.symbol))

    def __lt__(self, other: Any) -> bool:
        return self.path.answer("<", self, other)

    def __le__(self, other: Any) -> bool:
        return self.path.answer("<=", self, other)

    def __gt__(self, other: Any) -> bool:
        return self.path.answer(">", self, other)

    def __ge__(self, other: Any) -> bool:
        return self.path.answer(">=", self, other)

    def __eq__(self, other: object) -> bool:
        return self.path.answer("==", self, other)

    def __ne__(self, other: object) -> bool:
        return self.path.answer("!=", self, other)

    def __bool__(self) -> bool:
        return self.path.answer("!=", self, 0)

    def bit_length(self) -> int:
        """Bits of a number that is 0 or more."""
        bits: int = self.value.bit_length()
        self.path.answer("<", self, 1 << bits)
        self.path.answer(">=", self, 1 << bits >> 1)
        return bits

    def plain(self) -> Any:
        """Return the number of the shape at hand; what follows holds for shapes with the same."""
        self.path.answer("==", self, self.value)
        return self.value

    def __index__(self) -> int:
        return operator.index(self.plain())

    def __int__(self) -> int:
        return int(self.plain())

    def __float__(self) -> float:
        return float(self.plain())

    def __str__(self) -> str:
        return str(self.plain())

    def __format__(self, spec: str) -> str:
        return format(self.plain(), spec)

    def __hash__(self) -> int:
        return hash(self.plain())
