"""How a simulated phone finds the activity for an intent and opens it."""

from collections.abc import Mapping
from dataclasses import dataclass

from mobile_r1_jax.phones.simulator.android.intents import HOME, LAUNCHER, MAIN, VIEW, Intent, split_component
from mobile_r1_jax.phones.simulator.android.system import Android
from mobile_r1_jax.phones.simulator.app import activity_of

HOME_ACTIVITY, _PERFORMING = ".HomeActivity", ".HandleApiCalls"
_LINK_ACTIONS = ("", VIEW, "android.intent.action.SENDTO")


@dataclass(frozen=True)
class Activity:
    """An activity that the shell may start. `page` is the page that it shows; "" is the app's first page."""

    package: str
    name: str  # the class, as ".HomeActivity"
    page: str = ""
    action: str = ""  # that the app performs before it opens, if it opens

    @property
    def component(self) -> str:
        return f"{self.package}/{self.name}"


def exported(android: Android, package: str) -> dict[str, Activity]:
    """Return the activities of an app that other apps and the shell may start, by class."""
    if package not in android.device.packages or package in android.removed:
        return {}
    app = android.device.apps.get(package)
    pages = {activity_of(page): page for page in (app.intents.values() if app else ())} | {HOME_ACTIVITY: ""}
    return {name: Activity(package, name, page) for name, page in pages.items()}


def matches(android: Android, intent: Intent) -> list[Activity]:
    """Return the activities for an intent, in the order of packages."""
    if intent.component:
        package, name = split_component(intent.component)
        found = exported(android, package).get(name)
        return [found] if found else []
    if intent.action == MAIN and not intent.data and HOME in intent.categories:
        packages = [android.home_package]
    else:
        packages = sorted(android.device.packages)
    found = [_match(android, package, intent) for package in packages if intent.package in ("", package)]
    return [activity for activity in found if activity is not None]


def _match(android: Android, package: str, intent: Intent) -> Activity | None:
    activities, app = exported(android, package), android.device.apps.get(package)
    if not activities:
        return None
    if not intent.data and intent.action == MAIN:
        return activities[HOME_ACTIVITY] if set(intent.categories) <= {LAUNCHER, HOME} else None
    if app is None:
        return None
    if intent.data:
        page = app.links(intent.data) if intent.action in _LINK_ACTIONS else ""
        return Activity(package, activity_of(page), page) if page else None
    if intent.action in app.performs:
        return Activity(package, _PERFORMING, action=intent.action)
    page = app.intents.get(intent.action, "")
    return Activity(package, activity_of(page), page) if page else None


def open_activity(android: Android, activity: Activity, extras: Mapping[str, str]) -> None:
    if activity.action and not android.device.perform(activity.package, activity.action, extras):
        return
    if activity.page:
        android.device.open(activity.page)
    else:
        android.device.launch(activity.package)
