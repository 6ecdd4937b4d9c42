# shellcheck shell=bash
# shellcheck disable=SC2034,SC2054  # the lists are for those who source this; commas belong to sanitizer names
#
# The build folders, sourced by ./dev and stages.sh: which compiler and options each has, and how it is made.

build_gcc_options=(-DCMAKE_C_COMPILER=gcc -DKEYWAY_WERROR=ON -DKEYWAY_TESTS=ON)
build_clang_options=(-DCMAKE_C_COMPILER=clang -DKEYWAY_WERROR=ON -DKEYWAY_TESTS=ON)
build_asan_options=("${build_clang_options[@]}" -DKEYWAY_SANITIZE=address,undefined)
build_tsan_options=("${build_clang_options[@]}" -DKEYWAY_SANITIZE=thread)
# The libraries are instrumented for coverage as well, or the fuzzer would search blindly.
build_fuzz_options=(-DCMAKE_C_COMPILER=clang -DKEYWAY_TESTS=OFF -DKEYWAY_FUZZ=ON -DKEYWAY_SANITIZE=address,undefined
    -DCMAKE_C_FLAGS=-fsanitize=fuzzer-no-link)

# build_configure FOLDER OPTION...: runs CMake; one line of output unless it fails.
build_configure() {
    local folder=$1
    shift
    local launcher=()
    local text
    command -v ccache >/dev/null && launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)
    if ! text=$(cmake -S . -B "$folder" -G Ninja "${launcher[@]}" "$@" 2>&1); then
        printf '%s\n' "$text" >&2
        return 1
    fi
}

# build_all FOLDER OPTION...: configures and builds everything in it.
build_all() {
    build_configure "$@" && ninja -C "$1" --quiet
}

# The release programs alone, in build/. Unit tests are configured where their library is there, so that `./dev test`
# finds a folder that it need not make anew.
build_programs() {
    local programs
    if [ ! -f build/build.ninja ]; then
        local tests=OFF
        pkg-config --exists cmocka && tests=ON
        build_configure build -DCMAKE_C_COMPILER=gcc -DKEYWAY_TESTS=$tests || return 1
    fi
    mapfile -t programs < <(ninja -C build -t targets all | sed -n 's/^\(keyway-[a-z]*\): phony$/\1/p')
    ninja -C build --quiet "${programs[@]}"
}
