#!/usr/bin/env bash
#
# run_fuzz.sh SECONDS TARGET...: runs libFuzzer targets for a while each, two at a time. The corpus grows in
# build-fuzz/corpus/ and begins with the committed cases; a crash is left beside it, named in the output, to be
# committed as a case with its fix. The last line says how many targets passed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit

fuzz_one() {
    local seconds=$1
    local target=$2
    local name=${target##*/fuzz_}
    local corpus=build-fuzz/corpus/$name
    local log=build-fuzz/$name.log
    local cases=()
    local dictionary=()
    mkdir -p "$corpus"
    [ -d "tests/fuzz/cases/$name" ] && cases=("tests/fuzz/cases/$name")
    [ -f "tests/fuzz/$name.dict" ] && dictionary=(-dict="tests/fuzz/$name.dict")
    if timeout -k 10 $((seconds + 120)) "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="build-fuzz/$name-" "${dictionary[@]}" "$corpus" "${cases[@]}" >"$log" 2>&1; then
        printf 'ok      %-20s %s\n' "$name" "$(grep -E '^#[0-9]+.*(DONE|pulse)' "$log" | tail -n 1 | tr -s '\t ' ' ')"
        return 0
    fi
    printf 'FAILED  %s\n' "$name"
    tail -n 40 "$log"
    return 1
}

seconds=$1
shift
results=$(mktemp)
trap 'rm -f "$results"' EXIT
running=0
for target in "$@"; do
    if [ "$running" -ge "$(nproc)" ]; then
        wait -n
        running=$((running - 1))
    fi
    { if fuzz_one "$seconds" "$target"; then echo ok >>"$results"; fi; } &
    running=$((running + 1))
done
wait
passed=$(wc -l <"$results")
echo "$passed passed, $(($# - passed)) failed, 0 skipped"
[ "$passed" -eq $# ]
