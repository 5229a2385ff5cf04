"""YAML whose mistakes are told with file, line and key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from quacc.errors import InputError
from quacc.ownfiles import read_trusted

Key = tuple[str | int, ...]
"""Where something is in a file, such as ("steps", "relax", "with")."""

_MOST = 100_000
"""Values in a file, aliases written out."""


class Located:
    """The content of a YAML file, and the mistakes that are found in it.

    Parameters
    ----------
    file
        The file; only plain values are made of it, never objects.

    Raises
    ------
    InputError
        It cannot be read, or is not valid YAML.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.mistakes: list[tuple[int, str]] = []
        self._lines: dict[Key, int] = {}
        self._texts: dict[Key, str] = {}
        yaml = YAML(typ="safe", pure=True)
        try:
            text = read_trusted(file, anyones=True).decode()
            node = yaml.compose(text)
            if node is not None:
                self._note(node, ())
            self.content: Any = yaml.load(text)
        except FileNotFoundError:
            raise InputError(f"There is no file {str(file)!r} (looked in {Path.cwd()}).") from None
        except (OSError, UnicodeError) as error:
            raise InputError(f"{file} cannot be read: {error}.") from None
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = 1 if mark is None else mark.line + 1
            raise InputError(f"{file}:{line}: {_in_words(error)}") from None
        except (YAMLError, ValueError, RecursionError) as error:
            raise InputError(f"{file} is not valid YAML: {error}.") from None

    def line(self, key: Key) -> int:
        """Return the line of a key, or of what it is in."""
        while key and key not in self._lines:
            key = key[:-1]
        return self._lines.get(key, 1)

    def add(self, key: Key, what: str) -> None:
        """Note a mistake."""
        line = self.line(key)
        where = ".".join(map(str, key))
        self.mistakes.append((line, f"{self.file}:{line}: {where}{': ' * bool(where)}{what}"))

    def raise_mistakes(self) -> None:
        """Raise an InputError that lists all mistakes, by line, if there are any."""
        if self.mistakes:
            raise InputError("\n".join(dict.fromkeys(text for _, text in sorted(self.mistakes))))

    def inside(self, key: Key, names: Sequence[str | int]) -> Key:
        """Return the key of the first of some names that is anywhere in a key; else the key."""
        for name in names:
            for one in self._lines:
                if one[: len(key)] == key and len(one) > len(key) and one[-1] == name:
                    return one
        return key

    def names_in(self, key: Key) -> list[str]:
        """Return the names that are anywhere in a key, the innermost first."""
        found = [one for one in self._lines if one[: len(key)] == key and len(one) > len(key)]
        found.sort(key=len, reverse=True)
        return [one[-1] for one in found if isinstance(one[-1], str)]

    def quoted(self, key: Key, message: str) -> Key | None:
        """Return where in a key a text is that the first sentence of a message quotes."""
        message = message.partition(". ")[0]
        found = [
            one
            for one, text in self._texts.items()
            if one[: len(key)] == key and f"'{text}'" in message
        ]
        return max(found, key=len, default=None)

    def _note(self, node: Node, key: Key) -> None:
        self._lines[key] = node.start_mark.line + 1
        if len(self._lines) > _MOST:
            raise ValueError(f"with its aliases it has more than {_MOST} values")
        if isinstance(node, MappingNode):
            for name, value in node.value:
                inner = (*key, str(name.value))
                self._note(value, inner)
                self._lines[inner] = name.start_mark.line + 1
        elif isinstance(node, SequenceNode):
            for number, value in enumerate(node.value):
                self._note(value, (*key, number))
        else:
            self._texts[key] = str(node.value)


def _in_words(error: MarkedYAMLError) -> str:
    problem = str(error.problem or "").partition("\n")[0]
    if isinstance(error, DuplicateKeyError):
        return f"{problem.partition(' with value')[0]}. Take one of the two out, or rename it."
    if isinstance(error, ConstructorError) and "tag" in problem:
        return f"{problem}. Take the word with ! out: there are only plain values in a campaign."
    context = f"{error.context}: " if error.context else ""
    return (
        f"not valid YAML: {context}{problem}. Look at this line and the one above it, at colons, "
        "quotes and indentation."
    )
