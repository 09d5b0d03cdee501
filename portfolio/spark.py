"""``python -m portfolio.spark IN OUT``: score a book on Spark, by the same function, with the same bits.

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
from portfolio.files.readers import check
from portfolio.files.writers import added
from portfolio.options import Options, load
from portfolio.spark_batches import CORRUPT, REJECTED, Mapping, output_schema

PACKAGES = ("modelbundle", "portfolio")


def session(master: str | None) -> Any:
    """Spark, with our packages where its Python processes find them."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("portfolio")
    builder = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", "32768")
    builder = builder.config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false")
    spark = (builder.master(master) if master else builder).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def ship(spark: Any, folder: Path) -> None:
    """Send the packages along: an executor needs nothing but what ``env-setup/spark.txt`` has."""
    archive = folder / "portfolio-packages.zip"
    root = Path(__file__).parents[1]
    with zipfile.ZipFile(archive, "w") as file:
        for package in PACKAGES:
            for path in sorted((root / package).rglob("*.py")):
                file.write(path, path.relative_to(root).as_posix())
    spark.sparkContext.addPyFile(str(archive))


def read(spark: Any, source: str, text: bool) -> Any:
    """The book as a data frame; a line of CSV that does not have the header's cells is in :data:`CORRUPT`."""
    if not text:
        return spark.read.parquet(source)
    options = {"header": True, "escape": '"', "multiLine": True, "enforceSchema": False, "maxCharsPerColumn": -1}
    names = spark.read.options(**options).csv(source)
    from pyspark.sql.types import StringType, StructType

    schema = StructType(names.schema.fields).add(CORRUPT, StringType())
    return spark.read.options(**options, columnNameOfCorruptRecord=CORRUPT).schema(schema).csv(source)


def score(spark: Any, options: Options, text: bool, kind: str) -> tuple[str, int, int]:
    """Score and write; returns the model's version, and how many rows were scored and rejected."""
    from pyspark import StorageLevel
    from pyspark.sql import functions
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    model = load(options)
    book = read(spark, options.source, text)
    source = to_arrow_schema(book.schema)
    check(options.source, _without(source), text, model.validator, (*added("csv"), *REJECTED))
    schema = output_schema(model, source, text)
    broadcast = spark.sparkContext.broadcast(options.model.read_bytes())
    mapping = Mapping(broadcast, model.version, options.allow_pickle, options.with_reasons, text, schema)
    answered = book.mapInArrow(mapping.__call__, from_arrow_schema(schema)).persist(StorageLevel.DISK_ONLY)
    good, bad = answered.filter("_error is null"), answered.filter("_error is not null")
    mode = "overwrite" if options.force else "errorifexists"
    rejected = bad.count()
    if rejected:
        bad.select(*[functions.col(name).alias(name[1:]) for name in REJECTED]).write.mode(mode).csv(
            f"{options.output}.rejected", header=True, escape='"'
        )
    writer = good.drop(*REJECTED).write.mode(mode)
    if kind == "csv":
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
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m portfolio.spark", description=__doc__)
    parser.add_argument(
        "source", metavar="IN", help="what Spark reads: a file, a directory, a pattern, any of its stores"
    )
    parser.add_argument("output", metavar="OUT", help="a directory to be made")
    parser.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"), help="the bundle")
    parser.add_argument("--sha256", help="the hash that the bundle must have")
    parser.add_argument("--signed", type=Path, metavar="KEY.pem", help="the bundle must be signed by one of these keys")
    parser.add_argument("--from", dest="source_kind", choices=["csv", "parquet"], help="what IN is (by its ending)")
    parser.add_argument("--format", choices=["csv", "parquet"], default="parquet", help="what OUT is to be")
    parser.add_argument("--no-reasons", action="store_true", help="leave the column of reasons empty, which is faster")
    parser.add_argument("--master", help="Spark's master; without it, what spark-submit says, or this machine")
    parser.add_argument("--force", action="store_true", help="replace OUT")
    parser.add_argument("--strict", action="store_true", help="exit with 3 where rows were rejected")
    parser.add_argument("--json", action="store_true", help="the summary as one object of JSON")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    asked = parser().parse_args(arguments)
    options = Options(
        source=asked.source,
        output=asked.output,
        model=asked.model,
        sha256=asked.sha256,
        signed=asked.signed,
        with_reasons=not asked.no_reasons,
        force=asked.force,
    )
    text = (asked.source_kind or ("csv" if ".csv" in asked.source.lower() else "parquet")) == "csv"
    began = time.monotonic()
    try:
        version, scored, rejected = _run(asked.master, options, text, asked.format)
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


def _run(master: str | None, options: Options, text: bool, kind: str) -> tuple[str, int, int]:
    from pyspark.errors import PySparkException

    load(options)  # before Spark is started
    spark = session(master)
    try:
        with tempfile.TemporaryDirectory() as folder:
            ship(spark, Path(folder))
            return score(spark, options, text, kind)
    except PySparkException as error:
        first = str(error).strip().splitlines()[0]
        raise PortfolioError(first) from None
    finally:
        spark.stop()


if __name__ == "__main__":
    sys.exit(main())
