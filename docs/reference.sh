#!/usr/bin/env bash
# Makes the API reference of what embedders include: docs/reference.sh FOLDER. Any warning of Doxygen is an error; of the
# C ABI, everything has to be documented.
set -euo pipefail
output=$(readlink -m -- "$1")
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
mkdir -p -- "$output"
make() { { cat docs/Doxyfile; printf '%s\n' "OUTPUT_DIRECTORY = $output" "$@"; } | doxygen -; }

make 'INPUT = quire/quire.h quire/types.h quire/formats.h' 'EXTRACT_ALL = NO' 'WARN_IF_UNDOCUMENTED = YES' 'GENERATE_HTML = NO' \
  'GENERATE_XML = YES'
make
echo "$output/html/index.html"
