"""The former name of :mod:`services.predict.api.api_keys`, which docs and probes of running installations use."""

import runpy

if __name__ == "__main__":
    runpy.run_module("services.predict.api.api_keys", run_name="__main__", alter_sys=True)
