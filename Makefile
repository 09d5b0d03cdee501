# Needs nothing but Python >= 3.11, make and a package index. `make` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV ?= .venv
PY := $(VENV)/bin/python
PORT ?= 5000
MODEL ?= models/late-payers.bundle
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

# The virtual environment. Serving needs little; training, the notebook, tests and checks need more.

$(VENV)/made:
	@sh env-setup/make-venv.sh $(VENV)
	@touch $@

$(VENV)/serving: env-setup/predict.txt | $(VENV)/made
	@$(PY) -m pip install --quiet --no-deps --require-hashes -r env-setup/predict.txt
	@touch $@

$(VENV)/development: env-setup/dev.txt | $(VENV)/made
	@$(PY) -m pip install --quiet --no-deps --require-hashes -r env-setup/dev.txt
	@touch $@ $(VENV)/serving $(VENV)/scoring

.PHONY: run
run: $(VENV)/serving ## both services as local processes on PORT (5000), until Ctrl-C
	@PORT=$(PORT) $(PY) -m services.local

.PHONY: ask
ask: $(VENV)/serving ## ask the running API about two payers
	@$(PY) make_test_request.py http://127.0.0.1:$(PORT)

.PHONY: deploy
deploy: $(VENV)/serving ## bring out BUNDLE=path on what is running (TARGET=local|compose, WHY="…", KEY=path to sign it)
	@$(PY) -m services.deployment deploy "$(BUNDLE)" $(if $(TARGET),--target $(TARGET)) $(if $(KEY),--key "$(KEY)") $(if $(WHY),--why "$(WHY)")

.PHONY: rollback
rollback: $(VENV)/serving ## back to the model that was accepted before
	@$(PY) -m services.deployment rollback $(if $(TARGET),--target $(TARGET)) $(if $(KEY),--key "$(KEY)") $(if $(WHY),--why "$(WHY)")

.PHONY: challenge
challenge: $(VENV)/serving ## score BUNDLE=path silently beside the model that answers; BUNDLE= takes it away
	$(if $(filter undefined,$(origin BUNDLE)),$(error say BUNDLE=path, or BUNDLE= to take the challenger away))
	@$(PY) -m services.deployment $(if $(BUNDLE),challenge "$(BUNDLE)",unchallenge) $(if $(TARGET),--target $(TARGET)) $(if $(KEY),--key "$(KEY)") $(if $(WHY),--why "$(WHY)")

.PHONY: unchallenge
unchallenge: $(VENV)/serving ## take the challenger away
	@$(PY) -m services.deployment unchallenge $(if $(TARGET),--target $(TARGET)) $(if $(WHY),--why "$(WHY)")

.PHONY: promote
promote: $(VENV)/serving ## let the challenger answer; `make rollback` goes back
	@$(PY) -m services.deployment promote $(if $(TARGET),--target $(TARGET)) $(if $(KEY),--key "$(KEY)") $(if $(WHY),--why "$(WHY)")

.PHONY: models
models: $(VENV)/serving ## what is published, pinned, serving on each replica, and previous
	@$(PY) -m services.deployment models $(if $(TARGET),--target $(TARGET))

.PHONY: audit
audit: $(VENV)/serving ## one prediction's story, computed again: ID=prediction id, request id, or the caller's own id
	@$(PY) -m services.predictionlog audit "$(ID)"

$(VENV)/scoring: env-setup/score.txt | $(VENV)/made
	@$(PY) -m pip install --quiet --no-deps --require-hashes -r env-setup/score.txt
	@touch $@

.PHONY: score
score: $(VENV)/scoring ## a whole book: IN=book.csv OUT=scored.parquet, files, directories or s3:// (MODEL=path, ARGS=more options)
	@$(PY) -m portfolio "$(IN)" "$(OUT)" --model "$(MODEL)" $(ARGS)

.PHONY: check
check: $(VENV)/serving ## what MODEL=path is, and whether it would be served
	@$(PY) -m modelbundle check "$(MODEL)"

.PHONY: keys
keys: $(VENV)/serving ## a pair of keys: secrets/signing-key.pem signs models, keys/model-public.pem is for MODEL_PUBLIC_KEY_FILE
	@$(PY) -m modelbundle keys secrets/signing-key.pem keys/model-public.pem

.PHONY: sign
sign: $(VENV)/serving ## the statement beside MODEL=path, signed with KEY=path
	@$(PY) -m modelbundle sign "$(MODEL)" --key "$(KEY)"

.PHONY: train
train: $(VENV)/development ## fit the champion on the data in data/ and publish it to MODEL=path
	@$(PY) -m late_payers.champion --out "$(MODEL)"

.PHONY: notebook
notebook: $(VENV)/development ## run improve_model.ipynb from a clean kernel, in place
	@$(PY) -m nbconvert --to notebook --execute --inplace --ExecutePreprocessor.timeout=1200 improve_model.ipynb

.PHONY: test
test: $(VENV)/development ## all tests; those that need Docker skip, with a reason, where there is no engine
	@$(PY) -m pytest $(TESTS)

.PHONY: bench
bench: $(VENV)/development ## measure against the naive ways of doing the same; writes benchmarks/results.json and the chart
	@$(PY) -m benchmarks

.PHONY: soak
soak: $(VENV)/development ## MINUTES (10) of load with swaps and faults; says what was promised and what was kept
	@$(PY) -m tests.soak --minutes $(or $(MINUTES),10)

.PHONY: screenshots
screenshots: $(VENV)/development ## pictures of the pages for the documents, into docs/screenshots/ (needs Chromium)
	@$(PY) -m tests.browser.screenshots

.PHONY: lint
lint: $(VENV)/development ## ruff: rules and format
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

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

.PHONY: clean
clean: ## remove the environment, caches and what `make run` left behind
	rm -rf $(VENV) run .mypy_cache .ruff_cache .pytest_cache .hypothesis
