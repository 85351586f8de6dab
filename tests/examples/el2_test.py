#!/usr/bin/env python3
"""Builds docs/examples/el2 against an installed core and boots it in QEMU: el2_test.py ROOT PART

self_check: the guest of ours passes in both modes; with TLBI left out of the hypervisor, all or those of one kind, it fails.
linux: Debian's kernel boots, works and powers off in both modes, and fails with TLBI left out; lazy mode executes at most
a tenth of eager's TLBI.

Exit status 77: packages of the Linux guest cannot be had.
"""
import glob
import re
import sys

from example import check, install, root, run, scratch

part = sys.argv[2]
example = f'{root}/docs/examples/el2'
skipped = 77


def make(*arguments, **more):
    return run('make', '-C', example, f'BUILD={scratch}/el2_{part}', *core, *arguments, **more)


def numbers(output):
    """What the hypervisor has counted, by name."""
    lines = re.findall(r'^el2: (.*)$', output, re.M)
    return {m[0]: int(m[1]) for line in lines for m in re.findall(r'([A-Za-z][A-Za-z -]*?) (\d+)\b', line)}


def show(title, output):
    print(title, *re.findall(r'^(?:el2|linux|check|self-check): .*$', output, re.M), sep='\n  ', flush=True)


def check_length():
    lines = 0
    for path in glob.glob(f'{example}/*.*'):
        if path.endswith(('.h', '.cc', '.S', '.ld')):
            with open(path, encoding='utf-8') as f:
                lines += sum(1 for _ in f)
    check(lines < 1500, f'the hypervisor has {lines} lines; it was to be read in an evening')


def self_check(mode, drop):
    status, output = make('run', f'MODE={mode}', f'DROP_TLBI={drop}', seconds=240)
    show(f'{mode}, DROP_TLBI={drop}', output)
    result = re.search(r'^self-check: (\d+) passed, (\d+) failed$', output, re.M)
    check(result, f'no result, status {status}:\n{output[-3000:]}')
    check((status == 0) == (result[2] == '0'), f'make ended with status {status}')
    return int(result[1]), int(result[2]), numbers(output)


def test_self_check():
    check_length()
    for mode in 'lazy', 'eager':
        passed, failed, count = self_check(mode, 0)
        check(passed > 30 and failed == 0, f'{mode}: {failed} checks failed')
        check(count['TLBI asked for'] == count['TLBI executed'] > 0, f'{mode}: TLBI are missing')
    for mode, drop in ('lazy', 1), ('eager', 1), ('lazy', 2), ('eager', 2), ('lazy', 3), ('lazy', 4):
        _, failed, count = self_check(mode, drop)
        check(failed > 0, f'{mode}: the self-check does not notice that TLBI are left out (DROP_TLBI={drop})')
        check(count['TLBI executed'] < count['TLBI asked for'], f'{mode}: nothing was left out')


def boot_without_tlbi():
    """It panics, works with wrong sums, or hangs, possibly before it has a console."""
    status, output = make('run-linux', 'DROP_TLBI=1', seconds=120)
    show('lazy, DROP_TLBI=1', output)
    check('el2: lazy mode' in output, f'the hypervisor does not start:\n{output[-6000:]}')
    check(status != 0 and 'linux: sums correct' not in output, 'Linux works without TLBI')


def boot_linux(mode):
    status, output = make('run-linux', f'MODE={mode}', seconds=300)
    show(mode, output)
    check(status == 0, f'{mode}: make ended with status {status}:\n{output[-6000:]}')
    for line in 'cpus on line 0-1, 2 usable', 'linux: sums correct', 'reboot: Power down':
        check(line in output, f'{mode}: not in the output: {line}\n{output[-6000:]}')
    for line in 'SUMS WRONG', 'Kernel panic', 'el2: fatal', 'Oops', 'BUG:':
        check(line not in output, f'{mode}: in the output: {line}\n{output[-6000:]}')
    count = numbers(output)
    for name in 'pages found dirty', 'accessed', 'migrated', 'taken away', 'TLBI executed':
        check(count[name] > 0, f'{mode}: {name} 0, so nothing went on below Linux')
    check(count['TLBI asked for'] == count['TLBI executed'], f'{mode}: TLBI are missing')
    return count


def test_linux():
    status, output = make('linux')
    if 'Error 3' in output:  # of linux/fetch
        print(output[-3000:])
        sys.exit(skipped)
    check(status == 0, f'make ended with status {status}:\n{output[-3000:]}')
    count = {mode: boot_linux(mode) for mode in ('lazy', 'eager')}
    boot_without_tlbi()
    lazy, eager = (count[mode]['TLBI executed'] for mode in ('lazy', 'eager'))
    print(f'TLBI executed: lazy {lazy}, eager {eager}: {eager / lazy:.1f} times as many')
    check(lazy * 10 <= eager, 'lazy executes more than a tenth of the TLBI of eager')
    # A run that takes longer sees more rounds: what went stale makes the two comparable.
    stale_lazy, stale_eager = (count[mode]['entries gone stale'] for mode in ('lazy', 'eager'))
    check(lazy * 10 * stale_eager <= eager * stale_lazy, 'lazy executes more than a tenth per entry that went stale')


core = install('aarch64')
{'self_check': test_self_check, 'linux': test_linux}[part]()
