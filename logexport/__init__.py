"""The prediction log as files for a regulator: Parquet, CSV and a data dictionary. See :mod:`logexport.__main__`."""
