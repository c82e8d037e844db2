"""Every public header stands alone, as C99 and as C++11, without a warning; and the macros of the umbrella compile in both."""
import pathlib
import shlex
import subprocess
import sys

root = pathlib.Path(sys.argv[1])
include = root / "include"
headers = sorted(p.name for p in (include / "vane").glob("*.h"))
umbrella = (include / "vane/vane.h").read_text()
macros = (root / "tests/sdk/macros.c").read_text()
bad = 0


def compile(what, cc, std, text):
    global bad
    lang = "c++" if "++" in std else "c"
    cmd = shlex.split(cc) + [f"-std={std}", "-Wall", "-Wextra", "-pedantic", "-Wshadow", "-Wstrict-prototypes" if lang == "c" else "-Wold-style-cast",
                             "-Werror", f"-I{include}", "-fsyntax-only", "-x", lang, "-"]
    if lang == "c++":
        cmd.remove("-Wold-style-cast")
    r = subprocess.run(cmd, input=text, text=True, capture_output=True)
    if r.returncode:
        bad += 1
        print(f"not ok - {what} as {std} by {cc}\n{r.stderr[:3000]}")


for header in headers:
    if header != "vane.h" and f'#include "{header}"' not in umbrella:
        bad += 1
        print(f"not ok - vane.h does not include {header}")
compilers = [("gcc", "g++"), ("clang-14", "clang++-14")]
found = 0
for cc, cxx in compilers:
    if subprocess.run(["which", cc], capture_output=True).returncode:
        continue
    found += 1
    for header in headers:
        compile(header, cc, "c99", f"#include <vane/{header}>\nint used;\n")
        compile(header, cxx, "c++11", f"#include <vane/{header}>\n")
    compile("macros", cc, "c99", macros)
    compile("macros", cxx, "c++11", macros)
    compile("macros", cxx, "c++17", macros)
print(f"{len(headers)} headers, {found} compilers, {bad} faults")
sys.exit(1 if bad or not found or len(headers) < 12 else 0)
