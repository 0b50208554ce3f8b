"""What a part of the torture reports: a row of the table."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Row:
    """A kind of fault, how often it was tried and what came of it.

    Attributes:
        tried: the fault, in a few words.
        cases: how often it was tried.
        lost: cases after which numbers, files or time were lost: other bits, a hang, a bound exceeded, a leftover.
        tracebacks: cases that ended in a traceback where one message was due.
        failures: the first of both, a line each, with what repeats it.
    """

    tried: str
    cases: int = 0
    lost: int = 0
    tracebacks: int = 0
    failures: list[str] = field(default_factory=list)


def sum_of(rows: list[Row], tried: str) -> Row:
    """One row for several kinds."""
    sums = {name: sum(getattr(row, name) for row in rows) for name in ("cases", "lost", "tracebacks")}
    return Row(f"{tried}, {len(rows)} kinds", **sums)


def table_of(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| tried | cases | lost | tracebacks |", "|---|---:|---:|---:|"]
    lines += [f"| {row.tried} | {row.cases:,} | {row.lost or 'none'} | {row.tracebacks or 'none'} |" for row in rows]
    return "\n".join(lines)
