"""What both services share on their way in and out: request ids, errors, logs, traces, probes."""
