"""Intents as the shell writes them: the options of am start, and the text that Android prints for an intent."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mobile_r1_jax.phones.simulator.android.failures import Raised, missing_operand

MAIN, VIEW = "android.intent.action.MAIN", "android.intent.action.VIEW"
HOME, LAUNCHER = "android.intent.category.HOME", "android.intent.category.LAUNCHER"
NEW_TASK = 0x10000000
_SECRET = ("tel", "sip", "sms", "smsto", "mailto", "nfc")  # schemes whose rest Android masks

_STRINGS = {"-a": "action", "-d": "data", "-t": "type", "-p": "package", "-n": "component"}
_ONE_VALUE = {"-i", "-R", "-P", "--start-profiler", "--attach-agent", "--display", "--windowingMode", "--activityType",
              "--task", "--sampling", "--receiver-permission", "--user"}  # fmt: skip
_EXTRAS = {"-e", "--es", "--ez", "--ei", "--el", "--ef", "--ed", "--eu", "--ecn", "--eia", "--eial", "--ela", "--elal",
           "--efa", "--efal", "--esa", "--esal"}  # fmt: skip
_FLAGS = {
    "--grant-read-uri-permission": 0x1, "--grant-write-uri-permission": 0x2, "--include-stopped-packages": 0x20,
    "--exclude-stopped-packages": 0x10, "--debug-log-resolution": 0x8, "--activity-brought-to-front": 0x400000,
    "--activity-clear-top": 0x4000000, "--activity-clear-task": 0x8000, "--activity-no-animation": 0x10000,
    "--activity-no-history": 0x40000000, "--activity-no-user-action": 0x40000, "--activity-single-top": 0x20000000,
    "--activity-previous-is-top": 0x1000000, "--activity-reorder-to-front": 0x20000,
    "--activity-reset-task-if-needed": 0x200000, "--activity-exclude-from-recents": 0x800000,
    "--activity-multiple-task": 0x8000000, "--activity-task-on-home": 0x4000,
    "--receiver-registered-only": 0x40000000, "--receiver-replace-pending": 0x20000000,
    "--receiver-foreground": 0x10000000, "--receiver-no-abort": 0x8000000,
}  # fmt: skip
_SWITCHES = {"-W", "-S", "-D", "-N", "--streaming", "--track-allocation", "--lock-task", "--task-overlay", "--async",
             "--dismiss-keyguard", "--brief", "--components"}  # fmt: skip


@dataclass
class Intent:
    """An intent. `component` is package/class as it was given."""

    action: str = ""
    categories: list[str] = field(default_factory=list)
    data: str = ""
    type: str = ""
    flags: int = 0
    package: str = ""
    component: str = ""
    extras: dict[str, str] = field(default_factory=dict)

    @property
    def is_main(self) -> bool:
        """Whether it asks for an app by its launcher icon."""
        return self.action in ("", MAIN) and set(self.categories) <= {LAUNCHER}

    def text(self, version: int) -> str:
        """Return the intent as Android prints it. From Android 11 on the end of the data is hidden."""
        shown = {
            "act": self.action,
            "cat": f"[{','.join(self.categories)}]" if self.categories else "",
            "dat": _safe(self.data) if version > 10 else self.data,
            "typ": self.type,
            "flg": f"{self.flags:#x}" if self.flags else "",
            "pkg": self.package,
            "cmp": short_component(self.component),
        }
        words = [f"{name}={value}" for name, value in shown.items() if value]
        return " ".join(["Intent {", *words, *(["(has extras)"] if self.extras else []), "}"])


@dataclass
class IntentArguments:
    """The parsed arguments of a command that takes an intent."""

    intent: Intent
    switches: set[str]  # such as -W
    user: str  # of --user; "" if not given


def parse_intent(arguments: Sequence[str]) -> IntentArguments:
    """Parse options and the last operand: a URI, a component or a package. Raises Raised as Android does."""
    intent, switches, user, known = Intent(), set(), "", False
    words = iter(arguments)

    def value(option: str) -> str:
        try:
            return next(words)
        except StopIteration:
            raise missing_operand(option) from None

    operand = ""
    for word in words:
        if word in _STRINGS:
            setattr(intent, _STRINGS[word], value(word))
        elif word == "-c":
            intent.categories.append(value(word))
        elif word == "-f":
            intent.flags |= _number(value(word))
        elif word in _FLAGS:
            intent.flags |= _FLAGS[word]
        elif word in _EXTRAS:
            name = value(word)
            intent.extras[name] = value(word)
        elif word == "--esn":
            intent.extras[value(word)] = ""
        elif word == "--user":
            user = value(word)
        elif word in _ONE_VALUE:
            value(word)
        elif word in _SWITCHES:
            switches.add(word)
        elif word.startswith("-"):
            raise Raised(f"java.lang.IllegalArgumentException: Unknown option: {word}")
        else:
            operand = word
            break
        known = known or word in ("-a", "-c", "-d", "-n", "-t")
    if intent.component and not _is_component(intent.component):
        raise Raised(f"java.lang.IllegalArgumentException: Bad component name: {intent.component}")
    if not operand and not known:
        raise Raised("java.lang.IllegalArgumentException: No intent supplied")
    if operand:
        _complete(intent, operand)
    return IntentArguments(intent, switches, user)


def _complete(intent: Intent, operand: str) -> None:
    """Fill what the options left open from the last operand."""
    if ":" in operand:
        intent.action, intent.data = intent.action or VIEW, intent.data or operand
        return
    intent.action = intent.action or MAIN
    intent.categories = intent.categories or [LAUNCHER]
    if "/" in operand:
        intent.component = intent.component or operand
    else:
        intent.package = intent.package or operand


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise Raised(f'java.lang.NumberFormatException: For input string: "{text}"') from None


def _is_component(text: str) -> bool:
    package, slash, name = text.partition("/")
    return bool(package and slash and name)


def split_component(text: str) -> tuple[str, str]:
    """Return (package, class); a class inside the package is short, such as ".Main"."""
    package, _, name = text.partition("/")
    return package, name.removeprefix(package) if name.startswith(f"{package}.") else name


def short_component(text: str) -> str:
    return "/".join(split_component(text)) if text else ""


def long_component(text: str) -> str:
    """Return package/class with the class's whole name."""
    package, name = split_component(text)
    return f"{package}/{package}{name}" if name.startswith(".") else f"{package}/{name}"


def _safe(uri: str) -> str:
    scheme, colon, rest = uri.partition(":")
    if scheme in _SECRET:
        return f"{scheme}:{''.join(char if char in '-@.' else 'x' for char in rest)}"
    if colon and (match := re.match(r"//([^/?#]*)(.*)", rest, re.DOTALL)):
        return f"{scheme}://{match[1]}{'/...' if match[2] else ''}"
    return uri
