"""The dump of the window manager: `dumpsys window [displays|windows|policy]`, by Android version."""

from mobile_r1_jax.phones.simulator.android.commands.dump_activities import record
from mobile_r1_jax.phones.simulator.android.shell import Result, failed
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.android.tasks import token


def dump_window(android: Android, arguments: list[str]) -> str | Result:
    parts = {"displays": _displays, "policy": _policy, "windows": _windows}
    kind = arguments[0] if arguments else ""
    chosen = [name for name in parts if kind in ("", "all", "-a", name, name[0])]
    if not chosen:
        return failed(f"Bad window command, or no windows match: {kind}\nUse -h for help.")
    return f"\n{'-' * 79}\n".join(parts[name](android) for name in chosen)


def focused_window(android: Android) -> str:
    """Return the name of the window with the focus: an activity's, a dialog's or the keyguard's."""
    if android.device.locked:
        return "NotificationShade" if android.version > 10 else "StatusBar"
    return android.device.window


def _window(name: str) -> str:
    return f"Window{{{token('window', name)} u0 {name}}}"


def _focus(android: Android) -> list[str]:
    shown = record(android.tasks.tasks[0])
    if android.version <= 9:
        inner = f"Token{{{token('token', shown)} {shown}}}"
        shown = f"AppWindowToken{{{token('app', shown)} token={inner}}}"
    return [f"  mCurrentFocus={_window(focused_window(android))}", f"  mFocusedApp={shown}"]


def _displays(android: Android) -> str:
    (width, height), hardware = android.device.size, android.hardware
    first_width, first_height = hardware.size
    table = android.settings["system"]
    mode = "FREE" if table.get("accelerometer_rotation") == "1" else "LOCKED"
    rotation = table.get("user_rotation", "0")
    degrees = int(rotation) * 90 if rotation in ("0", "1", "2", "3") else 0
    density = hardware.physical_density
    base = "" if (width, height) == hardware.size else f" base={width}x{height} {hardware.density or density}dpi"
    lines = ["WINDOW MANAGER DISPLAY CONTENTS (dumpsys window displays)"]
    for position in range(len(hardware.displays)):
        lines += [
            f"  Display: mDisplayId={position}",
            f"    init={first_width}x{first_height} {density}dpi{base} cur={width}x{height} app={width}x{height}",
        ]
        if position:
            lines += ["  mCurrentFocus=null", "  mFocusedApp=null"] if android.version > 9 else []
            continue
        lines += _focus(android) if android.version > 9 else []
        lines += [
            "  DisplayRotation",
            "    mCurrentRotation=ROTATION_0 mRotation=0 mLastOrientation=-1",
            f"    mUserRotationMode=USER_ROTATION_{mode} mUserRotation=ROTATION_{degrees}",
        ]
        lines += _display_policy(android) if android.version > 9 else []
    return "\n".join(lines) + "\n"


def _display_policy(android: Android) -> list[str]:
    awake, shown = str(android.awake).lower(), str(android.device.locked).lower()
    return [
        "  DisplayPolicy",
        f"    mAwake={awake} mScreenOnEarly={awake} mScreenOnFully={awake}",
        "    mShowingDream=false mDreamingLockscreen=false",
        f"    isKeyguardShowing={shown}",
    ]


def _windows(android: Android) -> str:
    package, activity = android.device.focus
    app = f"{package}/{package}{activity}"
    focused = focused_window(android)
    lines = ["WINDOW MANAGER WINDOWS (dumpsys window windows)"]
    for position, name in enumerate(dict.fromkeys((focused, app))):
        lines += [
            f"  Window #{position} {_window(name)}:",
            f"    mDisplayId=0 isVisible={str(name == focused).lower()}",
        ]
    lines += _focus(android) if android.version <= 9 else []
    return "\n".join(lines) + "\n"


def _policy(android: Android) -> str:
    locked, awake = str(android.device.locked).lower(), str(android.awake).lower()
    state = (
        ("SCREEN_STATE_ON", "INTERACTIVE_STATE_AWAKE")
        if android.awake
        else ("SCREEN_STATE_OFF", "INTERACTIVE_STATE_SLEEP")
    )
    lines = ["WINDOW MANAGER POLICY STATE (dumpsys window policy)"]
    if android.version <= 9:
        lines += [
            f"    mAwake={awake} mScreenOnEarly={awake} mScreenOnFully={awake}",
            "    mShowingDream=false mDreamingLockscreen=false mDreamingSleepToken=null",
            f"    isStatusBarKeyguard={locked}",
            "    mRotation=0",
        ]
    lines += [
        "    KeyguardServiceDelegate",
        f"      showing={locked}",
        "      occluded=false",
        "      secure=false",
        f"      screenState={state[0]}",
        f"      interactiveState={state[1]}",
        "      KeyguardStateMonitor",
        f"        mIsShowing={locked}",
        "        mSimSecure=false",
        f"        mInputRestricted={locked}",
        "        mTrusted=false",
        "        mCurrentUserId=0",
    ]
    return "\n".join(lines) + "\n"
