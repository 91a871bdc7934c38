"""Documents of the base policy: reproducible, true for their screens, and without loss on questions."""

import re
from itertools import islice
from random import Random

import pytest

from mobile_r1_jax.agent.actions import Malformed
from mobile_r1_jax.agent.responses import split_response
from mobile_r1_jax.agent.screenshots import Screenshot
from mobile_r1_jax.phones.simulator.apps import TEMPLATES
from mobile_r1_jax.phones.simulator.gestures import screen_of
from mobile_r1_jax.phones.simulator.screen import COLUMNS, ROWS, draw
from mobile_r1_jax.phones.simulator.tasks import combinations, held_out_instructions, place
from tools.base_policy.documents import SECTIONS, Document, documents, instruction, labels, look
from tools.base_policy.tokenizer import NAMES

SIZE = (112, 224)
COUNT = 120
POSITION = re.compile(r"(\d+), (\d+)")


@pytest.fixture(scope="module")
def read() -> list[Document]:
    return list(islice(documents(3, SIZE), COUNT))


def named_centres(document: Document) -> set[tuple[str, tuple[int, int]]]:
    """Return (name, centre) of all elements that cover a cell of the document's screen."""
    return {cell for cell in document.look.cells if cell}


def sections(document: Document) -> dict[str, list[tuple[str, bool]]]:
    """Return the pieces under each heading, without the names that the system text asks for."""
    found: dict[str, list[tuple[str, bool]]] = {}
    pieces = iter(document.text[:-1])
    for text, learned in pieces:
        if text in SECTIONS:
            heading = text.strip()
            found[heading] = []
        elif learned and not text.endswith("\n"):
            next(pieces)  # the words in between
            next(pieces)  # the answer
        else:
            found[heading].append((text, learned))
    return found


def requested_names(document: Document) -> list[tuple[str, str]]:
    """Return (name, answer) of every name that the system text asks for, in order."""
    return [
        (name, answer)
        for (name, learned), _, (answer, _) in zip(document.text, document.text[1:], document.text[2:], strict=False)
        if learned and not name.endswith("\n")
    ]


def test_seed_determines_the_documents(read) -> None:
    assert list(islice(documents(3, SIZE), 20)) == read[:20] != list(islice(documents(4, SIZE), 20))


def test_every_screen_has_the_requested_size() -> None:
    for size in (SIZE, (1080, 2400)):
        for document in islice(documents(0, size), 3):
            shot = Screenshot(document.look.png)
            assert (shot.width, shot.height) == size


def test_half_of_the_documents_have_an_earlier_screen(read) -> None:
    assert 0.35 < sum(document.earlier is not None for document in read) / COUNT < 0.65


def test_element_of_a_cell_is_the_element_that_a_tap_touches() -> None:
    for name in ("cart_add", "alarm_switch", "send"):
        template = TEMPLATES[name]
        placed = place({"template": name, "parameters": combinations(template, held_out=False)[0], "seed": 0})
        placed.state.push(f"{template.app}/home")
        screen = screen_of(placed.state)
        shown = look(screen, SIZE)
        assert shown.png == draw(screen, SIZE) and len(shown.cells) == COLUMNS * ROWS
        for index, cell in enumerate(shown.cells):
            x, y = index % COLUMNS * 28 + 14, index // COLUMNS * 28 + 14
            element = screen.at(x, y, SIZE)
            assert (cell is None) == (element is None)
            if cell:
                assert cell[1] == element.center(SIZE) and cell[0] in (element.name, element.value)


def test_listed_elements_are_the_visible_ones_from_top_to_bottom() -> None:
    placed = place({"template": "switch", "parameters": {"name": "Wifi", "value": "on"}, "seed": 0, "popups": 3})
    while placed.state.popup is None:
        placed.state.push(f"settings/{'Sound' if placed.state.page.endswith('Display') else 'Display'}")
    popup = placed.state.popup
    found = labels(screen_of(placed.state), SIZE)
    assert {name for name, _ in found[1:]} == {popup.title, popup.accept, popup.dismiss}
    assert [y for _, (_, y) in found] == sorted(y for _, (_, y) in found)


def test_positions_are_the_centres_of_the_named_elements(read) -> None:
    for document in read:
        centres = {at for _, at in named_centres(document)}
        for text, _ in document.text[:-1]:
            for x, y in POSITION.findall(text):
                assert (int(x), int(y)) in centres, text


def test_every_given_position_is_answered_with_its_element(read) -> None:
    for document in read:
        pieces = sections(document)["Read"]
        assert len(pieces) % 2 == 0 and pieces
        for (question, asked), (answer, learned) in zip(pieces[::2], pieces[1::2], strict=True):
            x, y = map(int, POSITION.search(question).groups())
            assert not asked and learned and (answer.removesuffix("\n"), (x, y)) in named_centres(document)


def test_every_given_name_is_answered_with_its_position_or_none(read) -> None:
    missing = 0
    for document in read:
        there = named_centres(document)
        asked = sections(document)["Find"]
        assert not any(learned for _, learned in (*asked[::3], *asked[1::3])) and all(text for _, text in asked[2::3])
        answers = [
            *requested_names(document),
            *((name, answer) for (name, _), (answer, _) in zip(asked[::3], asked[2::3], strict=True)),
        ]
        for name, answer in answers:
            if answer == "none\n":
                missing += 1
                assert name not in {other for other, _ in there}
            else:
                assert (name, tuple(map(int, POSITION.search(answer).groups()))) in there
    assert missing > 20


def test_words_without_a_name_often_separate_a_name_from_its_position(read) -> None:
    between = [text for document in read for text, _ in sections(document)["Find"][1::3]]
    assert 0.2 < sum(map(bool, between)) / len(between) < 0.5
    assert not any(re.search(rf"\b{re.escape(name)}\b", text) for text in between for name in NAMES)


def test_names_of_a_system_text_come_in_order_before_each_part(read) -> None:
    looking = 0
    for document in read:
        names = [name for name, _ in requested_names(document)]
        first = names[: len(names) // len(sections(document))]
        assert names == first * len(sections(document))
        text = document.system.split("\nSay: ")[0]
        for name in first:
            assert name in text
            text = text[text.index(name) + len(name) :]
        looking += bool(first)
    assert looking > COUNT / 4


def test_content_of_a_system_text_is_repeated_at_the_end_after_its_purpose(read) -> None:
    instructions = 0
    for document in read:
        last, learned = document.text[-1]
        assert learned and last.endswith(document.system.split("\nSay: ")[1])
        subjects = last.splitlines()[:-1]
        assert bool(subjects) == ("Task: " in document.system)
        instructions += bool(subjects)
    assert COUNT / 4 < instructions < COUNT * 3 / 4


@pytest.mark.parametrize(
    "wording, purpose",
    [
        (r"Add (.+) to the cart", r"\1 to Add\n"),
        (r"给(.+)发送(.+)", r"\2 to Send to \1\n"),
        (r"Turn (.+) (on|off) and (.+) too", r"\1 to switch\n\3 to switch\n"),
    ],
)
def test_purpose_of_an_instruction_is_its_action_and_object(wording, purpose) -> None:
    read = [instruction(Random(number)) for number in range(1000)]
    alike = [(found, subjects) for text, subjects in read if (found := re.fullmatch("Task: " + wording, text))]
    assert len({found.group() for found, _ in alike}) > 3
    for found, subjects in alike:
        assert subjects == found.expand(purpose)


def test_no_instruction_is_held_out_or_from_the_unseen_app() -> None:
    texts = {instruction(Random(number))[0].removeprefix("Task: ") for number in range(3000)}
    assert not texts & held_out_instructions()
    assert not any(re.search("alarm|timer|world clock|闹钟|计时器|世界时钟", text) for text in texts)


def test_questions_and_headings_carry_no_loss(read) -> None:
    """Names carry loss where they are read from the screen or the system text, never in questions."""
    for document in read:
        for text, learned in document.text:
            assert not (learned and text in SECTIONS)
        for pieces in sections(document).values():
            assert all(learned == text.endswith("\n") for text, learned in pieces)


def test_switches_are_listed_with_their_states(read) -> None:
    states = [
        (question, answer)
        for document in read
        for (question, asked), (answer, learned) in zip(document.text, document.text[1:], strict=False)
        if answer in (" on\n", " off\n")
    ]
    assert len(states) > 20 and {answer for _, answer in states} == {" on\n", " off\n"}


def test_no_document_has_the_form_of_a_response(read) -> None:
    """Single pieces of the vocabulary are repeated, but never in the order of a response."""
    for document in read:
        repeated = document.text[-1][0]
        shown = document.system.split("\nSay: ")[0] + "".join(piece for piece, learned in document.text[:-1] if learned)
        assert "<" not in shown and "{" not in shown
        assert isinstance(split_response(repeated.strip()), Malformed)
