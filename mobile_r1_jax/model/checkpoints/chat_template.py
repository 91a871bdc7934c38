"""The default chat template: Qwen2.5-VL's chat format, as `agent/prompts.py` builds prompts.

Other programs (transformers, vLLM) render conversations with it. It writes one <|image_pad|> per image; their
processors repeat it once per image token.
"""

CHAT_TEMPLATE = """\
{%- if messages[0].role != "system" %}
    {{- "<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n" }}
{%- endif %}
{%- for message in messages %}
    {{- "<|im_start|>" ~ message.role ~ "\\n" }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for part in message.content %}
            {%- if part.type == "image" or "image" in part or "image_url" in part %}
                {{- "<|vision_start|><|image_pad|><|vision_end|>" }}
            {%- elif part.type == "video" or "video" in part %}
                {{- "<|vision_start|><|video_pad|><|vision_end|>" }}
            {%- elif "text" in part %}
                {{- part.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- "<|im_end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- "<|im_start|>assistant\\n" }}
{%- endif %}
"""
