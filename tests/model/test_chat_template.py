"""Every exported policy has a chat template that renders the prompts of its training."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from altered import copy_of
from transformers import AutoTokenizer

from mobile_r1_jax.agent.prompts import PastTurn, build_prompt, response_ids
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot
from mobile_r1_jax.model.checkpoints.chat_template import CHAT_TEMPLATE
from mobile_r1_jax.model.checkpoints.huggingface import load_policy, save_policy
from mobile_r1_jax.phones.simulator.device import Device
from tools.base_policy.tokenizer import save_tokenizer, train_tokenizer

TINY_BASE = Path(__file__).resolve().parents[2] / "assets" / "tiny-base"
SYSTEM = "Phone. Task: 查看 Anna's <cart> & pay \n twice"
ANSWERS = ["<think>a</think>\nfirst", "second", '{"third": [1, 2]}', "fourth"]
PUBLISHED = (  # a conversation in Qwen2.5-VL's format
    "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>{text}<|im_end|>\n"
    "<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shipped policy whose source had no template."""
    folder = tmp_path_factory.mktemp("exported")
    source = copy_of(TINY_BASE, folder / "source", files={"chat_template.jinja": None})
    save_policy(load_policy(source), folder / "out", like=source)
    return folder / "out"


def conversation(answers: Sequence[str]) -> list[dict[str, Any]]:
    """The turns of `agent/prompts.py` as messages: older answers are one message, and two screens are shown."""
    screen = {"role": "user", "content": [{"type": "image"}]}
    older = [{"role": "assistant", "content": "\n".join(answers[:-1])}] if len(answers) > 1 else []
    last = [screen, {"role": "assistant", "content": answers[-1]}] if answers else []
    return [{"role": "system", "content": SYSTEM}, *older, *last, screen]


@pytest.mark.parametrize("turns", range(5))
@pytest.mark.parametrize("shipped", [True, False], ids=["shipped", "exported"])
def test_chat_template_renders_the_prompts_of_the_agent(exported, turns, shipped) -> None:
    tokenizer = AutoTokenizer.from_pretrained(TINY_BASE if shipped else exported)
    screenshot = Screenshot(Device((112, 224)).screenshot())
    past = [PastTurn(screenshot, response_ids(tokenizer, answer)) for answer in ANSWERS[:turns]]
    prompt = build_prompt(tokenizer, SYSTEM, past, screenshot, Resizing(scale=1.0))
    rendered = tokenizer.apply_chat_template(conversation(ANSWERS[:turns]), tokenize=False, add_generation_prompt=True)
    assert rendered == re.sub(r"(<\|image_pad\|>)+", "<|image_pad|>", tokenizer.decode(prompt.ids))
    ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    image = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert [one for one in ids if one != image] == [one for one in prompt.ids if one != image]


@pytest.mark.parametrize("image", [{"type": "image"}, {"image": "a.png"}, {"type": "image_url", "image_url": {}}])
def test_other_conversations_render_as_with_the_template_of_qwen(exported, image) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported)
    user = {"role": "user", "content": [image, {"type": "text", "text": "Where?\n"}]}
    rendered = tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True)
    assert rendered == PUBLISHED.format(system="You are a helpful assistant.", text="Where?\n")
    video = {"role": "user", "content": [{"type": "video"}]}
    rendered = tokenizer.apply_chat_template([{"role": "system", "content": "S"}, video], tokenize=False)
    assert rendered == (
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|><|im_end|>\n"
    )


@pytest.mark.parametrize("where", ["chat_template.jinja", "chat_template.json", "tokenizer_config.json"])
def test_existing_template_of_a_policy_is_kept(tmp_path, where) -> None:
    own = {"chat_template": "mine"}
    if where == "tokenizer_config.json":
        own |= json.loads((TINY_BASE / where).read_text())
    files = {"chat_template.jinja": None, where: "mine" if where.endswith("jinja") else own}
    source = copy_of(TINY_BASE, tmp_path / "source", files=files)
    save_policy(load_policy(source), tmp_path / "out", like=source)
    assert (tmp_path / "out" / where).read_bytes() == (source / where).read_bytes()
    assert where.endswith("jinja") or not (tmp_path / "out" / "chat_template.jinja").exists()


def test_new_base_policy_has_the_template(tmp_path) -> None:
    save_tokenizer(train_tokenizer(), tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == CHAT_TEMPLATE
    assert (TINY_BASE / "chat_template.jinja").read_text() == CHAT_TEMPLATE
