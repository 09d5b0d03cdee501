"""The ten columns of a loan: what they mean, what is possible, and what a borrower is told about each.

The sentences are principal reasons in the sense of Regulation B (12 CFR 1002.9(b)(2)): specific, about the borrower's own
file, and about something that can be acted on or contested. `grade` and `int_rate` are the lender's own judgement of the
same borrower; telling a borrower "your grade was low" explains nothing, so both are marked as not disclosable.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from modelbundle.publishing.annotations import Band, FeatureWords

TARGET: Final = "is_late"

NUMBERS: Final = ("loan_amnt", "int_rate", "annual_inc", "revol_util", "dti", "delinq_2yrs")
CATEGORIES: Final = ("purpose", "grade", "emp_length", "home_ownership")
COLUMNS: Final = (
    "loan_amnt",
    "int_rate",
    "purpose",
    "grade",
    "annual_inc",
    "revol_util",
    "emp_length",
    "dti",
    "delinq_2yrs",
    "home_ownership",
)

GRADES: Final = ("A", "B", "C", "D", "E", "F", "G")
EMP_LENGTHS: Final = ("< 1 year", "1 year", *(f"{years} years" for years in range(2, 10)), "10+ years")

_PURPOSES: Final = {
    "car": "to buy a car",
    "credit_card": "to pay off credit cards",
    "debt_consolidation": "to combine other debts",
    "home_improvement": "to improve a home",
    "house": "to buy a home",
    "major_purchase": "for a major purchase",
    "medical": "for medical costs",
    "moving": "to move home",
    "other": "not covered by our other categories",
    "renewable_energy": "for renewable energy",
    "small_business": "for a small business",
    "vacation": "for a vacation",
}

_HOMES: Final = {
    "RENT": "You rent your home",
    "OWN": "You own your home without a mortgage",
    "MORTGAGE": "You own your home with a mortgage",
    "ANY": "Your home ownership is not stated precisely",
}


def _employment(value: str) -> str:
    if value == "< 1 year":
        return "You have been in your job for less than one year"
    if value == "10+ years":
        return "The time you have been in your job (ten years or more)"
    years = value.split()[0]
    return f"You have been in your job for only {years} {'year' if years == '1' else 'years'}"


WORDS: Final[dict[str, FeatureWords]] = {
    "loan_amnt": FeatureWords(
        title="Loan amount",
        description="The amount that the borrower applied for.",
        unit="USD",
        minimum=0,
        high="The amount you asked for is high",
        low="The amount you asked for is small for a loan of this kind",
        missing="The amount you asked for is not stated",
    ),
    "int_rate": FeatureWords(
        title="Interest rate",
        description="The yearly interest rate that the lender set for the loan, as a fraction (0.12 is 12 %).",
        unit="fraction per year",
        minimum=0,
        maximum=1,
        disclosable=False,
    ),
    "purpose": FeatureWords(
        title="Purpose",
        description="What the borrower says the loan is for.",
        high="The purpose you gave for the loan",
        missing="The purpose of the loan is not stated",
        values={value: f"The loan is {phrase}" for value, phrase in _PURPOSES.items()},
    ),
    "grade": FeatureWords(
        title="Grade",
        description="The lender's own grade for the loan, from A (best) to G.",
        disclosable=False,
    ),
    "annual_inc": FeatureWords(
        title="Annual income",
        description="The yearly income that the borrower states.",
        unit="USD per year",
        minimum=0,
        high="Your income together with the rest of your application",
        low="Your income is low for the credit you asked for",
        missing="Your income is not stated",
    ),
    "revol_util": FeatureWords(
        title="Use of credit limits",
        description="The part of the limits on credit cards and other revolving credit that is in use, as a fraction; "
        "above 1 the limits are exceeded.",
        unit="fraction",
        minimum=0,
        maximum=10,
        high="You are using a large part of the limits on your credit cards and other revolving credit",
        low="You are using only a small part of the limits on your credit cards and other revolving credit",
        missing="Your credit file does not show how much of your credit limits you are using",
    ),
    "emp_length": FeatureWords(
        title="Time in job",
        description="How long the borrower has been employed, in years.",
        high="The time you have been in your job",
        missing="Your time in your job is not stated or could not be verified",
        values={value: _employment(value) for value in EMP_LENGTHS},
    ),
    "dti": FeatureWords(
        title="Debt to income",
        description="Monthly debt payments, without mortgage and this loan, in percent of monthly income.",
        unit="percent",
        minimum=0,
        maximum=1000,
        high="Your debt payments are high relative to your income",
        low="Your other debt payments are low relative to your income",
        missing="Your debt payments relative to your income are not known",
    ),
    "delinq_2yrs": FeatureWords(
        title="Late payments on file",
        description="How often the credit file shows a payment 30 or more days late in the past two years.",
        unit="times",
        minimum=0,
        high="Your credit file shows payments that were 30 or more days late in the past two years",
        low="The record of late payments in your credit file over the past two years",
        missing="Your credit file does not show whether payments were late in the past two years",
    ),
    "home_ownership": FeatureWords(
        title="Home ownership",
        description="Whether the borrower rents, owns, or owns with a mortgage.",
        high="The home ownership you stated",
        missing="Your home ownership is not stated",
        values=_HOMES,
    ),
}

BAND_LABELS: Final = ("very low", "low", "moderate", "elevated", "high")
# Probabilities of lateness at which one band ends and the next begins. Round numbers that a credit officer can remember,
# about a quarter, a half, one, and two times the training quarter's late rate of 2.2 %.
BAND_EDGES: Final = (0.005, 0.012, 0.022, 0.045)


def make_bands(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> Sequence[Band]:
    """The five bands with their observed late rates, from out-of-fold probabilities and outcomes, both of shape (n,).

    Raises :class:`ValueError` when a band is empty or the observed late rates do not rise from band to band: such bands
    would tell an officer something false.
    """
    uppers = (*BAND_EDGES, 1.0)
    position = np.searchsorted(np.asarray(uppers), probabilities, side="left")
    bands = []
    for number, (label, upper) in enumerate(zip(BAND_LABELS, uppers, strict=True)):
        inside = position == number
        if not inside.any():
            raise ValueError(f"no loan falls into the band {label!r}")
        bands.append(Band(label, upper, float(labels[inside].mean()), float(inside.mean())))
    rates = [band.observed_rate or 0.0 for band in bands]
    if any(after <= before for before, after in pairwise(rates)):
        raise ValueError("the observed late rates do not rise from band to band")
    return bands
