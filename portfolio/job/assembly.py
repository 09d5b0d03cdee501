"""Assembles the parts, in order, into the output, which gets its name when all of it is on disk."""

from __future__ import annotations

import base64
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from modelbundle import __version__
from modelbundle.model import Model
from portfolio.errors import PortfolioError
from portfolio.files.encoders import OutputFormat
from portfolio.files.locations import CSV, Location, upload
from portfolio.files.writers import Output, Rejects, metadata_path, open_output
from portfolio.job.checkpoint import Checkpoint, FinishedChunk, part, rejects
from portfolio.job.plan import Plan


class Assembly:
    """The unfinished outputs of a plan. A local output is made in its own directory, another one in the work directory."""

    def __init__(self, plan: Plan, forms: Sequence[OutputFormat], model: Model, checkpoint: Checkpoint) -> None:
        """Begin, or go on with what an earlier run made: chunks of which something is missing or damaged are not done."""
        self.plan = plan
        self.model = model
        self.checkpoint = checkpoint
        local = plan.output.local
        folder = checkpoint.folder if local is None else local.parent
        self._made = folder / f".{plan.output.name}.unfinished"
        self._rejects = Rejects(folder / f".{plan.rejects}.unfinished")
        self._forms = forms
        self._target = {source: k for k, target in enumerate(plan.targets) for source in target.sources}
        self._outputs: dict[int, Output] = {}
        self._rows = [0] * len(plan.sources)
        self._rejected = [0] * len(plan.sources)
        self._next = 0
        self._recover()

    def _recover(self) -> None:
        if not self.checkpoint.done:
            self._discard()
        for number, done in sorted(self.checkpoint.done.items()):
            has_rejects = self.checkpoint.has_rejects(done)
            if has_rejects and self.checkpoint.has_part(done):
                continue
            output = self._output(self._target[done.source])
            if has_rejects and number == self._next and output.has(done.part_bytes, done.part_crc):
                self._add(done)
            else:
                del self.checkpoint.done[number]

    def _discard(self) -> None:
        if self._made.is_dir():
            shutil.rmtree(self._made)
        self._made.unlink(missing_ok=True)

    def proceed(self) -> None:
        """Append each part that is next in order."""
        while (done := self.checkpoint.done.get(self._next)) is not None:
            path = part(self.checkpoint.folder, done.number)
            self._output(self._target[done.source]).copy(path)
            self._add(done)
            path.unlink()

    def _add(self, done: FinishedChunk) -> None:
        """Count a chunk whose rows are in its output, and write its rejected rows."""
        scored = done.rows - done.rejected
        self._output(self._target[done.source]).add(done.part_bytes, scored, base64.b64decode(done.groups))
        if done.rejected:
            name = self.plan.sources[done.source].name
            first = self._rows[done.source] + 1
            self._rejects.append(rejects(self.checkpoint.folder, done.number), name, first)
        self._rows[done.source] += done.rows
        self._rejected[done.source] += done.rejected
        self._next += 1

    def _output(self, k: int) -> Output:
        if k not in self._outputs:
            self._outputs[k] = open_output(self._path(k), self._forms[k])
        return self._outputs[k]

    def _path(self, k: int) -> Path:
        return self._made / self.plan.targets[k].name if self.plan.is_directory else self._made

    def __enter__(self) -> Assembly:
        return self

    def __exit__(self, *_: object) -> None:
        for output in self._outputs.values():
            output.release()
        self._rejects.release()

    def commit(self, chunks: int) -> tuple[int, int]:
        """Complete the outputs and give them their names; returns the number of rows and of rejected rows.

        The file of rejected rows gets its name first, so it exists whenever the output does.
        """
        if self._next != chunks:
            raise PortfolioError(f"{self.checkpoint.folder}: part {self._next} is missing; run the same command again")
        for k, target in enumerate(self.plan.targets):
            name = PurePosixPath(target.name or self.plan.output.name).name
            self._output(k).close(name, self._facts(k))
        rows, rejected = sum(self._rows), sum(self._rejected)
        has_rejects = self._rejects.close()
        self.checkpoint.finish(self._made, rows, rejected)
        if self.plan.output.local is None:
            self._upload(has_rejects)
        else:
            self._rename(self.plan.output.local, has_rejects)
        return rows, rejected

    def _facts(self, k: int) -> Mapping[str, str]:
        target = self.plan.targets[k]
        rows = sum(self._rows[i] for i in target.sources)
        rejected = sum(self._rejected[i] for i in target.sources)
        return {
            "model_version": self.model.version,
            "model": self.model.manifest.name,
            "input": json.dumps([self.plan.sources[i].name for i in target.sources]),
            "rows": str(rows),
            "scored": str(rows - rejected),
            "rejected": str(rejected),
            "tool": f"portfolio {__version__}",
        }

    def _rename(self, output: Path, has_rejects: bool) -> None:
        rejected = output.with_name(self.plan.rejects)
        if has_rejects:
            os.replace(self._rejects.path, rejected)
        else:
            rejected.unlink(missing_ok=True)
        if not self.plan.is_directory and self.plan.targets[0].kind == CSV:
            os.replace(metadata_path(self._made), metadata_path(output))
        os.replace(self._made, output)
        folder = os.open(output.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)

    def _upload(self, has_rejects: bool) -> None:
        output = self.plan.output
        if has_rejects:
            upload(self._rejects.path, _sibling(output, self.plan.rejects))
        if not self.plan.is_directory:
            if self.plan.targets[0].kind == CSV:
                upload(metadata_path(self._made), _sibling(output, metadata_path(Path(output.name)).name))
            upload(self._made, output)
            return
        for file in sorted(path for path in self._made.rglob("*") if path.is_file()):
            name = file.relative_to(self._made).as_posix()
            upload(file, Location(f"{output}/{name}", output.system, f"{output.path}/{name}"))
        marker = self.checkpoint.folder / "_SUCCESS"
        marker.touch()
        upload(marker, Location(f"{output}/_SUCCESS", output.system, f"{output.path}/_SUCCESS"))


def _sibling(location: Location, name: str) -> Location:
    own = len(location.name)
    return Location(location.written[:-own] + name, location.system, location.path[:-own] + name)
