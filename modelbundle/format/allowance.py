"""The gates that a pin lifts: what its operator means to change, although the running model's traffic does not fit it.

A replica refuses a model that does not fit the traffic (``docs/deploy-safely.md``). An operator who means the change says so in
the pin, and where models must be signed, the statement says it too.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Sequence

CONTRACT, SCORES, PROBATION = "contract", "scores", "probation"
GATES = (CONTRACT, SCORES, PROBATION)
RULE = f"must be some of {', '.join(GATES)}, with commas between them"


class AllowanceError(ArgumentTypeError, ValueError):
    """A list of gates that has another word in it. The message says which words there are."""


def parse(words: object) -> tuple[str, ...]:
    """The gates named in ``"contract,scores"`` or in a list of strings, in the order of :data:`GATES`.

    Nothing, None and an empty list lift no gate. Raises :class:`AllowanceError`.
    """
    if isinstance(words, str):
        words = [word.strip() for word in words.split(",") if word.strip()]
    words = words or ()
    if not isinstance(words, Sequence) or not all(word in GATES for word in words):
        raise AllowanceError(RULE)
    return tuple(gate for gate in GATES if gate in words)
