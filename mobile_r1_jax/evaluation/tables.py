"""The table of evaluation results that a run ends with."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from mobile_r1_jax.evaluation.metrics import Result

LEFT_OUT = "Episodes that phones ended or could not decide, in no success share:"
# Title of a row -> the share of a result that it shows.
SHARES = {
    "Task success": "success",
    "pass@K": "any_success",
    "Claimed": "claimed",
    "False completion": "false_completion",
    "Step accuracy": "steps",
    "Format errors": "format_errors",
    "Recovery": "recovery",
    "Unseen app": "unseen_app",
}


def table_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Return a row for each share that any result has: its title, then a cell for each result, in per cent with the
    95 % Wilson interval."""
    shares = {title: [getattr(result, name) for result in results] for title, name in SHARES.items()}
    return [(title, *map(str, row)) for title, row in shares.items() if any(share.of for share in row)]


def results_table(results: Sequence[Result]) -> Table:
    """Return the table that a run ends with. Below it: which episodes the phones ended, by reason."""
    notes = [note for result in results if (note := ended_by_phones(result))]
    table = Table(
        title="Held-out tasks: per cent, with 95 % Wilson intervals",
        caption=escape("\n".join([LEFT_OUT, *notes])) if notes else None,
        caption_justify="left",
    )
    table.add_column("", no_wrap=True)
    for result in results:
        table.add_column(escape(result.stage))
    for title, *cells in table_rows(results):
        table.add_row(title, *(cell.replace(" [", "\n[") for cell in cells))  # so that four stages fit 80 characters
    return table


def ended_by_phones(result: Result) -> str:
    """Return how many episodes of a result the phones ended or could not decide, by kind and reason; "" for none."""
    kinds = {"infrastructure failures": result.infrastructure_failures, "secure pages": result.secure_pages}
    kinds["unknown outcomes"] = result.unknown
    counts = ", ".join(f"{kind} {count}" for kind, count in kinds.items() if count)
    reasons = "; ".join(f"{reason}: {count}" for reason, count in result.reasons.items())
    return f"{result.stage}: {counts}" + (f" ({reasons})" if reasons else "") if counts else ""
