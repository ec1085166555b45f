"""Tables shipped with the package: CSV rows and YAML documents, read once."""

import csv
import functools
import importlib.resources
from typing import Any

import yaml

# The C parser where PyYAML has it: ten times faster.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DATA = importlib.resources.files(__package__ or "hwsim.technology") / "data"


@functools.cache
def rows(name: str) -> tuple[dict[str, str], ...]:
    """Return the rows of ``data/<name>.csv``."""
    with (_DATA / f"{name}.csv").open(encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


@functools.cache
def document(name: str) -> Any:
    """Return the content of ``data/<name>.yaml``."""
    return yaml.load((_DATA / f"{name}.yaml").read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506


def node_names() -> tuple[str, ...]:
    """Return the names of the nodes shipped with the package."""
    return tuple(sorted(p.name.removesuffix(".yaml") for p in (_DATA / "nodes").iterdir() if p.name.endswith(".yaml")))
