#!/usr/bin/env bash
# Fuzzes every target for a while and prints one line for each:
#
#     scripts/fuzz.sh [SECONDS [TARGET ...]]      600 seconds each and all targets by default
#
# FUZZ_JOBS targets run at a time (default 1: numbers compare best on an otherwise idle machine).
# Needs stable cargo and a C++ compiler, neither nightly nor cargo-fuzz: there is no unsafe code here
# that a sanitizer could judge. The corpus is copied to target/fuzz first, so that what the fuzzer
# adds stays out of the repository. Ends with 1 when a target found something; the input then lies in
# target/fuzz/TARGET/findings, and its place is fuzz/corpus/TARGET under a name that says what it is.

set -euo pipefail
cd "$(dirname "$0")/.."

seconds=600
if [ $# -gt 0 ]; then
    seconds=$1
    shift
fi
case $seconds in
    '' | *[!0-9]*)
        echo "usage: scripts/fuzz.sh [SECONDS [TARGET ...]]" >&2
        exit 2
        ;;
esac
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do
        targets+=("$(basename "$file" .rs)")
    done
fi
for target in "${targets[@]}"; do
    if [ ! -f "fuzz/fuzz_targets/$target.rs" ]; then
        echo "fuzz: no target '$target' in fuzz/fuzz_targets" >&2
        exit 2
    fi
done

export FUZZ_WORK=${FUZZ_WORK:-$PWD/target/fuzz}
host=$(rustc -vV | sed -n 's/^host: //p')

# The flags of `cargo fuzz --sanitizer none`. With --target they do not reach build scripts, which
# could not be linked with them.
instrument="-C passes=sancov-module
    -C llvm-args=-sanitizer-coverage-level=4
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters
    -C llvm-args=-sanitizer-coverage-pc-table
    -C llvm-args=-sanitizer-coverage-trace-compares
    -C codegen-units=1
    --cfg fuzzing"
echo "fuzz: building ${targets[*]}" >&2
RUSTFLAGS=$(echo $instrument) CARGO_TARGET_DIR=$FUZZ_WORK/build \
    cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target "$host" --bins
export FUZZ_BINARIES=$FUZZ_WORK/build/$host/release

# Runs one target and prints its line; a finding makes it fail.
run_target() {
    local target=$1 seconds=$2
    local work=$FUZZ_WORK/$target
    rm -rf "$work"
    mkdir -p "$work/corpus" "$work/findings"
    cp fuzz/corpus/"$target"/* "$work/corpus/"
    local status=0
    "$FUZZ_BINARIES/$target" "$work/corpus" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
        -artifact_prefix="$work/findings/" -print_final_stats=1 \
        >"$work/log" 2>&1 || status=$?

    local executions coverage findings
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log" | tail -1)
    coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$work/log" | tail -1)
    findings=$(find "$work/findings" -type f | wc -l)
    printf '%-14s %6s s %12s executions %6s edges %3s findings\n' \
        "$target" "$seconds" "${executions:-?}" "${coverage:-?}" "$findings"
    if [ "$status" -ne 0 ] || [ "$findings" -ne 0 ]; then
        echo "fuzz: $target ended with $status; see $work/log and $work/findings" >&2
        return 1
    fi
}
export -f run_target

# xargs goes on after a failing target and ends with 123 if there was one.
if ! printf '%s\n' "${targets[@]}" |
    xargs -P "${FUZZ_JOBS:-1}" -I '{}' bash -c 'run_target "$1" "$2"' run_target '{}' "$seconds"; then
    exit 1
fi
