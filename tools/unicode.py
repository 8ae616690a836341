#!/usr/bin/env python3
# unicode.py DIR -- writes unicode_categories.c and unicode_scripts.c, which patterns of tokenizers ask for, into
# lib/text or another DIR. From the PyPI package unicodedataplus, whose version is Unicode's:
#
#   python3 -m venv v; v/bin/pip install unicodedataplus==16.0.0; v/bin/python tools/unicode.py lib/text
import re
import sys
import textwrap

import unicodedataplus as u

OLD = 9.0  # the version by which the reference normalizes
CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn".split()


def age(c):
    a = u.age(chr(c))
    return float(a) if a and a not in ("Unassigned", "NA") else 99.0


def runs(value):
    """(first code point, value) of every stretch of one value."""
    out = []
    for c in range(0x110000):
        v = value(c)
        if not out or out[-1][1] != v:
            out.append((c, v))
    return out


def array(f, declaration, items):
    body = textwrap.fill(", ".join(items), 108, initial_indent="    ", subsequent_indent="    ")
    print(f"\n{declaration}[] = {{\n{body}}};", file=f)
    print(f"const size_t {re.search(r'[a-z_]+$', declaration)[0]}_n = {len(items)};", file=f)


def table(f, name, rows):
    array(f, "const uint32_t " + name, [f"{c << 8 | v:#x}" for c, v in rows])


def begin(name):
    f = open(f"{sys.argv[1]}/{name}.c", "w")
    print(f"/* {name}.c -- made by tools/unicode.py from Unicode {u.unidata_version} */", file=f)
    print('#include "text/unicode.h"\n\n/* clang-format off */', file=f)
    return f


scripts = sorted({u.script(chr(c)) for c in range(0x110000)})
with begin("unicode_categories") as f:
    table(f, "unicode_categories", runs(lambda c: CATEGORIES.index(u.category(chr(c))) | (age(c) > OLD) << 7))
with begin("unicode_scripts") as f:
    table(f, "unicode_scripts", runs(lambda c: scripts.index(u.script(chr(c)))))
    array(f, "const char *const unicode_script_names", [f'"{s}"' for s in scripts])
