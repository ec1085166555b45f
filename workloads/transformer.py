"""Transformers by their published shapes: prefill of a prompt, and decoding of one token with a cache.

The networks have shapes only: costs can be stated, nothing can be run. Counted is what costs: the contractions of
every block, of the head that predicts tokens, and the functions between them. Embeddings are looked up, not
multiplied, and are left out; so is the rotation of the one key that a decoded token adds. Causal attention is
computed whole and masked, as an array without a triangular schedule does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .function import Function, FunctionKind
from .layer import Layer, Producer
from .network import Network
from .tensors import ShapesOnly
from .transformer_shapes import TransformerShape

EPSILON = 1e-5
ROTARY_BASE = 10000.0  # rope_theta of both Llama models, by default


def prefill(shape: TransformerShape, tokens: int, batch: int = 1) -> Network:
    """Read a prompt: all tokens at once; a model that predicts does so after the last one.

    Parameters
    ----------
    shape
        Of the model.
    tokens
        Of each sequence, at most its context.
    batch
        Sequences.

    Returns
    -------
    network
        With shapes only.

    Raises
    ------
    ValueError
        If the sequence is longer than the context or a number is not positive.

    Examples
    --------
    >>> from workloads import SHAPES
    >>> network = prefill(SHAPES["gpt2"], 512)
    >>> len(network.layers), network.tokens, network.layer("0.scores").gemm
    (97, 512, Gemm(batch=12, m=512, k=64, n=512))
    """
    _check_tokens(shape, tokens)
    name = f"{shape.name}-prefill-{tokens}"
    return _network(_Builder(shape, tokens, tokens, cached=False), name, tokens).batched(batch)


def decode(shape: TransformerShape, context: int, batch: int = 1) -> Network:
    """Make one token for each sequence, reading the keys and values of its context from a cache.

    Parameters
    ----------
    shape
        Of a model that predicts tokens.
    context
        Tokens that attention sees, the new one included, at most the model's.
    batch
        Sequences.

    Returns
    -------
    network
        With shapes only.

    Raises
    ------
    ValueError
        If the model predicts no tokens, the context is longer than its own, or a number is not positive.

    Examples
    --------
    >>> from workloads import SHAPES
    >>> network = decode(SHAPES["gpt2"], 512)
    >>> network.tokens, network.layer("0.scores").gemm, network.layer("0.scores").rhs_producer
    (1, Gemm(batch=12, m=1, k=64, n=512), 'cache')
    """
    _check_tokens(shape, context)
    if not shape.causal:
        msg = f"transformer must predict tokens to decode, not be an encoder as {shape.name} is"
        raise ValueError(msg)
    return _network(_Builder(shape, 1, context, cached=True), f"{shape.name}-decode-{context}", 1).batched(batch)


def _check_tokens(shape: TransformerShape, tokens: int) -> None:
    if not 1 <= tokens <= shape.context:
        msg = f"tokens of {shape.name} must be in 1..{shape.context}, not {tokens}"
        raise ValueError(msg)


def _network(builder: _Builder, name: str, tokens: int) -> Network:
    nodes = builder.nodes()
    made = {node.output for node in nodes}
    read = dict.fromkeys(t for node in nodes for t in _reads(node))
    inputs = [tensor for tensor in read if tensor == "x" or tensor.endswith("_cache")]
    constants = [tensor for tensor in read if tensor not in made and tensor not in inputs]
    absent = ShapesOnly(inputs, name)
    source = "no tensors: the workload has shapes only"
    return Network(
        name, builder.shape.source, nodes, ShapesOnly(constants, name), absent, absent, source, source, tokens
    )


def _reads(node: Layer | Function) -> tuple[str, ...]:
    if isinstance(node, Function):
        return node.inputs
    return (node.lhs, node.rhs) if node.bias is None else (node.lhs, node.rhs, node.bias)


@dataclass
class _Builder:
    """Lays out a transformer for `tokens` new tokens that attend to `context` tokens."""

    shape: TransformerShape
    tokens: int
    context: int
    cached: bool
    made: list[Layer | Function] = field(default_factory=list)

    def nodes(self) -> tuple[Layer | Function, ...]:
        stream, producer = "x", "input"
        for index in range(self.shape.layers):
            stream = self.block(f"{index}.", stream, "input" if producer == "input" else "function")
            producer = "function"
        shape = self.shape
        if shape.vocabulary:
            last = stream
            if self.tokens > 1:
                sizes = {"m": 1, "n": shape.width}
                last = self.function(
                    "pick_last", FunctionKind.PICK_LAST, (stream,), sizes, {"sequence": float(self.tokens)}
                )
            normed = self.norm("final_norm", last, rows=1)
            sizes = {"m": 1, "k": shape.width, "n": shape.vocabulary}
            self.made.append(
                Layer("head", "mk,kn->mn", sizes, normed, "head.weight", "logits", lhs_producer="function")
            )
        return tuple(self.made)

    def block(self, at: str, stream: str, producer: Producer) -> str:
        """Add one block; return the stream after it."""
        if self.shape.style == "post-norm":
            attended = self.attention(at, stream, producer)
            middle = self.norm(f"{at}attention_norm", self.add(f"{at}attention_add", attended, stream))
            forward = self.feed_forward(at, middle)
            return self.norm(f"{at}ffn_norm", self.add(f"{at}ffn_add", forward, middle))
        attended = self.attention(at, self.norm(f"{at}attention_norm", stream), "function")
        middle = self.add(f"{at}attention_add", attended, stream)
        forward = self.feed_forward(at, self.norm(f"{at}ffn_norm", middle))
        return self.add(f"{at}ffn_add", forward, middle)

    def attention(self, at: str, x: str, producer: Producer) -> str:
        shape = self.shape
        kv_width = shape.kv_heads * shape.head
        q = self.linear(f"{at}q", x, shape.width, shape.width, producer)
        made = [self.linear(f"{at}{name}", x, shape.width, kv_width, producer) for name in "kv"]
        repeats = shape.heads // shape.kv_heads
        heads, grouped = ("h", {"h": shape.heads}) if repeats == 1 else ("gr", {"g": shape.kv_heads, "r": repeats})
        groups = heads[0]
        sizes = {"b": 1, **grouped, "q": self.tokens, "k": self.context, "d": shape.head}
        queries = self.split(f"{at}split_q", q, f"b{heads}qd", sizes)
        rotates = self.shape.style == "gated"
        if rotates:
            queries = self.rotary(f"{at}rotate_q", queries, f"b{heads}qd", sizes)
        if self.cached:
            keys, values = f"{at}k_cache", f"{at}v_cache"
        else:
            keys, values = (
                self.split(f"{at}split_{n}", t, f"b{groups}kd", sizes) for n, t in zip("kv", made, strict=True)
            )
        if rotates and not self.cached:
            keys = self.rotary(f"{at}rotate_k", keys, f"b{groups}kd", sizes)
        kv_producer: Producer = "cache" if self.cached else "contraction"
        keys_producer: Producer = "function" if rotates and not self.cached else kv_producer
        scores = Layer(
            f"{at}scores",
            f"b{heads}qd,b{groups}kd->b{heads}qk",
            sizes,
            queries,
            keys,
            f"{at}scores",
            "activation",
            lhs_producer="function" if rotates else "contraction",
            rhs_producer=keys_producer,
        )
        axes = f"b{heads}qk"
        softmax = Function(
            f"{at}softmax",
            FunctionKind.SOFTMAX,
            (scores.output,),
            f"{at}probabilities",
            axes,
            {label: sizes[label] for label in axes},
            {"scale": 1 / math.sqrt(shape.head)},
        )
        context = Layer(
            f"{at}values",
            f"b{heads}qk,b{groups}kd->b{heads}qd",
            sizes,
            softmax.output,
            values,
            f"{at}values",
            "activation",
            lhs_producer="function",
            rhs_producer=kv_producer,
        )
        self.made += [scores, softmax, context]
        tokens = {"m": self.tokens, "n": shape.width}
        merged = self.function(f"{at}merge_heads", FunctionKind.MERGE_HEADS, (context.output,), tokens)
        return self.linear(f"{at}attention_out", merged, shape.width, shape.width, "contraction")

    def feed_forward(self, at: str, x: str) -> str:
        shape = self.shape
        hidden = {"m": self.tokens, "n": shape.ffn}
        up = self.linear(f"{at}ffn_up", x, shape.width, shape.ffn, "function")
        if shape.style == "gated":
            gate = self.linear(f"{at}ffn_gate", x, shape.width, shape.ffn, "function")
            opened = self.function(f"{at}silu", FunctionKind.SILU, (gate,), hidden)
            active = self.function(f"{at}gate", FunctionKind.MULTIPLY, (opened, up), hidden)
        else:
            active = self.function(f"{at}gelu", FunctionKind.GELU, (up,), hidden)
        return self.linear(f"{at}ffn_down", active, shape.ffn, shape.width, "function")

    def linear(self, name: str, x: str, inputs: int, outputs: int, producer: Producer) -> str:
        bias = None if self.shape.style == "gated" else f"{name}.bias"
        sizes = {"m": self.tokens, "k": inputs, "n": outputs}
        self.made.append(Layer(name, "mk,kn->mn", sizes, x, f"{name}.weight", name, bias=bias, lhs_producer=producer))
        return name

    def function(
        self,
        name: str,
        kind: FunctionKind,
        inputs: tuple[str, ...],
        sizes: dict[str, int],
        parameters: dict[str, float] | None = None,
    ) -> str:
        self.made.append(Function(name, kind, inputs, name, "mn", sizes, parameters or {}))
        return name

    def split(self, name: str, x: str, axes: str, sizes: dict[str, int]) -> str:
        chosen = {label: sizes[label] for label in axes}
        self.made.append(Function(name, FunctionKind.SPLIT_HEADS, (x,), name, axes, chosen))
        return name

    def rotary(self, name: str, x: str, axes: str, sizes: dict[str, int]) -> str:
        chosen = {label: sizes[label] for label in axes}
        parameters = {"base": ROTARY_BASE, "first": float(self.context - self.tokens)}
        self.made.append(Function(name, FunctionKind.ROTARY, (x,), name, axes, chosen, parameters))
        return name

    def add(self, name: str, x: str, y: str) -> str:
        return self.function(name, FunctionKind.ADD, (x, y), {"m": self.tokens, "n": self.shape.width})

    def norm(self, name: str, x: str, rows: int | None = None) -> str:
        sizes = {"m": self.tokens if rows is None else rows, "n": self.shape.width}
        if self.shape.style == "gated":
            return self.function(name, FunctionKind.RMS_NORM, (x, f"{name}.gamma"), sizes, {"epsilon": EPSILON})
        inputs = (x, f"{name}.gamma", f"{name}.beta")
        return self.function(name, FunctionKind.LAYER_NORM, inputs, sizes, {"epsilon": EPSILON})
