"""The small base policy of the demo: its tokenizer, its training documents and its pretraining.

The recipe starts from a policy that can read a screen and point at elements, such as Qwen2.5-VL. This package trains a
policy of the same architecture with two million parameters to do that. It does not train tasks or the response format.
"""
