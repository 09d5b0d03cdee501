"""Summary statistics of a book of loans, to compare the stand-in with the original."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from late_payers.data import Book
from late_payers.features import CATEGORIES, GRADES, NUMBERS, TARGET

PAIRS = (("loan_amnt", "annual_inc"), ("int_rate", "revol_util"), ("annual_inc", "dti"), ("int_rate", "dti"))


def summary(frame: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """The name and the value of each statistic of a quarter's loans, as text for a Markdown table."""
    yield "loans", f"{len(frame):,}"
    yield "late", f"{frame[TARGET].mean():.2%}"
    for name in NUMBERS:
        yield f"`{name}`: 10 %, 50 %, 90 %", ", ".join(f"{v:,.4g}" for v in frame[name].quantile([0.1, 0.5, 0.9]))
    for name in ("emp_length", "revol_util"):
        yield f"`{name}` missing", f"{frame[name].isna().mean():.2%}"
    for name in CATEGORIES:
        top = frame[name].value_counts(normalize=True).head(3)
        yield f"`{name}`: most frequent", ", ".join(f"{k} {v:.0%}" for k, v in top.items())
    rates = frame.groupby("grade")[TARGET].mean()
    yield "late by grade A to E", ", ".join(f"{rates[g]:.1%}" for g in GRADES[:5])
    yield (
        "mean `int_rate` by grade A to E",
        ", ".join(f"{frame.loc[frame.grade == g, 'int_rate'].mean():.3f}" for g in GRADES[:5]),
    )
    for a, b in PAIRS:
        yield f"rank correlation `{a}`, `{b}`", f"{frame[a].corr(frame[b], method='spearman'):.2f}"


def comparison(book: Book, training: pd.DataFrame, test: pd.DataFrame) -> str:
    """A Markdown table of the original's training quarter, the stand-in's, and the stand-in's following quarter."""
    rows = ["| fact | original | stand-in | stand-in, next quarter |", "|---|---|---|---|"]
    for (name, real), (_, made), (_, after) in zip(
        summary(book.training), summary(training), summary(test), strict=True
    ):
        rows.append(f"| {name} | {real} | {made} | {after} |")
    return "\n".join(rows)
