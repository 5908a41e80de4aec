# Two commands matter: `make train` and `make test`. Each builds .venv where it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: train test lint bench clean

train: $(VENV)/.installed
	$(BIN)/truefit train digits --out runs/digits --overwrite

# Most of the time goes into starting programs: two at once, and python may keep what it compiled.
test: $(VENV)/.installed-test lint
	OMP_WAIT_POLICY=PASSIVE PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A short form of the benchmarks: minutes, on a machine with nothing else to do. Results in benchmarks/results/short.
bench: $(VENV)/.installed-test
	$(BIN)/python benchmarks/import_time.py --rounds 3 --name short/import_time
	$(BIN)/python benchmarks/peers.py --environments $(VENV)/peers --sides bare truefit_trainer --rounds 5 --steps 40 \
		--name short/peers
	$(BIN)/python benchmarks/scaling.py $(VENV)/scaling --largest 30000 --rounds 2 --name short/scaling

$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing torch and what else is needed into $(VENV): some minutes, some gigabytes with a GPU's libraries"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV)
