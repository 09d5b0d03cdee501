"""Write the simulated stand-in loans as CSV, or print the facts of the original that they reproduce.

``make simulate OUT=directory`` runs ``python data/simulate.py --out directory``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

try:
    from late_payers import data, simulation
    from late_payers.summary_statistics import comparison
except ModuleNotFoundError as error:
    sys.exit(f"{error}. `make simulate` installs it and runs this script.")


def main() -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write peerLoanTraining.csv and peerLoanTest.csv into this directory")
    parser.add_argument("--rows", type=int, default=simulation.ROWS)
    parser.add_argument("--test-rows", type=int, default=simulation.TEST_ROWS)
    parser.add_argument("--seed", type=int, default=simulation.SEED)
    parser.add_argument(
        "--ids", metavar="PREFIX", help="a column `id` with this and the number of the loan, to score them by"
    )
    parser.add_argument(
        "--facts", type=Path, metavar="DATA", help="print each fact of the original in DATA and of the stand-in"
    )
    parser.add_argument(
        "--calibrate", type=Path, metavar="DATA", help="measure the original in DATA anew, into the package"
    )
    options = parser.parse_args()
    if options.calibrate or options.facts:
        try:
            book = data.load(options.calibrate or options.facts, say=lambda line: print(line, file=sys.stderr))
        except data.DataError as error:
            parser.exit(1, f"{error}\n")
        if options.calibrate:
            target = Path(simulation.__file__).with_name("book_statistics.json")
            target.write_text(json.dumps(simulation.measure(book.training)) + "\n", "utf-8")
            print(f"wrote {target.name}")
            return 0
        print(comparison(book, *simulation.stand_in()))
        return 0
    if options.out is None:
        parser.error("say what to do: --out, --facts or --calibrate")
    training, test = simulation.stand_in(options.rows, options.test_rows, options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, frame in ((data.TRAINING_FILE, training), (data.TEST_FILE, test)):
        if options.ids:
            frame.insert(0, "id", [f"{options.ids}{number}" for number in range(len(frame))])
        frame.to_csv(options.out / name, index=False)
        print(f"wrote {options.out / name}: {len(frame):,} simulated loans, {frame['is_late'].mean():.2%} late")
    return 0


if __name__ == "__main__":
    sys.exit(main())
