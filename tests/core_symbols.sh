#!/usr/bin/env bash
# Links all of the freestanding core into one object and looks at what it needs from outside, that it has the C ABI, and that
# all names it shows are Quire's: core_symbols.sh LIBRARY HEADER [TOOL_PREFIX]
# A bare-metal program has to bring these four, as GCC asks of every freestanding environment, and nothing else.
set -euo pipefail
allowed=(memcpy memmove memset memcmp)
library=$1 header=$2 prefix=${3-}

scratch=$(mktemp -d -- "${MESON_BUILD_ROOT:-.}/core_XXXXXX")
trap 'rm -rf -- "$scratch"' EXIT
"${prefix}ld" -r --whole-archive "$library" -o "$scratch/core.o"
"${prefix}nm" --undefined-only --format=posix "$scratch/core.o" | awk '{ print $1 }' | sort -u >"$scratch/undefined"
"${prefix}nm" --defined-only --format=posix "$scratch/core.o" | awk '$2 == "T" { print $1 }' | sort >"$scratch/functions"
printf '%s\n' "${allowed[@]}" | sort >"$scratch/allowed"
sed 's://.*::' "$header" | grep -oE '\bquire_\w+\(' | tr -d '(' | sort -u >"$scratch/declared"

echo "$(wc -l <"$scratch/functions") public functions; undefined:" $(<"$scratch/undefined")
if (($(wc -l <"$scratch/declared") < 30)); then
  echo "$header declares hardly any function: nothing was tested"
  exit 1
fi
missing=$(comm -23 "$scratch/declared" "$scratch/functions")
if [[ $missing ]]; then
  echo "declared, but not in the library: $(paste -sd ' ' <<<"$missing")"
  exit 1
fi
"${prefix}nm" --defined-only --extern-only --format=posix "$scratch/core.o" | awk '{ print $1 }' >"$scratch/shown"
foreign=$(grep -vE '^(quire_|_ZZ?NK?5quire)' "$scratch/shown") || true
if [[ $foreign ]]; then
  echo "not a name of Quire's: $(c++filt <<<"$foreign" | paste -sd ' ')"
  exit 1
fi
surplus=$(comm -23 "$scratch/undefined" "$scratch/allowed")
if [[ $surplus ]]; then
  echo "must not be needed: $(c++filt <<<"$surplus" | paste -sd ' ')"
  exit 1
fi
