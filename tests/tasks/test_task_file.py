"""Task files: the meaning of their texts, and a one-line error for every mistake."""

from pathlib import Path

import pytest

from mobile_r1_jax.tasks.program import Check
from mobile_r1_jax.tasks.suite import Split
from mobile_r1_jax.tasks.task import Risk
from mobile_r1_jax.tasks.task_file import KEYS, OPERATORS, TaskFileError, read_task_file
from mobile_r1_jax.tasks.template import TaskTemplate

MINIMAL = "- id: a\n  app: settings\n  instruction: Do it\n  checks: [{shell: date, equals: x}]\n"
SLOT = (
    "- id: a\n  app: settings\n  instruction: Do {n}\n  values: {n: [1, 2]}\n  checks: [{shell: date, equals: '{n}'}]\n"
)


def read(tmp_path: Path, text: str | bytes) -> tuple[TaskTemplate, ...]:
    path = tmp_path / "tasks.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_task_file(path)


def test_every_key_is_read(tmp_path: Path) -> None:
    [template] = read(
        tmp_path,
        """
- id: set-alarm.1
  app: clock
  instruction: ["Set an alarm for {time} called {label}", "设一个{time}的闹钟，叫{label}"]
  values:
    time: {"6:30": "06:30", "7:15": "07:15"}
    label: [Tea time, "$(reboot)"]
  held_out: {time: ["7:15"]}
  setup:
    - clear: com.android.deskclock
    - echo {label} > /sdcard/label
    - open: https://example.org/?q={label}
  checks:
    - {shell: dumpsys alarm, matches: ' {time}:00$'}
    - {shell: "cat /sdcard/{label}", not_contains: "{label}"}
    - {shell: settings get global x, not_equals: null}
  teardown: rm /sdcard/{label}
  split: train
  steps: 7
  permits: [deletion, sending]
""",
    )
    task = template.task(template.instructions[1], {"time": "6:30", "label": "$(reboot)"})
    assert task.instruction == "设一个6:30的闹钟，叫$(reboot)"
    assert (task.app, task.name, task.steps, task.permits) == (
        "clock",
        "set-alarm.1",
        7,
        frozenset({Risk.DELETION, Risk.SENDING}),
    )
    assert task.program.setup == ("pm clear com.android.deskclock", "echo '$(reboot)' > /sdcard/label")
    assert task.program.opens == "am start -W -a android.intent.action.VIEW -d 'https://example.org/?q=%24%28reboot%29'"
    assert task.program.checks == (
        Check("dumpsys alarm", "matches", r" (?:06:30):00$"),
        Check("cat /sdcard/'$(reboot)'", "contains", "$(reboot)", negated=True),
        Check("settings get global x", "equals", "null", negated=True),
    )
    assert task.program.teardown == ("rm /sdcard/'$(reboot)'",)
    assert {labels["time"] for labels in template.drawn(Split.TRAIN)} == {"6:30"}
    assert {labels["time"] for labels in template.drawn(Split.UNSEEN_PARAMETERS)} == {"7:15"}


def test_values_in_a_regular_expression_are_escaped(tmp_path: Path) -> None:
    text = SLOT.replace("[1, 2]", "[a.b, (c]").replace("equals: '{n}'", r"matches: '^{n}?\.\d{2}$'")
    [template] = read(tmp_path, text)
    checks = [template.task("{n}", labels).program.checks[0].expected for labels in template.combinations]
    assert checks == [r"^(?:a\.b)?\.\d{2}$", r"^(?:\(c)?\.\d{2}$"]


@pytest.mark.parametrize(
    "value",
    ["on", "off", "yes", "No", "true", "null", "~", "08:30", "12:30:45", "1.10", "007", "0x1F", "1e3", "1_000", ".inf",
     "2024-01-02", "=", "<<x", "-5", "+1", "0o7", "你好", "a#b", "C:", "a:b", "don't"],
)  # fmt: skip
def test_scalar_is_read_as_the_written_text(tmp_path: Path, value: str) -> None:
    if value.endswith(":"):
        value = value + "x"
    block = f"- id: a\n  app: settings\n  instruction: Do {{n}}\n  values:\n    n:\n      - {value}\n"
    [template] = read(tmp_path, block + f"  checks:\n    - shell: echo {{n}}\n      equals: {value}\n")
    [labels] = template.combinations
    task = template.task("Do {n}", labels)
    assert task.instruction == f"Do {value}" and task.program.checks[0].expected == value


def test_file_may_have_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    [template] = read(tmp_path, b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert template.instructions == ("Do it",)


def test_comments_are_ignored(tmp_path: Path) -> None:
    text = MINIMAL.replace("app: settings", "app: settings  # of the phone") + "# end\n#\n"
    assert read(tmp_path, text)[0].app == "settings"


def with_line(line: str, text: str = MINIMAL) -> str:
    return text + f"  {line}\n"


def instead(old: str, new: str, text: str = MINIMAL) -> str:
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        # the file
        ("", "1: the file is empty"),
        ("# only a comment\n", "1: the file is empty"),
        ("[" * 5000, "1: nested too deeply"),
        ("[]", "there is no task in the file"),
        ("tasks:\n  - id: a\n", "1: a task file must be a list, is keys with values"),
        ("- a\n- b\n", "1: task 1: a task must be keys with values, is 'a'"),
        (MINIMAL.encode() + b"\n# \xff\n", "6: not UTF-8"),
        (MINIMAL + "# \x01\n", "5: not YAML: the character '\\x01' may not be in a file"),
        (MINIMAL + "---\n" + MINIMAL, "5: not YAML: but found another document"),
        (instead("Do it", "Do: it"), "3: not YAML: mapping values are not allowed here; text with any of"),
        (instead("Do it", '"Do it'), "not YAML: "),
        (instead("  app", "\tapp"), "2: not YAML: found character '\\t' that cannot start any token"),
        (instead("Do it", "%Do it"), "3: not YAML: found character '%' that cannot start any token"),
        (instead("Do it", "*it"), "3: not YAML: found undefined alias 'it'"),
        # keys
        (with_line("setpu: x"), "5: task a: a task has no key 'setpu'; did you mean 'setup'?"),
        (with_line("check: x"), "5: task a: a task has no key 'check'; did you mean 'checks'?"),
        (with_line("zzz: x"), "5: task a: a task has no key 'zzz'; it may be id, app, instruction"),
        (with_line("app: x"), "5: task a: a task has 'app' twice"),
        (with_line("? [a]\n  : b"), "5: task a: a key of a task must be text, is a list"),
        (instead("  app: settings\n", ""), "1: task a: app is missing"),
        (instead("- id: a\n  app", "- app"), "1: task 1: id is missing"),
        (instead("  checks: [{shell: date, equals: x}]\n", ""), "1: task a: checks is missing; write `checks: []`"),
        (instead("id: a", "id: a b"), "1: task a b: id must be letters, digits, '.', '_' and '-', is 'a b'"),
        (instead("id: a", "id:"), "1: task 1: id is empty"),
        (MINIMAL + MINIMAL, "5: task a: the task in line 1 has the same id"),
        # types
        (instead("app: settings", "app: [a]"), "2: task a: app must be text, is a list"),
        (instead("app: settings", "app:"), '2: task a: app is empty; write "" where no text is meant'),
        (instead("Do it", "{n} is it", SLOT.replace("Do {n}", "Do it")), "3: not YAML"),
        (instead("Do it", "{n}"),
         "3: task a: instruction must be text, is keys with values; put text that begins with {"),
        (instead("Do it", '" "'), "3: task a: instruction is empty"),
        (instead("Do it", "[]"), "3: task a: instruction is empty"),
        (instead("Do it", "Open room #5"),
         "3: task a: instruction: '#5' after 'Open room' is a comment; quote the text, or write '# 5'"),
        (instead("Do it", '"a\\0b"'), "3: task a: instruction holds the character '\\x00', which a phone cannot get"),
        (with_line("steps: soon"), "5: task a: steps must be a whole number from 1 to 9999, is 'soon'"),
        (with_line("steps: 0"), "5: task a: steps must be a whole number from 1 to 9999, is '0'"),
        (with_line("steps: 2.5"), "5: task a: steps must be a whole number from 1 to 9999, is '2.5'"),
        (with_line("steps: [3]"), "5: task a: steps must be text, is a list"),
        (with_line("split: trian"), "5: task a: split cannot be 'trian'; did you mean 'train'?"),
        (with_line("permits: paymnet"), "5: task a: permits cannot be 'paymnet'; did you mean 'payment'?"),
        (with_line("permits: [sending, all]"), "5: task a: permits cannot be 'all'; it may be payment, deletion"),
        # setup and teardown
        (with_line("setup: ['']"), "5: task a: setup: an empty shell line"),
        (with_line("setup: [[a]]"), "5: task a: a step of setup must be keys with values, is a list"),
        (with_line("setup: [{clean: a}]"), "5: task a: a step of setup has no key 'clean'; did you mean 'clear'?"),
        (with_line("setup: [{clear: a, open: 'b:c'}]"), "5: task a: a step of setup is a shell line, `clear: PACKAGE`"),
        (with_line("setup: [{clear: 'a; reboot'}]"), "5: task a: clear must be a package, such as"),
        (with_line("setup: [{open: 'b:c'}, date]"), "5: task a: open must be the last step of setup"),
        (with_line("setup: [{open: example.org}]"), "5: task a: open must be a link, such as https://example.org/, is"),
        (with_line("teardown: {a: b}"), "5: task a: teardown must be text, is keys with values"),
        # slots
        (instead("Do it", "Do {it}"), "3: task a: instruction: no values for the slot 'it'; there is none"),
        (with_line("setup: ['echo {m}']", SLOT), "6: task a: setup: no values for the slot 'm'; it may be n"),
        (instead("'{n}'", "'{nn}'", SLOT), "5: task a: equals: no values for the slot 'nn'; did you mean 'n'?"),
        (with_line("setup: [\"echo '{n}'\"]", SLOT),
         "6: task a: setup: {n} is inside quotes, after a backslash or in a"),
        (with_line("values: {n: [1]}"), "5: task a: values: nothing uses {n}"),
        (instead("[1, 2]", "[]", SLOT), "4: task a: values of n is empty"),
        (instead("[1, 2]", "{}", SLOT), "4: task a: values of n is empty"),
        (instead("[1, 2]", "1", SLOT), "4: task a: values of n must be a list, is '1'; write [1]"),
        (instead("[1, 2]", "", SLOT), "4: task a: values of n must be a list, is empty"),
        (instead("[1, 2]", "[1, 1]", SLOT), "4: task a: values of n has '1' twice"),
        (instead("[1, 2]", "{1: a, 1: b}", SLOT), "4: task a: values of n has '1' twice"),
        (instead("[1, 2]", "[1, [2]]", SLOT), "4: task a: values of n must be text, is a list"),
        (instead("{n: [1, 2]}", "[1, 2]", SLOT), "4: task a: values must be keys with values, is a list"),
        (instead("{n: [", "{2n: [3], n: [", SLOT), "4: task a: values: '2n' is not a name for a slot"),
        (instead("[1, 2]", f"{list(range(101))}, m: {list(range(100))}", SLOT),
         "4: task a: values make 10,100 combinations; at most 10,000 are possible"),
        (instead("Do {n}", "['Do {n}', 'Do it']", SLOT),
         "3: task a: instruction: {n} is in one wording and not in another"),
        (with_line("held_out: {m: 1}", SLOT), "6: task a: held_out has no key 'm'; it may be n"),
        (with_line("held_out: {n: 3}", SLOT), "6: task a: held_out: n has no value '3'; it may be 1, 2"),
        (with_line("held_out: {n: [1, 2]}", SLOT), "6: task a: held_out: every value of n is held out"),
        (with_line("held_out: {n: []}", SLOT), "6: task a: held_out: no value of n is held out"),
        (with_line("held_out: {n: 1}", instead("Do {n}", "Do it", SLOT)),
         "6: task a: held_out: the instruction does not"),
        (with_line("split: unseen_apps\n  held_out: {n: 1}", SLOT),
         "7: task a: held_out has no meaning in split unseen_apps"),
        # checks
        (instead("[{shell: date, equals: x}]", "date"), "4: task a: checks must be a list, is 'date'"),
        (instead("equals: x", "equal: x"), "4: task a: a check has no key 'equal'; did you mean 'equals'?"),
        (instead("equals: x", "not_match: x"),
         "4: task a: a check has no key 'not_match'; did you mean 'not_matches'?"),
        (instead(", equals: x", ""),
         "4: task a: a check needs one of equals, contains, matches, not_equals, not_contains"),
        (instead("equals: x", "equals: x, contains: y"), "4: task a: a check needs one of equals, contains, matches"),
        (instead("equals: x", "contains: x, not_contains: y"),
         "this one has contains and not_contains; write a check for each"),
        (instead("shell: date, ", ""), "4: task a: a check needs `shell`"),
        (instead("equals: x", "equals:"), '4: task a: equals is empty; write "" where no text is meant'),
        (instead("equals: x", 'contains: ""'), "4: task a: contains: an empty text is in every output"),
        (instead("equals: x", "matches: '('"),
         "4: task a: matches: '(' is not a regular expression: missing ), unterminated"),
        (instead("equals: x", "not_matches: '[a'"), "4: task a: not_matches: '[a' is not a regular expression"),
        (instead("equals: x", "matches: '*'"), "4: task a: matches: '*' is not a regular expression: nothing to"),
        (instead("equals: x", "matches: 'a{2,1}'"), "4: task a: matches: 'a{2,1}' is not a regular expression"),
        # splits
        (with_line("split: unseen_apps") + instead("id: a", "id: b"),
         "1: task a: its app 'settings' is not unseen: b trains"),
        (MINIMAL + with_line("split: unseen_templates", instead("id: a", "id: b")),
         "5: task b: training would see its instruction 'Do it', which is also of task a"),
        (with_line("held_out: {n: 2}", SLOT) + instead("id: a", "id: b").replace("Do it", "Do 2"),
         "1: task a: training would see its instruction 'Do 2', which is also of task b"),
    ],
)  # fmt: skip
def test_wrong_file_is_a_one_line_error(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(TaskFileError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert reason in message and message.startswith(f"{tmp_path}/tasks.yaml:") and "\n" not in message


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_unreadable_file_error_names_the_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(TaskFileError, match=r"No such file|Is a directory"):
        read_task_file(tmp_path / name)


def test_examples_in_the_page_on_task_files_are_valid(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "howto" / "my-tasks.md").read_text(encoding="utf-8")
    [template] = read(tmp_path, page.split("```yaml\n")[1].split("```")[0])
    assert template.drawn(Split.TRAIN) == [{"minutes": "2"}, {"minutes": "5"}]
    table = page.split("## The keys")[1].split("##")[0]
    assert [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")] == list(KEYS)
    assert all(f"`{name}`" in table for name in (*OPERATORS, *Split, *Risk))
