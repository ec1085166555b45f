from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from quant import IntFormat, OperandSpec, Scheme
from quant.scheme import ActivationPair

BASE = {"name": "s", "description": "d", "source": "t"}
INT8: dict[str, Any] = {"format": "int8"}
PQ: dict[str, Any] = {"code": "pq", "prototypes": 16, "width": 4}
SCANNED = (
    "hardware scans a call for its absmax (symmetric) or minmax; percentile, mse, entropy and moving_average are for "
    "static calibration"
)


def scheme(**fields: Any) -> Scheme:
    return Scheme.from_fields(BASE | fields)


@pytest.mark.parametrize("name", Scheme.presets())
def test_presets_load_and_their_yaml_loads_back(name: str, tmp_path: Path) -> None:
    preset = Scheme.load(name)
    assert preset.name == name
    assert preset.description
    assert preset.source
    path = tmp_path / "copy.yaml"
    path.write_text(preset.to_yaml(), encoding="utf-8")
    assert Scheme.load(path) == preset
    assert Scheme.load(preset) is preset


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    for name in ("one", "two"):
        path.write_text(Scheme.load("fp16").replace(name=name).to_yaml(), encoding="utf-8")
        assert Scheme.load(path).name == name


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"strategy": "dynamic", "weight": INT8}, "activation must be given with strategy dynamic"),
        ({"strategy": "static", "activation": INT8, "weight": INT8}, "output must be given with strategy static"),
        (
            {"strategy": "dynamic", "activation": INT8, "weight": INT8, "output": INT8},
            "output must be absent with strategy dynamic",
        ),
        ({"strategy": "float", "weight": INT8}, "weight must be absent with strategy float"),
        ({"strategy": "weight_only"}, "weight must be given with strategy weight_only"),
        (
            {"strategy": "weight_only", "weight": INT8, "smooth": {"alpha": 0.5}},
            "smooth must go with strategy dynamic or static, not weight_only",
        ),
        (
            {"strategy": "dynamic", "activation": {"code": "pow2", "format": "int4"}, "weight": INT8},
            "activation.code must be affine, not pow2",
        ),
        (
            {"strategy": "static", "activation": {"code": "pow2", "format": "int4"}, "weight": INT8, "output": INT8},
            "activation.code must be affine or pq, not pow2",
        ),
        *(
            (
                {"strategy": "dynamic", "activation": {"range": method, **more}, "weight": INT8},
                f"activation.range must be minmax with strategy dynamic, not {method}: {SCANNED}",
            )
            for method, more in (
                ("moving_average", {}),
                ("mse", {}),
                ("entropy", {}),
                ("percentile", {"percentile": 1.0}),
            )
        ),
        (
            {
                "strategy": "dynamic",
                "activation": INT8,
                "weight": INT8,
                "attention": {"lhs": INT8, "rhs": {"range": "mse"}},
            },
            f"attention.rhs.range must be minmax with strategy dynamic, not mse: {SCANNED}",
        ),
        (
            {"strategy": "static", "activation": INT8, "weight": INT8, "output": {"rounding": "down"}},
            "output.rounding must be half_even, not down: results are rounded as requantization gemmlowp-double does",
        ),
        (
            {"strategy": "weight_only", "weight": {"code": "pq", "prototypes": 16, "width": 4}},
            "weight.code must be of a constant, not pq",
        ),
        (
            {
                "strategy": "dynamic",
                "activation": INT8,
                "weight": {"code": "codebook", "format": "u4", "centroids": "real"},
            },
            "weight.centroids must be int8 with strategy dynamic, whose MAC is an integer one, not real",
        ),
        (
            {"strategy": "dynamic", "activation": INT8, "weight": INT8, "rotate": {}, "smooth": {"alpha": 0.5}},
            "one of smooth, rotate, outliers, duplicate must be given at most, not smooth and rotate",
        ),
        (
            {"strategy": "static", "activation": INT8, "weight": INT8, "output": INT8, "outliers": {"share": 0.1}},
            "outliers must go with strategy dynamic, which sees each call, not static",
        ),
        (
            {"strategy": "static", "activation": PQ, "weight": {"code": "pow2", "format": "int4"}, "output": INT8},
            "weight must be affine, symmetric and per_tensor or per_channel where activations are pq",
        ),
        (
            {"strategy": "static", "activation": PQ, "weight": INT8, "output": INT8},
            "attention must be float or a pair, and none of smooth, rotate, outliers, duplicate given, "
            "where activations are pq",
        ),
        (
            {"strategy": "weight_only", "weight": {"code": "pow2", "format": "int4", "symmetric": False}},
            "weight symmetric must be true with code pow2, which has no zero point, not false",
        ),
        (
            {"strategy": "weight_only", "weight": {"range": "percentile"}},
            "weight percentile must be given with range percentile",
        ),
        (
            {"strategy": "weight_only", "weight": {"percentile": 0.1}},
            "weight percentile must go with range percentile only, not 0.1 with minmax",
        ),
    ],
)
def test_inconsistent_schemes_are_refused(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'Scheme: {text}')}$"):
        scheme(**fields)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"strategy": "quick"}, "strategy must be 'float', 'weight_only', 'dynamic' or 'static', not 'quick'"),
        ({"strategy": "float", "carrier": "fp8"}, "carrier"),
        ({"strategy": "float", "carrier": "int8"}, "carrier must be one of fp32, fp16, bf16, not 'int8'"),
        ({"strategy": "float", "carrier": "e8m0"}, "carrier must be one of fp32, fp16, bf16, not 'e8m0'"),
        (
            {"strategy": "weight_only", "weight": {"format": "float8"}},
            "weight.format integer format must look like int8, u8 or int8_narrow, not 'float8'",
        ),
        ({"strategy": "weight_only", "weight": {"range": "percentile", "percentile": 50}}, "weight.percentile"),
        (
            {"strategy": "dynamic", "activation": INT8, "weight": INT8, "smooth": {"alpha": 1.5}},
            "smooth.alpha must be less than or equal to 1, not 1.5",
        ),
        (
            {"strategy": "dynamic", "activation": INT8, "weight": INT8, "smooth": {}},
            "smooth alpha must be given where search is false and only there, not None with False",
        ),
        (
            {"strategy": "dynamic", "activation": INT8, "weight": INT8, "smooth": {"alpha": 0.5, "search": True}},
            "smooth alpha must be given where search is false and only there, not 0.5 with True",
        ),
        (
            {"strategy": "dynamic", "activation": INT8, "weight": INT8, "rotate": {"block": 12}},
            "rotate block must be a power of two, not 12",
        ),
        (
            {"strategy": "dynamic", "activation": INT8, "weight": INT8, "outliers": {"share": 1.0}},
            "outliers.share must be less than 1, not 1.0",
        ),
        ({"strategy": "float", "atention": "float"}, "unknown field atention, did you mean attention?"),
        (
            {"strategy": "weight_only", "weight": {"fromat": "int8"}},
            "unknown field weight.fromat, did you mean format?",
        ),
    ],
)
def test_wrong_fields_are_named_with_their_rule(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        scheme(**fields)


def test_source_has_no_default() -> None:
    with pytest.raises(ValueError, match="field source is missing"):
        Scheme.from_fields({"name": "s", "description": "d", "strategy": "float"})


def test_specs_of_products_of_activations_follow_the_attention_entry() -> None:
    dynamic = Scheme.load("w8a8-dynamic")
    assert dynamic.operand_specs(rhs_is_weight=True) == (dynamic.activation, dynamic.weight)
    assert dynamic.operand_specs(rhs_is_weight=False) == (dynamic.activation, dynamic.activation)
    assert dynamic.replace(attention="float").operand_specs(rhs_is_weight=False) == (None, None)
    pair = {"lhs": {"format": "int4"}, "rhs": {"format": "u8"}}
    lhs, rhs = dynamic.replace(attention=pair).operand_specs(rhs_is_weight=False)
    assert (lhs, rhs) == (OperandSpec(format="int4"), OperandSpec(format="u8"))
    assert isinstance(dynamic.replace(attention=pair).attention, ActivationPair)
    only = Scheme.load("w8a16")
    assert only.operand_specs(rhs_is_weight=True) == (None, only.weight)
    assert only.operand_specs(rhs_is_weight=False) == (None, None)


def test_formats_are_read_in_one_spelling() -> None:
    spec = OperandSpec(format="uint8")
    assert spec.format == "u8"
    assert spec.integer_format == IntFormat(8, signed=False)
    assert Scheme.load("w8a16").weight is not None


@pytest.mark.parametrize("method", [{"range": "mse"}, {"range": "entropy"}, {"range": "percentile", "percentile": 1.0}])
def test_calibrated_ranges_are_for_weights_and_for_static_activations(method: dict[str, Any]) -> None:
    offline = scheme(strategy="dynamic", activation=INT8, weight=method)
    assert offline.weight is not None
    assert offline.weight.range == method["range"]
    static = scheme(strategy="static", activation=method, weight=INT8, output=method)
    assert static.activation == static.output


def test_static_presets_quantize_floats_of_one_format() -> None:
    """Functions run in fp32, and nothing else of a static scheme is a float: costs differ by the schemes alone."""
    static = [preset for preset in map(Scheme.load, Scheme.presets()) if preset.strategy == "static"]
    assert len(static) > 5
    assert {preset.carrier for preset in static} == {"fp32"}
