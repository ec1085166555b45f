from __future__ import annotations

import pytest

from quant import Scheme, explain


@pytest.mark.parametrize("name", Scheme.presets())
def test_every_preset_says_what_it_does_in_single_lines(name: str) -> None:
    lines = explain(Scheme.load(name))
    assert {"weights", "activations", "products", "sums", "bias", "results"} <= set(lines)
    for text in lines.values():
        assert text
        assert "\n" not in text
        assert "None" not in text


def test_the_strategies_differ_in_what_they_scan_quantize_and_store() -> None:
    static, dynamic, weight_only = (explain(Scheme.load(n)) for n in ("w8a8-static", "w8a8-dynamic", "w8a16"))
    assert static["ranges"].startswith("fixed by calibration")
    assert dynamic["ranges"].startswith("scanned in each call")
    assert "ranges" not in weight_only
    assert static["activations"].endswith("stored as int8, scale per_tensor in fp32")
    assert dynamic["activations"].startswith("stored as fp16, quantized in each call")
    assert weight_only["products"] == "fp16 x fp16"
    assert "no float between linear layers and ReLU" in static["results"]
    assert static["bias"].startswith("int32")
    assert dynamic["bias"].startswith("float")


def test_scales_are_named_as_they_are_stored() -> None:
    scheme = Scheme.load("w8a8-dynamic").replace(
        weight={"layout": "n:1 * k:16,n:1@int", "integer_bits": 4, "scale_format": "fp16"},
        activation__layout="mx:32",
    )
    assert explain(scheme)["weights"].endswith("scale n:1 * k:16,n:1@int in fp16 and 4-bit integers")
    assert explain(scheme)["activations"].endswith("scale mx:32 in e8m0")
