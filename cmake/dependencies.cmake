# Debian packages; `./dev build` installs what is missing.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
pkg_check_modules(UV REQUIRED IMPORTED_TARGET libuv>=1.40)
pkg_check_modules(HIREDIS REQUIRED IMPORTED_TARGET hiredis>=0.14)
# Older ones lose acknowledged entries (docs/decisions/0007).
pkg_check_modules(RAFT REQUIRED IMPORTED_TARGET raft>=0.22)

# jemalloc under everything, but not beside a sanitizer's own allocator.
if(NOT KEYWAY_SANITIZE AND NOT KEYWAY_FUZZ)
  pkg_check_modules(JEMALLOC REQUIRED IMPORTED_TARGET jemalloc)
endif()
if(KEYWAY_TESTS)
  pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()
