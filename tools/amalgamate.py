"""amalgamate.py SOURCE_ROOT OUT_DIR FILE...: libvane as two files, vane.c and vane.h, to be copied into a project:
    cc -O2 -c vane.c && cc program.c vane.o -pthread
Public headers are joined in the order of the umbrella; the sources follow each other, headers of their own only once. A name
that belongs to two files is spelled FILE_name_ in each, so that the files cannot meet by accident."""
import collections
import pathlib
import re
import sys

root, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
sources = [pathlib.Path(f) for f in sys.argv[3:]]
include = root / "include/vane"
version = re.search(r"version: '([^']+)'", (root / "meson.build").read_text()).group(1)
banner = f"/* libvane {version}, joined by tools/amalgamate.py from its parts. Licence: Apache-2.0. Change the parts, not this file. */\n"
TOKEN = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|(?:(?:->|\.)\s*)?\b[A-Za-z_]\w*', re.S)


def public_header():
    umbrella = (include / "vane.h").read_text()
    parts = [banner, umbrella[:umbrella.index("#ifndef")], "#ifndef VANE_VANE_H\n#define VANE_VANE_H\n"]
    for name in re.findall(r'#include "(\w+\.h)"', umbrella):
        text = re.sub(r'#include "\w+\.h"\n', "", (include / name).read_text())
        parts.append(f"\n/* ================ {name} ================ */\n{text}")
    return "".join(parts) + "\n#endif\n"


def own_names(text):
    """Static functions and variables, tags and enumerators, macros of one file."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"\b_Atomic\(([^()]*)\)", r"\1", text)  # of a type: no call, no parameters
    names = set()
    for line in re.findall(r"^(?:SDK_\w+ )?static (.*)", text, flags=re.M):
        for declarator in re.split(r",(?![^(]*\))", re.split(r"\(|=|;", re.sub(r"__attribute__\(\(.*?\)\)|_Atomic\([^()]*\)", "", line), maxsplit=1)[0]):
            m = re.search(r"(\w+)\s*(?:\[.*\])?\s*$", declarator.strip())
            if m and "{" not in declarator:
                names.add(m.group(1))
    for line in re.findall(r"^static \w[^(;=\n]*\(\*(\w+)\)", text, flags=re.M):
        names.add(line)
    names |= set(re.findall(r"^static (?:const )?struct(?: \w+)? \{.*?^\} \*?(\w+)", text, flags=re.S | re.M))
    names |= set(re.findall(r"^(?:static )?(?:const )?(?:struct|union|enum) (\w+) \{", text, flags=re.M))
    for body in re.findall(r"\benum(?: \w+)? \{([^}]*)\}", text):
        names |= {e.split("=")[0].strip() for e in body.split(",") if e.strip()}
    return names - {"const", "void", "int", "_Atomic"}


texts = {s: s.read_text() for s in sources}
macros = {s: set(re.findall(r"^#define (\w+)", texts[s], flags=re.M)) for s in sources}
count = collections.Counter(n for t in texts.values() for n in own_names(t))
seen = set()


def inline(text, folder):
    def replace(m):
        name = m.group(2)
        if m.group(1) or name in seen:
            return ""
        seen.add(name)
        return f"/* ---------------- {name} ---------------- */\n" + inline((folder / name).read_text().replace("#pragma once\n", ""), folder)
    return re.sub(r'^#include (?:<(vane/\w+\.h)>|"(sdk_\w+\.h)")\n', replace, text, flags=re.M)


def bodies(text):
    """Where members are declared: from the brace of each struct or union to its end."""
    for m in re.finditer(r"\b(?:struct|union)(?: \w+)? \{", text):
        depth, at = 1, m.end()
        while depth and at < len(text):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        yield m.end(), at


def keep_apart(s):
    text = texts[s]
    twice = {n for n in own_names(text) if count[n] > 1}
    inside = list(bodies(text))

    def rename(m):
        if m.group(0) not in twice:
            return m.group(0)
        line = text[text.rfind("\n", 0, m.start()) + 1:m.start()]
        if any(a <= m.start() < b for a, b in inside) and not re.search(r"\b(?:struct|union|enum)\s+$|\[[^\]]*$", line):
            return m.group(0)  # the name of a member
        return f"{s.stem}_{m.group(0)}_"
    return TOKEN.sub(rename, text)


parts = [banner, "#ifndef _GNU_SOURCE\n#define _GNU_SOURCE\n#endif\n", '#include "vane.h"\n']
for s in sources:
    parts.append(f"\n/* ================ {s.name} ================ */\n" + inline(keep_apart(s), s.parent))
    parts += [f"#undef {n}\n" for n in sorted(macros[s])]
out.mkdir(parents=True, exist_ok=True)
(out / "vane.h").write_text(public_header())
def private(m):
    """Names shared by the files are the library's own: sdk_x becomes vane_i_x, so that it meets nobody's sdk_x."""
    word = re.sub(r"^((?:->|\.)?\s*)sdk_", r"\1vane_i_", m.group(0))
    return m.group(0) if m.group(0)[:1] in "\"'" or m.group(0)[:2] == "/*" else word


(out / "vane.c").write_text(TOKEN.sub(private, "".join(parts)))
