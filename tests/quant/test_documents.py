from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, ClassVar

import pydantic
import pytest

from quant import Scheme
from quant.documents import Document, PresetDocument, suggest


class Inner(Document):
    depth: Annotated[int, pydantic.Field(gt=0, strict=True)]
    note: str = "none"


class Outer(PresetDocument):
    package: ClassVar[str] = "quant"
    folder: ClassVar[str] = "presets"
    kind: ClassVar[str] = "outer"

    name: str
    inner: Inner
    other: Inner | None = None
    ratio: Annotated[float, pydantic.Field(ge=0, le=1)] = 0.5


GOOD = "name: é\ninner: {depth: 3}\n"

BAD = {
    "name: a\ninner: {depth: 3}\nratoi: 1\n": "file.yaml: unknown field ratoi, did you mean ratio?",
    "name: a\ninner: {deepth: 3}\n": (
        "file.yaml: field inner.depth is missing; unknown field inner.deepth, did you mean depth?"
    ),
    "name: a\ninner: {depth: 3}\nother: {depht: 3, depth: 1}\n": (
        "file.yaml: unknown field other.depht, did you mean depth?"
    ),
    "inner: {depth: 3}\n": "file.yaml: field name is missing",
    "name: a\ninner: {depth: 0}\n": "file.yaml: inner.depth must be greater than 0, not 0",
    "name: a\ninner: {depth: 2.5}\n": "file.yaml: inner.depth must be a valid integer, not 2.5",
    "name: a\ninner: {depth: true}\n": "file.yaml: inner.depth must be a valid integer, not True",
    "name: a\ninner: {depth: 3}\nratio: 1.5\n": "file.yaml: ratio must be less than or equal to 1, not 1.5",
    "name: a\ninner: 3\n": "file.yaml: inner must be a valid dictionary or instance of Inner, not 3",
    "name: a\nname: b\ninner: {depth: 3}\n": (
        "file.yaml must be YAML, but field 'name' is given twice at line 2, column 1"
    ),
    "name: a\ninner: {depth: 3, depth: 4}\n": (
        "file.yaml must be YAML, but field 'depth' is given twice at line 2, column 19"
    ),
    "- a\n- b\n": "file.yaml must be a YAML mapping of fields, not list",
    "": "file.yaml must be a YAML mapping of fields, not NoneType",
    "just text": "file.yaml must be a YAML mapping of fields, not str",
    "name: !!python/object/apply:os.getcwd []\n": "file.yaml must be YAML, but could not determine a constructor",
    "name: [\n": "file.yaml must be YAML, but",
}


@pytest.mark.parametrize("text", BAD)
def test_wrong_documents_say_file_field_rule_and_value(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(BAD[text])}") as caught:
        Outer.from_yaml(text, "file.yaml")
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith(".")


def test_several_wrong_fields_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"inner\.depth must be greater than 0, not -1; ratio must be"):
        Outer.from_yaml("name: a\ninner: {depth: -1}\nratio: 2\n")


def test_yaml_loads_back_equal() -> None:
    one = Outer.from_yaml(GOOD)
    assert one.name == "é"
    assert Outer.from_yaml(one.to_yaml()) == one
    full = one.replace(other={"depth": 5, "note": "x: y # z"}, ratio=0.1)
    assert Outer.from_yaml(full.to_yaml()) == full


def test_documents_are_frozen_and_replaced() -> None:
    one = Outer.from_yaml(GOOD)
    with pytest.raises(pydantic.ValidationError):
        one.name = "b"
    two = one.replace(inner__depth=7, name="b")
    assert (two.inner.depth, two.name, one.inner.depth) == (7, "b", 3)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"nmae": "b"}, "Outer: unknown field nmae, did you mean name?"),
        ({"inner__dept": 1}, "Outer: unknown field inner.dept, did you mean depth?"),
        ({"innner__depth": 1}, "Outer field must exist, not 'innner__depth'"),
        ({"other__depth": 1}, "Outer field must exist, not 'other__depth'"),
        ({"inner__depth": 0}, "Outer: inner.depth must be greater than 0, not 0"),
    ],
)
def test_a_wrong_replacement_is_refused(changes: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Outer.from_yaml(GOOD).replace(**changes)


def test_files_and_presets_are_told_apart_by_suffix(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert Outer.load(path).inner.depth == 3
    assert Outer.load(str(path)).name == "é"
    with pytest.raises(FileNotFoundError):
        Outer.load(tmp_path / "b.yml")
    text = "outer must be a preset or a .yaml file, not 'fp23'; did you mean fp32?"
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Outer.load("fp23")


def test_presets_are_the_files_of_the_folder() -> None:
    import quant

    folder = Path(quant.__file__).parent / "presets"
    assert Outer.presets() == sorted(path.stem for path in folder.glob("*.yaml"))


def test_suggestions_are_near_or_complete() -> None:
    assert suggest("fp23", ["fp32", "int8"]) == "did you mean fp32?"
    assert suggest("zzz", ["b", "a"]) == "known: a, b"


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"name: \xff")
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path} must be text in UTF-8, not byte 0xff at 6')}$"):
        Scheme.load(path)


@pytest.mark.parametrize("name", ["", " "])
def test_a_preset_of_ones_own_has_a_name(name: str) -> None:
    with pytest.raises(ValueError, match=f"^Scheme: name must have a character, not {name!r}$"):
        Scheme.load("fp16").replace(name=name)
