"""How the small base policy is made: its tokenizer, the documents it learns from, its pretraining.

The recipe starts from a policy that can already read a screen and point at things. Qwen2.5-VL can; for the demo a
policy of the same architecture with two million parameters is taught that much, and nothing of tasks or of the response
format.
"""
