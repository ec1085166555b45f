"""YAML documents with validated fields: the base of schemes, accelerators and technologies.

A document that is wrong gives one `ValueError` line that names the file, each field at fault, what it must be
and what it was; an unknown field or preset comes with the nearest known name.
"""

from __future__ import annotations

import difflib
import functools
import importlib.resources
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import pydantic
import yaml

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


# Words that an error still lists all.
_MANY = 40


def _not_blank(text: str) -> str:
    if not text.strip():
        msg = f"must have a character, not {text!r}"
        raise ValueError(msg)
    return text


Name = Annotated[str, pydantic.AfterValidator(_not_blank)]
"""A text that stands in titles and tables."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Name the nearest known word, or all of them, or of very many the nearest few, as the tail of an error message.

    Examples
    --------
    >>> suggest("w8a8-dynamc", ["w8a8-dynamic", "fp32"])
    'did you mean w8a8-dynamic?'
    >>> suggest("x", ["fp16", "fp32"])
    'known: fp16, fp32'
    >>> suggest("x", map(str, range(90)))
    'nearest of 90: 9, 89, 88'
    """
    words = sorted(known)
    near = _near(name, words)
    if near:
        return f"did you mean {near}?"
    if len(words) > _MANY:
        return f"nearest of {len(words)}: {', '.join(difflib.get_close_matches(name, words, n=3, cutoff=0))}"
    return f"known: {', '.join(words)}"


def _near(name: str, known: Iterable[str]) -> str | None:
    """Nearest known word, if any is near."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)), None)


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML in which a key given twice is an error, not the last one silently winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # fields of another mapping, which those given here override
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    problem="field names must be plain words", problem_mark=key_node.start_mark
                )
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"field {key!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class Document(pydantic.BaseModel):
    """A frozen record that reads and writes YAML and refuses unknown fields."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def from_yaml(cls, text: str, where: str = "YAML") -> Self:
        """Read one document.

        Parameters
        ----------
        text
            The YAML text.
        where
            File or preset named in errors.

        Raises
        ------
        ValueError
            If the text is no YAML mapping or a field breaks its rule: one line for all fields at fault.
        """
        try:
            data = yaml.load(text, _UniqueKeyLoader)  # noqa: S506  a SafeLoader that also refuses double keys
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            reason = getattr(error, "problem", None) or "unreadable"
            msg = f"{where} must be YAML, but {reason}{place}"
            raise ValueError(msg) from None
        if not isinstance(data, dict):
            msg = f"{where} must be a YAML mapping of fields, not {type(data).__name__}"
            raise ValueError(msg)
        return cls.from_fields(data, where)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read the one document of a YAML file.

        Raises
        ------
        ValueError
            If the file is no text or no such document.
        OSError
            If it can not be read.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            msg = f"{path} must be text in UTF-8, not byte 0x{error.object[error.start]:02x} at {error.start}"
            raise ValueError(msg) from None
        return cls.from_yaml(text, str(path))

    @classmethod
    def from_fields(cls, fields: dict[str, Any], where: str | None = None) -> Self:
        """Build from a mapping, with errors as `from_yaml` gives them."""
        try:
            return cls.model_validate(fields)
        except pydantic.ValidationError as error:
            rules = "; ".join(_rules(error.errors(), cls))
            raise ValueError(f"{where or cls.__name__}: {rules}") from None

    def to_yaml(self) -> str:
        """Write YAML that `from_yaml` reads back to an equal document."""
        data = self.model_dump(mode="json", exclude_none=True)
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)

    def replace(self, **changes: Any) -> Self:
        """Copy with some fields changed; nested fields are named ``outer__inner``; the result is validated.

        Raises
        ------
        ValueError
            If a name is no field or a value breaks its rule.
        """
        data = self.model_dump()
        for path, value in changes.items():
            target = data
            *outer, last = path.split("__")
            for name in outer:
                if not isinstance(target.get(name), dict):
                    msg = f"{type(self).__name__} field must exist, not {path!r}"
                    raise ValueError(msg)
                target = target[name]
            target[last] = value
        return self.from_fields(data)


def _rules(details: Iterable[ErrorDetails], model: type[pydantic.BaseModel]) -> Iterator[str]:
    """Say what each field at fault must be; unknown fields near no other share one list of those there are."""
    said: set[str] = set()
    strange: dict[str, list[str]] = {}
    for detail in details:
        path = _path(detail)
        if detail["type"] == "extra_forbidden" and not _near(path[-1], _siblings(model, path[:-1])):
            strange.setdefault(suggest("", _siblings(model, path[:-1])), []).append(".".join(path))
        elif (rule := _rule(detail, model)) not in said:
            said.add(rule)
            yield rule
    for known, fields in strange.items():
        yield f"unknown field{'s' if len(fields) > 1 else ''} {', '.join(fields)}, {known}"


def _path(detail: ErrorDetails) -> list[str]:
    return [str(part) for part in detail["loc"] if not str(part).startswith(("function-", "tagged-union"))]


def _rule(detail: ErrorDetails, model: type[pydantic.BaseModel]) -> str:
    """Say what one field must be and what it was."""
    path = _path(detail)
    field = ".".join(path) or model.__name__
    match detail["type"]:
        case "extra_forbidden":
            return f"unknown field {field}, {suggest(path[-1], _siblings(model, path[:-1]))}"
        case "missing":
            return f"field {field} is missing"
    rule = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if detail["type"] == "value_error":
        return f"{field} {rule}" if path else rule
    return f"{field} {rule}, not {detail['input']!r}"


def _siblings(model: type[pydantic.BaseModel], path: list[str]) -> list[str]:
    """Fields of the nested model that `path` leads to."""
    current: Any = model
    for name in path:
        info = current.model_fields.get(name) if hasattr(current, "model_fields") else None
        if info is None:
            continue  # the tag of a union, or an index
        candidates = [info.annotation, *getattr(info.annotation, "__args__", ())]
        current = next((c for c in candidates if hasattr(c, "model_fields")), current)
    return list(current.model_fields)


class PresetDocument(Document):
    """A document that a package ships presets of, as YAML files in one of its folders."""

    package: ClassVar[str]
    folder: ClassVar[str]
    kind: ClassVar[str]

    @classmethod
    def load(cls, name: str | Path | Self) -> Self:
        """Load a preset by name or a YAML file by path; a document passes through.

        Raises
        ------
        ValueError
            If there is no such preset (the nearest is suggested) or a field breaks its rule.
        OSError
            If the file can not be read.
        """
        if isinstance(name, cls):
            return name
        if Path(str(name)).suffix in {".yaml", ".yml"}:
            return cls.from_file(str(name))
        preset: Self = _preset(cls, str(name))
        return preset

    @classmethod
    def presets(cls) -> list[str]:
        """Names of the presets, sorted."""
        names = (entry.name for entry in importlib.resources.files(cls.package).joinpath(cls.folder).iterdir())
        return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


@functools.cache
def _preset(model: type[PresetDocument], name: str) -> Any:
    """Read a preset, which unlike a file can not change between two calls."""
    if name not in model.presets():
        msg = f"{model.kind} must be a preset or a .yaml file, not {name!r}; {suggest(name, model.presets())}"
        raise ValueError(msg)
    folder = importlib.resources.files(model.package).joinpath(model.folder)
    return model.from_yaml(folder.joinpath(f"{name}.yaml").read_text(encoding="utf-8"), f"{model.kind} preset {name}")
