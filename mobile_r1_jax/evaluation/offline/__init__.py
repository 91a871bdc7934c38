"""Evaluation on annotated data: answers to golden steps, judged by the published rule sets."""
