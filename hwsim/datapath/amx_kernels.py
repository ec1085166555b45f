"""Kernels for the matrix units of x86 (AMX): bytes packed into their tiles, and products of packed operands.

A tile is 16 rows of 64 bytes. Of the lhs it holds 16 rows and 64 steps of the reduction; of the rhs 64 steps and 16
columns, four neighbouring steps of a column side by side. One instruction adds their product to 16 by 16 int32
(Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, ``TDPBSSD`` and its kin).
`hwsim.datapath.amx` decides whether they are there and feeds them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from .lanes import INT8, INT32, INT64, compiled, loop

STEPS = 64
"""Steps of the reduction in a tile."""
SIDE = 16
"""Rows or columns in a tile."""
TILE_BYTES = SIDE * STEPS
PAIR = 2 * SIDE
"""Rows and columns that a product takes at once: four tiles of sums."""
PACKED_COLUMNS = 64
"""Columns that are packed at once: as many as bytes are in a vector register."""

BYTES = ir.VectorType(INT8, STEPS)
WORDS = ir.VectorType(INT32, SIDE)
SINGLES = ir.VectorType(ir.FloatType(), SIDE)
_BIT = ir.IntType(1)
_VOID = ir.VoidType()
_POINTER = INT8.as_pointer()
_SUMS = ((0, 0, 0), (1, 0, 1), (2, 1, 0), (3, 1, 1))
"""Tile registers of the sums, with their row and column of tiles."""


class Function:
    """A function of addresses, and what its body needs."""

    def __init__(self, name: str, arguments: int) -> None:
        self.module = ir.Module(name)
        kind = ir.FunctionType(_VOID, [_POINTER] * arguments)
        self.function = ir.Function(self.module, kind, name)
        for argument in self.function.args:
            argument.add_attribute("noalias")
        self.arguments: list[Any] = list(self.function.args)
        self.b = ir.IRBuilder(self.function.append_basic_block())

    def finish(self) -> Callable[..., None]:
        """Compile."""
        self.b.ret_void()
        return compiled(self.module, self.function.name)

    def numbers(self, counts: Any, count: int) -> list[Any]:
        """Read the first int64 of an array."""
        array = self.b.bitcast(counts, INT64.as_pointer())
        return [self.b.load(self.b.gep(array, [INT64(i)])) for i in range(count)]

    def at(self, pointer: Any, *offsets: Any) -> Any:
        """Return an address some bytes further on."""
        for offset in offsets:
            pointer = self.b.gep(pointer, [offset])
        return pointer

    def times(self, index: Any, factor: Any) -> Any:
        """Multiply int64, by a number if it is one."""
        return self.b.mul(index, INT64(factor) if isinstance(factor, int) else factor)

    def lesser(self, a: Any, b: Any) -> Any:
        """Return the lesser of two int64."""
        return self.b.select(self.b.icmp_signed("<", a, b), a, b)

    def load(self, kind: Any, pointer: Any) -> Any:
        """Load from any address."""
        value = self.b.load(self.b.bitcast(pointer, kind.as_pointer()))
        value.align = 1
        return value

    def store(self, value: Any, pointer: Any) -> Any:
        """Store to any address."""
        place = self.b.store(value, self.b.bitcast(pointer, value.type.as_pointer()))
        place.align = 1
        return place

    def load_some(self, kind: Any, pointer: Any, mask: Any) -> Any:
        """Load the elements of a mask, zeros in place of the others, whose memory is not touched."""
        typed = self.b.bitcast(pointer, kind.as_pointer())
        zeros = ir.Constant(kind, [0] * kind.count)
        return self.call(f"llvm.masked.load.{_mangled(kind)}.p0", kind, typed, INT32(1), mask, zeros)

    def store_some(self, value: Any, pointer: Any, mask: Any) -> None:
        """Store the elements of a mask."""
        typed = self.b.bitcast(pointer, value.type.as_pointer())
        self.call(f"llvm.masked.store.{_mangled(value.type)}.p0", _VOID, value, typed, INT32(1), mask)

    def first(self, count: Any, size: int) -> Any:
        """Return the mask of the first `count` of `size` elements; `count` may be anything."""
        some = self.lesser(count, INT64(size))
        some = self.b.select(self.b.icmp_signed("<", some, INT64(0)), INT64(0), some)
        kind = ir.VectorType(INT8, size)
        return self.b.icmp_unsigned(
            "<", ir.Constant(kind, list(range(size))), self.splat(self.b.trunc(some, INT8), kind)
        )

    def splat(self, scalar: Any, kind: Any) -> Any:
        """Fill a vector with a scalar."""
        undefined = ir.Constant(kind, ir.Undefined)
        lane = self.b.insert_element(undefined, scalar, INT32(0))
        return self.b.shuffle_vector(lane, undefined, ir.Constant(ir.VectorType(INT32, kind.count), [0] * kind.count))

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        """Call an intrinsic of LLVM."""
        if name not in self.module.globals:
            ir.Function(self.module, ir.FunctionType(result, [x.type for x in arguments]), name)
        return self.b.call(self.module.globals[name], arguments)

    def tile(self, name: str, *arguments: Any) -> None:
        """Call an instruction of the matrix unit."""
        self.call(f"llvm.x86.{name}", _VOID, *arguments)

    def scratch(self, size: int) -> Any:
        """Return the address of bytes on the stack, in lines of the cache."""
        with self.b.goto_entry_block():
            array = self.b.alloca(ir.ArrayType(INT8, size))
        array.align = STEPS
        return self.b.bitcast(array, _POINTER)


def _mangled(kind: Any) -> str:
    return f"v{kind.count}{kind.element.intrinsic_name}"


def extended(f: Function, words: Any, byte: int, *, signed: bool) -> Any:
    """Return a byte of each int32, sign or zero extended."""
    up = f.b.shl(words, ir.Constant(WORDS, [24 - 8 * byte] * SIDE)) if byte < 3 else words
    down = ir.Constant(WORDS, [24] * SIDE)
    return f.b.ashr(up, down) if signed else f.b.lshr(up, down)


@functools.cache
def pack_rows() -> Callable[..., None]:
    """Return the kernel that packs rows into tiles, zeros beyond their ends.

    It takes the address of bytes [m, k] of some stride; of the tiles [t, s, 16, 64]; of int64 counts: m, k, stride of
    the bytes, t, s.
    """
    f = Function("pack_rows", 3)
    source, target, counts = f.arguments
    m, k, stride, tiles, blocks = f.numbers(counts, 5)
    with loop(f.b, tiles) as tile, loop(f.b, INT64(SIDE)) as r:
        row = f.b.add(f.times(tile, SIDE), r)
        inside = f.b.select(f.b.icmp_signed("<", row, m), k, INT64(0))
        line = f.at(source, f.times(row, stride))
        to = f.at(target, f.times(f.times(tile, blocks), TILE_BYTES), f.times(r, STEPS))
        with loop(f.b, blocks) as block:
            first = f.times(block, STEPS)
            some = f.load_some(BYTES, f.at(line, first), f.first(f.b.sub(inside, first), STEPS))
            f.store(some, f.at(to, f.times(block, TILE_BYTES)))
    return f.finish()


@functools.cache
def pack_columns() -> Callable[..., None]:
    """Return the kernel that packs columns into tiles, zeros beyond their ends.

    It takes the address of bytes [k, n] of some stride; of the tiles [4 c, s, 16, 64]; of int64 counts: k, n, stride
    of the bytes, s, c.
    """
    f = Function("pack_columns", 3)
    source, target, counts = f.arguments
    k, n, stride, blocks, columns = f.numbers(counts, 5)
    pitch = f.times(blocks, TILE_BYTES)
    bytewise, pairwise = _interleaving(1), _interleaving(2)
    with loop(f.b, blocks) as block, loop(f.b, columns) as column, loop(f.b, INT64(SIDE)) as four:
        step, left = f.b.add(f.times(block, STEPS), f.times(four, 4)), f.times(column, PACKED_COLUMNS)
        lines = []
        for i in range(4):
            row = f.b.add(step, INT64(i))
            inside = f.b.select(f.b.icmp_signed("<", row, k), f.b.sub(n, left), INT64(0))
            lines.append(f.load_some(BYTES, f.at(source, f.times(row, stride), left), f.first(inside, STEPS)))
        pairs = [[f.b.shuffle_vector(lines[i], lines[i + 1], half) for half in bytewise] for i in (0, 2)]
        quads = [f.b.shuffle_vector(*both, half) for both in zip(*pairs, strict=True) for half in pairwise]
        to = f.at(target, f.times(f.times(column, 4), pitch), f.times(block, TILE_BYTES), f.times(four, STEPS))
        for i, quad in enumerate(quads):
            f.store(quad, f.at(to, f.times(pitch, i)))
    return f.finish()


def _interleaving(grain: int) -> tuple[Any, Any]:
    """Return the masks of the two halves of two vectors of bytes interleaved, `grain` bytes at a time."""
    order = [side * STEPS + grain * i + j for i in range(STEPS // grain) for side in (0, 1) for j in range(grain)]
    kind = ir.VectorType(INT32, STEPS)
    return ir.Constant(kind, order[:STEPS]), ir.Constant(kind, order[STEPS:])


@functools.cache
def squares(sign: str, *, across: bool) -> Callable[..., None]:
    """Return the kernel that sums the squares of each row or column of packed tiles.

    It takes the address of the tiles, of int32 sums [tiles, 16], of int64 counts: tiles.

    Parameters
    ----------
    sign
        "s" for signed bytes, "u" for unsigned.
    across
        Whether tiles hold rows, else columns.
    """
    f = Function("squares", 3)
    tiles, sums, counts = f.arguments
    (count,) = f.numbers(counts, 1)
    with loop(f.b, count) as tile:
        lanes = ir.Constant(WORDS, [0] * SIDE)
        for line in range(SIDE):
            words = f.load(WORDS, f.at(tiles, f.times(tile, TILE_BYTES), INT64(STEPS * line)))
            total = lanes if not across else ir.Constant(WORDS, [0] * SIDE)
            for byte in range(4):
                value = extended(f, words, byte, signed=sign == "s")
                total = f.b.add(total, f.b.mul(value, value))
            if across:
                total = f.call("llvm.vector.reduce.add.v16i32", INT32, total)
                f.store(total, f.at(sums, f.times(tile, 4 * SIDE), INT64(4 * line)))
            else:
                lanes = total
        if not across:
            f.store(lanes, f.at(sums, f.times(tile, 4 * SIDE)))
    return f.finish()


@functools.cache
def multiply(signs: str, *, streamed: bool, checked: bool) -> Callable[..., None]:
    """Return the kernel that multiplies packed operands.

    It takes addresses of the tiles of the lhs and of the rhs; of int32 sums [m, n]; of the tile configuration; of
    int64 counts: m, n, stride of the sums in elements, tiles of steps. Checked, the counts go on: tiles of a block,
    strides in elements of a block of norms of rows, of columns, and of a pair of columns of marks; and it also takes
    addresses of float32 norms of rows and columns in each block, padded to whole pairs; of a float32 limit; of uint16
    zeros [pairs of n, pairs of m, 32, 2], which get a bit for each sum that, with the sum at the beginning of some
    block and its norms, equation (10), is beyond the limit.

    Parameters
    ----------
    signs
        Signedness of lhs and rhs: "ss", "su", "us", "uu".
    streamed
        Whether sums go around the caches; they must then start in whole lines of the cache, and n be whole pairs.
    checked
        Whether sums are checked block by block.
    """
    f = Function("multiply", 9 if checked else 5)
    lhs, rhs, sums, configuration, counts, *rest = f.arguments
    m, n, stride, steps = f.numbers(counts, 4)
    pitch = f.times(steps, TILE_BYTES)
    scratch = f.scratch(4 * PAIR * PAIR)
    check = _Check(f, rest, f.numbers(counts, 8)[4:]) if checked else None
    f.tile("ldtilecfg", configuration)
    pairs = [f.b.sdiv(f.b.add(size, INT64(PAIR - 1)), INT64(PAIR)) for size in (m, n)]
    with loop(f.b, pairs[1]) as column, loop(f.b, pairs[0]) as row:
        operands = [f.at(x, f.times(f.times(i, 2), pitch)) for x, i in ((lhs, row), (rhs, column))]
        for register, _, _ in _SUMS:
            f.tile("tilezero", INT8(register))
        if check is None:
            with loop(f.b, steps) as step:
                _add_products(f, signs, operands, pitch, step)
            _unload(f, scratch)
        else:
            check.begin(row, column)
            blocks = f.b.sdiv(f.b.add(steps, f.b.sub(check.length, INT64(1))), check.length)
            with loop(f.b, blocks) as block:
                first = f.b.mul(block, check.length)
                left = f.b.sub(steps, first)
                some = f.lesser(left, check.length)
                with loop(f.b, some) as step:
                    _add_products(f, signs, operands, pitch, f.b.add(first, step))
                _unload(f, scratch)
                check.block(scratch, block, row, column)
        _write(f, scratch, sums, (row, column), (m, n, stride), streamed=streamed)
    f.tile("tilerelease")
    if streamed:
        f.call("llvm.x86.sse.sfence", _VOID)
    return f.finish()


def _add_products(f: Function, signs: str, operands: list[Any], pitch: Any, step: Any) -> None:
    """Add the products of 64 steps to the sums."""
    for side, operand in enumerate(operands):
        start = f.at(operand, f.times(step, TILE_BYTES))
        for i in (0, 1):
            f.tile("tileloadd64", INT8(4 + 2 * side + i), f.at(start, f.times(pitch, i)), INT64(STEPS))
    for register, i, j in _SUMS:
        f.tile(f"tdpb{signs}d", INT8(register), INT8(4 + i), INT8(6 + j))


def _unload(f: Function, scratch: Any) -> None:
    """Store the sums as [32, 32]."""
    for register, i, j in _SUMS:
        place = f.at(scratch, INT64(4 * SIDE * (PAIR * i + j)))
        f.tile("tilestored64", INT8(register), place, INT64(4 * PAIR))


def _write(
    f: Function, scratch: Any, sums: Any, place: tuple[Any, Any], sizes: tuple[Any, Any, Any], *, streamed: bool
) -> None:
    """Copy the sums that lie inside to where they belong."""
    m, n, stride = sizes
    top, left = (f.times(i, PAIR) for i in place)
    below, beside = f.b.sub(m, top), f.b.sub(n, left)
    rows = f.lesser(below, INT64(PAIR))
    with loop(f.b, rows) as r:
        line = f.at(sums, f.times(f.b.add(f.times(f.b.add(top, r), stride), left), 4))
        for half in (0, 1):
            words = f.load(WORDS, f.at(scratch, f.times(r, 4 * PAIR), INT64(4 * SIDE * half)))
            to = f.at(line, INT64(4 * SIDE * half))
            if streamed:
                stored = f.store(words, to)
                stored.align = STEPS
                stored.set_metadata("nontemporal", f.module.add_metadata([INT32(1)]))
            else:
                f.store_some(words, to, f.first(f.b.sub(beside, INT64(SIDE * half)), SIDE))


class _Check:
    """Compares sums at the ends of blocks with what the blocks allow."""

    def __init__(self, f: Function, arguments: list[Any], counts: list[Any]) -> None:
        self.f = f
        self.row_norms, self.column_norms, limit, self.marks = arguments
        self.limit = f.splat(f.load(ir.FloatType(), limit), SINGLES)
        self.length, *self.pitches, self.marks_pitch = counts
        self.before, self.beyond = f.scratch(4 * PAIR * PAIR), self.marks

    def begin(self, row: Any, column: Any) -> None:
        """Begin at sums of zero, with the marks of a pair."""
        f = self.f
        self.beyond = f.at(self.marks, f.times(f.b.mul(column, self.marks_pitch), 2), f.times(row, 4 * PAIR))
        with loop(f.b, INT64(2 * PAIR)) as i:
            f.store(ir.Constant(WORDS, [0] * SIDE), f.at(self.before, f.times(i, 4 * SIDE)))

    def block(self, scratch: Any, block: Any, row: Any, column: Any) -> None:
        """Check the sums after a block, and keep them for the next."""
        f, b = self.f, self.f.b
        rows, columns = (
            f.at(norms, f.times(b.add(b.mul(block, pitch), f.times(i, PAIR)), 4))
            for norms, pitch, i in zip((self.row_norms, self.column_norms), self.pitches, (row, column), strict=True)
        )
        norms = [f.load(SINGLES, f.at(columns, INT64(4 * SIDE * half))) for half in (0, 1)]
        with loop(b, INT64(PAIR)) as r:
            norm = f.splat(f.load(ir.FloatType(), f.at(rows, f.times(r, 4))), SINGLES)
            line = f.times(r, 4 * PAIR)
            for half in (0, 1):
                place = INT64(4 * SIDE * half)
                after, earlier = f.at(scratch, line, place), f.at(self.before, line, place)
                words = f.load(WORDS, after)
                middle = b.sitofp(b.add(words, f.load(WORDS, earlier)), SINGLES)
                f.store(words, earlier)
                size = f.call("llvm.fabs.v16f32", SINGLES, middle)
                reach = f.call("llvm.fma.v16f32", SINGLES, norm, norms[half], size)
                bits = b.bitcast(b.fcmp_unordered(">", reach, self.limit), ir.IntType(16))
                mark = f.at(self.beyond, f.times(r, 4), INT64(2 * half))
                f.store(b.or_(f.load(ir.IntType(16), mark), bits), mark)


@functools.cache
def walk(signs: str, depth: int) -> Callable[..., None]:
    """Return the kernel that steps saturating registers of 16 neighbouring columns, equation (5).

    It takes addresses of the tiles of the lhs and of the rhs; of int32 registers [units, 16]; of int64 units
    [units, 2], each a row of the lhs and a column of tiles; of int64 counts: units, tiles of steps, lo, hi.

    Parameters
    ----------
    signs
        Signedness of lhs and rhs.
    depth
        Products of a step, a power of two up to 64.
    """
    f = Function("walk", 5)
    lhs, rhs, registers, units, counts = f.arguments
    count, steps, *bounds = f.numbers(counts, 4)
    lo, hi = (f.splat(f.b.trunc(bound, INT32), WORDS) for bound in bounds)
    pitch = f.times(steps, TILE_BYTES)
    with loop(f.b, count) as unit:
        row, column = f.numbers(f.at(units, f.times(unit, 16)), 2)
        line = f.at(lhs, f.times(f.b.sdiv(row, INT64(SIDE)), pitch), f.times(f.b.srem(row, INT64(SIDE)), STEPS))
        tiles = f.at(rhs, f.times(column, pitch))
        place = f.at(registers, f.times(unit, 4 * SIDE))
        start = f.load(WORDS, place)
        before = f.b.block
        with loop(f.b, steps) as step:
            register = f.b.phi(WORDS)
            register.add_incoming(start, before)
            now, addend = register, None
            for k in range(STEPS):
                at = f.times(step, TILE_BYTES)
                if k % 4 == 0:
                    words = f.load(WORDS, f.at(tiles, at, INT64(STEPS * (k // 4))))
                factor = f.b.load(f.at(line, at, INT64(k)))
                wide = f.b.sext(factor, INT32) if signs[0] == "s" else f.b.zext(factor, INT32)
                product = f.b.mul(f.splat(wide, WORDS), extended(f, words, k % 4, signed=signs[1] == "s"))
                addend = product if addend is None else f.b.add(addend, product)
                if (k + 1) % depth == 0:
                    total = f.b.add(now, addend)
                    total = f.b.select(f.b.icmp_signed("<", total, lo), lo, total)
                    now, addend = f.b.select(f.b.icmp_signed(">", total, hi), hi, total), None
            register.add_incoming(now, f.b.block)
        f.store(now, place)
    return f.finish()
