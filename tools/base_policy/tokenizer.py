"""The small policy's tokenizer: byte-level BPE over what the simulated phone shows and says, in Hugging Face format.

The chat and vision tokens are Qwen's. Every name that a screen may show is one token, and the same one wherever it
stands, so that what is learned of it holds in every sentence. Numbers are one token each too, and so are the fixed
pieces of a response: it is some 20 tokens long instead of 80. Any other text is still encodable, byte by byte.
"""

import re
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from mobile_r1_jax.model.checkpoints.chat_template import CHAT_TEMPLATE
from mobile_r1_jax.phones.simulator.apps import APPS, TEMPLATES
from mobile_r1_jax.phones.simulator.gestures import POPUPS

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PIECES = (
    "<think>",
    "</think>",
    "<action>",
    "</action>",
    "<tool_call>",
    "</tool_call>",
    '{"name": "mobile_use", "arguments": {"action": "',
    "</think><action>",
    '</action><tool_call>{"name": "mobile_use", "arguments": {"action": "',
    '", "coordinate": [',
    '], "coordinate2": [',
    '], "time": ',
    '", "time": ',
    '", "text": "',
    '", "button": "',
    '", "status": "',
    *(end + close for end in ("]}}", '"}}', "}}") for close in ("", "</tool_call>")),
    ", ",
    ": ",
)
LARGEST_NUMBER = 255
VOCABULARY = 1152
SPLIT = Regex(r" ?[A-Za-z_]+ ?|\p{N}{1,3}|\p{Han}+| ?[^\s\p{L}\p{N}]+|\s+")
WORDS = (
    "click long_press swipe switch type system_button open key wait terminate success failure answer "
    "VOLUME_UP VOLUME_DOWN system user assistant Read none on off Task Phone Say"
)
PHRASES = (
    "; on ; next. done. wrong page. pop-up. not in sight. ",
    " to  in ",
    "Tap Hold Swipe up. down. Type Press Open Finish. Go back. the key. ",
    *(" on and ", " off and ", " on", " off"),
    *WORDS.split(),
)
# What no task names: the controls, the pages' titles, the system's buttons.
CONTROLS = (
    "Search Cart Saved Me Add Save Pay Call Send New Keep Start Stop Timer World Delete Share Silence Clear End Chat "
    "Done Empty Item Recents Results Type Version Write Back Home Menu Enter"
)


def names() -> list[str]:
    """Everything that a screen of the simulated phone may say."""
    popups = {word for popup in POPUPS for word in (popup.title, popup.accept, popup.dismiss)}
    values = {value for template in TEMPLATES.values() for domain in template.domains.values() for value in domain}
    labels = {app.label for app in APPS.values()}
    return sorted({*CONTROLS.split(), *popups, *labels, *(value for value in values if value.istitle())})


NAMES = names()


def corpus() -> list[str]:
    """Every instruction and phrase of the simulated phone without the names in it, and the numbers."""
    a_name = "|".join(rf"\b{re.escape(name)}\b" for name in NAMES) + r"|\{\w+\}"
    wordings = [text for template in TEMPLATES.values() for text in (template.english, template.chinese)]
    texts = [part for text in (*wordings, *PHRASES) for part in re.split(a_name, text, flags=re.ASCII) if part]
    return texts * 20 + [str(number) for number in range(LARGEST_NUMBER + 1)] * 50


def train_tokenizer() -> Tokenizer:
    """The tokenizer, the same on every machine."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(SPLIT, "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(PIECES) - len(NAMES),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in (*PIECES, *NAMES)])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes it so that `transformers.AutoTokenizer.from_pretrained(folder)` loads it."""
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[token for token in SPECIAL if token not in ("<|im_end|>", "<|endoftext|>")],
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
    fast.save_pretrained(folder)
