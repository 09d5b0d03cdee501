"""The prediction log: every answer, its caller, its model and its reasons.

::

    worker ──append──> DATA_DIR/spool/<writer>/*.open ──closed twice a second──> *.segment
                                                                                    │  a process of its own, in batches
                                                                                    v
                                                                 PREDICTION_LOG_URL (SQLite, PostgreSQL)

A request appends to its worker's spool before its answer leaves, and never waits for the database. Appended rows survive the
death of any process; a power cut loses at most the rows since the last closing, half a second. A row is identified by its
``prediction_id``, so shipping a segment twice changes nothing.
"""
