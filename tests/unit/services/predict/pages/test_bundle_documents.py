"""What a bundle holds for people is read from the store when asked for, and trusted no more than the rest of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelbundle.errors import FormatError
from modelbundle.explain.curves import Curves
from modelbundle.format import bundle
from modelbundle.model import Model
from services.predict.pages.bundle_documents import NOTHING, BundleDocuments
from services.predict.rollout.state_dir import StateDir
from tests.conftest import Made
from tests.unit.services.conftest import make_current


def loaded(store: StateDir, made: Made) -> Model:
    make_current(store, made)
    return bundle.read(store.bundle(made.sha256), made.sha256)


def test_the_documents_are_those_of_the_model_that_is_asked_for(store: StateDir, bundles: list[Made]) -> None:
    """Card, reference and curves; the other model's after a swap."""
    documents = BundleDocuments(store)
    first, second = (loaded(store, made) for made in bundles)
    found = documents.of(first)
    assert found.card == "# Card"
    assert found.card_html == ""
    assert found.reference["rows"] == len(bundles[0].frame)
    assert [curve.feature for curve in found.curves.curves] == list(first.schema.names)
    assert len(found.curves.surfaces) == 2
    assert documents.of(first) is found
    assert documents.of(second).curves.curves != found.curves.curves
    assert documents.of(first).curves.curves == found.curves.curves


def test_a_bundle_that_a_swap_has_removed_has_no_documents_now(store: StateDir, bundles: list[Made]) -> None:
    """And nothing is remembered of that: it has them again when it is back."""
    documents = BundleDocuments(store)
    model = loaded(store, bundles[0])
    store.bundle(model.version).unlink()
    assert documents.of(model) is NOTHING
    assert documents.of(loaded(store, bundles[0])).card


def test_an_entry_that_is_not_what_the_manifest_lists_is_not_shown(
    store: StateDir, bundles: list[Made], capfd: pytest.CaptureFixture[str]
) -> None:
    """A file that was changed behind the store's back is read again with the same distrust, and the log says so."""
    model = loaded(store, bundles[0])
    path = store.bundle(model.version)
    path.write_bytes(path.read_bytes().replace(b"# Card", b"# Cart"))
    found = BundleDocuments(store).of(model)
    assert found.card == ""
    assert found.curves.curves
    assert "card.md" in capfd.readouterr().out


def test_a_plain_pipeline_has_no_documents(store: StateDir, bundles: list[Made], tmp_path: Path) -> None:
    """It is a pickle, in which nothing is looked for."""
    path = tmp_path / "m.joblib"
    path.write_bytes(b"whatever")
    about = bundle.read(bundles[0].path).manifest
    assert bundle.entry(path, about, "not-listed.md") is None
    with pytest.raises(FormatError, match="cannot be read"):
        bundle.entry(path, about, bundle.CARD)
    assert NOTHING.curves == Curves()
