#!/usr/bin/env python3
"""Fails on an #include against the arrow: arch <- runtime <- hv <- perf, tests; and runtime <- quire <- tests. Usage:
layers_test.py ROOT"""
import pathlib
import re
import sys

# Folder -> the folders it may include from. runtime/host is what of runtime needs an operating system.
ALLOWED = {
    'arch': {'arch'},
    'runtime': {'arch', 'runtime'},
    'runtime/host': {'arch', 'runtime', 'runtime/host'},
    'quire': {'arch', 'runtime', 'quire'},
    'hv': {'arch', 'runtime', 'runtime/host', 'hv'},
    'perf': {'arch', 'runtime', 'runtime/host', 'hv', 'perf'},
    'tests': {'arch', 'runtime', 'runtime/host', 'quire', 'hv', 'perf', 'tests'},
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]', re.MULTILINE)


def layer_of(path):
    """The layer of a path relative to the root, or None."""
    folders = path.split('/')[:-1]
    if folders[:2] == ['runtime', 'host']:
        return 'runtime/host'
    return folders[0] if folders and folders[0] in ALLOWED else None


def faults(path, text, exists):
    """What is wrong with the includes of one file, as lines of text."""
    found = []
    for match in INCLUDE.finditer(text):
        mark, name = match.groups()
        line = text.count('\n', 0, match.start()) + 1
        target = layer_of(name)
        where = f'{path}:{line}: #include {name}: '
        if mark == '"' and target is None:
            found.append(where + 'paths start at one of ' + ', '.join(sorted(ALLOWED)))
        elif mark == '"' and not exists(name):
            found.append(where + 'there is no such file')
        elif target is not None and mark == '<' and not path.startswith('perf/peers/'):  # Linux has an `arch`, too
            found.append(where + 'files of the project are included in quotes')
        elif target is not None and target not in ALLOWED[layer_of(path)]:
            found.append(where + f'{layer_of(path)} may include {", ".join(sorted(ALLOWED[layer_of(path)]))} only')
    return found


def check_itself():
    """The rules as this script understands them: file, include, whether it is a fault."""
    for path, include, bad in [
        ('arch/a.h', '"arch/b.h"', False), ('arch/x86/a.h', '"arch/b.h"', False), ('arch/a.h', '<cstdint>', False),
        ('arch/a.h', '"runtime/b.h"', True), ('arch/a.h', '"tests/b.h"', True), ('arch/a.h', '"b.h"', True),
        ('runtime/a.cc', '"arch/b.h"', False), ('runtime/a.cc', '"runtime/host/b.h"', True),
        ('runtime/a.cc', '"hv/b.h"', True), ('runtime/host/a.cc', '"runtime/b.h"', False),
        ('runtime/host/a.cc', '"hv/b.h"', True), ('hv/a.cc', '"runtime/host/b.h"', False),
        ('hv/a.cc', '"perf/b.h"', True), ('hv/a.cc', '<perf/b.h>', True), ('hv/a.cc', '"../arch/b.h"', True),
        ('quire/a.cc', '"runtime/b.h"', False), ('quire/a.cc', '"runtime/host/b.h"', True), ('hv/a.cc', '"quire/b.h"', True),
        ('perf/a.cc', '"hv/b.h"', False), ('perf/a.cc', '"tests/b.h"', True), ('tests/a.cc', '"perf/b.h"', False),
    ]:
        assert bool(faults(path, f'// a\n  # include {include}\n', lambda _: True)) == bad, (path, include)
    assert faults('hv/a.cc', '#include "arch/gone.h"', lambda _: False)


def main():
    check_itself()
    root = pathlib.Path(sys.argv[1])
    files = [p for folder in ALLOWED if '/' not in folder
             for p in sorted((root / folder).rglob('*')) if p.suffix in ('.h', '.cc', '.c')]
    found = []
    for p in files:
        path = p.relative_to(root).as_posix()
        found += faults(path, p.read_text(encoding='utf-8'), lambda name: (root / name).is_file())
    print('\n'.join(found + [f'{len(files)} files, {len(found)} faults']))
    sys.exit(1 if found or len(files) < 50 else 0)


main()
