"""Where the results database may be, and how to show that without its password."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from quacc.errors import SettingsError


def home() -> Path:
    """Return the home folder.

    Raises
    ------
    SettingsError
        The environment variable HOME is no absolute path, or there is none and the system knows
        no home folder of this user either: ``~`` would be the root or the current folder.
    """
    folder = os.path.expanduser("~")
    if os.environ.get("HOME") == "" or not os.path.isabs(folder):
        given = os.environ.get("HOME")
        what = "is not set" if given is None else f"is {given!r}"
        raise SettingsError(
            f"The environment variable HOME {what}, so there is no home folder for settings, "
            "results and certificates. Set it to an absolute path, such as a folder on the "
            "project's disk: export HOME=/path."
        )
    return Path(folder)


def expand_user(path: str) -> str:
    """Return a path whose ``~`` is replaced; see :func:`home`."""
    if path == "~" or path.startswith("~/"):
        return str(home()) + path[1:]
    return os.path.expanduser(path)


def is_url(location: str | Path) -> bool:
    """Tell a server from a file."""
    return isinstance(location, str) and "://" in location


def check_location(location: str | Path) -> str | Path:
    """Return the URL, or the absolute path; a ValueError says why it can be neither."""
    if isinstance(location, str) and is_url(location):
        return _check_url(location)
    path = expand_user(os.fspath(location))
    if path.startswith("~"):
        raise ValueError(f"there is no user {path.split('/')[0][1:]!r} here")
    if not path.endswith(".db"):
        raise ValueError("the file name must end in '.db', so that `ase db` and `ase gui` open it")
    return Path(require_text(path)).absolute()


def _check_url(url: str) -> str:
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError(
            "give a file name ending in '.db' or an address such as "
            "'postgresql://user@host/database'"
        )
    try:
        parts = urlsplit(url)
        malformed = "@" in parts.path + parts.query + parts.fragment or parts.port == 0
    except ValueError:
        malformed = True
    if malformed:  # libpq would quote pieces of the password in its message
        raise ValueError(
            "it is not a valid address; in a password, write '/', '@', ':', '?', '#', '[' and ']' "
            "as '%2F', '%40', '%3A', '%3F', '%23', '%5B' and '%5D'"
        )
    return url


def require_text(text: str) -> str:
    """Return the text, or raise a ValueError if it could not be written to a file."""
    if re.search(r"[\0\ud800-\udfff]", text):
        raise ValueError("it holds bytes that are no text (UTF-8)")
    return text


def redact(location: str | Path) -> str:
    """Return a location, or a text with a URL in it, without the password."""
    if isinstance(location, Path):
        return str(location)
    shown = re.sub(r"(?s)((?::?//)?[^:@/]*:)(?!//).*(?=@)", r"\1***", location)
    return re.sub(r"(?i)(pass\w*=)[^&]*", r"\1***", shown)
