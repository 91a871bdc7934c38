"""The shape of a Qwen2.5-VL policy, and its conversion from and to a Hugging Face `config.json`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mobile_r1_jax.model.checkpoints.json_section import Section
from mobile_r1_jax.model.yarn import Yarn, read_yarn, rope_type, yarn_to_json


@dataclass(frozen=True)
class VisionConfig:
    """The vision tower. Defaults are those of Qwen2.5-VL-3B [paper: its published config.json]."""

    width: int = 1280
    feed_forward: int = 3420
    layers: int = 32
    heads: int = 16
    out_width: int = 2048  # the text model's width
    patch: int = 14  # pixels
    temporal_patch: int = 2  # frames; an image is repeated
    merge: int = 2  # patches per side of a merged token
    window: int = 112  # pixels per side of an attention window
    full_attention: tuple[int, ...] = (7, 15, 23, 31)  # layers that attend to the whole screen
    channels: int = 3
    rope_theta: float = 10_000.0

    @property
    def patch_values(self) -> int:
        """Numbers in one flattened patch: channels * frames * patch * patch."""
        return self.channels * self.temporal_patch * self.patch**2

    @property
    def window_side(self) -> int:
        """Merged tokens per side of a window."""
        return self.window // self.patch // self.merge

    @property
    def window_tokens(self) -> int:
        """Merged tokens in a full window."""
        return self.window_side**2

    @property
    def window_patches(self) -> int:
        """Patches in a full window."""
        return self.window_tokens * self.merge**2


@dataclass(frozen=True)
class TextConfig:
    """The language model. Defaults are those of Qwen2.5-VL-3B [paper: its published config.json]."""

    vocab: int = 151_936
    width: int = 2048
    feed_forward: int = 11_008
    layers: int = 36
    heads: int = 16
    kv_heads: int = 2
    rope_theta: float = 1_000_000.0
    mrope_section: tuple[int, ...] = (16, 24, 24)  # rotary frequencies per axis: time, row, column
    yarn: Yarn | None = None  # scaling of rotary frequencies for long prompts; None: no scaling
    norm_eps: float = 1e-6
    tied: bool = True  # output embedding = input embedding
    max_positions: int = 128_000

    @property
    def head_width(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True)
class PolicyConfig:
    """A whole policy: its two towers, and the special token ids of its config.json."""

    text: TextConfig = field(default_factory=TextConfig)
    vision: VisionConfig = field(default_factory=VisionConfig)
    image_token: int = 151_655
    video_token: int = 151_656
    vision_start: int = 151_652
    vision_end: int = 151_653
    bos: int | None = 151_643
    eos: tuple[int, ...] = (151_645,)
    pad: int | None = None

    def __post_init__(self) -> None:
        text, vision = self.text, self.vision
        problems = [
            (text.width % text.heads, f"text.width {text.width} is not a multiple of text.heads {text.heads}"),
            (text.heads % text.kv_heads, f"text.heads {text.heads} is not a multiple of text.kv_heads {text.kv_heads}"),
            (
                sum(text.mrope_section) * 2 != text.head_width,
                f"text.mrope_section {text.mrope_section} must sum to half the head width {text.head_width}",
            ),
            (vision.width % vision.heads, f"vision.width {vision.width} is not a multiple of heads {vision.heads}"),
            (
                vision.width // vision.heads % 4,
                f"vision head width {vision.width // vision.heads} is not a multiple of 4 (two axes of rotated pairs)",
            ),
            (
                vision.out_width != text.width,
                f"vision.out_width {vision.out_width} differs from text.width {text.width}",
            ),
            (
                vision.window % (vision.patch * vision.merge),
                f"vision.window {vision.window} is not a multiple of patch * merge = {vision.patch * vision.merge}",
            ),
        ]
        for wrong, message in problems:
            if wrong:
                raise ValueError(f"impossible policy config: {message}")


def config_from_json(values: Mapping[str, Any], generation: Mapping[str, Any] | None = None) -> PolicyConfig:
    """Read a parsed config.json, nested (text_config and vision_config) or flat as Qwen published it.

    Args:
      generation: the parsed generation_config.json. Its eos_token_id has priority, as in transformers.

    Raises:
      ValueError: one line, if the model is not Qwen2.5-VL, needs an unsupported part, or a field is missing or wrong.
    """
    if values.get("model_type") != "qwen2_5_vl":
        raise ValueError(f"config.json: model_type is {values.get('model_type')!r}, need 'qwen2_5_vl'")
    root = Section(values, "config.json: ")
    nested = values.get("text_config") is not None
    text, vision = root.section("text_config") if nested else root, root.section("vision_config")
    for part, wrong in {
        f"hidden_act {text.get('hidden_act')!r}": (text.get("hidden_act") or "silu") != "silu",
        f"vision hidden_act {vision.get('hidden_act')!r}": (vision.get("hidden_act") or "silu") != "silu",
        "use_sliding_window true": bool(text.get("use_sliding_window")),
        "layer type 'sliding_attention'": "sliding_attention" in (text.get("layer_types") or ()),
    }.items():
        if wrong:
            raise ValueError(f"config.json: {part} is not built here; published Qwen2.5-VL checkpoints don't use it")
    rope = text.section("rope_scaling" if text.get("rope_scaling") else "rope_parameters", {})
    max_positions = text.count("max_position_embeddings", 32_768)
    yarn = read_yarn(rope, max_positions)
    if nested and yarn is None and rope_type(root.section("rope_scaling", {})) == "yarn":
        raise ValueError("config.json: transformers ignores rope_scaling outside text_config; move it into text_config")
    heads = text.count("num_attention_heads")
    return PolicyConfig(
        text=TextConfig(
            vocab=text.count("vocab_size"),
            width=text.count("hidden_size"),
            feed_forward=text.count("intermediate_size"),
            layers=text.count("num_hidden_layers"),
            heads=heads,
            kv_heads=text.count("num_key_value_heads", heads),
            rope_theta=rope.number("rope_theta", text.number("rope_theta", 1e6)),
            mrope_section=rope.counts("mrope_section", (16, 24, 24)),
            yarn=yarn,
            norm_eps=text.number("rms_norm_eps", 1e-5),
            tied=bool(values.get("tie_word_embeddings") or text.get("tie_word_embeddings")),
            max_positions=max_positions,
        ),
        vision=VisionConfig(
            width=vision.count("hidden_size"),
            feed_forward=vision.count("intermediate_size"),
            layers=vision.count("depth", 32),
            heads=vision.count("num_heads", 16),
            out_width=vision.count("out_hidden_size"),
            patch=vision.count("patch_size", 14),
            temporal_patch=vision.count("temporal_patch_size", 2),
            merge=vision.count("spatial_merge_size", 2),
            window=vision.count("window_size", 112),
            full_attention=vision.counts("fullatt_block_indexes", (7, 15, 23, 31)),
            channels=vision.count("in_channels", vision.count("in_chans", 3)),
            rope_theta=vision.section("rope_parameters", {}).number("rope_theta", 10_000.0),
        ),
        image_token=root.count("image_token_id", 151_655, least=0),
        video_token=root.count("video_token_id", 151_656, least=0),
        vision_start=root.count("vision_start_token_id", 151_652, least=0),
        vision_end=root.count("vision_end_token_id", 151_653, least=0),
        bos=next(iter(text.tokens("bos_token_id")), None),
        eos=Section(generation or {}, "generation_config.json: ").tokens("eos_token_id")
        or root.tokens("eos_token_id")
        or text.tokens("eos_token_id"),
        pad=next(iter(text.tokens("pad_token_id")), None),
    )


def config_to_json(config: PolicyConfig, dtype: str) -> dict[str, Any]:
    """Return `config` as a config.json in the nested form of transformers 5; dtype: "float32" or "bfloat16"."""
    text, vision = config.text, config.vision
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "dtype": dtype,
        "image_token_id": config.image_token,
        "model_type": "qwen2_5_vl",
        "text_config": {
            "attention_dropout": 0.0,
            "bos_token_id": config.bos,
            "eos_token_id": config.eos[0] if len(config.eos) == 1 else list(config.eos),
            "hidden_act": "silu",
            "hidden_size": text.width,
            "initializer_range": 0.02,
            "intermediate_size": text.feed_forward,
            "max_position_embeddings": text.max_positions,
            "model_type": "qwen2_5_vl_text",
            "num_attention_heads": text.heads,
            "num_hidden_layers": text.layers,
            "num_key_value_heads": text.kv_heads,
            "pad_token_id": config.pad,
            "rms_norm_eps": text.norm_eps,
            "rope_parameters": {
                "mrope_section": list(text.mrope_section),
                "rope_theta": text.rope_theta,
                **yarn_to_json(text.yarn),
            },
            "use_sliding_window": False,
            "vocab_size": text.vocab,
        },
        "tie_word_embeddings": text.tied,
        "video_token_id": config.video_token,
        "vision_config": {
            "depth": vision.layers,
            "fullatt_block_indexes": list(vision.full_attention),
            "hidden_act": "silu",
            "hidden_size": vision.width,
            "in_channels": vision.channels,
            "initializer_range": 0.02,
            "intermediate_size": vision.feed_forward,
            "model_type": "qwen2_5_vl_vision",
            "num_heads": vision.heads,
            "out_hidden_size": vision.out_width,
            "patch_size": vision.patch,
            "rope_parameters": {"rope_theta": vision.rope_theta, "rope_type": "axial"},
            "spatial_merge_size": vision.merge,
            "temporal_patch_size": vision.temporal_patch,
            "window_size": vision.window,
        },
        "vision_end_token_id": config.vision_end,
        "vision_start_token_id": config.vision_start,
    }
