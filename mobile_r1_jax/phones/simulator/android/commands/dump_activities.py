"""The dump of the activity manager: `dumpsys activity activities|recents|top`, by Android version."""

from mobile_r1_jax.phones.simulator.android.shell import Result, failed
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.android.tasks import Task, token, uid


def record(task: Task) -> str:
    """Return the text of a task's activity, as `ActivityRecord{1fb24c3 u0 com.acme.notes/.Main t2}`."""
    name = f"{task.package}/{task.activity}"
    return f"ActivityRecord{{{token('activity', name)} u0 {name} t{task.id}}}"


def dump_activity(android: Android, arguments: list[str]) -> str | Result:
    kind = arguments[0] if arguments else ""
    if kind == "top":
        return _top(android)
    if kind in ("recents", "r"):
        return _recents(android)
    if kind in ("activities", "a"):
        return _activities(android)
    if kind:
        return failed(f"Bad activity command, or no activities match: {kind}\nUse -h for help.")
    return f"{_recents(android)}\n{'-' * 79}\n{_activities(android)}"


def _top(android: Android) -> str:
    task = android.tasks.tasks[0]
    return (
        f"TASK {_affinity(android, task)} id={task.id} userId=0\n"
        f"  ACTIVITY {task.package}/{task.activity} {token('activity', task.package)} pid={uid(task.package) - 9000}\n"
    )


def _affinity(android: Android, task: Task) -> str:
    app = android.device.apps.get(task.package)
    name = (app.affinity if app is not None else "") or task.package
    return name if android.version < 10 else f"{uid(task.package)}:{name}"


def task_text(android: Android, task: Task) -> str:
    """Return the text of a task as this version of Android prints it."""
    version, home = android.version, task.package == android.home_package
    head = f"{token('task', task.id)} #{task.id}"
    stack = 0 if home else 1
    if version <= 10:
        return f"TaskRecord{{{head} A={_affinity(android, task)} U=0 StackId={stack} sz=1}}"
    visible = str(task is android.tasks.tasks[0]).lower()
    kind = "home" if home else "standard"
    name = f"I={task.package}/{task.activity}" if home else f"A={_affinity(android, task)}"
    if version == 11:
        return f"Task{{{head} visible={visible} type={kind} mode=fullscreen {name} U=0 StackId={stack} sz=1}}"
    if version <= 14:
        more = f"visible={visible} visibleRequested={visible} mode=fullscreen translucent=false sz=1"
        return f"Task{{{head} type={kind} {name} U=0 {more}}}"
    return f"Task{{{head} type={kind} {name}}}"


def _intent(android: Android, task: Task) -> str:
    category = "HOME" if task.package == android.home_package else "LAUNCHER"
    return (
        f"act=android.intent.action.MAIN cat=[android.intent.category.{category}] flg=0x10200000 "
        f"cmp={task.package}/.HomeActivity"
    )


def _recents(android: Android) -> str:
    component = "realActivity" if android.version <= 10 else "mActivityComponent"
    lines = [
        "ACTIVITY MANAGER RECENT TASKS (dumpsys activity recents)",
        f"mRecentsUid={uid(android.home_package)}",
        f"mRecentsComponent=ComponentInfo{{{android.home_package}/{android.home_package}.RecentsActivity}}",
        "",
    ]
    if not android.tasks.tasks:
        return "\n".join([*lines, "  (nothing)", ""])
    lines.append("  Recent tasks:")
    for position, task in enumerate(android.tasks.tasks):
        name = f"{task.package}/{task.activity}"
        lines += [
            f"  * Recent #{position}: {task_text(android, task)}",
            f"    userId=0 effectiveUid={uid(task.package)} mCallingUid=1000 mUserSetupComplete=true",
            f"    affinity={_affinity(android, task)}",
            f"    intent={{{_intent(android, task)}}}",
            f"    {component}={name}",
            f"    Activities=[{record(task)}]",
        ]
    if android.version > 10:
        lines += ["", "  Visible recent tasks (most recent first):", *_visible_recents(android)]
    return "\n".join(lines) + "\n"


def _visible_recents(android: Android) -> list[str]:
    lines = []
    tasks = [task for task in android.tasks.tasks if task.package != android.home_package]
    for position, task in enumerate(tasks):
        name = f"{task.package}/{task.package}{task.activity}"
        lines += [
            f"  * RecentTaskInfo #{position}:",
            f"    id={task.id} userId=0 hasTask=true",
            f"    baseIntent=Intent {{ {_intent(android, task)} }}",
            f"    baseActivity={{{name}}}",
            f"    topActivity={{{name}}}",
            f"    realActivity={{{name}}}",
        ]
    return lines


def _activities(android: Android) -> str:
    lines = [
        "ACTIVITY MANAGER ACTIVITIES (dumpsys activity activities)",
        "Display #0 (activities from top to bottom):",
    ]
    lines += _tasks(android) if android.version >= 12 else _stacks(android)
    resumed = record(android.tasks.tasks[0]) if android.awake and android.tasks.tasks else ""
    if resumed:
        lines += ["", f"    Resumed: {resumed}" if android.version >= 13 else f"  ResumedActivity: {resumed}"]
    lines += ["", f"  isSleeping={str(not android.awake).lower()}"]
    return "\n".join(lines) + "\n"


def _tasks(android: Android) -> list[str]:
    lines = []
    for position, task in enumerate(android.tasks.tasks):
        lines.append(f"  * {task_text(android, task)}")
        if position == 0 and android.awake:
            lines.append(f"    topResumedActivity={record(task)}")
        lines += [
            f"    * Hist  #0: {record(task)}",
            f"      packageName={task.package} processName={task.package}",
        ]
    return lines


def _stacks(android: Android) -> list[str]:
    lines = []
    for position, task in enumerate(android.tasks.tasks):
        kind = "home" if task.package == android.home_package else "standard"
        lines += [
            f"  Stack #{task.id}: type={kind} mode=fullscreen",
            f"    * {task_text(android, task)}",
            f"      * Hist #0: {record(task)}",
            f"          packageName={task.package} processName={task.package}",
        ]
        if position == 0 and android.awake:
            lines.append(f"    mResumedActivity: {record(task)}")
    return lines
