"""libvane's profiles decoded by hand: functions and their callers, threads, requests that were slow, sampled or waited."""
import collections
import gzip
import http.server
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

APP = sys.argv[1]
EXACT = sys.argv[2] == "none"  # under a sanitizer signals come late and stacks differ: only the format is looked at


def varint(b, i):
    v = shift = 0
    while True:
        v |= (b[i] & 127) << shift
        shift += 7
        i += 1
        if b[i - 1] < 128:
            return v, i


def fields(b):
    i, out = 0, []
    while i < len(b):
        key, i = varint(b, i)
        if key & 7 == 0:
            v, i = varint(b, i)
        elif key & 7 == 2:
            n, i = varint(b, i)
            assert i + n <= len(b)
            v, i = b[i:i + n], i + n
        else:
            raise AssertionError(f"wire type {key & 7}")
        out.append((key >> 3, v))
    return out


class Profile:
    def __init__(self, data):
        p = fields(gzip.decompress(data))
        strings = [v.decode() for f, v in p if f == 6]
        assert strings[0] == "" and len(set(strings)) == len(strings)

        def one(message):
            return dict(fields(message))
        self.types = [(strings[one(v)[1]], strings[one(v)[2]]) for f, v in p if f == 1]
        assert self.types == [("samples", "count"), ("cpu", "nanoseconds")]
        functions = {one(v)[1]: strings[one(v)[2]] for f, v in p if f == 5}
        assert len(functions) == sum(f == 5 for f, _ in p), "ids of functions differ"
        self.mappings = {one(v)[1]: one(v) for f, v in p if f == 3}
        self.builds = {strings[m[5]]: strings[m[6]] for m in self.mappings.values()}
        locations = {}
        for f, v in p:
            if f != 4:
                continue
            loc = one(v)
            if 2 in loc:
                m = self.mappings[loc[2]]
                assert m[2] <= loc[3] < m[3], "an address lies in its mapping"
            locations[loc[1]] = functions[one(loc[4])[1]] if 4 in loc else "?"
        self.samples = []
        for f, v in p:
            if f != 2:
                continue
            s = fields(v)
            labels = {}
            for k, w in s:
                if k == 3:
                    d = dict(fields(w))
                    labels[strings[d[1]]] = strings[d[2]] if 2 in d else d[3]
            values = [w for k, w in s if k == 2]
            assert len(values) == 2
            self.samples.append(([locations[w] for k, w in s if k == 1], values, labels))
        self.period = dict(p)[12]
        assert dict(p)[9] > 1.6e18 and dict(p)[10] > 0


def run(*args):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "VANE_PROF"))}
    return subprocess.run([APP, *args], env=env, check=True, capture_output=True, text=True, timeout=100).stdout


with tempfile.TemporaryDirectory() as tmp:
    path = f"{tmp}/whole.pb.gz"
    run("whole", path)
    assert os.stat(path).st_mode & 0o777 in (0o640, 0o600) and os.listdir(tmp) == ["whole.pb.gz"]
    p = Profile(pathlib.Path(path).read_bytes())
    assert p.period == 5_000_000
    by_thread, inner, below = collections.Counter(), 0, 0
    for stack, (count, cpu), labels in p.samples:
        assert cpu == count * p.period and labels["thread"] > 0
        by_thread[labels["thread"]] += cpu / 1e9
        if "burn_inner" in stack:
            inner += count
            below += count if "burn_outer" in stack[stack.index("burn_inner"):] else 0
    print(dict(by_thread), "inner", inner, "with their caller", below)
    if EXACT:
        assert len(by_thread) == 3 and all(0.4 < v < 0.8 for v in by_thread.values()), by_thread
        assert inner > 200 and below > 0.9 * inner
        assert any("sdk_profile_app" in f and len(b) == 40 for f, b in p.builds.items()), p.builds

with tempfile.TemporaryDirectory() as tmp:
    run("requests", tmp)
    files = sorted(os.listdir(tmp))
    assert files and all(f.endswith(".pb.gz") for f in files), files
    samples = [s for f in files for s in Profile(pathlib.Path(tmp, f).read_bytes()).samples]
    ends = collections.Counter()
    for stack, (count, cpu), labels in samples:
        assert len(labels["profile.id"]) == 16
        ends[labels["endpoint"], labels.get("state", "")] += count
        assert labels.get("state") != "waiting" or cpu == 0
    print(dict(ends))
    assert not any(e == "/fast" for e, _ in ends)
    if EXACT:
        # over the threshold after 0.2 s of the clock, 0.8 s of CPU; the manager looks every 50 ms
        assert 20 < ends["/slow", ""] < 90, ends
        assert any("burn_inner" in stack for stack, _, labels in samples if labels["endpoint"] == "/slow")
        assert len({labels["profile.id"] for _, _, labels in samples}) == 2, "one id a request"
        assert ends["/waits", ""] == 0
        if os.access("/proc/self/syscall", os.R_OK):
            assert ends["/waits", "waiting"] > 3 and any("nanosleep" in f for s, _, l in samples if "state" in l for f in s), samples

with tempfile.TemporaryDirectory() as tmp:
    run("sampled", tmp)
    n = sum(v[0] for f in os.listdir(tmp) for _, v, _ in Profile(pathlib.Path(tmp, f).read_bytes()).samples)
    assert not EXACT or n > 5, n
    run("taken", tmp)

with tempfile.TemporaryDirectory() as tmp:
    got = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, self.headers, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if self.path == "/broken" else 204)
            self.end_headers()

        def log_message(self, *_):
            pass
    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert run("url", f"http://127.0.0.1:{server.server_port}/ingest?name=x") == "ok\n"
    assert run("url", f"http://127.0.0.1:{server.server_port}/broken") == "input or output failed\n"
    assert run("url", "http://user@127.0.0.1/") == run("url", "http://") == "an argument is missing or malformed\n"
    server.shutdown()
    assert got[0][0] == "/ingest?name=x" and Profile(got[0][2])
print("ok")
