"""A host whose clock is set wrong: Python imports this where this folder is in PYTHONPATH, as for one host of a test."""

import os
import time

_true, _ahead = time.time, float(os.environ["TEST_CLOCK_AHEAD"])
time.time = lambda: _true() + _ahead
