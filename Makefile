# The things people do. Each prepares the machine first; that is quiet when nothing is missing.
#
#   make demo                a classroom in a box, the agent and the hub; prints where to look
#   make demo ARGS=--once    one lesson from the press to the verified receipt, then ends
#   make test                everything that must be true
#   make bench               one line per figure
#   make deb                 packages for Debian, in target/deb

.PHONY: demo test bench deb setup
.DEFAULT_GOAL := test

demo: setup
	cargo build --workspace --bins --locked
	target/debug/lectern-demo $(ARGS)

# Tests run one at a time: a classroom in a box is a display, a browser, two servers and an encoder.
test: setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	.ci/deny
	cargo build --workspace --bins --locked
	cargo test --workspace --locked -- --test-threads=1

bench: setup
	cargo build --workspace --bins --release --locked
	target/release/lectern-bench $(ARGS)

deb: setup
	cargo build --workspace --exclude lectern-tests --release --locked
	packaging/deb/build.sh

setup:
	@packaging/setup.sh
