# Two commands do everything on a fresh machine with Python 3.11: make demo, make test.
PYTHON ?= python3.11
BIN := .venv/bin
# uv ignores pip's settings; where pip is told of local wheels, uv is told too.
export UV_FIND_LINKS := $(if $(UV_FIND_LINKS),$(UV_FIND_LINKS),$(PIP_FIND_LINKS))
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode -c constraints.txt

.PHONY: demo test test-all check suite bench clean clients docs mutation release screenshots

demo: .venv/.train
	$(BIN)/eyewright quickstart

test: check suite

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

suite: .venv/.dev
	-$(MAKE) --no-print-directory clients .docs/.done
	$(BIN)/python -m pytest -n 2

# With the slow tests too: further models and targets of tests that also run in a short form.
test-all: check .venv/.dev
	-$(MAKE) --no-print-directory clients .docs/.done
	$(BIN)/python -m pytest -n 2 -m ''

bench: .venv/.dev
	-$(MAKE) --no-print-directory mutation
	for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

# The site, in build/docs; open build/docs/index.html. A warning is an error.
docs: .docs/.done
	.docs/bin/python -m sphinx -q -W --keep-going -b html docs build/docs

.docs/.done: docs/requirements.txt pyproject.toml | .venv/bin/uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .docs
	$(BIN)/uv pip install --quiet --python .docs/bin/python -r docs/requirements.txt -c constraints.txt -e .
	touch $@

.venv/bin/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv

.venv/.train: pyproject.toml constraints.txt | .venv/bin/uv
	$(UV) -e '.[train,pixels,serve]'
	touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/uv
	$(UV) -e '.[dev]'
	touch $@ .venv/.train

# With .docs the suite builds the site, warnings as errors.
# The clients of others that speak to our server unchanged; they pin older packages, so they live by themselves. Without
# them their tests are skipped.
clients: .clients/.done

# The program that plants faults pins older packages too; without it benchmarks/mutation.py says that it is skipped.
mutation: .mutation/.done

.mutation/.done: | .venv/bin/uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .mutation
	$(BIN)/uv pip install --quiet --python .mutation/bin/python 'cosmic-ray>=8.7,<9'
	touch $@

.clients/.done: tests/serving/clients.txt | .venv/bin/uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .clients
	$(BIN)/uv pip install --quiet --python .clients/bin/python -r tests/serving/clients.txt
	touch $@

# What a release consists of, in dist/: wheel, sdist, SBOM (CycloneDX) and licences of what the wheel installs with its
# extras train, pixels and serve. EYEWRIGHT_TAG=vX.Y.Z also checks the tag.
release: .venv/.dev
	$(BIN)/uv build --quiet --clear --out-dir dist .
	$(BIN)/python -m pytest -q -m '' tests/test_release.py
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .release/env
	wheel=$$(ls dist/*.whl) && $(BIN)/uv pip install --quiet --python .release/env/bin/python -c constraints.txt "eyewright[train,pixels,serve] @ file://$(CURDIR)/$$wheel"
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .release/tools
	$(BIN)/uv pip install --quiet --python .release/tools/bin/python 'cyclonedx-bom>=7,<8'
	.release/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON -o dist/sbom.json .release/env/bin/python
	$(BIN)/python .ci/licences.py dist/sbom.json dist/licences.csv .release/env

# The pictures of docs/images; needs Debian's chromium.
screenshots: .venv/.dev
	$(BIN)/python .ci/screenshots.py

clean:
	rm -rf .venv .clients .mutation .docs .release build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis eyewright-quickstart runs
