"""A tokenizer of bytes with Qwen's special tokens, so that tests need no download."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer: 256 bytes, a few merges (so that token boundaries matter), then the special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("s", "y"), ("e", "r"), ("<", "t"), ("Ċ", "Ċ"), ("t", "h")]
    vocabulary = {piece: index for index, piece in enumerate([*alphabet, *(a + b for a, b in merges)])}
    words = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=words)
    made.add_special_tokens({"additional_special_tokens": SPECIAL})
    return made
