"""The gates that a model passes before it answers: does it fit the requests that came, and does it score them alike?

The rehearsal's process runs them (:mod:`services.predict.rollout.rehearsal`). They read two bundles and logged rows, and know no
files, processes or settings.
"""
