"""The layout grammar and what a level does to an array."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.layout import Level, ScaleLayout, ScaleLayoutError, parse_layout

GEMM = "mk,kn->mn"
SCORES = "bhqd,bhkd->bhqk"
CONV = "conv2d padding=1"


@pytest.mark.parametrize(
    ("text", "contraction", "operand", "canonical"),
    [
        ("per_tensor", GEMM, "lhs", "1"),
        ("1", GEMM, "rhs", "1"),
        ("per_token", GEMM, "lhs", "m:1"),
        ("per_channel", GEMM, "rhs", "n:1"),
        ("per_channel_in", GEMM, "lhs", "k:1"),
        ("per_channel_in", GEMM, "rhs", "k:1"),
        ("group:128", GEMM, "lhs", "m:1,k:128"),
        ("group:128", GEMM, "rhs", "k:128,n:1"),
        ("block:1x128", GEMM, "lhs", "m:1,k:128"),
        ("block:128x64", GEMM, "rhs", "k:128,n:64"),
        ("mx:32", GEMM, "rhs", "k:32,n:1@pow2"),
        ("per_element", GEMM, "lhs", "m:1,k:1"),
        ("per_head", SCORES, "rhs", "h:1"),
        ("per_token", SCORES, "lhs", "b:1,h:1,q:1"),
        ("per_channel_in", SCORES, "rhs", "d:1"),
        ("per_token", CONV, "lhs", "b:1,h:1,w:1"),
        ("per_channel", CONV, "rhs", "o:1"),
        ("per_channel_in", CONV, "lhs", "c:1"),
        ("group:16", CONV, "rhs", "o:1,c:16"),
        ("per_channel", "depthwise2d", "rhs", "c:1"),
        ("per_token", "depthwise2d", "lhs", "b:1,h:1,w:1"),
        ("m:1, k:128", GEMM, "lhs", "m:1,k:128"),
        ("m:1 * m:1,k:16@int", GEMM, "lhs", "m:1 * m:1,k:16@int"),
        ("1 * n:1,k:16@int", GEMM, "rhs", "1 * n:1,k:16@int"),
        ("n:1*k:32@pow2", GEMM, "rhs", "n:1 * k:32@pow2"),
        ("codebook(int8) n:1", GEMM, "rhs", "codebook(int8) n:1"),
        ("codebook(real) per_channel", GEMM, "rhs", "codebook(real) n:1"),
        ("codebook(int8)", GEMM, "rhs", "codebook(int8) 1"),
        ("pow2 n:1", GEMM, "rhs", "pow2 n:1"),
    ],
)
def test_layouts_read(text: str, contraction: str, operand: str, canonical: str) -> None:
    from quant.contraction import Contraction

    parsed = Contraction.parse(contraction)
    axes = parsed.lhs if operand == "lhs" else parsed.rhs
    layout = parse_layout(text, axes, contraction, "lhs" if operand == "lhs" else "rhs")
    assert str(layout) == canonical
    assert parse_layout(str(layout), axes) == layout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x:1", "axis must be one of m, k, not 'x' in 'x:1'"),
        ("m:0", "block must be at least 1, not m:0"),
        ("m:1,m:2", "axis must occur once in a level, not as in m:1,m:2"),
        ("m", "layout must be a name or axis:block pairs such as 'm:1,k:128', not 'm'"),
        ("", "layout must be a name or axis:block pairs such as 'm:1,k:128', not ''"),
        ("m:1 * ", "layout must be a name or axis:block pairs such as 'm:1,k:128', not 'm:1 * '"),
        ("m:1@float", "kind must be one of real, int, pow2, not 'float' in 'm:1@float'"),
        ("m:1@", "kind must be one of real, int, pow2, not '' in 'm:1@'"),
        (
            "per_row",
            "layout must be one of per_tensor, per_token, per_channel, per_channel_in, per_head, per_element, "
            "group, mx, block or axis:block pairs, not 'per_row'",
        ),
        ("group", "layout must look like 'group:128', not 'group'"),
        ("group:0", "layout must look like 'group:128', not 'group:0'"),
        ("block:128", "layout must look like 'block:128x128', not 'block:128'"),
        ("per_token:4", "layout must look like 'per_token', not 'per_token:4'"),
        ("per_channel", "per_channel must be a layout of rhs, not of lhs, where an axis says it: 'm:1'"),
        ("per_head", "per_head must have a batch axis h, not mk,kn->mn"),
        ("codebook(float) m:1", "integer format must look like int8, u8 or int8_narrow, not 'float'"),
        ("codebook m:1", "code must be affine, pow2, codebook(real) or codebook(int8), not 'codebook'"),
    ],
)
def test_bad_layouts_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        parse_layout(text, "mk", GEMM, "lhs")


def test_names_that_need_a_contraction_say_so() -> None:
    with pytest.raises(ScaleLayoutError, match=r"^per_token must come with a contraction and an operand"):
        parse_layout("per_token", "mk")
    assert str(parse_layout("per_element", "mk")) == "m:1,k:1"
    with pytest.raises(ScaleLayoutError, match=r"^axes must be those of lhs, mk, not km$"):
        parse_layout("per_token", "km", GEMM, "lhs")
    with pytest.raises(ScaleLayoutError, match=r"^layout must have axes mk, not km$"):
        parse_layout(parse_layout("per_tensor", "km"), "mk")


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    blocks=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    which=st.sampled_from(["", "m", "k", "mk"]),
)
def test_expand_gives_each_element_the_scale_of_its_block(
    shape: tuple[int, int], blocks: tuple[int, int], which: str
) -> None:
    level = Level(tuple((axis, block) for axis, block in zip("mk", blocks, strict=True) if axis in which))
    scale = np.arange(np.prod(level.scale_shape("mk", shape))).reshape(level.scale_shape("mk", shape))
    expanded = level.expand(scale, "mk", shape)
    for row in range(shape[0]):
        for column in range(shape[1]):
            index = (row // blocks[0] if "m" in which else 0, column // blocks[1] if "k" in which else 0)
            assert expanded[row, column] == scale[index]


def test_one_group_is_per_channel() -> None:
    group = parse_layout("group:5", "kn", GEMM, "rhs").levels[0]
    assert group.scale_shape("kn", (5, 7)) == (1, 7)
    assert group.block_size("kn") == (5, 1)
    assert parse_layout("per_channel", "kn", GEMM, "rhs").levels[0].block_size("kn") == (-1, 1)


def test_storage_counts_every_level() -> None:
    layout = parse_layout("n:1 * n:1,k:16@int", "kn")
    assert layout.scale_shapes((64, 3)) == ((1, 3), (4, 3))
    assert layout.scale_bits((64, 3)) == 3 * 32 + 12 * 8
    assert layout.varying == ("k", "n")


def test_without_drops_axes_and_empty_levels() -> None:
    layout = parse_layout("m:1 * m:1,k:16@int", "mk")
    assert str(layout.without(("k",))) == "m:1 * m:1@int"
    assert str(layout.without(("m", "k"))) == "1"
    assert ScaleLayout(("m",)).levels == (Level(),)


def test_scales_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(ScaleLayoutError, match=r"^scales of k:2 must have shape \(1, 3\) on \(4, 5\), not \(1, 2\)$"):
        parse_layout("k:2", "mk").levels[0].expand(np.ones((1, 2)), "mk", (4, 5))
