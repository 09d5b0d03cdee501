"""What a borrower is told is complete, specific and never the lender's own judgement; bands tell the truth."""

from __future__ import annotations

import numpy as np
import pytest

from late_payers.features import (
    BAND_EDGES,
    BAND_LABELS,
    CATEGORIES,
    COLUMNS,
    EMP_LENGTHS,
    NUMBERS,
    WORDS,
    make_bands,
)


def test_every_column_has_words() -> None:
    """Each of the ten columns is a number or a category, and has a title and a description."""
    assert set(WORDS) == set(COLUMNS) == set(NUMBERS) | set(CATEGORIES)
    assert all(words.title and words.description for words in WORDS.values())


def test_the_lenders_judgement_is_not_disclosed() -> None:
    """Grade and interest rate never become a reason, everything else may."""
    assert {name for name, words in WORDS.items() if not words.disclosable} == {"grade", "int_rate"}


@pytest.mark.parametrize("name", sorted(set(COLUMNS) - {"grade", "int_rate"}))
def test_every_direction_has_a_sentence(name: str) -> None:
    """A reason has its own sentence for high, low and missing, or for each category."""
    words = WORDS[name]
    sentences = [words.high, words.missing, *words.values.values()]
    if name in NUMBERS:
        sentences.append(words.low)
    assert all(sentences)
    assert len(set(sentences)) == len(sentences)
    assert all(sentence[0].isupper() and not sentence.endswith(".") for sentence in sentences)


def test_sentences_are_for_borrowers() -> None:
    """No sentence names a column or a statistician's term."""
    text = " ".join(
        " ".join([words.high, words.low, words.missing, *words.values.values()]).lower() for words in WORDS.values()
    )
    for term in (
        *(set(COLUMNS) - {"purpose"}),
        "log-odds",
        "model",
        "feature",
        "score",
        "percentile",
        "nan",
        "dti",
    ):
        assert term not in text.split(), term


def test_time_in_job_reads_as_english() -> None:
    """Each step of the time in job has a sentence, one year is singular."""
    values = WORDS["emp_length"].values
    assert set(values) == set(EMP_LENGTHS)
    assert values["< 1 year"] == "You have been in your job for less than one year"
    assert values["1 year"].endswith("only 1 year")
    assert values["7 years"].endswith("only 7 years")


def test_bounds_are_possible_values_in_their_unit() -> None:
    """A rate is a fraction, amounts and counts are not negative, and a missing bound is no bound."""
    assert (WORDS["int_rate"].minimum, WORDS["int_rate"].maximum) == (0, 1)
    assert all(WORDS[name].minimum == 0 for name in NUMBERS)
    assert WORDS["annual_inc"].maximum is None


def probabilities_and_labels() -> tuple[np.ndarray, np.ndarray]:
    """A thousand loans in each band, of which its probability are late."""
    middles = [0.002, 0.008, 0.018, 0.03, 0.2]
    p = np.repeat(middles, 1000)
    labels = np.concatenate([np.arange(1000) < round(1000 * middle) for middle in middles]).astype(np.int64)
    return p, labels


def test_bands_by_hand() -> None:
    """Each band has its share, its observed late rate and its upper end; the last ends at 1."""
    bands = make_bands(*probabilities_and_labels())
    assert [band.label for band in bands] == list(BAND_LABELS)
    assert [band.upper for band in bands] == [*BAND_EDGES, 1.0]
    assert [band.share for band in bands] == [0.2] * 5
    assert [band.observed_rate for band in bands] == [0.002, 0.008, 0.018, 0.03, 0.2]


def test_an_edge_belongs_to_the_band_below() -> None:
    """A probability that equals a band's upper end is inside it."""
    p, labels = probabilities_and_labels()
    p[0] = BAND_EDGES[0]
    assert make_bands(p, labels)[0].share == 0.2


def test_bands_that_mislead_are_refused() -> None:
    """Observed late rates that do not rise, or an empty band, are an error."""
    p, labels = probabilities_and_labels()
    with pytest.raises(ValueError, match="do not rise"):
        make_bands(p, labels[::-1])
    with pytest.raises(ValueError, match="no loan falls into the band 'low'"):
        make_bands(p[p != 0.008], labels[p != 0.008])
