"""The prompt of one turn: token ids, rotary positions and at most two screenshots.

    first turn   system, user[screenshot 0]
    second       system, user[screenshot 0], assistant[response 0], user[screenshot 1]
    later (t)    system, assistant[responses 0..t-2 as text], user[screenshot t-1], assistant[response t-1],
                 user[screenshot t]                                                                            [kin]

Before the next screenshot, the prompt states the effect of the last response in words, if the policy must know it, such
as a refused key: "no key is called 'x'" [ours].

It has Qwen's chat format and ends where the assistant's answer begins. Past responses are added as the sampled token
ids: decoding and encoding them again could give other ids than those that training uses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mobile_r1_jax.agent.actions import ACTIONS, ActionRow, tool_schema
from mobile_r1_jax.agent.frames import Frame
from mobile_r1_jax.agent.screenshots import Resizing, Screenshot

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PATCH, MERGE = 14, 2  # Qwen2.5-VL: 14-pixel patches, 2 x 2 of them merged into one token

_SPECIAL = {
    "im_start": "<|im_start|>",
    "im_end": "<|im_end|>",
    "text_end": "<|endoftext|>",
    "vision_start": "<|vision_start|>",
    "vision_end": "<|vision_end|>",
    "image_pad": "<|image_pad|>",
}

_VIDEO = "<|video_pad|>"

_EFFECT, _EFFECT_CHARACTERS = "Effect of the last action: ", 160
EFFECT_TOKENS = 128  # most tokens of an effect in a prompt; a longer one is truncated

# The paper says what the system message contains, not its words. [ours]
SYSTEM_TEMPLATE = """You operate a phone. Each turn shows you its screen; answer with one step towards the user's task.

# Tools

<tools>
{tools}
</tools>

# Answer

<think>What the screen shows, what to do next, and what for.</think><action>The step in one sentence.</action>\
<tool_call>{{"name": "mobile_use", "arguments": {{...}}}}</tool_call>

When the task is done, or cannot be done, use terminate. After a wrong step, say so and undo it.

# Task

{instruction}"""


@dataclass(frozen=True)
class ChatTokens:
    """The ids of the special tokens that a prompt is built from."""

    im_start: int
    im_end: int
    text_end: int
    vision_start: int
    vision_end: int
    image_pad: int


@dataclass(frozen=True)
class PastTurn:
    """An earlier turn: its screenshot, and the token ids of the response as sampled (or annotated).

    effect: what the phone did, in words; empty if it did what the response asked for. It may quote screens and answers.
    """

    screenshot: Screenshot
    response_ids: tuple[int, ...]
    effect: str = ""


@dataclass(frozen=True, eq=False)
class Prompt:
    """The model input of one turn: everything before the response.

    ids: int32 [P]. positions: int32 [3, P] (time, row, column). image_index: int32 [P], the index of each merged image
    token among the prompt's image tokens, -1 for text. screenshots: in order. sizes: their (width, height) in model
    pixels.
    """

    ids: np.ndarray
    positions: np.ndarray
    image_index: np.ndarray
    screenshots: tuple[Screenshot, ...]
    sizes: tuple[tuple[int, int], ...]

    @property
    def frame(self) -> Frame:
        """Return the frame of the coordinates in the response: the last screenshot as the model sees it."""
        return Frame("model", *self.sizes[-1])


def system_text(template: str, instruction: str) -> str:
    """Return the system message for a task; `template` has {instruction} and may have {tools} (see SYSTEM_TEMPLATE)."""
    return template.format(tools=json.dumps(tool_schema(), ensure_ascii=False), instruction=instruction)


def with_tools(template: str, actions: Mapping[str, ActionRow]) -> str:
    """Return a template of the system message whose {tools} are filled in for an action space."""
    marked = template.format(tools=json.dumps(tool_schema(actions), ensure_ascii=False), instruction="\0")
    return marked.replace("{", "{{").replace("}", "}}").replace("\0", "{instruction}")


def task_system(system: str, instruction: str, template: str = SYSTEM_TEMPLATE) -> str:
    """Return the system message of an annotated trajectory: its own, or that of `template` if `system` is empty.

    If its own message does not contain the exact instruction, the instruction is appended [ours].
    """
    if not system:
        return system_text(template, instruction)
    return system if instruction in system else f"{system}\n\n{instruction}"


@lru_cache(maxsize=8)
def chat_tokens(tokenizer: PreTrainedTokenizerBase) -> ChatTokens:
    """Return the ids of the special tokens by name. Raise ValueError when the tokenizer lacks one."""
    vocabulary = tokenizer.get_vocab()
    if missing := [token for token in _SPECIAL.values() if token not in vocabulary]:
        raise ValueError(f"tokenizer lacks {', '.join(missing)}; use a Qwen2.5-VL tokenizer")
    return ChatTokens(**{name: vocabulary[token] for name, token in _SPECIAL.items()})


@lru_cache(maxsize=8)
def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the ids of all special tokens: they control the model, and no text may contain them."""
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(index for index, token in added if token.special or re.fullmatch(r"<\|.*\|>", token.content))


@lru_cache(maxsize=4096)
def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """Return the token ids of a text. Raise ValueError when it contains a special token of the tokenizer, or a video
    token.

    A tokenizer finds special tokens in any text: data that contains one would end a turn, or start another one.
    """
    if _VIDEO in text:
        raise ValueError(
            f"text holds {_VIDEO}, but no video is understood; show its frames as screenshots: {text[:80]!r}"
        )
    ids = tuple(tokenizer.encode(text, add_special_tokens=False))
    if found := [token for token in ids if token in special_ids(tokenizer)]:
        token = tokenizer.convert_ids_to_tokens(found[0])
        raise ValueError(f"text holds {token}, which would break the prompt apart; remove it: {text[:80]!r}")
    return ids


def response_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """Return the token ids of an annotated response, with the stop token."""
    return (*encode(tokenizer, text), chat_tokens(tokenizer).im_end)


@lru_cache(maxsize=4096)
def effect_ids(tokenizer: PreTrainedTokenizerBase, effect: str) -> tuple[int, ...]:
    """Return the token ids of the words for an effect, at most EFFECT_TOKENS; none for an empty effect.

    The text is one line of at most 160 characters, without any added token of the tokenizer.
    """
    text = " ".join(effect.encode(errors="replace").decode().split())
    for token in (_VIDEO, *(token.content for token in tokenizer.added_tokens_decoder.values())):
        text = text.replace(token, " ")
    text = text[:_EFFECT_CHARACTERS].strip()
    while text and len(ids := encode(tokenizer, _EFFECT + text)) > EFFECT_TOKENS:
        text = text[: len(text) * EFFECT_TOKENS // len(ids)].strip()
    return ids if text else ()


def prefix_tokens(tokenizer: PreTrainedTokenizerBase, text: str, characters: int) -> int:
    """Return how many tokens of a text begin in its first `characters` characters."""
    if not characters:
        return 0
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return sum(start < characters for start, _ in encoded["offset_mapping"])


def build_prompt(
    tokenizer: PreTrainedTokenizerBase,
    system: str,
    past: Sequence[PastTurn],
    screenshot: Screenshot,
    resizing: Resizing,
    *,
    tell_effects: bool = True,
) -> Prompt:
    """Return the prompt of the turn with `screenshot` that follows the turns in `past`.

    `system` is the whole system message, with the task. All past responses but the last are joined by line breaks
    [ours]. The stop token of a past response is not repeated. tell_effects: whether the prompt states the effect of
    the last turn. Raise ValueError when a past response contains an image token.
    """
    special = chat_tokens(tokenizer)
    screenshots = (*(turn.screenshot for turn in past[-1:]), screenshot)
    sizes = tuple(resizing.model_size(image.width, image.height) for image in screenshots)
    effect = past[-1].effect if past and tell_effects else ""
    row = np.asarray(prompt_ids(tokenizer, system, [turn.response_ids for turn in past], sizes, effect), np.int32)
    grids = [(1, height // PATCH, width // PATCH) for width, height in sizes]
    positions = mrope_positions(row, grids, image_token=special.image_pad, merge=MERGE)
    is_image = row == special.image_pad
    image_index = np.where(is_image, np.cumsum(is_image) - 1, -1).astype(np.int32)
    return Prompt(row, positions, image_index, screenshots, sizes)


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase,
    system: str,
    responses: Sequence[Sequence[int]],
    sizes: Sequence[tuple[int, int]],
    effect: str = "",
) -> list[int]:
    """Return the token ids of the prompt that `build_prompt` returns.

    responses: token ids of all past turns. sizes: (width, height) in model pixels of the screenshots in the prompt: the
    last turn's and this turn's, or only this turn's. effect: of the last turn, stated before the last screenshot.
    """
    special = chat_tokens(tokenizer)
    line_break = encode(tokenizer, "\n")
    close = (special.im_end, *line_break)
    assistant = (special.im_start, *encode(tokenizer, "assistant\n"))

    ids = [special.im_start, *encode(tokenizer, f"system\n{system}"), *close]
    for index, response in enumerate(responses[:-1]):
        ids += assistant if index == 0 else line_break
        ids += _answer(response, special)
    if len(responses) > 1:
        ids += close

    for index, (width, height) in enumerate(sizes):
        tokens = (width // (PATCH * MERGE)) * (height // (PATCH * MERGE))
        is_last = index == len(sizes) - 1
        words = effect_ids(tokenizer, effect) if is_last else ()
        ids += [special.im_start, *encode(tokenizer, "user\n"), *words, special.vision_start]
        ids += [special.image_pad] * tokens
        ids += [special.vision_end, *close, *assistant]
        if not is_last:
            ids += [*_answer(responses[-1], special), *close]
    return ids


def extend_prompt(prompt: Prompt, ids: Sequence[int]) -> Prompt:
    """Return the prompt with text tokens added at its end, such as the start of the response."""
    added = np.asarray(ids, np.int32)
    positions = prompt.positions[:, -1:] + 1 + np.arange(len(added), dtype=np.int32)
    return replace(
        prompt,
        ids=np.concatenate([prompt.ids, added]),
        positions=np.concatenate([prompt.positions, positions], axis=1),
        image_index=np.concatenate([prompt.image_index, np.full(len(added), -1, np.int32)]),
    )


def mrope_positions(ids: np.ndarray, grids: Sequence[Sequence[int]], *, image_token: int, merge: int) -> np.ndarray:
    """Return Qwen2.5-VL's multimodal rotary positions (time, row, column) of one sequence: int32 [3, P].

    ids: [P]. grids: (1, rows, columns) in patches of each image in order, as Hugging Face's image_grid_thw. Each text
    token adds one to all three positions. The tokens of an image start at the next position and count rows and columns.
    The text after an image continues after its longer side. Raise ValueError when image tokens and grids do not match,
    and for a video, whose grid has several frames.
    """
    if videos := [frames for frames, _, _ in grids if frames != 1]:
        raise ValueError(f"a video of {videos[0]} frames is not understood; show its frames as screenshots")
    ids = np.asarray(ids)
    is_image = ids == image_token
    if is_image.sum() != sum(rows // merge * (columns // merge) for _, rows, columns in grids):
        raise ValueError(f"{is_image.sum()} image tokens do not fill the grids {list(grids)}")
    positions = np.empty((3, len(ids)), np.int32)
    done, position = 0, 0  # tokens with a position so far, and the next position
    for _, rows, columns in grids:
        rows, columns = rows // merge, columns // merge
        start = done + int(np.argmax(is_image[done:]))
        end = start + rows * columns
        if not is_image[start:end].all():
            raise ValueError(f"the image of {rows}x{columns} tokens at {start} is broken up by text")
        positions[:, done:start] = np.arange(position, position + start - done)
        position += start - done
        positions[0, start:end] = position
        positions[1, start:end] = position + np.repeat(np.arange(rows), columns)
        positions[2, start:end] = position + np.tile(np.arange(columns), rows)
        done, position = end, position + max(rows, columns)
    positions[:, done:] = np.arange(position, position + len(ids) - done)
    return positions


def _answer(ids: Sequence[int], special: ChatTokens) -> Sequence[int]:
    return ids[:-1] if ids and ids[-1] in (special.im_end, special.text_end) else ids


@dataclass(frozen=True)
class PromptFormat:
    """How prompts are made and responses read: `system` is a template with {instruction}, and with {tools} if needed;
    actions: the action space. tell_effects: whether a prompt states the effect of the last turn."""

    tokenizer: PreTrainedTokenizerBase
    system: str
    resizing: Resizing
    actions: Mapping[str, ActionRow] = field(default_factory=lambda: ACTIONS)
    tell_effects: bool = True

    def prompt(self, system: str, past: Sequence[PastTurn], screenshot: Screenshot) -> Prompt:
        """Return the prompt of the next turn; `system`: the system message, see `system_text`."""
        return build_prompt(self.tokenizer, system, past, screenshot, self.resizing, tell_effects=self.tell_effects)

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of sampled token ids, without special tokens."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)
