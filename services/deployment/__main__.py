"""``python -m services.deployment deploy FILE | rollback | models``: what the targets of these names run.

Exit codes: 0 done; 1 the model was refused and the old pin restored, or nothing could be done; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from services.deployment.compose import Compose
from services.deployment.deploy import change, prepare, sign
from services.deployment.history import History
from services.deployment.listing import lines, models
from services.deployment.target import DeploymentError, Local, Target

ROOT = Path.cwd()


def find_target(name: str | None) -> Target:
    """The system that is running; ``name`` decides where both are. Raises :class:`DeploymentError`."""
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
    """Print the models; where nothing runs, those that are there."""
    try:
        target = find_target(name)
    except DeploymentError as error:
        if name is not None:
            print(f"models: {error}", file=sys.stderr)
            return 1
        target = None
    facts = models(ROOT / "models", target, History(ROOT / "run" / "deployments.jsonl"))
    print(json.dumps(facts) if as_json else "\n".join(lines(facts)))
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; prints one line, or one JSON object with ``--json``."""
    parser = argparse.ArgumentParser(prog="python -m services.deployment", description=__doc__)
    parser.add_argument("action", choices=["deploy", "rollback", "models"])
    parser.add_argument("bundle", nargs="?", type=Path, help="the model file to deploy")
    parser.add_argument("--target", choices=["local", "compose"])
    parser.add_argument("--key", type=Path, help="the private key that signs the model anew; a rollback needs it too")
    parser.add_argument("--why", default="", help="a note for the record")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if (options.action == "deploy") != (options.bundle is not None):
        parser.error("deploy takes a model file; rollback and models take none")
    if options.action == "models":
        return show(options.target, options.json)
    say = (lambda _: None) if options.json else print
    try:
        target = find_target(options.target)
        history = History(ROOT / "run" / "deployments.jsonl")
        before = target.pin()
        if options.action == "deploy":
            pin = prepare(options.bundle, ROOT / "models")
            if before is not None and history.previous(target.name, None) is None:
                history.add(target.name, "found", before, "accepted")
        else:
            found = history.previous(target.name, before)
            if found is None:
                raise DeploymentError("there is no earlier model that was accepted here")
            pin = found
        if options.key:
            sign(pin, ROOT / "models", options.key)
        seconds = change(target, pin, history, options.action, options.why, say)
    except DeploymentError as error:
        print(json.dumps({"error": str(error)}) if options.json else f"{options.action}: {error}", file=sys.stderr)
        return 1
    facts = {"target": target.name, "file": pin.file, "sha256": pin.sha256, "seconds": round(seconds, 3)}
    say(f"{target.url} answers with {pin.file} ({pin.sha256[:12]}…) after {seconds:.1f} s")
    if options.json:
        print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
