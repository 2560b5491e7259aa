#!/usr/bin/env bash
# bundle.sh BUILD: puts the libraries that the system's C library does not bring beside the program and the tests' programs,
# which look there first ($ORIGIN), strips them all, and writes the list of tests, so that BUILD runs on a machine without packages.
set -euo pipefail
build=$1
declare -A seen
for program in "$build/ingot" "$build"/tests/test_*; do
  [[ -x $program && -f $program ]] || continue
  while read -r path; do
    [[ -z ${seen[$path]:-} ]] || continue
    seen[$path]=1
    case $(basename "$path") in
      libc.so* | libm.so* | libpthread.so* | libdl.so* | librt.so* | libresolv.so* | ld-linux*) ;;
      libingot.so*) ;;
      *) [[ $path -ef $build/$(basename "$path") ]] || cp -L "$path" "$build/" ;;
    esac
  done < <(ldd "$program" | awk '$2 == "=>" && $3 ~ /^\// { print $3 }')
done
(cd "$build" && for test in tests/test_*; do [[ -f $test && -x $test ]] && echo "$test"; done) >"$build/tests.txt"
find "$build" -maxdepth 2 -type f \( -name 'ingot' -o -name 'test_*' -o -name '*.so*' \) -exec strip --strip-debug {} +
echo "bundled: $build, $(wc -l <"$build/tests.txt") tests; beside the tree it needs $build/{ingot,*.so*,tests.txt,tests/test_*}"
