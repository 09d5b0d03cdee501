"""What ``make challenge`` and ``make promote`` run, and signing at each step, in a directory of its own."""

from __future__ import annotations

import json

import pytest

from modelbundle.format import statement
from services.predict.serving.shares import falls
from tests.conftest import Made
from tests.integration.place import Place


@pytest.mark.slow
def test_a_challenger_is_set_promoted_and_rolled_back(place: Place, bundles: list[Made]) -> None:
    """Silent until it is promoted; then it answers and challenges nobody; going back goes to the old champion."""
    place.start()
    first, second = bundles[0].sha256, bundles[1].sha256
    nothing = place.command("promote")
    assert (nothing.returncode, nothing.stderr[:36]) == (1, "promote: there is no challenger: set")
    itself = place.command("challenge", "models/late-payers.bundle")
    assert "cannot challenge itself" in itself.stderr
    done = place.command("challenge", str(bundles[1].path), "--why", "try it", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["sha256"] == second
    assert place.version() == first
    shown = place.command("models").stdout
    assert f"challenger      {bundles[1].path.name}" in shown
    assert f"replica local: challenger {second[:12]}, scoring" in shown

    early = place.command("promote")
    assert early.returncode == 1
    assert "evidence of 20 is asked for. To promote second.bundle all the same: FORCE=1 WHY=" in early.stderr
    assert place.version() == first
    assert place.command("promote", "--force").returncode == 2, "forced without a reason"
    assert place.command("promote", "--force", "--why", "we are sure").returncode == 0
    assert place.version() == second
    assert "challenger" not in json.loads((place.root / "run" / "pin.json").read_text("utf-8"))
    assert place.command("rollback").returncode == 0
    assert place.version() == first

    assert place.command("challenge", str(bundles[1].path)).returncode == 0
    assert place.command("unchallenge").stdout == f"{bundles[1].path.name} is no challenger any more\n"
    assert place.command("unchallenge").stdout == "there is no challenger\n"
    assert place.command("rollback").returncode == 1, "a challenge was taken for a deployment"
    assert [action for action, *_ in place.history()] == [
        "challenge",
        "evidence",
        "evidence",
        "found",
        "promote",
        "rollback",
        "challenge",
        "unchallenge",
    ]


@pytest.mark.slow
def test_a_challenger_answers_a_share_is_silent_again_and_is_promoted_from_a_share(
    place: Place, bundles: list[Made]
) -> None:
    """Each step waits until the replica does it; a promoted challenger answers all records, without a share."""
    place.start()
    first, second, path = bundles[0].sha256, bundles[1].sha256, str(bundles[1].path)
    gates = ("--allow", "contract,scores", "--why", "another model")
    done = place.command("challenge", path, "--share", "12.5", *gates)
    assert (done.returncode, done.stderr) == (0, "")
    assert "answers 12.5 % of the records" in done.stdout
    assert f"challenger {second[:12]}, scoring, answers 12.5 %" in place.command("models").stdout
    chosen = {falls(second, 12.5, str(i)): str(i) for i in range(1000)}
    assert (place.version(chosen[False]), place.version(chosen[True])) == (first, second)
    silent = place.command("challenge", path, *gates)
    assert "is scored silently" in silent.stdout
    assert place.version(chosen[True]) == first
    assert "answers 12.5 %" not in place.command("models").stdout
    for share in ("0", "51", "-1", "x"):
        wrong = place.command("challenge", path, "--share", share)
        assert wrong.returncode == 2
        assert "share" in wrong.stderr
    assert place.command("challenge", path, "--share", "10", *gates).returncode == 0
    assert json.loads((place.root / "run" / "pin.json").read_text("utf-8"))["challenger"]["share"] == 10
    assert place.command("promote", "--force", *gates).returncode == 0
    assert place.version() == second
    assert "share" not in (place.root / "run" / "pin.json").read_text("utf-8")


@pytest.mark.slow
def test_deploying_with_a_key_signs_and_so_does_going_back(place: Place, bundles: list[Made]) -> None:
    """Where models must be signed, each step is a new statement; without the key, nothing moves."""
    private, public = place.root / "secrets" / "signing-key.pem", place.root / "keys" / "model-public.pem"
    statement.make_keys(private, public)
    statement.sign_file(place.root / "models" / "late-payers.bundle", private)
    place.environment["MODEL_PUBLIC_KEY_FILE"] = str(public)
    place.start()
    unsigned = place.command("deploy", str(bundles[1].path))
    assert unsigned.returncode == 1
    assert "the model is not signed" in unsigned.stderr
    assert place.version() == bundles[0].sha256
    assert place.command("deploy", str(bundles[1].path), "--key", str(private)).returncode == 0
    assert place.version() == bundles[1].sha256
    bare = place.command("rollback")
    assert bare.returncode == 1
    assert "was accepted before: sign the model anew" in bare.stderr
    assert place.version() == bundles[1].sha256
    assert place.command("rollback", "--key", str(private)).returncode == 0
    assert place.version() == bundles[0].sha256

    file = place.root / "run" / "pin.json"
    silent = place.command("challenge", str(bundles[1].path))
    assert silent.returncode == 1
    assert "is not scored: the model is not signed" in silent.stderr
    assert "challenger" not in json.loads(file.read_text("utf-8")), "the refused challenger was not taken back"
    assert place.command("challenge", str(bundles[1].path), "--key", str(private)).returncode == 0
    shared = place.command("challenge", str(bundles[1].path), "--share", "10")
    assert "the statement allows no share, and the pin says 10 %" in shared.stderr
    assert "share" not in json.loads(file.read_text("utf-8"))["challenger"], "the silent challenger was not restored"
    share = place.command("challenge", str(bundles[1].path), "--share", "10", "--key", str(private))
    assert (share.returncode, share.stderr) == (0, "")
    forced = ("promote", "--force", "--why", "a test")
    bare = place.command(*forced)
    assert bare.returncode == 1
    assert "was accepted before: sign the model anew" in bare.stderr
    assert json.loads(file.read_text("utf-8"))["challenger"]["sha256"] == bundles[1].sha256
    assert place.command(*forced, "--key", str(private)).returncode == 0
    assert place.version() == bundles[1].sha256
