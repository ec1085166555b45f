"""The shipped block against an independent float64 forward pass and against PyTorch; its data and its catalogue."""

import json
import math
import pickle
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from quant.contraction import Gemm
from workloads import Network, load, names
from workloads.make_minilm import outlier_ratio, read_paragraphs

DATA = files("workloads") / "data"
TORCH: dict[str, Any] = json.loads(Path(__file__).with_name("minilm_torch.json").read_text())


@pytest.fixture(scope="module")
def block() -> Network:
    return load("minilm-block")


@pytest.fixture(scope="module")
def run(block: Network) -> dict[str, npt.NDArray[Any]]:
    return block.run(block.evaluation)


def normalize(x: Any, gamma: Any, beta: Any) -> Any:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12) * gamma + beta


def forward(hidden: Any, t: dict[str, Any]) -> dict[str, Any]:
    """Run a BERT block on [sequences, tokens, 384] in float64, written with einsum and math.erf only."""
    b, s, _ = hidden.shape
    heads = {}
    for name in "qkv":
        linear = hidden @ t[f"{name}.weight"] + t[f"{name}.bias"]
        heads[name] = linear.reshape(b, s, 12, 32)
    scores = np.einsum("bqhd,bkhd->bhqk", heads["q"], heads["k"])
    e = np.exp(scores / math.sqrt(32))
    probabilities = e / e.sum(-1, keepdims=True)
    context = np.einsum("bhqk,bkhd->bqhd", probabilities, heads["v"]).reshape(b, s, 384)
    attention = context @ t["attention_out.weight"] + t["attention_out.bias"]
    attended = normalize(attention + hidden, t["attention_norm.gamma"], t["attention_norm.beta"])
    up = attended @ t["ffn_up.weight"] + t["ffn_up.bias"]
    activated = np.array([v * (1 + math.erf(v / math.sqrt(2))) / 2 for v in up.ravel().tolist()])
    activated = activated.reshape(up.shape)
    down = activated @ t["ffn_down.weight"] + t["ffn_down.bias"]
    output = normalize(down + attended, t["ffn_norm.gamma"], t["ffn_norm.beta"])
    return {
        "scores": scores,
        "probabilities": probabilities,
        "context": context,
        "attended": attended,
        "activated": activated,
        "output": output,
    }


def test_run_equals_an_independent_forward_pass(block: Network, run: dict[str, npt.NDArray[Any]]) -> None:
    constants = {name: array.astype(np.float64) for name, array in block.tensors.items()}
    expected = forward(block.evaluation["hidden"].reshape(2, 128, 384).astype(np.float64), constants)
    double = block.run(block.evaluation, dtype=np.float64)
    for name, array in expected.items():
        wanted = array.reshape(double[name].shape)
        peak = np.abs(wanted).max()
        np.testing.assert_allclose(double[name], wanted, rtol=0, atol=1e-12 * peak, err_msg=name)
        np.testing.assert_allclose(run[name], wanted, rtol=0, atol=5e-6 * peak, err_msg=name)


@pytest.mark.parametrize("name", ["attended", "activated", "output"])
def test_run_equals_pytorch(name: str, run: dict[str, npt.NDArray[Any]]) -> None:
    step = run[name].shape[1] // 8
    got = run[name][TORCH["tokens"], ::step]
    np.testing.assert_allclose(got, TORCH["tensors"][name], rtol=0, atol=2e-5)


def test_calibration_has_other_numbers_of_tokens_and_runs(block: Network) -> None:
    assert block.calibration["hidden"].shape == (512, 384)
    recorded = block.record(block.calibration)
    assert recorded["scores"][0].shape == (4, 12, 128, 32)
    assert recorded["values"][0].shape == (4, 12, 128, 128)
    np.testing.assert_allclose(recorded["values"][0].sum(-1), 1, atol=1e-5)
    assert recorded["ffn_down"][0].shape == (512, 1536)


def test_layer_sizes_are_those_of_the_recorded_operands(block: Network) -> None:
    recorded = block.record(block.evaluation)
    for layer in block.layers:
        lhs, rhs, bias = recorded[layer.name]
        assert (lhs.shape, rhs.shape) == (layer.lhs_shape, layer.rhs_shape), layer.name
        assert (bias is None) == (layer.name in {"scores", "values"})


def test_function_sizes_are_those_of_the_run(block: Network, run: dict[str, npt.NDArray[Any]]) -> None:
    for node in block.functions:
        assert tuple(node.sizes[label] for label in node.axes) == run[node.output].shape, node.name
        assert node.elements() == run[node.output].size


def test_axes_of_attention_tensors_are_the_labels_of_the_layers_that_read_them(block: Network) -> None:
    axes = {node.output: tuple(node.axes) for node in block.functions}
    for name in ("scores", "values"):
        layer = block.layer(name)
        assert axes[layer.rhs] == layer.parsed.rhs
        assert axes[layer.lhs] == layer.parsed.lhs


def test_layers_and_what_feeds_them(block: Network) -> None:
    table = [(x.name, x.gemm, x.lhs_producer, x.rhs_producer, x.rhs_kind) for x in block.layers]
    weight, activation = ("constant", "weight"), ("contraction", "activation")
    assert table == [
        ("q", Gemm(1, 256, 384, 384), "input", *weight),
        ("k", Gemm(1, 256, 384, 384), "input", *weight),
        ("v", Gemm(1, 256, 384, 384), "input", *weight),
        ("scores", Gemm(24, 128, 32, 128), "contraction", *activation),
        ("values", Gemm(24, 128, 128, 32), "function", *activation),
        ("attention_out", Gemm(1, 256, 384, 384), "contraction", *weight),
        ("ffn_up", Gemm(1, 256, 384, 1536), "function", *weight),
        ("ffn_down", Gemm(1, 256, 1536, 384), "function", *weight),
    ]
    weights = sum(block.tensors[x.rhs].size for x in block.layers if x.rhs_kind == "weight")
    assert weights == 4 * 384 * 384 + 2 * 384 * 1536
    assert block.macs == 256 * weights + 2 * 24 * 128 * 128 * 32


def test_ffn_down_reads_pronounced_outlier_channels(block: Network) -> None:
    for inputs in (block.calibration, block.evaluation):
        assert 11 < outlier_ratio(block.record(inputs)["ffn_down"][0]) < 35


def test_constants_are_exact_in_float16(block: Network) -> None:
    for array in (*block.tensors.values(), block.evaluation["hidden"], block.calibration["hidden"]):
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, array.astype(np.float16).astype(np.float32))


def test_calibration_and_evaluation_are_disjoint() -> None:
    paragraphs = read_paragraphs(Path(str(DATA / "sentences.txt")))
    assert {role: len(texts) for role, texts in paragraphs.items()} == {"calibration": 4, "evaluation": 2}
    sevens = {}
    for role, texts in paragraphs.items():
        words = [re.findall(r"[a-z']+", text.lower()) for text in texts]
        sevens[role] = {tuple(row[i : i + 7]) for row in words for i in range(len(row) - 6)}
    assert not sevens["calibration"] & sevens["evaluation"]
    headings = re.findall(r"^## (\w+) \| ([^,]+, [^,]+)", (DATA / "sentences.txt").read_text("utf-8"), re.M)
    works = {role: {work for r, work in headings if r == role} for role, _ in headings}
    assert not works["calibration"] & works["evaluation"]


def test_token_ids_frame_each_sequence() -> None:
    with (DATA / "minilm_block.npz").open("rb") as file, np.load(file) as archive:
        for role, count in (("calibration", 4), ("evaluation", 2)):
            ids = archive[f"{role}.ids"]
            assert ids.shape == (count, 128)
            assert (ids[:, 0] == 101).all()  # [CLS] in vocab.txt of the model
            assert (ids[:, -1] == 102).all()  # [SEP]
            assert not (ids == 0).any()  # [PAD]


def test_the_notice_names_licence_model_and_maker() -> None:
    notice = (DATA / "NOTICE.md").read_text("utf-8")
    for part in ("Apache-2.0", "sentence-transformers/all-MiniLM-L6-v2", "workloads.make_minilm", "MIT"):
        assert part in notice


def test_arrays_are_read_once_and_read_only(block: Network) -> None:
    assert block.tensors["q.weight"] is block.tensors["q.weight"]
    with pytest.raises(ValueError, match="read-only"):
        block.tensors["q.weight"][0, 0] = 1


def test_network_survives_pickling(block: Network) -> None:
    copy = pickle.loads(pickle.dumps(block))  # noqa: S301 - made in this line
    np.testing.assert_array_equal(copy.tensors["q.bias"], block.tensors["q.bias"])
    assert copy.nodes == block.nodes


def test_names_lists_what_load_takes() -> None:
    for name in names():
        assert load(name).name == name


def test_an_unknown_workload_is_refused_with_the_nearest() -> None:
    text = f"workload must be one of {', '.join(names())}, not 'minilm-blok'; did you mean minilm-block?"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        load("minilm-blok")
