"""The prediction log: what was answered, to whom, by which model, and why.

::

    worker ──append──> DATA_DIR/spool/<writer>/*.open ──closed twice a second──> *.segment
                                                                                    │  a process of its own, in batches
                                                                                    v
                                                                 PREDICTION_LOG_URL (SQLite, PostgreSQL)

A request appends to its worker's spool before its answer leaves, and never waits for the database. What was appended survives the
death of any process; a power cut loses at most what came since the last closing, half a second. Rows are told apart by
``prediction_id``, so that shipping a segment twice changes nothing.
"""
