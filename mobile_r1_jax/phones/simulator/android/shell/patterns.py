"""Shell patterns: *, ?, [abc] and [!abc]."""

import functools
import re
from collections.abc import Iterable

from mobile_r1_jax.phones.simulator.android.files import Files

Pieces = Iterable[tuple[str, bool]]
"""(text, quoted): quoted text has no special characters."""

_CLASSES = {"alnum": r"\w", "alpha": "a-zA-Z", "digit": "0-9", "lower": "a-z", "space": r"\s", "upper": "A-Z"}


def escape(pieces: Pieces) -> str:
    """Return the pattern of `pieces` as one string, in which a backslash quotes."""
    return "".join(re.sub(r"([\\*?\[\]])", r"\\\1", text) if quoted else text for text, quoted in pieces)


@functools.lru_cache(maxsize=256)
def expression(pattern: str, *, shortest: bool = False) -> str:
    """Return the regular expression of a pattern from `escape`. `shortest`: * takes as little as it can."""
    result, at = "", 0
    star = ".*?" if shortest else ".*"
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and at + 1 < len(pattern):
            result += re.escape(pattern[at + 1])
            at += 2
            continue
        at += 1
        if char == "*":
            result += star
        elif char == "?":
            result += "."
        elif char == "[" and (end := pattern.find("]", at + 2)) > 0:
            end = pattern.find("]", end + 1) if pattern.startswith("[:", at) and pattern[end - 1] == ":" else end
            result += _bracket(pattern[at:end])
            at = end + 1
        else:
            result += re.escape(char)
    return result


def _bracket(inside: str) -> str:
    negated = inside[:1] in ("!", "^")
    body = inside[negated:].replace("\\", r"\\").replace("[", r"\[").replace("^", r"\^")
    body = re.sub(r"\\\[:(\w+):", lambda match: _CLASSES.get(match[1], ""), body)
    return f"[{'^' if negated else ''}{body}]"


def matches(pattern: str, text: str) -> bool:
    """Return whether a pattern from `escape` matches all of `text`."""
    try:
        return re.fullmatch(expression(pattern), text, re.DOTALL) is not None
    except re.error:  # such as the range [z-a]
        return pattern == text


def is_pattern(pattern: str) -> bool:
    return re.search(r"(?<!\\)[*?\[]", pattern) is not None


def plain(pattern: str) -> str:
    """Return the text of a pattern from `escape`, which replaces it if nothing matches."""
    return re.sub(r"\\(.)", r"\1", pattern)


def glob(files: Files, pattern: str) -> list[str]:
    """Return the sorted paths that a pattern from `escape` matches.

    A name with a leading dot needs one in the pattern.
    """
    found = ["/"] if pattern.startswith("/") else [""]
    for component in [part for part in pattern.split("/") if part]:
        if not is_pattern(component):
            found = [before + plain(component) + "/" for before in found]
            found = [path for path in found if files.status(path).mode]
            continue
        found = [
            f"{before}{name}/"
            for before in found
            if files.is_directory(before or ".")
            for name in files.names(before or ".")
            if matches(component, name) and name.startswith(".") <= component.startswith(".")
        ]
    return [path if pattern.endswith("/") else path.rstrip("/") for path in found]
