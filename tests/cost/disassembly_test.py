#!/usr/bin/env python3
"""Looks for locked instructions where there must be none: disassembly_test.py PROGRAM..., each with the runtime in it.

From each of FAST all direct calls and jumps are followed, into what the compiler split off or did not inline too, but
not into SLOW: what appends do seldom and lookups never. Whether an instruction is executed or not does not matter. The
exit status is 77, for skipped, if the programs are not for x86-64.
"""
import bisect
import re
import subprocess
import sys

MACHINE, POOL = 'quire::runtime::machine::', 'quire::runtime::table_pool::'

# Queueing an update, looking one page up, and opening and closing a section that is empty.
FAST = ['(anonymous namespace)::' + name for name in ['map_in_call', 'unmap_in_call']] + [MACHINE + name for name in [
    'map_slowly', 'unmap_slowly', 'prepay', 'map_keep_present', 'map_exact', 'protect', 'harvest_status', 'map_with', 'submit', 'submit_range',
    'need_of', 'reserve', 'find', 'lookup', 'view', 'state', 'enter', 'leave', 'close_tables', 'let_writes_out',
]] + ['quire::runtime::largest_leaf', 'quire::runtime::tables_to_map', 'quire::runtime::tables_to_split']
# And the walk of each format: the function behind backend::find.
FIND = (r'quire::runtime::backend_for<(.+)>\(\)::\{lambda\(quire::runtime::platform const&, '
        r'quire::runtime::space const&, quire::arch::frame_number<quire::arch::guest_space>\)#\d+\}::_FUN\(')
FORMAT = r'quire::runtime::backend const& quire::runtime::backend_for<(.+)>\(\)'
FORMATS = 6  # in runtime/backend.cc

SLOW = {
    MACHINE + 'commit_queue': 'returns at once if the queue is empty',
    MACHINE + 'view_between_drains': 'only if another cpu drained the queue in the middle of a look',
    MACHINE + 'commit_now': 'outside of sections',
    MACHINE + 'put_directly': 'outside of sections',
    MACHINE + 'take_directly': 'outside of sections',
    MACHINE + 'commit_scarce': 'table memory is short',
    MACHINE + 'commit_one': 'what commit_now and commit_scarce end with, where those are inlined',
    MACHINE + 'make_section': 'first use of a (cpu, space)',
    POOL + 'claim': "the cpu's own stock of frames is used up",
    POOL + 'unreserve': 'table memory is short',
}
LOCKED_SLOW = [MACHINE + 'commit_queue', POOL + 'claim']  # these take a lock

# Where calls through pointers are known to lead: to hooks of the platform, and to what FIND names.
INDIRECT = {MACHINE + name for name in ['find', 'enter', 'close_tables', 'let_writes_out', 'view', 'view_once', 'leave']}


def locked(instruction):
    """True if it holds the bus or waits for the store buffer."""
    name, _, rest = instruction.partition(' ')
    operands = rest.split('<')[0].strip()
    memory_xchg = name.startswith('xchg') and not re.fullmatch(r'%\w+,\s*%\w+', operands)
    return bool(re.search(r'\block\b', instruction.split('<')[0])) or name == 'mfence' or memory_xchg


def check_itself():
    for text, expected in [
        ('lock cmpxchg %rcx,(%rdx)', True), ('lock orq $0x0,(%rsp)', True), ('lock', True),
        ('xacquire lock incl (%rax)', True),
        ('xchg %al,0x40(%rbx)', True), ('xchg %rax,0x2004(%rip)        # 4010 <x>', True), ('xchg %eax,%fs:0x28', True),
        ('mfence', True), ('xchg %ax,%ax', False), ('xchg %rax,%rbx', False), ('mov %rax,(%rbx)', False),
        ('cmpxchg %rcx,(%rdx)', False), ('call 1234 <quire::runtime::spin_lock::lock(x)>', False), ('pause', False),
    ]:
        assert locked(text) == expected, text


class Program:
    """The functions of a program by address: name and instructions."""

    def __init__(self, path):
        text = subprocess.run(['objdump', '-d', '-C', '-w', '--no-show-raw-insn', path], stdout=subprocess.PIPE,
                              text=True, check=True).stdout
        self.names, self.code = {}, {}
        for line in text.splitlines():
            if head := re.fullmatch(r'([0-9a-f]+) <(.*)>:', line):
                at = int(head[1], 16)
                self.names[at], self.code[at] = head[2], []
            elif body := re.fullmatch(r' *[0-9a-f]+:\t(.*)', line):
                self.code[at].append(' '.join(body[1].split()))
        self.starts = sorted(self.names)

    def named(self, name):
        """Addresses of the functions `name`, whatever their parameters."""
        return [at for at in self.parts_of(name) if '[clone' not in self.names[at]]

    def parts_of(self, name):
        """As named(), and what the compiler made functions of their own out of them."""
        return [at for at, full in self.names.items() if full.startswith(name + '(')]

    def function_at(self, address):
        return self.starts[bisect.bisect_right(self.starts, address) - 1]

    def reached(self, roots, but):
        """All that is reached from `roots` by direct calls and jumps, `but` and its callees left out."""
        found, todo = set(), list(roots)
        while todo:
            at = todo.pop()
            if at in found or at in but:
                continue
            found.add(at)
            for instruction in self.code[at]:
                if to := re.match(r'(?:notrack |bnd )?(?:call|j[a-z]+) ([0-9a-f]+) ', instruction):
                    todo.append(self.function_at(int(to[1], 16)))
        return found

    def locked_in(self, functions):
        return [(self.names[at], i) for at in functions for i in self.code[at] if locked(i)]


def short(name):
    return re.sub(r'quire::(runtime|arch)::', '', name)


def faults_of(path):
    program, faults = Program(path), []

    def only(name):
        found = program.named(name)
        if len(found) != 1:
            faults.append(f'{len(found)} functions are named {name}')
        return found

    roots = [at for name in FAST for at in only(name)]
    slow = {at for name in SLOW if only(name) for at in program.parts_of(name)}
    formats = {m[1] for name in program.names.values() if (m := re.fullmatch(FORMAT, name))}
    walks = {m[1]: at for at, name in program.names.items() if (m := re.match(FIND, name))}
    if len(formats) != FORMATS or formats != set(walks):
        faults.append(f'of {FORMATS} formats, found {sorted(formats)}, and walks of {sorted(walks)}')
    roots += walks.values()

    fast = program.reached(roots, slow)
    for at in sorted(fast, key=lambda f: program.names[f]):
        print(f'{len(program.code[at]):5} instructions: {short(program.names[at])}')
        name = program.names[at]
        pointers = [i for i in program.code[at] if re.match(r'(notrack |bnd )?(call|jmp) \*', i)]
        if pointers and not any(name.startswith(known + '(') for known in INDIRECT):
            faults.append(f'{name}: leads nobody knows where: {pointers[0]}')
        if not program.code[at] or '@' in name:
            faults.append(f'{name}: not part of the program')
    faults += [f'{name}: {instruction}' for name, instruction in program.locked_in(fast)]

    # The same search, without what it leaves out, must find something.
    everything = {name for name, _ in program.locked_in(program.reached(roots, set()))}
    for name in LOCKED_SLOW:
        if not any(found.startswith(name + '(') for found in everything):
            faults.append(f'no locked instruction was found in {name}, which takes a lock')
    print(f'{path}: {len(fast)} functions, {len(faults)} faults')
    return faults


def main():
    check_itself()
    for path in sys.argv[1:]:
        head = subprocess.run(['objdump', '-f', path], stdout=subprocess.PIPE, text=True, check=True).stdout
        if 'elf64-x86-64' not in head:
            print(f'{path} is not for x86-64: which instructions are locked is known for x86-64 only')
            sys.exit(77)
    faults = [fault for path in sys.argv[1:] for fault in faults_of(path)]
    print('\n'.join(faults))
    sys.exit(1 if faults or len(sys.argv) < 2 else 0)


main()
