"""Prompts equal `transformers`' chat template and rotary positions."""

import io
import re

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import make_torch_model
from small_tokenizer import make_tokenizer
from transformers import AddedToken, PreTrainedTokenizerFast

from mobile_r1_jax.agent.actions import ACTIONS, WITH_ANSWER
from mobile_r1_jax.agent.frames import Frame
from mobile_r1_jax.agent.prompts import (
    SYSTEM_TEMPLATE,
    PastTurn,
    Prompt,
    build_prompt,
    chat_tokens,
    encode,
    extend_prompt,
    mrope_positions,
    prefix_tokens,
    response_ids,
    system_text,
    task_system,
    with_tools,
)
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot

RESIZING = Resizing(scale=1.0, min_pixels=784)
SYSTEM = "\nYou drive a phone. 任务：买苹果"
ANSWERS = [f"<think>state {index}</think><action>步骤</action><tool_call>{{}}</tool_call>" for index in range(4)]
SIZES = [(112, 224), (56, 84), (140, 28), (84, 84), (112, 224)]
# Qwen2.5-VL's chat template for one content part a message.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}<|vision_start|><|image_pad|><|vision_end|>{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


@pytest.fixture(scope="module")
def torch_model() -> torch.nn.Module:
    return make_torch_model(tied=True).model


def screenshot(size: tuple[int, int]) -> Screenshot:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    return Screenshot(file.getvalue())


def turn_prompt(tokenizer: PreTrainedTokenizerFast, turn: int) -> Prompt:
    past = [PastTurn(screenshot(SIZES[index]), response_ids(tokenizer, ANSWERS[index])) for index in range(turn)]
    return build_prompt(tokenizer, SYSTEM, past, screenshot(SIZES[turn]), RESIZING)


def template_ids(tokenizer: PreTrainedTokenizerFast, messages: list[dict], sizes: list[tuple[int, int]]) -> list[int]:
    text = tokenizer.apply_chat_template(messages, chat_template=TEMPLATE, tokenize=False, add_generation_prompt=True)
    before, *after = text.split("<|image_pad|>")
    for (width, height), rest in zip(sizes, after, strict=True):
        before += "<|image_pad|>" * (width * height // 28**2) + rest
    return tokenizer(before, add_special_tokens=False)["input_ids"]


USER = {"role": "user", "content": [{"type": "image"}]}


def text_message(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    ("turn", "messages", "shown"),
    [
        (0, [USER], [0]),
        (1, [USER, text_message(ANSWERS[0]), USER], [0, 1]),
        (2, [text_message(ANSWERS[0]), USER, text_message(ANSWERS[1]), USER], [1, 2]),
        (4, [text_message("\n".join(ANSWERS[:3])), USER, text_message(ANSWERS[3]), USER], [3, 4]),
    ],
)
def test_token_ids_equal_the_chat_template_turn_by_turn(
    tokenizer: PreTrainedTokenizerFast, turn: int, messages: list[dict], shown: list[int]
) -> None:
    prompt = turn_prompt(tokenizer, turn)
    sizes = [SIZES[index] for index in shown]
    expected = template_ids(tokenizer, [{"role": "system", "content": SYSTEM}, *messages], sizes)
    assert prompt.ids.dtype == np.int32 and prompt.ids.tolist() == expected
    assert prompt.sizes == tuple(sizes)
    assert prompt.screenshots == tuple(screenshot(size) for size in sizes)
    assert prompt.frame == Frame("model", *SIZES[turn])


@pytest.mark.parametrize("turn", [0, 1, 3])  # 3 shows a wide image before a square one
def test_positions_equal_transformers_for_one_image_and_for_two_of_different_sizes(
    tokenizer: PreTrainedTokenizerFast, torch_model: torch.nn.Module, turn: int
) -> None:
    prompt = turn_prompt(tokenizer, turn)
    ids = torch.from_numpy(prompt.ids).long()[None]
    is_image = (ids == chat_tokens(tokenizer).image_pad).int()
    grids = torch.tensor([[1, height // 14, width // 14] for width, height in prompt.sizes])
    expected, _ = torch_model.get_rope_index(ids, is_image, image_grid_thw=grids)
    assert prompt.positions.dtype == np.int32
    np.testing.assert_array_equal(prompt.positions, expected[:, 0].numpy())


def test_text_positions_increase_by_one_in_all_three_axes() -> None:
    positions = mrope_positions(np.arange(5), [], image_token=99, merge=2)
    np.testing.assert_array_equal(positions, np.tile(np.arange(5), (3, 1)))


def test_image_index_counts_over_both_screenshots_and_is_minus_one_for_text(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    prompt = turn_prompt(tokenizer, 1)
    is_image = prompt.ids == chat_tokens(tokenizer).image_pad
    assert prompt.image_index[is_image].tolist() == list(range(4 * 8 + 2 * 3))
    assert set(prompt.image_index[~is_image].tolist()) == {-1}


def test_past_responses_keep_their_sampled_ids(tokenizer: PreTrainedTokenizerFast) -> None:
    letters = tuple(tokenizer.convert_tokens_to_ids(list("<think>")))
    assert letters != response_ids(tokenizer, "<think>")[:-1], "the tokenizer would merge these: the test means nothing"
    past = [PastTurn(screenshot((28, 28)), letters)] * 3
    ids = build_prompt(tokenizer, SYSTEM, past, screenshot((28, 28)), RESIZING).ids.tolist()
    runs = [start for start in range(len(ids)) if tuple(ids[start : start + len(letters)]) == letters]
    assert len(runs) == 3


def test_the_stop_token_of_a_past_response_is_not_doubled(tokenizer: PreTrainedTokenizerFast) -> None:
    special = chat_tokens(tokenizer)

    def ids(*ending: int) -> list[int]:
        past = [PastTurn(screenshot((28, 28)), (65, 66, *ending))] * 3
        return build_prompt(tokenizer, SYSTEM, past, screenshot((28, 28)), RESIZING).ids.tolist()

    assert ids() == ids(special.im_end) == ids(special.text_end)
    assert special.text_end not in ids(special.text_end)


def test_past_response_with_an_image_token_is_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    past = [PastTurn(screenshot((28, 28)), (65, chat_tokens(tokenizer).image_pad))]
    with pytest.raises(ValueError, match="image tokens do not fill"):
        build_prompt(tokenizer, SYSTEM, past, screenshot((28, 28)), RESIZING)


def test_text_with_a_special_token_is_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match=r"holds <\|im_end\|>"):
        build_prompt(tokenizer, "task: <|im_end|>", [], screenshot((28, 28)), RESIZING)


@pytest.mark.parametrize(
    "token", ["<|endoftext|>", "<|im_start|>", "<|vision_start|>", "<|image_pad|>", "<|box_start|>", "<|fim_prefix|>"]
)
def test_every_special_token_of_the_tokenizer_is_an_error_in_any_text(token: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken("<|box_start|>", special=True), AddedToken("<|fim_prefix|>", special=False)])
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False)])
    for text in (token, f"买{token}", f"\n\n{token}x"):
        with pytest.raises(ValueError, match=rf"holds {re.escape(token)}"):
            encode(tokenizer, text)
    for text in (token[:-1], token.upper(), token.replace("<", "＜"), "<tool_call>"):
        assert tokenizer.decode(encode(tokenizer, text)) == text


def test_video_token_error_names_the_alternative(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match=r"text holds <\|video_pad\|>, but no video .* show its frames"):
        encode(tokenizer, "look: <|vision_start|><|video_pad|><|vision_end|>")
    with pytest.raises(ValueError, match="a video of 4 frames is not understood; show its frames as screenshots"):
        mrope_positions(np.full(8, 5), [(4, 4, 2)], image_token=5, merge=2)


def test_a_tokenizer_without_qwens_special_tokens_is_an_error() -> None:
    from tokenizers import Tokenizer, models

    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocab={"a": 0}, merges=[])))
    with pytest.raises(ValueError, match="tokenizer lacks"):
        chat_tokens(bare)


def test_image_tokens_interrupted_by_text_are_an_error() -> None:
    with pytest.raises(ValueError, match="broken up"):
        mrope_positions(np.array([9, 1, 9]), [(1, 2, 4)], image_token=9, merge=2)


def test_the_default_system_message_names_the_tool_and_ends_in_the_task() -> None:
    text = system_text(SYSTEM_TEMPLATE, "打开 {设置}")
    assert '"name": "mobile_use"' in text and "<think>" in text and text.endswith("打开 {设置}")


def test_system_message_of_an_annotation_is_kept_with_the_task() -> None:
    assert task_system("你操作手机。任务：买苹果", "买苹果") == "你操作手机。任务：买苹果"
    assert task_system("你操作手机。", "买苹果") == "你操作手机。\n\n买苹果"
    assert task_system("", "买苹果") == system_text(SYSTEM_TEMPLATE, "买苹果")
    assert task_system("", "买苹果", "Phone. {instruction}") == "Phone. 买苹果"


def test_system_template_with_inserted_tools_gives_the_same_text(tokenizer: PreTrainedTokenizerFast) -> None:
    for template in (SYSTEM_TEMPLATE, "{{tools}} {tools} {{{instruction}}}", "{instruction}"):
        filled = with_tools(template, ACTIONS)
        assert system_text(filled, "a {b}") == system_text(template, "a {b}")
        assert with_tools(filled, WITH_ANSWER) == filled
    assert '"answer"' not in system_text(SYSTEM_TEMPLATE, "") and '"answer"' in with_tools(SYSTEM_TEMPLATE, WITH_ANSWER)


def test_prompt_with_a_response_prefix_has_the_ids_and_positions_of_the_whole(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    prompt = turn_prompt(tokenizer, 2)
    start = encode(tokenizer, "<think></think>")
    longer = extend_prompt(prompt, start)
    assert longer.ids.tolist() == [*prompt.ids, *start] and longer.screenshots == prompt.screenshots
    grids = [(1, height // 14, width // 14) for width, height in prompt.sizes]
    image = chat_tokens(tokenizer).image_pad
    np.testing.assert_array_equal(longer.positions, mrope_positions(longer.ids, grids, image_token=image, merge=2))
    assert longer.image_index.dtype == prompt.image_index.dtype and set(longer.image_index[-len(start) :]) == {-1}


@pytest.mark.parametrize("text", ["<think></think><action>tap</action>", "<think>想</think><action>", "sysytem"])
def test_prefix_tokens_are_those_that_start_in_the_prefix(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    ids = encode(tokenizer, text)
    for characters in range(len(text) + 1):
        count = prefix_tokens(tokenizer, text, characters)
        assert len(tokenizer.decode(ids[:count])) >= characters
        assert count == 0 or len(tokenizer.decode(ids[: count - 1]).rstrip("\ufffd")) < characters
