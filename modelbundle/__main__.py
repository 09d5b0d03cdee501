"""``python -m modelbundle publish|check|sign|verify FILE``, ``keys PRIVATE PUBLIC``: publish, check, sign, verify model files.

Exit codes: 0 success, 1 the model or a file is refused (the message says why), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from modelbundle import golden, instant
from modelbundle.errors import BundleError, StatementError
from modelbundle.format import allowance, bundle, statement
from modelbundle.model import Model
from modelbundle.publishing import provenance


def describe(model: Model) -> dict[str, Any]:
    """The summary of a model that ``check`` prints."""
    about = model.manifest
    return {
        "name": about.name,
        "sha256": model.version,
        "scorer": about.scorer.get("kind"),
        "proof": about.scorer.get("proof"),
        "features": list(model.schema.names),
        "bands": [band.label for band in about.bands],
        "golden_rows": len(about.golden.rows),
        "training": about.data.get("training", {}),
        "metrics": about.data.get("metrics", {}),
    }


def check(options: argparse.Namespace) -> int:
    """Check a model file as a replica does and print its summary, as lines or as one JSON object."""
    model = bundle.read(options.file, options.sha256, allow_pickle=options.allow_pickle)
    golden.check(model)
    facts = describe(model)
    if options.json:
        print(json.dumps(facts))
    else:
        for name, value in facts.items():
            print(f"{name + ':':<13}{', '.join(value) if isinstance(value, list) else value}")
    return 0


def publish(options: argparse.Namespace) -> int:
    """Publish a fitted classifier with its training data, and say what became of it."""
    from modelbundle.publishing.command import quietly  # needs scikit-learn and pandas

    made = quietly(
        options.file,
        options.data,
        options.label,
        options.out,
        positive=options.positive,
        title=options.title,
        key=options.key,
    )
    scorer = made.manifest["scorer"]
    print(f"{made.path}: {scorer['kind']} scorer, proven equal on {scorer['proof']['rows']:,} rows")
    for other in scorer["refused"]:
        print(f"  no {other['kind']} scorer: {other['reason']}")
    if scorer["kind"] == "pipeline":
        print("  where it is served it is unpickled, which runs its code and must be allowed: docs/joblib.md")
    print(f"  sha256 {made.sha256}\n  deploy it with: make deploy BUNDLE={made.path}")
    return 0


def keys(options: argparse.Namespace) -> int:
    """Write a new key pair."""
    statement.make_keys(options.private, options.public)
    print(f"{options.private}: signs; keep it to yourself\n{options.public}: for MODEL_PUBLIC_KEY_FILE")
    return 0


def sign(options: argparse.Namespace) -> int:
    """Write the statement next to the model."""
    role = statement.CHALLENGER if options.challenger else statement.CHAMPION
    print(
        statement.sign_file(
            options.file, options.key, options.sequence, role, options.allow, not_before=options.not_before
        )
    )
    return 0


def verify(options: argparse.Namespace) -> int:
    """Verify the statement or the provenance next to the model and print it."""
    role = statement.CHALLENGER if options.challenger else statement.CHAMPION
    suffix = provenance.SUFFIX if options.provenance else statement.SUFFIXES[role]
    signature = options.file.with_name(options.file.name + suffix)
    with options.file.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with signature.open("rb") as file:
        raw = file.read(statement.MAX_BYTES + 1)
    trusted = statement.read_public(options.public_key)
    try:
        if options.provenance:
            made = provenance.verify(raw, sha256, trusted)
            print(f"sha256:      {sha256}\nkey:         {made.key}\n{json.dumps(made.predicate, indent=2)}")
            return 0
        found = statement.verify(raw, sha256, trusted, role)
    except StatementError as error:
        raise StatementError(f"{signature.name} {error}") from None
    print(f"sha256:      {found.sha256}\nsequence:    {found.sequence}\nkey:         {found.key}")
    if found.allow:
        print(f"allow:       {','.join(found.allow)}")
    if found.not_before:
        print(f"notBefore:   {instant.text(found.not_before)}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m modelbundle", description=__doc__)
    actions = parser.add_subparsers(required=True)
    one = actions.add_parser("publish", help="make a bundle of a fitted classifier (your own: it is run)")
    one.add_argument("file", type=Path, metavar="MODEL", help="a classifier that joblib or pickle wrote")
    one.add_argument("--data", type=Path, required=True, help="the Parquet or CSV file that it was fitted on")
    one.add_argument("--label", required=True, help="the column of that file that it predicts")
    one.add_argument("--out", type=Path, required=True, help="the bundle; its name is the model's")
    one.add_argument("--positive", default="", help='what the last class means: "late next quarter"')
    one.add_argument("--title", default="", help="for people")
    one.add_argument("--key", type=Path, help="the private key that signs the bundle")
    one.set_defaults(run=publish)
    one = actions.add_parser("check", help="check a model file as a replica does")
    one.add_argument("file", type=Path)
    one.add_argument("--sha256", help="the hash that the file must have")
    one.add_argument(
        "--allow-pickle", action="store_true", help="unpickle a model without a compiled scorer: runs its code"
    )
    one.add_argument("--json", action="store_true")
    one.set_defaults(run=check)
    one = actions.add_parser("keys", help="make a key pair")
    one.add_argument("private", type=Path)
    one.add_argument("public", type=Path)
    one.set_defaults(run=keys)
    one = actions.add_parser("sign", help="write the statement FILE.sig")
    one.add_argument("file", type=Path)
    one.add_argument("--key", type=Path, required=True, help="the private key")
    one.add_argument("--sequence", type=int, help="must rise; without it, the time in milliseconds")
    one.add_argument(
        "--challenger",
        action="store_true",
        help="write FILE.challenger.sig: the model may be scored silently, but not answer",
    )
    one.add_argument(
        "--allow",
        type=allowance.parse,
        default=(),
        help="gates that the model need not pass: contract,scores,probation",
    )
    one.add_argument("--not-before", default="", help="the model must not answer before: 2026-11-30T06:00:00Z")
    one.set_defaults(run=sign)
    one = actions.add_parser("verify", help="verify the statement FILE.sig")
    one.add_argument("file", type=Path)
    one.add_argument("--public-key", type=Path, required=True)
    which = one.add_mutually_exclusive_group()
    which.add_argument("--challenger", action="store_true", help="verify FILE.challenger.sig instead")
    which.add_argument("--provenance", action="store_true", help="verify FILE.provenance.sig instead, and show it")
    one.set_defaults(run=verify)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (BundleError, OSError) as error:
        name = getattr(options, "file", None) or options.private
        print(
            json.dumps({"error": str(error)}) if getattr(options, "json", False) else f"{name}: {error}",
            file=sys.stderr,
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
