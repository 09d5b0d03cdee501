"""What is measured: counters, gauges, and their export to Prometheus."""
