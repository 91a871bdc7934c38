"""The simulated phone's shell is mksh: its language, its messages and its exit statuses.

The expected outputs were compared with mksh R59 itself.
"""

import asyncio
import time

import pytest

from mobile_r1_jax.phones.simulator.android.shell import Input, Session, Shell, run
from mobile_r1_jax.phones.simulator.android.system import Android

LANGUAGE = [
    # globs, variables, assignments, loops, if, test, here-documents, exit, cd
    ("cd /sdcard; echo x >a.txt; echo y >b.txt; echo *.txt; rm *.txt; ls *.txt", "a.txt b.txt\n"),
    ("cd /sdcard/Pictures/../Download && pwd; cd; pwd; cd - >/dev/null; pwd",
     "/sdcard/Download\n/\n/sdcard/Download\n"),
    ("mkdir /sdcard/g; cd /sdcard/g; touch a1 a2 .h b1; echo a? [!a]* *z", "a1 a2 b1 *z\n"),
    ('x=5; y="a  b"; echo $x ${x}th "$y" $y \'$x\'', "5 5th a  b a b $x\n"),
    ("x=1 y=$x; x+=2; echo $x $y; unset x; echo ${x-gone}", "12 1\ngone\n"),
    ("for i in 1 2 3; do [ $i = 2 ] && continue; echo $i; done", "1\n3\n"),
    ("i=0; while [ $i -lt 9 ]; do i=$((i+1)); [ $i -gt 2 ] && break; echo $i; done", "1\n2\n"),
    ("until [ \"$n\" = xx ]; do n=x$n; echo $n; done", "x\nxx\n"),
    ("for i in 1 2; do for j in a b; do [ $j = b ] && continue 2; echo $i$j; done; done", "1a\n2a\n"),
    ("if false; then echo a; elif [ -d /sdcard ]; then echo b; else echo c; fi", "b\n"),
    ("case a.png in *.jpg) echo jpg;; *.png|*.gif) echo png;; *) echo no;; esac", "png\n"),
    ("cat <<E\n$((1+1)) $(echo sub) \\$x\nE\ncat <<'E'\n$x\nE\ncat <<< word", "2 sub $x\n$x\nword\n"),
    ("cat <<A; cat <<-B\none\nA\n\ttwo\n\tB\n", "one\ntwo\n"),
    ("[ 3 -gt 2 -a a = a ] && echo y; [ ! -f /sdcard ] && echo n; [[ abc == a*c && ! -e /x ]] && echo z", "y\nn\nz\n"),
    ("f() { local x=in; echo $# $1 $x; return 3; }; x=out; f 'a b'; echo $? $x", "1 a b in\n3 out\n"),
    ("x=/a/b.tar.gz; echo ${x##*/} ${x%/*} ${x%%.*} ${x#/} ${#x} ${x:1:3} ${x/b/Q} ${z:-d} ${x:+s}",
     "b.tar.gz /a /a/b a/b.tar.gz 11 a/b /a/Q.tar.gz d s\n"),
    ("echo $((7/2)) $((-7%3)) $((1<<4)) $((5>3&&0)) $((0x1f)) $((2147483647+1)); (( 2 > 1 )) && echo t",
     "3 -1 16 0 31 -2147483648\nt\n"),
    ("(cd /sdcard; x=in; echo $x); echo out$x; pwd", "in\nout\n/\n"),
    ("echo a | { read x; echo \"got $x\"; }; printf '1 2\\n3 4\\n' | while read p q; do echo $q; done",
     "got a\n2\n4\n"),
    ("set -- a 'b c'; for x in \"$@\"; do echo \"<$x>\"; done; shift; echo $# $1", "<a>\n<b c>\n1 b c\n"),
    ("echo 'a\\tb'; echo -e 'x\\ty'; echo -n q; echo -E '\\t'; echo -- -n", "a\tb\nx\ty\nq\\t\n-- -n\n"),
    ("printf '%s-%03d|' a 1 b 2; printf '%b%%\\n' 'x\\ty'", "a-001|b-002|x\ty%\n"),
    ("echo {a,b}{1,2} ~/x \"{a,b}\" {1..3}", "a1 a2 b1 b2 //x {a,b} {1..3}\n"),
    ("x=$(exit 4); echo $?; eval 'y=2; echo $y'; ! true; echo $?; true | false; echo $?", "4\n2\n1\n1\n"),
    ("IFS=:; x=a:b; set -- $x; echo $2; readonly r=1; export E=9; env | grep ^E=", "b\nE=9\n"),
    ("sh -c 'echo $0 $1' n v; echo 'echo $# $1' >/sdcard/s; sh /sdcard/s p q; . /sdcard/s", "n v\n2 p\n0\n"),
    ("sleep 0.02 & echo first; wait; echo then", "first\nthen\n"),
    ("trap 'echo bye' EXIT; echo hi", "hi\nbye\n"),
    ("time true 2>/dev/null; timeout 0.05 sleep 9; echo $?; command -v cd ls nosuch", "124\ncd\n/system/bin/ls\n"),
]  # fmt: skip

MESSAGES = [
    ("nosuch -x", "nosuch: inaccessible or not found", 127),
    ("/system/bin/nosuch", "/system/bin/nosuch: inaccessible or not found", 127),
    ("/sdcard", "/sdcard: can't execute: Is a directory", 126),
    ("echo 'a", "no closing quote", 1),
    ("echo $(a", "syntax error: unmatched '('", 1),
    ("if true", "syntax error: unmatched 'if'", 1),
    ("echo a; fi", "syntax error: unexpected 'fi'", 1),
    ("for x in a b; echo", "syntax error: unexpected 'echo'", 1),
    ("echo a &&", "syntax error: unexpected EOF", 1),
    ("echo >\n", "syntax error: unexpected 'newline'", 1),
    ("cat <<E\na", "here document 'E' unclosed", 1),
    ("cd /nope", "cd: /nope: No such file or directory", 2),
    ("touch /sdcard/f; cd /sdcard/f", "cd: /sdcard/f: Not a directory", 2),
    ("[ a", "[: missing ]", 2),
    ("test a b", "test: b: unexpected operator/operand", 2),
    ("cat < /nope", "can't open /nope: No such file or directory", 1),
    ("echo > /nope/x", "can't create /nope/x: No such file or directory", 1),
    ("echo > /system/x", "can't create /system/x: Read-only file system", 1),
    ("echo $((1/0)); echo never", "1/0: zero divisor", 1),
    ("echo ${x?gone}; echo never", "x: gone", 1),
    ("set -u; echo $x; echo never", "x: parameter not set", 1),
    ("readonly r=1; r=2; echo never", "read-only: r", 2),
    ("exit abc", "exit: bad number: abc", 1),
    ("set -q", "set: -q: unknown option", 1),
]


@pytest.mark.parametrize(("line", "expected"), LANGUAGE)
def test_scripts_print_the_output_of_mksh(android: Android, line: str, expected: str) -> None:
    assert run(android, line).output(1).decode() == expected


@pytest.mark.parametrize(("line", "message", "status"), MESSAGES)
def test_errors_have_the_messages_and_statuses_of_mksh(android: Android, line: str, message: str, status: int) -> None:
    result = run(android, line)
    assert (result.output(1), result.status) == (b"", status)
    assert result.output(2).decode() == f"/system/bin/sh: {message}\n"


EXITS = [("exit 5; echo x", 5), ("exit 300", 44), ("(exit 3)", 3), ("return 2", 2), ("set -e; false; exit 9", 1),
         ("f() { exit 6; }; f; echo x", 6)]  # fmt: skip


@pytest.mark.parametrize(("line", "status"), EXITS)
def test_exit_ends_the_shell_with_its_status(android: Android, line: str, status: int) -> None:
    result = run(android, line)
    assert (result.output(1), result.status) == (b"", status)


@pytest.mark.parametrize(
    "line",
    [
        "while true; do :; done",
        "until false; do true; done | cat",
        "while :; do echo y; done >/dev/null",
        "f() { while true; do g; done; }; g() { :; }; f",
    ],
)
def test_an_endless_loop_is_killed(android: Android, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobile_r1_jax.phones.simulator.android.shell.streams._LONGEST_RUN", 5000)
    result = run(android, line)
    assert result.output(2) == b"Killed \n" and (result.status == 137 or "|" in line)


@pytest.mark.parametrize(
    "line",
    ["f() { f; }; f", "x=a; while :; do x=$x$x; done", "(" * 300 + "echo" + ")" * 300, "eval " * 2000 + "echo",
     "echo " + "$(" * 500, "x=x; echo $((x))"],
)  # fmt: skip
def test_scripts_that_would_exhaust_a_phone_fail_soon(android: Android, line: str) -> None:
    began = time.monotonic()
    assert run(android, line).status != 0
    assert time.monotonic() - began < 5


def test_sleeping_or_looping_shell_does_not_block_another(android: Android) -> None:
    async def shell(line: str) -> tuple[bytes, float]:
        session = Session(android)
        await Shell(session, Input(), session.writer(1), session.writer(2)).run(line)
        return b"".join(data for _, data in session.chunks), time.monotonic()

    async def main() -> None:
        sleeping = asyncio.create_task(shell("sleep 0.4; echo slept"))
        looping = asyncio.create_task(shell("i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; echo $i"))
        quick, at = await shell("echo quick")
        (slept, woke), (counted, _) = await asyncio.gather(sleeping, looping)
        assert (quick, slept, counted) == (b"quick\n", b"slept\n", b"3000\n")
        assert at < woke

    asyncio.run(main())


def test_script_on_standard_input_stops_at_exit(android: Android) -> None:
    result = run(android, "sh", b"cd /sdcard\npwd\nnosuch\nread x\ntaken\necho $x\nexit 4\necho never\n")
    assert (result.output(1), result.status) == (b"/sdcard\ntaken\n", 4)
    assert result.output(2) == b"/system/bin/sh: <stdin>[3]: nosuch: inaccessible or not found\n"
