"""The registry of apps and their task templates. A different order changes the tasks that a seed draws."""

from mobile_r1_jax.phones.simulator.app import App, decoy
from mobile_r1_jax.phones.simulator.apps.clock import app as clock
from mobile_r1_jax.phones.simulator.apps.clock import tasks as clock_tasks
from mobile_r1_jax.phones.simulator.apps.launcher import app as launcher
from mobile_r1_jax.phones.simulator.apps.launcher import tasks as launcher_tasks
from mobile_r1_jax.phones.simulator.apps.messages import app as messages
from mobile_r1_jax.phones.simulator.apps.messages import tasks as messages_tasks
from mobile_r1_jax.phones.simulator.apps.settings import app as settings
from mobile_r1_jax.phones.simulator.apps.settings import tasks as settings_tasks
from mobile_r1_jax.phones.simulator.apps.shop import app as shop
from mobile_r1_jax.phones.simulator.apps.shop import tasks as shop_tasks
from mobile_r1_jax.phones.simulator.templates import Template

APPS: dict[str, App] = {
    app.name: app
    for app in (
        launcher.APP,
        settings.APP,
        shop.APP,
        messages.APP,
        clock.APP,
        decoy("Camera", 1, affinity=".MainActivity"),
        decoy("Music", 6),
        decoy("Maps", 2, lambda uri: "maps/home" if uri.startswith("geo:") else ""),
        decoy("Photos", 3),
    )
}
LABELS: dict[str, str] = {app.label: app.name for app in APPS.values() if app.name != "launcher"}
TEMPLATES: dict[str, Template] = {
    template.name: template
    for templates in (
        settings_tasks.TEMPLATES,
        shop_tasks.TEMPLATES,
        messages_tasks.TEMPLATES,
        clock_tasks.TEMPLATES,
        launcher_tasks.TEMPLATES,
    )
    for template in templates
}
