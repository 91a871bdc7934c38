"""What the small base policy reads: screens of the simulated phone and dense text about what is where on them.

No step of a task and no response format. A document shows one screen, or two in turn, and then asks for everything on
the last: the names looked for in the system text, every element with its position, what is at some positions, where
some names are. Asking for one point a document teaches nothing in any affordable time; asking for all of them does.

Some texts are instructions, of which it says what is to be done to what: as any policy that people start from can read
before it sees a phone. Names stand in them at random, most of them where no task has them; no instruction that is held
out for evaluation is among them, and none of the app that the demo withholds.
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
# Everything that the vocabulary is made of, to be repeated: so that no token comes as a surprise later.
WORDS = (*PIECES, *PLAIN_WORDS)
NUMBERS = tuple(map(str, range(LARGEST_NUMBER + 1)))
SECTIONS = ("All\n", "Read\n", "Find\n")
APART = 8  # most words between a name and its position: in a response, too, other words stand between them
READ = [template for template in TEMPLATES.values() if template.app != "clock"]  # whose instructions are read
ASTRAY = 0.5  # share of a walk's moves that are random taps, so that every page is seen and not only those on the way


Pieces = list[tuple[str, bool]]
"""Text in pieces; True where it can be told from the screen and is learned, False where it is a question."""


Cell = tuple[str, tuple[int, int]] | None
"""What covers a cell of the screen's grid: what it says and its centre (x, y) in pixels; None where nothing does."""


@dataclass(frozen=True)
class Look:
    """A screen as it is shown: PNG bytes, and what covers each cell of its grid in reading order."""

    png: bytes
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Document:
    """`system`, then `earlier` (a look and the text of an earlier turn, or None), then the screen and its `text`."""

    system: str
    earlier: tuple[Look, str] | None
    look: Look
    text: Pieces


def documents(seed: int, size: tuple[int, int]) -> Iterator[Document]:
    """Endless, the same for the same seed; screenshots of `size` (width, height)."""
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
        said = "".join(rng.choice((*WORDS, *NUMBERS)) for _ in range(rng.randint(2, 4)))
        system = f"Phone. {asked}\nSay: {said}\n"
        found = [
            (text, told or text == name) for name in wanted for text, told in where(labels(screen, size), name, rng)
        ]
        text = [piece for part in sections(screen, size, rng) for piece in (*found, *part)]
        yield Document(system, earlier, look(screen, size), [*text, (subject + said + "\n", True)])


def recitals(seed: int, count: int) -> Iterator[tuple[str, str]]:
    """(system text, what is to be said), no screens: what an instruction is for, or the names in a text in their order;
    then words repeated."""
    rng = Random(f"recitals/{seed}")
    for _ in range(count):
        wanted = rng.sample(NAMES, rng.randint(1, 4))
        asked, told = instruction(rng) if rng.random() < 0.6 else (scattered(wanted, rng), " ".join(wanted) + "\n")
        said = "".join(rng.choice((*WORDS, *NUMBERS)) for _ in range(rng.randint(3, 8)))
        yield f"Phone. {asked}\nSay: {said}\n", told + said + "\n"


def instruction(rng: Random) -> tuple[str, str]:
    """("Task: " and an instruction, line by line what is to be done to what); mostly with names no task gives it."""
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
        except KeyError:  # a name that is no app's
            continue
        wording = template.chinese if rng.random() < CHINESE else template.english
        return "Task: " + wording.format(**parameters), "".join(goal.subject + "\n" for goal in goals)


def scattered(wanted: Sequence[str], rng: Random) -> str:
    """The names in order among words in none, so that names have to be picked out of a text."""
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
            cells.append((says(element), element.center(size)) if element else None)
    return Look(draw(screen, size), tuple(cells))


def says(element: Element) -> str:
    return element.value if element.kind == "field" and element.value else element.name


def walk(rng: Random) -> Iterator[Screen]:
    """Screens seen on the way through random tasks with many wrong turns."""
    while True:
        placed = random_task(rng)
        state = placed.state
        for _ in range(rng.randint(2, 8)):
            yield gestures.screen_of(state)
            wander(state, placed, rng)


def collage(rng: Random) -> Screen:
    """A screen that no app has: any names anywhere, so that where a thing is can only be told by looking."""
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
    """(what it says, centre) of every element that nothing covers, from top to bottom and left to right."""
    visible = [
        element
        for element in screen.elements
        if screen.at(*element.center(size), size) is element or element.kind == "card"
    ]
    visible.sort(key=lambda element: (element.cell[1], element.cell[0]))
    return [(says(element), element.center(size)) for element in visible]


Labels = list[tuple[str, tuple[int, int]]]


def where(found: Labels, name: str, rng: Random) -> Pieces:
    """A name asked for, often some words that say nothing, and its position, or that it is not there."""
    at = dict(found).get(name)
    between = "".join(rng.choice(WORDS) for _ in range(rng.choice((0, 0, rng.randint(1, APART)))))
    return [(name, False), (between, False), ("none\n" if at is None else f"{at[0]}, {at[1]}\n", True)]


def some_names(found: Labels, rng: Random, count: int) -> list[str]:
    """Names on the screen, and now and then one that is not."""
    elsewhere = [value for template in TEMPLATES.values() for domain in template.domains.values() for value in domain]
    return [rng.choice(elsewhere) if rng.random() < 0.15 else rng.choice(found)[0] for _ in range(count)]


def listing(found: Labels) -> Pieces:
    return [(f"{name}{x}, {y}\n", True) for name, (x, y) in found]


def sections(screen: Screen, size: tuple[int, int], rng: Random) -> list[Pieces]:
    """Where each element is, asked in random order, and what is at some positions.

    For half of the screens also the list in reading order, and the switches' states."""
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
