"""Hash chains over the log: a row that somebody changes, removes or adds by hand is found and named.

Each spool has a chain of its own in the table ``chain``. A batch is what its shipper inserted into one table
(:mod:`services.predictionlog.chain.tables`) in one transaction, and is inserted in it. What comes without a spool, outcomes and
the events of commands, is in the chain :data:`DIRECT` in the same way. A batch has the id, a random salt and the digest of each
row, and the hash of the batch before it::

    digest of a row = SHA-256(salt, JSON array of the row's columns)
    hash of a batch = SHA-256(JSON array of its head, which has the hash before it, newline, its rows' digests)

An erased row's id and salt go with it; its digest stays, so the hash still holds, and tells nothing without the salt. Which
digests are without a row is in the chain :data:`LOG`, to which each erasure adds. A corrected outcome leaves its first place in
the same way, and gets another at the end of :data:`DIRECT`.
"""

LOG = (
    "log"  # the chain of what happened to the log itself: the migrations that made the chains, erasures and corrections
)
DIRECT = "direct"  # the chain of rows that no spool brings
ROWS, EVENTS, OUTCOMES = "rows", "events", "outcomes"  # batches of predictions, of events, of outcomes
BEGUN, EXTENDED, ERASED, CORRECTED = "begun", "extended", "erased", "corrected"  # batches of LOG
