"""Which model answers, and how many are alive."""

from __future__ import annotations

import gc
import os
import shutil
import threading
import weakref
from pathlib import Path

import pytest

from modelbundle import golden
from modelbundle.format import archive
from modelbundle.model import Model
from services.predict.app import loader
from services.predict.rollout.protocol import Candidate
from services.predict.rollout.state_dir import StateDir
from services.predict.rollout.worker import Worker
from services.predict.serving.loaded_models import Models, NoModel
from services.predict.settings import Settings
from tests.conftest import Made
from tests.unit.services.conftest import make_current


@pytest.fixture
def alive() -> weakref.WeakSet[Model]:
    return weakref.WeakSet()


@pytest.fixture
def models(settings: Settings, store: StateDir, alive: weakref.WeakSet[Model]) -> Models:
    load = loader(store, settings)

    def counted(sha256: str) -> Model:
        model = load(sha256)
        alive.add(model)
        return model

    store.settle()
    return Models(store, counted)


def test_a_request_keeps_its_model_and_new_ones_get_the_new_one(
    models: Models, store: StateDir, bundles: list[Made], alive: weakref.WeakSet[Model]
) -> None:
    """Held at generation 1 while 2 is current: it answers as 1; released, the old model goes, and not on the request's thread."""
    worker = Worker(store, models)
    make_current(store, bundles[0])
    old = models.current()
    old.__enter__()
    make_current(store, bundles[1])
    new = models.current()
    worker.step()
    assert (old.generation.number, new.generation.number) == (1, 2)
    assert old.model.version == bundles[0].sha256
    assert len(alive) == 2
    old.__exit__()
    del old
    assert len(alive) == 2, "the model went on the request's thread"
    worker.step()
    gc.collect()
    assert len(alive) == 1
    worker.entry.leave()


def test_the_same_model_again_is_another_generation_and_no_third_model(
    models: Models, store: StateDir, bundles: list[Made], alive: weakref.WeakSet[Model]
) -> None:
    """A, B, A with A still held by a request: three generations, two models."""
    make_current(store, bundles[0])
    first = models.current()
    first.__enter__()
    make_current(store, bundles[1])
    models.current()
    make_current(store, bundles[0])
    again = models.current()
    assert (first.generation.number, again.generation.number) == (1, 3)
    assert again.model is first.model
    assert len(alive) == 2


def test_before_the_model_service_was_asked_nothing_answers(
    settings: Settings, store: StateDir, bundles: list[Made]
) -> None:
    """What was current before the start may have been rolled back since."""
    make_current(store, bundles[0])
    models = Models(store, loader(store, settings))
    with pytest.raises(NoModel, match="starting"):
        models.current()
    store.settle()
    assert models.current().generation.number == 1


def test_many_threads_that_find_a_new_generation_load_it_once(
    models: Models, store: StateDir, bundles: list[Made]
) -> None:
    """Each of them answers with it."""
    make_current(store, bundles[0])
    models.current()
    make_current(store, bundles[1])
    found = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        found.append(models.current())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {serving.generation.number for serving in found} == {2}
    assert len({id(serving.model) for serving in found}) == 1


def test_a_file_that_was_changed_in_the_store_is_not_loaded(
    models: Models, store: StateDir, bundles: list[Made]
) -> None:
    """Its hash is checked again by whoever loads it."""
    make_current(store, bundles[0])
    path: Path = store.bundle(bundles[0].sha256)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(NoModel, match="SHA-256"):
        models.current()


def test_tables_that_somebody_has_written_over_answer_no_more(
    settings: Settings, store: StateDir, forest: Path
) -> None:
    """The worker lets the model go at its next step; the next request loads it anew, from the verified bundle."""
    sha256 = archive.digest(forest.read_bytes())
    shutil.copy(forest, store.bundle(sha256))
    store.commit(Candidate("attempt", sha256, 0))
    store.settle()
    models = Models(store, loader(store, settings))
    worker = Worker(store, models)
    first = models.current().model
    worker.step()
    assert models.current().model is first
    tables = store.tables(sha256)
    right = tables.read_bytes()
    tables.chmod(0o600)
    with tables.open("r+b") as file:
        file.write(b"x" * len(right))
    os.utime(tables, ns=(0, 0))
    worker.step()
    second = models.current().model
    assert second is not first
    golden.check(second)
    assert tables.read_bytes() == right
    worker.leave()


def test_tables_go_with_their_bundle(settings: Settings, store: StateDir, forest: Path) -> None:
    """What is kept of a model is kept of its tables; an unfinished file of them is not kept."""
    sha256 = archive.digest(forest.read_bytes())
    shutil.copy(forest, store.bundle(sha256))
    loader(store, settings)(sha256)
    unfinished = store.bundles / f".{store.tables(sha256).name}.0123"
    unfinished.write_bytes(b"")
    store.prune({sha256})
    assert {path.name for path in store.bundles.iterdir()} == {sha256, f"{sha256}.tables"}
    store.prune(set())
    assert list(store.bundles.iterdir()) == []
