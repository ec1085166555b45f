"""Transformers: published numbers of parameters and products, the graph, the cache, and every refusal."""

import dataclasses
import math
import re
from typing import Any

import pytest

import workloads
from workloads import SHAPES, Function, Layer, Network, TransformerShape, decode, prefill

# Parameters that the network has no operand for: tables of embeddings and positions, and what norms add.
PUBLISHED = {"gpt2": 124_439_808, "tinyllama-1.1b": 1_100_048_384, "llama2-7b": 6_738_415_616}


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def parameters(network: Network, shape: TransformerShape) -> int:
    weights = sum(math.prod(layer.rhs_shape) for layer in network.layers if layer.rhs_kind == "weight")
    biases = sum(layer.output_shape[-1] for layer in network.layers if layer.bias is not None)
    norms = [f for f in network.functions if f.kind.endswith("_norm")]
    scales = sum((len(f.inputs) - 1) * shape.width for f in norms)
    positions = shape.context * shape.width if shape.style == "pre-norm" else 0
    # GPT-2 multiplies by its table of embeddings in the head, Llama has two tables.
    tables = shape.vocabulary * shape.width if shape.style == "gated" else 0
    return weights + biases + scales + positions + tables


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_published(name: str) -> None:
    shape = SHAPES[name]
    assert parameters(prefill(shape, 64), shape) == PUBLISHED[name]
    assert parameters(decode(shape, 64), shape) == PUBLISHED[name]


def test_six_blocks_of_minilm_are_six_times_the_shipped_block() -> None:
    block = workloads.load("minilm-block")  # 2 sequences of 128
    assert prefill(SHAPES["minilm-l6"], 128, batch=2).macs == 6 * block.macs


@pytest.mark.parametrize("name", PUBLISHED)
def test_decoding_multiplies_each_weight_once_and_each_cached_value_once_a_query(name: str) -> None:
    shape, context = SHAPES[name], 96
    network = decode(shape, context)
    weights = sum(math.prod(layer.rhs_shape) for layer in network.layers if layer.rhs_kind == "weight")
    assert network.macs == weights + shape.layers * 2 * shape.heads * shape.head * context


def test_reading_a_prompt_is_decoding_every_token_but_for_the_head_and_what_is_masked() -> None:
    shape, tokens = SHAPES["gpt2"], 5
    head = shape.width * shape.vocabulary
    read = prefill(shape, tokens).macs - head
    # each token against all of the context, as the masked half is computed too
    assert read == tokens * (decode(shape, tokens).macs - head)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_heads_of_queries_share_the_keys_of_their_group(shape: TransformerShape) -> None:
    layer = prefill(shape, 7).layer("0.scores")
    repeats = shape.heads // shape.kv_heads
    assert math.prod(layer.rhs_shape) == shape.kv_heads * 7 * shape.head
    assert tuple(dataclasses.astuple(layer.gemm)) == (shape.kv_heads, 7 * repeats, shape.head, 7)


def test_the_cache_is_an_input_of_the_context_in_every_block() -> None:
    network = decode(SHAPES["tinyllama-1.1b"], 40)
    caches = [name for name in network.evaluation if name != "x"]
    assert caches == [f"{block}.{kind}_cache" for block in range(22) for kind in "kv"]
    readers = {layer.rhs: layer for layer in network.layers if layer.rhs in caches}
    assert {layer.rhs_shape for layer in readers.values()} == {(1, 4, 40, 64)}
    assert {layer.rhs_producer for layer in readers.values()} == {"cache"}


def test_a_cache_must_be_an_input() -> None:
    layer = Layer("s", "mk,kn->mn", {"m": 2, "k": 3, "n": 5}, "x", "w", "y", "activation", rhs_producer="cache")
    with pytest.raises(ValueError, match=exactly("rhs_producer of layer s must be constant, not cache")):
        Network("n", "here", (layer,), {"w": None}, {"x": None}, {"x": None}, "-", "-")  # type: ignore[dict-item]


def test_batch_multiplies_rows_and_caches_but_no_weight() -> None:
    one, four = decode(SHAPES["gpt2"], 32), decode(SHAPES["gpt2"], 32, batch=4)
    assert (four.macs, four.tokens) == (4 * one.macs, 4)
    for a, b in zip(one.layers, four.layers, strict=True):
        grown = math.prod(b.rhs_shape) // math.prod(a.rhs_shape)
        assert grown == (1 if a.rhs_kind == "weight" else 4)


def test_shapes_alone_can_not_be_run() -> None:
    network = decode(SHAPES["gpt2"], 8)
    text = "network gpt2-decode-8 must have tensors to be run, but it has shapes only: ask for its costs"
    assert network.shapes_only
    assert not workloads.load("minilm-block").shapes_only
    with pytest.raises(ValueError, match=exactly(text)):
        network.run(network.evaluation)
    with pytest.raises(KeyError):
        network.evaluation["nothing"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gpt2-prefill-1025", "tokens of gpt2 must be in 1..1024, not 1025"),
        ("minilm-l6-decode-8", "transformer must predict tokens to decode, not be an encoder as minilm-l6 is"),
    ],
)
def test_sequences_that_a_model_can_not_take_are_refused(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=exactly(text)):
        workloads.load(name)


@pytest.mark.parametrize("name", ["gpt3-prefill-8", "gpt2-prefill-0", "gpt2-train-8", "resnet"])
def test_unknown_names_suggest_the_nearest(name: str) -> None:
    with pytest.raises(ValueError, match=r"^workload must be one of minilm-block, .*; did you mean"):
        workloads.load(name)


def test_every_listed_name_loads_and_is_that_of_its_network() -> None:
    assert [workloads.load(name).name for name in workloads.names()] == list(workloads.names())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"layers": 0}, "layers of transformer gpt2 must be positive, not 0"),
        (
            {"heads": 7},
            "width and heads of transformer gpt2 must be multiples of heads and kv_heads, not 768, 7 and 12",
        ),
        (
            {"kv_heads": 5},
            "width and heads of transformer gpt2 must be multiples of heads and kv_heads, not 768, 12 and 5",
        ),
    ],
)
def test_shapes_that_do_not_divide_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=exactly(text)):
        dataclasses.replace(SHAPES["gpt2"], **changes)


def test_llamas_rotate_queries_and_keys() -> None:
    network = prefill(SHAPES["tinyllama-1.1b"], 24)
    turned = {node.name: node for node in network.nodes if isinstance(node, Function) and node.kind == "rotary"}
    assert len(turned) == 2 * 22
    assert [turned[name].elements() for name in ("0.rotate_q", "0.rotate_k")] == [24 * 32 * 64, 24 * 4 * 64]
    scores = network.layer("0.scores")
    assert (scores.lhs_producer, scores.rhs_producer) == ("function", "function")
    (step,) = [node for node in decode(SHAPES["tinyllama-1.1b"], 40).nodes if node.name == "3.rotate_q"]
    assert isinstance(step, Function)
    assert step.parameters["first"] == 39
    assert not any(isinstance(n, Function) and n.kind == "rotary" for n in prefill(SHAPES["gpt2"], 24).nodes)
