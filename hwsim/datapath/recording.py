"""A ring that writes itself down: the arithmetic of one element becomes the source of a compiled loop.

The steps and the profiles are written for arrays. Given a `Term` in place of the accumulators, the same text leaves one
statement an operation. Arrays that meet a term become parameters of the loop; what happens among arrays alone stays
numpy's, once a call and not once an element. Nothing here imports numba.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

INT64 = np.dtype(np.int64)
FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
BOOL = np.dtype(np.bool_)

# Looked up: `dtype.name` takes a microsecond, and a record some fifty of them.
_NAMES = {INT64: "int64", FLOAT32: "float32", FLOAT64: "float64"}
_SYMBOLS: dict[Any, str] = {
    np.add: "+", np.subtract: "-", np.multiply: "*", np.left_shift: "<<", np.right_shift: ">>", np.bitwise_and: "&",
    np.less: "<", np.less_equal: "<=", np.greater: ">", np.greater_equal: ">=",
}  # fmt: skip
_COMPARISONS = frozenset({"<", "<=", ">", ">="})
_CALLS: dict[Any, str] = {np.rint: "np.rint", np.trunc: "np.trunc", np.absolute: "abs", np.negative: "-"}


class Record:
    """Statements of one element, and the arrays they read.

    Parameters
    ----------
    reach
        Largest magnitude of an element.

    Attributes
    ----------
    statements : list of (name, text)
    parameters : list of arrays
        Each has the rank of the elements, or fewer axes, aligned at the last.
    guards : list of str
        Conditions under which the result does not count.
    """

    def __init__(self, reach: int) -> None:
        self.reach = reach
        self.statements: list[tuple[str, str]] = []
        self.parameters: list[npt.NDArray[Any]] = []
        self.guards: list[str] = []
        self._known: dict[int, int] = {}

    def element(self, bits: int, stored: np.dtype[Any]) -> Term:
        """Element of the array that the loop runs over, as int64; it must fit a register of `bits`."""
        term = Term(self, "x", INT64)
        narrow = 8 * stored.itemsize < bits or (8 * stored.itemsize == bits and stored.kind == "i")
        return term if narrow else self.fitting(term, bits)

    def fitting(self, term: Term, bits: int) -> Term:
        """`term`, which must fit a register of `bits` bits, or the result does not count."""
        lo, hi = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        self.guards.append(f"({term.name} < {lo}) | ({term.name} > {hi})")
        # Said in its type, the compiler may multiply 32 by 32 bits, for which processors have vectors.
        return self.add(f"np.int64(np.int32({term.name}))", INT64) if bits == 32 else term

    def add(self, text: str, dtype: np.dtype[Any]) -> Term:
        """Write down a statement."""
        name = f"t{len(self.statements)}"
        self.statements.append((name, text))
        return Term(self, name, dtype)

    def operand(self, x: Any, dtype: np.dtype[Any]) -> str:
        """Text of an operand in a type: a term, a number, or an array, which becomes a parameter."""
        if isinstance(x, Term):
            return x.name if x.dtype == dtype else f"np.{_NAMES[dtype]}({x.name})"
        if isinstance(x, (int, float)):
            return f"np.{_NAMES[dtype]}({x!r})"
        if id(x) not in self._known:
            self._known[id(x)] = len(self.parameters)
            self.parameters.append(x)
        return f"np.{_NAMES[dtype]}(v{self._known[id(x)]})"

    def source(self, result: Term, kinds: tuple[str, ...]) -> tuple[str, str]:
        """Name and source of the loop over ``x[i, j]``.

        Parameters
        ----------
        result
            What is clamped to ``lo..hi`` and stored.
        kinds
            How each parameter, [rows or 1, columns or 1], varies: ``scalar``, ``row``, ``column`` or ``full``.

        Notes
        -----
        A run of columns is sliced before its loop: only then does the compiler know its indices and use vectors.
        """
        whole, rows, elements = [], [], []
        for at, kind in enumerate(kinds):
            match kind:
                case "scalar":
                    whole.append(f"v{at} = p{at}[0, 0]")
                case "row":
                    rows.append(f"v{at} = p{at}[i, 0]")
                case _:
                    (whole if kind == "column" else rows).append(f"r{at} = p{at}[{'0' if kind == 'column' else 'i'}]")
                    elements.append(f"v{at} = r{at}[j]")
        elements += [f"{name} = {text}" for name, text in self.statements]
        elements += [f"bad |= {guard}" for guard in self.guards]
        y = result.name
        elements += [f"{y} = lo if {y} < lo else {y}", f"{y} = hi if hi < {y} else {y}", f"to[j] = {y}"]
        arguments = ", ".join(["source", "out", "lo", "hi", *(f"p{at}" for at in range(len(kinds)))])
        body = "\n".join(
            [
                *(f"    {line}" for line in ["bad = False", *whole, "for i in range(source.shape[0]):"]),
                *(f"        {line}" for line in ["run = source[i]", "to = out[i]", *rows, "for j in range(run.size):"]),
                *(f"            {line}" for line in ["x = np.int64(run[j])", *elements]),
                "    return bad",
            ]
        )
        # Compiled code is kept by the name of its function.
        name = f"requantize_{hashlib.sha256(f'{arguments}{body}'.encode()).hexdigest()[:16]}"
        return name, f"def {name}({arguments}):\n{body}\n"


def _common(a: Any, b: Any) -> np.dtype[Any]:
    """Type of an operation: numbers take that of what they meet."""
    known = [x.dtype for x in (a, b) if not isinstance(x, (int, float))]
    if not known:
        return FLOAT64 if isinstance(a, float) else INT64
    return known[0] if known[0] == known[-1] else np.result_type(*known)


class Term:
    """A value of one element; operations on it are written down.

    Parameters
    ----------
    record
        Where.
    name
        Of its variable.
    dtype
        As numpy would have it.
    """

    __slots__ = ("dtype", "name", "record")

    def __init__(self, record: Record, name: str, dtype: np.dtype[Any]) -> None:
        self.record = record
        self.name = name
        self.dtype = dtype

    def _binary(self, symbol: str, a: Any, b: Any) -> Term:
        dtype = _common(a, b)
        text = f"{self.record.operand(a, dtype)} {symbol} {self.record.operand(b, dtype)}"
        return self.record.add(text, BOOL if symbol in _COMPARISONS else dtype)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        """Write a ufunc down, also where an array comes first."""
        if method != "__call__" or settings:
            return NotImplemented
        if ufunc in _SYMBOLS:
            return self._binary(_SYMBOLS[ufunc], *inputs)
        if ufunc in _CALLS:
            return self.record.add(f"{_CALLS[ufunc]}({self.name})", self.dtype)
        return NotImplemented

    def __array_function__(self, function: Any, _: Any, arguments: tuple[Any, ...], settings: dict[str, Any]) -> Any:
        """Write `np.where` and `np.clip` down."""
        if settings:
            return NotImplemented
        if function is np.where:
            condition, a, b = arguments
            dtype = _common(a, b)
            operand = self.record.operand
            return self.record.add(f"{operand(a, dtype)} if {condition.name} else {operand(b, dtype)}", dtype)
        if function is np.clip:
            x, lo, hi = arguments
            return np.where(hi < (raised := np.where(x < lo, lo, x)), hi, raised)
        return NotImplemented

    def astype(self, dtype: npt.DTypeLike) -> Term:
        """Convert, as numpy's method."""
        target = np.dtype(dtype)
        return self if target == self.dtype else self.record.add(f"np.{_NAMES[target]}({self.name})", target)

    def __add__(self, other: Any) -> Term:
        return self._binary("+", self, other)

    def __radd__(self, other: Any) -> Term:
        return self._binary("+", other, self)

    def __sub__(self, other: Any) -> Term:
        return self._binary("-", self, other)

    def __rsub__(self, other: Any) -> Term:
        return self._binary("-", other, self)

    def __mul__(self, other: Any) -> Term:
        return self._binary("*", self, other)

    def __rmul__(self, other: Any) -> Term:
        return self._binary("*", other, self)

    def __lshift__(self, other: Any) -> Term:
        return self._binary("<<", self, other)

    def __rshift__(self, other: Any) -> Term:
        return self._binary(">>", self, other)

    def __and__(self, other: Any) -> Term:
        return self._binary("&", self, other)

    def __lt__(self, other: Any) -> Term:
        return self._binary("<", self, other)

    def __gt__(self, other: Any) -> Term:
        return self._binary(">", self, other)

    def __le__(self, other: Any) -> Term:
        return self._binary("<=", self, other)

    def __ge__(self, other: Any) -> Term:
        return self._binary(">=", self, other)

    def __neg__(self) -> Term:
        return self.record.add(f"-{self.name}", self.dtype)


def call(function: str, dtype: np.dtype[Any], *operands: Any) -> Term | None:
    """Write down the call of a function that the compiled loop knows; None if no operand is a term."""
    for x in operands:
        if isinstance(x, Term):
            return x.record.add(f"{function}({', '.join(x.record.operand(o, dtype) for o in operands)})", dtype)
    return None
