#!/usr/bin/env bash
# package.sh BUILD [ARCHITECTURES]: one archive for other machines: the program with its module for NVIDIA GPUs, where this machine
# can compile one (code for sm_80, 86, 89 and 90a, PTX for later ones), and the libraries that a bare system lacks. The libraries of
# CUDA itself (cublasLt, nvrtc) are the user's. Fails when the archive reaches 60 MB.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1 architectures=${2:-80-real;86-real;89-real;90a-real;90-virtual} most=$((60 * 1000 * 1000))
# shellcheck source=tools/packages.sh
source tools/packages.sh
nvcc=$(nvcc_path)
cuda=() targets=(ingot_program ingot_pages)
if [[ $nvcc ]]; then
  export CUDACXX=$nvcc
  cuda=(-DINGOT_CUDA=ON -DINGOT_CUDA_SMALL=ON "-DINGOT_CUDA_ARCHITECTURES=$architectures")
  targets+=(ingot_cuda)
else
  echo 'NO CUDA MODULE in this package: no nvcc here' >&2
fi
mkdir -p "$build"
cmake -S . -B "$build" -G Ninja -DBUILD_TESTING=OFF ${cuda[@]+"${cuda[@]}"} >"$build/configure.log" 2>&1 ||
  { cat "$build/configure.log" >&2; exit 1; }
ninja -C "$build" "${targets[@]}" >"$build/compile.log" 2>&1 || { grep -vE '^\[' "$build/compile.log" | head -40 >&2; exit 1; }
version=$("$build/ingot" --version | awk 'NR == 1 { print $2 }')
name=ingot-$version-$(uname -s | tr '[:upper:]' '[:lower:]')-$(uname -m)
folder=$build/$name
rm -rf "$folder"
mkdir -p "$folder"
cp "$build/ingot" LICENSE README.md "$folder/"
cp -r "$build/pages" "$folder/"
[[ ! $nvcc ]] || cp "$build/libingot_cuda.so" "$folder/"
while read -r path; do
  case $(basename "$path") in
    libc.so* | libm.so* | libpthread.so* | libdl.so* | librt.so* | ld-linux*) ;;
    libcublas* | libnvrtc*) ;;
    *) cp -L "$path" "$folder/" ;;
  esac
done < <(ldd "$build/ingot" ${nvcc:+"$build/libingot_cuda.so"} | awk '$2 == "=>" && $3 ~ /^\// { print $3 }')
find "$folder" -maxdepth 1 -type f \( -name ingot -o -name '*.so*' \) -exec strip --strip-unneeded {} +
tar -C "$build" -cf - "$name" | xz -T2 >"$build/$name.tar.xz"
bytes=$(stat -c %s "$build/$name.tar.xz")
"$folder/ingot" --version >/dev/null
echo "written: $build/$name.tar.xz, $bytes bytes"
((bytes < most)) || { echo "dev: the package has $bytes bytes, $most are the most" >&2; exit 1; }
