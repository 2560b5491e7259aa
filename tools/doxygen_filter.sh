#!/usr/bin/env bash
# doxygen_filter.sh FILE: the file as Doxygen wants it. A header's opening comment documents the file; a comment on a line
# of its own documents what follows, one behind code what stands before it. Markdown passes as it is.
case $1 in
  *.h)
    sed -E -e '1s|^/\* |/** \\file\n * |' \
      -e 's|^/\* --.*$||' \
      -e '2,$s|^([[:space:]]*)/\* |\1/** |' \
      -e 's|([^[:space:]].*)[[:space:]]/\* (.*)$|\1 /**< \2|' \
      -e '/^ \* {0,3}[^ ]|\/\*/s|<(/?[A-Za-z\|])|\\<\1|g' \
      -e 's|([;,{(][[:space:]]*)// (.*)$|\1/**< \2 */|' "$1"
    ;;
  *) cat "$1" ;;
esac
