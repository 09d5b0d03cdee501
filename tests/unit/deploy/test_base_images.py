"""The images of others are moved to digests in every file that names them, or in none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deploy import base_images
from tests.unit.deploy.rendered import ROOT

ONE, TWO = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
TEXT = """\
FROM python:3.11-slim AS build
FROM python:3.11-slim
# FROM other:1
services:
  proxy: {restart: always}
    image: haproxy:2.6
    - image: haproxy:2.6  # beside it
    image: peerloan/predict:${VERSION:-latest}
    image: peerloan/model:0.1.0
LABEL base.name="registry/library/python:3.11-slim"
"""
ENGINE = """#!/bin/sh
case "$1 $2" in
  "buildx imagetools") %s ;;
  "pull --quiet") %s ;;
  "image inspect") echo '["haproxy@'$DIGEST'"]' ;;
esac
"""


def test_only_what_is_built_on_or_run_is_rewritten() -> None:
    """Not ours, no comment and no label; the tag stays, for people; moved again, a digest gives way to the new one."""
    assert base_images.used(TEXT) == {"python:3.11-slim": "", "haproxy:2.6": ""}
    pinned = base_images.rewritten(TEXT, {"python:3.11-slim": ONE, "haproxy:2.6": TWO})
    assert base_images.used(pinned) == {"python:3.11-slim": ONE, "haproxy:2.6": TWO}
    changed = [new for old, new in zip(TEXT.splitlines(), pinned.splitlines(), strict=True) if new != old]
    assert changed == [
        f"FROM python:3.11-slim@{ONE} AS build",
        f"FROM python:3.11-slim@{ONE}",
        f"    image: haproxy:2.6@{TWO}",
        f"    - image: haproxy:2.6@{TWO}  # beside it",
    ]
    moved = base_images.rewritten(pinned, {"haproxy:2.6": ONE})
    assert base_images.used(moved) == {"python:3.11-slim": ONE, "haproxy:2.6": ONE}
    assert base_images.rewritten(moved, dict.fromkeys(base_images.used(TEXT), "")) == TEXT


def test_every_file_that_names_an_image_is_known() -> None:
    """One image has one tag, and one digest if any, wherever it is named; none is ``latest``."""
    files = [*ROOT.glob("services/*/Dockerfile"), ROOT / "docker-compose.yml"]
    files += [path for path in (ROOT / "deploy").rglob("*.y*ml") if path.is_file()]
    naming = {str(path.relative_to(ROOT)) for path in files if base_images.used(path.read_text("utf-8"))}
    assert naming == set(base_images.FILES)
    found = {each for name in naming for each in base_images.used((ROOT / name).read_text("utf-8")).items()}
    assert len(found) == len({name.partition(":")[0] for name, _ in found}) >= 4
    assert all(re.fullmatch(r"[a-z/]+:v?\d[\w.-]+", name) for name, _ in found)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's files, which may be changed, and no engine."""
    for name in base_images.FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(base_images, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("DIGEST", TWO)
    base_images.main(["--tags"])
    return tmp_path


def engine(folder: Path, inspect: str, pull: str) -> None:
    path = folder / "bin" / "docker"
    path.write_text(ENGINE % (inspect, pull), "utf-8")
    path.chmod(0o755)


def content(folder: Path) -> list[str]:
    return [(folder / name).read_text("utf-8") for name in base_images.FILES]


@pytest.mark.parametrize(
    ("inspect", "pull", "digest"),
    [
        (f"""echo '{{"mediaType": "index", "digest": "{ONE}"}}'""", "exit 1", ONE),
        ("echo no such command >&2; exit 1", "echo pulled", TWO),  # an engine without buildx
    ],
)
def test_all_files_are_moved(
    copied: Path, capsys: pytest.CaptureFixture[str], inspect: str, pull: str, digest: str
) -> None:
    """And then none is by tag alone; back at the tags, they are as before."""
    before = content(copied)
    assert base_images.main(["--check"]) == 1
    assert "haproxy:2.6" in capsys.readouterr().err
    engine(copied, inspect, pull)
    assert base_images.main([]) == 0
    assert {found for text in content(copied) for found in base_images.used(text).values()} == {digest}
    assert base_images.main(["--check"]) == 0
    assert base_images.main(["--tags"]) == 0
    assert content(copied) == before


@pytest.mark.parametrize("pull", ["echo denied >&2; exit 1", "exit 1"])
def test_without_a_registry_nothing_is_changed(copied: Path, capsys: pytest.CaptureFixture[str], pull: str) -> None:
    """An image that lies on the machine already has a digest of some day: that is not what the tag means now."""
    before = content(copied)
    engine(copied, "exit 1", pull)
    assert base_images.main([]) == 1
    assert capsys.readouterr().err.startswith("nothing was changed: haproxy:2.6: ")
    assert content(copied) == before


def test_without_an_engine_it_says_so(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback."""
    monkeypatch.setenv("PATH", str(copied / "bin"))
    before = content(copied)
    assert base_images.main([]) == 1
    assert "docker cannot be asked (FileNotFoundError)" in capsys.readouterr().err
    assert content(copied) == before
