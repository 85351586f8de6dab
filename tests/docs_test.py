#!/usr/bin/env python3
"""Checks what the documents promise: docs_test.py ROOT EXAMPLE, EXAMPLE being docs/examples/smallest.cc compiled.

Links and anchors lead somewhere, names of code and files exist, README.md is short and quotes the example and its
output, each source file is short and opens with its head comment, each manual that code cites is in
docs/references.md, docs/semantics.md has each rule and names tests that exist, the glossary is in order, the folders'
READMEs have one shape, the traces have their checksums.
"""
import hashlib
import os
import re
import subprocess
import sys

root, example = os.path.realpath(sys.argv[1]), sys.argv[2]
folders = ['arch', 'runtime', 'quire', 'hv', 'perf', 'tests', 'docs']
readme_lines, source_lines = 150, 450
problems = []


def files(*suffixes):
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(d for d in inner if not d.startswith('.') and not (folder == root and d == 'build'))
        for name in sorted(names):
            if name.endswith(suffixes):
                yield os.path.relpath(os.path.join(folder, name), root)


def text_of(path):
    with open(os.path.join(root, path), encoding='utf-8') as f:
        return f.read()


def check(condition, path, what):
    if not condition:
        problems.append(f'{path}: {what}')


def without_code(text):
    return re.sub(r'`[^`\n]*`', '', re.sub(r'^```.*?^```', '', text, flags=re.M | re.S))


def anchors(text):
    """The anchors of a document's headings, as GitHub and GitLab make them."""
    heads = re.findall(r'^#+ +(.+?) *$', re.sub(r'^```.*?^```', '', text, flags=re.M | re.S), re.M)
    return {re.sub(r'[^\w\- ]', '', h.lower()).replace(' ', '-') for h in heads}


def code_blocks(text, language):
    return re.findall(rf'^```{language}\n(.*?)^```$', text, re.M | re.S)


def check_links():
    for path in files('.md'):
        for target in re.findall(r'\]\(([^)\s]+)\)', without_code(text_of(path))):
            if re.match(r'https?://', target):
                continue
            name, _, anchor = target.partition('#')
            to = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
            inside = os.path.realpath(os.path.join(root, to)).startswith(root + os.sep)
            there = inside and os.path.exists(os.path.join(root, to))
            check(there, path, f'the link to {target} leads nowhere')
            if there and anchor:
                check(anchor in anchors(text_of(to)), path, f'{to} has no heading for #{anchor}')


def check_names():
    """Words like `this` that look like names in the code, or like paths, are such."""
    words = set()
    for path in files('.h', '.cc', '.c', '.py', '.sh', '.txt', 'meson.build'):
        words.update(re.findall(r'\w+', text_of(path)))
    for path in files('.md'):
        if path == 'docs/references.md':  # names of other projects
            continue
        for quoted in re.findall(r'`([^`\n]+)`', re.sub(r'^```.*?^```', '', text_of(path), flags=re.M | re.S)):
            if re.fullmatch(r'[a-z]\w*(::[a-z]\w*)+|[a-z]+(_[a-z]+)+', quoted):
                for name in quoted.split('::'):
                    check(name in words, path, f'the code has no name `{name}`')
            elif re.fullmatch(r'(%s)/[\w./-]+' % '|'.join(folders), quoted):
                check(os.path.exists(os.path.join(root, quoted)), path, f'there is no file `{quoted}`')


def check_readme():
    text = text_of('README.md')
    lines = text.count('\n')
    check(lines < readme_lines, 'README.md', f'{lines} lines; it has fewer than {readme_lines}')
    check(text_of('docs/examples/smallest.cc') in code_blocks(text, 'cpp'), 'README.md',
          'no ```cpp block equals docs/examples/smallest.cc')
    ran = subprocess.run([example], stdout=subprocess.PIPE, text=True, check=False)
    check(ran.returncode == 0, 'docs/examples/smallest.cc', f'ends with status {ran.returncode}')
    check(ran.stdout in code_blocks(text, 'text'), 'README.md',
          f'no ```text block equals what the example prints:\n{ran.stdout}')


def check_sources():
    known = re.findall(r'^\| \[(\w+)\] \|', text_of('docs/references.md'), re.M)
    check(known, 'docs/references.md', 'no rows with a [key]')
    check(len(known) == len(set(known)), 'docs/references.md', 'a key is defined twice')
    for path in files('.h', '.cc', '.c'):
        text = text_of(path)
        lines = text.count('\n')
        check(re.match(r'// \S', text), path, 'the first line is not the head comment')
        check(lines <= source_lines, path, f'{lines} lines; the limit is {source_lines}')
        for key in re.findall(r'\[(\w+)\] "', text):
            check(key in known, path, f'cites [{key}], which docs/references.md lacks')


def test_names(path):
    """The names of the test cases in a file. A name may be split over adjacent string literals."""
    literal = r'"((?:[^"\\]|\\.)*)"'
    cases = re.findall(rf'TEST_CASE(?:_TEMPLATE)?\(\s*((?:{literal}\s*)+)', text_of(path))
    return {''.join(re.findall(literal, c[0])).replace('\\"', '"') for c in cases}


def check_semantics():
    """Each test that docs/semantics.md names is in the file that it names, and each rule has a section."""
    path = 'docs/semantics.md'
    text = text_of(path)
    named = re.findall(r'^- \[`(tests/[\w/]+\.cc)`\]\((\S+)\): "(.*)"$', text, re.M)
    check(len(named) == text.count('[`tests/'), path, 'a linked test file is not followed by the name of one test')
    for source, target, name in named:
        check(target == f'../{source}', path, f'the link to {source} leads to {target}')
        check(name in test_names(source), path, f'{source} has no test "{name}"')
    parts = re.split(r'^## (.+)$', text, flags=re.M)
    sections = list(zip(parts[1::2], parts[2::2]))
    rules = [int(h.split()[1]) for h, _ in sections if re.fullmatch(r'Rule \d+', h)]
    check(rules == list(range(1, 18)), path, f'has sections for rules {rules}')
    for head, body in sections:
        check('\n- [`tests/' in body or 'Not implemented yet.' in body, path, f'"{head}" names no test')


def check_glossary():
    terms = re.findall(r'^- \*\*(.+?)\*\*:', text_of('docs/glossary.md'), re.M)
    plain = [t.lower() for t in terms]
    check(len(terms) > 1, 'docs/glossary.md', 'no lines of the form `- **term**: meaning`')
    for before, after in zip(plain, plain[1:]):
        check(before < after, 'docs/glossary.md', f"'{after}' stands behind '{before}'")


def check_folders():
    for folder in folders:
        path = f'{folder}/README.md'
        text = text_of(path)
        check(text.startswith(f'# {folder}\n'), path, f'does not open with "# {folder}"')
        for word in 'Not here:', 'Includes:', 'Never:', 'Read first:', 'Invariant:':
            check(word in text, path, f'says nothing about "{word}"')


def check_traces():
    text = text_of('perf/traces/README.md')
    sums = dict((name, digest) for digest, name in re.findall(r'^([0-9a-f]{64})  (\S+)$', text, re.M))
    there = {os.path.basename(p) for p in files('.gpt.zst')}
    check(set(sums) == there, 'perf/traces/README.md', f'lists {sorted(sums)}; there is {sorted(there)}')
    for name in sorted(there & set(sums)):
        with open(os.path.join(root, 'perf/traces', name), 'rb') as f:
            check(hashlib.sha256(f.read()).hexdigest() == sums[name], f'perf/traces/{name}', 'has another checksum')


for one in (check_links, check_names, check_readme, check_sources, check_semantics, check_glossary, check_folders,
            check_traces):
    try:
        one()
    except OSError as e:
        problems.append(f'{os.path.relpath(e.filename, root) if e.filename else one.__name__}: {e.strerror}')
print('\n'.join(problems) or 'documents are sound')
sys.exit(1 if problems else 0)
