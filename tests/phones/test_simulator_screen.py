"""Screens of simulated phones: reproducible bytes at any size, and no two elements that look alike."""

import hashlib
import io
import itertools
import subprocess
import sys
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mobile_r1_jax.agent.screenshots import Resizing
from mobile_r1_jax.phones.simulator import gestures
from mobile_r1_jax.phones.simulator.apps import APPS, TEMPLATES
from mobile_r1_jax.phones.simulator.apps.clock import app as clock
from mobile_r1_jax.phones.simulator.apps.launcher import app as launcher
from mobile_r1_jax.phones.simulator.apps.settings import app as settings
from mobile_r1_jax.phones.simulator.apps.shop import app as shop
from mobile_r1_jax.phones.simulator.demonstrations import annotate
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.screen import COLUMNS, ROWS, Element, Screen, check_size, draw, draw_glyph
from mobile_r1_jax.phones.simulator.tasks import combinations, draw_tasks, place

SIZES = [(112, 224), (1080, 2400)]
TASK = {"template": "switch", "parameters": {"name": "Wifi", "value": "on"}, "seed": 3}
OF_ANOTHER_PROCESS = f"""
import hashlib
from mobile_r1_jax.phones.simulator.device import Device
from mobile_r1_jax.phones.simulator.tasks import draw_tasks
device = Device(size=(112, 224))
for task in draw_tasks(40, seed=5, apps=("shop", "settings", "clock"), held_out=True, popups=1.5):
    device.reset(task.setup)
    print(task.instruction, hashlib.sha256(device.screenshot()).hexdigest())
device.reset({TASK})
device.launch("com.sim.settings")
print(hashlib.sha256(device.screenshot()).hexdigest())
"""


def pixels(png: bytes) -> np.ndarray:
    """Return the pixels [height, width, 3] uint8."""
    return np.asarray(Image.open(io.BytesIO(png)))


def settings_screen(size: tuple[int, int], seed: int) -> bytes:
    device = Device(size=size)
    device.reset(TASK | {"seed": seed})
    device.launch("com.sim.settings")
    return device.screenshot()


@pytest.mark.parametrize("size", SIZES)
def test_seed_determines_the_bytes_of_a_screen(size: tuple[int, int]) -> None:
    assert settings_screen(size, 3) == settings_screen(size, 3)
    assert settings_screen(size, 3) != settings_screen(size, 4)


def test_tasks_and_bytes_do_not_depend_on_string_hashes() -> None:
    def run(hash_seed: str) -> str:
        command = [sys.executable, "-c", OF_ANOTHER_PROCESS]
        return subprocess.run(command, env={"PYTHONHASHSEED": hash_seed}, capture_output=True, check=True).stdout

    first = run("1")
    assert first == run("2")
    assert hashlib.sha256(settings_screen((112, 224), 3)).hexdigest().encode() in first


@pytest.mark.parametrize("size", SIZES)
def test_screenshot_is_an_rgb_png_of_the_screen_size(size: tuple[int, int]) -> None:
    image = Image.open(io.BytesIO(Device(size=size).screenshot()))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", size)


@pytest.mark.parametrize("size", [*SIZES, (720, 1281)])
def test_grid_cells_cover_the_screen_without_gap_or_overlap(size: tuple[int, int]) -> None:
    covered = np.zeros((size[1], size[0]), int)
    for column, row in itertools.product(range(COLUMNS), range(ROWS)):
        x1, y1, x2, y2 = Element("", "tile", (column, row, 1, 1)).bounds(size)
        covered[y1:y2, x1:x2] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("names", [launcher.TILES, shop.TABS, clock.TABS], ids=["launcher", "shop", "clock"])
def test_icons_on_one_screen_all_look_different(names: tuple[str, ...]) -> None:
    def picture(name: str) -> bytes:
        image = Image.new("RGB", (28, 28), "white")
        draw_glyph(ImageDraw.Draw(image), name, (0, 0, 28, 28))
        return image.tobytes()

    assert len({picture(name) for name in names}) == len(names)


@pytest.mark.parametrize("size", SIZES)
def test_rows_with_different_names_or_values_look_different(size: tuple[int, int]) -> None:
    def row(kind: str, name: str, value: str = "") -> bytes:
        return draw(Screen("", 0, (Element(name, kind, (0, 1, 4, 1), value=value),)), size)

    names = (*shop.ITEMS, *settings.SWITCHES, *settings.PAGES)
    assert len({row("row", name) for name in names}) == len(names)
    assert row("switch", "Wifi", "on") != row("switch", "Wifi", "off")
    assert row("field", "Type", "Lamp") != row("field", "Type")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", ["two\nlines", "中文", "😀", "\t\0", "word " * 400, ""])
def test_any_typed_text_can_be_drawn(size: tuple[int, int], text: str) -> None:
    state = gestures.fresh_state(Random(0))
    state.push("clock/new")
    gestures.type_text(state, text)
    shown = draw(gestures.screen_of(state), size)
    assert pixels(shown).shape == (size[1], size[0], 3)


def test_every_task_starts_with_all_elements_on_the_screen() -> None:
    for template in TEMPLATES.values():
        parameters = combinations(template, held_out=False)[0]
        placed = place({"template": template.name, "parameters": parameters, "seed": 1})
        for element in gestures.screen_of(placed.state).elements:
            x1, y1, x2, y2 = element.bounds((112, 224))
            assert 0 <= x1 < x2 <= 112 and 0 <= y1 < y2 <= 224


@pytest.mark.parametrize("size", [(40, 40), (40, 160), (160, 40), (100, 399)])
def test_every_page_can_be_drawn_at_extreme_sizes(size: tuple[int, int]) -> None:
    check_size(size)
    tasks = draw_tasks(30, seed=3, apps=tuple(APPS), held_out=False, popups=1)
    drawn = annotate(tasks, system="{instruction}", size=size, resizing=Resizing(scale=1.0), mistakes=0.5, seed=0)
    assert all(turn.screenshot.width == size[0] for trajectory in drawn for turn in trajectory.turns)


@pytest.mark.parametrize("size", [(39, 40), (0, 0), (40, 161), (161, 40), (9999, 10_000), (-40, 40)])
def test_impossible_screen_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"screen size {size[0]}x{size[1]}: each side must have 40 to 9999 pixels"):
        check_size(size)
