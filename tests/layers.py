"""Fails on an include that points up or sideways between the rooms of src/FLOORS, on a room that is not
listed there, and on private headers (*_int.h) used outside their room."""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
floors = {}
for line in (root / "src/FLOORS").read_text().splitlines():
    if line and not line.startswith("#"):
        room, floor = line.split()
        floors[room] = int(floor)

bad = []
for path in sorted((root / "src").rglob("*")):
    if path.suffix not in {".c", ".h", ".cc"}:
        continue
    room = path.relative_to(root / "src").parts[0]
    if room not in floors:
        bad.append(f"{path}: room '{room}' is not in src/FLOORS")
        continue
    for number, line in enumerate(path.read_text().splitlines(), 1):
        m = re.match(r'\s*#\s*include\s+"([a-z0-9_]+)/([^"]+)"', line)
        if not m:
            continue
        other, header = m.groups()
        where = f"{path.relative_to(root)}:{number}"
        if other not in floors:
            bad.append(f"{where}: unknown room '{other}'")
        elif other != room and floors[other] >= floors[room]:
            bad.append(f"{where}: {room} (floor {floors[room]}) includes {other} (floor {floors[other]})")
        elif other != room and header.endswith("_int.h"):
            bad.append(f"{where}: {header} is private to {other}")

print("\n".join(bad) if bad else f"layers: {len(floors)} rooms, no arrow up or sideways")
sys.exit(1 if bad else 0)
