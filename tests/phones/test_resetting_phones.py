"""A reset of a real phone stops the used apps and leaves it awake, unlocked, upright and with a stable screen."""

import io
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from PIL import Image
from scripted_android import SECURITY

from mobile_r1_jax.phones.adb.used import used_packages
from mobile_r1_jax.phones.phone import PhoneError
from mobile_r1_jax.phones.settings import INSTANT
from mobile_r1_jax.phones.simulator.android.shell import printed
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.tasks.task import Task

FRONT = "  mCurrentFocus=Window{1 u0 %s/.Launcher}\n"
TASK = Task("Notes", "Write a note")
HEAD = "ACTIVITY MANAGER RECENT TASKS (dumpsys activity recents)\nmRecentsUid=1000\n  Recent tasks:\n"
RECENTS = {
    "9": """  * Recent #0: TaskRecord{3a9c7f5 #42 A=com.acme.notes U=0 StackId=1 sz=1}
  * Recent #1: TaskRecord{3a9c7f6 #41 A=com.android.settings U=0 StackId=2 sz=1}
""",
    "10": """  * Recent #0: TaskRecord{87ddf9b #2 A=10120:com.acme.notes U=0 StackId=0 sz=1}
    realActivity=com.acme.notes/.Main
  * Recent #1: TaskRecord{87ddf9c #3 A=1000:com.android.settings.root U=0 StackId=0 sz=1}
    realActivity=com.android.settings/.Settings
""",
    "14": """  * Recent #0: Task{b9e3c60 #149 type=standard A=10022:com.acme.notes U=0 visible=true sz=1}
    mActivityComponent=com.acme.notes/.Main
  * Recent #1: Task{b9e3c61 #150 type=standard A=1000:com.android.settings U=0 visible=false sz=1}
    mActivityComponent=com.android.settings/.Settings
""",
    "16": """  * Recent #0: Task{eb9eba0 #1444 type=home I=com.acme.home/.MainActivity}
  * Recent #1: Task{d10633a #1498 type=standard A=10384:com.acme.notes}
  * Recent #2: Task{8e63c8 #160 type=standard I=com.android.settings/com.android.settings.Settings}
    mActivityComponent=com.android.settings/.Settings

  Visible recent tasks (most recent first):
    * RecentTaskInfo #0:
      realActivity={com.acme.notes/com.acme.notes.Main}
      baseIntent=Intent { act=android.intent.action.MAIN cmp=com.acme.notes/.Main }
""",
    "foreign affinities": """  * Recent #0: Task{3db498f #2852 type=standard A=10469:.MainActivity}
    mActivityComponent=com.acme.notes/.Main
  * Recent #1: Task{3db4990 #2853 type=standard A=10469:com.acme.alarms}
    intent={act=android.intent.action.MAIN cmp=com.android.settings/.Settings}
""",
}


@pytest.mark.parametrize("version", RECENTS)
def test_used_apps_are_found_in_the_recents_of_every_version(version: str) -> None:
    assert used_packages(HEAD + RECENTS[version], "") == {"com.acme.notes", "com.android.settings"}


@pytest.mark.parametrize(
    "activities",
    [
        """Stack #1: type=standard mode=fullscreen
    * TaskRecord{3a9c7f5 #42 A=com.acme.notes U=0 StackId=1 sz=1}
      * Hist #0: ActivityRecord{1fb24c3 u0 com.acme.notes/.Main t2}
    mResumedActivity: ActivityRecord{1fb24c3 u0 com.acme.notes/.Main t2}
""",
        """  * Task{f21feb6 #149 type=standard A=10022:com.acme.notes U=0 visible=true mode=fullscreen sz=1}
    topResumedActivity=ActivityRecord{113762949 u0 com.acme.notes/.Main t149}
    * Hist  #0: ActivityRecord{113762949 u0 com.acme.notes/.Main t149}
  * Task{f21feb7 #1 type=home A=10100:com.acme.home U=0 visible=true sz=1}
    * Hist  #0: ActivityRecord{113762950 u0 com.acme.home/.Home t1}
""",
        """  * Task{f21feb6 #149 type=standard A=10022:.Foreign U=0 sz=1}
    * Hist  #0: ActivityRecord{1a70f4a u0 com.acme.notes/com.acme.notes.Main} t6294}
""",
    ],
    ids=["9", "14", "vendor"],
)
def test_tasks_listed_only_by_activity_are_found(activities: str) -> None:
    assert used_packages(f"{HEAD}  (nothing)\n", f"ACTIVITY MANAGER ACTIVITIES\n{activities}") == {"com.acme.notes"}


@pytest.mark.parametrize("empty", ["", HEAD, f"{HEAD}  (nothing)\n"])
def test_empty_dumps_have_no_used_apps(empty: str) -> None:
    assert used_packages(empty, "") == set()


def needed(line: str) -> str:
    return "com.acme.home/.Launcher\n" if "category.HOME" in line else "No activity found\n"


@pytest.mark.parametrize("version", RECENTS)
def test_reset_stops_used_and_system_apps_except_launcher_and_keyboard(scripted, version: str) -> None:
    more = "  * Recent #7: Task{1 #7 A=10001:com.acme.home}\n  * Recent #8: Task{1 #8 A=10001:com.android.systemui}\n"
    more += "  * Recent #9: Task{1 #9 A=10001:com.android.inputmethod.latin}\n"
    phone, android = scripted(
        {
            "dumpsys activity recents": HEAD + RECENTS[version] + more,
            "dumpsys activity activities": "ACTIVITY MANAGER ACTIVITIES\n",
            "cmd package resolve-activity": needed,
            "dumpsys window": FRONT % "com.acme.home",
            "am get-current-user": "0\n",
            "pm list packages": printed(f"Error: {SECURITY}\n", 255),
        }
    )
    phone.reset(TASK)
    stopped = [line.split()[-1] for line in android.ran("am force-stop")]
    assert stopped == ["com.acme.notes", "com.android.settings"]
    assert all("--user 0" in line for line in android.ran("am force-stop"))
    homes = [index for index, line in enumerate(android.lines) if line == "input keyevent 3"]
    stops = [index for index, line in enumerate(android.lines) if line.startswith("am force-stop")]
    assert homes[0] < stops[0] < stops[-1] < homes[-1]


@pytest.mark.parametrize("what", ["dumpsys activity recents", "dumpsys activity activities", "am force-stop"])
def test_reset_that_cannot_stop_apps_is_an_error(scripted, what: str) -> None:
    answers = {"dumpsys activity recents": HEAD + RECENTS["14"]}
    phone, _ = scripted(answers | {what: printed(f"Error: {SECURITY}\n", 0)})
    with pytest.raises(PhoneError, match="SecurityException"):
        phone.reset(TASK)


UNLOCKED = "    isKeyguardShowing=false\n" + FRONT % "com.sim.launcher"
LOCKED = "    isKeyguardShowing=true\n"
MONITOR = (
    "      KeyguardStateMonitor\n        mIsShowing=true\n        mSimSecure=false\n        mInputRestricted=true\n"
)


@pytest.mark.parametrize("lock", [LOCKED, MONITOR, "  mShowingLockscreen=true mShowingDream=false\n"])
def test_sleeping_phone_with_a_swipe_lock_is_woken_and_unlocked(scripted, lock: str) -> None:
    state = {"awake": False, "locked": True}

    def dismiss(line: str) -> str:
        state["locked"] = False
        return ""

    def wake(line: str) -> None:
        state["awake"] |= "WAKEUP" in line

    phone, android = scripted(
        {
            "input keyevent": wake,
            "dumpsys power": lambda line: f"  mWakefulness={'Awake' if state['awake'] else 'Asleep'}\n",
            "dumpsys window": lambda line: lock if state["locked"] else UNLOCKED,
            "wm dismiss-keyguard": dismiss,
        }
    )
    phone.reset(TASK)
    assert state == {"awake": True, "locked": False}
    assert android.ran("settings put system accelerometer_rotation 0")
    assert android.ran("settings put system user_rotation 0")


def test_swipe_unlocks_if_dismiss_keyguard_fails(scripted) -> None:
    locked = [True]

    def swipe(line: str) -> str:
        locked[0] = False
        return ""

    phone, android = scripted(
        {
            "dumpsys window": lambda line: LOCKED if locked[0] else UNLOCKED,
            "wm dismiss-keyguard": "Unknown command\n",
            "input swipe": swipe,
        }
    )
    phone.reset(TASK)
    assert android.ran("input swipe") == ["input swipe 56 179 56 44 300"]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"dumpsys window": LOCKED}, "it is locked; unlock it"),
        ({"dumpsys power": "  mWakefulness=Asleep\n"}, "does not wake up"),
    ],
)
def test_unusable_phone_error_has_the_reason(scripted, answers: dict[str, str], reason: str) -> None:
    phone, _ = scripted(answers)
    started = time.monotonic()
    with pytest.raises(PhoneError, match=reason):
        phone.reset(TASK)
    assert time.monotonic() - started < 6


class Moving(Device):
    """Return captures of a screen that changes `changes` times: a square moves. The clock always changes."""

    def __init__(self, changes: int) -> None:
        super().__init__(size=(112, 224))
        self.pictures, self.taken = self._draw(changes), 0

    def _draw(self, changes: int) -> Iterator[bytes]:
        for number in range(1000):
            image = Image.new("RGB", (112, 224), "teal")
            image.putpixel((number % 100, 2), (255, 255, 255))
            image.paste("red", (min(number, changes) + 5, 100, min(number, changes) + 30, 130))
            png = io.BytesIO()
            image.save(png, "PNG")
            yield png.getvalue()

    def screenshot(self) -> bytes:
        self.taken += 1
        return next(self.pictures)


@pytest.mark.parametrize(("changes", "taken"), [(0, 2), (2, 4)])
def test_reset_waits_until_the_screen_below_the_status_bar_is_stable(scripted, changes: int, taken: int) -> None:
    device = Moving(changes)
    phone, _ = scripted({}, device, timings=replace(INSTANT, still=5))
    phone.reset(TASK)
    assert device.taken == taken


def test_wait_for_a_stable_screen_is_bounded(scripted) -> None:
    phone, _ = scripted({}, Moving(999), timings=replace(INSTANT, still=0.6))
    started = time.monotonic()
    phone.reset(TASK)
    assert 0.5 < time.monotonic() - started < 3
