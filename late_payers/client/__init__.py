"""A client of the prediction API: ``Client("http://127.0.0.1:5000").predict({...})``. Needs nothing but ``requests``.

Frames go as Arrow where pyarrow is installed and the API takes it; an API that does not answers 415, and gets JSON from then on.

What the API cannot answer now (503, 429) and connections that break off are tried again, as ``Retry-After`` says; a retry
carries the same ``Idempotency-Key``, so it is the same prediction. Whatever else is refused raises :class:`Refused` with the
API's own words.
"""

from late_payers.client.api import (
    ApiError,
    Client,
    Prediction,
    Problem,
    Reason,
    Refused,
    Unavailable,
)

__all__ = ["ApiError", "Client", "Prediction", "Problem", "Reason", "Refused", "Unavailable"]
