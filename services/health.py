"""The former name of :mod:`services.web.healthcheck`, which docs and probes of running installations use."""

import runpy

if __name__ == "__main__":
    runpy.run_module("services.web.healthcheck", run_name="__main__", alter_sys=True)
