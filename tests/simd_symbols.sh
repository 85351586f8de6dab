#!/usr/bin/env bash
# Looks for definitions in libraries of vector variants that the linker may take for other objects too, and so run on CPUs
# that lack the instructions: simd_symbols.sh LIBRARY...
set -euo pipefail
(($#)) || { echo "no library: nothing was tested"; exit 1; }
definitions=$(nm --defined-only --format=posix "$@" | awk '$2 ~ /^[A-TV-Zu]$/ { print $2, $1 }' | sort -u)
shared=$(awk '$1 ~ /^[WVu]$/ && $2 !~ /^DW\.ref\./ { print $2 }' <<<"$definitions" | c++filt)
if [[ ! $definitions ]]; then
  echo "$* define nothing: nothing was tested"
  exit 1
fi
echo "$(wc -l <<<"$definitions") public definitions"
if [[ $shared ]]; then
  echo "must not be defined for everybody: $(paste -sd ' ' <<<"$shared")"
  exit 1
fi
