"""Monitors the models from the prediction log: do today's rows look like those of training, and were the predictions right?

::

    prediction log ──hour by hour, at most HOUR_ROWS of each──> Monitor ──> DATA_DIR/monitor.json ──> GET /monitor.json, /metrics
    outcomes ───────────────────────────────────────────────────┘  │
    each replica's counters ──minute by minute──> DATA_DIR/monitoring/<replica>.json
                                                                    └──> python -m services.monitoring report

A separate process computes the figures, so no request waits for them. A feature has *drifted* when its difference to training is
both statistically significant (a chi-squared test, corrected for many features by Benjamini and Hochberg) and large (by its
population stability index, or by its effect on the score). ``docs/monitoring.md`` explains each figure.
"""
