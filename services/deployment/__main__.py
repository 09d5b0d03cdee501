"""``python -m services.deployment deploy FILE | rollback | challenge FILE | unchallenge | promote | models``.

The make targets of these names run it. Only one deployment runs at a time: a second one is told that another is running.

Exit codes: 0 done; 1 the model was refused and the old pin restored, or nothing could be done; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from modelbundle import instant
from modelbundle.format import allowance
from modelbundle.format.statement import CHALLENGER
from services.deployment.challenge import challenge, unchallenge
from services.deployment.compose import Compose
from services.deployment.deploy import change, due, log, prepare, sign, taken_back
from services.deployment.history import TAKEN_BACK, History
from services.deployment.listing import lines, models
from services.deployment.local import Local
from services.deployment.lock import alone
from services.deployment.promotion import asked, missing
from services.deployment.target import DeploymentError, ModelFile, Target, ask
from services.model.pin import PinError, parse_share

ROOT = Path.cwd()
MODELS = ROOT / "models"


def find_target(name: str | None) -> Target:
    """Return the system that is running; ``name`` chooses when both kinds run. Raises :class:`DeploymentError`."""
    if name == "local":
        return Local(ROOT / "run")
    compose = Compose(ROOT)
    if name == "compose":
        if not compose.command:
            raise DeploymentError("neither `docker compose` nor `docker-compose` is installed")
        return compose
    local, composed = Local.running(ROOT / "run"), compose.running()
    if local and composed:
        raise DeploymentError("both local processes and containers are running: say TARGET=local or TARGET=compose")
    if local:
        return Local(ROOT / "run")
    if composed:
        return compose
    raise DeploymentError("nothing is running: start it with `make run` or `docker-compose up -d`")


def show(name: str | None, as_json: bool) -> int:
    """Print the models, also when no system is running; returns the exit code."""
    try:
        target = find_target(name)
    except DeploymentError as error:
        if name is not None:
            print(f"models: {error}", file=sys.stderr)
            return 1
        target = None
    facts = models(MODELS, target, History(ROOT / "run" / "deployments.jsonl"))
    print(json.dumps(facts) if as_json else "\n".join(lines(facts)))
    return 0


@dataclass(frozen=True, slots=True)
class Deployment:
    """One command for a running system. Its methods raise :class:`DeploymentError`."""

    target: Target
    history: History
    options: argparse.Namespace
    say: Callable[[str], None]

    def run(self) -> dict[str, Any]:
        """Run the command, print what it did, and return the facts."""
        with alone(ROOT / "run" / "deployment.lock", self.options.action):
            return self.challenge() if self.options.action in ("challenge", "unchallenge") else self.change()

    def change(self) -> dict[str, Any]:
        """Deploy, promote or roll back."""
        options, target, before = self.options, self.target, self.target.pin()
        known = ask(target.url, "/readyz")
        if before is not None and taken_back(known, before):
            self.history.add(target.name, TAKEN_BACK, before, TAKEN_BACK, reason=known["refusal"]["reason"])
        if options.action == "rollback":
            pin = self.history.previous(target.name, before)
            if pin is None:
                raise DeploymentError("there is no earlier model that was accepted here")
        else:
            pin = prepare(options.bundle, MODELS) if options.action == "deploy" else target.challenger()
            if pin is None:
                raise DeploymentError("there is no challenger: set one with `make challenge BUNDLE=path`")
            if options.action == "promote":
                self.weigh(pin, known.get("challenger"))
            pin = replace(pin, allow=options.allow, share=0.0, not_before=options.at)
            if before is not None and self.history.previous(target.name, None) is None:
                self.history.add(target.name, "found", before, "accepted")
        if options.key:
            sign(pin, MODELS, options.key)
        seconds = change(target, pin, self.history, options.action, options.why, self.say)
        self.say(answers(target.url, pin, seconds))
        return self.facts(pin, seconds)

    def weigh(self, pin: ModelFile, facts: dict[str, Any] | None) -> None:
        """Refuse a promotion without enough evidence, unless it is forced. Both are recorded."""
        options = self.options
        why_not = missing(pin, facts, asked())
        if why_not is None:
            return
        result = "forced" if options.force else "refused"
        more = {"reason": why_not, "why": options.why, "evidence": (facts or {}).get("evidence")}
        log(self.target, self.history.add(self.target.name, "evidence", pin, result, **more), self.say)
        if not options.force:
            raise DeploymentError(f"{why_not}. To promote {pin.file} all the same: FORCE=1 WHY=…")

    def challenge(self) -> dict[str, Any]:
        """Set or remove the challenger."""
        options, target = self.options, self.target
        if options.action == "unchallenge":
            gone = unchallenge(target, self.history, options.why, self.say)
            self.say(f"{gone.file} is no challenger any more" if gone else "there is no challenger")
            return self.facts(gone, 0.0)
        pin = replace(prepare(options.bundle, MODELS), allow=options.allow, share=options.share)
        if options.key:
            sign(pin, MODELS, options.key, CHALLENGER)
        seconds = challenge(target, pin, self.history, options.why, self.say)
        does = f"answers {pin.share:g} % of the records" if pin.share else "is scored silently"
        self.say(f"{pin.file} ({pin.sha256[:12]}…) {does} after {seconds:.1f} s; `make models` says how it does")
        return self.facts(pin, seconds)

    def facts(self, pin: ModelFile | None, seconds: float) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        named = pin.entry() if pin else {"file": None, "sha256": None}
        return {"target": self.target.name, **named, "seconds": round(seconds, 3)}


def answers(url: str, pin: ModelFile, seconds: float) -> str:
    """The last line of a deployment: what answers, or will answer."""
    facts = ask(url, "/readyz")
    if pin.not_before and (waits := due(facts, pin)):
        trouble = waits["clock"]["trouble"]
        more = f"; {trouble}" if trouble else ""
        return f"{url} will answer with {pin.file} ({pin.sha256[:12]}…) at {pin.not_before}; staged after {seconds:.1f} s{more}"
    watched = (facts.get("probation") or {}).get("until")
    until = f"; on probation until {watched}" if watched else ""
    return f"{url} answers with {pin.file} ({pin.sha256[:12]}…) after {seconds:.1f} s{until}"


def at(text: str) -> str:
    """An instant to deploy at, which has not passed; raises :class:`argparse.ArgumentTypeError`."""
    found, now = instant.parse(text), time.time()
    if found and found <= now:
        raise instant.InstantError("has passed: without AT the model answers at once")
    instant.bound(found, now)
    return text


def share(text: str) -> float:
    """A share in percent; raises :class:`argparse.ArgumentTypeError`."""
    try:
        found = parse_share(text)
    except PinError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if text and not found:
        raise argparse.ArgumentTypeError("a share is above 0; without SHARE the challenger is silent")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command; prints one line, or one JSON object with ``--json``."""
    parser = argparse.ArgumentParser(prog="python -m services.deployment", description=__doc__)
    parser.add_argument("action", choices=["deploy", "rollback", "challenge", "unchallenge", "promote", "models"])
    parser.add_argument(
        "bundle", nargs="?", type=Path, help="the model file to deploy, or to challenge the one that answers"
    )
    parser.add_argument("--target", choices=["local", "compose"])
    parser.add_argument(
        "--key", type=Path, help="the private key that signs the model anew; a rollback and a promotion need it too"
    )
    parser.add_argument("--why", default="", help="a note for the record")
    parser.add_argument(
        "--allow",
        type=allowance.parse,
        default=(),
        help="the gates that the model need not pass (contract,scores,probation); needs --why",
    )
    parser.add_argument("--force", action="store_true", help="promote without enough evidence; needs --why")
    parser.add_argument(
        "--share",
        type=share,
        default=0.0,
        help="how many percent of the records the challenger answers, 50 at most",
    )
    parser.add_argument(
        "--at", type=at, default="", help="when all hosts switch: 2026-11-30T06:00:00Z, 7 days ahead at most"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if (options.action in ("deploy", "challenge")) != (options.bundle is not None):
        parser.error("deploy and challenge take a model file; the others take none")
    if options.allow and not options.why:
        parser.error("--allow needs --why: what is meant to change is said")
    if options.allow and options.action not in ("deploy", "challenge", "promote"):
        parser.error("--allow goes with deploy, challenge and promote; a model that answered before needs none")
    if options.force and (options.action != "promote" or not options.why):
        parser.error("--force goes with promote, and needs --why")
    if options.share and options.action != "challenge":
        parser.error("--share goes with challenge: the other models answer all records or none")
    if options.at and options.action != "deploy":
        parser.error("--at goes with deploy: all else happens at once")
    if options.action == "models":
        return show(options.target, options.json)
    say: Callable[[str], None] = (lambda _: None) if options.json else partial(print, flush=True)
    try:
        target = find_target(options.target)
        facts = Deployment(target, History(ROOT / "run" / "deployments.jsonl"), options, say).run()
    except DeploymentError as error:
        print(json.dumps({"error": str(error)}) if options.json else f"{options.action}: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
