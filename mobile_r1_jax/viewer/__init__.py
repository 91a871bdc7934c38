"""The report page of a run: results, curves, and trajectories as screenshots with the actions drawn on them."""

from mobile_r1_jax.viewer.page import write_report
from mobile_r1_jax.viewer.reading import ReportError

__all__ = ["ReportError", "write_report"]
