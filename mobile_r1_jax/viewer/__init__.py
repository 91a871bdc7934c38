"""A run as a page: its results, its curves, and the screens that the policy saw with what it did on them."""

from mobile_r1_jax.viewer.page import write_report
from mobile_r1_jax.viewer.reading import ReportError

__all__ = ["ReportError", "write_report"]
