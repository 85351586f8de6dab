#!/usr/bin/env bash
# Configures a build with -Dpeers=enabled, compiles the page tables of Linux and plays with them: peers.sh ROOT.
# Exit status: 0 good, 1 not, 77 the package linux-source-6.1 is not installed.
set -euo pipefail
root=$1
tarball=/usr/src/linux-source-6.1.tar.xz
folder=$(mktemp -d -p "${MESON_BUILD_ROOT:-${TMPDIR:-/tmp}}")
trap 'rm -rf -- "$folder"' EXIT
fail() {
  printf '%s\n' "$@"
  exit 1
}

# Without the package, the message says what is missing and how to get it.
if meson setup "$folder/without" "$root" -Dpeers=enabled -Dpeers_source="$folder/none.tar.xz" >"$folder/log" 2>&1; then
  fail 'a build with peers was configured without their source'
fi
grep -q -- "-Dpeers=enabled needs $folder/none.tar.xz.*package linux-source-6.1" "$folder/log" ||
  fail 'the message names no package:' "$(tail -n 5 "$folder/log")"

[[ -f $tarball ]] || exit 77
meson setup "$folder/with" "$root" --buildtype=debugoptimized -Dpeers=enabled >"$folder/log" 2>&1 || fail "$(tail -n 20 "$folder/log")"
ninja -C "$folder/with" perf/peers/liblinux-peers.a >"$folder/log" 2>&1 || fail "$(tail -n 40 "$folder/log")"
"${CXX:-c++}" -std=c++20 -I"$root" "$root/tests/perf/peers_test.cc" "$folder/with/perf/peers/liblinux-peers.a" -o "$folder/play"
"$folder/play" >"$folder/log" 2>&1 || fail "$(<"$folder/log")"
[[ ! -s $folder/log ]] || fail 'a peer complains:' "$(<"$folder/log")"

# Nothing of them is installed, whatever else is.
! meson introspect "$folder/with" --installed | grep -E 'liblinux|peers|perf/quire"' ||
  fail 'a build with peers installs them'
