"""What is handed out: a wheel that works anywhere, and a list of what is in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.unit.deploy.rendered import ROOT, VERSION

SCORE = """
import sys
import late_payers, modelbundle, portfolio.job.run
from late_payers import simulation
from late_payers.client import Client
from modelbundle.format import bundle
from modelbundle.publishing.compiling.proof import frame_columns
model = bundle.load(open(sys.argv[1], "rb").read())
columns = frame_columns(model.manifest.schema, simulation.simulate(5, seed=1)[list(model.manifest.schema.names)])
probabilities = model.scorer.probabilities(model.scorer.score_columns(columns))
assert len(probabilities) == 5 and all(0 < p < 1 for p in probabilities)
print(modelbundle.__file__, late_payers.__file__, portfolio.job.run.__file__)
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ".", cwd=ROOT)
    (made,) = out.iterdir()
    return made


def test_the_wheel_works_away_from_the_repository(wheel: Path, tmp_path: Path) -> None:
    """In a new environment, from another directory: a bundle is checked, and rows are scored."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=tmp_path,
    )
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"), "utf-8")  # what it needs, not what it is
    shutil.copy(ROOT / "models" / "late-payers.bundle", tmp_path)
    assert "late-payers" in run(python, "-m", "modelbundle", "check", "late-payers.bundle", cwd=tmp_path)
    for found in run(python, "-c", SCORE, "late-payers.bundle", cwd=tmp_path).split():
        assert Path(found).is_relative_to(site)


def test_the_wheel_has_the_packages_and_nothing_else(wheel: Path) -> None:
    """With the version that is in one place, and the files that are data."""
    assert wheel.name == f"peerloan-{VERSION}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        *("modelbundle", "late_payers", "portfolio"),
        f"peerloan-{VERSION}.dist-info",
    }
    assert {"modelbundle/scorers/additive.py", "late_payers/book_statistics.json"} <= set(names)


@pytest.mark.parametrize("image", ["predict", "model"])
def test_the_bill_of_materials_names_what_is_locked(image: str, tmp_path: Path) -> None:
    """Valid CycloneDX; every locked distribution with its version and the hashes of its files."""
    source, out = ROOT / "env-setup" / f"{image}.txt", tmp_path / "bom.json"
    options = ("--output-reproducible", "--validate", "-o", out)
    run(sys.executable, "-m", "cyclonedx_py", "requirements", source, *options, cwd=ROOT)
    components = {(c["name"], c["version"]): c for c in json.loads(out.read_text("utf-8"))["components"]}
    locked = re.findall(r"^([\w.-]+)(?:\[.*\])?==(\S+)", source.read_text("utf-8"), re.MULTILINE)
    assert len(locked) > 10
    assert set(components) == set(locked)
    for component in components.values():
        assert component["externalReferences"][0]["hashes"][0]["alg"] == "SHA-256"
