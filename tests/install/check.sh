#!/usr/bin/env bash
# check.sh BUILD SANITIZERS: installs BUILD into a scratch folder and uses it from outside: C++17 through pkg-config and
# through CMake, only what is installed; the program, its man page and its completion are there.
set -euo pipefail
build=$1 sanitize=${2:-}
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cmake --install "$build" --prefix "$scratch/tree" >"$scratch/log" || { cat "$scratch/log"; exit 1; }
tree=$scratch/tree
mv "$tree" "$scratch/moved" # an installed tree may be moved
tree=$scratch/moved
flags=(-std=c++17 -Wall -Wextra -Wpedantic -Werror)
[[ -z $sanitize ]] || flags+=(-fsanitize="$sanitize")
PKG_CONFIG_PATH=$(dirname "$(find "$tree" -name ingot.pc)")
export PKG_CONFIG_PATH LD_LIBRARY_PATH
LD_LIBRARY_PATH=$(dirname "$(find "$tree" -name libingot.so)")
read -ra use <<<"$(pkg-config --cflags --libs ingot)"

c++ "${flags[@]}" "$here/outside.cpp" "${use[@]}" -o "$scratch/outside"
[[ $("$scratch/outside") == "ingot "*" bfloat16 takes 2" ]] || { echo "outside.cpp says something else"; exit 1; }
if [[ -f $here/../../examples/matmul.c ]]; then
  c++ "${flags[@]}" -x c++ "$here/../../examples/matmul.c" "${use[@]}" -o "$scratch/matmul"
  "$scratch/matmul" >"$scratch/matmul.out"
  [[ -s $scratch/matmul.out ]]
fi

[[ -n $(find "$tree" -name LICENSE) ]] || { echo "the licence is not installed"; exit 1; }
mkdir "$scratch/project"
cp "$here/outside.cpp" "$scratch/project"
cat >"$scratch/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(outside LANGUAGES CXX)
find_package(ingot 0.1 REQUIRED)
add_executable(outside outside.cpp)
target_compile_features(outside PRIVATE cxx_std_17)
target_link_libraries(outside PRIVATE ingot::ingot)
END
cmake -S "$scratch/project" -B "$scratch/project/build" -DCMAKE_PREFIX_PATH="$tree" \
  -DCMAKE_CXX_FLAGS="${sanitize:+-fsanitize=$sanitize}" >"$scratch/log"
cmake --build "$scratch/project/build" >>"$scratch/log" || { cat "$scratch/log"; exit 1; }
"$scratch/project/build/outside" >/dev/null

[[ $("$tree/bin/ingot" --version) == "ingot "* ]]
grep -q '^\.SH NAME' "$tree/share/man/man1/ingot.1"
bash -n "$tree/share/bash-completion/completions/ingot"
echo "the installed tree works"
