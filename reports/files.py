"""Write files so that readers see the old content or the new, never a part."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there.

    Parameters
    ----------
    path
        Where to. An existing file is replaced and keeps its permissions; the folder must exist. A pipe or a
        device is written to directly.
    content
        The bytes.

    Raises
    ------
    OSError
        If the folder is missing or cannot be written to; it names `path`, and an existing file is unchanged.
    """
    try:
        _replace(path.resolve(), content)
    except OSError as error:
        if error.errno is not None:
            # The name that the caller gave, not that of the file beside it.
            error.filename, error.filename2 = str(path), None
        raise


def _replace(target: Path, content: bytes) -> None:
    if target.exists() and not target.is_file():
        # A pipe or a device has no content to protect, and must stay what it is.
        target.write_bytes(content)
        return
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        try:
            mode = target.stat().st_mode & 0o777
        except FileNotFoundError:
            mask = os.umask(0)
            os.umask(mask)
            mode = 0o666 & ~mask
        Path(name).chmod(mode)
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise
