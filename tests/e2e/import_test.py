"""Moving from Prometheus: blocks, logs and head chunks that Debian's prometheus wrote are imported, and every series answers
the same; damaged files are refused by name; export and import are inverse to each other; online as offline."""
import gzip
import http.server as web
import json
import pathlib
import random
import shutil
import struct
import subprocess
import tempfile
import threading
import time
import urllib.parse

from vane_e2e import BINARY, PATIENCE, Vane, field, free_port, http, label_pairs, run, snappy, varint, wait_for

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")


def vane(*args, ok=True, **kw):
    r = subprocess.run([BINARY, *map(str, args)], capture_output=True, text=True, timeout=120 * PATIENCE, **kw)
    assert (r.returncode == 0) == ok, (args, r.returncode, r.stdout[-500:], r.stderr[-1500:])
    return r


def everything(url, at, minutes, selector='{__name__=~".+"}'):
    """All samples of all series in (at - minutes, at], as the server answers them."""
    q = urllib.parse.quote(selector + f"[{minutes}m]")
    doc = json.loads(http("GET", f"{url}/api/v1/query?query={q}&time={at}", timeout=60).body)
    assert doc["status"] == "success", doc
    return {json.dumps(s["metric"], sort_keys=True): (s.get("values"), s.get("histograms"))
            for s in doc["data"]["result"]}


def ranges(url, expr, start, end, step):
    q = urllib.parse.quote(expr)
    doc = json.loads(http("GET", f"{url}/api/v1/query_range?query={q}&start={start}&end={end}&step={step}").body)
    return {json.dumps(s["metric"], sort_keys=True): s["values"] for s in doc["data"]["result"]}


class Exporter(web.BaseHTTPRequestHandler):
    """Something to scrape: a counter with an exemplar, gauges, a histogram, a series that comes and goes."""
    n = 0

    def do_GET(self):
        Exporter.n += 1
        n = Exporter.n
        lines = ["# HELP hits Hits of things.", "# TYPE hits counter",
                 f'hits_total{{kind="a"}} {n * 3} # {{trace_id="t{n}"}} 1.5', "# TYPE level gauge", "# HELP level Level."]
        lines += [f'level{{tank="{i}"}} {random.random() * 100}' for i in range(30)]
        if n % 6 < 3:
            lines.append(f'level{{tank="sometimes"}} {n}')
        lines += ["# TYPE wait_seconds histogram"]
        lines += [f'wait_seconds_bucket{{le="{le}"}} {n * k}' for le, k in (("0.1", 1), ("1.0", 2), ("+Inf", 3))]
        lines += [f"wait_seconds_count {n * 3}", f"wait_seconds_sum {n * 1.25}", "# EOF", ""]
        body = "\n".join(lines).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/openmetrics-text; version=1.0.0; charset=utf-8")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Prometheus:
    def __init__(self, folder, target=None, features=("exemplar-storage", "native-histograms"), block=None):
        self.folder, self.port = pathlib.Path(folder), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = self.folder / "prometheus.yml"
        self.data = self.folder / "data"
        scrape = "" if target is None else (
            "scrape_configs:\n  - job_name: x\n    static_configs: [{targets: ['%s']}]\n"
            "  - job_name: self\n    static_configs: [{targets: ['127.0.0.1:%d']}]\n" % (target, self.port))
        self.config.write_text("global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n" + scrape)
        self.args = [f"--enable-feature={','.join(features)}"] if features else []
        if block:
            self.args += [f"--storage.tsdb.min-block-duration={block}", f"--storage.tsdb.max-block-duration={block}"]

    def start(self):
        self.process = subprocess.Popen(
            [PROMETHEUS, f"--config.file={self.config}", f"--storage.tsdb.path={self.data}", "--web.enable-admin-api",
             f"--web.listen-address=127.0.0.1:{self.port}", "--storage.tsdb.retention.time=10y", "--log.level=error",
             *self.args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: http("GET", self.url + "/-/ready").status == 200, "prometheus")
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()


def compare(prom_answer, vane_url, at, minutes):
    ours = everything(vane_url, at, minutes)
    missing = [k for k in prom_answer if k not in ours]
    assert not missing, ("missing", missing[:3], len(missing))
    for k, v in prom_answer.items():
        differ = [(x, y) for a, b in zip(v, ours[k]) for x, y in zip(a or [], b or []) if x != y]
        assert ours[k] == v, (k, differ[:2], [len(x or []) for x in v], [len(x or []) for x in ours[k]])
    extra = [k for k in ours if k not in prom_answer]
    assert not extra, ("invented", extra[:3])
    return len(ours)


def text_of(now, series=12, samples=400, step=30):
    """OpenMetrics text over some hours."""
    rnd = random.Random(7)
    out = ["# HELP jobs Jobs done.", "# TYPE jobs counter"]
    for s in range(series):
        v = 0
        for i in range(samples):
            v = 0 if rnd.random() < 0.01 else v + rnd.randrange(9)
            out.append(f'jobs_total{{shard="{s}"}} {v} {now - (samples - i) * step}')
    out += ["# TYPE heat_celsius gauge", "# UNIT heat_celsius celsius"]
    for s in range(series):
        out += [f'heat_celsius{{room="{s}"}} {rnd.random() * 1e3:.6g} {now - (samples - i) * step}.{rnd.randrange(1000):03d}'
                for i in range(samples)]
    out += ["# TYPE took histogram"]
    for i in range(samples):
        out += [f'took_bucket{{le="{le}"}} {i * k} {now - (samples - i) * step}'
                for le, k in (("0.5", 1), ("2.5", 2), ("+Inf", 4))]
        out += [f"took_count {i * 4} {now - (samples - i) * step}", f"took_sum {i * 0.75} {now - (samples - i) * step}"]
    return "\n".join(out + ["# EOF", ""])


def live_prometheus_killed():
    """Head chunks and log as a killed Prometheus leaves them, after a delete and a restart."""
    server = http_server()
    with tempfile.TemporaryDirectory(prefix="vane-import-") as d:
        p = Prometheus(d, f"127.0.0.1:{server.server_address[1]}").start()
        wait_for(lambda: Exporter.n > 25, "scrapes", 30)
        r = http("POST", p.url + '/api/v1/admin/tsdb/delete_series?match[]=level{tank="3"}')
        assert r.status == 204, r.body
        p.kill()  # what was not flushed by Prometheus is lost to it, too: its own replay is the reference
        reader = Prometheus(d, None).start()
        n = Exporter.n
        at = time.time()
        answer = everything(reader.url, at, 30)
        reader.kill()
        assert len(answer) > 100 and any('"tank": "sometimes"' in k for k in answer), len(answer)
        data = pathlib.Path(d) / "vane"
        r = vane("import", "prometheus", p.data, "--data", data)
        assert "imported" in r.stdout and n > 25, r.stdout
        vane("fsck", data)
        with Vane(folder=d, args=["--data", str(data)]) as v:
            assert compare(answer, v.url, at, 30) == len(answer)
            assert not any('"tank": "3"' in k for k in everything(v.url, at, 30))
            got = json.loads(http("GET", f"{v.url}/api/v1/query_exemplars?query=hits_total&start={at - 600}&end={at}").body)
            assert got["data"][0]["exemplars"][0]["labels"]["trace_id"].startswith("t"), got
    server.shutdown()


def http_server():
    server = web.ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Exporter.n = 0
    return server


def blocks_overlapping_and_deleted():
    """Blocks made by promtool, two overlapping sets, with tombstones; head of its own; one folder."""
    now = int(time.time()) - 7200
    with tempfile.TemporaryDirectory(prefix="vane-import-") as d:
        a = pathlib.Path(d) / "data"
        a.mkdir()
        text = pathlib.Path(d) / "a.om"
        text.write_text(text_of(now))
        subprocess.run([PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", text, a], check=True, capture_output=True)
        p = Prometheus(d, None).start()
        answer = everything(p.url, now, 600)
        p.kill()
        vane("import", "prometheus", a, "--data", pathlib.Path(d) / "exact")
        with Vane(folder=d, args=["--data", str(pathlib.Path(d) / "exact")]) as v:
            assert compare(answer, v.url, now, 600) == 12 * 2 + 5
        text.write_text(text_of(now - 3000, series=20))  # partly the same series at the same and other times
        subprocess.run([PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", text, a], check=True, capture_output=True)
        p = Prometheus(d, None).start()
        r = http("POST", p.url + f'/api/v1/admin/tsdb/delete_series?match[]=jobs_total{{shard="1"}}&start={now - 6000}&end={now - 3000}')
        assert r.status == 204, r.body
        answer = everything(p.url, now, 600)
        rates = ranges(p.url, "sum by (shard) (rate(jobs_total[5m]))", now - 9000, now, 60)
        quantiles = ranges(p.url, "histogram_quantile(0.9, rate(took_bucket[10m]))", now - 9000, now, 60)
        p.kill()
        assert list(a.glob("*/tombstones")) and len(answer) == 20 * 2 + 5
        data = pathlib.Path(d) / "vane"
        vane("import", "prometheus", a, "--data", data)
        with Vane(folder=d, args=["--data", str(data)]) as v:
            same_times(answer, everything(v.url, now, 600))
            ours = ranges(v.url, "sum by (shard) (rate(jobs_total[5m]))", now - 9000, now, 60)
            assert ours.keys() == rates.keys()
            ours = ranges(v.url, "histogram_quantile(0.9, rate(took_bucket[10m]))", now - 9000, now, 60)
            assert ours.keys() == quantiles.keys()
        single = min(a.glob("01*"))
        vane("import", "prometheus", single, "--data", pathlib.Path(d) / "one")


def same_times(theirs, ours):
    """Which of two values of one time wins is not defined between overlapping blocks; all else is."""
    assert theirs.keys() == ours.keys(), set(theirs) ^ set(ours)
    for k, (values, hists) in theirs.items():
        assert [x[0] for x in values] == [x[0] for x in ours[k][0]], k
        differ = [(x, y) for x, y in zip(values, ours[k][0]) if x != y]
        assert len(differ) < len(values) * 0.6, (k, differ[:3])


def damage_is_named():
    """A flipped bit anywhere: an error with file and offset, or the same samples as before; never a crash, never others."""
    now = int(time.time()) - 7200
    server = http_server()
    with tempfile.TemporaryDirectory(prefix="vane-import-") as d:
        p = Prometheus(d, f"127.0.0.1:{server.server_address[1]}").start()
        wait_for(lambda: Exporter.n > 10, "scrapes", 30)
        p.kill()
        server.shutdown()
        text = pathlib.Path(d) / "a.om"
        text.write_text(text_of(now, series=3, samples=60))
        subprocess.run([PROMTOOL, "tsdb", "create-blocks-from", "openmetrics", text, p.data], check=True, capture_output=True)
        out = pathlib.Path(d) / "out"

        def samples():
            shutil.rmtree(out, ignore_errors=True)
            r = subprocess.run([BINARY, "import", "prometheus", p.data, "--data", out], capture_output=True, text=True, timeout=60)
            assert r.returncode in (0, 1), (r.returncode, r.stderr[-2000:])
            return r.returncode, r.stderr, (vane("export", "--data", out).stdout if r.returncode == 0 else None)

        code, errors, whole = samples()
        assert code == 0, errors
        rnd = random.Random(1)
        refused = 0
        files = [f for f in p.data.rglob("*") if f.is_file() and f.stat().st_size and f.name not in ("lock", "queries.active")]
        assert {f.name for f in files} >= {"index", "meta.json", "tombstones", "000001", "00000000"}, files
        for f in files:
            good = f.read_bytes()
            used = len(good.rstrip(b"\0")) or 1
            for _ in range(8):
                bad = bytearray(good)
                bad[rnd.randrange(used)] ^= 1 << rnd.randrange(8)
                f.write_bytes(bad)
                code, errors, got = samples()
                if code:
                    refused += 1
                    # another range in meta.json may be one that retention would drop
                    assert f.name in errors or f.parent.name in errors or f.name == "meta.json", (f, errors)
                elif f.name == "meta.json":
                    pass  # text: a changed ULID or statistic is no damage, a changed range is
                else:  # a torn tail, or bytes that nothing depends on
                    assert set(got.splitlines()) <= set(whole.splitlines()), f
                cut = good[:rnd.randrange(used)]
                f.write_bytes(cut)
                code, errors, got = samples()
                refused += code
                if code == 0 and f.name != "meta.json":
                    assert set(got.splitlines()) <= set(whole.splitlines()), f
            f.write_bytes(good)
        assert refused > len(files) * 6, (refused, len(files))


def zigzag(n):
    return varint(n << 1 if n >= 0 else (-n << 1) - 1)


def double(number, v):
    return varint(number << 3 | 1) + struct.pack("<d", v)


def native(ts, i, is_float, reset=False, stale=False):
    """prometheus.Histogram: schema 1, a zero bucket, two spans, counts that grow with i."""
    if stale:
        return field(4, double(3, struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]) + varint(15 << 3) + varint(ts))
    counts = [i % 7 + 1 + 7 * i, i, 2 * i, i + 3]
    body = b""
    if is_float:
        counts = [c + 0.5 for c in counts]
        body += double(2, sum(counts) + i + 0.25) + double(7, i + 0.25)
    else:
        body += varint(1 << 3) + varint(sum(counts) + i) + varint(6 << 3) + varint(i)
    body += double(3, i * 1.5) + varint(4 << 3) + zigzag(1) + double(5, 0.001)
    spans = [(1, 2), (3 if i < 60 else 4, 2)]  # the layout changes on the way
    for offset, length in spans:
        body += field(11, varint(1 << 3) + zigzag(offset) + varint(2 << 3) + varint(length))
    if is_float:
        body += field(13, struct.pack(f"<{len(counts)}d", *counts))
    else:
        body += field(12, b"".join(zigzag(b - a) for a, b in zip([0] + counts, counts)))
    return field(4, body + (varint(14 << 3) + varint(3) if reset else b"") + varint(15 << 3) + varint(ts))


def native_histograms():
    """Integer, float and gauge histograms, layouts that change, staleness (of integers: Prometheus 2.42 shows a
    stale float histogram as the one before): from the log, and from a snapshot's blocks."""
    with tempfile.TemporaryDirectory(prefix="vane-import-") as d:
        p = Prometheus(d, None)
        p.args.append("--web.enable-remote-write-receiver")
        p.start()
        now = int(time.time())

        def send(*kinds):
            for i in range(100):
                ts = (now - 1000 + 10 * i) * 1000
                body = snappy(b"".join(field(1, label_pairs({"__name__": "took", "kind": kind}) +
                                             native(ts, i, kind != "int", kind == "gauge",
                                                    kind == "int" and i == 80)) for kind in kinds))
                r = http("POST", p.url + "/api/v1/write", body, {"Content-Encoding": "snappy"})
                assert r.status == 204, (i, r.status, r.body)

        send("int", "float")
        doc = json.loads(http("POST", p.url + "/api/v1/admin/tsdb/snapshot").body)
        assert doc["status"] == "success", doc
        snapshot = doc["data"]["name"]
        send("gauge")  # a snapshot of these fails in Prometheus 2.42
        answer = {}  # one by one: Prometheus 2.42 mixes up the histograms of an answer's series
        for kind in ("int", "float", "gauge"):
            answer |= everything(p.url, now, 30, f'took{{kind="{kind}"}}')
        assert len(answer) == 3 and all(len(h) >= 90 for v, h in answer.values()), {k: len(h or []) for k, (v, h) in answer.items()}
        p.kill()
        for name, source in (("log", p.data), ("blocks", p.data / "snapshots" / snapshot)):
            r = vane("import", "prometheus", source, "--data", pathlib.Path(d) / name)
            kinds = 3 if name == "log" else 2
            assert f"({100 * kinds} native histograms)" in r.stdout, r.stdout
            with Vane(folder=d, args=["--data", str(pathlib.Path(d) / name)]) as v:
                compare({k: a for k, a in answer.items() if kinds == 3 or "gauge" not in k}, v.url, now, 30)
            r = vane("export", "--data", pathlib.Path(d) / name)
            assert f"{100 * kinds - 1} native histograms were left out" in r.stderr and r.stdout == "# EOF\n", (r.stderr, r.stdout[:200])
        v = Vane(folder=d, args=["--enable-admin-api"]).start()  # online: over the wire and back
        vane("import", "prometheus", p.data, "--url", v.url)
        compare(answer, v.url, now, 30)
        assert v.stop() == 0


def export_import_identical():
    now = int(time.time()) - 3600
    with tempfile.TemporaryDirectory(prefix="vane-import-") as d:
        d = pathlib.Path(d)
        (d / "in.om").write_text(text_of(now))
        vane("import", "openmetrics", d / "in.om", "--data", d / "a")
        vane("export", "--data", d / "a", "-o", d / "out.om.gz")
        text = gzip.open(d / "out.om.gz", "rt").read()
        assert text.endswith("# EOF\n") and "# TYPE jobs counter" in text and "# UNIT heat_celsius celsius" in text
        vane("import", "openmetrics", d / "out.om.gz", "--data", d / "b")
        again = vane("export", "--data", d / "b").stdout
        assert again == text
        vane("import", "openmetrics", "-", "--data", d / "b", input=text)  # the same again changes nothing
        assert vane("export", "--data", d / "b").stdout == text
        part = vane("export", "--data", d / "b", "--match", 'jobs_total{shard=~"[12]"}', "--start", now - 600).stdout
        lines = [x for x in part.splitlines() if not x.startswith("#")]
        assert lines and all("shard=\"1\"" in x or "shard=\"2\"" in x for x in lines)
        assert all(float(x.split()[-1]) >= now - 600 for x in lines)
        with Vane(folder=d, args=["--data", str(d / "a"), "--enable-admin-api"]) as v:
            assert vane("export", "--url", v.url).stdout == text
            r = vane("export", "--data", d / "a", ok=False)
            assert "in use" in r.stderr, r.stderr


def online_is_offline():
    """Into a running vane: the same answers as offline, visible at once, also after a restart."""
    now = int(time.time()) - 5 * 86400
    with tempfile.TemporaryDirectory(prefix="vane-import-") as d:
        d = pathlib.Path(d)
        (d / "in.om").write_text(text_of(now))
        vane("import", "openmetrics", d / "in.om", "--data", d / "a")
        v = Vane(folder=d, args=["--enable-admin-api"]).start()
        vane("import", "openmetrics", d / "in.om", "--url", v.url)
        text = vane("export", "--data", d / "a").stdout
        assert vane("export", "--url", v.url).stdout == text
        meta = json.loads(http("GET", v.url + "/api/v1/metadata?metric=jobs").body)["data"]
        assert meta["jobs"][0]["type"] == "counter", meta
        vane("import", "openmetrics", d / "in.om", "--url", v.url)
        assert vane("export", "--url", v.url).stdout == text
        v.kill()
        v.start()
        assert vane("export", "--url", v.url).stdout == text
        assert v.stop() == 0


def refusals():
    now = int(time.time())
    with tempfile.TemporaryDirectory(prefix="vane-import-") as d:
        d = pathlib.Path(d)
        old = d / "old.om"
        old.write_text(f"# TYPE a gauge\na 1.0 {now - 90 * 86400}\na 2.0 {now - 3600}\n# EOF\n")
        r = vane("import", "openmetrics", old, "--data", d / "x", ok=False)
        assert "retention" in r.stderr and "--drop-old" in r.stderr, r.stderr
        assert vane("export", "--data", d / "x").stdout == "# EOF\n"
        r = vane("import", "openmetrics", old, "--data", d / "x", "--drop-old")
        assert "1 samples older" in r.stderr, r.stderr
        vane("import", "openmetrics", old, "--data", d / "y", "--retention", "1y")
        assert "a 1.0" in vane("export", "--data", d / "y").stdout
        for text, word in (("a 1 1\n", "# EOF"), ("a 1\n# EOF\n", "timestamp"), ("a{ 1 1\n# EOF\n", "line"),
                           ("# EOF\na 1 1\n", "EOF")):
            (d / "bad.om").write_text(text)
            r = vane("import", "openmetrics", d / "bad.om", "--data", d / "z", "--retention", "0", ok=False)
            assert word in r.stderr, (text, r.stderr)
        r = vane("import", "prometheus", d / "nothing", "--data", d / "z", ok=False)
        assert "nothing" in r.stderr, r.stderr
        r = vane("import", "prometheus", d, "--data", d / "z", ok=False)
        assert "neither blocks nor a log" in r.stderr, r.stderr
        assert "restore" in vane("import", "snapshot", d, ok=False).stderr
        assert "data folder" in vane("export", "--data", d / "nothing", ok=False).stderr
        with Vane(folder=d) as v:
            r = vane("import", "openmetrics", old, "--url", v.url, "--drop-old", ok=False)
            assert "admin" in r.stderr, r.stderr
            r = vane("import", "openmetrics", old, "--data", v.data, "--drop-old", ok=False)
            assert "in use" in r.stderr, r.stderr


if not PROMETHEUS or not PROMTOOL:
    print("1..0 # SKIP prometheus or promtool is not installed")
else:
    run([live_prometheus_killed, blocks_overlapping_and_deleted, damage_is_named, native_histograms,
         export_import_identical, online_is_offline,
         refusals])
