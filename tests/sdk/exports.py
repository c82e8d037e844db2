"""The names libvane.so and libvane.a show are those of src/sdk/EXPORTS, all are declared in the public headers, everything
the library needs from outside is libc's, and its size keeps its promise."""
import pathlib
import re
import subprocess
import sys

root, so, archive, release = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "release"


def names(*args):
    out = subprocess.run(["nm", *args], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].split("@")[0] for line in out.splitlines() if len(line.split()) >= 2 and not line.endswith(":")}


bad = []
want = {line for line in (root / "src/sdk/EXPORTS").read_text().split() if line}
headers = "\n".join(p.read_text() for p in (root / "include/vane").glob("*.h"))
declared = set(re.findall(r"\b(vane_\w+)\s*\(", headers)) | set(re.findall(r"extern volatile uint8_t (\w+);", headers))
for what, have in (("libvane.so", names("-D", "--defined-only", so)), ("libvane.a", names("-g", "--defined-only", archive))):
    bad += [f"{what} shows {n}, which src/sdk/EXPORTS does not list" for n in sorted(have - want)]
    bad += [f"{what} does not show {n} of src/sdk/EXPORTS" for n in sorted(want - have)]
bad += [f"{n} is shown but declared in no public header" for n in sorted(want - declared)]
needed = re.findall(r"NEEDED\s+(\S+)", subprocess.run(["objdump", "-p", so], capture_output=True, text=True).stdout)
bad += [f"libvane.so needs {n}" for n in needed if not re.match(r"(libc|ld-linux.*|libpthread|libdl|lib[atu]*san)\.so", n)]
sections = subprocess.run(["size", "-A", so], capture_output=True, text=True).stdout
text = int(re.search(r"^\.text\s+(\d+)", sections, re.M).group(1))  # code; without tables for the loader and unwinding
print(f"{len(want)} names, needs {' '.join(needed)}, text {text} bytes")
if release and text > 150 * 1024:
    bad.append(f"text of {text} bytes is over 150 KiB")
print("\n".join(bad))
sys.exit(1 if bad else 0)
