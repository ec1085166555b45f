"""Plans of one product in many shapes: one shape is lowered for all that are lowered the same way.

Where scales cut the reduction, how often they do decides on the plan in ways that no arithmetic says, and so do
rotations. Every such kind of shape is then lowered for itself, and kinds whose plans differ in numbers only share a law
that looks these numbers up.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hwsim.exploration.columns import Group, leaves, structure, with_leaves
from hwsim.exploration.counts import QUESTIONS, Count, Path
from hwsim.lowering import IllegalLayoutError, lower
from hwsim.plan import MultiplyAccumulate
from hwsim.timing.symbols import Symbol
from hwsim.timing.work import Work
from quant.contraction import Gemm

if TYPE_CHECKING:
    from hwsim.accelerator import Accelerator
    from quant import Scheme
    from workloads import Layer

Column = npt.NDArray[Any]


class Product:
    """A matrix product with counts for sizes, as lowering reads a layer."""

    def __init__(self, layer: Layer, sizes: Mapping[str, Any]) -> None:
        self._layer = layer
        self.sizes = sizes
        self.gemm = Gemm(1, sizes["m"], sizes["k"], sizes["n"])

    def resized(self, **sizes: Any) -> Product:
        """Return the product with other sizes."""
        return Product(self._layer, {**self.sizes, **sizes})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


@dataclass(frozen=True)
class Reading:
    """What lowering one shape gave.

    Parameters
    ----------
    path
        Arithmetic and answers.
    group
        Plan and work, with counts; None where there is no plan.
    reason
        Why there is none; empty where it is another one for each shape.
    """

    path: Path
    group: Group | None
    reason: str = ""

    @classmethod
    def of(cls, layer: Layer, free: Sequence[str], scheme: Scheme, accelerator: Accelerator) -> Reading:
        """Lower a layer with counts for its `free` sizes."""
        path = Path()
        sizes = {name: path.size(size) if name in free else size for name, size in layer.sizes.items()}
        product: Any = Product(layer, sizes)
        try:
            plan = lower(product, scheme, accelerator, like=layer)
        except IllegalLayoutError:
            return cls(path, None)
        except ValueError as error:
            return cls(path, None, str(error))
        work = Work.of(plan)
        # The cuts of the reduction are in the work's segments.
        steps = tuple(replace(s, boundaries=(0,)) if isinstance(s, MultiplyAccumulate) else s for s in plan.steps)
        return cls(path, Group(replace(plan, layer=layer, steps=steps), work, product.gemm.macs, 1, plan.verdict_name))

    def split(self) -> tuple[Any, list[Any]]:
        """Return what must agree for readings to share a law, and the constants in which they may differ."""
        constants: list[Any] = []
        # First, as components are counted by arithmetic that goes on record too.
        form = None if self.group is None else structure(self.group.plan)

        def place(x: Any) -> int | None:
            symbol = x.symbol if isinstance(x, Count) else x
            if isinstance(symbol, Symbol):
                return symbol.place
            constants.append(x)
            return None

        operations = tuple(
            (name, operands if name == "input" else tuple(map(place, operands)))
            for name, operands in self.path.record.operations
        )
        answers = tuple((*key[:1], *map(place, key[1:]), found) for key, found in self.path.answers.items())
        if self.group is None:
            return (self.reason, operations, answers), constants
        numbers = tuple(map(place, leaves(self.group.values)))
        return (form, self.group.verdict, operations, answers, numbers), constants

    def with_tables(self, tables: Mapping[int, int]) -> Reading:
        """Copy in which some constants, by their place in `split`, are more inputs, by their number."""
        path, old = Path(), self.path
        inputs = [path.record.column() for _ in range(old.record.inputs + len(set(tables.values())))]
        number = itertools.count()
        symbols: list[Symbol] = []

        def new(x: Any) -> Any:
            if isinstance(x, Symbol):
                return symbols[x.place]
            table = tables.get(next(number))
            return x if table is None else inputs[old.record.inputs + table]

        def counted(x: Any) -> Any:
            symbol = new(x.symbol if isinstance(x, Count) else x)
            return Count(path, x, symbol) if isinstance(symbol, Symbol) else symbol

        for name, operands in old.record.operations:
            symbols.append(inputs[operands[0]] if name == "input" else path.record.add(name, *map(new, operands)))
        for (question, one, other), found in old.answers.items():
            pair = new(one), new(other)
            path.answers[question, *pair] = found
        if self.group is None:
            return Reading(path, None, self.reason)
        values = with_leaves(self.group.values, map(counted, list(leaves(self.group.values))))
        return Reading(path, self.group.with_values(values, 1))


class Law:
    """Plans of all shapes that are lowered the same way.

    Kinds of shapes that are lowered for themselves may differ in constants, which are then columns over kinds.

    Parameters
    ----------
    first
        Reading of one of them.
    kinds
        How many there are.

    Attributes
    ----------
    known
        Whether it is the law of each kind.
    tables
        Constants over kinds.
    """

    def __init__(self, first: Reading, kinds: int) -> None:
        self.first = self.reading = first
        self.known = np.zeros(kinds, bool)
        self.tables: list[Column] = []
        self._constants: dict[int, list[Any]] = {}
        self._places: dict[int, int] = {}

    def add(self, kind: int, constants: list[Any]) -> None:
        """Take one more kind."""
        self.known[kind] = True
        self._constants[kind] = constants

    def settle(self) -> None:
        """Find the constants in which kinds differ."""
        matrix = np.array(list(self._constants.values()), np.float64)
        numbers: dict[bytes, int] = {}
        places = {
            place: numbers.setdefault(matrix[:, place].tobytes(), len(numbers))
            for place in np.flatnonzero((matrix != matrix[:1]).any(axis=0)).tolist()
        }
        self.tables = [np.full(len(self.known), np.nan) for _ in numbers]
        for table, column in zip(self.tables, numbers, strict=True):
            table[list(self._constants)] = np.frombuffer(column)
        if places != self._places:
            self.reading, self._places = self.first.with_tables(places), places

    def holds(self, inputs: Sequence[Column], kinds: Column) -> Column:
        """Tell of which rows this is the law; inputs as in `at`."""
        found: Column = self.known[kinds]
        record = self.reading.path.record
        for (question, one, other), answer in self.reading.path.answers.items():
            found &= QUESTIONS[question](*record.read((one, other), inputs)) == answer
        return found

    def inputs(self, sizes: Sequence[Column], kinds: Column) -> list[Column]:
        """Sizes, and what the tables say."""
        return [*sizes, *(table[kinds] for table in self.tables)]

    @property
    def group(self) -> Group:
        """Plan and work, with counts.

        Raises
        ------
        ValueError
            If there is no plan.
        """
        if self.reading.group is None:
            msg = f"shape must have a plan, but {self.reading.reason}"
            raise ValueError(msg)
        return self.reading.group

    def at(self, inputs: Sequence[Any]) -> Group:
        """Plan and work of the shapes of these inputs: columns, or symbols of another record."""
        group = self.group
        symbols = [count.symbol for count in group.columns]
        return group.changed(self.reading.path.record.read(symbols, inputs), 1)


class Laws:
    """Laws of one product under one scheme on machines that lower alike, found as shapes come.

    Parameters
    ----------
    layer
        What is not varied.
    names
        Sizes that vary.
    free
        Those of them that laws are read over; another is the same in all shapes of a kind.
    kind_of : int [lengths]
        Kind of each length that the reduction may have; empty where all shapes are of one kind.
    """

    def __init__(
        self,
        layer: Layer,
        names: Sequence[str],
        free: Sequence[str],
        kind_of: Column,
        scheme: Scheme,
        accelerator: Accelerator,
    ) -> None:
        self.layer, self.names, self.free, self.kind_of = layer, names, free, kind_of
        self.scheme, self.accelerator = scheme, accelerator
        self.laws: list[Law] = []
        self._by_key: dict[Any, list[Law]] = {}

    def sort(self, sizes: Mapping[str, Column], kinds: Column) -> Column:
        """Law of each row.

        Parameters
        ----------
        sizes
            Columns of `names`.
        kinds
            Of the rows.

        Returns
        -------
        numbers
            Places in `laws`.
        """
        self._check(sizes)
        free = [sizes[name] for name in self.free]
        numbers, left = np.zeros(len(kinds), np.intp), np.arange(len(kinds))
        while True:
            for number, law in enumerate(self.laws):
                mine = kinds[left]
                found = law.holds(law.inputs([size[left] for size in free], mine), mine)
                numbers[left[found]] = number
                left = left[~found]
                if not left.size:
                    return numbers
            _, firsts = np.unique(kinds[left], return_index=True)
            for row in left[firsts].tolist():
                self._learn(self.sized({name: int(size[row]) for name, size in sizes.items()}), int(kinds[row]))
            for law in self.laws:
                law.settle()

    def sized(self, sizes: Mapping[str, int]) -> Layer:
        """Layer of one shape."""
        return replace(self.layer, sizes={**self.layer.sizes, **sizes})

    def reason(self, sizes: Mapping[str, int]) -> str:
        """Say why a shape has no plan."""
        try:
            lower(self.sized(sizes), self.scheme, self.accelerator)
        except ValueError as error:
            return str(error)
        return ""

    def _learn(self, layer: Layer, kind: int) -> None:
        reading = Reading.of(layer, self.free, self.scheme, self.accelerator)
        key, constants = reading.split()
        laws = self._by_key.setdefault(key, [])
        law = next((law for law in laws if not law.known[kind]), None)
        if law is None:
            law = Law(reading, int(self.kind_of.max(initial=0)) + 1)
            laws.append(law)
            self.laws.append(law)
        law.add(kind, constants)

    def _check(self, sizes: Mapping[str, Column]) -> None:
        """Build the largest layer, which refuses sizes beyond its limit."""
        largest = int(np.argmax(np.prod(np.stack(list(sizes.values())), axis=0)))
        self.sized({name: int(size[largest]) for name, size in sizes.items()})
