#!/usr/bin/env bash
# cli_page.sh BUILD: docs/cli.md is what the program prints from its tables of options.
"$1/ingot" man --format markdown | diff -u docs/cli.md - && exit
echo "docs/cli.md is behind the tables of options: ./dev man writes it anew"
exit 1
