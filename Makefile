# Needs nothing but Python >= 3.11, make and a package index. `make` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV ?= .venv
SPARK_VENV ?= .venv-spark
SERVERS_VENV ?= .venv-servers
LIMITS_VENV ?= .venv-limits
PY := $(VENV)/bin/python
PORT ?= 5000
MODEL ?= models/late-payers.bundle
JOBS ?= 3
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

# The virtual environment. Serving needs little; training, the notebook, tests and checks need more.

$(VENV)/made:
	@sh env-setup/make-venv.sh $(VENV)
	@touch $@

$(VENV)/serving: env-setup/predict.txt | $(VENV)/made
	@$(PY) -m pip install --quiet --no-deps --require-hashes -r env-setup/predict.txt
	@touch $@

$(VENV)/development: env-setup/dev.txt | $(VENV)/made
	@$(PY) -m pip install --quiet --no-deps --require-hashes -r env-setup/dev.txt
	@touch $@ $(VENV)/serving $(VENV)/scoring $(VENV)/fairness

.PHONY: run
run: $(VENV)/serving ## both services as local processes on PORT (5000), until Ctrl-C
	@PORT=$(PORT) MODEL="$(MODEL)" $(PY) -m services.deployment.local

.PHONY: ask
ask: $(VENV)/serving ## ask the running API about two payers
	@$(PY) make_test_request.py http://127.0.0.1:$(PORT)

.PHONY: deploy
deploy: $(VENV)/serving ## bring out BUNDLE=path on what is running (TARGET=local|compose, WHY="…", KEY=path to sign it, ALLOW=contract,scores,probation, AT=2026-11-30T06:00:00Z: on all hosts at that time)
	@$(PY) -m services.deployment deploy "$(BUNDLE)" $(if $(AT),--at "$(AT)") $(if $(TARGET),--target $(TARGET)) $(if $(KEY),--key "$(KEY)") $(if $(WHY),--why "$(WHY)") $(if $(ALLOW),--allow "$(ALLOW)")

.PHONY: rollback
rollback: $(VENV)/serving ## back to the model that was accepted before
	@$(PY) -m services.deployment rollback $(if $(TARGET),--target $(TARGET)) $(if $(KEY),--key "$(KEY)") $(if $(WHY),--why "$(WHY)")

.PHONY: challenge
challenge: $(VENV)/serving ## score BUNDLE=path silently beside the model that answers, or let it answer SHARE=10 percent; BUNDLE= takes it away
	$(if $(filter undefined,$(origin BUNDLE)),$(error say BUNDLE=path, or BUNDLE= to take the challenger away))
	@$(PY) -m services.deployment $(if $(BUNDLE),challenge "$(BUNDLE)" $(if $(SHARE),--share "$(SHARE)"),unchallenge) $(if $(TARGET),--target $(TARGET)) $(if $(KEY),--key "$(KEY)") $(if $(WHY),--why "$(WHY)") $(if $(ALLOW),--allow "$(ALLOW)")

.PHONY: unchallenge
unchallenge: $(VENV)/serving ## take the challenger away
	@$(PY) -m services.deployment unchallenge $(if $(TARGET),--target $(TARGET)) $(if $(WHY),--why "$(WHY)")

.PHONY: promote
promote: $(VENV)/serving ## let the challenger answer, with enough evidence or FORCE=1 WHY=…; `make rollback` goes back
	@$(PY) -m services.deployment promote $(if $(FORCE),--force) $(if $(TARGET),--target $(TARGET)) $(if $(KEY),--key "$(KEY)") $(if $(WHY),--why "$(WHY)") $(if $(ALLOW),--allow "$(ALLOW)")

.PHONY: models
models: $(VENV)/serving ## what is published, pinned, serving on each replica, and previous
	@$(PY) -m services.deployment models $(if $(TARGET),--target $(TARGET))

.PHONY: audit
audit: $(VENV)/serving ## one prediction's story, computed again: ID=prediction id, request id, or the caller's own id
	@$(PY) -m services.predictionlog audit "$(ID)"

.PHONY: verify-log
verify-log: $(VENV)/serving ## were rows of the log changed, removed or added by hand? Walks the chains of hashes and names them
	@$(PY) -m services.predictionlog verify

.PHONY: notice
notice: $(VENV)/serving ## letters of adverse action: ID=… or LIST=file.csv, ACTION="what was done" (TO=directory)
	@$(PY) -m notices $(if $(LIST),--list "$(LIST)","$(ID)") --action "$(ACTION)" $(if $(TO),--to "$(TO)")

$(VENV)/scoring: env-setup/score.txt | $(VENV)/made
	@$(PY) -m pip install --quiet --no-deps --require-hashes -r env-setup/score.txt
	@touch $@

.PHONY: monitor
monitor: $(VENV)/serving ## is the model still right? a page of the last DAYS (30) from the log, to OUT=path (ARGS=more options)
	@$(PY) -m services.monitoring report $(if $(DAYS),--days $(DAYS)) $(if $(OUT),--out "$(OUT)") $(ARGS)

.PHONY: compare
compare: $(VENV)/serving $(VENV)/scoring ## BUNDLE=path and the current model (or WITH=path) on the same rows: the log's last DAYS (7) or IN=book.csv, to OUT=page.html
	@$(PY) -m comparison "$(BUNDLE)" $(if $(WITH),--with "$(WITH)") $(if $(DAYS),--days $(DAYS)) $(if $(IN),--in "$(IN)") $(if $(OUT),--out "$(OUT)") $(ARGS)

$(VENV)/fairness: env-setup/fairness.txt | $(VENV)/made
	@$(PY) -m pip install --quiet --no-deps --require-hashes -r env-setup/fairness.txt
	@touch $@

.PHONY: fairness
fairness: $(VENV)/serving $(VENV)/scoring $(VENV)/fairness ## figures by the group in GROUPS=file (id, group), to REFERENCE=group, if REFUSE=band or probability refuses: of IN=book.csv or the log's last DAYS (30), to OUT=page.html
	@$(PY) -m fairness measure "$(GROUPS)" --reference "$(REFERENCE)" --refuse "$(REFUSE)" --model "$(MODEL)" $(if $(COLUMN),--column "$(COLUMN)") $(if $(IN),--in "$(IN)") $(if $(DAYS),--days $(DAYS)) $(if $(OUT),--out "$(OUT)") $(ARGS)

.PHONY: fairness-card
fairness-card: $(VENV)/serving $(VENV)/scoring ## MODEL=path with the figures of RESULT (run/fairness.json) on its card: OUT=models/new.bundle (KEY=path)
	@$(PY) -m fairness card "$(or $(RESULT),run/fairness.json)" "$(OUT)" --model "$(MODEL)" $(if $(KEY),--key "$(KEY)")

.PHONY: fairness-example
fairness-example: $(VENV)/serving $(VENV)/scoring $(VENV)/fairness ## the same on ROWS (20000) simulated loans and made-up groups, into OUT=directory (run/fairness-example)
	@$(PY) -m fairness.example $(if $(OUT),--out "$(OUT)") $(if $(ROWS),--rows $(ROWS)) --model "$(MODEL)"

.PHONY: dataset
dataset: $(VENV)/serving $(VENV)/scoring ## logged predictions with their outcomes as Parquet: OUT=file (SINCE=, UNTIL=, LAST=1 per id, WINDOW=days)
	@$(PY) -m learning dataset "$(OUT)" $(if $(SINCE),--since "$(SINCE)") $(if $(UNTIL),--until "$(UNTIL)") $(if $(LAST),--last) $(if $(WINDOW),--window $(WINDOW)) $(if $(OUTCOME),--outcome "$(OUTCOME)")

.PHONY: export-log
export-log: $(VENV)/serving $(VENV)/scoring ## the log for a regulator: Parquet, CSV and a data dictionary in the new directory OUT= (SINCE=, UNTIL=)
	@$(PY) -m logexport "$(OUT)" $(if $(SINCE),--since "$(SINCE)") $(if $(UNTIL),--until "$(UNTIL)") $(ARGS)

.PHONY: recalibrate
recalibrate: $(VENV)/serving $(VENV)/scoring ## the model with its log-odds on a line that the outcomes of DATASET=file say: OUT=models/new.bundle (MODEL=path, KEY=path)
	@$(PY) -m learning recalibrate "$(DATASET)" "$(OUT)" --model "$(MODEL)" $(if $(KEY),--key "$(KEY)")

.PHONY: retrain
retrain: $(VENV)/development $(VENV)/scoring ## a RECIPE=module:callable (the champion's) on the loans in ORIGINAL=path and DATASET=file, published if newer loans say it is better: OUT=models/new.bundle (MODEL=parent, KEY=path)
	@$(PY) -m learning retrain "$(DATASET)" "$(OUT)" --model "$(MODEL)" $(if $(RECIPE),--recipe "$(RECIPE)") $(if $(ORIGINAL),--original "$(ORIGINAL)") $(if $(KEY),--key "$(KEY)")

.PHONY: score
score: $(VENV)/scoring ## a whole book: IN=book.csv OUT=scored.parquet, files, directories or s3:// (MODEL=path, ARGS=more options)
	@$(PY) -m portfolio "$(IN)" "$(OUT)" --model "$(MODEL)" $(ARGS)

$(SPARK_VENV)/made: env-setup/spark.txt
	@test -d $(SPARK_VENV)/bin || sh env-setup/make-venv.sh $(SPARK_VENV)
	@$(SPARK_VENV)/bin/python -m pip install --quiet --no-deps --require-hashes -r env-setup/spark.txt
	@touch $@

.PHONY: score-spark
score-spark: $(SPARK_VENV)/made ## the same on Spark, which brings its own environment and needs Java 17: IN=… OUT=directory
	@PYSPARK_PYTHON=$(abspath $(SPARK_VENV))/bin/python $(SPARK_VENV)/bin/python -m portfolio.spark "$(IN)" "$(OUT)" --model "$(MODEL)" $(ARGS)

.PHONY: test-spark
test-spark: $(VENV)/development $(SPARK_VENV)/made ## that Spark gives the same answers
	@SPARK_VENV=$(SPARK_VENV) REQUIRE_SPARK=1 $(PY) -m pytest tests/integration/test_spark.py

.PHONY: publish
publish: $(VENV)/serving $(VENV)/scoring ## make a bundle of your classifier: MODEL=own.joblib DATA=train.parquet LABEL=column OUT=models/own.bundle (ARGS=more options)
	@$(PY) -m modelbundle publish "$(MODEL)" --data "$(DATA)" --label "$(LABEL)" --out "$(OUT)" $(ARGS)

.PHONY: check
check: $(VENV)/serving ## what MODEL=path is, and whether it would be served
	@$(PY) -m modelbundle check "$(MODEL)"

.PHONY: keys
keys: $(VENV)/serving ## a pair of keys: secrets/signing-key.pem signs models, keys/model-public.pem is for MODEL_PUBLIC_KEY_FILE
	@$(PY) -m modelbundle keys secrets/signing-key.pem keys/model-public.pem

.PHONY: sign
sign: $(VENV)/serving ## the statement beside MODEL=path, signed with KEY=path (AT=2026-11-30T06:00:00Z: not before)
	@$(PY) -m modelbundle sign "$(MODEL)" --key "$(KEY)" $(if $(AT),--not-before "$(AT)")

.PHONY: train
train: $(VENV)/development ## fit the champion on the data in data/ and publish it to MODEL=path
	@$(PY) -m late_payers.champion --out "$(MODEL)"

.PHONY: basic
basic: $(VENV)/serving ## fit the basic random forest that the champion replaces, publish it under models/, and score two payers
	@$(PY) predict-late-payers-basic-model.py

.PHONY: simulate
simulate: $(VENV)/serving ## the simulated stand-in loans as CSV, into OUT=directory (data/simulated; ARGS=more options)
	@$(PY) data/simulate.py --out "$(or $(OUT),data/simulated)" $(ARGS)

.PHONY: notebook
notebook: $(VENV)/development ## run improve_model.ipynb from a clean kernel, in place
	@$(PY) -m nbconvert --to notebook --execute --inplace --ExecutePreprocessor.timeout=1200 improve_model.ipynb

.PHONY: test
test: $(VENV)/development ## all tests but the slow ones, the zoo and Spark; those that need Docker skip, with a reason, where there is no engine
	@$(PY) -m pytest -n $(JOBS) --no-loadscope-reorder -m "not slow and not zoo and not spark" $(TESTS)

.PHONY: test-slow
test-slow: $(VENV)/development ## the tests that take ten seconds or more: containers that are killed, full disks, a short soak, the tutorial
	@$(PY) -m pytest -n $(JOBS) --no-loadscope-reorder -m slow $(TESTS)

.PHONY: test-variations
test-variations: $(VENV)/development ## the unit tests as on other machines: processor, hashes, time zone, locale, directories, midnight
	@$(PY) -m tests.variations $(TESTS)

.PHONY: bench
bench: $(VENV)/development ## measure against the naive ways of doing the same; writes benchmarks/results.json, the chart and the figures of docs/capacity.md
	@$(PY) -m benchmarks

$(VENV)/zoo: env-setup/zoo.txt | $(VENV)/development
	@$(PY) -m pip install --quiet --no-deps --require-hashes -r env-setup/zoo.txt
	@touch $@

.PHONY: zoo
zoo: $(VENV)/zoo ## every kind of classifier published and scored, also XGBoost's, LightGBM's and CatBoost's; writes the table of docs/models.md
	@$(PY) -m benchmarks.zoo

.PHONY: test-zoo
test-zoo: $(VENV)/zoo ## that every kind of classifier gives the same answers as its library, also XGBoost's, LightGBM's and CatBoost's
	@REQUIRE_ZOO=1 $(PY) -m pytest -n $(JOBS) tests/integration/test_zoo.py

.PHONY: bench-against
bench-against: $(VENV)/development ## this checkout and REVISION=… of it in turn: ratios of rate, p99 and memory
	@$(PY) -m benchmarks.against "$(REVISION)" $(ARGS)

.PHONY: bench-swaps
bench-swaps: $(VENV)/development ## p99 in swaps ÷ outside, and memory of four workers ÷ one: the shipped model and large forests, with the limits
	@$(PY) -m benchmarks.swaps $(ARGS)

.PHONY: bench-lookup
bench-lookup: $(VENV)/development ## how fast /predictions answers with ten million rows in SQLite and in PostgreSQL (a container)
	@$(PY) -m benchmarks.lookup $(ARGS)

.PHONY: bench-slow
bench-slow: $(VENV)/development ## one loan's p99 beside 1,000 slow connections of each kind, without a proxy
	@$(PY) -m benchmarks.servers.slow $(ARGS)

# What is in the development environment is found through the .pth file.
$(SERVERS_VENV)/made: env-setup/servers.txt | $(VENV)/development
	@test -d $(SERVERS_VENV)/bin || PYTHON=$(PY) sh env-setup/make-venv.sh $(SERVERS_VENV)
	@$(SERVERS_VENV)/bin/python -m pip install --quiet --no-deps --require-hashes -r env-setup/servers.txt
	@$(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > "$$($(SERVERS_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/development.pth"
	@touch $@

.PHONY: bench-servers
bench-servers: $(SERVERS_VENV)/made ## the API behind our worker, gunicorn's own, waitress and granian in turn: rate, memory, slow clients, graceful stop
	@$(SERVERS_VENV)/bin/python -m benchmarks.servers $(ARGS)

$(LIMITS_VENV)/made: env-setup/limits.txt
	@test -d $(LIMITS_VENV)/bin || sh env-setup/make-venv.sh $(LIMITS_VENV)
	@$(LIMITS_VENV)/bin/python -m pip install --quiet --no-deps --require-hashes -r env-setup/limits.txt
	@touch $@

.PHONY: score-10m
score-10m: $(VENV)/development $(LIMITS_VENV)/made ## ten million simulated loans scored, against the usual pandas jobs and the machine's limit (ARGS="--rows 1000000": a short run); writes benchmarks/portfolio.json and the figures of docs/capacity.md
	@$(PY) -m benchmarks.portfolio --limits $(LIMITS_VENV)/bin/python $(ARGS)

.PHONY: capacity
capacity: $(VENV)/development ## the figures of docs/capacity.md from what was measured (MEASURE=1: processor time, memory and disk anew)
	@$(PY) -m benchmarks.capacity $(if $(MEASURE),--measure) $(ARGS)

.PHONY: evidence
evidence: $(VENV)/development ## does evidence keep its promise, and after how many outcomes? On the loans of DATA=directory (data), or the stand-in
	@$(PY) -m benchmarks.learning.evidence $(if $(DATA),--data "$(DATA)")

.PHONY: quarter
quarter: $(VENV)/development ## what recalibration does on the real loans of DATA=directory, through the API
	@$(PY) -m benchmarks.learning.quarter $(if $(DATA),--data "$(DATA)")

.PHONY: attack
attack: $(VENV)/development ## what somebody who means harm would do to a replica; writes the table of docs/threat-model.md
	@$(PY) -m tests.attacks $(ARGS)

.PHONY: soak
soak: $(VENV)/development ## MINUTES (10) of load with swaps and faults; says what was promised and what was kept
	@$(PY) -m tests.soak --minutes $(or $(MINUTES),10)

.PHONY: outage
outage: $(VENV)/development ## the log's database away for SECONDS (300) under load, HOW=silent|refused: who notices, and does all arrive? (needs Docker)
	@$(PY) -m benchmarks.outage $(if $(SECONDS),--seconds $(SECONDS)) $(if $(HOW),--how $(HOW)) $(ARGS)

.PHONY: screenshots
screenshots: $(VENV)/development ## pictures of the pages for the documents, into docs/screenshots/ (needs Chromium)
	@$(PY) -m tests.browser.screenshots

.PHONY: lint
lint: $(VENV)/development ## ruff: rules and format; which package may import which; the documents' links
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(VENV)/bin/lint-imports --no-logo
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

.PHONY: docs
docs: $(VENV)/development ## the documents as a site, into site/
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo "open site/index.html, or serve it with its search: python3 -m http.server --directory site"

.PHONY: fix
fix: $(VENV)/development ## ruff: mend what it can
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

.PHONY: types
types: $(VENV)/development ## mypy --strict on the packages
	@$(PY) -m mypy

.PHONY: lock
lock: $(VENV)/development ## resolve env-setup/*.in anew into the locked files
	@$(PY) -m pip install --quiet uv
	@cd env-setup && sh lock.sh ../$(PY)

# Releases: docs/releasing.md

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' modelbundle/__init__.py)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
CREATED = $(shell date -u -d @$(SOURCE_DATE_EPOCH) +%Y-%m-%dT%H:%M:%SZ 2>/dev/null || date -u -r $(SOURCE_DATE_EPOCH) +%Y-%m-%dT%H:%M:%SZ)

.PHONY: images
images: ## both images, tagged and labelled with the version and the commit
	@for name in predict model; do docker build --network host -t peerloan/$$name:$(VERSION) -f services/$$name/Dockerfile \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg CREATED=$(CREATED) . || exit 1; done

.PHONY: base-images
base-images: $(VENV)/development ## move the images of others, which ours build on and run beside, to the digests that their tags have now (TAGS=1: back to tags)
	@$(PY) deploy/base_images.py $(if $(TAGS),--tags)

.PHONY: wheel
wheel: $(VENV)/development ## modelbundle and late_payers as a wheel and a source archive, into dist/
	@SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(PY) -m build --no-isolation --outdir dist .

.PHONY: sbom
sbom: $(VENV)/development ## what is in each image, as CycloneDX, from the locked requirements, into dist/
	@mkdir -p dist
	@for name in predict model; do SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) $(PY) -W ignore -m cyclonedx_py requirements env-setup/$$name.txt \
		--pyproject pyproject.toml --output-reproducible --validate -o dist/$$name.cdx.json || exit 1; done

.PHONY: release
release: wheel sbom images ## all of it, and the checksums, into dist/ (KEY=path signs the provenance of both images)
	@$(PY) deploy/base_images.py --check || true
	@for name in predict model; do docker save peerloan/$$name:$(VERSION) | gzip -n > dist/peerloan-$$name-$(VERSION).tar.gz; done
	@cp models/late-payers.bundle CHANGES.md deploy/vex.openvex.json dist/
	@$(if $(KEY),for name in predict model; do $(PY) deploy/provenance.py $$name dist/peerloan-$$name-$(VERSION).tar.gz --key "$(KEY)" \
		--image "$$(docker image inspect -f '{{.Id}}' peerloan/$$name:$(VERSION))" --argument VERSION=$(VERSION) \
		--argument REVISION=$(REVISION) --argument CREATED=$(CREATED) || exit 1; done,echo "no provenance of the images: say KEY=path")
	@cd dist && rm -f SHA256SUMS && sha256sum * > ../SHA256SUMS.new && mv ../SHA256SUMS.new SHA256SUMS && cat SHA256SUMS

.PHONY: reproducible
reproducible: $(VENV)/development ## build both images twice from nothing, and compare every file
	@$(PY) deploy/reproducible.py

.PHONY: audit-dependencies
audit-dependencies: $(VENV)/development ## known vulnerabilities of what is locked; asks an advisory service (SERVICE=pypi|osv; IF_REACHABLE=1: skips where there is none)
	@$(PY) deploy/audit.py $(if $(IF_REACHABLE),--if-reachable) -- -s $(or $(SERVICE),pypi)

.PHONY: test-newest
test-newest: ## the unit tests with the newest dependencies that are allowed, in an environment of its own
	@sh env-setup/make-venv.sh .venv-newest
	@.venv-newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager -r env-setup/predict.in -r env-setup/dev.in
	@.venv-newest/bin/python -m pytest -n $(JOBS) tests/unit

.PHONY: prometheus-rule
prometheus-rule: $(VENV)/development ## the alerts for the Prometheus operator, from deploy/prometheus/rules.yml
	@$(PY) deploy/kubernetes/prometheusrule.py

.PHONY: clean
clean: ## remove the environment, caches and what `make run` left behind
	rm -rf $(VENV) $(SPARK_VENV) $(SERVERS_VENV) $(LIMITS_VENV) .venv-newest dist site run .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
