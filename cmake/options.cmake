# Language, warnings, sanitizers. `./dev build` passes what it is told on to here.
set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
# Programs look beside themselves first, then where the system does: ./dev build --bundle puts libraries there. The same
# in the build as installed, so that installing changes no file. RPATH, not RUNPATH: it counts for libraries' needs too.
set(CMAKE_BUILD_WITH_INSTALL_RPATH ON)
if(APPLE)
  set(CMAKE_INSTALL_RPATH "@loader_path;@loader_path/..")
else()
  set(CMAKE_INSTALL_RPATH "$ORIGIN;$ORIGIN/..")
  add_link_options(-Wl,--disable-new-dtags)
endif()
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo)
endif()
set(CMAKE_C_FLAGS_RELWITHDEBINFO "-O2 -g")

option(INGOT_WERROR "warnings are errors" ON)
set(INGOT_SANITIZE "" CACHE STRING "address,undefined or thread")

set(c_options -Wall -Wextra -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wvla
                    -Wno-missing-field-initializers # tables name only what they set
                    -ffp-contract=off -fno-math-errno)
add_compile_options("$<$<COMPILE_LANGUAGE:C>:${c_options}>")
if(CMAKE_C_COMPILER_ID STREQUAL GNU)
  add_compile_options($<$<COMPILE_LANGUAGE:C>:-Wshadow=local>) # plain -Wshadow forbids a parameter `shape` beside the type
endif()
if(CMAKE_C_COMPILER_ID MATCHES Clang)
  add_compile_options(-Wno-pass-failed) # CPU_INDEPENDENT allows; it does not order
endif()
if(INGOT_WERROR)
  add_compile_options($<$<COMPILE_LANGUAGE:C>:-Werror>)
endif()
if(INGOT_SANITIZE)
  add_compile_options(-fsanitize=${INGOT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${INGOT_SANITIZE})
endif()
option(INGOT_FUZZ "build tests/fuzz with libFuzzer (clang)" OFF)
if(INGOT_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link) # coverage of the whole library guides the fuzzer
endif()
find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
endif()

# Tells one build's library from another's: a device module shares its structs. Known to the two files that compare, so that
# a commit compiles only what it changed.
execute_process(COMMAND git -C ${CMAKE_SOURCE_DIR} rev-parse --short HEAD OUTPUT_VARIABLE git_head
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
set(INGOT_BUILD_STAMP "${PROJECT_VERSION}-${git_head}-${CMAKE_BUILD_TYPE}-${INGOT_SANITIZE}")
set_source_files_properties(src/device/cuda_load.c src/device/cuda/cuda.c PROPERTIES
  COMPILE_DEFINITIONS INGOT_BUILD_STAMP="${INGOT_BUILD_STAMP}")
set_source_files_properties(src/bench/row.c PROPERTIES COMPILE_DEFINITIONS INGOT_BUILD_COMMIT="${git_head}")
