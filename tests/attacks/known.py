"""What is done by somebody who means harm, and what is promised then: the rows of the table, in its order."""

from __future__ import annotations

ATTACKS = {
    "requests": (
        "the requests of `tests/hostile/`",
        "the status that each file names, as problem+json; the workers live on",
    ),
    "bodies": (
        "bodies that are generated, cut, doubled, deep, huge or endless",
        "no 5xx, no hang, the workers live on, memory is flat",
    ),
    "memory": (
        "bodies of 16 MiB whose content takes up to thirty times that, on as many connections as there are threads",
        "4xx or 503 with `Retry-After`; a replica takes at most 400 MB more, and gives them back",
    ),
    "headers": ("headers that claim another path, scheme or address", "they change nothing"),
    "slow senders": (
        "200 connections that are silent, or whose head or body never ends, of eight kinds; a flood of them",
        "predictions and probes are answered meanwhile; what was begun gets 408",
    ),
    "slow readers": (
        "12 large answers that are not read, by 4 threads",
        "predictions and probes are answered meanwhile; an answer that is read at last is whole",
    ),
    "vanishing clients": (
        "clients that reset the connection at each step, errors of files and sockets, no descriptors left",
        "the connection ends, and no other; nothing that it held is kept",
    ),
    "metrics": ("other spellings of `/metrics`, through the proxy", "404"),
    "archives": (
        "archives that are changed, cut, doubled, linked or too large",
        "refused before an entry is read, or the same entries",
    ),
    "odd bundles": (
        "bundles with an odd value in a place of their documents, well hashed",
        "refused with the place named, or every page shows them",
    ),
    "pickles": (
        "pickles with code in them, from a model service that lies",
        "not unpickled without a statement; never with a secret, the network or another's file",
    ),
    "statements": (
        "statements that are changed, replayed or signed by others",
        "refused, or they mean exactly what was signed",
    ),
    "kills": ("kill -9 of workers, shipper and master under load", "each answer that was given is in the log once"),
    "full disk": (
        "no room, inodes or descriptors, at every system call of the log in turn",
        "what was appended is in the log once, without a restart",
    ),
    "database gone": (
        "the log's database is removed, truncated, emptied or replaced by an older copy while rows arrive",
        "the tables are made again and the rows are in them, without a restart",
    ),
    "poison": (
        "lines of the log that the database cannot take",
        "they alone are set aside, and can be replayed; every other row arrives",
    ),
    "killed worker": ("kill -9 of a worker under load", "only what was sent to it fails; no older model"),
    "dripping model service": (
        "a model service whose answers come byte by byte, or never end",
        "one deadline holds for the whole exchange; a start answers with its last known good model",
    ),
    "lying model service": (
        "a model service that has another wrong pin or challenger at each poll",
        "attempts wait for each other, up to 30 s",
    ),
    "killed master": (
        "kill -9 of the master under load",
        "its workers free the port, so that a new start answers, and end",
    ),
    "stopped leader": (
        "SIGSTOP of a worker or the leader for longer than every deadline while the pin changes, then SIGCONT",
        "no refusal, no older generation, the pin is reached",
    ),
    "stuck models": (
        "models that hang or die in the workers only, while they are loaded or while they score",
        "refused or taken back with the reason; the model before answers, and the next one is taken",
    ),
    "rollback": ("a restart after a rollback", "the model that was taken back does not return"),
    "callers": (
        "callers who use each other's ids and idempotency keys",
        "each caller's predictions are its own; another's are unknown to it",
    ),
    "other users": (
        "files of state, spool, log and challenger as another user of the host sees them, under a umask of 000 and 077",
        "none can be read",
    ),
    "names in wrong fields": (
        "a borrower's name, sent as a category in 700 rows, and what `/monitor` says of it",
        "only a key with the role `audit` sees it; others its length and the number of rows",
    ),
    "erasure": (
        "erasures while the shipper is paused, and of rows in damaged segments, in the challenger's queue and in free pages",
        "the row does not come later; the command is done once no file of `DATA_DIR` has a byte of it",
    ),
    "look-ups": (
        "look-ups without the role `audit`; scripts in ids, names of models and texts of bundles",
        "the answer of an address at which there is nothing; texts are inert; each look-up is an event",
    ),
    "altered log": (
        "predictions, outcomes, events and batches of the log changed, removed, added, exchanged or hashed again by hand",
        "`make verify-log` names each",
    ),
}
