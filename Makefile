# The things people do. Each prepares the machine first; that is quiet when nothing is missing.
#
#   make demo                a classroom in a box, the agent and the hub; prints where to look
#   make demo ARGS=--once    one lesson from the press to the verified receipt, then ends
#   make test                everything that must be true
#   make soak                every fault a classroom knows, hundreds of times, an hour with claps, and as root an hour of
#                            everything at once on an installed system: about three hours
#   make soak-system         only that last hour; MINUTES=5 for less
#   make peers               ten faults, Lectern beside pyCA
#   make bench               one line per figure
#   make links               uploads over slow, long, lossy and shared lines
#   make deb                 packages for Debian, in target/deb
#   make try                 those packages on a Debian 12 of its own, booted with systemd: needs root

.PHONY: demo test soak soak-system peers bench links deb try packages-to-try setup
.DEFAULT_GOAL := test

# Seconds that `make soak` damages what each parser is handed.
MANGLE_S = 120

# Peers are kept outside the checkout.
PYCA = $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lectern/pyca

demo: setup
	cargo build --workspace --bins --locked
	target/debug/lectern-demo $(ARGS)

test: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	.ci/deny
	cargo build --workspace --bins --locked
	.ci/tests
	target/debug/lectern-soak --short

# The 90 minutes run faster than the clock: the microphone is simulated, the rest is the recorder.
soak: setup
	cargo build --workspace --bins --locked
	LECTERN_DRIFT_MINUTES=90 cargo test -p lectern-recorder --locked drift -- --nocapture
	LECTERN_MANGLE_S=$(MANGLE_S) cargo test --workspace --locked --lib --bins --test mangled -- mangled read_or_refused that_lie
	target/debug/lectern-soak $(ARGS)
	@if [ "$$(id -u)" = 0 ]; then $(MAKE) soak-system; else echo "left out: the hour on an installed system needs root"; fi

# Everything at once at random instants, on a Debian with the packages, booted by systemd: needs root.
MINUTES = 60
soak-system: packages-to-try
	rm -rf --one-file-system target/system target/system.*
	packaging/deb/try-system.sh --install target/system
	target/debug/lectern-soak --system target/system --minutes $(MINUTES)
	rm -rf --one-file-system target/system target/system.*

peers: setup
	@packaging/setup.sh peers
	cargo build --workspace --bins --locked
	LECTERN_PYCA=$(PYCA)/bin/python target/debug/lectern-soak --peers

bench: setup
	@packaging/setup.sh bench
	cargo build --workspace --bins --release --locked
	cargo build --package lectern --profile daemon --locked
	cp target/daemon/lectern target/release/lectern
	target/release/lectern-bench $(ARGS)

# Lines as schools have them, emulated between two network namespaces: needs root. About eight minutes.
links: setup
	cargo build --workspace --bins --release --locked
	target/release/lectern-bench --only links $(ARGS)

deb: setup
	cargo build --workspace --exclude lectern-tests --release --locked
	cargo build --package lectern --profile daemon --locked
	cp target/daemon/lectern target/release/lectern
	packaging/deb/build.sh

try: packages-to-try
	packaging/deb/try-system.sh

packages-to-try: setup
	@packaging/setup.sh try
	cargo build --workspace --bins --locked
	packaging/deb/build.sh --profile debug
	packaging/deb/build.sh --profile debug --version "$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)+1"

setup:
	@packaging/setup.sh
