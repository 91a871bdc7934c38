"""Slots: their places, their values, and that every value stays one word of a shell line."""

import subprocess

import pytest

from mobile_r1_jax.tasks.slots import fill, fill_line, misplaced_slot, slots

HOSTILE = (
    "two words",
    "it's",
    '"',
    "$(echo no)",
    "`echo no`",
    "a;b",
    "-n",
    "*",
    "\\",
    "a\nb",
    "",
    "你好",
    "$HOME",
    "#x",
    "~",
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("no slot", []),
        ("{a} and {b_2}{a}", ["a", "b_2", "a"]),
        ("{名字}", ["名字"]),
        ("{{a}} ${a} {} { a } {2} \\d{2,3} {a.b} {a-b}", []),
        ("awk '{print $1}'", []),
    ],
)
def test_a_slot_is_a_name_in_braces(text: str, names: list[str]) -> None:
    assert slots(text) == names


def test_values_enter_texts_unchanged() -> None:
    assert fill("{a} {{a}} ${a} {2} {a}", {"a": "{b} x"}) == "{b} x {a} ${a} {2} {b} x"


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    ("line", "printed"),
    [
        ("printf '[%s]' {v}", "[{}]"),
        ("printf '[%s]' a{v}b{v}", "[a{0}b{0}]"),
        ("printf '[%s]' --where name=\\'{v}\\'", "[--where][name='{}']"),
        ("printf '[%s]' \"$(printf '%s.' {v})\"", "[{}.]"),
        ("printf '[%s]' \"it's\" 'a\"b' \\' {v}", "[it's][a\"b]['][{}]"),
        ("x=1; printf '[%s]' \"$(printf '(' )\" $((x + 1)) {v}", "[(][2][{}]"),
    ],
)
def test_a_value_is_one_word_of_a_shell_line(line: str, printed: str, value: str) -> None:
    assert misplaced_slot(line) == ""
    answer = subprocess.run(["sh", "-c", fill_line(line, {"v": value})], capture_output=True, text=True, check=True)
    assert answer.stdout == printed.format(value)


@pytest.mark.parametrize(
    "line",
    [
        "echo '{v}'",
        'echo "{v}"',
        'echo "don\'t {v}"',
        'echo \'say "\' "{v}"',
        "echo \\{v}",
        "echo \"$(echo '{v}')\"",
        'echo "$(echo x) {v}"',
        'echo "$(echo \')\' "{v}")"',
        "cat <<END\n{v}\nEND",
    ],
)
def test_slot_inside_quotes_or_after_a_backslash_is_refused(line: str) -> None:
    assert misplaced_slot(line) == "v"
