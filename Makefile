# Two commands matter: `make demo` and `make test`. Both install what is missing first.
#
#   make demo                                        the whole stack on this machine, visibly; Ctrl-C ends it
#   make demo ARGS="--once --report demo.json"       the same, then stop and leave a report
#   make test                                        every check, with seconds per suite
#   make check                                       between edits: format, clippy and tests of what changed since main
#
#   make image                                       a terminal's disk; with SLOT_ONLY=1 its root filesystem alone;
#                                                    with VERSION=2.4.0 of that version
#
# Parts of them: setup, build, images, vm-images, image-twice, lint, unit, attacks, e2e, vm-test, powercut-small,
#   soak-minute, setup-bare. Longer: e2e-full, vm-test-full, fuzz, mutations, and
#   make bench                                       figures, measured with optimised programs
#   make powercut N=40 SEED=1 REPLAYS=20             power cuts of virtual machines while they update; resumable
#   make attack                                      each attack for a minute, and how long honest callers waited meanwhile
#   make soak ARGS="--minutes 20 --seed 1"           random faults while releases go out; a seed repeats its faults

SHELL := /bin/sh
CARGO := cargo
ARGS ?=
export CARGO_TERM_COLOR ?= auto
# A build from nothing is quicker without what only the next one would use.
export CARGO_INCREMENTAL ?= $(if $(CI),0,1)

.PHONY: help check setup build optimised images image image-twice vm-images vm-test vm-test-full powercut powercut-small demo test lint unit demo-once setup-bare e2e e2e-full attack attacks soak soak-minute bench fuzz mutations

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

# Set by tests/checks/suites.sh once it has run both.
ifdef FILIAL_BUILT
setup build:
	@:
else
setup:
	@tests/checks/setup.sh

build: setup
	$(CARGO) build --locked --workspace --all-targets
endif

# The programs and the bench as the release profile compiles them, with line numbers: for figures.
optimised: setup
	$(CARGO) build --locked --profile optimised --bins -p head-office -p branch-server -p terminal-agent -p cli -p lab -p bench

images: setup
	@images/terminal/build.sh

# What a real terminal boots. The disk that leaves the workshop has the version in slot A. FRESH=1: with the packages that the
# mirror has today, not those of the last time.
image: build
	@images/terminal/machine/build.sh $(if $(FRESH),--fresh) $(if $(SLOT_ONLY),,--disk) $(if $(VERSION),--version $(VERSION),images/terminal/machine/versions/vm-v1)

# The disk, and the releases that the virtual machines of the tests are sent.
vm-images: build
	@images/terminal/machine/build.sh
	@images/terminal/machine/build.sh --disk images/terminal/machine/versions/vm-v1

# The second build from nothing takes two minutes.
image-twice: vm-images
	tests/checks/image_twice.sh

demo:
	@tests/demo.sh $(ARGS)

# Labs mostly wait for shaped links, machines mostly compute. Suites that share something stand in one lane, or far apart:
# image-twice may replace the images that virtual machines boot; the other suites need cargo's lock, which lint holds for
# minutes, so that it comes last.
test:
	@tests/checks/suites.sh setup build images \
		--lane labs demo-once soak-minute e2e setup-bare \
		--lane machines vm-images vm-test powercut-small attacks image-twice \
		--any unit lint

# What a developer runs between edits.
check: setup
	@tests/checks/check.py $(ARGS)

lint: build
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	shellcheck -x $$(git ls-files '*.sh') .ci/run images/terminal/machine/initramfs/hook images/terminal/machine/initramfs/filial \
		images/terminal/machine/overlay/usr/lib/filial/provision
	tests/checks/dependencies.py
	target/debug/house check --skip comments,summaries
	tests/checks/mutations.py --check
	tests/checks/suites_test.sh
	tests/checks/units.sh

unit: build
	target/debug/with-postgres -- $(CARGO) nextest run --locked --workspace -E 'not package(e2e) & not binary(attack)'
	tests/checks/python_tuf.sh

demo-once: build images
	target/debug/lab demo --once --report target/demo.json
	tests/checks/report.py target/demo.json

setup-bare: build images
	tests/checks/setup_bare.sh

# A lab waits for its shaped links most of its time: more of them at once than processors (see .config/nextest.toml).
LABS := --test-threads 4

# The kill matrix is among them: four of its eleven rows. Its seed is the commit, so that every commit tries other cells and a
# commit always tries the same ones; all rows run in e2e-full. To repeat a run: FILIAL_KILL_SEED=… make e2e.
e2e: build images
	rm -rf target/kill-matrix
	seed=$$(tests/checks/kill_seed.sh) && echo "kill matrix: FILIAL_KILL_SEED=$$seed" && \
		FILIAL_KILL_SEED=$$seed $(CARGO) nextest run --locked --workspace $(LABS) -E 'package(e2e) & !binary(vm)'
	tests/checks/kill_matrix.py --cells 56

# Attacks on the real servers, while honest callers go on working. Three at once for ten seconds; one after the other for a minute,
# with optimised servers, because how long honest callers wait is a figure only then.
ATTACKS := target/debug/with-postgres -- $(CARGO) nextest run --locked --workspace -E 'package(head-office) & binary(attack)'
attacks: build
	FILIAL_ATTACK_SECONDS=10 $(ATTACKS) --test-threads 3

SECONDS ?= 60
attack: build optimised
	FILIAL_PROGRAMS=$(CURDIR)/target/optimised FILIAL_ATTACK_SECONDS=$(SECONDS) $(ATTACKS) --test-threads 1 --success-output immediate

# Terminals that are virtual machines.
vm-test: vm-images
	$(CARGO) nextest run --locked --workspace -E 'package(e2e) & binary(vm)' --success-output immediate --test-threads 2

# And what takes longer: a kernel that panics, a full data partition, flipped bits.
vm-test-full: vm-images
	$(CARGO) nextest run --locked --workspace -E 'package(e2e) & binary(vm)' --success-output immediate --run-ignored all --test-threads 2

# Power cuts of virtual machines while they update, and replays of a recorded update with torn writes. Goes on where it was
# interrupted; a seed has a results file in target/powercut.
N ?= 40
SEED ?= 1
REPLAYS ?= 20
powercut: vm-images
	@target/debug/powercut run --count $(N) --seed $(SEED) --replays $(REPLAYS) $(ARGS)

powercut-small: vm-images
	@rm -f target/powercut/small.jsonl
	@target/debug/powercut run --count 6 --seed 1 --replays 1 --results target/powercut/small.jsonl

e2e-full: build images
	rm -rf target/kill-matrix
	$(CARGO) nextest run --locked --workspace $(LABS) -E 'package(e2e) & !binary(vm)' --run-ignored all
	tests/checks/kill_matrix.py --cells 154
	tests/checks/mutations.py

# Each check of the trust library and of the programs removed in turn: the test that is named for it must notice.
mutations: build
	tests/checks/mutations.py

soak: build
	@target/debug/lab soak $(ARGS)

soak-minute: build
	target/debug/lab soak --minutes 1 --seed 1 --name soak-minute --report target/soak-minute.json

bench: optimised images
	@target/optimised/bench --programs target/optimised $(ARGS)

fuzz: build
	@target/debug/fuzz run $(ARGS)
