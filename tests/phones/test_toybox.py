"""The simulated phone's Unix commands equal toybox: outputs, messages and exit statuses.

The expected outputs were compared with toybox 0.8.9, for the commands that it has.
"""

import re

import pytest

from mobile_r1_jax.phones.simulator.android.commands import TOOLS
from mobile_r1_jax.phones.simulator.android.shell import run
from mobile_r1_jax.phones.simulator.android.system import Android

FILES = "cd /data/local/tmp; printf 'b 2\\na 1\\nc 3\\n' >f; mkdir d; echo x >d/g; "

OUTPUTS = [
    # flags
    ("grep -c a f; grep -o '[0-9]' f; grep -n b f; grep -l a f d/g; grep -v a f", "1\n2\n1\n3\n1:b 2\nf\nb 2\nc 3\n"),
    ("ls -d d; ls -1 d; ls -a d; ls -R", "d\ng\n.\n..\ng\n.:\nd\nf\n\n./d:\ng\n"),
    ("ls -l f | tr -s ' ' | cut -d' ' -f1,3-5,8", "-rw-rw---- shell shell 12 f\n"),
    ("ls -ld /sdcard", "lrw-r--r-- 1 root root 21 2009-01-01 00:00 /sdcard -> /storage/self/primary\n"),
    ("touch r1 r2 keep; rm r*; ls", "d\nf\nkeep\n"),
    # text
    ("sed -n 2p f; sed 's/\\([a-z]\\) \\(.\\)/\\2\\1/' f; sed '$d;1d' f; sed -E '/b|c/d' f",
     "a 1\n2b\n1a\n3c\na 1\na 1\n"),
    ("sed -i 's/a/Z/' f; cat f; echo aaa | sed s/a/b/2; echo a/b | sed 's|/|-|g'", "b 2\nZ 1\nc 3\naba\na-b\n"),
    ("head -n 1 f; head -2 f; tail -1 f; tail -n +3 f; head -c 3 f; tail -c 2 f", "b 2\nb 2\na 1\nc 3\nc 3\nb 23\n"),
    ("cut -d' ' -f2 f; cut -c1 f; echo a:b:c | cut -d: -f2-", "2\n1\n3\nb\na\nc\nb:c\n"),
    ("sort f; sort -r f | head -1; sort -k2n f | head -1; printf '9\\n10\\n' | sort -n",
     "a 1\nb 2\nc 3\nc 3\na 1\n9\n10\n"),
    ("printf 'a\\na\\nb\\n' | uniq -c; printf 'a\\na\\nb\\n' | uniq -d", "      2 a\n      1 b\na\n"),
    ("wc f; wc -l <f; cat f | wc -c", "3 6 12 f\n3\n12\n"),
    ("echo abc | tr a-c A-C; echo aabb | tr -s ab; echo a1b2 | tr -d '[:digit:]'", "ABC\nab\nab\n"),
    ("echo 'a|b' | grep 'a\\|b'; echo ab | grep -E 'x|b'; echo a.b | grep -F .; echo AB | grep -iw ab",
     "a|b\nab\na.b\nAB\n"),
    ("seq 5 | grep -A1 -B1 3; grep -r x . ; grep -x 'a 1' f; grep -q zz f; echo $?", "2\n3\n4\n./d/g:x\na 1\n1\n"),
    ("seq 2 2 6 | tac; echo abc | rev; echo hi | base64; echo hi | md5sum",
     "6\n4\n2\ncba\naGkK\n764efa883dda1e11db47671c4a3bbd9e  -\n"),
    ("seq 3 | xargs; seq 2 | xargs -n1 echo n; echo a | tee t; cat t", "1 2 3\nn 1\nn 2\na\na\n"),
    # files
    ("mv f f2; ls; mv f2 d; ls d; cp d/f2 .; cmp=$(cat f2 | wc -l); echo $cmp", "d\nf2\nf2\ng\n3\n"),
    ("cp -r d e; ls e; rm -r d; ls; mkdir -p p/q/r; rmdir p/q/r; find p; find . -name 'g'", "g\ne\nf\np\np/q\n./e/g\n"),
    ("stat -c '%s %n %a %F' f d; chmod 600 f; stat -c %A f; touch f n; ls",
     "12 f 660 regular file\n4096 d 771 directory\n-rw-------\nd\nf\nn\n"),
    ("basename /a/b.c .c; dirname /a/b; realpath f; readlink -f /sdcard/x",
     "b\n/a\n/data/local/tmp/f\n/storage/emulated/0/x\n"),
    # system
    ("id -u; id -un; whoami; uname; uname -m; which ls; hostname",
     "2000\nshell\nshell\nLinux\nx86_64\n/system/bin/ls\nlocalhost\n"),
    ("date -d @0 '+%F %T'; date -d '2020-01-02 03:04' +%s; date -u -d @0",
     "1970-01-01 00:00:00\n1577934240\nThu Jan  1 00:00:00 UTC 1970\n"),
    ("ps -A -o NAME | grep -x com.sim.launcher; pidof init; pidof nosuch; echo $?", "com.sim.launcher\n1\n1\n"),
    ("ps | head -1 | tr -s ' '; df /data | head -1; free | head -1",
     "USER PID PPID VSZ RSS WCHAN ADDR S NAME\nFilesystem      1K-blocks     Used Available Use% Mounted on\n"
     "\t\ttotal        used        free      shared     buffers\n"),
    ("A=1 env | grep ^A=; printenv HOME; toybox echo no; echo $?; toybox seq 1", "A=1\n/\n127\n1\n"),
]  # fmt: skip

MESSAGES = [
    ("cat /nope", "cat: /nope: No such file or directory", 1),
    ("cat d", "cat: d: Is a directory", 1),
    ("ls /nope", "ls: /nope: No such file or directory", 1),
    ("rm", 'rm: Needs 1 argument (see "rm --help")', 1),
    ("rm d", "rm: d: Is a directory", 1),
    ("rm /system/bin/sh", "rm: /system/bin/sh: Read-only file system", 1),
    ("rmdir d", "rmdir: d: Directory not empty", 1),
    ("mkdir d", "mkdir: 'd': File exists", 1),
    ("mkdir a/b", "mkdir: 'a/b': No such file or directory", 1),
    ("mv /nope x", "mv: bad '/nope': No such file or directory", 1),
    ("cp f", "cp: Needs 2 arguments", 1),
    ("stat /nope", "stat: '/nope': No such file or directory", 1),
    ("cut f", 'cut: Needs -CFfcb (see "cut --help")', 1),
    ("grep", "grep: no REGEX", 2),
    ("grep a /nope", "grep: /nope: No such file or directory", 2),
    ("sed", "sed: no pattern", 1),
    ("sleep x", "sleep: Not a number 'x'", 1),
    ("sleep", 'sleep: Needs 1 argument (see "sleep --help")', 1),
    ("date x", "date: bad date x", 1),
    ("df /nope", "df: '/nope': No such file or directory", 1),
    ("toybox nosuch", 'toybox: Unknown command nosuch (see "toybox --help")', 127),
]


@pytest.mark.parametrize(("line", "expected"), OUTPUTS)
def test_outputs_equal_those_of_toybox(android: Android, line: str, expected: str) -> None:
    assert run(android, FILES + line).output(1).decode() == expected


@pytest.mark.parametrize(("line", "message", "status"), MESSAGES)
def test_errors_have_the_messages_and_statuses_of_toybox(
    android: Android, line: str, message: str, status: int
) -> None:
    result = run(android, FILES + line)
    assert (result.output(2).decode(), result.status) == (message + "\n", status)


WITHOUT_OPTIONS = {
    "logcat",
    "find",
    "killall",
    "nproc",
    "pkill",
    "printenv",
    "seq",
    "sh",
    "sleep",
    "sync",
    "time",
    "toybox",
}


@pytest.mark.parametrize("name", sorted(set(TOOLS) - WITHOUT_OPTIONS))
def test_unknown_option_is_refused(android: Android, name: str) -> None:
    result = run(android, f"{name} -Y x y")
    assert result.output(2).decode().startswith(f"{name}: Unknown option 'Y' (see \"{name} --help\")")
    assert result.status == {"grep": 2, "egrep": 2, "fgrep": 2, "sort": 2}.get(name, result.status) != 0


def test_commands_use_the_working_directory(android: Android) -> None:
    run(android, "cd /sdcard/Pictures; screencap -p here.png; uiautomator dump tree.xml")
    assert run(android, "cd /sdcard; ls Pictures").output(1) == b"here.png\ntree.xml\n"
    assert run(android, "cat tree.xml").status == 1


def test_uptime_and_uname_have_their_formats(android: Android) -> None:
    assert re.fullmatch(r" \d\d:\d\d:\d\d up .*load average: .*\n", run(android, "uptime").output(1).decode())
    assert re.fullmatch(
        r"Linux localhost \S+ #1 SMP PREEMPT .* x86_64 Toybox\n", run(android, "uname -a").output(1).decode()
    )
    assert run(android, "id").output(1).startswith(b"uid=2000(shell) gid=2000(shell) groups=2000(shell),1004(input),")
