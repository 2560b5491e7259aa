# shellcheck shell=bash disable=SC2034 # variables for those who source it
# What the command-line tests share. A test is run as `bash test_verb.sh INGOT`, begins with
#     source "$(dirname "$0")/lib.sh"
# and then stands in an empty folder, $work, that goes with it; the tree of the project is $root. It ends with `exit $failed`.
set -u
ingot=$(realpath "$1")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'kill -9 $(jobs -p) 2> /dev/null || :; rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0
fail() { # words...: the test goes on, and fails at its end
    echo "FAILED: $*"
    failed=1
}
check() { # what, command...: the command must succeed
    local what=$1
    shift
    "$@" || fail "$what"
}
runs() { # what, command...: must succeed, and leaves what it wrote in `out` and `err`
    local what=$1
    shift
    "$@" > out 2> err || { fail "$what: $*"; cat err; }
}
refuses() { # words of the message, command...: must fail with them, and leaves what it wrote in `out` and `err`
    local words=$1
    shift
    if "$@" > out 2> err < /dev/null; then fail "not refused: $*"; fi
    grep -q -- "$words" err || { fail "'$words' is not in the message of $*:"; cat err; }
}
says() { # words, file
    grep -q -- "$1" "$2" || { fail "'$1' is not in what it said:"; cat "$2"; }
}
