"""The small policy's tokenizer: byte-level BPE over what the simulated phone shows and says, in Hugging Face format.

The chat and vision tokens are Qwen's. Numbers are one token each, and so are the fixed pieces of a tool call: a
response of the demo is some 25 tokens long instead of 80. Any other text is still encodable, byte by byte.
"""

import itertools
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from mobile_r1_jax.phones.simulator.apps import APPS
from mobile_r1_jax.phones.simulator.gestures import POPUPS
from mobile_r1_jax.phones.simulator.templates import TEMPLATES

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
    '", "coordinate": [',
    '], "coordinate2": [',
    '], "time": ',
    '", "time": ',
    '", "text": "',
    '", "button": "',
    '", "status": "',
    "]}}",
    '"}}',
    "}}",
    ", ",
    ": ",
)
LARGEST_NUMBER = 255
VOCABULARY = 1536
SPLIT = Regex(r" ?[A-Za-z_]+|\p{N}{1,3}|\p{Han}+| ?[^\s\p{L}\p{N}]+|\s+")
PHRASES = (
    "On need in the way; done. wrong page. A pop-up is in the way. "
    "Tap Hold Swipe up. down. Type Press Open Finish. Go back. the key.",
    "click long_press swipe type system_button open key wait terminate "
    "success failure answer Back Home Menu Enter VOLUME_UP VOLUME_DOWN",
    "system user assistant Find All Read none on off Task Phone Empty Update "
    "Recents Results Item Done Home Version Search Type Write Send",
    "Add Save Pay Call End New Keep Start Stop Delete Share Silence Clear Cart Saved Me Timer World Chat",
)


def corpus() -> list[str]:
    """Every name, instruction and phrase of the simulated phone, names also as they stand after a space."""
    names = {app.label for app in APPS.values()} | {word for line in PHRASES for word in line.split()}
    for popup in POPUPS:
        names |= {popup.title, popup.accept, popup.dismiss}
    lines = list(PHRASES)
    for template in TEMPLATES.values():
        names |= {value for domain in template.domains.values() for value in domain}
        for values in itertools.islice(itertools.product(*template.domains.values()), 200):
            parameters = dict(zip(template.domains, values, strict=True))
            lines += [template.english.format(**parameters), template.chinese.format(**parameters)]
    lines += [form for name in sorted(names) for form in (name, " " + name)] * 20
    return lines + [str(number) for number in range(LARGEST_NUMBER + 1)] * 50


def train_tokenizer() -> Tokenizer:
    """The tokenizer, the same on every machine."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(SPLIT, "isolated"), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(PIECES),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in PIECES])
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
    )
    fast.save_pretrained(folder)
