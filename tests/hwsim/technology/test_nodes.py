"""Users' nodes: valid files work, wrong ones say which field and why."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import hwsim.technology
from hwsim.technology import MissingConstantError, Technology, technology_names

DATA = Path(hwsim.technology.__file__).parent / "data" / "nodes"
NODE: dict[str, Any] = {
    "name": "mine",
    "title": "a 45 nm process",
    "node_nm": 45,
    "voltage_v": 1.0,
    "library": "nangate45",
    "anchors": [
        {
            "kind": "multiplier",
            "a_bits": 8,
            "b_bits": 8,
            "energy_pj": 0.25,
            "area_um2": 300,
            "source": "own silicon",
            "year": 2025,
            "confidence": "high",
        },
        {
            "kind": "adder",
            "a_bits": 32,
            "energy_pj": 0.12,
            "area_um2": 150,
            "source": "own silicon",
            "year": 2025,
            "confidence": "high",
        },
    ],
    "borrow": {"register": {"energy": ["adder", "multiplier"], "area": ["library"], "reason": "nearest kinds"}},
    "band": {"low": 0.8, "high": 1.5, "source": "own silicon"},
    "leakage_uw_per_um2": {
        "low": 0.01,
        "nominal": 0.02,
        "high": 0.03,
        "source": "own silicon",
        "year": 2025,
        "confidence": "high",
    },
}


def write(tmp_path: Path, **changes: Any) -> Path:
    node = copy.deepcopy(NODE)
    for place, value in changes.items():
        at: Any = node
        *path, last = place.split("__")
        for step in path:
            at = at[int(step)] if step.isdigit() else at[step]
        if value is None:
            del at[last]
        else:
            at[last] = value
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(node), encoding="utf-8")
    return file


def test_a_users_node_prices_components(tmp_path: Path) -> None:
    node = Technology.load(write(tmp_path))
    mac = node.integer_mac(8, 8, 32)
    assert node.multiplier(8, 8).energy_pj == pytest.approx(0.25, rel=1e-12)
    assert node.multiplier(8, 8).high_pj == pytest.approx(0.375, rel=1e-12)
    assert mac.area_um2 == pytest.approx(300 + 150 + 144.704, rel=1e-4)
    assert mac.leakage_uw == pytest.approx(0.02 * mac.area_um2, rel=1e-12)
    assert {e["source"] for e in node.bibliography() if e["name"] == "adder 32 energy"} == {"own silicon"}


def test_borrowed_ratios_are_the_mean_of_their_kinds_and_widen_the_band(tmp_path: Path) -> None:
    node = Technology.load(write(tmp_path))
    ratios = [node.calibration.pins(kind, "energy")[0].ratio for kind in ("adder", "multiplier")]
    own = node.library.law("register", "energy_pj")(1)
    middle = (ratios[0] * ratios[1]) ** 0.5
    cost = node.register(1)
    assert cost.energy_pj == pytest.approx(own * middle, rel=1e-12)
    assert cost.low_pj == pytest.approx(own * min(ratios) * 0.8, rel=1e-12)
    assert cost.high_pj == pytest.approx(own * max(ratios) * 1.5, rel=1e-12)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda t: t.shifter(32, 32),
            "mine has no energy of a shifter: neither an anchor nor a kind to borrow a ratio from",
        ),
        (
            lambda t: t.float_mul("fp32"),
            "mine has no energy of a float_mul: neither an anchor nor a kind to borrow a ratio from",
        ),
        (
            lambda t: t.requantizer("shift", 32),
            "mine has no energy of a rounding_shift: neither an anchor nor a kind to borrow a ratio from",
        ),
        (lambda t: t.sram(8192, 64), "mine has no sram"),
        (lambda t: t.wire(), "mine has no wire_pj_per_bit_mm"),
    ],
)
def test_missing_constants_raise(tmp_path: Path, call: Any, text: str) -> None:
    with pytest.raises(MissingConstantError, match=f"^{re.escape(text)}$"):
        call(Technology.load(write(tmp_path)))


def test_missing_leakage_raises(tmp_path: Path) -> None:
    node = Technology.load(write(tmp_path, leakage_uw_per_um2=None))
    with pytest.raises(MissingConstantError, match=r"^mine has no leakage_uw_per_um2$"):
        node.adder(32)


def test_a_lender_without_anchors_raises(tmp_path: Path) -> None:
    file = write(tmp_path, borrow__register__energy=["shifter"])
    with pytest.raises(MissingConstantError, match=r"^mine borrows energy of register from shifter, which has none$"):
        Technology.load(file).register(8)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"anchors__0__energy_pj": -0.2}, "anchors.0.energy_pj must be greater than 0, not -0.2"),
        ({"anchors__0__energy_pj": 0}, "anchors.0.energy_pj must be greater than 0, not 0"),
        ({"anchors__0__energy_pj": float("inf")}, "anchors.0.energy_pj must be a finite number, not inf"),
        ({"anchors__0__energy_fj": 200}, "unknown field anchors.0.energy_fj, did you mean energy_pj?"),
        ({"anchors__0__area_mm2": 3e-4}, "unknown field anchors.0.area_mm2, did you mean area_um2?"),
        ({"anchors__1__source": None}, "field anchors.1.source is missing"),
        ({"anchors__1__source": ""}, "anchors.1.source String should have at least 1 character, not ''"),
        ({"anchors__0__a_bits": None}, "anchors.0 must have a_bits, being of kind multiplier"),
        ({"anchors__0__b_bits": None}, "anchors.0 must have b_bits, being of kind multiplier"),
        ({"voltage_v": "1.0 volts"}, "voltage_v must be a valid number"),
        ({"band__low": 1.2}, "band.low must be less than or equal to 1, not 1.2"),
        (
            {"leakage_uw_per_um2__low": 0.5},
            "leakage_uw_per_um2 must have low <= nominal <= high, not 0.5, 0.02, 0.03",
        ),
        (
            {"leakage_uw_per_um2__nominal": 0.005},
            "leakage_uw_per_um2 must have low <= nominal <= high, not 0.01, 0.005, 0.03",
        ),
        ({"node_nm": None}, "field node_nm is missing"),
        ({"library": "tsmc5"}, "library must be one of nangate45, "),
        # 250 fJ and 0.0003 mm2 given as pJ and um2; the synthesised 8 x 8 multiplier has 0.56 pJ and 305 um2
        ({"anchors__0__energy_pj": 250}, "anchors.0.energy_pj must be within 100 times of the 0.563 of nangate45, "),
        ({"anchors__0__area_um2": 3e-4}, "anchors.0.area_um2 must be within 100 times of the 305 of nangate45, not "),
    ],
)
def test_wrong_fields_are_named_with_the_file(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    file = write(tmp_path, **changes)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{file}: {text}')}"):
        Technology.load(file)


def test_several_wrong_fields_are_told_at_once(tmp_path: Path) -> None:
    file = write(tmp_path, node_nm=1, voltage_v=-1.0)
    with pytest.raises(ValueError, match=r"^.*mine\.yaml: node_nm [^\n]*; voltage_v [^\n]*$"):
        Technology.load(file)


def test_a_file_that_is_not_yaml_raises(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("a: [1", encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{re.escape(str(file))} must be YAML, but "):
        Technology.load(str(file))
    file.write_text("- 1", encoding="utf-8")
    with pytest.raises(ValueError, match=f"^{re.escape(str(file))} must be a YAML mapping of fields, not list$"):
        Technology.load(str(file))
    file.write_text("name: a\nname: b", encoding="utf-8")
    with pytest.raises(ValueError, match="field 'name' is given twice"):
        Technology.load(str(file))


def test_anchors_may_share_fields(tmp_path: Path) -> None:
    """The shipped nodes, copied, load: they merge anchors with ``<<``."""
    for name in technology_names():
        file = tmp_path / f"{name}.yaml"
        file.write_text((DATA / f"{name}.yaml").read_text(encoding="utf-8"), encoding="utf-8")
        assert Technology.load(file).multiplier(8, 8).energy_pj == Technology.load(name).multiplier(8, 8).energy_pj


def test_sram_points_share_a_width(tmp_path: Path) -> None:
    point = {"capacity_bytes": 8192, "read_pj": 10.0, "source": "own", "year": 2025, "confidence": "high"}
    leakage = {"low": 1e-5, "nominal": 1e-5, "high": 1e-4, "source": "own", "year": 2025, "confidence": "low"}
    sram = {
        "family": "cacti7-45nm",
        "points": [point | {"width_bits": 64}, point | {"width_bits": 32, "capacity_bytes": 65536}],
        "capacity_bytes": [1024, 65536],
        "width_bits": [8, 64],
        "leakage_uw_per_byte": leakage,
        "band": {"low": 0.5, "high": 2.0, "source": "own"},
    }
    with pytest.raises(ValueError, match="sram points must all have the same width_bits"):
        Technology.load(write(tmp_path, sram=sram))
    sram["points"] = [point | {"width_bits": 64}]
    with pytest.raises(ValueError, match=r"sram\.family must be one of cacti7-45nm, .*, not 'mine'"):
        Technology.load(write(tmp_path, sram=sram | {"family": "mine"}))
    node = Technology.load(write(tmp_path, sram=sram))
    assert node.sram(8192, 64).read_pj == pytest.approx(10.0, rel=1e-12)
