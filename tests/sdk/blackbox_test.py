"""The black box: what a process killed with -9 had counted, finished and logged is there, in order, and nothing else."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(os.environ["VANE_SOURCE"]) / "tests/e2e"))
from vane_e2e import run  # noqa: E402

APP, BINARY = sys.argv[1], os.environ["VANE_BINARY"]


def box(*args):
    """The program's life, and what `vane blackbox` prints of each file: a list of texts."""
    folder = tempfile.mkdtemp(prefix="vane-sdk-box-")
    try:
        env = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
        app = subprocess.run([APP, *args], capture_output=True, text=True, timeout=60, env={**env, "VANE_BLACKBOX_DIR": folder})
        r = subprocess.run([BINARY, "blackbox", folder], capture_output=True, timeout=60)
        assert r.returncode == 0, r.stderr
        return app, ["# /" + t for t in ("\n" + r.stdout.decode("utf-8")).split("\n# /")[1:]]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def section(text, what):
    m = re.search(rf"^# the last (\d+) {what}, oldest first\n((?:[^#\n].*\n)*)", text, re.M)
    assert m, text[:3000]
    lines = [x for x in m.group(2).splitlines() if not x.startswith("    ")]
    assert int(m.group(1)) == len(lines), (m.group(1), len(lines))
    assert [x[:27] for x in lines] == sorted(x[:27] for x in lines), "not in the order of time"
    return lines, m.group(2)


def check(text, lines_each):
    assert "# service boxed, instance " in text and ", died: " in text, text[:300]
    assert "\njobs_total 5000\n" in text
    assert "hunter2" not in text and "\x1b" not in text
    spans, raw = section(text, "finished spans")
    steps = [int(m.group(1)) for s in spans if (m := re.search(r' INTERNAL "step" .* "i"=(\d+)$', s))]
    assert steps == list(range(5000 - len(steps), 5000)) and len(steps) > 1000, (len(steps), steps[:3], steps[-3:])
    last = spans[-1]
    assert re.search(r'Z SERVER "the \\"last\\" one" \d+\.\d{3} ms trace_id=[0-9a-f]{32} span_id=[0-9a-f]{16} '
                     r'status=ERROR "declined" "user.id"="u-7" "ratio"=0.5 "hit"=true$', last), last
    assert re.search(r' CLIENT "long" .* status=ERROR "too long" "first"="1" dropped_attributes=1$', spans[-2]), spans[-2]
    assert re.search(r'^    event \S+Z "retry" "tries"=3$', raw, re.M), raw[-500:]
    lines, _ = section(text, "log lines")
    assert "[audit] ada delete order/7: denied" in lines[-1] and "giving up ratio=0.5 trace_id=" in lines[-2], lines[-2:]
    span_id = re.search(r" span_id=(\w+)", last).group(1)
    assert f" span_id={span_id} " in lines[-2], (last, lines[-2])
    for t in range(3):
        own = [x for x in lines if f" thread={t} " in x]
        seen = [int(re.search(r" i=(\d+) ", x).group(1)) for x in own]
        assert seen == list(range(lines_each - len(seen), lines_each)) and len(seen) >= min(lines_each, 30), (t, seen)
        assert all(" INFO     boxed line " in x and "password=[redacted]" in x for x in own), own[0]
        assert all('odd="a b\\u001b[31m\ufffd\\nc"' in x for x in own), own[0]


def a_killed_process_leaves_its_last_lines_and_spans():
    app, files = box("plain", "500")
    assert app.returncode == -9 and len(files) == 1, (app, len(files))
    check(files[0], 500)


def a_ring_that_never_went_round_is_whole():
    app, files = box("plain", "5")
    assert app.returncode == -9
    check(files[0], 5)


def what_was_pushed_already_is_still_there():
    app, files = box("push", "100")
    assert app.returncode == -9
    spans, _ = section(files[0], "finished spans")
    assert len(spans) == 5002 and ' SERVER "the ' in spans[-1]


def a_child_has_a_box_of_its_own():
    app, files = box("fork", "300")
    assert app.returncode == -9 and len(files) == 2, (app, len(files))
    pid, signal = map(int, app.stdout.split())
    child = next(f for f in files if f"process {pid}," in f)
    parent = next(f for f in files if f is not child)
    assert signal == 9
    check(child, 300)
    assert "of the parent" not in child and "of the parent" in parent and ", died: " in parent
    assert "finished spans" not in parent


run([a_killed_process_leaves_its_last_lines_and_spans, a_ring_that_never_went_round_is_whole,
     what_was_pushed_already_is_still_there, a_child_has_a_box_of_its_own])
