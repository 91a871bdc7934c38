"""HTML and SVG as nested calls. All text is escaped except our own markup, so model output cannot become markup."""

import html
from typing import Any

# Invisible characters that can mislead a reader: controls, and marks that change the direction of text. The page shows
# U+FFFD instead [ours].
_INVISIBLE = {
    code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
_INVISIBLE = {code: shown for code, shown in _INVISIBLE.items() if chr(code) not in "\n\t"}
_VOID = frozenset({"br", "img", "input", "meta"})


class Html(str):
    """A string of markup. Only `tag`, `join` and `raw` create one."""


def tag(name: str, /, *children: object, **attributes: Any) -> Html:
    """Return an element. Children that are not Html are escaped; None is skipped.

    Attributes: `class_` is class, `data_part` is data-part. True gives an attribute without a value; None and False
    give no attribute.
    """
    written = "".join(
        _attribute(key, value) for key, value in attributes.items() if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: object) -> Html:
    """Return the children, concatenated."""
    return Html(
        "".join(child if isinstance(child, Html) else _escape(child) for child in children if child is not None)
    )


def raw(text: str) -> Html:
    """Return our own style or script without escaping. Never pass text from a run."""
    return Html(text)


def number(value: float) -> str:
    """Format a coordinate of a drawing to a tenth of a unit."""
    return f"{value:.1f}".removesuffix(".0")


def _escape(text: object) -> str:
    return html.escape(str(text).translate(_INVISIBLE), quote=True)


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    return f' {name}="{number(value) if isinstance(value, float) else _escape(value)}"'
