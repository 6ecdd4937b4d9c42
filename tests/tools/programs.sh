# shellcheck shell=bash
# shellcheck disable=SC2154  # root, logs, stage, only_tests and count belong to stages.sh
#
# How stages.sh runs the test programs and reads off how many of their tests passed. A program that dies, hangs or does
# not say is one failure. The bounds on time are for what hangs: several times what a slow machine needs.

export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_stack_use_after_return=1:strict_string_checks=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1:halt_on_error=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-second_deadlock_stack=1:suppressions=$root/tests/tools/tsan.supp}

# Sanitizer runtimes of this age cannot live with much address randomisation: without, where that can be had.
steady=()
if setarch -R true 2>/dev/null; then steady=(setarch -R); fi

show_failure() {
    printf 'FAILED  %s (%s)\n' "$1" "${2#"$root"/}"
    grep -vE '^(ok [0-9]+|.* \.\.\. ok$)' "$2" | tail -n 60
}

# start_counted NAME SECONDS COMMAND...: runs a command whose last line is "N passed, N failed, N skipped" to its end.
start_counted() {
    local log=$logs/${stage}_$1.log
    local seconds=$2
    local began=$SECONDS
    local code=0
    shift 2
    timeout -k 20 "$seconds" "$@" >"$log" 2>&1 </dev/null || code=$?
    [ "$code" -eq 124 ] && echo "(ended after $seconds s)" >>"$log"
    echo "$code $((SECONDS - began))" >"$log.end"
}

# judge_counted NAME: counts what it said, when it has ended.
judge_counted() {
    local log=$logs/${stage}_$1.log
    local line code spent p f s
    read -r code spent <"$log.end"
    rm -f "$log.end"
    line=$(tail -n 1 "$log")
    if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
        p=${BASH_REMATCH[1]} f=${BASH_REMATCH[2]} s=${BASH_REMATCH[3]}
        [ "$code" -ne 0 ] && [ "$f" -eq 0 ] && f=1
    else
        p=0 f=1 s=0
    fi
    count "$p" "$f" "$s"
    if [ "$f" -eq 0 ]; then
        printf 'ok      %-28s %4d passed, %d skipped, %d s\n' "$1" "$p" "$s" "$spent"
        grep '^note: ' "$log" || true
    else
        show_failure "$1" "$log"
    fi
}

run_counted() {
    start_counted "$@"
    judge_counted "$1"
}

# run_unit FOLDER [NAME...]: every unit test program in it but those, three at once, for some wait more than they work;
# cmocka prints TAP, one line a test case.
run_unit() {
    local folder=$1
    shift
    local program name log p f s
    local total=0
    local names=()
    for program in "$folder"/bin/test_*; do
        [ -x "$program" ] || continue
        name=${program##*/}
        [ -f "tests/unit/$name.c" ] || continue # left over from a test that is no more
        [[ " $* " != *" $name "* ]] || continue
        while [ "$(jobs -rp | wc -l)" -ge 3 ]; do wait -n; done
        names+=("$name")
        log=$logs/${stage}_unit_$name.log
        (
            CMOCKA_MESSAGE_OUTPUT=TAP timeout -k 10 600 "${steady[@]}" "$program" >"$log" 2>&1 </dev/null
            echo $? >"$log.end"
        ) &
    done
    wait
    for name in "${names[@]}"; do
        log=$logs/${stage}_unit_$name.log
        s=$(grep -cE '^(not )?ok [0-9]+ # SKIP' "$log")
        f=$(grep -cE '^not ok [0-9]+ - ' "$log")
        p=$(grep -cE '^ok [0-9]+ - ' "$log")
        [ "$(cat "$log.end")" != 0 ] && [ "$f" -eq 0 ] && f=1
        rm -f "$log.end"
        [ $((p + f + s)) -eq 0 ] && f=1
        count "$p" "$f" "$s"
        total=$((total + p))
        [ "$f" -eq 0 ] || show_failure "$name" "$log"
    done
    printf 'ok      %-28s %4d passed\n' "unit test cases" "$total"
}

# run_cases FOLDER: the committed fuzz cases, through the replay programs.
run_cases() {
    local program name log
    local total=0
    for program in "$1"/bin/replay_*; do
        [ -x "$program" ] || continue
        name=${program##*/replay_}
        [ -f "tests/fuzz/fuzz_$name.c" ] || continue
        log=$logs/${stage}_cases_$name.log
        if timeout -k 10 600 "${steady[@]}" "$program" "tests/fuzz/cases/$name" >"$log" 2>&1 </dev/null; then
            count 1 0 0
            total=$((total + 1))
        else
            count 0 1 0
            show_failure "fuzz cases of $name" "$log"
        fi
    done
    printf 'ok      %-28s %4d passed\n' "fuzz case folders" "$total"
}

# A value that a test file declares in its first lines: "# NAME: VALUE".
declared() {
    head -n 20 "$2" | sed -n "s/^# $1:[[:space:]]*//p" | head -n 1
}

# integration_files FACTOR [NAME...]: the names of the test files, or of those, that are to run; those that declare
# "# alone: yes", since they measure, behind the others.
integration_files() {
    local factor=$1
    shift
    local file name
    local last=()
    for file in tests/integration/test_*.py; do
        name=$(basename "$file" .py)
        [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
        [ ${#only_tests[@]} -eq 0 ] || [[ " ${only_tests[*]} " == *" $name "* ]] || continue
        [ "$factor" -eq 1 ] || [ "$(declared sanitizers "$file")" != no ] || continue
        if [ "$(declared alone "$file")" = yes ]; then last+=("$name"); else echo "$name"; fi
    done
    [ ${#last[@]} -eq 0 ] || printf '%s\n' "${last[@]}"
}

# run_integration FOLDER FACTOR [NAME...]: the test files, or those, with the programs of a build folder; three at once,
# but those that declare "# alone: yes". FACTOR stretches the time that a file may take. Where it is more than 1 time is
# no object: five at once, and those that declare "# sanitizers: no" do not run. Most of the time they wait: for elections,
# timeouts, processes to start.
run_integration() {
    local folder=$1
    local factor=$2
    shift 2
    local file name seconds most
    local names=()
    mapfile -t names < <(integration_files "$factor" "$@")
    for name in "${names[@]}"; do
        file=tests/integration/$name.py
        most=$((factor == 1 ? 3 : 5))
        [ "$factor" -gt 1 ] || [ "$(declared alone "$file")" != yes ] || most=1
        while [ "$(jobs -rp | wc -l)" -ge "$most" ]; do wait -n; done
        seconds=$(declared timeout "$file")
        start_counted "$name" $((${seconds:-600} * factor)) \
            env KEYWAY_BIN_DIR="$root/$folder/bin" "${steady[@]}" /usr/bin/python3 "$file" &
        [ "$most" -gt 1 ] || wait
    done
    wait
    for name in "${names[@]}"; do judge_counted "$name"; done
}

# npm_install FOLDER: its packages, exactly those of the lock file where there is one; nothing when they are there.
npm_install() (
    cd "$1" || exit 1
    if [ -f package-lock.json ]; then
        [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --silent --no-audit --no-fund
    else
        [ node_modules/.package-lock.json -nt package.json ] || npm install --silent --no-audit --no-fund
    fi
)
