"""Commands for activities and tasks: am start, force-stop and stack, and monkey."""

import itertools

from mobile_r1_jax.phones.simulator.android.failures import NEGATIVE, Raised, missing_operand, raised
from mobile_r1_jax.phones.simulator.android.intents import (
    LAUNCHER,
    MAIN,
    NEW_TASK,
    Intent,
    IntentArguments,
    long_component,
    parse_intent,
    split_component,
)
from mobile_r1_jax.phones.simulator.android.launching import Activity, matches, open_activity
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.android.tasks import uid

_DELIVERED = "Activity not started, intent has been delivered to currently running top-most instance."
_BROUGHT = "Activity not started, its current task has been brought to the front"


def start(android: Android, arguments: list[str]) -> Result:
    """`am start [-W] [-S] INTENT`. What follows the first line goes to standard output only with -W."""
    parsed = parse_intent(arguments)
    intent, wait = parsed.intent, "-W" in parsed.switches
    found = matches(android, intent)
    lines = []
    if "-S" in parsed.switches:
        package = split_component(intent.component)[0] or intent.package or (found[0].package if found else "")
        if not package:
            return failed(f"Error: Intent does not match any activities: {intent.text(android.version)}")
        lines.append(f"Stopping: {package}")
        stop_packages(android, [package])
    lines.append(f"Starting: {intent.text(android.version)}")
    intent.flags |= NEW_TASK
    if _is_private(android, intent, found):
        owner = uid(split_component(intent.component)[0])
        denied = raised(
            android.version,
            "start",
            f"java.lang.SecurityException: Permission Denial: starting {intent.text(android.version)} from null "
            f"(pid=4711, uid=2000) not exported from uid {owner}",
        )
        return Result((*_with_report(lines, [], 0, wait).chunks, *denied.chunks), denied.status)
    if (errors := _refusal(android, parsed, found)) is not None:
        return _with_report(lines, errors, 1, wait)
    warning, state = _launch(android, intent, found[0])
    report = [f"Warning: {warning}"] if warning else []
    if wait:
        report += ["Status: ok", f"LaunchState: {state}"][: 1 if android.version < 10 else 2]
        report.append(f"Activity: {found[0].component}")
        report += ["ThisTime: 0"] if android.version < 10 else []
        report += ["TotalTime: 0", "WaitTime: 1", "Complete"]
    return _with_report(lines, report, 0, wait)


def _with_report(lines: list[str], report: list[str], status: int, wait: bool) -> Result:
    head, rest = "".join(f"{line}\n" for line in lines), "".join(f"{line}\n" for line in report)
    texts = ((1, head), (1 if wait else 2, rest))
    return Result(tuple((to, text.encode(errors="surrogateescape")) for to, text in texts if text), status)


def _is_private(android: Android, intent: Intent, found: list[Activity]) -> bool:
    """Return whether the component exists, as far as the phone has shown it, and only its own app may start it."""
    package, name = split_component(intent.component)
    return not found and package in android.packages and (package, name) in android.tasks.seen


def _refusal(android: Android, parsed: IntentArguments, found: list[Activity]) -> list[str] | None:
    """Return the lines that say why nothing starts; None if something does."""
    intent = parsed.intent
    if parsed.user not in ("", "current", "cur", "all", *map(str, android.users)):
        return ["Error: Activity not started, not allowed for the given user."]
    if found:
        return None
    if not intent.component:
        return [f"Error: Activity not started, unable to resolve {intent.text(android.version)}"]
    return ["Error type 3", f"Error: Activity class {{{long_component(intent.component)}}} does not exist."]


def _launch(android: Android, intent: Intent, activity: Activity) -> tuple[str, str]:
    """Open the activity. Return Android's warning, "" if there is none, and the state in which the launch began."""
    front, running = android.device.focus, activity.package in android.tasks.running
    warning = _BROUGHT if running else ""
    if front == (activity.package, activity.name):
        warning = _DELIVERED
    open_activity(android, activity, intent.extras)
    shown = Intent(intent.action, intent.categories, intent.data, intent.type, intent.flags, "", activity.component)
    android.log.write("ActivityTaskManager", f"START u0 {shown.text(android.version)[7:]} from uid 2000")
    return warning, "HOT" if running else "COLD"


def force_stop(android: Android, arguments: list[str]) -> Result:
    """`am force-stop [--user N] PACKAGE`. It prints nothing, whether there is such a package or not."""
    packages = arguments[2:] if arguments[:1] == ["--user"] else arguments
    if not packages:
        raise missing_operand("force-stop")
    stop_packages(android, packages[:1])
    return Result()


def stop_packages(android: Android, packages: list[str]) -> None:
    """End apps. The home screen takes the place of an app in front; the cards of the apps stay in the recent apps."""
    if android.device.focus[0] in packages:
        android.device.launch(android.home_package)
        android.tasks.note(*android.device.focus)
    android.tasks.running -= set(packages) - {android.home_package}


def stack(android: Android, arguments: list[str]) -> Result:
    """`am stack list` and `am stack remove ID`."""
    if arguments == ["list"]:
        return printed("".join(_stack_lines(android)))
    if arguments[:1] == ["remove"]:
        return _remove_task(android, arguments[1:])
    if not arguments:
        raise missing_operand("stack")
    return failed(f"Error: unknown command '{arguments[0]}'", NEGATIVE)


def _stack_lines(android: Android) -> list[str]:
    width, height = android.device.size
    bounds = f"bounds=[0,0][{width},{height}]"
    noun = "RootTask" if android.version >= 12 else "Stack"
    lines = []
    for position, task in enumerate(android.tasks.tasks):
        kind = "home" if task.package == android.home_package else "standard"
        name = long_component(f"{task.package}/{task.activity}")
        visible = str(position == 0).lower()
        lines.append(
            f"{noun} id={task.id} {bounds} displayId=0 userId=0\n"
            f" configuration={{1.0 ?mcc?mnc [en_US] ldltr sw360dp winConfig={{ mBounds=Rect(0, 0 - {width}, {height}) "
            f"mWindowingMode=fullscreen mActivityType={kind}}}}}\n"
            f"  taskId={task.id}: {name} {bounds} userId=0 visible={visible} topActivity=ComponentInfo{{{name}}}\n\n"
        )
    return lines


def _remove_task(android: Android, arguments: list[str]) -> Result:
    if not arguments:
        raise missing_operand("remove")
    if not arguments[0].isdecimal():
        raise Raised(f'java.lang.NumberFormatException: For input string: "{arguments[0]}"')
    task = android.tasks.remove(int(arguments[0]))
    if task is not None and task.package == android.device.focus[0]:
        android.device.launch(android.home_package)
    return Result()


def monkey(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`monkey -p PACKAGE -c android.intent.category.LAUNCHER [--pct-syskeys 0] 1` starts an app by its package.

    Monkey leaves the automatic rotation on. It ends with 251 on a phone without physical keys.
    """
    values = dict(itertools.pairwise(arguments))
    if not arguments or not arguments[-1].isdecimal():
        return failed("** Error: Count not specified" if not arguments else "** Error: Count is not a number", NEGATIVE)
    if not android.hardware.physical_keys and values.get("--pct-syskeys") != "0":
        echoed = "".join(f"  bash arg: {word}\n" for word in arguments)
        error = f"args: [{', '.join(arguments)}]\n** SYS_KEYS has no physical keys but with factor 2.0%."
        return Result((*printed(echoed).chunks, *failed(error).chunks), 251)
    found = matches(android, Intent(MAIN, [LAUNCHER], package=values.get("-p", "")))
    if not found or "-p" not in values:
        return printed("** No activities found to run, monkey aborted.\n", 252)
    open_activity(android, found[0], {})
    android.settings["system"]["accelerometer_rotation"] = "1"
    return printed("Events injected: 1\n## Network stats: elapsed time=1ms (0ms mobile, 0ms wifi, 1ms not connected)\n")


def current_user(android: Android, arguments: list[str]) -> Result:
    return printed("0\n")
