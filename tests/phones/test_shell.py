"""The simulated phone's shell reads command lines as a POSIX shell does."""

import asyncio
import shlex

import pytest

from mobile_r1_jax.phones.simulator.android.files import Files
from mobile_r1_jax.phones.simulator.android.shell import Process, Program, run


async def args(process: Process) -> int:
    process.print("".join(f"[{argument}]" for argument in process.arguments))
    return 0


async def cat(process: Process) -> int:
    process.out(await process.stdin.rest())
    return 0


async def fail(process: Process) -> int:
    process.error(b"went wrong\n")
    return 3


class Host:
    """Return a shell in which `args` prints its arguments in brackets, cat copies its input, and fail fails."""

    not_found = "inaccessible or not found"

    def __init__(self) -> None:
        self.files = Files()
        self.background: set[asyncio.Task[int]] = set()

    def program(self, name: str) -> Program | None:
        return {"args": args, "cat": cat, "fail": fail}.get(name)


def out(line: str) -> str:
    return run(Host(), line).output(1).decode()


@pytest.mark.parametrize(
    ("line", "printed_arguments"),
    [
        ("args a  b", "[a][b]"),
        ("args 'a  b' \"c d\"", "[a  b][c d]"),
        ("args ''", "[]"),
        ("args a'b'\"c\"", "[abc]"),
        (r"args a\ b \;", "[a b][;]"),
        (r"""args "\$ \" \\ \n" """, r'[$ " \ \n]'),
        ("args '$(echo x)' '`echo x`' '$?'", "[$(echo x)][`echo x`][$?]"),
        ("args $(echo a b) \"$(echo a b)\"", "[a][b][a b]"),
        ("args x$(echo a b)y", "[xa][by]"),
        ("args $(echo)", ""),
        ("args `echo a`", "[a]"),
        ("args $(args $(echo deep))", "[[deep]]"),
        ("args $nothing \"$nothing\"", "[]"),
        ("args 'a;b' 'c&&d' 'e|f' 'g>h'", "[a;b][c&&d][e|f][g>h]"),
        ("args a # b", "[a]"),
        ("args a#b", "[a#b]"),
        ("args 5 $", "[5][$]"),
        ("args a\\\nb", "[ab]"),
    ],
)  # fmt: skip
def test_words_are_split_and_expanded_by_posix_rules(line: str, printed_arguments: str) -> None:
    assert out(line) == printed_arguments


@pytest.mark.parametrize(
    "text",
    ["", " ", "a b", "'", '"', "'\"'", "; reboot", "$(reboot)", "`reboot`", "a\nb", "\\", "*", "~", "#", "$?", "&"],
)
def test_text_quoted_by_shlex_is_one_argument(text: str) -> None:
    assert out(f"args {shlex.quote(text)}") == f"[{text}]"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("echo a; echo b", "a\nb\n"),
        ("echo a\necho b\n", "a\nb\n"),
        ("true && echo yes || echo no", "yes\n"),
        ("false && echo yes || echo no", "no\n"),
        ("false || false || echo third", "third\n"),
        ("fail; echo $?", "3\n"),
        ("true; echo ${?}", "0\n"),
        ("echo a | cat | cat", "a\n"),
        ("echo a & echo b", "a\nb\n"),
        ("missing 2>/dev/null; echo $?", "127\n"),
        ("fail 2>&1", "went wrong\n"),
        ("fail >/dev/null 2>&1", ""),
        ("echo kept > /sdcard/f; cat < /sdcard/f", "kept\n"),
        ("echo a > /sdcard/f; echo b >> /sdcard/f; cat < /sdcard/f", "a\nb\n"),
        ("echo kept >/sdcard/f 2>&1; cat </sdcard/f", "kept\n"),
    ],
)
def test_connectors_pipes_and_redirections_work(line: str, expected: str) -> None:
    assert out(line) == expected


def test_unknown_command_fails_with_the_message_of_android() -> None:
    result = run(Host(), "nosuch -x")
    assert result.output(2) == b"/system/bin/sh: nosuch: inaccessible or not found\n"
    assert result.status == 127


@pytest.mark.parametrize(
    "line", ["echo 'a", 'echo "a', "echo `a", "echo $(a", "; echo", "echo a &&", "| cat", "echo >", "(echo"]
)
def test_unparsable_line_is_a_syntax_error_and_runs_nothing(line: str) -> None:
    result = run(Host(), line)
    assert result.status == 1
    assert b"syntax error" in result.output(2) or result.output(2) == b"/system/bin/sh: no closing quote\n"
    assert result.output(1) == b""


def test_substitutions_nested_too_deep_fail_instead_of_recursing() -> None:
    deep = "echo a"
    for _ in range(30):
        deep = f"echo $({deep})"
    assert b"nested" in run(Host(), deep).output(2)
