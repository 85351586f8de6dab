#!/usr/bin/env python3
"""Builds Quire as an embedder would, without sanitizers: install_test.py ROOT PART

install: into an empty prefix; what is there, which symbols are seen, and the hosted examples built against it by every
compiler, by pkg-config and by CMake, run under the address sanitizer. subproject: the examples with Quire as a Meson
subproject. aarch64, s390x: the core by cross file.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(1, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), 'examples'))
from example import build_tree  # noqa: E402

root, part = os.path.realpath(sys.argv[1]), sys.argv[2]
examples = os.path.join(root, 'docs/examples/hosted')
strict = ['-Wall', '-Wextra', '-Wpedantic', '-Werror', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all']


def run(*command, **more):
    """Standard output; ends the test if the command fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more)
    if done.returncode != 0:
        sys.exit(f'{" ".join(command)}\nended with status {done.returncode}:\n{done.stdout[-6000:]}')
    return done.stdout


def check(condition, what):
    if not condition:
        sys.exit(what)


def public(path):
    with open(path, encoding='utf-8') as f:
        return f.read()


def check_output(text):
    """What the examples print: a part for each format, one flush for the pages that cpu 0 unmaps."""
    parts = re.split(r'^(?=\S)', text, flags=re.M)[1:]
    names = [p.splitlines()[0] for p in parts]
    check(names == ['EPT', 'stage 2, 4 KiB', 'stage 2, 16 KiB', 'stage 2, 64 KiB', 'DAT', 'NPT'], f'formats {names}')
    for p in parts:
        check('  9 updates, 7' in p and '  cpu 0: ' in p.split('updates')[0] and 'cpu 1' not in p, p)
    check('invept single-context' in parts[0] and 'tlbi ipas2e1is' in parts[1] and 'ipte pto=' in parts[4], text)


def check_files(prefix):
    wanted = ['lib/libquire.so', 'lib/libquire.so.0', 'lib/libquire.a', 'lib/libquire-core.a', 'lib/pkgconfig/quire.pc',
              'lib/pkgconfig/quire-core.pc', 'include/quire/quire.h', 'include/quire/types.h', 'include/quire/formats.h',
              'include/quire/runtime/machine.h', 'include/quire/arch/x86/ept.h']
    for name in wanted:
        check(os.path.exists(os.path.join(prefix, name)), f'{name} is not installed')
    check('[libquire.so.0]' in run('readelf', '-d', f'{prefix}/lib/libquire.so'), 'no soname libquire.so.0')
    header = public(f'{prefix}/include/quire/quire.h')
    version = '.'.join(re.findall(r'#define QUIRE_VERSION_M?[A-Z]+ (\d+)u', header))
    check(f'Version: {version}\n' in public(f'{prefix}/lib/pkgconfig/quire.pc'), f'quire.pc has not version {version}')


def check_symbols(prefix):
    header = public(f'{prefix}/include/quire/quire.h')
    declared = set(re.findall(r'\bquire_\w+(?=\()', re.sub('//.*', '', header)))
    called = set(re.findall(r'\bquire_\w+(?=\()', public(f'{root}/tests/embed/abuse.c')))
    check(len(declared) > 30 and declared <= called, f'not called by abuse.c: {sorted(declared - called)}')
    for library, options in ('libquire.so', ['-D']), ('libquire.a', []), ('libquire-core.a', []):
        text = run('nm', *options, '--extern-only', '--defined-only', '--format=posix', f'{prefix}/lib/{library}')
        names = [line.split()[0].split('@')[0] for line in text.splitlines() if ' ' in line and not line.endswith(':')]
        strange = [n for n in names if not re.match(r'quire_|QUIRE_0|_ZZ?NK?5quire', n)]
        check(not strange, f'{library} shows {strange[:20]}')
        check(declared <= set(names), f'{library} lacks {sorted(declared - set(names))}')
        check(library != 'libquire.so' or not any('3abi' in n for n in names), f'{library} shows what is internal')
        check('san_' not in run('nm', *options, f'{prefix}/lib/{library}'), f'{library} has a sanitizer in it')


def check_compilers(prefix, scratch):
    flags = run('pkg-config', '--cflags', 'quire').split()
    linked = {'so': run('pkg-config', '--libs', 'quire').split() + [f'-Wl,-rpath,{prefix}/lib'],
              'a': [f'{prefix}/lib/libquire.a']}
    builds = [('gcc', 'hosted.c', '-std=c11', 'so'), ('gcc', 'hosted.c', '-std=c11', 'a'), ('g++', 'hosted.cc', '-std=c++20', 'so'),
              ('g++', 'hosted.cc', '-std=c++20', 'a'), ('clang', 'hosted.c', '-std=c11', 'so'),
              ('clang++', 'hosted.cc', '-std=c++20', 'so')]
    outputs = set()
    for compiler, source, standard, kind in builds:
        program = f'{scratch}/{compiler}-{kind}'
        extra = ['-lstdc++'] if source.endswith('.c') and kind == 'a' else []
        run(compiler, standard, *strict, *flags, f'{examples}/{source}', *linked[kind], *extra, '-o', program)
        outputs.add(run(program))
        print(f'{compiler} {source} libquire.{kind}')
    check(len(outputs) == 1, 'the examples print different things')
    check_output(outputs.pop())
    # What the guide shows. The ABI's header as C++, and the other way to write the C++ includes.
    shown = '\n'.join(re.findall(r'^```c\n(.*?)^```$', public(f'{root}/docs/embedding.md'), re.M | re.S))
    check('quire_map_with' in shown, 'docs/embedding.md shows no code')
    for compiler in 'gcc', 'clang':
        run(compiler, '-std=c11', *strict, *flags, '-fsyntax-only', '-x', 'c', '-', input=shown)
    for line in '#include "quire/quire.h"', '#include "quire/runtime/machine.h"', '#include <quire/arch/x86/ept_flush.h>':
        run('g++', '-std=c++20', *strict, *flags, '-fsyntax-only', '-x', 'c++', '-', input=line + '\n')


def test_install(scratch):
    prefix = f'{scratch}/prefix'
    with build_tree('x86-64', prefix) as build:
        run('meson', 'install', '-C', build)
    os.environ['PKG_CONFIG_PATH'] = f'{prefix}/lib/pkgconfig'
    check_files(prefix)
    check_symbols(prefix)
    check_compilers(prefix, scratch)
    run('cmake', '-S', examples, '-B', f'{scratch}/cmake')
    run('cmake', '--build', f'{scratch}/cmake')
    for program in 'hosted_c', 'hosted_cc':
        check_output(run(f'{scratch}/cmake/{program}'))


def test_subproject(scratch):
    project = f'{scratch}/project'
    shutil.copytree(examples, project)
    os.mkdir(f'{project}/subprojects')
    os.symlink(root, f'{project}/subprojects/quire')
    run('meson', 'setup', '--buildtype=plain', '--default-library=static', f'{scratch}/build', project)
    names = run('ninja', '-C', f'{scratch}/build', '-t', 'targets', 'all')
    check('doctest' not in names and 'quire-hv' not in names, 'the subproject brings tests or tools')
    run('meson', 'compile', '-C', f'{scratch}/build', 'hosted_c', 'hosted_cc')
    for program in 'hosted_c', 'hosted_cc':
        check_output(run(f'{scratch}/build/{program}'))


def test_cross(scratch, machine):
    with build_tree(machine, f'{scratch}/prefix') as build:
        run('ninja', '-C', build, 'libquire-core.a')
        print(run(f'{root}/tests/core_symbols.sh', f'{build}/libquire-core.a', f'{root}/quire/quire.h', f'{machine}-linux-gnu-'))


def main():
    with tempfile.TemporaryDirectory(prefix='embed_', dir=os.environ.get('MESON_BUILD_ROOT')) as scratch:
        if part == 'install':
            test_install(scratch)
        elif part == 'subproject':
            test_subproject(scratch)
        else:
            test_cross(scratch, part)


main()
