"""The risks that the words of an element name. The words come from the screen: they are only data."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from mobile_r1_jax.phones.guard import words as tables
from mobile_r1_jax.tasks.task import Risk

Risks = frozenset[Risk]
EVERY_RISK: Risks = frozenset(Risk)
_LONGEST, _LONGEST_CHINESE = 8, 16  # words, characters; longer texts are not labels [ours]
_LONGEST_QUESTION = 200  # characters; longer texts are terms of use and the like [ours]
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_CHINESE = re.compile(r"[\u4e00-\u9fff？]+")
_ASKS = re.compile(r"\?|\b(?:are you sure|will be|permanently|cannot be undone|can't be undone)\b")


def plain_label(text: str) -> str:
    """Return a label for comparison: without case, width and invisible characters; blanks in a row are one."""
    text = unicodedata.normalize("NFKC", text).replace("’", "'").casefold()
    return " ".join("".join(char for char in text if unicodedata.category(char) != "Cf").split())


def risks_of_label(label: str, *, any_length: bool = False) -> Risks:
    """Return the risks of touching an element with this label, such as "Pay now" or "确认支付".

    any_length: it is a button. Else a text of more than 8 words or 16 Chinese characters is not a label.
    """
    plain = plain_label(label)
    words, chinese = _WORD.findall(plain), "".join(_CHINESE.findall(plain))
    is_later = words[-1:] == ["later"] and "now" not in words
    is_english = not is_later and (any_length or len(words) <= _LONGEST)
    is_chinese = any_length or len(chinese) <= _LONGEST_CHINESE
    return frozenset(
        kind
        for kind in Risk
        if (is_english and _begins(words, tables.ENGLISH[kind], tables.ENGLISH_NAMES[kind], tables.LEADING))
        or (is_chinese and _names(chinese, kind))
    )


def risks_of_id(resource_id: str) -> Risks:
    """Return the risks that a resource id names, such as "com.acme:id/btn_pay" or "deleteButton"."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", resource_id.rpartition("/")[2]).casefold()
    words = [word for word in re.split(r"[^a-z0-9]+", name) if word]
    if set(tables.ID_NAMES) & set(words):
        return frozenset()
    return frozenset(
        kind for kind in Risk if _begins(words, tables.ID_VERBS[kind], tables.ENGLISH_NAMES[kind], tables.ID_WRAPPERS)
    )


def risks_of_question(text: str) -> Risks:
    """Return the risks that a page asks about, such as "Delete this chat?" or "确定要删除吗"; of a statement none."""
    plain = plain_label(text)
    if len(plain) > _LONGEST_QUESTION:
        return frozenset()
    chinese = "".join(_CHINESE.findall(plain.replace("?", "？")))
    found = set(risks_of_label(text))
    if _ASKS.search(plain):
        found |= {kind for kind in Risk if re.search(rf"\b(?:{tables.ENGLISH_ASKED[kind]})\b", plain)}
    if any(mark in chinese for mark in tables.CHINESE_ASKED):
        found |= {kind for kind in Risk if _names(chinese, kind)}
    return frozenset(found)


def confirms(label: str) -> bool:
    """Return whether a label answers yes to what the page asks."""
    return _answer(label) in tables.CONFIRMING


def declines(label: str) -> bool:
    """Return whether a label answers no, or leaves a dialog."""
    answer = _answer(label)
    return answer in tables.DECLINING or answer.startswith(("don't-allow", "deny", "不允", "拒"))


def _answer(label: str) -> str:
    """Return a label as the tables have it: its words joined by dashes."""
    return "-".join(plain_label(label).strip(" !.。！").split())


def _begins(words: list[str], phrases: Sequence[Sequence[str]], names: Sequence[str], leading: Sequence[str]) -> bool:
    """Return whether one of the phrases is the first in `words` apart from leading words and numbers."""
    for start in range(len(words)):
        for phrase in phrases:
            *first, last = phrase
            end = start + len(phrase)
            if words[start:end] == [*first, last.rstrip(".")] and (end == len(words) or not last.endswith(".")):
                if words[end : end + 1] and words[end] in names:
                    continue
                return True
        if words[start] not in leading and not words[start].isdigit():
            return False
    return False


def _names(chinese: str, kind: Risk) -> bool:
    for verb in tables.CHINESE[kind]:
        for found in re.finditer(verb, chinese):
            before, after = chinese[: found.start()], chinese[found.end() :]
            if not before.endswith(tables.CHINESE_DENIALS) and not after.startswith(tables.CHINESE_NAMES[kind]):
                return True
    return False
