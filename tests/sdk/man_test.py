"""The manual pages made of the headers: every exported name has one that shows it, and no formatter complains."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

root = pathlib.Path(sys.argv[1])
env = {k: v for k, v in os.environ.items() if k != "MESON_INSTALL_DESTDIR_PREFIX"}
bad = []
with tempfile.TemporaryDirectory(prefix="vane-man-") as tmp:
    tmp = pathlib.Path(tmp)
    subprocess.run([sys.executable, root / "tools/manpages.py", root / "include/vane", tmp, "1.2.3"], check=True, env=env)
    exported = [n for n in (root / "src/sdk/EXPORTS").read_text().split() if not n.endswith("_")]  # those are the macros' own
    for name in exported + ["vane_http_server", "vane_counter_inc", "vane_str"]:
        page = tmp / f"man3/{name}.3"
        if not page.exists():
            bad.append(f"no page for {name}")
            continue
        text = page.read_text()
        if m := re.fullmatch(r"\.so (man3/\w+\.3)\n", text):
            text = (tmp / m.group(1)).read_text()
        if name != "vane_http_server" and (not re.search(rf"^\.SS .*\b{name}\b", text, re.M) or f"{name}(" not in text):
            bad.append(f"the page of {name} does not show it")
    pages = [p for p in sorted(tmp.rglob("*.[37]")) if not p.read_text().startswith(".so ")]
    headers = {p.stem for p in (root / "include/vane").glob("*.h")} - {"vane"}
    bad += [f"no page for {h}.h" for h in headers if not (tmp / f"man3/vane_{h}.3") in pages]
    for p in pages:
        text = p.read_text()
        bad += [f"{p.name} has no {s}" for s in ("NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO") if f".SH {s}\n" not in text]
        bad += [f"{p.name}: {line}" for line in text.splitlines() if re.search(r"/\*|\*/", line) and line.startswith((".SH", ".SS"))]
    formatters = 0
    for cmd in (["mandoc", "-T", "lint", "-W", "warning"], ["groff", "-man", "-Tutf8", "-ww", "-z"]):
        if shutil.which(cmd[0]):
            formatters += 1
            r = subprocess.run(cmd + pages, capture_output=True, text=True)
            bad += (r.stdout + r.stderr).splitlines()[:20]
    print(f"{len(exported)} names, {len(pages)} pages, {formatters} formatters")
print("\n".join(bad))
sys.exit(1 if bad else 0)
