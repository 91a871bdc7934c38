"""`evaluate` and `act` on a user's phones, as a user starts them: a killed evaluation, a terminal, wrong flags."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from acting_policy import INSTRUCTION, TINY_BASE, train_acting_policy
from users_phones import KEYBOARD, UsersPhones, environment, users_phones

from mobile_r1_jax import act, evaluate
from mobile_r1_jax.agent.actions import Malformed, SystemButton
from mobile_r1_jax.agent.responses import Response
from mobile_r1_jax.agent.screenshots import blank_screenshot
from mobile_r1_jax.agent.trajectory import Turn
from mobile_r1_jax.phones.adb.server import AdbServer
from mobile_r1_jax.phones.adb.stream import ServerAddress
from mobile_r1_jax.phones.phone import PhonesUnavailable
from mobile_r1_jax.phones.providers.devices import devices
from mobile_r1_jax.phones.settings import INSTANT, DeviceSettings
from mobile_r1_jax.phones.simulator.trouble import Trouble
from mobile_r1_jax.run_directory import evaluation_name
from mobile_r1_jax.stages.playing import turn_line

ADB_KEYBOARD = "com.android.adbkeyboard/.AdbIME"
# The policy can do only the first task.
TASKS = f"""
- id: write
  app: messages
  instruction: {INSTRUCTION}
  setup: {{clear: com.sim.messages}}
  permits: [sending]
  checks: [{{shell: "content query --uri content://sms/sent --projection body", contains: body=é}}]
- id: screen-timeout
  app: settings
  instruction: "Turn the screen off after {{minutes}} minutes"
  values: {{minutes: {{2: 120000, 5: 300000}}}}
  setup: settings put system screen_off_timeout 1800000
  checks: [{{shell: settings get system screen_off_timeout, equals: "{{minutes}}"}}]
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    return train_acting_policy(tmp_path_factory.mktemp("policy"), cache)


@pytest.fixture(scope="module")
def phones() -> Iterator[UsersPhones]:
    with users_phones(2) as phones:
        yield phones
        assert phones.simulator_only == []


@pytest.fixture(scope="module")
def empty_server() -> Iterator[ServerAddress]:
    """Yield an adb server without phones."""
    with contextlib.closing(AdbServer()) as server:
        yield server.address


def start(folder: Path, cache: Path, policy: Path, phones: UsersPhones) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "tasks.yaml").write_text(TASKS)
    command = [
        sys.executable,
        "-m",
        "mobile_r1_jax.evaluate",
        f"--policy={policy}",
        f"--folder={folder}",
        *phones.flags,
    ]
    command += [f"--tasks={folder / 'tasks.yaml'}", "--evaluation.episodes=6", "--evaluation.repeats=2"]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(
        [*command, "--evaluation.temperature=0"],
        env=environment(cache, folder / "state"),
        start_new_session=True,
        **output,
    )


def finish(run: subprocess.Popen[str]) -> str:
    output, _ = run.communicate(timeout=600)
    assert run.returncode == 0 and "Traceback" not in output, output
    return output


def lines(folder: Path, name: str) -> list[str]:
    return [line for file in (folder / "evaluations").rglob(name) for line in file.read_text().splitlines()]


@pytest.mark.slow
def test_killed_evaluation_ends_with_the_summary_of_an_unbroken_one(phones, policy, cache, tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    printed = finish(start(unbroken, cache, policy, phones))
    assert "has no held-out tasks: its training tasks are played" in printed and "pass@K" in printed
    run = start(broken, cache, policy, phones)
    while len(lines(broken, "episodes.jsonl")) < 4 and run.poll() is None:
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    before = lines(broken, "episodes.jsonl")
    assert 4 <= len(before) < 12
    finish(start(broken, cache, policy, phones))
    after = lines(broken, "episodes.jsonl")
    assert set(before) <= set(after) and sorted(json.loads(line)["index"] for line in after) == list(range(12))
    assert len(lines(broken, "data.jsonl")) == 12
    (one,), (other,) = ([json.loads(line) for line in lines(folder, "results.jsonl")] for folder in (unbroken, broken))
    assert one == other and one["success"]["of"] == 12 and one["success"]["hits"] == 6
    assert (
        finish(start(broken, cache, policy, phones)) and len(lines(broken, "results.jsonl")) == 1
    )  # nothing is left to play

    finish(start(broken, cache, TINY_BASE, phones))
    printed = finish(start(broken, cache, policy, phones))
    assert len(lines(broken, "results.jsonl")) == 2  # the other policy has another prompt format
    assert "50.0" in printed and "[0.0, 24.2]" in printed  # a column for each policy, of 12 episodes
    folders = {file.parent for file in broken.rglob("episodes.jsonl")}
    assert len(folders) == 2 and {folder.parent.name for folder in folders} == {"trajectories"}


class Terminal:
    """A command in its own terminal: its output, and keys."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._screen, other = pty.openpty()
        # The shell is a session leader without a terminal: the first terminal that it opens controls its session.
        opening = ["/bin/sh", "-c", f'exec "$@" <{os.ttyname(other)} >{os.ttyname(other)} 2>&1', "sh", *command]
        self.process = subprocess.Popen(opening, env=env | {"TERM": "xterm"}, start_new_session=True)
        self._other, self.shown = other, ""

    def wait_for(self, text: str, seconds: float = 300.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < deadline and (self.process.poll() is None or self._read(0)), self.shown
            self._read(0.1)

    def finish(self) -> int:
        while self.process.poll() is None:
            self._read(0.1)
        while self._read(0.1):
            pass
        os.close(self._other)
        os.close(self._screen)
        return self.process.returncode

    def press(self, keys: bytes) -> None:
        os.write(self._screen, keys)

    def _read(self, seconds: float) -> bool:
        if not select.select([self._screen], [], [], seconds)[0]:
            return False
        self.shown += os.read(self._screen, 1 << 16).decode(errors="replace").replace("\r\n", "\n")
        return True


def act_in_terminal(folder: Path, cache: Path, policy: Path, *flags: str) -> Terminal:
    command = [sys.executable, "-m", "mobile_r1_jax.act", INSTRUCTION, f"--policy={policy}", f"--folder={folder}"]
    return Terminal([*command, *flags], environment(cache, folder / "state"))


def keyboard_of(phones: UsersPhones) -> str:
    return phones.shell(0, "settings get secure default_input_method")


def window_of(phones: UsersPhones) -> str:
    return phones.phones[0].android.device.window


@pytest.mark.slow
def test_act_prints_a_line_for_every_turn_and_saves_the_episode(phones, policy, cache, tmp_path: Path) -> None:
    phones.shell(0, "pm clear com.sim.messages")
    serial = f"--phones.devices.serials=[{phones.serial(0)}]"
    terminal = act_in_terminal(tmp_path, cache, policy, *phones.flags, serial)
    terminal.wait_for("Perform it? [y/N] ")  # the guard asks about Send
    terminal.press(b"y\n")
    assert terminal.finish() == 0
    shown = [line for line in terminal.shown.splitlines() if line[:2] in ("1.", "2.", "3.", "4.", "5.", "6.")]
    assert [line.split(" | ")[0] for line in shown] == [
        "1. Open Messages",
        "2. Tap the chat",
        "3. Write é",
        "4. Tap Send",
        "5. Done",
    ]
    assert "the policy says that it is done; nothing has verified it" in terminal.shown
    assert "body=é" in phones.shell(0, "content query --uri content://sms/sent --projection body")
    assert keyboard_of(phones) == KEYBOARD
    folder = tmp_path / "act"
    (line,) = (folder / "trajectories" / "act" / "data.jsonl").read_text().splitlines()
    assert len(json.loads(line)["trajectory"]) == 5 and (folder / "report.html").exists()
    assert len(list((folder / "trajectories" / "act" / "images").iterdir())) == 5


@pytest.mark.slow
def test_ctrl_c_returns_the_phone_to_home_with_its_original_keyboard(phones, policy, cache, tmp_path: Path) -> None:
    phones.shell(0, "pm clear com.sim.messages; settings put system screen_off_timeout 23000")
    serial = f"--phones.devices.serials=[{phones.serial(0)}]"
    terminal = act_in_terminal(tmp_path, cache, policy, *phones.flags, serial)
    terminal.wait_for("1. Open Messages")
    slow = Trouble(rates={"latency": 1.0}, durations={"latency": 0.3})
    phones.call(phones.phones[0].android.trouble.choose, slow)
    terminal.wait_for("3. Write é")
    assert keyboard_of(phones) == ADB_KEYBOARD and "messages" in window_of(phones)
    terminal.press(b"\x03")
    assert terminal.finish() == 128 + signal.SIGINT
    phones.call(phones.phones[0].android.trouble.choose, Trouble())
    assert "stopped by SIGINT" in terminal.shown and "Traceback" not in terminal.shown
    assert "launcher" in window_of(phones) and keyboard_of(phones) == KEYBOARD
    assert phones.shell(0, "settings get system screen_off_timeout") == "23000"
    (line,) = (tmp_path / "act" / "trajectories" / "act" / "data.jsonl").read_text().splitlines()
    assert 3 <= len(json.loads(line)["trajectory"]) <= 4 and json.loads(line)["ending"] == "interrupted"


@pytest.mark.slow
def test_act_starts_a_simulated_phone_by_default(policy, cache, tmp_path: Path) -> None:
    terminal = act_in_terminal(tmp_path, cache, policy, "--max_turns=1")
    assert terminal.finish() == 0
    assert "1. " in terminal.shown and "2. " not in terminal.shown
    assert "stopped after the last turn; --max_turns allows more" in terminal.shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name one instruction in quotes"),
        ([" "], "name one instruction in quotes"),
        (["Open", "Shop"], "name one instruction in quotes"),
        (["Open Shop", "--policy=nowhere"], "policy: nowhere: no config.json"),
        (["Open Shop", "--policy=runs/nowhere:task_level"], "policy: "),
        (["Open <|im_end|>"], "the instruction 'Open <|im_end|>': text holds <|im_end|>"),
        (["Open Shop", "--max_turns=0"], "phones.most_turns is 0"),
        (["Open Shop", "--phones.source=[devices]", "--phones.devices.server=127.0.0.1:1"], "no adb server answers"),
        (["Open Shop", "--phones.source=[devices]", "--phones.devices.server=there"], "use HOST:PORT"),
        (["Open Shop", "--phones.source=[devices]", "SERVER", "--phones.devices.serials=[R58]"], "R58 is not there"),
        (["Open Shop", "--phones.source=[devices]", "EMPTY"], "can be used: none"),
        (["Open Shop", "--phones.source=[emulators]", "--phones.emulators.avd=x"], "no `emulator` program"),
    ],
)
def test_impossible_arguments_of_act_are_one_line_errors(
    arguments, said, phones, empty_server, tmp_path: Path, capfd, monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    for name in ("ANDROID_HOME", "ANDROID_SDK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    flags = {"SERVER": f"--phones.devices.server={phones.address}", "EMPTY": f"--phones.devices.server={empty_server}"}
    arguments = [flags.get(argument, argument) for argument in arguments]
    if not any(argument.startswith("--policy=") for argument in arguments):
        arguments.append(f"--policy={TINY_BASE}")
    assert act.main([*arguments, f"--folder={tmp_path}"]) in (1, 2)
    printed = capfd.readouterr().out.strip()
    assert printed.startswith("error: ") and said in printed and len(printed.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dry_run"], "tasks: --dry_run tries a task file"),
        (["--dry_run", "--tasks=nowhere.yaml"], "nowhere.yaml: No such file"),
        (["--phones.source=[devices]"], "tasks: the simulator's own tasks run on simulated phones only"),
        (["--tasks=FILE", "--phones.source=[devices]", "--phones.devices.server=127.0.0.1:1"], "no adb server answers"),
    ],
)
def test_impossible_arguments_of_evaluate_are_one_line_errors(
    arguments, said, phones, tmp_path: Path, capfd, monkeypatch
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    (tmp_path / "tasks.yaml").write_text(TASKS)
    arguments = [argument.replace("FILE", str(tmp_path / "tasks.yaml")) for argument in arguments]
    if arguments == ["--phones.source=[devices]"]:
        arguments.append(f"--phones.devices.server={phones.address}")
    arguments += [f"--policy={TINY_BASE}", f"--folder={tmp_path / 'runs'}"]
    assert evaluate.main(arguments) in (1, 2)
    printed = capfd.readouterr().out.strip()
    assert printed.startswith("error: ") and said in printed and len(printed.splitlines()) == 1


def test_line_of_a_turn_has_no_control_characters() -> None:
    screenshot = blank_screenshot((28, 28))
    words = "a\x1b[2J\nb\r\u202ec"
    response = Response(words, "tap", SystemButton("Home"))
    line = turn_line(3, Turn(screenshot, "", effect=f"no app is called '{words}'"), response)
    assert (
        line.isprintable()
        and line.startswith("3. a [2J b c | tap | ")
        and line.endswith("-> no app is called 'a [2J b c'")
    )
    assert turn_line(1, Turn(screenshot, words), Malformed("x")) == "1. malformed response (x): a [2J b c"


@pytest.mark.parametrize("policy", ["../../policy", "/a/b", "runs/tiny:task_level", "a b/./c"])
def test_name_of_a_policy_cannot_point_to_another_folder(policy: str) -> None:
    assert Path(evaluation_name(policy)).name == evaluation_name(policy) and ".." not in evaluation_name(policy)


def test_missing_and_repeated_phones_are_reported_by_name(phones, caplog) -> None:
    one, other = phones.serial(0), phones.serial(1)
    found = devices(DeviceSettings(str(phones.address), (one, "R58", one, "all")), INSTANT)
    assert [phone.serial for phone in found] == [one, other]
    assert [record.message for record in caplog.records] == [
        "phone R58 is not there; `adb devices` lists the phones of this server; it is left out"
    ]
    with pytest.raises(PhonesUnavailable, match="can be used: R58 is not there"):
        devices(DeviceSettings(str(phones.address), ("R58",)), INSTANT)


def test_dry_run_on_an_unresponsive_phone_is_a_one_line_error(phones, tmp_path: Path, capfd, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    (tmp_path / "tasks.yaml").write_text(TASKS)
    arguments = [f"--tasks={tmp_path / 'tasks.yaml'}", "--dry_run", *phones.flags[:2], "--phones.timings.limit=0.3"]
    arguments.append(f"--phones.devices.serials=[{phones.serial(1)}]")
    phones.begin(1, "frozen", 3600)
    try:
        assert evaluate.main(arguments) == 1
    finally:
        phones.call(phones.phones[1].android.trouble.choose, Trouble())
    printed = capfd.readouterr().out.strip()
    assert printed.startswith(f"error: phone {phones.serial(1)}: ") and "no answer within 0.3 s" in printed
    assert len(printed.splitlines()) == 1
