"""Vectors of integers in the portable vector code of LLVM, which turns it into whatever the processor has.

Integers are held in lanes that represent them exactly: int16, int32, float32 below 2**24, or float64 below 2**53.
`hwsim.datapath.step_kernels` composes the accumulators from these operations.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

INT8, INT32, INT64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
TYPES: dict[str, Any] = {
    "int16": ir.IntType(16),
    "int32": INT32,
    "int64": INT64,
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
}
_BITS = {"int16": 16, "int32": 32, "int64": 64, "float32": 32, "float64": 64}


@functools.cache
def vector_bits() -> int:
    """Return the width of this processor's vector registers, bits."""
    features = llvm.get_host_cpu_features()
    if all(features.get(name) for name in ("avx512bw", "avx512dq", "avx512vl")):
        return 512
    return 256 if features.get("avx2") else 128


@functools.cache
def width() -> int:
    """Return the columns of a tile: as many as the vector registers of this processor take."""
    return 64 if vector_bits() == 512 else 16


def lanes_of(name: str) -> int:
    """Return how many lanes of a type are in a vector."""
    return vector_bits() // _BITS[name]


class Arithmetic:
    """Instructions on vectors of one lane type, added to what a builder writes."""

    def __init__(self, builder: Any, name: str, lanes: int | None = None) -> None:
        self.b = builder
        self.name = name
        self.element = TYPES[name]
        self.lanes = lanes or lanes_of(name)
        self.vector = ir.VectorType(self.element, self.lanes)
        self.is_float = name.startswith("float")
        self.zero = ir.Constant(self.vector, [0] * self.lanes)

    def splat(self, scalar: Any) -> Any:
        """Fill a vector with a scalar."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.b.insert_element(undefined, scalar, INT32(0))
        return self.b.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT32, self.lanes), [0] * self.lanes))

    def from_float64(self, scalar: Any) -> Any:
        """Fill a vector with the value of a float64 that the lanes can hold."""
        if self.name == "float64":
            return self.splat(scalar)
        convert = self.b.fptrunc if self.is_float else self.b.fptosi
        return self.splat(convert(scalar, self.element))

    def load(self, pointer: Any) -> Any:
        """Load neighbouring elements."""
        value = self.b.load(self.b.bitcast(pointer, self.vector.as_pointer()))
        value.align = 1
        return value

    def store(self, value: Any, pointer: Any) -> None:
        """Store neighbouring elements."""
        self.b.store(value, self.b.bitcast(pointer, self.vector.as_pointer())).align = 1

    def multiply_add(self, a: Any, x: Any, y: Any) -> Any:
        """Return ``a * x + y``."""
        return self.call("llvm.fma", a, x, y) if self.is_float else self.b.add(self.b.mul(a, x), y)

    def multiply(self, a: Any, x: Any) -> Any:
        """Return ``a * x``."""
        return self.b.fmul(a, x) if self.is_float else self.b.mul(a, x)

    def add(self, x: Any, y: Any) -> Any:
        """Return ``x + y``, modulo the lane if it holds integers."""
        return self.b.fadd(x, y) if self.is_float else self.b.add(x, y)

    def add_clamped(self, x: Any, y: Any, bounds: Range) -> Any:
        """Return ``x + y`` brought into a range, equation (5)."""
        total = self.b.fadd(x, y) if self.is_float else self.call("llvm.sadd.sat", x, y)
        # The order of the operands makes each a single instruction.
        total = self.b.select(self._less(total, bounds.lo), bounds.lo, total)
        return self.b.select(self._less(bounds.hi, total), bounds.hi, total)

    def wrapped(self, x: Any, bounds: Range) -> Any:
        """Return the value of a range that is congruent to `x`, equation (4)."""
        if not self.is_float:
            mask = self.b.sub(bounds.hi, bounds.lo)
            return self.b.add(self.b.and_(self.b.sub(x, bounds.lo), mask), bounds.lo)
        turns = self.call("llvm.floor", self.b.fmul(self.b.fsub(x, bounds.lo), bounds.inverse))
        return self.b.fsub(x, self.b.fmul(bounds.size, turns))

    def differs(self, x: Any, y: Any) -> Any:
        """Return a mask of where two vectors differ."""
        return self.b.fcmp_unordered("!=", x, y) if self.is_float else self.b.icmp_signed("!=", x, y)

    def call(self, name: str, *vectors: Any) -> Any:
        """Call an intrinsic of LLVM on vectors of this type."""
        module = self.b.module
        full = f"{name}.v{self.lanes}{self.element.intrinsic_name}"
        if full not in module.globals:
            ir.Function(module, ir.FunctionType(self.vector, [self.vector] * len(vectors)), full)
        return self.b.call(module.globals[full], vectors)

    def _less(self, x: Any, y: Any) -> Any:
        return self.b.fcmp_ordered("<", x, y) if self.is_float else self.b.icmp_signed("<", x, y)


class Range:
    """A register's range as vectors: lo, hi, and for floats the number of its values and the inverse."""

    def __init__(self, arithmetic: Arithmetic, limits: list[Any]) -> None:
        self.lo, self.hi = (arithmetic.from_float64(limit) for limit in limits[:2])
        if arithmetic.is_float:
            self.size, self.inverse = (arithmetic.from_float64(limit) for limit in limits[2:])


@contextmanager
def loop(builder: Any, count: Any) -> Iterator[Any]:
    """Repeat what is built inside the ``with`` `count` times, at least once; yields the index."""
    before = builder.block
    body = builder.append_basic_block()
    builder.branch(body)
    builder.position_at_end(body)
    index = builder.phi(INT64)
    index.add_incoming(INT64(0), before)
    yield index
    following = builder.add(index, INT64(1))
    index.add_incoming(following, builder.block)
    after = builder.append_basic_block()
    builder.cbranch(builder.icmp_signed("<", following, count), body, after)
    builder.position_at_end(after)


_ENGINES: list[Any] = []


def compiled(module: Any, name: str) -> Callable[..., None]:
    """Return a function of a module, which takes addresses and returns nothing, as a callable of integers."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    features = llvm.get_host_cpu_features().flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(llvm.get_host_cpu_name(), features, opt=3)
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    tuning.loop_vectorization = tuning.slp_vectorization = tuning.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(parsed, builder)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    # The code lives as long as its engine.
    _ENGINES.append(engine)
    arguments = module.get_global(name).args
    # A call of foreign code lets other Python threads run.
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arguments))(engine.get_function_address(name))
