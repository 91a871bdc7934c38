"""A simulated phone in this process without adb: it runs command lines and returns outputs and exit status."""

from typing import NamedTuple

from mobile_r1_jax.phones.simulator.android.commands import COMMANDS, TOOLS
from mobile_r1_jax.phones.simulator.android.shell import run
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.device import Device

VERSIONS = (9, 11, 12, 13, 14, 16)


class Answer(NamedTuple):
    out: str
    error: str
    status: int


class AndroidShell:
    """A phone with `version` of Android at its home screen."""

    def __init__(self, version: int = 14, size: tuple[int, int] = (112, 224)) -> None:
        self.device = Device(size=size, seed=0)
        self.android = Android(self.device, "emulator-1", COMMANDS, version, TOOLS)

    def __call__(self, line: str) -> Answer:
        result = run(self.android, line)
        return Answer(
            result.output(1).decode(errors="replace"), result.output(2).decode(errors="replace"), result.status
        )

    def out(self, line: str) -> str:
        """Return the standard output of a command that must succeed with empty standard error."""
        answer = self(line)
        assert (answer.error, answer.status) == ("", 0), (line, answer)
        return answer.out
