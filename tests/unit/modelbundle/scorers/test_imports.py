"""What the serving side imports."""

from __future__ import annotations

import subprocess
import sys


def test_scorers_need_neither_scikit_learn_nor_pandas() -> None:
    """Importing the scorers loads numpy and the standard library, nothing heavier."""
    code = (
        "import sys, modelbundle.scorers\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'sklearn', 'pandas', 'scipy', 'joblib', 'interpret'}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
