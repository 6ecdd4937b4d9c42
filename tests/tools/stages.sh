#!/usr/bin/env bash
#
# stages.sh [STAGE ...] [test_FILE ...]: what `./dev test` runs; test_FILE narrows the integration tests to those files.
# Each stage prints its own part, keeps its full output in build/test-logs/ and adds to the total; a stage that fails
# does not stop the others. At the end a table, then one plain line: N passed, N failed, N skipped. Exit code 1 when
# anything failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
root=$PWD
# shellcheck source=tests/tools/build.sh
. tests/tools/build.sh
# shellcheck source=tests/tools/programs.sh
. tests/tools/programs.sh

logs=$root/build/test-logs
all_stages=(build clang check lint unit sim asan tsan fuzz integration compat)
fuzz_seconds=${KEYWAY_FUZZ_SECONDS:-10}

# With the address sanitizer every integration test is run, with the thread sanitizer those where threads meet.
tsan_tests=(test_order test_random test_redirects test_failover test_connections test_split test_slow_reader test_pubsub test_tracking
    test_monitor test_client test_meta_follow)
# Pure functions on large inputs, which this sanitizer makes ten times as slow.
tsan_left_out=(test_meta_state test_disk_scan test_ptable)

passed=0
failed=0
skipped=0
rows=()

# count PASSED FAILED SKIPPED: adds to the stage that runs.
count() {
    stage_passed=$((stage_passed + $1))
    stage_failed=$((stage_failed + $2))
    stage_skipped=$((stage_skipped + $3))
}

# step NAME COMMAND...: one thing that passes or fails as a whole. Its output is shown only if it fails.
step() {
    local name=$1
    shift
    local log=$logs/${stage}_${name//[^A-Za-z0-9._-]/_}.log
    if "$@" >"$log" 2>&1; then
        printf 'ok      %s\n' "$name"
        count 1 0 0
        return 0
    fi
    printf 'FAILED  %s (%s)\n' "$name" "${log#"$root"/}"
    tail -n 40 "$log"
    count 0 1 0
    return 1
}

# folder_ready FOLDER OPTION...: built, or one failure counted. Silent when there is nothing to do.
folder_ready() {
    local log=$logs/${stage}_make_$1.log
    build_all "$@" >"$log" 2>&1 && return 0
    printf 'FAILED  build of %s (%s)\n' "$1" "${log#"$root"/}"
    tail -n 40 "$log"
    count 0 1 0
    return 1
}

stage_build() { step "gcc, release, warnings are errors" build_all build "${build_gcc_options[@]}"; }
stage_clang() { step "clang, release, warnings are errors" build_all build-clang "${build_clang_options[@]}"; }

stage_check() {
    step "includes point one way" tests/tools/check_includes.sh
    step "sources are formatted" ./dev fmt --check
    if command -v shellcheck >/dev/null; then
        step "shell scripts" shellcheck -x dev .ci/run tests/tools/*.sh
    else
        echo "skipped shell scripts: no shellcheck"
        count 0 0 1
    fi
}

stage_lint() { step "clang-tidy" ./dev lint; }

stage_unit() {
    folder_ready build "${build_gcc_options[@]}" || return
    run_unit build
    run_cases build
}

# Consensus under a fake clock, network and disk; then each rule that guards it is left out, which must be noticed.
stage_sim() {
    folder_ready build "${build_gcc_options[@]}" || return
    run_counted sim_raft 300 build/bin/sim_raft --seeds "${KEYWAY_SIM_SEEDS:-400}"
    run_counted sim_raft_mutations 300 build/bin/sim_raft --mutations
}

# The sanitizers need fewer random commands than the run that only compares replies.
fewer_random=(KEYWAY_RANDOM_COMMANDS=40000 KEYWAY_EVERY_COMMANDS=40000)

stage_asan() {
    local -x "${fewer_random[@]}"
    folder_ready build-asan "${build_asan_options[@]}" || return
    run_unit build-asan
    run_cases build-asan
    run_integration build-asan 3
}

stage_tsan() {
    local -x "${fewer_random[@]}"
    folder_ready build-tsan "${build_tsan_options[@]}" || return
    run_unit build-tsan "${tsan_left_out[@]}"
    run_integration build-tsan 5 "${tsan_tests[@]}"
}

stage_integration() {
    folder_ready build "${build_gcc_options[@]}" || return
    run_integration build 1
}

stage_compat() {
    if [ ! -x tests/compat/run ]; then
        echo "skipped: there is no tests/compat/run"
        count 0 0 1
        return
    fi
    folder_ready build "${build_gcc_options[@]}" || return
    if [ -f tests/compat/package.json ]; then
        step "npm packages" npm_install tests/compat || return
    fi
    run_counted compat 900 env KEYWAY_BIN_DIR="$root/build/bin" tests/compat/run
}

stage_fuzz() {
    folder_ready build-fuzz "${build_fuzz_options[@]}" || return
    local targets=()
    local target
    for target in build-fuzz/bin/fuzz_*; do
        [ -x "$target" ] && targets+=("$target")
    done
    if [ ${#targets[@]} -eq 0 ]; then
        echo "skipped: there are no fuzz targets"
        count 0 0 1
        return
    fi
    run_counted fuzz $((fuzz_seconds * ${#targets[@]} + 300)) tests/tools/run_fuzz.sh "$fuzz_seconds" "${targets[@]}"
}

run_stage() {
    local began=$SECONDS
    stage=$1
    stage_passed=0
    stage_failed=0
    stage_skipped=0
    printf '\n== %s\n' "$stage"
    "stage_$stage"
    rows+=("$(printf '%-12s %8d %8d %8d %7d s' \
        "$stage" "$stage_passed" "$stage_failed" "$stage_skipped" $((SECONDS - began)))")
    passed=$((passed + stage_passed))
    failed=$((failed + stage_failed))
    skipped=$((skipped + stage_skipped))
}

stages=()
only_tests=()
for word in "$@"; do
    case $word in
        test_*) only_tests+=("$(basename "$word" .py)") ;;
        *) stages+=("$word") ;;
    esac
done
[ ${#only_tests[@]} -eq 0 ] || [ ${#stages[@]} -gt 0 ] || stages=(integration)
[ ${#stages[@]} -gt 0 ] || stages=("${all_stages[@]}")
for stage in "${stages[@]}"; do
    case " ${all_stages[*]} " in
        *" $stage "*) ;;
        *)
            echo "dev: there is no stage '$stage'; there are: ${all_stages[*]}" >&2
            exit 2
            ;;
    esac
done

mkdir -p "$logs"
for stage in "${stages[@]}"; do run_stage "$stage"; done

printf '\n%-12s %8s %8s %8s %9s\n' stage passed failed skipped time
printf '%s\n' "${rows[@]}"
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
