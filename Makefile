# make test, make demo, make compare, make pictures, make lint; each sets up what it needs, and no more.
PYTHON ?= python3
VENV := .venv
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
GOALS := $(or $(MAKECMDGOALS),test)

# Debian's names: to run programs, and the demo's; to build the scenarios; for the tests.
PACKAGES := gcc libc6-dev libssl-dev python3-venv
INSTALLED := $(VENV)/installed
ifneq ($(filter-out demo,$(GOALS)),)
PACKAGES += g++ golang-go libmbedtls-dev libp11-kit-dev opensc
endif
ifneq ($(filter-out demo compare,$(GOALS)),)
PACKAGES += chromium gdb linux-source openssl
INSTALLED := $(VENV)/installed-dev
endif

.PHONY: test demo compare pictures lint setup clean

test: lint
	$(VENV)/bin/pytest -q -n 2 $(TESTS)

demo: setup
	$(MAKE) -s -C examples demo ENCLU=$(abspath $(VENV)/bin/enclu) BUILD=$(abspath build/examples)

compare: setup
	$(VENV)/bin/enclu compare

# Those of the documents, drawn anew.
pictures: setup
	$(VENV)/bin/python -m enclu.explain.pictures docs/pictures

lint: setup
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/lint-imports circles.toml

setup: $(INSTALLED)

# Editable, so that the sources are what runs; the build hook builds what is not Python.
NATIVE := $(wildcard src/enclu/linux/vdso/*.[Sh] src/enclu/linux/vdso/*.lds src/enclu/host/agent/*.[chS]) \
	src/enclu/enclave/memory.c
$(VENV)/installed $(VENV)/installed-dev: pyproject.toml hatch_build.py $(NATIVE) | system
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -e '.$(if $(filter %-dev,$@),[dev])'
	touch $(VENV)/installed $@

# Debian's names; elsewhere install the same by other means.  linux-source stands for linux-source-X.Y, too.
.PHONY: system
system:
	@command -v dpkg-query >/dev/null || exit 0; \
	missing=; for p in $(PACKAGES); do \
	  dpkg-query -W -f='$${Status}\n' $$p $$([ $$p != linux-source ] || echo 'linux-source-[0-9]*') 2>/dev/null \
	    | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; \
	[ -z "$$missing" ] || { $(SUDO) apt-get update -q && \
	  $(SUDO) apt-get install -qy --no-install-recommends -o DPkg::Lock::Timeout=300 $$missing; }

clean:
	rm -rf $(VENV) build dist src/enclu/linux/vdso/*.so src/enclu/host/agent/agent
