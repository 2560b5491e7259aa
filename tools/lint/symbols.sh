#!/usr/bin/env bash
# symbols.sh BUILD: what the objects say. Outside cli/: no printing, exit, abort or getenv; in the library no mutable
# state at file scope (constant tables with pointers are .data.rel.ro and are fine).
set -uo pipefail
build=$1 bad=0
forbidden='printf|__printf_chk|vprintf|__vprintf_chk|puts|putchar|perror|stdout|stderr|exit|_exit|_Exit|quick_exit|abort|__assert_fail|getenv|secure_getenv|setenv|putenv'
report() { [[ -z $1 ]] || { echo "$1"; bad=1; }; }
report "$(nm -A -u "$build/libingot_static.a" | awk -v f="^($forbidden)\$" '{ sub(/@.*/, "", $NF) } $NF ~ f { print $1 " calls " $NF }' |
  sed 's/.*\.a://')"
# The program outside cli/ (plot, bench, server) returns errors too; it may write to pipes and files that it opened.
report "$(nm -A -u "$build/libingot_cli.a" 2>/dev/null | awk -v f='^(exit|_exit|_Exit|quick_exit|abort|__assert_fail|getenv|secure_getenv|setenv|putenv)$' \
  '{ sub(/@.*/, "", $NF) } $NF ~ f { print $1 " " $NF }' | sed 's/.*\.a://' |
  while read -r object name; do
    source=${object%%.o:*}
    [[ -n $(find src/cli -name "$source") ]] || echo "$object calls $name"
  done)"
report "$(objdump -t "$build/libingot_static.a" | awk '
  /file format/ { object = $1 }
  / d / { next }
  ($0 ~ / O / || /\.t(bss|data)/) && ($0 ~ /[ \t](\.data|\.bss|\.tbss|\.tdata)([. ]|\t)/ || /\*COM\*/) && $0 !~ /\.data\.rel\.ro/ {
    print object " " $NF " is mutable state" }')"
exit $bad
