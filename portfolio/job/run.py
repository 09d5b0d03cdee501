"""A run: reads chunks in order, has one process per core score them, and assembles the parts in order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from modelbundle import __version__
from modelbundle.model import Model
from portfolio import arrow
from portfolio.errors import PortfolioError
from portfolio.files import spans
from portfolio.files.added_columns import added
from portfolio.files.column_chunks import FEW_ROWS, MOST_ROWS
from portfolio.files.encoders import OutputFormat
from portfolio.files.locations import CSV
from portfolio.files.readers import InputFile, check
from portfolio.files.spans import cut
from portfolio.files.writers import output_format
from portfolio.job import plan
from portfolio.job.assembly import Assembly
from portfolio.job.checkpoint import Checkpoint
from portfolio.job.plan import Plan
from portfolio.job.pool import Pool, cores
from portfolio.job.progress import Progress
from portfolio.job.worker import Chunk, InputFormat, WorkerOptions
from portfolio.options import Options, load


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of a run; ``resumed`` counts the rows that an earlier run had scored.

    ``absent`` are optional features that no input has: they were missing on every row.
    """

    output: str
    rejects: str | None
    model_version: str
    rows: int
    scored: int
    rejected: int
    resumed: int
    seconds: float
    rows_per_second: int
    absent: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return the summary as a JSON object."""
        return asdict(self)


def run(options: Options) -> Summary:
    """Score a book. Raises :class:`PortfolioError`, :class:`modelbundle.errors.BundleError` or :class:`OSError`."""
    began = time.monotonic()
    arrow.use_system_memory()
    job = plan.make(options.source, options.output, options.kind)
    folder = options.work or (job.output.local or Path(job.output.name)).with_name(f"{job.output.name}.parts")
    if not folder.exists():
        plan.check_free(job, options.force)
    model = load(options)
    _check(job, model)
    forms = [output_format(target.kind, [job.sources[i] for i in target.sources], model) for target in job.targets]
    with Checkpoint(folder, _identity(options, job, model), options.fresh) as checkpoint:
        done = checkpoint.found_finished(job.output.local)
        resumed = done[0] if done else 0
        if done is None:
            plan.check_free(job, options.force)
            with Assembly(job, forms, model, checkpoint) as assembly:
                resumed = sum(part.rows for part in checkpoint.done.values())
                done = _score(options, job, forms, model, checkpoint, assembly)
        checkpoint.remove()
    rows, rejected = done
    seconds = time.monotonic() - began
    return Summary(
        output=options.output,
        rejects=f"{options.output}{plan.REJECTS}" if rejected else None,
        model_version=model.version,
        rows=rows,
        scored=rows - rejected,
        rejected=rejected,
        resumed=resumed,
        seconds=round(seconds, 3),
        rows_per_second=round((rows - resumed) / seconds),
        absent=[name for name in model.schema.names if not any(name in source.schema.names for source in job.sources)],
    )


def _check(job: Plan, model: Model) -> None:
    for target in job.targets:
        for i in target.sources:
            source = job.sources[i]
            check(
                str(source.location),
                source.schema,
                source.kind == CSV,
                model.validator,
                added(target.kind, model.schema),
                [name for name, _ in source.partition],
                target.kind == CSV,
            )


def _identity(options: Options, job: Plan, model: Model) -> dict[str, Any]:
    """Return what must be equal for a run to continue with the parts of an earlier run."""
    return {
        "input": [source.fingerprint() for source in job.sources],
        "model": model.version,
        "output": [[target.name, target.kind] for target in job.targets],
        "option": [options.with_reasons, spans.CHUNK_BYTES, spans.PIECE_ROWS, spans.PIECES, FEW_ROWS, MOST_ROWS],
        "version of the tool": [__version__, pa.__version__],
    }


def _score(
    options: Options,
    job: Plan,
    forms: Sequence[OutputFormat],
    model: Model,
    checkpoint: Checkpoint,
    assembly: Assembly,
) -> tuple[int, int]:
    """Score the chunks that have no part yet, and assemble all parts; returns the number of rows and of rejected rows."""
    outputs = {i: k for k, target in enumerate(job.targets) for i in target.sources}
    worker_options = WorkerOptions(
        model=options.model.absolute(),
        version=model.version,
        allow_pickle=options.allow_pickle,
        with_reasons=options.with_reasons,
        folder=checkpoint.folder.absolute(),
        inputs=tuple(
            InputFormat(s.location, s.kind, s.own_names, s.partition, outputs[i]) for i, s in enumerate(job.sources)
        ),
        outputs=tuple(forms),
    )
    workers = options.workers or cores()
    total = None if any(s.rows is None for s in job.sources) else sum(s.rows or 0 for s in job.sources)
    chunks = 0
    with Progress(options.progress, total) as progress, Pool(workers, worker_options, checkpoint) as pool:
        for chunk in _chunks(job.sources, worker_options):
            chunks += 1
            if chunk.number in checkpoint.done:
                progress.resumed(checkpoint.done[chunk.number].rows)
            else:
                pool.submit(chunk)
            for done, share in pool.collect():
                progress.advance(done.rows, share)
            assembly.proceed()
        for done, share in pool.rest():
            progress.advance(done.rows, share)
            assembly.proceed()
    for source in job.sources:
        if source.has_changed():
            raise PortfolioError(f"{source.location}: changed while it was read")
    return assembly.commit(chunks)


def _chunks(sources: Sequence[InputFile], options: WorkerOptions) -> Iterator[Chunk]:
    number, before = 0, 0
    total = max(sum(source.size for source in sources), 1)
    for i, source in enumerate(sources):
        for span in cut(source, options.outputs[options.inputs[i].output]):
            yield Chunk(number, i, span, (before + span.read * source.size) / total)
            number += 1
        before += source.size
