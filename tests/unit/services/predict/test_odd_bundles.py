"""What a bundle says of itself is either refused, with the place named, or every page shows it."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jinja2 import FileSystemBytecodeCache

from modelbundle import golden
from modelbundle.errors import BundleError, FormatError
from modelbundle.format import archive, bundle, manifest
from services.predict import page_check
from services.web import json_logging
from tests.conftest import Made

HUGE = "x" * 70_000
ODD: tuple[Any, ...] = (
    *(None, [], {}, "", HUGE, -1, 0, 1e308, 10**400, 2**63, float("nan"), True),
    *("\x00\x1b[31m\u202e", "\ud800", "Ünïcode ☃", [[None]], {"a": {"b": [1]}}, json.loads("[" * 60 + "]" * 60)),
)
EVERY = 11  # of the pairs of a place and an odd value, in the quick test
DOCUMENTS = (manifest.NAME, bundle.REFERENCE, bundle.SCORER)
Place = tuple[str | int, ...]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of requests are not logged."""
    monkeypatch.setattr(json_logging, "write", lambda _: None)


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """Every place of a document; of long lists the first two entries and the last."""
    yield at
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*at, key))
    elif isinstance(value, list):
        for i in sorted({0, 1, len(value) - 1} & set(range(len(value)))):
            yield from places(value[i], (*at, i))


def changed(document: Any, at: Place, value: Any) -> Any:
    if not at:
        return value
    copied = copy.copy(document)
    copied[at[0]] = changed(document[at[0]] if at[1:] else None, at[1:], value)
    return copied


def packed(entries: dict[str, bytes], name: str, document: Any) -> bytes:
    """The bundle with another document, which its manifest lists."""
    own = {**entries, name: json.dumps(document).encode()}
    about = json.loads(own[manifest.NAME])
    if isinstance(about, dict) and "files" in about:
        about["files"] = manifest.listing({key: content for key, content in own.items() if key != manifest.NAME})
        own[manifest.NAME] = json.dumps(about).encode()
    return archive.pack(own)


def outcome(data: bytes, folder: Path, most_charts: int = 5) -> str:
    """``refused`` by its reader or by the golden rows, else ``shown``; other errors and pages that fail are raised."""
    folder.mkdir()
    path = folder / "odd.bundle"
    path.write_bytes(data)
    try:
        model = bundle.read(path, archive.digest(data))
        golden.check(model)
    except FormatError as error:
        assert error.where
        assert len(str(error)) < 1000
        return "refused"
    except BundleError:
        return "refused"
    served = page_check.application(model, path, folder)
    served.flask.jinja_env.bytecode_cache = FileSystemBytecodeCache(str(folder.parent))  # compiles templates once
    for page, answer in page_check.show(model, served, most_charts):
        assert answer.status_code == 200 or (answer.status_code == 404 and "card." in page), page
    return "shown"


def tried(made: Made, folder: Path, every: int, first: int = 0) -> Counter[str]:
    """What becomes of odd values in places of the three documents: of all pairs, each ``every``-th from ``first`` on.

    All features are drawn where a value is about a feature.
    """
    entries = archive.unpack(made.path.read_bytes())
    documents = {name: json.loads(entries[name]) for name in DOCUMENTS}
    pairs = [
        (name, at, odd)
        for name, document in documents.items()
        for at in places(document)
        if name != manifest.NAME or at[:1] != ("files",)
        for odd in ODD
    ]
    count: Counter[str] = Counter()
    for i, (name, at, odd) in enumerate(pairs[first::every]):
        charts = 1 if name == manifest.NAME and at[:1] != ("schema",) else 5
        try:
            data = packed(entries, name, changed(documents[name], at, odd))
            count[outcome(data, folder / str(i), charts)] += 1
        except Exception as error:
            pytest.fail(f"{name} {at} {str(odd)[:30]!r}: {type(error).__name__} {error}")
    return count


@pytest.mark.attack("odd bundles")
def test_odd_values_are_refused_or_shown_on_every_page(
    bundles: list[Made], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Each place of the manifest, the reference and the scorer's header gets an odd value or two, each value many places.

    The two numbers have no common factor, so that all pairs would be met in the end.
    """
    assert math.gcd(EVERY, len(ODD)) == 1
    count = tried(bundles[0], tmp_path, EVERY)
    assert count["refused"] > 100
    assert count["shown"] > 5
    record_property("sent", count.total())
    record_property("came", f"{count['refused']:,} refused, {count['shown']:,} shown")


@pytest.mark.slow
def test_every_odd_value_is_refused_or_shown_on_every_page(bundles: list[Made], tmp_path: Path) -> None:
    """Every place gets every odd value in turn."""
    count = tried(bundles[0], tmp_path, 1)
    assert count["refused"] > 1000
    assert count["shown"] > 50


EXAMPLES: dict[str, tuple[str, Place, Any]] = {
    "metrics.roc_auc": (manifest.NAME, ("metrics",), {"roc_auc": {"value": 0.7, "low": 0.8, "high": 0.6}}),
    "metrics.g.ks": (manifest.NAME, ("metrics",), {"g": {"ks": 1.2}}),
    "scorer.proof": (manifest.NAME, ("scorer", "proof"), {"rows": 1.5}),
    "training": (manifest.NAME, ("training",), {"a": {"b": {"c": {"d": {"e": {"f": {"g": 1}}}}}}}),
    "lineage": (manifest.NAME, ("lineage",), ["parent"]),
    "the labels of bands": (manifest.NAME, ("bands", 1, "label"), "low"),
    "a number from 0 to 1": (manifest.NAME, ("bands", 0, "share"), 1.01),
    "bands must rise and end at 1": (manifest.NAME, ("bands", 2, "upper"), 0.9),
    "no center": (manifest.NAME, ("reasons", "grade", "center"), 1.0),
    "the text of a value": (manifest.NAME, ("reasons", "purpose", "values"), {"boat": None}),
    "minimum must be at most maximum": (manifest.NAME, ("schema", "features", 0, "maximum"), -1),
    "categories must be distinct": (manifest.NAME, ("schema", "features", 2, "categories"), ["A", "A"]),
    "integer must be true or false": (manifest.NAME, ("schema", "features", 0, "integer"), "yes"),
    "distinct numbers or strings": (manifest.NAME, ("classes",), [0, 2**64]),
    "decision must be": (manifest.NAME, ("decision",), {"by": "threshold", "class": 1, "threshold": True}),
    "golden row's amount": (manifest.NAME, ("golden", "rows", 0, 0), None),
    "an edge that is not a probability": (bundle.REFERENCE, ("probability", "edges", 0), -0.5),
}


@pytest.mark.parametrize("said", EXAMPLES)
def test_a_refusal_names_the_place(bundles: list[Made], said: str) -> None:
    """One of each kind of check."""
    entries = archive.unpack(bundles[0].path.read_bytes())
    name, at, value = EXAMPLES[said]
    document = json.loads(entries[name])
    with pytest.raises(FormatError, match=said):
        bundle.load(packed(entries, name, changed(document, at, value)))


def test_a_card_that_is_no_text_is_refused(bundles: list[Made]) -> None:
    """Nor one of a megabyte: somebody is to read it."""
    entries = archive.unpack(bundles[0].path.read_bytes())
    document = json.loads(entries[manifest.NAME])
    for card, said in ((b"\xff", "not UTF-8"), (b"x" * (2 << 20), "more than")):
        with pytest.raises(FormatError, match=said):
            bundle.load(packed({**entries, bundle.CARD: card}, manifest.NAME, document))
