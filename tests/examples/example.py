"""What the tests of examples share: programs that are run, and Quire installed into a prefix as an embedder has it."""
import fcntl
import os
import signal
import subprocess
import sys

root = os.path.realpath(sys.argv[1])
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


def install(name, *options):
    """Builds Quire without tools and installs it; the variables by which the Makefile of an example finds its core."""
    build, prefix = f'{scratch}/{name}', f'{scratch}/{name}-prefix'
    os.makedirs(scratch, exist_ok=True)
    with open(f'{build}.lock', 'w', encoding='utf-8') as lock:  # tests that run at once share it
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(f'{build}/build.ninja'):
            must_run('meson', 'setup', *options, '-Dtools=false', '--buildtype=release', f'--prefix={prefix}', '--libdir=lib',
                     build, root)
        must_run('meson', 'install', '-C', build)
    return [f'QUIRE_CFLAGS=-I{prefix}/include/quire', f'QUIRE_LIBS={prefix}/lib/libquire-core.a']
