"""Which package may know which, and what no package does."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("quant", "workloads", "hwsim", "reports")
MODULES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))

MAY_IMPORT = {
    "quant": set[str](),
    "workloads": {"quant"},
    "hwsim": {"quant", "workloads"},
    "reports": set[str](),
}
# Comparison.to_html draws its page; the import waits until it is asked for one.
EXCEPTIONS = {("hwsim/comparison.py", "reports")}
# A tiling and its pace describe one another.
CIRCLES = {"hwsim.timing.pace", "hwsim.timing.tiling"}
# A unit and its use: whoever may import what (module prefix to the reason).
HEAVY = ("numba", "pandas", "pydantic", "altair", "rich", "jinja2", "scipy", "simpy")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Names of imported modules, and whether the import runs with the module and not only for the type checker."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = [*path.relative_to(ROOT).with_suffix("").parts]
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        at_run_time = id(node) not in typing_only
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_run_time) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level], node.module] if node.level else [node.module]
            module = ".".join(part for part in base if part)
            yield module, at_run_time
            yield from ((f"{module}.{alias.name}", at_run_time) for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    allowed = {package} | MAY_IMPORT[package]
    if name_of(path).startswith("hwsim/cli/"):
        allowed.add("reports")
    for module, _ in imports(path):
        home = module.split(".")[0]
        if home in OURS and (name_of(path), home) not in EXCEPTIONS:
            assert home in allowed, f"{name_of(path)} imports {module}"


def test_no_module_imports_in_a_circle() -> None:
    """Local imports and those of the type checker count too: what waits for a call is still known."""
    files = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in MODULES}
    known = {name: {module for module, _ in imports(path) if module in files} for name, path in files.items()}
    while leaves := {name for name, needs in known.items() if not needs}:
        known = {name: needs - leaves for name, needs in known.items() if name not in leaves}
    # What only leads to a circle is no part of it.
    while tops := known.keys() - set().union(*known.values()):
        known = {name: needs for name, needs in known.items() if name not in tops}
    assert known.keys() <= CIRCLES, sorted(known)


def test_every_exception_is_used() -> None:
    for name, home in EXCEPTIONS:
        assert home in {module.split(".")[0] for module, _ in imports(ROOT / name)}


def test_workloads_knows_contractions_only() -> None:
    for path in (p for p in MODULES if name_of(p).startswith("workloads/")):
        known = {module for module, _ in imports(path) if module.split(".")[0] == "quant"}
        assert known <= {
            "quant",
            "quant.Contraction",
            "quant.Gemm",
            "quant.contraction",
            *(f"quant.contraction.{name}" for name in ("Contraction", "Gemm", "Link")),
        }, name_of(path)


def test_only_the_command_prints_and_exits() -> None:
    for path in MODULES:
        if name_of(path).startswith("hwsim/cli/"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not isinstance(node, ast.Assert), f"assert in {name_of(path)} line {node.lineno}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"print", "exit", "quit", "input"}, f"{node.func.id} in {name_of(path)}"
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"bare except in {name_of(path)} line {node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_holds(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{name_of(path)} must have a docstring"
    assert docstring.splitlines()[0].rstrip().endswith((".", "?"))


def test_integer_datapath_holds_no_floats() -> None:
    """Integers come from integer arithmetic: no float literal and no true division where they are made."""
    integer = ("accumulator", "walk", "kernels", "gemm", "fixed_point", "zero_points", "steps", "tiles", "multiply")
    for stem in integer:
        path = ROOT / "hwsim" / "datapath" / f"{stem}.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not isinstance(node, ast.Div), f"division in {name_of(path)}"
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), f"float in {name_of(path)}"


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    return set(done.stdout.split())


@pytest.mark.parametrize("package", OURS)
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    assert not loaded_by(f"import {package}") & {*HEAVY, "numpy", "yaml", "click"}


def test_layouts_are_decided_without_pandas_or_charts() -> None:
    loaded = loaded_by("import quant; quant.decide('mk,kn->mn', sizes={'m': 2, 'k': 3, 'n': 5})")
    assert not loaded & {"pandas", "altair", "rich", "hwsim", "workloads"}


def test_lazy_names_all_resolve() -> None:
    """Each name in a package's stub is there, and is what `dir` shows."""
    for stub in (p for package in OURS for p in (ROOT / package).rglob("__init__.pyi")):
        package = ".".join(stub.parent.relative_to(ROOT).parts)
        names = [
            alias.asname or alias.name
            for node in ast.parse(stub.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        ]
        module = __import__(package, fromlist=["*"])
        homes = {
            node.module for node in ast.parse(stub.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)
        }
        # An import of the module would hide a name that is the same.
        assert not homes & set(names), f"{package} exports names of its modules"
        for name in names:
            assert hasattr(module, name), f"{package}.{name}"
        assert set(names) <= set(dir(module))
        assert len(names) == len(set(names)), f"{package} exports a name twice"
