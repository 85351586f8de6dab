#!/usr/bin/env bash
# Unpacks the files of Linux that perf/peers compiles, out of Debian's package linux-source-6.1: extract.sh TARBALL FOLDER.
# FOLDER gets the tree as it is in the package. Nothing is done if it has all of them already.
set -euo pipefail
tarball=$1 folder=$2
files=(
  arch/arm64/include/asm/kvm_pgtable.h arch/arm64/include/asm/stage2_pgtable.h arch/arm64/kvm/hyp/pgtable.c
  drivers/iommu/io-pgtable-arm.c drivers/iommu/io-pgtable-arm.h include/linux/io-pgtable.h
)

if [[ ! -f $tarball ]]; then
  printf -- '-Dpeers=enabled needs %s, which Debian has in the package linux-source-6.1; as root: apt-get install linux-source-6.1\n' \
    "$tarball" >&2
  exit 1
fi
missing=0
for file in "${files[@]}"; do
  [[ -f $folder/$file ]] || missing=1
done
((missing)) || exit 0
mkdir -p -- "$folder"
# --occurrence stops reading behind the last file. `--no-same-owner`, since root would take over the owners.
tar -C "$folder" --occurrence=1 --no-same-owner --strip-components=1 -xJf "$tarball" "${files[@]/#/linux-source-6.1/}"
