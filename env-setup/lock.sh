#!/bin/sh
# Resolves the .in files into locked ones: one set of versions, every file with its hashes, no index named.
set -eu
compile="$1 -m uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header --no-annotate"
$compile predict.in -o predict.txt
$compile model.in -c predict.txt -o model.txt
$compile predict.in dev.in -c predict.txt -o dev.txt
$compile score.in -c dev.txt -o score.txt
$compile fairness.in -c dev.txt -o fairness.txt
$compile telemetry.in -c dev.txt -o telemetry.txt
$compile arrow.in -c dev.txt -o arrow.txt
$compile spark.in -c dev.txt -o spark.txt
$compile --no-deps zoo.in -c dev.txt -o zoo.txt
$compile limits.in -c dev.txt -o limits.txt
$compile --no-deps servers.in -c dev.txt -o servers.txt
