"""embed_text.py IN OUT NAME: a text file as C: `const char NAME[]` and `const size_t NAME_n`."""
import sys

source, target, name = sys.argv[1:]
escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}
with open(source, encoding="utf-8") as f, open(target, "w", encoding="utf-8") as out:
    out.write('#pragma GCC diagnostic ignored "-Woverlength-strings"\n')
    out.write(f"#include <stddef.h>\nextern const char {name}[];\nextern const size_t {name}_n;\nconst char {name}[] =\n")
    for line in f:
        out.write('    "' + "".join(escapes.get(c, c) for c in line) + '"\n')
    out.write(f";\nconst size_t {name}_n = sizeof({name}) - 1;\n")
