"""The commands dumpsys and uiautomator. Their texts have the form that phone tools parse."""

from typing import Any
from xml.sax.saxutils import quoteattr

from mobile_r1_jax.phones.simulator.android.files import FileError
from mobile_r1_jax.phones.simulator.android.shell import Result, failed, printed
from mobile_r1_jax.phones.simulator.android.system import Android


def dumpsys(android: Android, arguments: list[str], stdin: bytes) -> Result:
    service, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    dump = _DUMPS.get(service)
    if dump is None:
        return printed(f"Can't find service: {service}\n")
    return printed(dump(android, rest))


def _window(android: Android, arguments: list[str]) -> str:
    package, activity = android.device.focus
    return (
        "WINDOW MANAGER WINDOWS (dumpsys window windows)\n"
        f"  mCurrentFocus=Window{{51a3f10 u0 {android.device.window}}}\n"
        f"  mFocusedApp=ActivityRecord{{7b0c2aa u0 {package}/{activity} t1}}\n"
    )


def _activity(android: Android, arguments: list[str]) -> str:
    package, activity = android.device.focus
    if arguments[:1] == ["top"]:
        return f"TASK 10001:{package} id=1 userId=0\n  ACTIVITY {package}/{activity} 7b0c2aa pid=1000\n"
    if arguments[:1] == ["recents"]:
        return f"ACTIVITY MANAGER RECENT TASKS\n  * Recent #0: Task{{7b0c2aa #1 type=standard A=10001:{package}}}\n"
    return (
        "ACTIVITY MANAGER ACTIVITIES (dumpsys activity activities)\n"
        f"    mResumedActivity: ActivityRecord{{7b0c2aa u0 {package}/{activity} t1}}\n"
    )


def _display(android: Android, arguments: list[str]) -> str:
    width, height = android.device.size
    return (
        "DISPLAY MANAGER (dumpsys display)\n"
        "  mViewports=[DisplayViewport{type=INTERNAL, valid=true, isActive=true, displayId=0, uniqueId='local:0', "
        f"orientation=0, logicalFrame=Rect(0, 0 - {width}, {height}), physicalFrame=Rect(0, 0 - {width}, {height}), "
        f"deviceWidth={width}, deviceHeight={height}}}]\n"
    )


def _input(android: Android, arguments: list[str]) -> str:
    width, height = android.device.size
    frame = f"[0, 0, {width}, {height}]"
    return (
        "INPUT MANAGER (dumpsys input)\n"
        f"    Viewport INTERNAL: displayId=0, uniqueId=local:0, orientation=0, logicalFrame={frame}, "
        f"physicalFrame={frame}, deviceSize=[{width}, {height}], isActive=[1]\n"
    )


def _power(android: Android, arguments: list[str]) -> str:
    awake = str(android.awake).lower()
    return (
        f"POWER MANAGER (dumpsys power)\n  mWakefulness={'Awake' if android.awake else 'Asleep'}\n"
        f"  mHoldingDisplaySuspendBlocker={awake}\n"
    )


def _battery(android: Android, arguments: list[str]) -> str:
    return (
        "Current Battery Service state:\n  AC powered: true\n  USB powered: false\n  Wireless powered: false\n"
        "  status: 2\n  health: 2\n  present: true\n  level: 100\n  scale: 100\n  voltage: 5000\n  temperature: 250\n"
        "  technology: Li-ion\n"
    )


def _package(android: Android, arguments: list[str]) -> str:
    """Return all packages or one. Unlike real phones, simulated ones show the label of every app here."""
    names = [name for name in sorted(android.packages) if not arguments or arguments[0] in ("packages", name)]
    if not names:
        return f"Unable to find package: {arguments[0]}\n"
    return "Packages:\n" + "".join(
        f"  Package [{name}] (51a3f10):\n    versionCode=1 minSdk=24 targetSdk=34\n    versionName=1.0\n"
        "    signatures=PackageSignatures{51a3f10 version:2, signatures:[7b0c2aa], past signatures:[]}\n"
        f"    pkgFlags=[ HAS_CODE ]\n    nonLocalizedLabel={android.packages[name]}\n"
        "    firstInstallTime=2025-01-01 00:00:00\n    lastUpdateTime=2025-01-01 00:00:00\n"
        for name in names
    )


def _input_method(android: Android, arguments: list[str]) -> str:
    """Return the keyboard's state. It is visible while the screen has a text field."""
    visible = str(any(element.kind == "field" for element in android.device.elements())).lower()
    return f"Current Input Method Manager state:\n  mCurMethodId={android.keyboard}\n  mInputShown={visible}\n"


_DUMPS = {
    "activity": _activity,
    "battery": _battery,
    "display": _display,
    "input": _input,
    "input_method": _input_method,
    "package": _package,
    "power": _power,
    "window": _window,
}


def uiautomator(android: Android, arguments: list[str], stdin: bytes) -> Result:
    """`uiautomator dump [--compressed] [file]`."""
    if arguments[:1] != ["dump"]:
        return failed("Usage: uiautomator dump [file]")
    path = next((word for word in arguments[1:] if not word.startswith("-")), "/sdcard/window_dump.xml")
    try:
        android.files.write(path, tree(android).encode())
    except FileError as error:
        return failed(f"ERROR: could not write: {error}")
    return printed(f"UI hierchary dumped to: {path}\n")  # the misspelling is Android's


def tree(android: Android) -> str:
    """Return the screen as uiautomator's XML: bounds in device pixels, later nodes above earlier ones."""
    package, _ = android.device.focus
    width, height = android.device.size
    nodes = "".join(
        _node(element, index, package, android.device.size) for index, element in enumerate(android.device.elements())
    )
    return (
        "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?><hierarchy rotation=\"0\">"
        f'<node index="0" text="" class="android.widget.FrameLayout" package="{package}" content-desc="" '
        f'clickable="false" bounds="[0,0][{width},{height}]">{nodes}</node></hierarchy>'
    )


_CLASSES = {
    "button": "android.widget.Button",
    "field": "android.widget.EditText",
    "line": "android.widget.TextView",
    "switch": "android.widget.Switch",
    "tile": "android.widget.ImageView",
    "title": "android.widget.TextView",
}


def _node(element: Any, index: int, package: str, size: tuple[int, int]) -> str:
    x1, y1, x2, y2 = element.bounds(size)
    attributes = {
        "index": str(index),
        "text": element.value or element.name if element.kind == "field" else element.name,
        "class": _CLASSES.get(element.kind, "android.view.View"),
        "package": package,
        "content-desc": element.name,
        "checkable": str(element.kind == "switch").lower(),
        "checked": str(element.kind == "switch" and element.value == "on").lower(),
        "clickable": str(element.tap is not None).lower(),
        "enabled": "true",
        "long-clickable": str(element.long_press is not None).lower(),
        "bounds": f"[{x1},{y1}][{x2},{y2}]",
    }
    return "<node " + " ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items()) + "/>"
