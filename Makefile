# One command for each thing to do; it needs GNU make and Python 3.11, 3.12 or 3.13, and nothing else.

VENV := .venv
BACKENDS_VENV := .venv-backends
LEGACY_VENV := .venv-legacy
LOCKS_VENV := .venv-locks
FER_VENV := .venv-fer
HA_VENV := .venv-home-assistant
AUDIT_VENV := .venv-audit
MCU_VENV := .venv-mcu
DOCS_VENV := .venv-docs
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# A Python we can use; give another one with `make PYTHON=python3.12 demo`.
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,\
	$(shell $(name) -c '$(SUITABLE)' 2>/dev/null && echo $(name))) python3)

# `make lock` keeps the pins that still fit; `make lock UPGRADE=--upgrade` takes the newest of everything.
UPGRADE ?=
UV := $(BIN)/python -m uv
PIN := $(UV) pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate \
	--custom-compile-command "make lock" --constraint locks/constraints.in $(UPGRADE)
COMPILE := $(PIN) pyproject.toml
# In the package, which puts what they name onto cards.
PI_LOCKS := edge/fer_flash/locks
PI := --python-platform aarch64-manylinux_2_28 --only-binary :all:
# tflite-runtime asks for a later glibc than the rest; Bookworm has 2.36.
PI_LEGACY := $(PI:%_2_28=%_2_34)

# The tests wait for a third of their time, so one process more than cores; at most 4, since each comes to hold TensorFlow
# and a model or two: 1 GB.
TEST_PROCESSES ?= $(shell cores=$$(nproc); echo $$((cores < 3 ? cores + 1 : 4)))

# PyTorch stands in no lock file, since its builds differ by machine: `make test-backends TORCH=torch==2.13.0`.
TORCH ?= torch>=2.6

# tflite-runtime 2.14 has no wheel for a later Python.
LEGACY_PYTHON ?= $(firstword $(foreach name,$(PYTHON) python3.11,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $(name))) python3.11)

# Home Assistant 2025.4 is for Python 3.13; the frontend's version is the one that it names.
HA := homeassistant==2025.4.4 home-assistant-frontend==20250411.0 paho-mqtt==2.1.0
HA_PYTHON ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13.*/bin/python) python3.13)

# What the fer package needs and does not say: it takes OpenCV 5, which comes without the cascade's file, wants the
# pkg_resources of an older setuptools, and lists gigabytes of PyTorch, which another detector alone would use.
FER := tensorflow-cpu 'opencv-python-headless<5' 'setuptools<81' requests pandas matplotlib Pillow tqdm 'moviepy<2' ffmpeg-python

# The Debian release that `make test-arm` emulates, `make test-systemd` starts and `make test-bare` makes: bookworm or trixie.
SUITE ?= bookworm

BUNDLES := fer-edge-m fer-edge-s fer-edge-xs
MACHINE := $(shell uname -m)

.PHONY: help demo test test-slow test-backends run-test-backends test-tune test-kills test-home-assistant test-locks test-arm test-picamera2 test-systemd test-v4l2 test-mcu bench-mcu test-bare test-real-image test-image boot-test fuzz fuzz-ci fuzz-smoke soak day bench-write bench-fleet bench-decoders legacy-env fer-env bench bench-pages settings recipes gate docs lint format lock audit build clean distclean test-update chains boards
.DELETE_ON_ERROR:

# The text behind "## " of each target.
help:
	@sed -n -E 's/^([a-z][a-z0-9-]*):[^#]*## (.*)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 28

demo: $(VENV)/.base ## install what a Pi needs into .venv, then run the pipeline on the built-in scene
	$(BIN)/fer-edge demo

test: $(VENV)/.dev ## install everything and run the tests (ARGS='tests/edge -k crop' for some)
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal -m 'not slow' $(ARGS)

test-slow: $(VENV)/.dev ## the tests that take more than about 5 seconds each; half an hour
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist worksteal -m slow $(ARGS)

# An environment of its own, made by the rules below, so that the others stay as the lock files say.
test-backends: ## install everything and PyTorch into .venv-backends; training on TensorFlow, PyTorch and JAX
	@$(MAKE) --no-print-directory VENV=$(BACKENDS_VENV) run-test-backends

run-test-backends: $(VENV)/.torch
	$(BIN)/python -c 'import jax, torch; print("PyTorch", torch.__version__, "JAX", jax.__version__)'
	$(BIN)/python -m pytest tests/backends tests/train/distributed $(ARGS)

test-tune: $(VENV)/.dev ## interrupt searches (train --tune) in every way; up to half an hour
	TUNE_LONG=1 $(BIN)/python -m pytest tests/train/tuning/test_tune_long.py $(ARGS)

test-kills: $(VENV)/.dev ## training runs killed before each of their file operations, and resumed; 20 minutes
	KILLS_LONG=1 $(BIN)/python -m pytest tests/train/training/test_run_state.py -k killed_at_a_file_operation $(ARGS)

test-update: $(VENV)/.dev ## `fer-edge update apply` killed at 200 random moments, and before each file operation; 20 minutes
	UPDATE_LONG=1 $(BIN)/python -m pytest tests/update/test_kills.py -rP $(ARGS)

# Environments of their own in $(LOCKS_VENV); one whose Python is not here is skipped, and that is said.
test-locks: $(VENV)/.dev ## run tests/edge on the versions of each Pi lock file, and on tflite-runtime (ARGS=--quick: as CI does)
	PYTHONPATH=tests $(BIN)/python -m version_locks --environments $(LOCKS_VENV) $(ARGS)

# Home Assistant in an environment of its own. HA_PYTHON=/path/to/python3.13 if there is none on the PATH.
test-home-assistant: $(VENV)/.dev $(HA_VENV)/.installed ## MQTT discovery, the switch and the blueprints with a real Home Assistant (Python 3.13)
	HOME_ASSISTANT=$(abspath $(HA_VENV))/bin/hass $(BIN)/python -m pytest tests/home_assistant $(ARGS)

legacy-env: $(LEGACY_VENV)/.installed ## install tflite-runtime 2.14 into .venv-legacy, for `fer-edge bench latency` (Python 3.11)

fer-env: $(FER_VENV)/.installed ## install the fer package into .venv-fer, 2 GB, for `fer-edge bench pipeline`

# What it downloads stays in the user's cache folder; it needs root where programs are missing.
test-arm: $(VENV)/.dev ## the runtime on an emulated Raspberry Pi (SUITE=trixie for the newer release; tests/arm/README.md)
	PYTHONPATH=tests $(BIN)/python -m arm --suite $(SUITE) $(ARGS)

test-picamera2: $(VENV)/.dev ## the picamera2 source on libcamera's virtual camera (tests/virtual_camera/README.md)
	PYTHONPATH=tests $(BIN)/python -m virtual_camera $(ARGS)

test-systemd: $(VENV)/.dev ## the service's unit under systemd in a container, as root (SUITE=trixie; tests/systemd/README.md)
	PYTHONPATH=tests $(BIN)/python -m systemd --suite $(SUITE) $(ARGS)

# TFLM: a source tree of TensorFlow Lite Micro, as its create_tflm_tree.py writes it. ARGS='--data PATH' for real faces.
test-mcu: $(VENV)/.dev ## (TFLM=PATH) compare exported models on an emulated Cortex-M3 with LiteRT's reference kernels
	PYTHONPATH=tests $(BIN)/python -m mcu --tflm $(or $(TFLM),TFLM) $(ARGS)

bench-mcu: $(VENV)/.dev $(MCU_VENV)/.installed ## accuracy of the released models on TensorFlow Lite Micro, compared with XNNPACK
	PYTHONPATH=tests $(BIN)/python -m mcu.accuracy --python $(MCU_VENV)/bin/python $(ARGS)

# It skips, and says why, where QEMU is not installed. ARGS='-k usb --out FOLDER': one scenario, its files kept.
test-v4l2: $(VENV)/.dev ## V4L2 and USB cameras, and the service with them, in a virtual machine (tests/v4l2_vm/README.md)
	PYTHONPATH=tests $(BIN)/python -m v4l2_vm $(ARGS)

# Everything is installed into a new environment there each time; ARGS='--root DIR' keeps it in DIR.
test-bare: $(VENV)/.dev ## `make test` in a chroot with only make and python3-venv, as root (ARGS='tests/flash -n 1')
	PYTHONPATH=tests $(BIN)/python -m bare --suite $(SUITE) $(ARGS)

# IMAGE: a stock image of Raspberry Pi OS Lite that you have, or its URL with ARGS='--sha256 …'; ARGS=--assumptions lists only.
test-real-image: $(VENV)/.dev ## (IMAGE=raspios.img.xz) check the assumptions about a stock image, and compose on it (ARGS=--assumptions: only check)
	PYTHONPATH=tests $(BIN)/python -m real_image $(IMAGE) $(ARGS)

# ARGS='cloudinit power' for some of its parts.
test-image: $(VENV)/.dev ## boot composed card images in containers, as root (tests/image_boot/README.md)
	PYTHONPATH=tests $(BIN)/python -m image_boot $(ARGS)

# Three to four minutes on two idle cores, once its parts are kept; the serial console is kept in ~/.cache/fer-edge/boot-test.log.
boot-test: $(VENV)/.dev ## a composed card boots in an emulated Pi up to the daemon's events, as root (ARGS='--minutes 120')
	PYTHONPATH=tests $(BIN)/python -m image_boot.boot_test $(ARGS)

# With Atheris (`$(BIN)/pip install atheris`) its coverage guides the changes. ARGS='--only fat' for one target.
fuzz: $(VENV)/.dev ## feed broken input to every reader of files and requests (MINUTES=30 for all; docs/explanation/fuzzing.md)
	PYTHONPATH=tests $(BIN)/python -m fuzz --minutes $(or $(MINUTES),30) $(ARGS)

fuzz-ci: $(VENV)/.dev ## as CI: each reader for FUZZ_SECONDS=60, two per core
	PYTHONPATH=tests $(BIN)/python -m fuzz --random --each $(or $(FUZZ_SECONDS),60) --jobs $$(($$(nproc) * 2)) $(ARGS)

fuzz-smoke: $(VENV)/.dev ## the seeds and 300 changes for each reader, always the same
	PYTHONPATH=tests $(BIN)/python -m fuzz --smoke $(ARGS)

soak: $(VENV)/.dev ## 200,000 frames through the pipeline: memory and ids at intervals (ARGS='--frames 20000' for fewer)
	PYTHONPATH=tests $(BIN)/python -m soak $(ARGS)

day: $(VENV)/.dev ## a day of the whole daemon in minutes, with a broker, the page and an outage (ARGS='--hours 2')
	PYTHONPATH=tests $(BIN)/python -m day $(ARGS)

bench-write: $(VENV)/.dev ## compare the speed of `flash write` with dd, on a loop device, as root (ARGS='--rounds 9')
	PYTHONPATH=tests $(BIN)/python -m write_speed $(ARGS)

bench-fleet: $(VENV)/.dev ## 10,000 simulated devices for 10 minutes, with outages of each part (ARGS='--devices 500 --minutes 1')
	PYTHONPATH=tests $(BIN)/python -m fleet_load $(ARGS)

bench-decoders: $(VENV)/.dev ## processor time with OpenCV and with PyAV, for films and streams (ARGS='--rounds 3')
	PYTHONPATH=tests $(BIN)/python -m decoder_costs $(ARGS)

# Twenty-five minutes on two idle cores, with FER2013. The machine's kind stands in the names, so that results of others lie
# beside ours.
# The table of README.md is of x86_64. What cannot be installed here is left out, and the report says so:
# tflite-runtime has wheels for Python 3.11 alone.
bench: $(VENV)/.dev ## measure the released models again, on an idle machine, and write all tables and plots from it
	@$(MAKE) --no-print-directory legacy-env || echo "going on without tflite-runtime" >&2
	@$(MAKE) --no-print-directory fer-env || echo "going on without the fer package" >&2
	for bundle in $(BUNDLES); do \
		$(BIN)/fer-edge bench --bundle models/$$bundle --final --views --rounds 10 --json benchmarks/results/$$bundle-$(MACHINE).json \
			|| exit 1; done
	fer=$$(ls $(FER_VENV)/.installed 2>/dev/null); $(BIN)/fer-edge bench pipeline --bundle models/fer-edge-s \
		--keras models/checkpoints/fer-edge-s $${fer:+--fer $(FER_VENV)/bin/python} --json benchmarks/results/pipeline-$(MACHINE).json
	mkdir -p benchmarks/results/public
	$(BIN)/fer-edge bench sequence --bundle models/fer-edge-s --rounds 3 --no-costs --json benchmarks/results/public/sequence-$(MACHINE).json
	$(BIN)/fer-edge bench sequence --bundle models/fer-edge-s --final --public benchmarks/results/public/sequence-$(MACHINE).json \
		--rounds 3 --json benchmarks/results/sequence-$(MACHINE).json
	$(MAKE) --no-print-directory bench-pages

# From what was measured, to what is read.
settings: $(VENV)/.dev ## write edge/config.example.toml, its JSON Schema and docs/reference/settings.md from the settings' definitions
	$(BIN)/python docs/write_settings.py

recipes: $(VENV)/.dev ## write train/recipe.schema.json and docs/reference/recipes.md from the definitions of a recipe
	$(BIN)/python docs/write_recipes.py

gate: $(VENV)/.dev ## write convert/gate.schema.json and docs/reference/gate.md from the definitions of the gate's rules
	$(BIN)/python docs/write_gate.py

chains: $(VENV)/.dev ## write chain/chain.schema.json and docs/reference/chain.md from the definitions of a chain
	$(BIN)/python docs/write_chain.py

.PHONY: boards
boards: $(VENV)/.dev ## write docs/explanation/boards.md, with the results in benchmarks/results/devices
	$(BIN)/python docs/write_boards.py

bench-pages: $(VENV)/.dev ## write the tables and plots from the committed reports
	$(BIN)/fer-edge bench report benchmarks/results/*.json --out benchmarks/report
	$(BIN)/python benchmarks/published_numbers.py

# In an environment of its own: MkDocs is needed for nothing else.
docs: $(DOCS_VENV)/.installed ## the documentation site in site/, which opens without a server
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --quiet $(ARGS)
	@echo "site/index.html"

lint: $(VENV)/.dev ## ruff, mypy --strict and the import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## format the code with ruff
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

build: $(VENV)/.dev ## sdist, the wheel built from it, and bills of materials (CycloneDX), into dist/
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python locks/write_sboms.py dist

# Known vulnerabilities of what the lock files pin. Needs the network: the database is a service of PyPI.
audit: $(AUDIT_VENV)/.installed ## known vulnerabilities of the locked packages; needs the network
	@for lock in locks/edge.txt locks/dev.txt locks/pi-bookworm-legacy.txt $(PI_LOCKS)/pi-bookworm.txt $(PI_LOCKS)/pi-trixie.txt; do \
		echo "$$lock"; $(AUDIT_VENV)/bin/pip-audit --strict --disable-pip --require-hashes -r $$lock || { \
			echo "make audit: $$lock was not found free of known vulnerabilities; without the network nothing can be" >&2; exit 1; }; done

# Everything first, so that base and Pi agree with what the tests ran on.
lock: $(VENV)/.python ## update locks/*.txt and edge/fer_flash/locks/*.txt (UPGRADE=--upgrade for the newest versions)
	$(BIN)/python -m uv --version >/dev/null 2>&1 || $(PIP) install uv
	$(COMPILE) --universal --python-version 3.11 --extra dev --override locks/overrides.in --output-file locks/dev.txt
	$(COMPILE) --universal --python-version 3.11 --constraint locks/dev.txt --extra video --output-file locks/edge.txt
	$(COMPILE) $(PI) --python-version 3.11 --constraint locks/pi-bookworm.in --extra mqtt --extra web --extra update --output-file $(PI_LOCKS)/pi-bookworm.txt
	$(COMPILE) $(PI_LEGACY) --python-version 3.11 --extra legacy --constraint $(PI_LOCKS)/pi-bookworm.txt --extra mqtt --extra web --extra update --output-file locks/pi-bookworm-legacy.txt
	$(COMPILE) $(PI) --python-version 3.13 --constraint locks/edge.txt --extra mqtt --extra web --extra update --output-file $(PI_LOCKS)/pi-trixie.txt
	$(PIN) locks/pip.in $(PI) --python-version 3.11 --output-file $(PI_LOCKS)/pip.txt

clean: ## remove generated files
	rm -rf build dist site demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . \( -path ./$(VENV) -o -path ./$(BACKENDS_VENV) -o -path ./$(LEGACY_VENV) -o -path ./$(FER_VENV) -o -path ./$(HA_VENV) -o -path ./$(LOCKS_VENV) \) -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## also remove the environments
	rm -rf $(VENV) $(BACKENDS_VENV) $(LEGACY_VENV) $(FER_VENV) $(HA_VENV) $(AUDIT_VENV) $(LOCKS_VENV) $(MCU_VENV) $(DOCS_VENV)

# An environment that works is kept, whoever made it; one that is broken or of the wrong Python is made anew.
$(VENV)/.python:
	@$(BIN)/python -c '$(SUITABLE)' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1 || { \
		$(PYTHON) -c '$(SUITABLE)' 2>/dev/null || { \
			echo "FER-Edge needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' is" \
				"$$($(PYTHON) --version 2>/dev/null || echo not there). Give one: make PYTHON=python3.12" >&2; \
			exit 1; }; \
		$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
			echo "'$(PYTHON)' cannot make virtual environments: install its venv module" \
				"(on Debian: apt-get install python3-venv)" >&2; \
			exit 1; }; \
		echo "Making $(VENV) with $$($(PYTHON) --version)"; \
		$(PYTHON) -m venv --clear $(VENV); }
	@touch $@

# The project itself is a second call: pip takes no hash for a folder. Its entry points are read from pyproject.toml.
$(VENV)/.base: $(VENV)/.python locks/edge.txt pyproject.toml
	@echo "Installing what a Pi needs into $(VENV)"
	$(PIP) install --require-hashes --requirement locks/edge.txt
	$(PIP) install --no-deps --editable .
	@touch $@

# locks/dev.txt holds locks/edge.txt, so the base install is done with it. It is complete, but for what
# locks/overrides.in replaces; hence --no-deps.
$(VENV)/.dev: $(VENV)/.python locks/dev.txt pyproject.toml
	@echo "Installing what the tests need into $(VENV); TensorFlow is a large download"
	$(PIP) install --require-hashes --no-deps --requirement locks/dev.txt
	$(PIP) install --no-deps --editable .
	@touch $(VENV)/.base $@

$(VENV)/.torch: $(VENV)/.dev
	@echo "Installing $(TORCH) into $(VENV)"
	$(PIP) install '$(TORCH)'
	@touch $@

$(LEGACY_VENV)/.installed: locks/pi-bookworm-legacy.txt
	@$(LEGACY_PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "tflite-runtime 2.14 needs Python 3.11 with its venv module; give one:" \
			"make LEGACY_PYTHON=/path/to/python3.11 legacy-env" >&2; \
		exit 1; }
	@echo "Installing tflite-runtime into $(LEGACY_VENV)"
	$(LEGACY_PYTHON) -m venv --clear $(LEGACY_VENV)
	$(LEGACY_VENV)/bin/python -m pip --disable-pip-version-check --quiet install \
		--require-hashes --requirement locks/pi-bookworm-legacy.txt
	@touch $@

$(AUDIT_VENV)/.installed: $(VENV)/.python
	$(PYTHON) -m venv --clear $(AUDIT_VENV)
	$(AUDIT_VENV)/bin/python -m pip --disable-pip-version-check --quiet install pip-audit==2.10.1
	touch $@

$(DOCS_VENV)/.installed: $(VENV)/.python locks/edge.txt docs/requirements.txt pyproject.toml
	$(PYTHON) -m venv --clear $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes --requirement locks/edge.txt
	$(DOCS_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --requirement docs/requirements.txt
	$(DOCS_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --editable .
	touch $@

$(MCU_VENV)/.installed: $(VENV)/.python
	$(PYTHON) -m venv --clear $(MCU_VENV)
	$(MCU_VENV)/bin/python -m pip --disable-pip-version-check --quiet install tflite-micro numpy
	touch $@

$(HA_VENV)/.installed:
	@$(HA_PYTHON) -c 'import sys, venv; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null || { \
		echo "Home Assistant 2025.4 needs Python 3.13; give one: make HA_PYTHON=/path/to/python3.13 test-home-assistant" >&2; \
		exit 1; }
	$(HA_PYTHON) -m venv --clear $(HA_VENV)
	$(HA_VENV)/bin/pip install --quiet $(HA)
	touch $@

$(FER_VENV)/.installed: $(VENV)/.python
	@echo "Installing the fer package into $(FER_VENV); a large download"
	$(PYTHON) -m venv --clear $(FER_VENV)
	$(FER_VENV)/bin/python -m pip --disable-pip-version-check --quiet install $(FER)
	$(FER_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps fer==25.10.3
	@touch $@
