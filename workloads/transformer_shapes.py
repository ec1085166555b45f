"""Shapes of transformers, as published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TransformerShape:
    """Sizes of a transformer.

    Parameters
    ----------
    name, source
        What it is and where its sizes are published.
    layers, width, heads, kv_heads, ffn : elements
        Blocks, channels of the residual stream, heads of queries, heads of keys and values, channels between the two
        halves of the feed-forward part.
    vocabulary : tokens
        Columns of the head that predicts tokens; 0 without one.
    context : tokens
        Longest sequence.
    style
        ``post-norm``: the encoder of BERT; ``pre-norm``: the decoder of GPT-2; ``gated``: that of Llama, with
        rms_norm, a gated feed-forward part and no biases.
    """

    name: str
    source: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    ffn: int
    vocabulary: int
    context: int
    style: Literal["post-norm", "pre-norm", "gated"]

    def __post_init__(self) -> None:
        for label in ("layers", "width", "heads", "kv_heads", "ffn", "context"):
            if getattr(self, label) < 1:
                msg = f"{label} of transformer {self.name} must be positive, not {getattr(self, label)}"
                raise ValueError(msg)
        if self.width % self.heads or self.heads % self.kv_heads:
            msg = f"width and heads of transformer {self.name} must be multiples of heads and kv_heads"
            raise ValueError(f"{msg}, not {self.width}, {self.heads} and {self.kv_heads}")

    @property
    def head(self) -> int:
        """Channels of one head."""
        return self.width // self.heads

    @property
    def causal(self) -> bool:
        """Whether it predicts tokens one after the other."""
        return self.style != "post-norm"


SHAPES = {
    shape.name: shape
    for shape in (
        TransformerShape(
            "minilm-l6",
            "config.json of sentence-transformers/all-MiniLM-L6-v2",
            layers=6,
            width=384,
            heads=12,
            kv_heads=12,
            ffn=1536,
            vocabulary=0,
            context=512,
            style="post-norm",
        ),
        TransformerShape(
            "gpt2",
            "config.json of openai-community/gpt2 (Radford et al., 2019), 124,439,808 parameters",
            layers=12,
            width=768,
            heads=12,
            kv_heads=12,
            ffn=3072,
            vocabulary=50257,
            context=1024,
            style="pre-norm",
        ),
        TransformerShape(
            "tinyllama-1.1b",
            "config.json of TinyLlama/TinyLlama-1.1B-Chat-v1.0 (arXiv 2401.02385), 1,100,048,384 parameters",
            layers=22,
            width=2048,
            heads=32,
            kv_heads=4,
            ffn=5632,
            vocabulary=32000,
            context=2048,
            style="gated",
        ),
        TransformerShape(
            "llama2-7b",
            "config.json of meta-llama/Llama-2-7b-hf (arXiv 2307.09288), 6,738,415,616 parameters",
            layers=32,
            width=4096,
            heads=32,
            kv_heads=32,
            ffn=11008,
            vocabulary=32000,
            context=4096,
            style="gated",
        ),
    )
}
"""Published shapes by name."""
