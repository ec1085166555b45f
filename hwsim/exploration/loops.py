"""Recorded formulas as compiled loops over columns. Importing this module imports llvmlite."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir

from hwsim.datapath.lanes import compiled, loop, vector_bits
from hwsim.timing.symbols import Record, Symbol

Column = npt.NDArray[Any]

STRIP = 1024
"""Rows that are read at once: what they are read from and into then stays in the second-level cache."""

_COMPILED: dict[str, Callable[..., None]] = {}


class Loop:
    """A recorded formula over strips of rows.

    Parameters
    ----------
    record
        Its operations.
    results
        Symbols or constants by name.
    whole
        Names of results that are whole numbers and kept as int64.

    Attributes
    ----------
    inputs, outputs : float64 [columns, STRIP]
        What the loop reads, in order of the record's inputs, and writes, in order of the results; whole numbers as
        the bits of int64.
    """

    def __init__(self, record: Record, results: Mapping[str, Any], whole: frozenset[str]) -> None:
        self.names = list(results)
        self.whole = whole
        self.inputs = np.ones((record.inputs, STRIP))
        self.outputs = np.empty((len(results), STRIP))
        text = repr((record.operations, list(results.values()), [name in whole for name in results]))
        key = hashlib.sha256(text.encode()).hexdigest()
        if key not in _COMPILED:
            _COMPILED[key] = compiled(_Writer(record).module(results, whole), "rows")
        self._call = _COMPILED[key]

    def run(self, tables: Sequence[Column], indices: Sequence[Column], out: Sequence[Column], rows: Column) -> None:
        """Read rows strip by strip.

        Parameters
        ----------
        tables, indices
            Of each input: its values, float64, and the place among them for each of `rows`, int64.
        out
            Columns for the results, of eight bytes an element.
        rows
            Places in `out`, int64.
        """
        values, places, targets = (_addresses(columns) for columns in (tables, indices, out))
        same = _addresses([rows] * len(out))
        gather, scatter = _mover("gather"), _mover("scatter")
        source, target = self.inputs.ctypes.data, self.outputs.ctypes.data
        for start in range(0, len(rows), STRIP):
            count = min(STRIP, len(rows) - start)
            if len(values):
                gather(values.ctypes.data, places.ctypes.data, source, start, count, len(values))
            self._call(source, target)
            scatter(targets.ctypes.data, same.ctypes.data, target, start, count, len(targets))


def _addresses(columns: Sequence[Column]) -> Column:
    return np.array([column.ctypes.data for column in columns], np.int64)


@functools.cache
def _mover(kind: str) -> Callable[..., None]:
    """Compile a loop that copies columns of a strip from or to rows in any order.

    It takes addresses of the columns' addresses, of their indices' and of the strip, the first place among the
    indices, and how many rows and columns there are.
    """
    module, number, word = ir.Module(kind), ir.DoubleType(), ir.IntType(64)
    words, numbers = word.as_pointer(), number.as_pointer()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [words, words, numbers, word, word, word]), kind)
    columns, indices, strip, start, count, width = function.args
    b = ir.IRBuilder(function.append_basic_block())
    with loop(b, width) as column:
        far = b.inttoptr(b.load(b.gep(columns, [column])), numbers)
        index = b.gep(b.inttoptr(b.load(b.gep(indices, [column])), words), [start])
        near = b.gep(strip, [b.mul(column, word(STRIP))])
        with loop(b, count) as row:
            ends = b.gep(far, [b.load(b.gep(index, [row]))]), b.gep(near, [row])
            source, target = ends if kind == "gather" else ends[::-1]
            b.store(b.load(source), target)
    b.ret_void()
    return compiled(module, kind)


class _Writer:
    """Writes the operations as instructions on vectors."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.lanes = vector_bits() // 64
        self.vector = ir.VectorType(ir.DoubleType(), self.lanes)
        self.values: list[Any] = []

    def module(self, results: Mapping[str, Any], whole: frozenset[str]) -> Any:
        """Write a module with one function of the addresses of inputs and outputs."""
        module = ir.Module("rows")
        pointer = ir.DoubleType().as_pointer()
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer, pointer]), "rows")
        for argument in function.args:
            argument.add_attribute("noalias")
        self.b = ir.IRBuilder(function.append_basic_block())
        long = ir.VectorType(ir.IntType(64), self.lanes)
        with loop(self.b, ir.IntType(64)(STRIP // self.lanes)) as step:
            self.first = self.b.mul(step, ir.IntType(64)(self.lanes))
            self.source = function.args[0]
            used = set(self.record.needed(results.values()))
            for place, (name, operands) in enumerate(self.record.operations):
                self.values.append(self._value(name, operands) if place in used else None)
            for row, (name, result) in enumerate(results.items()):
                value = self._number(result)
                if name in whole:
                    value = self.b.bitcast(self.b.fptosi(value, long), self.vector)
                self.b.store(value, self._cell(function.args[1], row), align=8)
        self.b.ret_void()
        return module

    def _cell(self, base: Any, row: int) -> Any:
        at = self.b.add(self.first, ir.IntType(64)(row * STRIP))
        return self.b.bitcast(self.b.gep(base, [at]), self.vector.as_pointer())

    def _number(self, x: Any) -> Any:
        """Operand as numbers; true is 1."""
        if not isinstance(x, Symbol):
            return ir.Constant(self.vector, [float(x)] * self.lanes)
        value = self.values[x.place]
        return self.b.uitofp(value, self.vector) if x.flag else value

    def _flag(self, x: Any) -> Any:
        """Operand as truths."""
        if isinstance(x, Symbol) and x.flag:
            return self.values[x.place]
        return ir.Constant(ir.VectorType(ir.IntType(1), self.lanes), [int(bool(x))] * self.lanes)

    def _value(self, name: str, operands: tuple[Any, ...]) -> Any:
        b = self.b
        if name == "input":
            return b.load(self._cell(self.source, operands[0]), align=8)
        if name in ("&", "|"):
            one, other = (self._flag(x) for x in operands)
            return b.and_(one, other) if name == "&" else b.or_(one, other)
        if name == "select":
            condition, *sides = operands
            as_flags = all(isinstance(x, bool) or (isinstance(x, Symbol) and x.flag) for x in sides)
            one, other = (self._flag(x) if as_flags else self._number(x) for x in sides)
            return b.select(self._flag(condition), one, other)
        numbers = [self._number(x) for x in operands]
        match name:
            case "+" | "-" | "*" | "/":
                build = {"+": b.fadd, "-": b.fsub, "*": b.fmul, "/": b.fdiv}[name]
                return build(*numbers)
            case "ceil" | "floor":
                kind = ir.FunctionType(self.vector, [self.vector])
                known = b.module.globals.get(f"llvm.{name}.v{self.lanes}f64")
                return b.call(known or ir.Function(b.module, kind, f"llvm.{name}.v{self.lanes}f64"), numbers)
            case "max" | "min":
                # No row that fits has what is not a number, for which numpy's would differ.
                one, other = numbers
                return b.select(b.fcmp_ordered(">" if name == "max" else "<", other, one), other, one)
            case _:
                return b.fcmp_ordered(name, *numbers)
