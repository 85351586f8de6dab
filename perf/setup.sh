# shellcheck shell=bash
# What perf/run and tests/run share: the list of Debian packages, and how a build tree is made ready.
#
# Sourced with `root` set to the top of the clone. All messages go to stderr. Nothing is written outside the
# clone but installed packages. Exit status 2: Quire could not be set up, as opposed to run.

packages=(
  g++ binutils meson ninja-build pkg-config python3
  libmimalloc-dev libxxhash-dev libzstd-dev libcli11-dev libfmt-dev nlohmann-json3-dev libhwloc-dev libhwy-dev libtbb-dev
  libbenchmark-dev doctest-dev
)
# What `perf/run docs` needs.
docs_packages=(doxygen)
# What only the tests need: emulators that execute our tables, compilers for their architectures, valgrind, which
# counts instructions, spin, which checks the models, what embedders compile with, and what the example el2 is built and
# its Linux guest packed with.
test_packages=(
  qemu-system-arm qemu-system-misc hercules bochs g++-aarch64-linux-gnu g++-s390x-linux-gnu qemu-user-static valgrind
  spin make cpio clang libclang-rt-dev cmake "${docs_packages[@]}"
)

# What only builds with peers need: see perf/peers.
peer_packages=(gcc linux-source-6.1 xz-utils)

say() { printf 'quire: %s\n' "$*" >&2; }
die() {
  say "$@"
  exit 2
}

# Asks dpkg each time: one call takes a few milliseconds, and a stamp file would outlive `apt-get remove`.
install_packages() {
  local tool
  if ! command -v dpkg-query >/dev/null; then
    for tool in meson ninja pkg-config python3 "${CXX:-c++}"; do
      command -v "${tool%% *}" >/dev/null ||
        die "not a Debian system, and ${tool%% *} is missing; install what Debian calls: ${packages[*]}"
    done
    say "not a Debian system; these packages are taken to be there, by whatever name: ${packages[*]}"
    return
  fi

  local have package missing=()
  have=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null) || true
  for package in "${packages[@]}"; do
    [[ $'\n'$have$'\n' == *$'\n'"$package installed"$'\n'* ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0

  local install=(apt-get install -y --no-install-recommends "${missing[@]}") as_root=()
  if ((EUID != 0)); then
    as_root=(sudo)
    [[ -t 0 && -t 2 ]] || as_root+=(-n)  # nobody there to type a password
    if ! command -v sudo >/dev/null || ! "${as_root[@]}" true; then
      say "missing packages: ${missing[*]}"
      die "install them as root: apt-get update && ${install[*]}"
    fi
  fi

  say "installing ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
    apt-get -qq -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0)
  "${apt[@]}" update </dev/null >&2 || say "apt-get update failed; going on with the package lists at hand"
  "${apt[@]}" "${install[@]:1}" </dev/null >&2 || die "could not install: ${missing[*]}"
}

# Installs what is missing, keeps temporary files inside the clone, and waits until no other run uses the trees of
# this NAME.
set_up() { # NAME
  install_packages
  mkdir -p -- "$root/build/tmp" || die "cannot write to $root/build"
  export TMPDIR=$root/build/tmp PYTHONDONTWRITEBYTECODE=1 CCACHE_DISABLE=1
  exec {lock}>"$root/build/$1.lock"
  command -v flock >/dev/null || return 0
  flock -n "$lock" && return
  say "waiting for another run to finish with build/$1"
  flock "$lock"
}

# Makes build/NAME a Meson tree with these options. `setup-for` in the tree records all that the outcome depends on
# besides the sources (those Ninja watches), so a clone that was moved and a changed option both start afresh.
configure() { # NAME OPTION...
  local name=$1 tree=$root/build/$1 wanted variable
  shift
  wanted=$(printf '%s\n' "$root" "$@")
  for variable in CC CXX CPPFLAGS CXXFLAGS LDFLAGS PKG_CONFIG_PATH; do
    wanted+=$'\n'$variable=${!variable-}
  done
  [[ -f $tree/build.ninja && -f $tree/setup-for && $(<"$tree/setup-for") == "$wanted" ]] && return

  say "configuring build/$name"
  rm -rf -- "$tree"
  if ! meson setup "$@" "$tree" "$root" </dev/null >"$root/build/$name-setup.log" 2>&1; then
    cat -- "$root/build/$name-setup.log" >&2
    return 1
  fi
  printf '%s\n' "$wanted" >"$tree/setup-for"
}

# Brings targets of build/NAME up to date, all if none are named; shows Ninja's progress, and nothing if there is
# nothing to do.
build() { # NAME [TARGET...]
  local tree=$root/build/$1
  shift
  [[ $(ninja -C "$tree" -n "$@" 2>&1) == *'ninja: no work to do.'* ]] || ninja -C "$tree" "$@" </dev/null >&2
}
