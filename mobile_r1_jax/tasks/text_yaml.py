"""YAML in which every scalar is text as it is written, with the line of everything.

YAML 1.1 reads `on` as true, 08:30 as 510 and 1.10 as 1.1. A task file means the text.
"""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

T = TypeVar("T")

_COMMENT = re.compile(r"[ \t]+#([^\s#!\0][^\s\0]*)")  # as in `Open room #5`


class WrongYamlError(Exception):
    """A fault of a file, and its line (from 1)."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line, self.reason = line, reason


def wrong(node: Node, reason: str) -> WrongYamlError:
    """Return the error that `reason` is wrong at a node."""
    return WrongYamlError(node.start_mark.line + 1, reason)


def read_nodes(path: Path) -> Node:
    """Return the root of the only document of a file. Raise WrongYamlError, or OSError that names the file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise WrongYamlError(line, "not UTF-8; save the file as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        hint = "text with any of : # , [ ] { } & * ! | > % @ ` may need quotes"
        reason = f"not YAML: {error.problem}; {hint}"
        raise WrongYamlError(mark.line + 1 if mark else 1, reason) from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise WrongYamlError(line, f"not YAML: the character {chr(error.character)!r} may not be in a file") from error
    except RecursionError as error:
        raise WrongYamlError(1, "nested too deeply") from error
    if root is None:
        raise WrongYamlError(1, "the file is empty")
    return root


def fields(node: Node, what: str, known: Iterable[str] | None = None) -> dict[str, Node]:
    """Return key -> node of a mapping. Raise WrongYamlError for a key that is not known, or occurs twice."""
    if not isinstance(node, MappingNode):
        raise wrong(node, f"{what} must be keys with values, is {describe(node)}")
    found: dict[str, Node] = {}
    for key, value in node.value:
        name = text_of(key, f"a key of {what}")
        if name in found:
            raise wrong(key, f"{what} has {name!r} twice")
        if known is not None:
            check_known(key, name, known, f"{what} has no key")
        found[name] = value
    return found


def items(node: Node, what: str) -> list[Node]:
    """Return the nodes of a list."""
    if not isinstance(node, SequenceNode):
        raise wrong(node, f"{what} must be a list, is {describe(node)}")
    return node.value


def text_of(node: Node, what: str) -> str:
    """Return the text of a scalar, as written. Raise WrongYamlError if YAML takes a part of it for a comment."""
    if not isinstance(node, ScalarNode):
        hint = "; put text that begins with { or [ in quotes" if node.flow_style else ""
        raise wrong(node, f"{what} must be text, is {describe(node)}{hint}")
    if node.style is None and not node.value:
        raise wrong(node, f'{what} is empty; write "" where no text is meant')
    if not node.value.isprintable() and (bad := re.search(r"[\0\ud800-\udfff]", node.value)):
        raise wrong(node, f"{what} holds the character {bad[0]!r}, which a phone cannot get")
    if node.style is None and (lost := _COMMENT.match(node.end_mark.buffer, node.end_mark.pointer)):
        hint = f"quote the text, or write '# {lost[1]}'"
        raise wrong(node, f"{what}: '#{lost[1]}' after {node.value!r} is a comment; {hint}")
    return node.value


def check_known(node: Node, name: str, known: Iterable[str], reason: str) -> None:
    """Raise WrongYamlError with a suggestion if `name` is not known."""
    known = list(known)
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it may be {', '.join(known)}" if known else "there is none"
        raise wrong(node, f"{reason} {name!r}; {hint}")


def choice(node: Node, what: str, options: Mapping[str, T]) -> T:
    """Return the option of that name."""
    name = text_of(node, what)
    check_known(node, name, options, f"{what} cannot be")
    return options[name]


def describe(node: Node) -> str:
    """Return what a node is, for a message."""
    if isinstance(node, ScalarNode):
        return repr(node.value) if node.value else "empty"
    return "a list" if isinstance(node, SequenceNode) else "keys with values"
