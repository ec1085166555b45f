"""Blocks of a design space's rows as files in a folder that a later call goes on from."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

ABOUT = "exploration.json"


class Parts:
    """Frames by number.

    Parameters
    ----------
    folder
        Made if it is missing.
    about
        What the frames are of: a folder of something else is refused.

    Raises
    ------
    ValueError
        If the folder holds parts of another space.
    """

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder = folder
        self.frames: dict[int, pd.DataFrame] = {}
        folder.mkdir(parents=True, exist_ok=True)
        suffix = "parquet" if importlib.util.find_spec("pyarrow") else "csv"
        wanted = {**about, "suffix": suffix}
        note = folder / ABOUT
        if note.exists():
            found = json.loads(note.read_text(encoding="utf-8"))
            if {**found, "suffix": ""} != {**wanted, "suffix": ""}:
                msg = f"folder must be empty or hold parts of the same space, not another: {folder}"
                raise ValueError(msg)
            wanted = found
        elif any(folder.iterdir()):
            msg = f"folder must be empty or hold parts of the same space, not other files: {folder}"
            raise ValueError(msg)
        else:
            note.write_text(json.dumps(wanted, indent=2), encoding="utf-8")
        self.suffix = wanted["suffix"]

    def path(self, number: int) -> Path:
        """File of a part."""
        return self.folder / f"part-{number:05d}.{self.suffix}"

    def has(self, number: int) -> bool:
        """Tell whether a part is there already; one that can not be read is not, and is written again."""
        path = self.path(number)
        if path.exists() and number not in self.frames:
            with contextlib.suppress(OSError, ValueError):
                self.frames[number] = self._read(path)
        return number in self.frames

    def add(self, number: int, frame: pd.DataFrame) -> None:
        """Keep a part; a file is written whole or not at all."""
        self.frames[number] = frame
        path = self.path(number)
        partial = path.with_name(f".{path.name}.partial")
        if self.suffix == "parquet":
            frame.to_parquet(partial, index=False)
        else:
            frame.to_csv(partial, index=False)
        os.replace(partial, path)

    def frame(self) -> pd.DataFrame:
        """All parts as one frame."""
        import pandas as pd  # noqa: PLC0415

        ordered = [self.frames.pop(number) for number in sorted(self.frames)]
        if len(ordered) == 1:
            return ordered[0]
        columns = {}
        for name in list(ordered[0].columns):
            pieces = [part.pop(name) for part in ordered]
            columns[name] = pd.concat(pieces, ignore_index=True)
        return pd.DataFrame(columns, copy=False)

    def _read(self, path: Path) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415

        if self.suffix == "parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype={"reason": "str"}, keep_default_na=True)
