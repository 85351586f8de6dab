#!/usr/bin/env bash
# Links all of the freestanding core into one object and looks at what it needs from outside: core_symbols.sh LIBRARY
# A bare-metal program has to bring these four, as GCC asks of every freestanding environment, and nothing else.
set -euo pipefail
allowed=(memcpy memmove memset memcmp)

scratch=$(mktemp -d -- "${MESON_BUILD_ROOT:-.}/core_XXXXXX")
trap 'rm -rf -- "$scratch"' EXIT
ld -r --whole-archive "$1" -o "$scratch/core.o"
nm --undefined-only --format=posix "$scratch/core.o" | awk '{ print $1 }' | sort -u >"$scratch/undefined"
nm --defined-only --format=posix "$scratch/core.o" | awk '$2 == "T"' | wc -l >"$scratch/functions"
printf '%s\n' "${allowed[@]}" | sort >"$scratch/allowed"

echo "$(<"$scratch/functions") public functions; undefined:" $(<"$scratch/undefined")
if (($(<"$scratch/functions") == 0)); then
  echo "$1 holds no functions: nothing was tested"
  exit 1
fi
surplus=$(comm -23 "$scratch/undefined" "$scratch/allowed")
if [[ $surplus ]]; then
  echo "must not be needed: $(c++filt <<<"$surplus" | paste -sd ' ')"
  exit 1
fi
