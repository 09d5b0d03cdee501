"""Replacing the model while applications keep asking."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from pathlib import Path

import joblib
import pandas as pd
import pytest

from modelbundle.format import archive, bundle, manifest, values
from tests.conftest import LOAN, Made, make_book, make_logistic
from tests.integration.system import Load, System, until

SWAPS = 20


def probability(path: Path) -> float:
    """What a bundle says of the loan that the load asks about."""
    model = bundle.read(path)
    asked = model.validator.record(LOAN)
    return float(model.answer(asked.row).predict_proba[1])


def place(system: System, name: str, content: bytes, *allow: str) -> str:
    """Put a file beside the models and pin it."""
    (system.models / name).write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    system.pin(name, sha256, allow=allow)
    return sha256


def refusal(system: System, sha256: str) -> str:
    """Wait until the replica refuses a model; its reason."""
    facts = until(
        lambda: (f := system.readyz()[1]["refusal"]) and f["model_version"] == sha256 and f, 30, "the model is refused"
    )
    return str(facts["reason"])


@pytest.mark.slow
def test_twenty_swaps_under_load_fail_nothing_and_nobody_is_answered_by_the_old_model(
    serving: System, bundles: list[Made]
) -> None:
    """Eight keep-alive clients: no failed request, no stale answer, and every probability is the named version's own."""
    truth = {made.sha256: probability(made.path) for made in bundles}
    with Load(serving.port, LOAN) as load:
        for swap in range(1, SWAPS + 1):
            made = bundles[swap % 2]
            serving.pin(made.path.name, made.sha256)
            serving.serving(made.sha256)
        time.sleep(0.2)
    assert load.failed() == []
    assert load.stale() == []
    assert [a for a in load.answers if a.probability != truth[a.version]] == []
    assert {a.generation for a in load.answers} == set(range(1, SWAPS + 2))
    assert len(load.answers) > 1000


def test_a_swap_is_seen_soon(serving: System, bundles: list[Made]) -> None:
    """The pin changes, and the API's answers with it, without anybody restarting anything."""
    before = serving.post(LOAN)
    serving.pin(bundles[1].path.name, bundles[1].sha256)
    serving.serving(bundles[1].sha256)
    after = serving.post(LOAN)
    assert before[1]["x-model-version"] == bundles[0].sha256
    assert after[1]["x-model-version"] == bundles[1].sha256
    assert int(after[1]["x-model-generation"]) == int(before[1]["x-model-generation"]) + 1
    (line,) = [entry for entry in serving.log("model switched") if entry["old"]]
    assert (line["old"], line["model_version"]) == (bundles[0].sha256, bundles[1].sha256)


def test_a_wrong_hash_never_leaves_the_model_service(serving: System, bundles: list[Made]) -> None:
    """The old model answers on, and /pin says what was expected and what was found."""
    serving.pin(bundles[1].path.name, "0" * 64)
    why = until(lambda: serving._get(serving.model_port, "/pin")[1]["why_not"], 10, "the pin is refused")
    assert "0" * 64 in why
    assert bundles[1].sha256 in why
    assert serving.post(LOAN)[1]["x-model-version"] == bundles[0].sha256


def damaged(made: Made, **changes: object) -> bytes:
    """A bundle whose manifest was changed by somebody who can compute hashes."""
    entries = archive.unpack(made.path.read_bytes())
    data = values.loads("manifest.json", entries["manifest.json"])
    for key, value in changes.items():
        data[key] = value
    entries["manifest.json"] = manifest.dump(data)
    return archive.pack(entries)


def test_a_bundle_whose_golden_rows_do_not_reproduce_is_refused(serving: System, bundles: list[Made]) -> None:
    """The reason names the row; the model before answers throughout."""
    golden = bundles[1].published.manifest["golden"]
    scores = [*golden["scores"][:-1], golden["scores"][-1] + 1e-9]
    with Load(serving.port, LOAN, clients=2) as load:
        sha256 = place(serving, "wrong.bundle", damaged(bundles[1], golden={**golden, "scores": scores}))
        assert "golden row 63" in refusal(serving, sha256)
    assert load.failed() == []
    assert {a.version for a in load.answers} == {bundles[0].sha256}


@pytest.mark.parametrize("cut", [100, 20_000])
def test_a_truncated_file_with_its_own_hash_is_refused(serving: System, bundles: list[Made], cut: int) -> None:
    """A pin on a damaged file is honoured up to the point where the file turns out to be no bundle."""
    sha256 = place(serving, "short.bundle", bundles[1].path.read_bytes()[:-cut])
    assert "archive" in refusal(serving, sha256)
    assert serving.post(LOAN)[0] == 200


class Canary:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.path,)


def test_nothing_is_unpickled_before_its_hash_matched(serving: System, tmp_path: Path) -> None:
    """A file with code in it, under the pin of another file, runs nowhere."""
    canary = tmp_path / "sings"
    joblib.dump(Canary(str(canary)), serving.models / "canary.joblib")
    serving.pin("canary.joblib", "1" * 64)
    until(lambda: serving._get(serving.model_port, "/pin")[1]["why_not"], 10, "the pin is refused")
    # the store of the replica is not trusted either: bytes that lie there under a name they do not hash to
    (serving.state / "bundles" / ("1" * 64)).write_bytes((serving.models / "canary.joblib").read_bytes())
    time.sleep(1.5)
    assert not canary.exists()
    # the canary does sing where it is unpickled
    sha256 = place(serving, "pinned.joblib", (serving.models / "canary.joblib").read_bytes())
    reason = refusal(serving, sha256)
    held = "PermissionError" in reason  # the rehearsal may write nothing elsewhere, where the kernel can forbid that
    assert held or "only fitted classifiers are served" in reason
    assert canary.exists() != held


def test_a_pickle_of_another_scikit_learn_is_refused_with_the_difference(serving: System) -> None:
    """Both versions stand in the reason."""
    frame, labels = make_book()
    frame = frame.drop(columns="emp_length")
    pipeline = make_logistic().fit(frame, labels)
    joblib.dump(pipeline, serving.models / "old.joblib")
    content = (serving.models / "old.joblib").read_bytes()
    import sklearn

    old = content.replace(sklearn.__version__.encode(), b"0.9.9"[: len(sklearn.__version__)])
    assert old != content
    reason = refusal(serving, place(serving, "old.joblib", old))
    assert "0.9.9" in reason
    assert sklearn.__version__ in reason


def test_a_plain_pipeline_pinned_by_its_hash_is_served(serving: System) -> None:
    """Schema from the pipeline itself; its probabilities are scikit-learn's."""
    frame, labels = make_book()
    frame = frame.drop(columns="emp_length")
    pipeline = make_logistic().fit(frame, labels)
    joblib.dump(pipeline, serving.models / "plain.joblib")
    content = (serving.models / "plain.joblib").read_bytes()
    assert "`emp_length` is not a feature any more" in refusal(serving, place(serving, "plain.joblib", content))
    sha256 = place(serving, "plain.joblib", content, "contract")
    serving.serving(sha256, 60)
    loan = {k: v for k, v in LOAN.items() if k != "emp_length"}
    status, _, answer = serving.post(loan)
    assert status == 200
    assert answer["reasons"] is None
    expected = pipeline.predict_proba(pd.DataFrame([loan]))[0]
    assert answer["predict_proba"] == pytest.approx(expected.tolist(), abs=1e-12)
    assert serving.post({**loan, "amount": None})[0] == 422


def test_a_model_that_kills_its_process_kills_only_the_rehearsal(serving: System, tmp_path: Path) -> None:
    """The refusal names the signal; no worker died of it."""

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[int]]:
            return signal.raise_signal, (signal.SIGKILL,)

    workers = serving.workers()
    joblib.dump(Bomb(), tmp_path / "bomb")
    assert "SIGKILL" in refusal(serving, place(serving, "bomb.joblib", (tmp_path / "bomb").read_bytes()))
    assert serving.workers() == workers
    assert serving.post(LOAN)[0] == 200
