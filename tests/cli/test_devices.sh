# shellcheck shell=bash
# ingot devices, and the module of a device: none, one that does not load, one of another build; what tests of a device say without it.
source "$(dirname "$0")/lib.sh"
runs devices "$ingot" devices
for device in cpu ref null; do says "^$device " out; done
runs 'as JSON' "$ingot" devices --json
says '"name": *"cuda"' out
refuses 'did you mean cuda' "$ingot" devices --kernels --device cudda
runs 'kernels' "$ingot" devices --kernels --device cpu
says '^matmul  *matmul\.' out

# The program looks for the module beside itself: a copy in an empty folder has none.
mkdir alone
cp "$ingot" alone/ingot
alone() { LD_LIBRARY_PATH=$(dirname "$ingot"):${LD_LIBRARY_PATH:-} alone/ingot "$@"; }
if alone devices --quiet > out && ! ldconfig -p 2> /dev/null | grep -q libingot_cuda && [[ ! -e $(dirname "$ingot")/libingot_cuda.so ]]; then
    says '^cuda .*not here: no CUDA here: this build has no CUDA module' out
    refuses 'this build has no CUDA module' alone check --device cuda --ops add
fi
echo 'no library' > alone/libingot_cuda.so
alone devices --quiet > out || fail 'devices beside a module that is none'
says '^cuda .*not here: no CUDA here: .*libingot_cuda.so: ' out
if command -v cc > /dev/null; then
    echo 'char ingot_cuda_stamp[] = "0.0.0-another", ingot_cuda_device[256];' > module.c
    check 'a module' cc -shared -fPIC -o alone/libingot_cuda.so module.c
    alone devices --quiet > out || fail 'devices beside a module of another build'
    says '^cuda .*not here: libingot_cuda.so is of another build than this program' out
    refuses 'is of another build' alone bench train --preset tiny-1m --device cuda --repetitions 1
    alone info --help > out || fail 'the rest of the program'
fi
exit "$failed"
