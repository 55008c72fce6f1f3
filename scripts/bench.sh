#!/usr/bin/env bash
# Prints every bar of keyferry's speed, memory and manners, one data set after the other:
#
#     scripts/bench.sh [SET ...]      all sets by default; see `sets` below
#
# The JSON of each (and a picture, where speeds are compared) is stored as benches/runs/DATE-SET.json.
# All bars are repeated at the end, by set. A bar that is missed is a figure, not a failure: this ends
# with 1 only where a contestant failed or a benchmark did not run.
#
#     KEYFERRY       the program                       target/release/keyferry
#     ROUNDS         runs of each contestant           3
#     BENCH_RUNS     where the JSON goes               benches/runs
#     BENCH_OPTIONS  more options for every benchmark, e.g. '--server valkey-server --bytes 50MB'
#
# Takes some half an hour and 5 GB of memory, on a machine that should have nothing else to do.

set -euo pipefail
cd "$(dirname "$0")/.."

keyferry=${KEYFERRY:-target/release/keyferry}
rounds=${ROUNDS:-3}
runs=${BENCH_RUNS:-benches/runs}
day=$(date -u +%F)

# What is measured on which data.
options_of() {
    case $1 in
        # Against guide, REPLICAOF and the DUMP ceiling; CPU and memory; TLS, distance, throttles.
        strings-1k) echo --round-trip 20ms --throttled ;;
        strings-100 | strings-expiring) echo --skip migrate --skip null-target --skip copy-tls ;;
        # The same, and the clients of the source: its DUMPs keep it busy.
        mixed) echo --round-trip 20ms --foreground ;;
        # Memory, here and on the source.
        large | giant | together) echo --only copy ;;
        *) return 1 ;;
    esac
}
sets=(strings-1k strings-100 strings-expiring mixed large giant together)
if [ $# -gt 0 ]; then
    sets=("$@")
fi
for set in "${sets[@]}"; do
    if ! options_of "$set" >/dev/null; then
        echo "bench: no data set '$set'" >&2
        exit 2
    fi
done
if [ ! -x "$keyferry" ]; then
    echo "bench: no $keyferry; build it by: make build" >&2
    exit 2
fi

mkdir -p "$runs"
tables=$(mktemp -d)
trap 'rm -rf "$tables"' EXIT
failed=0
for set in "${sets[@]}"; do
    read -ra options < <(options_of "$set")
    if [ "${options[0]}" != --only ]; then
        options+=(--svg "$runs/$day-$set.svg")
    fi
    # Unquoted on purpose: several options in one variable.
    # shellcheck disable=SC2206
    options+=(${BENCH_OPTIONS:-})
    echo "bench: $keyferry bench --data $set --rounds $rounds ${options[*]}" >&2
    "$keyferry" bench --data "$set" --rounds "$rounds" --report "$runs/$day-$set.json" \
        "${options[@]}" | tee "$tables/$set" || failed=1
    echo
done

echo "Every bar:"
for set in "${sets[@]}"; do
    grep -E '^ *(met|MISSED)  |FAILED: |left out: ' "$tables/$set" | sed "s/^/$set	/" | expand -t 18 || true
done
exit $failed
