"""The table of evaluation results that a run ends with."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from mobile_r1_jax.evaluation.metrics import Result

LEFT_OUT = "Episodes that phones ended or could not decide, in no success share:"
# Title of a column -> the share of a result that it shows.
COLUMNS = {
    "Task success %": "success",
    "pass@K %": "any_success",
    "Claimed %": "claimed",
    "False completion %": "false_completion",
    "Step accuracy %": "steps",
    "Format errors %": "format_errors",
    "Recovery %": "recovery",
    "Unseen app %": "unseen_app",
}


def table_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Return the table's cells: each share in per cent with its 95 % Wilson interval."""
    return [(result.stage, *(str(getattr(result, name)) for name in COLUMNS.values())) for result in results]


def results_table(results: Sequence[Result]) -> Table:
    """Return the table that a run ends with. Below it: which episodes the phones ended, by reason."""
    notes = [note for result in results if (note := ended_by_phones(result))]
    table = Table(
        title="Held-out tasks, with 95 % Wilson intervals",
        caption=escape("\n".join(["Episodes that phones ended or could not decide, in no success share:", *notes]))
        if notes
        else None,
        caption_justify="left",
    )
    for number, column in enumerate(("Stage", *COLUMNS)):
        table.add_column(column, no_wrap=number == 0)  # in a narrow terminal a share's interval goes below it
    for row in table_rows(results):
        table.add_row(*row)
    return table


def ended_by_phones(result: Result) -> str:
    """Return how many episodes of a result the phones ended or could not decide, by kind and reason; "" for none."""
    kinds = {"infrastructure failures": result.infrastructure_failures, "secure pages": result.secure_pages}
    kinds["unknown outcomes"] = result.unknown
    counts = ", ".join(f"{kind} {count}" for kind, count in kinds.items() if count)
    reasons = "; ".join(f"{reason}: {count}" for reason, count in result.reasons.items())
    return f"{result.stage}: {counts}" + (f" ({reasons})" if reasons else "") if counts else ""
