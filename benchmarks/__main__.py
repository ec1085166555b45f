"""Run benchmarks by name, or all of them."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks

names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")]
chosen = [name for name in sys.argv[1:] if not name.startswith("-")] or names
if sys.argv[1:] in (["-h"], ["--help"]):
    sys.exit(f"python -m benchmarks [NAME ...]: {', '.join(names)}; all of them without a name")
unknown = [name for name in chosen if name not in names]
if unknown:
    sys.exit(f"benchmark must be one of {', '.join(names)}, not {unknown[0]}")
for name in chosen:
    print(f"\n== {name}", flush=True)
    importlib.import_module(f"benchmarks.{name}").main()
