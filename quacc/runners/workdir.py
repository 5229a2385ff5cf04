"""The folder that a code writes its files in, and what becomes of it."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import shutil
import tempfile
import traceback
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase as fnmatch
from pathlib import Path
from typing import Any
from uuid import uuid4

from quacc.errors import ParameterError, SettingsError
from quacc.ownfiles import why_unsafe

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
    found: list[Path] = []
    for folder, patterns in _wanted(copy_files):
        if not os.path.isdir(folder):
            raise ParameterError(f"copy_files: there is no folder {str(folder)!r}.")
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
        for pattern in patterns:
            # A finished calculation's files are compressed; ask for them by their own names.
            matches = [
                name
                for name in names
                if fnmatch(name, pattern) or fnmatch(name.removesuffix(".gz"), pattern)
            ]
            if not matches:
                raise ParameterError(
                    f"copy_files: no file {pattern!r} in {str(folder)!r}, which holds "
                    f"{', '.join(names) or 'nothing'}."
                )
            found += [folder / name for name in matches]
    return found


def _wanted(copy_files: Any) -> list[tuple[Path, list[str]]]:
    """Return folders and the patterns of the files that are wanted from each."""
    if isinstance(copy_files, Mapping) and "directory" in copy_files and "key" in copy_files:
        if copy_files["directory"] is None:
            raise ParameterError(
                f"The result of {copy_files.get('name')} given as copy_files kept no files: its "
                "code runs in memory."
            )
        copy_files = copy_files["directory"]
    if not isinstance(copy_files, Mapping):
        copy_files = {copy_files: ["*"]} if isinstance(copy_files, str | os.PathLike) else {None: 0}
    wanted = []
    for folder, given in copy_files.items():
        patterns = [given] if isinstance(given, str) else given
        if (
            not (isinstance(folder, str | os.PathLike) and os.fspath(folder))
            or not isinstance(patterns, Sequence)
            or not all(isinstance(one, str) and one and "/" not in one for one in patterns)
        ):
            raise ParameterError(
                "copy_files must be an earlier result, its folder, or {folder: [file names]} "
                f"with names in that folder, not {copy_files!r}."
            )
        wanted.append((Path(os.path.expanduser(folder)), list(patterns)))
    return wanted


def content_hash(files: Sequence[Path]) -> str | None:
    """Return a hash of the names and contents of files, compressed or not; None for none.

    Raises
    ------
    ParameterError
        A file cannot be read.
    """
    if not files:
        return None
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name.removesuffix(".gz")):
        digest.update(file.name.removesuffix(".gz").encode() + b"\0")
        try:
            with _open(file) as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
        except (OSError, EOFError, zlib.error) as error:
            raise ParameterError(f"copy_files: {str(file)!r} cannot be read: {error}") from error
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

    Raises
    ------
    SettingsError
        One of the two folders cannot be written to, or everybody may rename what is in the first.
    """

    def __init__(self, name: str, copies: Sequence[Path]) -> None:
        from quacc.settings import get_settings  # pydantic is slow; in-memory codes go without

        settings = get_settings()
        self.target = settings.results_dir / name
        self.compress = settings.compress
        _make_writable(settings.results_dir, "results_dir")
        _make_writable(settings.scratch, "scratch_dir")
        if reason := why_unsafe(settings.scratch, anyones=True):
            raise SettingsError(
                f"Somebody else could replace a calculation's files in {settings.scratch}: "
                f"{reason}. Take the permission away with `chmod o-w`, or name another folder: "
                "`quacc settings set scratch_dir FOLDER`."
            )
        self.path = Path(tempfile.mkdtemp(prefix=f"{name[:100]}-", dir=settings.scratch))
        for file in copies:
            target = self.path / file.name.removesuffix(".gz")
            with _open(file) as source, target.open("wb") as to:
                shutil.copyfileobj(source, to)

    def remove(self, patterns: Sequence[str]) -> None:
        """Delete files and folders that nobody needs any more."""
        for pattern in patterns:
            for item in self.path.glob(pattern):
                if item.is_dir():
                    shutil.rmtree(item, ignore_errors=True)
                else:
                    item.unlink(missing_ok=True)

    def keep(self) -> tuple[str, list[str]]:
        """Move the files of a finished calculation to the results.

        Returns
        -------
        tuple[str, list[str]]
            Their folder, and warnings: when they cannot be moved, they stay where they are.
        """
        try:
            self._move(self.target)
        except OSError as error:
            return str(self.path), [
                f"The files could not be moved to {self.target}: {error}. They are in {self.path}."
            ]
        # What an earlier attempt left behind is out of date now.
        shutil.rmtree(_failed(self.target), ignore_errors=True)
        return str(self.target), []

    def keep_failed(self, error: BaseException) -> str:
        """Move the files of a failed calculation to the results, with a report; return where."""
        try:
            report = "".join(traceback.format_exception(error))
            (self.path / "error.txt").write_text(report, "utf-8", "backslashreplace")
            self._move(_failed(self.target))
        except OSError:  # the failure itself matters more; the files stay where they are
            return str(self.path)
        return str(_failed(self.target))

    def discard(self) -> None:
        """Delete the files of a calculation that goes on from its checkpoint later."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _move(self, target: Path) -> None:
        if self.compress:
            for file in sorted(self.path.rglob("*")):
                if file.is_file() and file.suffix != ".gz" and file.name != "error.txt":
                    with file.open("rb") as source, gzip.open(f"{file}.gz", "wb", 6) as to:
                        shutil.copyfileobj(source, to)
                    file.unlink()
        # Scratch is often another file system: copy next to the target first, then rename, so
        # that a folder of this name is always complete.
        partial = target.with_name(f".{target.name}-{uuid4().hex[:8]}")
        partial.mkdir()
        for item in self.path.iterdir():
            shutil.move(item, partial / item.name)
        # Equal names are equal calculations, which may end at the same time; the one that is
        # moved last stays.
        old = partial.with_name(f"{partial.name}-old")
        while True:
            try:
                partial.rename(target)
                break
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            with suppress(FileNotFoundError):  # another one took it away
                target.rename(old)
                shutil.rmtree(old)
        self.path.rmdir()


def _failed(target: Path) -> Path:
    return target.with_name(f"{target.name}-failed")


def _make_writable(folder: Path, setting: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no permission to write", str(folder))
    except OSError as error:
        raise SettingsError(
            f"The folder {folder} cannot be written to ({error}). The setting {setting} names it: "
            f"`quacc settings set {setting} FOLDER`."
        ) from error
