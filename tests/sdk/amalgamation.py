"""dist/vane.c and dist/vane.h: made from the sources, compiled without a warning by both compilers, linked with a program that
has sdk_ names of its own, and run."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

root, sources = pathlib.Path(sys.argv[1]), sys.argv[2:]
PROGRAM = """
#include "vane.h"
#include <stdio.h>
int sdk_cfg = 7;
int sdk_alloc(void);
int sdk_alloc(void)
{
    return sdk_cfg;
}
int main(void)
{
    char *body;
    size_t n;
    vane_config cfg = VANE_CONFIG_INIT;
    if (vane_start(&cfg))
        return 1;
    vane_counter_add_to(vane_counter_new("hits_total", "Hits.", "page"), (uint64_t)sdk_alloc(), VANE_LABELS("/"));
    if (vane_render(VANE_FORMAT_TEXT, &body, &n))
        return 2;
    fwrite(body, 1, n, stdout);
    vane_render_free(body);
    return vane_stop(100);
}
"""
folder = pathlib.Path(tempfile.mkdtemp(prefix="vane-sdk-amal-"))
try:
    subprocess.run([sys.executable, root / "tools/amalgamate.py", root, folder] + sources, check=True)
    (folder / "program.c").write_text(PROGRAM)
    bad = 0
    for cc in ("gcc", "clang-14"):
        if not shutil.which(cc):
            continue
        for cmd in ([cc, "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-c", "vane.c", "-o", "vane.o"],
                    [cc, "-std=c99", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-pedantic", "-Werror", "program.c", "vane.o", "-pthread", "-o", "program"]):
            r = subprocess.run(cmd, cwd=folder, capture_output=True, text=True)
            bad += r.returncode != 0
            print(r.stderr[:3000])
        r = subprocess.run(["./program"], cwd=folder, capture_output=True, text=True)
        if r.returncode or 'hits_total{page="/"} 7\n' not in r.stdout:
            bad += 1
            print(cc, r.returncode, r.stdout[:1000])
    print(f"{len((folder / 'vane.c').read_text().splitlines())} lines")
    sys.exit(1 if bad else 0)
finally:
    shutil.rmtree(folder, ignore_errors=True)
