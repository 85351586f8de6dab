"""What the tests of examples and of embedding share: programs that are run, and Quire as an embedder builds and installs it."""
import contextlib
import fcntl
import os
import signal
import subprocess
import sys

root = os.path.realpath(sys.argv[1])
for variable in 'CC', 'CXX', 'CFLAGS', 'CXXFLAGS', 'LDFLAGS':  # how the tests were built is not how Quire is
    os.environ.pop(variable, None)
scratch = os.path.join(os.path.realpath(os.environ['MESON_BUILD_ROOT']), 'examples')  # kept from run to run


def check(condition, what):
    if not condition:
        sys.exit(what)


def run(*command, seconds=300):
    """Exit status and output, with lines as they end here. Status 124: it took too long, and was ended with its children."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             start_new_session=True)
    try:
        output, late = child.communicate(timeout=seconds)[0], False
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        output, late = child.communicate()[0], True
    text = output.decode(errors='replace').replace('\r', '')
    return (124, f'{text}\ntook more than {seconds} s') if late else (child.returncode, text)


def must_run(*command):
    status, output = run(*command, seconds=900)
    check(status == 0, f'{" ".join(command)}\nended with status {status}:\n{output[-6000:]}')


@contextlib.contextmanager
def build_tree(machine, prefix):
    """A release build of Quire without tools, kept from run to run, for one test at a time; what is installed goes to `prefix`."""
    build = f'{scratch}/{machine}'
    cross = [] if machine == 'x86-64' else [f'--cross-file={root}/tests/cross/{machine}.ini']
    os.makedirs(scratch, exist_ok=True)
    with open(f'{build}.lock', 'w', encoding='utf-8') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(f'{build}/build.ninja'):
            must_run('meson', 'configure', build, f'--prefix={prefix}')
        else:
            must_run('meson', 'setup', *cross, '-Dtools=false', '--buildtype=release', f'--prefix={prefix}', '--libdir=lib', build,
                     root)
        yield build


def install(machine):
    """Installs Quire; the variables by which the Makefile of an example finds its core."""
    prefix = f'{scratch}/{machine}-prefix'
    with build_tree(machine, prefix) as build:
        must_run('meson', 'install', '-C', build)
    return [f'QUIRE_CFLAGS=-I{prefix}/include/quire', f'QUIRE_LIBS={prefix}/lib/libquire-core.a']
