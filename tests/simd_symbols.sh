#!/usr/bin/env bash
# Looks for definitions in libraries of vector variants that the linker may take for other objects too, and so run on CPUs
# that lack the instructions: simd_symbols.sh LIBRARY...
set -euo pipefail
(($#)) || { echo "no library: nothing was tested"; exit 1; }
functions=$(nm --defined-only --format=posix "$@" 2>/dev/null | awk '$2 == "T"' | wc -l)
shared=$(nm --defined-only --format=posix "$@" 2>/dev/null | awk '$2 ~ /^[WVu]$/ { print $1 }' | sort -u | c++filt)
echo "$functions public functions"
if ((functions == 0)); then
  echo "$* hold no functions: nothing was tested"
  exit 1
fi
if [[ $shared ]]; then
  echo "must not be defined for everybody: $(paste -sd ' ' <<<"$shared")"
  exit 1
fi
