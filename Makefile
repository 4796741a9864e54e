# make test, make demo, make compare, make lint; each sets up what it needs.
PYTHON ?= python3
VENV := .venv
PACKAGES := chromium g++ gcc gdb golang-go libmbedtls-dev libp11-kit-dev libssl-dev linux-source-6.1 opensc python3-venv
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: test demo compare lint setup clean

test: lint
	$(VENV)/bin/pytest -q -n 2 $(TESTS)

demo: setup
	$(MAKE) -s -C examples demo ENCLU=$(abspath $(VENV)/bin/enclu) BUILD=$(abspath build/examples)

compare: setup
	$(VENV)/bin/enclu compare

lint: setup
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

setup: $(VENV)/installed

# Editable, so that the sources are what runs; the build hook builds what is not Python.
NATIVE := $(wildcard src/enclu/linux/vdso/*.[Sh] src/enclu/linux/vdso/*.lds src/enclu/host/agent/*.[chS])
$(VENV)/installed: pyproject.toml hatch_build.py $(NATIVE) | system
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -e '.[dev]'
	touch $@

# Debian's names; elsewhere install the same by other means.
.PHONY: system
system:
	@command -v dpkg-query >/dev/null || exit 0; \
	missing=; for p in $(PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; \
	[ -z "$$missing" ] || { $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy --no-install-recommends $$missing; }

clean:
	rm -rf $(VENV) build dist src/enclu/linux/vdso/*.so src/enclu/host/agent/agent
