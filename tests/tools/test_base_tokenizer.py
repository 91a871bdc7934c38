"""The small policy's tokenizer decodes every text exactly and has one token per word of a phone."""

import socket
from pathlib import Path
from random import Random
from typing import NoReturn

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mobile_r1_jax.agent.prompts import chat_tokens, encode
from mobile_r1_jax.phones.simulator import gestures, oracle
from mobile_r1_jax.phones.simulator.apps import APPS, TEMPLATES
from mobile_r1_jax.phones.simulator.gestures import POPUPS
from mobile_r1_jax.phones.simulator.tasks import combinations, place
from tools.base_policy.tokenizer import LARGEST_NUMBER, NAMES, PIECES, SPECIAL, save_tokenizer, train_tokenizer

CALL = '<tool_call>{"name": "mobile_use", "arguments": {"action": "click", "coordinate": [14, 42]}}</tool_call>'


def no_network(*arguments: object) -> NoReturn:
    raise AssertionError("the network was used")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    folder = tmp_path_factory.mktemp("tokenizer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", no_network)
        save_tokenizer(train_tokenizer(), folder)
        return AutoTokenizer.from_pretrained(folder)


def names() -> set[str]:
    """Return every single word that a task or a screen of the simulated phone may contain."""
    found = {app.label for app in APPS.values()}
    for popup in POPUPS:
        found |= {popup.accept, popup.dismiss}
    for template in TEMPLATES.values():
        found |= {value for domain in template.domains.values() for value in domain}
        placed = place(
            {"template": template.name, "parameters": combinations(template, held_out=False)[0], "seed": 0, "popups": 3}
        )
        while (move := oracle.next_move(placed.state, placed.goals)).kind != "finish":
            found |= {element.name for element in gestures.screen_of(placed.state).elements if " " not in element.name}
            oracle.apply_move(placed.state, move)
    return found


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        "  leading, trailing  and\t\r\n\n inner ",
        "在Shop搜索Shoes，然后付款。",
        "é 😀 Ġ \x00\x7f don't ٣ ½",
        "1234567 and 00 and 7.5",
        "".join(PIECES),
        "<|im_start|>user\n<|image_pad|><|im_end|>",
        "",
    ],
)
def test_decoding_restores_text_exactly(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_decoding_restores_arbitrary_text_exactly(tokenizer: PreTrainedTokenizerBase) -> None:
    rng = Random(0)
    for _ in range(500):
        ranges = ((32, 127), (0, 32), (0x4E00, 0x9FFF), (0, 0xD800), (0xE000, 0x110000))
        text = "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(30)))
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_every_name_on_a_screen_is_one_token_in_every_context(tokenizer: PreTrainedTokenizerBase) -> None:
    shown = {name for name in names() if name not in ("on", "off")}
    assert len(shown) > 90 and shown <= {*NAMES}
    for name in shown:
        (token,) = tokenizer.encode(name)
        for sentence in (f"Tap {name}.", f"打开{name}设置页", f" {name} on"):
            assert tokenizer.encode(sentence).count(token) == 1, (name, sentence)


def test_every_number_on_a_small_screen_is_one_token(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = [tokenizer.encode(str(number)) for number in range(LARGEST_NUMBER + 1)]
    assert LARGEST_NUMBER == 255 and all(len(token) == 1 for token in tokens)
    assert len({token[0] for token in tokens}) == 256


def test_fixed_pieces_of_a_response_are_one_token_each(tokenizer: PreTrainedTokenizerBase) -> None:
    assert all(len(tokenizer.encode(piece)) == 1 for piece in PIECES)
    assert len(tokenizer.encode(CALL)) == 8


def test_every_instruction_is_short(tokenizer: PreTrainedTokenizerBase) -> None:
    for template in TEMPLATES.values():
        for parameters in combinations(template, held_out=False) + combinations(template, held_out=True):
            for wording in (template.english, template.chinese):
                assert len(tokenizer.encode(wording.format(**parameters))) <= 12


def test_special_tokens_have_fixed_ids_and_the_meaning_of_qwen(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer.convert_tokens_to_ids(list(SPECIAL))
    assert ids == list(range(len(SPECIAL)))
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert chat_tokens(tokenizer).im_end == tokenizer.eos_token_id
    assert tokenizer.decode([*tokenizer.encode(CALL), tokenizer.eos_token_id], skip_special_tokens=True) == CALL
    with pytest.raises(ValueError, match="image_pad"):
        encode(tokenizer, "<|image_pad|>")


def test_encoding_adds_no_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    assert list(encode(tokenizer, "Wifi")) == tokenizer.encode("Wifi") and len(tokenizer) <= 1536


def test_training_again_gives_the_same_tokenizer(tmp_path: Path) -> None:
    assert train_tokenizer().to_str() == train_tokenizer().to_str()
