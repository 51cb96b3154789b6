# One word per chore. `make run` and `make test` are all a new machine needs.
PYTHON  ?= python3.11
DATASET ?= synthetic
DATE    ?=
SOURCE  ?=
PORT    ?= 8080
VENV    := .venv
BIN     := $(VENV)/bin
LOCAL   := $(BIN)/python scripts/local_airflow.py --dataset $(DATASET) --port $(PORT) $(if $(SOURCE),--source $(SOURCE))

.PHONY: bench-audit crash-matrix crash-record race gpu-check mutants run up approve reject backfill test test-fast lint format leaks tamper bench-features bench-gate bench-serving fidelity bench-collaborative bench-teacher study realism clean help

help:  ## what you can say
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

$(VENV)/.installed: pyproject.toml setup.py constraints.txt pipeline_lib/serve/kernel/forest.c
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all]'
	@touch $@

install: $(VENV)/.installed

run: install  ## the weekly pipeline once, end to end; DATASET=berka SOURCE=<folder> for real data; DATE=<Monday>
	@$(LOCAL) weekly $(if $(DATE),--date $(DATE))

up: install  ## Airflow with its web page, until Ctrl-C
	@$(LOCAL) up

backfill: install  ## the four Mondays before this one; each judges, none changes the champion
	@$(LOCAL) backfill

approve: install  ## answer a waiting sign-off: make approve REASON="..."
	@$(LOCAL) answer Approve --reason "$(REASON)"

reject: install  ## decline a waiting sign-off: make reject REASON="..."
	@$(LOCAL) answer Reject --reason "$(REASON)"

test: install lint  ## every test, with boundaries, types and style
	$(BIN)/pytest

test-fast: install  ## unit tests only
	$(BIN)/pytest -m "not e2e"

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

leaks: install  ## plant every leak and print who catches it; REAL="berka=<folder> ..." judges raw tables too
	@$(BIN)/pipeline leaks $(foreach set,$(REAL),--real $(set))

tamper: install  ## attack a record in every way and print what is found
	@$(BIN)/pipeline tamper

bench-features: install  ## CPU seconds and memory of ingest, checks and features at three sizes; BENCH="--sizes 5000 20000" for less
	@$(BIN)/python benchmarks/features.py $(BENCH)

bench-gate: install  ## seconds of a verdict, and how often its test errs and finds; an hour; BENCH="--quick" for a look
	@$(BIN)/python -m benchmarks.gate $(BENCH)

fidelity: install  ## how faithful the students of finished runs are, all criteria: STORES="var/synthetic/store ..."
	@$(BIN)/python -m benchmarks.fidelity --runs $(or $(STORES),var/$(DATASET)/store)

bench-audit: install  ## appends, verification, questions and bytes of the record beside the bare work; BENCH="--appends 500"
	@$(BIN)/python -m benchmarks.audit $(BENCH)

bench-serving: install  ## process start to first answer, warm answers, memory, size, parity, of the bank that serves; BENCH="--starts 5"
	@$(BIN)/python -m benchmarks.serving --home var/$(DATASET) $(BENCH)

bench-teacher: install  ## our networks beside other libraries' on Census-Income, SOURCE=<its folder>; hours; BENCH="--quick" for a look
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[all,bench]' && $(BIN)/python -m benchmarks.teacher $(SOURCE) $(BENCH)

gpu-check: install  ## throughput, peak memory and bf16 against fp32 on a CUDA card; exits 3 where there is none
	@$(BIN)/python scripts/gpu_check.py

mutants: install  ## plant every known defect and show which test finds it; ONLY="R07 R14" for some rules
	@$(BIN)/python scripts/mutants.py $(ONLY)

bench-collaborative: install  ## the collaborative seat against ALS: BENCH="--date <Monday>", whose ingest and labels are done
	@$(BIN)/pip install --quiet implicit==0.7.3
	@$(BIN)/python benchmarks/collaborative.py $(BENCH)

study: install  ## ablation study of the teacher on a finished bank; STUDY="--family main --minutes 30"
	@$(BIN)/python benchmarks/study.py run --home var/$(DATASET) $(STUDY)
	@$(BIN)/python benchmarks/study.py report --home var/$(DATASET) --out var/study

realism: install  ## how real and how hard the synthetic bank is, with pictures; REAL="berka=<folder>" beside real sets
	@$(BIN)/python benchmarks/realism.py --out var/realism $(if $(REAL),--real $(REAL))

crash-matrix: install  ## kill every way to the champion at every write, print what is found and how it ends; hours; CRASH="--flow 5 --every 20" for a look
	@$(BIN)/python -m tests.crash.matrix $(CRASH)

crash-record: install  ## kill, fill, lie to and cut off whoever writes the record, print what is kept; minutes; CRASH="--kills 50" for a look
	@$(BIN)/python -m tests.crash.record $(CRASH)

race: install  ## two processes at the champion at once, 50 times each pair; RACE="--times 5" for a look
	@$(BIN)/python -m tests.crash.race $(RACE)

clean:  ## forget every run, record and key of the laptop
	rm -rf var
