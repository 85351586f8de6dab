#!/usr/bin/env python3
"""Counts what the C ABI costs more than the C++ API, under callgrind: cost_test.py VALGRIND PROGRAM (cost.cc compiled).

The limit stands for 2 ns a call: the 35 instructions that quire_note_run costs more took 1.6 ns on the machine where they
were timed, as they are simple and depend little on each other. A section is two calls or more. No call gets an
instruction that is locked.
"""
import os
import subprocess
import sys
import tempfile

LIMIT = 40
CALLS = {'empty_section': 2, 'one_page_section': 3}  # 1 each for the others
SIDES = ('C++', 'C')


def read(path):
    """Instructions and locked ones by (side, what), for one call."""
    found, name = {}, None
    with open(path, encoding='utf-8') as lines:
        for line in lines:
            if line.startswith('desc: Trigger: '):
                name = line.split(': ')[-1].split()
            elif line.startswith('events: '):
                assert line.split()[1:] == ['Ir', 'Ge'], line
            elif line.startswith('summary: ') and name and name[0] in SIDES:
                side, what, calls = name
                instructions, locked = ([int(n) for n in line.split()[1:]] + [0, 0])[:2]
                found[side, what] = instructions / int(calls), locked / int(calls)
    return found


def main():
    valgrind, program = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix='cost_', dir=os.environ.get('MESON_BUILD_ROOT')) as folder:
        output = os.path.join(folder, 'counts')
        subprocess.run([valgrind, '-q', '--tool=callgrind', '--collect-bus=yes', '--combine-dumps=yes',
                        '--toggle-collect=*measured*', f'--callgrind-out-file={output}', os.path.abspath(program)], check=True)
        found = read(output)
    problems = []
    for what in sorted({w for _, w in found}):
        (plain, plain_locked), (abi, abi_locked) = found['C++', what], found['C', what]
        more = (abi - plain) / CALLS.get(what, 1)
        print(f'{what:18} C++ {plain:7.1f}  C {abi:7.1f}  {more:+5.1f} instructions a call')
        if plain < 5 or more > LIMIT or abi_locked > plain_locked:
            problems.append(f'{what}: {more:.1f} more instructions a call, {abi_locked - plain_locked} more locked ones')
    print('\n'.join(problems))
    sys.exit(1 if problems or len(found) != 18 else 0)


main()
