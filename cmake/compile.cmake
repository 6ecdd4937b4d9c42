# Warnings, hardening and sanitizers, the same for every target of ours.
add_library(kw_flags INTERFACE)
target_include_directories(kw_flags INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(kw_flags INTERFACE _GNU_SOURCE KW_VERSION="${PROJECT_VERSION}")
target_compile_options(kw_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wpointer-arith -Wvla
  -fno-omit-frame-pointer)
if(KEYWAY_WERROR)
  target_compile_options(kw_flags INTERFACE -Werror)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O3 -g -fno-strict-aliasing")

# The programs are optimised as wholes: an eighth fewer instructions a request. The tests are not, because what they put
# in place of a function (kw_wrap) must be called from every file; so the objects carry both kinds of code.
if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND NOT KEYWAY_SANITIZE AND NOT KEYWAY_FUZZ)
  target_compile_options(kw_flags INTERFACE -flto=auto -ffat-lto-objects)
  set(KEYWAY_LINK_WHOLE -flto=auto)
  set(KEYWAY_LINK_PARTS -fno-lto)
endif()
if(KEYWAY_SANITIZE)
  target_compile_options(kw_flags INTERFACE -fsanitize=${KEYWAY_SANITIZE} -g -O1)
  target_link_options(kw_flags INTERFACE -fsanitize=${KEYWAY_SANITIZE})
  if(KEYWAY_SANITIZE MATCHES "undefined")
    target_compile_options(kw_flags INTERFACE -fno-sanitize-recover=undefined)
  endif()
endif()

# kw_library(name DEPENDS ... EXCEPT ...): the static library of a folder and those in it: all sources but the mains.
function(kw_library name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;EXCEPT" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
  foreach(source ${ARG_EXCEPT})
    list(REMOVE_ITEM sources ${CMAKE_CURRENT_SOURCE_DIR}/${source})
  endforeach()
  add_library(${name} STATIC ${sources})
  target_link_libraries(${name} PUBLIC kw_flags ${ARG_DEPENDS})
endfunction()
