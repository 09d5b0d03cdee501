"""The former name of :mod:`services.deployment.local`, which scripts of running installations use."""

import runpy

if __name__ == "__main__":
    runpy.run_module("services.deployment.local", run_name="__main__", alter_sys=True)
