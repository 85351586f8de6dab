#!/usr/bin/env python3
"""Builds docs/examples/vmx against an installed core and runs it in Bochs: vmx_test.py ROOT

The guest finds no failure in either mode, and lazy mode executes at most a tenth of eager's INVEPT.
"""
import re

from example import check, install, root, run, scratch

core = install('x86-64')
executed = {}
for mode in 'lazy', 'eager':
    status, output = run('make', '-C', f'{root}/docs/examples/vmx', f'BUILD={scratch}/vmx', *core, 'run', f'MODE={mode}')
    lines = re.findall(r'^vmx: .*$', output, re.M)
    print(*lines, sep='\n')
    check(status == 0, f'make ended with status {status}:\n{output[-3000:]}')
    check('vmx: guest is done, failures 0' in lines, f'{mode}: the guest has found failures:\n{output[-3000:]}')
    counted = re.search(rf'^vmx: {mode}: exits (\d+), faults (\d+), sections (\d+), INVEPT (\d+)$', output, re.M)
    check(counted and int(counted[2]) > 1000, f'{mode}: no counts, or hardly a fault')
    check((int(counted[3]) > 0) == (mode == 'lazy'), f'{mode}: sections {counted[3]}')
    executed[mode] = int(counted[4])
check(0 < executed['lazy'] * 10 <= executed['eager'], 'lazy executes more than a tenth of the INVEPT of eager')
