"""The sections of the model card that people write. None may be empty."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final


@dataclass(frozen=True)
class Narrative:
    """The written sections of a model card; a blank line starts a new paragraph or list item."""

    intended_use: str
    must_not_be_used_for: str
    assumptions_and_limits: str
    fairness: str
    monitoring: str
    reason_codes: str
    ownership: str

    def empty(self) -> list[str]:
        """The names of the empty sections."""
        return [f.name for f in fields(self) if not paragraphs(getattr(self, f.name))]


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a text, each on one line."""
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


LATE_PAYERS: Final = Narrative(
    intended_use="""
    Ranks loans that are on the books by their probability of being 16 to 120 days past due in the next
    quarter, so that reminders, calls and offers of another payment plan reach the borrowers who need
    them first.

    The probability may also feed a forecast of the late rate of a whole portfolio.

    Users are the lender's collections and portfolio teams, who know the terms used here. A person
    decides what follows from a score.
    """,
    must_not_be_used_for="""
    Granting, pricing or declining loans. It was fitted only on loans that the lender had already
    granted, and it uses the grade and the rate that the lender set; applying it to applicants would be
    extrapolation and circular.

    Any step against a borrower without a person's decision, or terminating or worsening a loan's terms
    on the score.

    Loans of another lender, country, product or period without a validation on their own outcomes.

    Deriving anything about a protected characteristic of a borrower.

    Deciding with `prediction`, the class at a threshold of 0.5. At a late rate of about 2 % it is
    almost always 'on time'. Decide with the band or the probability.
    """,
    assumptions_and_limits="""
    The outcome is a snapshot: a loan counts as late if it was late on one day. A loan that was late and
    has been charged off, or was late and has caught up, is not late here.

    All loans of the training book are from one quarter, in one economic climate. The older a loan was
    on that day the more often it was late (about 1.3 % of the newest twentieth, 2.5 % of the oldest);
    the age of a loan is not among the columns, so for a younger or older book the level of the
    probabilities shifts while the ranking holds.

    Income is stated by the borrower; no column says whether it was verified.

    Grade and interest rate are the lender's own judgement of the same borrower. Together they carry the
    largest part of the score, so an error in grading is inherited, and every other curve is to be read
    as 'among loans of the same grade and rate'. That is why a low use of credit limits or few debts can
    raise the risk here: the grade already gave credit for them.

    Grades F and G, the purpose renewable_energy and incomes above the training range are rare. Their
    curves rest on few loans, so their intervals are wide.

    A new rate sheet changes what an interest rate means. The training quarter holds two; steps finer
    than their difference are kept out of the model.
    """,
    fairness="""
    The data hold no protected characteristic (Equal Credit Opportunity Act: race, colour, religion,
    national origin, sex, marital status, age, receipt of public assistance). So the model cannot treat
    people differently by them directly, and for the same reason disparate impact cannot be measured
    with these data.

    An effect can exist all the same: home ownership, income, time in job and purpose can stand in for
    age, origin or marital status. Before use, the lender has to test outcomes by group with a proxy
    method or with data it may lawfully hold, and keep the result with this card.

    The table of slices shows the ranking and the calibration of the model for the groups that the data
    have.
    """,
    monitoring="""
    Following SR 11-7 (Guidance on Model Risk Management): this card is part of the development
    documentation. The lender runs the independent validation, the ongoing monitoring and the outcomes
    analysis.

    Ongoing monitoring, weekly: share of missing, unseen and out-of-range values; population stability
    index of the score and of each column against the reference inside the bundle (look above 0.1, act
    above 0.25).

    Outcomes analysis, each quarter when outcomes are known: ROC-AUC with its interval, calibration
    slope and ratio of predicted to observed late rate, late rate by band. Review when the interval of
    the ROC-AUC lies below 0.70, the slope leaves 0.8 to 1.2, the ratio leaves 0.8 to 1.25, or the bands
    are no longer in order.

    Benchmarking: the unconstrained model of the comparison is refitted along with this one; a gap above
    0.005 in ROC-AUC is a reason to look for what the curves miss.

    Refit at least yearly, and with every change of grading, rate sheet or collection policy. The
    previous bundle stays available, so that a rollback takes one command.
    """,
    reason_codes="""
    Every score is a baseline plus terms, one for each column, and they add up exactly. Reasons are the
    terms in which a loan falls furthest on the risky side of the average loan, at most four, the method
    that the commentary on Regulation B, 9(b)(2)-5, names.

    Each of the two columns of a pair gets half of the pair's term, so the terms explain the whole score.

    Grade and interest rate are never given as a reason: they are the lender's own judgement, and a
    borrower can neither act on them nor contest them.

    The model is not meant for credit decisions. Should a step taken on it be an adverse action under
    the Equal Credit Opportunity Act, the notice must state the principal reasons that were really used
    (12 CFR 1002.9(b)(2)); the texts in the bundle are a draft for the lender's compliance officer, not
    legal advice.
    """,
    ownership="""
    Owner: the lender's credit risk analytics team, which approves each pin.

    Questions and complaints about a score go to that team, with the prediction's id. The team finds the
    prediction by its id as long as the prediction log is kept.
    """,
)
