"""One encoder block of MiniLM-L6 (BERT style, post layer_norm): its graph, and the one shipped with trained weights."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from importlib.resources import files

from .function import Function, FunctionKind
from .layer import Layer, Producer
from .network import Network
from .tensors import FloatArray, LazyTensors, archive_tensors

HIDDEN, HEADS, INTERMEDIATE = 384, 12, 1536  # config.json of the model
EPSILON = 1e-12  # layer_norm_eps, same place
SEQUENCE = 128  # tokens; the model was trained on sequences of 128
SHIPPED_BLOCK = 0
SHIPPED_FILE = "minilm_block.npz"
SOURCE = (
    f"block {SHIPPED_BLOCK} of 0..5 of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0), trained weights and "
    "real hidden states in float16; see workloads/data/NOTICE.md"
)
CALIBRATION_SOURCE = (
    "4 x 128 tokens: Declaration of Independence, Gettysburg Address, On the Origin of Species, Moby-Dick"
)
EVALUATION_SOURCE = "2 x 128 tokens: Pride and Prejudice, Constitution of the United States"

_LINEARS = ("q", "k", "v", "attention_out", "ffn_up", "ffn_down")
_NORMS = ("attention_norm", "ffn_norm")
CONSTANTS = (
    *(f"{name}.{part}" for name in _LINEARS for part in ("weight", "bias")),
    *(f"{name}.{part}" for name in _NORMS for part in ("gamma", "beta")),
)


def block_nodes(sequences: int) -> tuple[Layer | Function, ...]:
    """Lay out one block.

    Parameters
    ----------
    sequences
        Number of sequences of `SEQUENCE` tokens that costs are stated for.

    Returns
    -------
    nodes
        From input ``hidden`` [tokens, 384] to ``output`` [tokens, 384], with the tensors `CONSTANTS`.
    """
    tokens, head = sequences * SEQUENCE, HIDDEN // HEADS
    square = {"m": tokens, "k": HIDDEN, "n": HIDDEN}
    hidden = {"m": tokens, "n": HIDDEN}
    attention = {"b": sequences, "h": HEADS, "q": SEQUENCE, "k": SEQUENCE}

    def linear(name: str, lhs: str, sizes: dict[str, int], producer: Producer) -> Layer:
        return Layer(
            name,
            "mk,kn->mn",
            sizes,
            lhs,
            f"{name}.weight",
            name,
            bias=f"{name}.bias",
            lhs_producer=producer,
        )

    def split(name: str, label: str) -> Function:
        sizes = {"b": sequences, "h": HEADS, label: SEQUENCE, "d": head}
        return Function(f"split_{name}", FunctionKind.SPLIT_HEADS, (name,), f"{name}_heads", f"bh{label}d", sizes)

    def norm(name: str, x: str, output: str) -> Function:
        inputs = (x, f"{name}.gamma", f"{name}.beta")
        return Function(name, FunctionKind.LAYER_NORM, inputs, output, "mn", hidden, {"epsilon": EPSILON})

    return (
        linear("q", "hidden", square, "input"),
        linear("k", "hidden", square, "input"),
        linear("v", "hidden", square, "input"),
        split("q", "q"),
        split("k", "k"),
        split("v", "k"),
        Layer(
            "scores",
            "bhqd,bhkd->bhqk",
            {**attention, "d": head},
            "q_heads",
            "k_heads",
            "scores",
            "activation",
            lhs_producer="contraction",
            rhs_producer="contraction",
        ),
        Function(
            "softmax",
            FunctionKind.SOFTMAX,
            ("scores",),
            "probabilities",
            "bhqk",
            attention,
            {"scale": 1 / math.sqrt(head)},
        ),
        Layer(
            "values",
            "bhqk,bhkd->bhqd",
            {**attention, "d": head},
            "probabilities",
            "v_heads",
            "context_heads",
            "activation",
            lhs_producer="function",
            rhs_producer="contraction",
        ),
        Function("merge_heads", FunctionKind.MERGE_HEADS, ("context_heads",), "context", "mn", hidden),
        linear("attention_out", "context", square, "contraction"),
        Function("attention_add", FunctionKind.ADD, ("attention_out", "hidden"), "attention_sum", "mn", hidden),
        norm("attention_norm", "attention_sum", "attended"),
        linear("ffn_up", "attended", {"m": tokens, "k": HIDDEN, "n": INTERMEDIATE}, "function"),
        Function("gelu", FunctionKind.GELU, ("ffn_up",), "activated", "mn", {"m": tokens, "n": INTERMEDIATE}),
        linear("ffn_down", "activated", {"m": tokens, "k": INTERMEDIATE, "n": HIDDEN}, "function"),
        Function("ffn_add", FunctionKind.ADD, ("ffn_down", "attended"), "ffn_sum", "mn", hidden),
        norm("ffn_norm", "ffn_sum", "output"),
    )


def block_network(
    tensors: Mapping[str, FloatArray],
    calibration: FloatArray,
    evaluation: FloatArray,
    *,
    source: str,
) -> Network:
    """Make the network of one block from arrays; the maker of the data runs all six with it.

    Parameters
    ----------
    tensors : float32
        The `CONSTANTS`; weights as [k, n].
    calibration, evaluation : float32 [tokens, 384]
        Hidden states before the block, in sequences of `SEQUENCE` tokens.
    source
        Where the tensors come from.

    Returns
    -------
    network
        One block.
    """
    return Network(
        "minilm-block",
        source,
        block_nodes(evaluation.shape[0] // SEQUENCE),
        tensors,
        {"hidden": calibration},
        {"hidden": evaluation},
        CALIBRATION_SOURCE,
        EVALUATION_SOURCE,
    )


@functools.cache
def shipped_block() -> Network:
    """Make the network of the block that the package ships; arrays are read on first use.

    Returns
    -------
    network
        ``minilm-block``.
    """
    archive = files("workloads") / "data" / SHIPPED_FILE

    def inputs(role: str) -> LazyTensors:
        return archive_tensors(archive, {"hidden": role})

    return Network(
        "minilm-block",
        SOURCE,
        block_nodes(sequences=2),
        archive_tensors(archive, {name: name for name in CONSTANTS}),
        inputs("calibration"),
        inputs("evaluation"),
        CALIBRATION_SOURCE,
        EVALUATION_SOURCE,
    )
