"""The training documents of the small base policy: screens of the simulated phone with dense text about positions.

They contain no steps of tasks and no response format. A document shows one or two screens and describes the last one:
the positions of names from the system text, every element with its position, the elements at some positions, and the
positions of some names. One point per document would teach too slowly.

Some system texts are instructions; the document then states their objects and actions. Other base policies can read
instructions too. Most instructions contain random names that no task has. None is held out for evaluation, and none is
about the unseen app of the demo.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from mobile_r1_jax.phones.simulator import gestures, oracle
from mobile_r1_jax.phones.simulator.apps import TEMPLATES
from mobile_r1_jax.phones.simulator.screen import COLUMNS, ROWS, Element, Screen, draw
from mobile_r1_jax.phones.simulator.state import State
from mobile_r1_jax.phones.simulator.tasks import CHINESE, Placed, combinations, place
from mobile_r1_jax.phones.simulator.templates import Move
from tools.base_policy.tokenizer import LARGEST_NUMBER, NAMES, PHRASES, PIECES

WORDING = [text for template in TEMPLATES.values() for text in (template.english, template.chinese)]
PARTS = [part for text in (*WORDING, *PHRASES) for part in re.split(r"\{\w+\}", text)]
PLAIN_WORDS = sorted(
    {word for part in PARTS for word in re.findall(r" ?[A-Za-z]+ ?|[^\x00-\x7f]+", part) if word.strip() not in NAMES}
)
# All words of the vocabulary, which the policy learns to repeat, so that every token is trained.
WORDS = (*PIECES, *PLAIN_WORDS)
NUMBERS = tuple(map(str, range(LARGEST_NUMBER + 1)))
SECTIONS = ("All\n", "Read\n", "Find\n")
APART = 8  # most words between a name and its position, since responses also have words there
READ = [template for template in TEMPLATES.values() if template.app != "clock"]  # templates for instructions
ASTRAY = 0.5  # share of random moves in a walk, so that it visits every page


Pieces = list[tuple[str, bool]]
"""Pieces of text: True for answers, which are trained, False for questions."""


Cell = tuple[str, tuple[int, int]] | None
"""The element in a grid cell of the screen: its text and its center (x, y) in pixels; None if there is none."""


@dataclass(frozen=True)
class Look:
    """A screen: PNG bytes, and the element in each grid cell in reading order."""

    png: bytes
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Document:
    """The system text, the screen and text of an earlier turn (or None), the last screen and its text."""

    system: str
    earlier: tuple[Look, str] | None
    look: Look
    text: Pieces


def documents(seed: int, size: tuple[int, int]) -> Iterator[Document]:
    """Yield documents without end, the same for the same seed; screenshots of `size` (width, height)."""
    rng = Random(seed)
    walked = walk(rng)
    while True:
        screen, earlier = next(walked) if rng.random() < 0.5 else collage(rng), None
        if rng.random() < 0.6:
            before, screen = screen, next(walked) if rng.random() < 0.5 else collage(rng)
            earlier = look(before, size), "".join(text for text, _ in listing(labels(before, size)[:6]))
        if rng.random() < 0.5:
            (asked, subject), wanted = instruction(rng), []
        else:
            wanted, subject = some_names(labels(screen, size), rng, rng.choice((0, 1, 1, 1, 2))), ""
            asked = scattered(wanted, rng)
        repeated = "".join(rng.choice((*WORDS, *NUMBERS)) for _ in range(rng.randint(2, 4)))
        system = f"Phone. {asked}\nSay: {repeated}\n"
        found = [
            (text, answer or text == name) for name in wanted for text, answer in where(labels(screen, size), name, rng)
        ]
        text = [piece for part in sections(screen, size, rng) for piece in (*found, *part)]
        yield Document(system, earlier, look(screen, size), [*text, (subject + repeated + "\n", True)])


def recitals(seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Yield `count` pairs (system text, answer) without screens.

    The answer states the objects and actions of an instruction, or the names in a text in order. Then it repeats words.
    """
    rng = Random(f"recitals/{seed}")
    for _ in range(count):
        wanted = rng.sample(NAMES, rng.randint(1, 4))
        asked, answer = instruction(rng) if rng.random() < 0.6 else (scattered(wanted, rng), " ".join(wanted) + "\n")
        repeated = "".join(rng.choice((*WORDS, *NUMBERS)) for _ in range(rng.randint(3, 8)))
        yield f"Phone. {asked}\nSay: {repeated}\n", answer + repeated + "\n"


def instruction(rng: Random) -> tuple[str, str]:
    """Return "Task: " with an instruction, and a line of object and action per goal. Most names fit no task."""
    while True:
        template = rng.choice(READ)
        parameters = {
            parameter: rng.choice(NAMES if domain[0] in NAMES and rng.random() < 0.7 else domain)
            for parameter, domain in template.domains.items()
        }
        if parameters in combinations(template, held_out=True):
            continue
        try:
            goals = template.goals(parameters)
        except KeyError:  # a name that is not an app
            continue
        wording = template.chinese if rng.random() < CHINESE else template.english
        return "Task: " + wording.format(**parameters), "".join(goal.subject + "\n" for goal in goals)


def scattered(wanted: Sequence[str], rng: Random) -> str:
    """Return the names in order between other words, so that the policy must find the names in a text."""
    text = ""
    for name in wanted:
        text += "".join(rng.choice(PLAIN_WORDS) for _ in range(rng.randint(0, 3))) + rng.choice(("", " ")) + name
    return text + "".join(rng.choice(PLAIN_WORDS) for _ in range(rng.randint(0, 3)))


def look(screen: Screen, size: tuple[int, int]) -> Look:
    cells: list[Cell] = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            x, y = (2 * column + 1) * size[0] // (2 * COLUMNS), (2 * row + 1) * size[1] // (2 * ROWS)
            element = screen.at(x, y, size)
            cells.append((text_of(element), element.center(size)) if element else None)
    return Look(draw(screen, size), tuple(cells))


def text_of(element: Element) -> str:
    return element.value if element.kind == "field" and element.value else element.name


def walk(rng: Random) -> Iterator[Screen]:
    """Yield screens of walks through random tasks with many wrong moves."""
    while True:
        placed = random_task(rng)
        state = placed.state
        for _ in range(rng.randint(2, 8)):
            yield gestures.screen_of(state)
            wander(state, placed, rng)


def collage(rng: Random) -> Screen:
    """Return a screen with random names at random places, so that positions can only be read from the image."""
    names = iter(rng.sample(NAMES, len(NAMES)))
    elements = [Element(next(names), "title", (0, 0, COLUMNS, 1))]
    for row in range(1, ROWS):
        kind = rng.choice(("row", "row", "switch", "field", "tile", "button", "nothing"))
        if kind in ("row", "switch", "field"):
            elements.append(
                Element(
                    next(names), kind, (0, row, COLUMNS, 1), value=rng.choice(("on", "off")) if kind == "switch" else ""
                )
            )
        elif kind == "tile":
            elements += [
                Element(next(names), kind, (column, row, 1, 1)) for column in range(COLUMNS) if rng.random() < 0.6
            ]
        elif kind == "button":
            column = rng.randrange(COLUMNS - 1)
            elements.append(Element(next(names), kind, (column, row, 2, 1)))
    return Screen("", rng.randrange(8), tuple(elements))


def random_task(rng: Random) -> Placed:
    template = rng.choice(list(TEMPLATES.values()))
    parameters = {name: rng.choice(domain) for name, domain in template.domains.items()}
    return place(
        {"template": template.name, "parameters": parameters, "seed": rng.getrandbits(32), "popups": rng.randint(0, 2)}
    )


def wander(state: State, placed: Placed, rng: Random) -> None:
    move = oracle.next_move(state, placed.goals)
    if move.kind == "finish" or rng.random() < ASTRAY:
        touchable = [element for element in gestures.screen_of(state).elements if element.touchable]
        kind = rng.choice(("tap", "tap", "tap", "hold", "swipe", "button"))
        if kind in ("tap", "hold") and touchable:
            move = Move(kind, rng.choice(touchable).name)
        else:
            move = Move("button", "Back") if kind == "button" else Move("swipe", rng.choice(("up", "down")))
    oracle.apply_move(state, move)


def labels(screen: Screen, size: tuple[int, int]) -> "Labels":
    """Return (text, center) of every visible element, from top to bottom and left to right."""
    visible = [
        element
        for element in screen.elements
        if screen.at(*element.center(size), size) is element or element.kind == "card"
    ]
    visible.sort(key=lambda element: (element.cell[1], element.cell[0]))
    return [(text_of(element), element.center(size)) for element in visible]


Labels = list[tuple[str, tuple[int, int]]]


def where(found: Labels, name: str, rng: Random) -> Pieces:
    """Return a name as question, often unrelated words, and its position or "none" as answer."""
    at = dict(found).get(name)
    between = "".join(rng.choice(WORDS) for _ in range(rng.choice((0, 0, rng.randint(1, APART)))))
    return [(name, False), (between, False), ("none\n" if at is None else f"{at[0]}, {at[1]}\n", True)]


def some_names(found: Labels, rng: Random, count: int) -> list[str]:
    """Return `count` names: 85% from the screen, the others random."""
    elsewhere = [value for template in TEMPLATES.values() for domain in template.domains.values() for value in domain]
    return [rng.choice(elsewhere) if rng.random() < 0.15 else rng.choice(found)[0] for _ in range(count)]


def listing(found: Labels) -> Pieces:
    return [(f"{name}{x}, {y}\n", True) for name, (x, y) in found]


def sections(screen: Screen, size: tuple[int, int], rng: Random) -> list[Pieces]:
    """Return the position of each element, in random order, and the elements at some positions.

    For half of the screens, add the list in reading order and the states of the switches.
    """
    found = labels(screen, size)
    switches = [element for element in screen.elements if element.kind == "switch"]
    states = [piece for element in switches for piece in ((element.name, False), (f" {element.value}\n", True))]
    asked = [name for name, _ in found] + some_names(found, rng, 2)
    find = [piece for name in rng.sample(asked, len(asked)) for piece in where(found, name, rng)]
    some = rng.sample(found, min(4, len(found)))
    read = [piece for name, (x, y) in some for piece in ((f"{x}, {y}", False), (f"{name}\n", True))]
    parts = [[(SECTIONS[1], False), *read], [(SECTIONS[2], False), *find]]
    if rng.random() < 0.5:
        parts.append([(SECTIONS[0], False), *listing(found), *states])
    rng.shuffle(parts)
    return parts
