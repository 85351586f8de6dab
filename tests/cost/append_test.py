#!/usr/bin/env python3
"""Counts instructions under callgrind: append_test.py VALGRIND PROGRAM..., PROGRAM being append.cc compiled.

Appends cost the same whether another cpu drains the queue meanwhile or not, all in all: which of them finds that it has
to claim depends on the pool. No append, lookup or empty section executes a locked instruction. What an append does beyond queueing, seldom, is counted apart: it claims
more frames for tables from the pool that all cpus share, under its lock, and it commits a queue that is full. What
these cost depends on drains: two cpus find the pool in another state than one, and what is drained is not left to
commit.
"""
import collections
import os
import subprocess
import sys
import tempfile

MACHINE = 'quire::runtime::machine::'
COUNTED = ['(anonymous namespace)::map_in_call'] + [MACHINE + name for name in ['lookup', 'enter', 'leave']]  # and callees
SELDOM = ('quire::runtime::table_pool::claim(', MACHINE + 'commit_queue(')
FORMATS, PATTERNS, DRAINS = ['ept', 'stage2', 'dat'], ['adjacent', 'separate', 'far'], ['1', '7']
OTHERS = [('lookup', 'mapped'), ('lookup', 'hole'), ('lookup', 'queued'), ('lookup', 'beside-queued'),
          ('section', 'empty')]

# Instructions and locked ones ("global bus events"): all, and those of SELDOM alone.
Part = collections.namedtuple('Part', 'all locked seldom locked_seldom')
problems = []


def check(condition, what):
    if not condition:
        problems.append(what)


def costs(line):
    """The costs in a line `POSITION IR GE`; the numbers at the end may be left out."""
    numbers = [int(n) for n in line.split()[1:]] + [0, 0]
    return numbers[:2]


def read(path):
    """The parts of a file with one part for each name, by name."""
    parts, name, caller, callee, called = {}, None, '', '', False
    with open(path, encoding='utf-8') as lines:
        for line in lines:
            if line.startswith('desc: Trigger: '):  # then `Client Request: NAME`, or another one at the end
                name = line.split(': ')[-1].strip()
            elif line.startswith('events: '):
                assert line.split()[1:] == ['Ir', 'Ge'], line
            elif line.startswith('summary: '):
                parts[name] = Part(*costs(line), 0, 0)
            elif line.startswith('fn='):
                caller = line[3:]
            elif line.startswith('cfn='):
                callee = line[4:]
            elif line.startswith('calls='):
                called = True
            elif called:  # what these calls cost, with all that they call
                if callee.startswith(SELDOM) and not caller.startswith(SELDOM):
                    p, (more, locked) = parts[name], costs(line)
                    parts[name] = Part(p.all, p.locked, p.seldom + more, p.locked_seldom + locked)
                called = False
    return parts


def run(valgrind, program, folder):
    output = os.path.join(folder, 'counts')
    options = ['--tool=callgrind', '--collect-bus=yes', '--combine-dumps=yes', '--compress-strings=no',
               '--compress-pos=no', '--dump-line=no', f'--callgrind-out-file={output}']
    options += [f'--toggle-collect={name}(*' for name in COUNTED]
    ran = subprocess.run([valgrind, *options, os.path.abspath(program)], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, check=False)
    if ran.returncode != 0:
        sys.exit(f'{program} ended with status {ran.returncode}:\n{ran.stdout}')
    parts = read(output)
    os.remove(output)
    return parts


def appends(parts, form, pattern, drain_every):
    head = f'append {form} {pattern} {drain_every} '
    found = {int(name[len(head):]): part for name, part in parts.items() if name.startswith(head)}
    assert len(found) >= 100 and sorted(found) == list(range(len(found))), head
    return [found[i] for i in range(len(found))]


def check_appends(parts, form, pattern):
    plain = appends(parts, form, pattern, '0')
    own = [p.all - p.seldom for p in plain]
    often = ', '.join(f'{n} ({times} times)' for n, times in collections.Counter(own).most_common())
    print(f'{form:6} append, {pattern:8}  {often}; {sum(p.seldom > 0 for p in plain)} of {len(plain)} do more: '
          f'{sum(p.seldom for p in plain)}, {sum(p.locked_seldom for p in plain)} of them locked')
    check(all(n > 20 for n in own), f'{form} {pattern}: an append of hardly any instructions: was it counted?')
    for drain_every in DRAINS:
        drained = collections.Counter(p.all - p.seldom for p in appends(parts, form, pattern, drain_every))
        other = drained - collections.Counter(own)
        check(sum(other.values()) <= len(plain) // 50, f'{form} {pattern}, drained after each {drain_every}: other costs: {other}')
    for drain_every in ['0'] + DRAINS:
        for i, (a, b) in enumerate(zip(plain, appends(parts, form, pattern, drain_every), strict=True)):
            what = f'{form} {pattern}, drained after each {drain_every}: append {i}'
            check(b.locked == b.locked_seldom, f'{what} executes {b.locked - b.locked_seldom} locked instructions')
            if b.seldom != a.seldom:
                print(f'       {what}: claim or commit takes {b.seldom}, not {a.seldom}')


def check_all(parts):
    for form in FORMATS:
        for pattern in PATTERNS:
            check_appends(parts, form, pattern)
        for what, state in OTHERS:
            part = parts[f'{what} {form} {state}']
            print(f'{form:6} {what}, {state}: {part.all}')
            check(part.all > 20, f'{form} {what} {state}: {part.all} instructions: was it counted?')
            check(part.locked == 0, f'{form} {what} {state} executes {part.locked} locked instructions')
        # What is known to take a lock, to see that these are counted.
        commit = parts[f'leave {form} one-update']
        check(commit.locked > 0, f'{form}: a commit without a locked instruction: were they counted?')
        print(f'{form:6} leave that commits one update: {commit.all}, {commit.locked} of them locked')


def main():
    valgrind, *programs = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix='cost_', dir=os.environ.get('MESON_BUILD_ROOT')) as folder:
        for program in programs:
            print(f'\n{os.path.basename(program)}, instructions:')
            check_all(run(valgrind, program, folder))
    print('\n'.join(problems[:50]))
    sys.exit(1 if problems or not programs else 0)


main()
