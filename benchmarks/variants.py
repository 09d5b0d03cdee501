"""``python -m benchmarks.variants``: our API under other gunicorn settings, each as a ratio to the defaults, in turn.

Decision 004 is made from this table. gunicorn takes the variants from ``GUNICORN_CMD_ARGS``, which outranks its
configuration file.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.__main__ import loans
from benchmarks.load import closed_loop
from benchmarks.serving import Subjects

VARIANTS = {
    "defaults": "",
    "the defaults again: noise": "--http-parser python",
    "1 worker": "--workers 1",
    "3 workers": "--workers 3",
    "1 thread": "--threads 1 --worker-class gthread",
    "2 threads": "--threads 2",
    "8 threads": "--threads 8",
    "32 threads": "--threads 32",
    "C parser, if installed": "--http-parser fast",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.variants", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    body = json.dumps(loans(1)[0]).encode()
    with tempfile.TemporaryDirectory() as folder:
        subjects = Subjects(options.model, Path(folder))
        try:
            subjects.start([])
            subjects.processes.pop().terminate()
            for name, arguments in VARIANTS.items():
                state = {"STATE_DIR": f"{folder}/{name}", "DATA_DIR": f"{folder}/data", "GUNICORN_CMD_ARGS": arguments}
                subjects.spawn(name, ["services.predict"], MODEL_SERVER_URL=subjects.model_url(), **state)
            del subjects.ports["ours"]
            subjects.wait(body)
            request = closed_loop.post(body)
            seen: dict[str, list[closed_loop.Round]] = {name: [] for name in VARIANTS}
            for turn in range(options.rounds + 1):
                for name in VARIANTS:
                    found = closed_loop.run(subjects.ports[name], request, options.seconds)
                    if turn:
                        seen[name].append(found)
        finally:
            subjects.stop()
    base = statistics.median(r.rate for r in seen["defaults"])
    tail = statistics.median(r.percentile(0.99) for r in seen["defaults"])
    print("| setting | requests/s, ratio to the defaults | p99, ratio | failed |\n|---|---|---|---|")
    for name, rounds in seen.items():
        rate = statistics.median(r.rate for r in rounds) / base
        late = statistics.median(r.percentile(0.99) for r in rounds) / tail
        print(f"| {name} | {rate:.2f} | {late:.2f} | {sum(r.failed for r in rounds)} |")


if __name__ == "__main__":
    main()
