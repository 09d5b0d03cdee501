"""The machine's limit: a book is read and written again, with the same columns and without a score, by one of three libraries.

``python conversion.py ENGINE IN OUT`` prints the version, and the seconds and those of processor time without the imports.
DuckDB and Polars have an environment of their own, so this file imports nothing of the project.
"""

from __future__ import annotations

import sys
import time
from importlib import metadata


def by_pyarrow(source: str, output: str) -> None:
    """Convert with Arrow's streaming reader and writers, with all cores."""
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq

    if source.endswith(".csv"):
        reader = pacsv.open_csv(source, pacsv.ReadOptions(block_size=8 << 20))
        schema, batches = reader.schema, iter(reader)
    else:
        file = pq.ParquetFile(source)
        schema, batches = file.schema_arrow, file.iter_batches(1 << 18)
    with (
        pacsv.CSVWriter(output, schema)
        if output.endswith(".csv")
        else pq.ParquetWriter(output, schema, compression="zstd") as writer
    ):
        for batch in batches:
            writer.write_batch(batch)


def by_duckdb(source: str, output: str) -> None:
    """Convert with DuckDB's readers and COPY."""
    import duckdb

    kind = "(FORMAT csv, HEADER)" if output.endswith(".csv") else "(FORMAT parquet, COMPRESSION zstd)"
    duckdb.sql(f"COPY (FROM '{source}') TO '{output}' {kind}")


def by_polars(source: str, output: str) -> None:
    """Convert with Polars' lazy readers and its streaming writers."""
    import polars as pl

    frame = pl.scan_csv(source) if source.endswith(".csv") else pl.scan_parquet(source)
    if output.endswith(".csv"):
        frame.sink_csv(output)
    else:
        frame.sink_parquet(output, compression="zstd", compression_level=1)


ENGINES = {"pyarrow": by_pyarrow, "duckdb": by_duckdb, "polars": by_polars}


def main(engine: str, source: str, output: str) -> None:
    """Convert once, and print what it took."""
    __import__(engine)
    began, worked = time.perf_counter(), time.process_time()
    ENGINES[engine](source, output)
    print(metadata.version(engine), time.perf_counter() - began, time.process_time() - worked)


if __name__ == "__main__":
    main(*sys.argv[1:])
