"""HTML and SVG as nested calls. Text is escaped unless it was made here: what a model wrote can never become markup."""

import html
from typing import Any

# Characters that no reader sees but every reader is misled by: controls, and the marks that turn the order of a line
# around. They are shown as a box (our choice).
_UNSEEN = {
    code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
_UNSEEN = {code: shown for code, shown in _UNSEEN.items() if chr(code) not in "\n\t"}
_VOID = frozenset({"br", "img", "input", "meta"})


class Html(str):
    """A string that is markup already. Only `tag`, `join` and `raw` make one."""


def tag(name: str, /, *children: object, **attributes: Any) -> Html:
    """An element. Children that are no Html are escaped, None among them left out.

    Attributes: `class_` is class, `data_part` is data-part; True stands alone, None and False for none.
    """
    written = "".join(
        _attribute(key, value) for key, value in attributes.items() if value is not None and value is not False
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: object) -> Html:
    """Children one after another."""
    return Html(
        "".join(child if isinstance(child, Html) else _escape(child) for child in children if child is not None)
    )


def raw(text: str) -> Html:
    """Our own style and script, as they are; never anything read from a run."""
    return Html(text)


def number(value: float) -> str:
    """A coordinate of a drawing: a tenth of a unit is enough."""
    return f"{value:.1f}".removesuffix(".0")


def _escape(text: object) -> str:
    return html.escape(str(text).translate(_UNSEEN), quote=True)


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    return f' {name}="{number(value) if isinstance(value, float) else _escape(value)}"'
