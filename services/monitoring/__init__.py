"""What the prediction log says of the models: do today's rows look like those of training, and were the predictions right?

::

    prediction log ──hour by hour, at most HOUR_ROWS of each──> Monitor ──> DATA_DIR/monitor.json ──> GET /monitor.json, /metrics
    outcomes ───────────────────────────────────────────────────┘  │
    each replica's counters ──minute by minute──> DATA_DIR/monitoring/<replica>.json
                                                                    └──> python -m services.monitoring report

A process of its own computes, never a request. A feature has *drifted* where the difference to training is no chance (a
chi-squared test, with Benjamini and Hochberg's correction for asking of many features at once) and is large, by its population
stability index or by what it does to the score. ``docs/monitoring.md`` says what each figure means.
"""
