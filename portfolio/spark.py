"""``python -m portfolio.spark IN OUT``: score a portfolio on Spark, with the same function and the same bits.

OUT is a directory of Parquet or CSV, as Spark writes it; rejected rows are in OUT.rejected. Exit codes: 0 done; 1 not, and why;
2 wrong usage; 3 with --strict, OUT was written and some rows were rejected.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from modelbundle.errors import BundleError
from portfolio.errors import PortfolioError
from portfolio.files.added_columns import added
from portfolio.files.readers import check
from portfolio.options import Options, add_arguments, load
from portfolio.spark_batches import CORRUPT, REJECTED, BatchScorer, output_schema

PACKAGES = ("modelbundle", "portfolio")


def session(master: str | None) -> Any:
    """Return the Spark session."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("portfolio")
    builder = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "32768")
    builder = builder.config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false")
    spark = (builder.master(master) if master else builder).getOrCreate()
    here = spark.sparkContext.master.startswith("local")
    spark.sparkContext.setLogLevel("ERROR" if here else "WARN")  # lost executors, and that no worker has room for one
    return spark


def ship(spark: Any, folder: Path) -> None:
    """Send our packages to the executors, which otherwise need only ``env-setup/spark.txt``."""
    archive = folder / "portfolio-packages.zip"
    root = Path(__file__).parents[1]
    with zipfile.ZipFile(archive, "w") as file:
        for package in PACKAGES:
            for path in sorted((root / package).rglob("*.py")):
                file.write(path, path.relative_to(root).as_posix())
    spark.sparkContext.addPyFile(str(archive))


def read(spark: Any, source: str, text: bool) -> Any:
    """Read the portfolio as a data frame. :data:`CORRUPT` has a line of CSV with more or fewer cells than the header."""
    if not text:
        return spark.read.parquet(source)
    options = {"header": True, "escape": '"', "multiLine": True, "enforceSchema": False, "maxCharsPerColumn": -1}
    names = spark.read.options(**options).csv(source)
    from pyspark.sql.types import StringType, StructType

    schema = StructType(names.schema.fields).add(CORRUPT, StringType())
    return spark.read.options(**options, columnNameOfCorruptRecord=CORRUPT).schema(schema).csv(source)


def place(spark: Any, where: str) -> tuple[Any, Any]:
    """Return Spark's file system for ``where``, and ``where`` as it takes it."""
    path = spark.sparkContext._jvm.org.apache.hadoop.fs.Path(where)
    return path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration()), path


def check_free(spark: Any, options: Options, rejects: str) -> None:
    """Raise :class:`PortfolioError` if there are outputs that must not be replaced: before anything is scored or written."""
    for where in (options.output, rejects):
        store, path = place(spark, where)
        if store.exists(path) and not options.force:
            raise PortfolioError(f"{where} exists: pass --force to replace it")


def score(spark: Any, options: Options, text: bool) -> tuple[str, int, int]:
    """Score and write; returns the version of the model, and the number of scored and of rejected rows."""
    from pyspark import StorageLevel
    from pyspark.sql import functions
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    model = load(options)
    rejects = f"{options.output}.rejected"
    check_free(spark, options, rejects)
    book = read(spark, options.source, text)
    source = to_arrow_schema(book.schema)
    check(
        options.source,
        _without(source),
        text,
        model.validator,
        (*added("csv", model.schema), "model_version", *REJECTED),
    )
    schema = output_schema(model, source, text)
    broadcast = spark.sparkContext.broadcast(options.model.read_bytes())
    mapping = BatchScorer(broadcast, model.version, options.allow_pickle, options.with_reasons, text, schema)
    answered = book.mapInArrow(mapping.__call__, from_arrow_schema(schema)).persist(StorageLevel.DISK_ONLY)
    good, bad = answered.filter("_error is null"), answered.filter("_error is not null")
    mode = "overwrite" if options.force else "errorifexists"
    rejected = bad.count()
    if rejected:
        bad.select(*[functions.col(name).alias(name[1:]) for name in REJECTED]).write.mode(mode).csv(
            rejects, header=True, escape='"'
        )
    else:
        store, path = place(spark, rejects)
        store.delete(path, True)  # of a run that --force replaces
    writer = good.drop(*REJECTED).write.mode(mode)
    if options.kind == "csv":
        writer.csv(options.output, header=True, escape='"')
    else:
        writer.parquet(options.output)
    scored = good.count()
    answered.unpersist()
    return model.version, scored, rejected


def _without(schema: Any) -> Any:
    place = schema.get_field_index(CORRUPT)
    return schema if place < 0 else schema.remove(place)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m portfolio.spark", description=__doc__)
    parser.add_argument(
        "source", metavar="IN", help="what Spark reads: a file, a directory, a pattern, any of its stores"
    )
    parser.add_argument("output", metavar="OUT", help="a directory to be made")
    add_arguments(parser)
    parser.add_argument("--from", dest="source_kind", choices=["csv", "parquet"], help="the kind of IN (by its ending)")
    parser.add_argument("--format", dest="kind", choices=["csv", "parquet"], default="parquet", help="the kind of OUT")
    parser.add_argument("--master", help="Spark's master; without it, what spark-submit says, or this machine")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    asked = parser().parse_args(arguments)
    options = Options.from_arguments(asked)
    text = (asked.source_kind or ("csv" if ".csv" in asked.source.lower() else "parquet")) == "csv"
    began = time.monotonic()
    try:
        version, scored, rejected = _run(asked.master, options, text)
    except (PortfolioError, BundleError, OSError) as error:
        print(json.dumps({"error": str(error)}) if asked.json else f"score: {error}", file=sys.stderr)
        return 1
    facts = {
        "output": options.output,
        "rejects": f"{options.output}.rejected" if rejected else None,
        "model_version": version,
        "rows": scored + rejected,
        "scored": scored,
        "rejected": rejected,
        "seconds": round(time.monotonic() - began, 3),
    }
    print(json.dumps(facts) if asked.json else f"{options.output}: {scored:,} rows scored, {rejected:,} rejected")
    return 3 if asked.strict and rejected else 0


def _run(master: str | None, options: Options, text: bool) -> tuple[str, int, int]:
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    load(options)  # before Spark is started
    spark = None
    try:
        spark = session(master)
        with tempfile.TemporaryDirectory() as folder:
            ship(spark, Path(folder))
            return score(spark, options, text)
    except (PySparkException, Py4JError) as error:
        raise PortfolioError(_reason(error)) from None
    finally:
        if spark is not None:
            spark.stop()


def _reason(error: Exception) -> str:
    """Return the first line of what Spark says, without where Python called it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line[2:] for line in lines if line.startswith(": ")), lines[0])


if __name__ == "__main__":
    sys.exit(main())
