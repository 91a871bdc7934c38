"""Comparisons of typed texts and app names in the rule sets of offline evaluation."""

from __future__ import annotations


def contains(one: str, other: str) -> bool:
    """Return whether either text contains the other. An empty text is contained in every text."""
    return one in other or other in one


def contains_folded(one: str, other: str) -> bool:
    """Return `contains` after stripping and lowercasing."""
    return contains(one.strip().lower(), other.strip().lower())


def token_f1(one: str, other: str) -> float:
    """Return the F1 of the two sets of words, lowercased; 0 if a text has no word."""
    a, b = set(one.lower().split()), set(other.lower().split())
    return 2 * len(a & b) / (len(a) + len(b)) if a and b else 0.0


def levenshtein_similarity(one: str, other: str) -> float:
    """Return 1 - distance / longer length, where the distance is Levenshtein's; 1 for two empty texts."""
    return 1 - _distance(one, other, replacing=1) / max(len(one), len(other), 1)


def indel_ratio(one: str, other: str) -> float:
    """Return python-Levenshtein's `ratio`: 2 * longest common subsequence / total length; 1 for two empty texts."""
    return 1 - _distance(one, other, replacing=2) / max(len(one) + len(other), 1)


def _distance(one: str, other: str, *, replacing: int) -> int:
    """Return the least cost of edits from one text to the other; an insertion and a deletion cost 1 each."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        corner, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + replacing * (a != b))
    return row[-1]
