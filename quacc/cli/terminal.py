"""Terminals, files and pipes that cannot take every character."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

_PLAIN = {
    "–": "-",
    "—": "-",
    "−": "-",
    "…": "...",
    "→": "->",
    "←": "<-",
    "✓": "+",
    "✗": "x",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "·": "*",
    "×": "x",
    "±": "+/-",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "µ": "u",
    "°": " deg",
    "Δ": "Delta",
    "σ": "sigma",
    "ε": "epsilon",
    "━": "-",
    "─": "-",
    "│": "|",
    "╸": "-",
    "╺": " ",
    "⁻": "-",
}
"""What stands in for characters that have no decomposition."""


def never_fail_to_print() -> None:
    """Let standard output and error replace what their encoding lacks: Å becomes A."""
    codecs.register_error("quacc-plain", _replace)
    codecs.register(_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            # Under its own name, Click would write UTF-8 instead.
            encoding = "quacc_ascii" if ascii_only else stream.encoding
            stream.reconfigure(encoding=encoding, errors="quacc-plain")


def _ascii(name: str) -> codecs.CodecInfo | None:
    if name != "quacc_ascii":
        return None
    usual = codecs.lookup("ascii")
    return codecs.CodecInfo(
        name=name,
        encode=usual.encode,
        decode=usual.decode,
        incrementalencoder=usual.incrementalencoder,
        incrementaldecoder=usual.incrementaldecoder,
    )


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    parts = []
    for character in error.object[error.start : error.end]:
        plain = unicodedata.normalize("NFKD", _PLAIN.get(character, character))
        parts.append("".join(one for one in plain if one.isascii()) or "?")
    return "".join(parts), error.end
