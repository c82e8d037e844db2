"""embed_packs.py PACKS RUNBOOKS OUT DEPFILE: rules/*.yml and docs/runbook/*.md as two sorted C tables (rules_packs.h)."""
import os
import sys

packs, runbooks, target, depfile = sys.argv[1:]
escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "?": "\\?"}
read = []


def rows(folder, suffix):
    read.append(folder)
    for name in sorted(n for n in os.listdir(folder) if n.endswith(suffix)):
        path = os.path.join(folder, name)
        read.append(path)
        with open(path, encoding="utf-8") as f:
            text = f.read()
        yield name[: -len(suffix)], ["".join(escapes.get(c, c) for c in line) for line in text.splitlines(True)]


def table(out, symbol, folder, suffix):
    n = 0
    out.write(f"const struct rule_text {symbol}[] = {{\n")
    for name, lines in rows(folder, suffix):
        n += 1
        out.write(f'    {{ STR_INIT("{name}"), STR_INIT(\n' + "\n".join(f'        "{line}"' for line in lines) + ") },\n")
    out.write(f"}};\nconst size_t {symbol}_n = {n};\n")


with open(target, "w", encoding="utf-8") as out:
    out.write('#pragma GCC diagnostic ignored "-Woverlength-strings"\n#include "rules/rules_packs.h"\n')
    table(out, "rules_packs", packs, ".yml")
    table(out, "rules_runbooks", runbooks, ".md")
with open(depfile, "w", encoding="utf-8") as out:
    out.write(f"{os.path.basename(target)}: " + " ".join(os.path.abspath(p).replace(" ", "\\ ") for p in read) + "\n")
