"""The folder that a code writes its files in, and what becomes of it."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from quacc.errors import ParameterError

CopyFiles = str | os.PathLike[str] | Mapping[Any, Any]
"""An earlier result or its folder (all files), or ``{folder: [names or patterns]}``."""


def files_to_copy(copy_files: CopyFiles | None) -> list[Path]:
    """Return the files of earlier calculations that this one starts from.

    Raises
    ------
    ParameterError
        A folder does not exist, or nothing in it matches.
    """
    if copy_files is None:
        return []
    if isinstance(copy_files, str | os.PathLike):
        wanted: dict[Any, Sequence[str]] = {copy_files: ["*"]}
    elif not isinstance(copy_files, Mapping):
        raise ParameterError(
            "copy_files must be an earlier result, its folder, or {folder: [file names]}, not "
            f"{copy_files!r}."
        )
    elif "directory" in copy_files and "key" in copy_files:
        if copy_files["directory"] is None:
            raise ParameterError(
                f"The result of {copy_files.get('name')} given as copy_files kept no files: its "
                "code runs in memory."
            )
        wanted = {copy_files["directory"]: ["*"]}
    else:
        wanted = dict(copy_files)
    found: list[Path] = []
    for folder, patterns in wanted.items():
        source = Path(folder).expanduser()
        if not source.is_dir():
            raise ParameterError(f"copy_files: there is no folder {str(source)!r}.")
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            # A finished calculation's files are compressed; ask for them by their own names.
            matches = sorted({*source.glob(pattern), *source.glob(f"{pattern}.gz")})
            matches = [match for match in matches if match.is_file()]
            if not matches:
                held = ", ".join(sorted(file.name for file in source.iterdir())) or "nothing"
                raise ParameterError(
                    f"copy_files: no file {pattern!r} in {str(source)!r}, which holds {held}."
                )
            found += matches
    return found


def content_hash(files: Sequence[Path]) -> str | None:
    """Return a hash of the names and contents of files, compressed or not; None for none."""
    if not files:
        return None
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name.removesuffix(".gz")):
        digest.update(file.name.removesuffix(".gz").encode() + b"\0")
        with _open(file) as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _open(file: Path) -> Any:
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")


class Workdir:
    """A new folder under ``scratch_dir``; its files go to ``results_dir`` at the end.

    Parameters
    ----------
    name
        Of the folder under ``results_dir``; the same calculation always gets the same name.
    copies
        Files to start from; compressed ones are unpacked.
    """

    def __init__(self, name: str, copies: Sequence[Path]) -> None:
        from quacc.settings import get_settings  # pydantic is slow; in-memory codes go without

        self.name = name
        self.settings = get_settings()
        scratch = self.settings.scratch
        scratch.mkdir(parents=True, exist_ok=True)
        self.path = Path(tempfile.mkdtemp(prefix=f"{name[:100]}-", dir=scratch))
        for file in copies:
            with (
                _open(file) as source,
                (self.path / file.name.removesuffix(".gz")).open("wb") as to,
            ):
                shutil.copyfileobj(source, to)

    def keep(self) -> str:
        """Move the files of a finished calculation to the results; return their folder."""
        target = self.settings.results_dir / self.name
        self._move(target)
        # What an earlier attempt left behind is out of date now.
        shutil.rmtree(target.with_name(f"{target.name}-failed"), ignore_errors=True)
        return str(target)

    def keep_failed(self, error: BaseException) -> str:
        """Move the files of a failed calculation to the results, with a report beside them."""
        report = "".join(traceback.format_exception(error))
        (self.path / "error.txt").write_text(report)
        target = self.settings.results_dir / f"{self.name}-failed"
        self._move(target)
        return str(target)

    def _move(self, target: Path) -> None:
        if self.settings.compress:
            for file in sorted(self.path.rglob("*")):
                if file.is_file() and file.suffix != ".gz" and file.name != "error.txt":
                    with file.open("rb") as source, gzip.open(f"{file}.gz", "wb", 6) as to:
                        shutil.copyfileobj(source, to)
                    file.unlink()
        target.parent.mkdir(parents=True, exist_ok=True)
        # Scratch is often another file system: copy next to the target first, then rename, so
        # that a folder of this name is always complete.
        partial = target.with_name(f".{target.name}-{uuid4().hex[:8]}")
        partial.mkdir()
        for item in self.path.iterdir():
            shutil.move(item, partial / item.name)
        while True:
            try:
                partial.rename(target)
                break
            except OSError:
                if not target.is_dir():
                    raise
                # Equal names are equal calculations: the one moved last stays.
                old = partial.with_name(f"{partial.name}-old")
                target.rename(old)
                shutil.rmtree(old)
        self.path.rmdir()
