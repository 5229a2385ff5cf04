"""How far a calculation is, on disk: written on a clock, and read when it starts again."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import ase

from quacc.errors import PreemptedError, StoreError
from quacc.locations import expand_user
from quacc.ownfiles import read_own, why_foreign
from quacc.runners.deadline import job_end, stopping, the_margin

_FORMAT = [3, ase.__version__]
"""Number of the format, and of the ASE whose optimizers are in the file."""
_SHORT = 1.0
"""No checkpoint is written before (s): a short calculation need not load the settings."""
_SHARE = 20
"""Ratio of the times between two checkpoints and for writing one, which may take long."""


def progress_of(key: str) -> int | None:
    """Return how many steps the checkpoint of a calculation holds, or None if there is none."""
    try:
        content = read_own(_folder() / key)
        progress: int = _header(content.partition(b"\n")[0], key)["progress"]
    except (OSError, _UnreadableError):
        return None
    return progress


class Checkpoint:
    """What is kept in ``results_dir/checkpoints`` of one calculation that may be stopped.

    Parameters
    ----------
    key
        Of the calculation, and the name of the file.
    what
        The calculation, for messages.
    costs
        Returns what the calculation has cost so far.
    restart_files
        See :class:`quacc.calculators.code.Code`.

    Attributes
    ----------
    saved : dict | None
        What an earlier attempt gave to :meth:`step`.
    earlier : dict
        What that attempt had cost.
    progress : int
        How many steps are on disk.
    longest_step : float
        In all attempts (s).
    warnings : list[str]
        For the result.
    """

    def __init__(
        self,
        key: str,
        what: str,
        *,
        costs: Callable[[], Mapping[str, Any]],
        restart_files: Sequence[str] = (),
    ) -> None:
        self.key = key
        self.what = what
        self.costs = costs
        self.restart_files = restart_files
        self.saved: dict[str, Any] | None = None
        self.earlier: dict[str, Any] = {}
        self.progress = 0
        self.longest_step = 0.0
        self.warnings: list[str] = []
        self._workdir: Path | None = None
        self._kept: str | None = None  # folder of the restart files
        self._begun = 0  # how many steps the earlier attempts made
        self._touched = False  # whether there is anything to remove
        self._started = self._stepped = self._written = time.monotonic()
        self._pause: float | None = None
        self._margin: float | None = None

    def load(self) -> None:
        """Read what an earlier attempt left, if anything; set aside what cannot be read."""
        file = _folder() / self.key
        try:
            content = read_own(file)
            self._touched = True
            header, self.saved = _decode(content, self.key)
        except FileNotFoundError:
            return
        except (_UnreadableError, PermissionError) as error:
            message = str(error).removeprefix(f"{file} ")
            self._set_aside(message if file.exists() or file.is_symlink() else "is gone")
            return
        except OSError as error:
            self._set_aside(f"cannot be read: {error.strerror or error}")
            return
        self.earlier, self.progress = header["costs"], header["progress"]
        self.longest_step, self._kept = header["longest_step"], header["restart_files"]
        self.warnings = header["warnings"]
        self._begun = self.progress

    def resume(self, check: Callable[[dict[str, Any]], None]) -> dict[str, Any] | None:
        """Return what an earlier attempt gave to :meth:`step`; None if there is none.

        Parameters
        ----------
        check
            Raises if it makes no sense, and changes nothing. It is set aside then.
        """
        if self.saved is None:
            return None
        try:
            check(self.saved)
        except Exception as error:  # anything may be in a file
            self._set_aside(f"does not fit: {type(error).__name__}: {error}"[:300])
        return self.saved

    def blame(self, error: Exception) -> str | None:
        """Set the checkpoint aside if the calculation could not go on from it at all.

        Returns what to add to the error then.
        """
        odd = (TypeError, ValueError, LookupError, AttributeError)
        if self.saved is not None and self.progress == self._begun and isinstance(error, odd):
            self._set_aside(f"could not be used: {type(error).__name__}: {error}"[:300])
            return self.warnings[-1].replace("started", "will start", 1)
        return None

    def _set_aside(self, reason: str) -> None:
        file = _folder() / self.key
        aside = file.with_name(f"{self.key}-unreadable")
        kept = f"is kept as {aside}"
        try:
            file.replace(aside)
        except FileNotFoundError:  # a duplicate of this calculation was faster
            pass
        except OSError as error:
            kept = f"could not be moved to {aside}: {error.strerror or error}"
        self.warnings.append(
            f"The calculation started anew, because its checkpoint {reason}. It {kept}."
        )
        self.saved, self.progress, self._kept = None, 0, None

    def put_back(self, workdir: Path) -> None:
        """Copy the restart files into the folder where the code will run."""
        self._workdir = workdir
        if self._kept is None:
            return
        folder = _folder() / self._kept
        try:
            if reason := why_foreign(folder.lstat()):
                raise PermissionError(f"{folder} {reason}")
            shutil.copytree(folder, workdir, dirs_exist_ok=True)
        except OSError as error:
            self.warnings.append(
                f"The program started without its restart files, which could not be copied: {error}"
            )

    def step(self, progress: int, state: Callable[[], dict[str, Any]]) -> None:
        """Write a checkpoint if it is time to; to be called between two steps.

        Parameters
        ----------
        progress
            Steps done, in all attempts.
        state
            Returns what is needed to go on from here: numbers, texts, lists, dictionaries and
            arrays.

        Raises
        ------
        PreemptedError
            The calculation has to stop.
        """
        now = time.monotonic()
        self.longest_step = max(self.longest_step, now - self._stepped)
        self._stepped = now
        gained = progress > self.progress
        reason = stopping(self._stop_margin() if gained else self.longest_step)
        if reason is None and not self._due(now):
            return
        try:
            if gained:
                self._write(progress, state())
                self.progress = progress
        except (OSError, StoreError) as error:  # a full disk need not end the calculation
            message = (
                f"its checkpoint could not be written: {getattr(error, 'strerror', 0) or error}"
            )
            if reason is not None:
                raise self.preempted(f"{reason}; {message}") from error
            if message not in self.warnings:
                self.warnings.append(message)
        if reason is not None:
            raise self.preempted(reason)

    def preempted(self, reason: str) -> PreemptedError:
        """Return the exception that says how far the calculation is."""
        steps = "step" if self.progress == 1 else "steps"
        when = f"after {self.progress} {steps}" if self.progress else "before its first step"
        return PreemptedError(
            f"{self.what} was stopped {when}: {reason}. The same call goes on from there.",
            key=self.key,
            progress=self.progress,
            reason=reason,
        )

    def remove(self) -> None:
        """Remove what is no longer needed after the end of the calculation."""
        if not self._touched:
            return
        folder = _folder()
        with suppress(OSError):  # what stays is out of the way, or a duplicate was faster
            (folder / self.key).unlink()
        for rest in folder.glob(f".{self.key}-*"):
            _delete(rest)

    def _stop_margin(self) -> float:
        if job_end() is None:
            return 0.0
        if self._margin is None:
            self._margin = the_margin()
        return self._margin + self.longest_step

    def _due(self, now: float) -> bool:
        if now - self._started < _SHORT:
            return False
        if self._pause is None:
            from quacc.settings import get_settings

            self._pause = get_settings().checkpoint_interval
        return now - self._written >= self._pause

    def _write(self, progress: int, state: dict[str, Any]) -> None:
        from quacc.settings import get_settings
        from quacc.store.codec import plain, to_binary

        began = self._written = time.monotonic()
        self._touched = True
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        body = to_binary(plain(state, "checkpoint"))
        new = folder / f".{self.key}-{uuid4().hex[:8]}"
        before, kept = self._kept, self._keep_files(new.with_name(f"{new.name}-files"))
        header = {
            "format": _FORMAT,
            "key": self.key,
            "progress": progress,
            "longest_step": self.longest_step,
            "costs": dict(self.costs()),
            "restart_files": kept,
            "warnings": self.warnings,
            "checksum": zlib.crc32(body),
        }
        try:
            with open(new, "wb", opener=_private) as stream:
                stream.write(json.dumps(header).encode() + b"\n" + body)
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(folder / self.key)
        finally:
            new.unlink(missing_ok=True)
        self._kept = kept
        if before:
            _delete(folder / before)
        self._written = time.monotonic()
        interval = get_settings().checkpoint_interval
        self._pause = max(interval, _SHARE * (self._written - began))

    def _keep_files(self, folder: Path) -> str | None:
        """Copy the restart files to a new folder; return its name, or None if there are none."""
        if self._workdir is None:
            return None
        files = [file for pattern in self.restart_files for file in self._workdir.glob(pattern)]
        if files:
            folder.mkdir(mode=0o700)
        for file in files:
            target = folder / file.relative_to(self._workdir)
            target.parent.mkdir(parents=True, exist_ok=True)
            if file.is_dir():
                shutil.copytree(file, target, dirs_exist_ok=True)
            else:
                shutil.copy2(file, target)
        return folder.name if files else None


class _UnreadableError(Exception):
    """Says why, after "the checkpoint"."""


def _decode(content: bytes, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    from quacc.store.codec import decode

    line, _, body = content.partition(b"\n")
    header = _header(line, key)
    if zlib.crc32(body) != header["checksum"]:
        raise _UnreadableError("is damaged")
    try:
        saved = decode(body)
    except Exception as error:  # anything may be in a file
        raise _UnreadableError("is damaged") from error
    if not isinstance(saved, dict):
        raise _UnreadableError("is damaged")
    return header, saved


def _header(line: bytes, key: str) -> dict[str, Any]:
    try:
        header = json.loads(line)
        written = header["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _UnreadableError("is damaged") from error
    if written != _FORMAT:
        raise _UnreadableError("was written with another version of quacc or ASE")
    if header.get("key") != key:
        raise _UnreadableError("is that of another calculation")
    files = header.get("restart_files")
    kept = re.escape(f".{key}-") + "[0-9a-f]{8}-files"
    if not (
        type(header.get("progress")) is int
        and header["progress"] >= 0
        and type(header.get("longest_step")) in (int, float)
        and type(header.get("checksum")) is int
        and _are_costs(header.get("costs"))
        and (files is None or (isinstance(files, str) and re.fullmatch(kept, files)))
        and isinstance(header.get("warnings"), list)
        and all(isinstance(one, str) for one in header["warnings"])
    ):
        raise _UnreadableError("is damaged")
    return dict(header)


_COSTS: dict[str, Any] = {
    "started": str,
    "attempts": int,
    "wall_seconds": (int, float),
    "cpu_seconds": (int, float),
}


def _are_costs(costs: Any) -> bool:
    return isinstance(costs, dict) and all(
        isinstance(value, _COSTS.get(name, object)) for name, value in costs.items()
    )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _folder() -> Path:
    return _results_dir() / "checkpoints"


def _results_dir() -> Path:
    """Return the setting ``results_dir``, where possible without loading the settings.

    Every calculation asks for it when it starts, and pydantic takes longer to load than a short
    one to run. An environment variable is weaker than changed settings only, a default than both
    and the settings file.
    """
    if "quacc.settings" not in sys.modules and "_QUACC_CHANGED_SETTINGS" not in os.environ:
        path = os.environ.get("QUACC_RESULTS_DIR")
        if not path and not os.path.exists(expand_user("~/.quacc.yaml")):
            path = "~/quacc_results"
        path = expand_user(os.path.expandvars(path or ""))
        if os.path.isabs(path) and "$" not in path:
            return Path(path)
    from quacc.settings import get_settings

    return get_settings().results_dir
