"""Full ingest, queries and compaction for a while, and nothing may break: no report of a sanitizer, no error in the log, no
wrong answer, memory within bounds. For builds with ASan and TSan.

    tests/e2e/soak.py SECONDS     (or SOAK_SECONDS; without either it is skipped. Environment as the other end-to-end tests)

Rounds of new targets are sent by bench/compare/rwgen as fast as they are taken, each over six hours of time, so that heads are
flushed and segments compacted all the while; retention drops what is older than a day. Beside that a canary of known values
is written in real time and asked for, and every kind of query runs over what is there."""
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import threading
import time

from vane_e2e import PATIENCE, Skip, Vane, http, run

BUILD = pathlib.Path(os.environ.get("VANE_BUILD", pathlib.Path(__file__).resolve().parents[2] / "build"))
RWGEN = os.environ.get("VANE_RWGEN", str(BUILD / "bench/rwgen"))
SECONDS = float(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SOAK_SECONDS", 0))
QUERIES = [
    ("query", dict(query="count({job=\"node\"})")),
    ("query", dict(query="topk(5, sum by (instance) (rate(bench_cpu_seconds_total_0[5m])))")),
    ("query", dict(query="histogram_quantile(0.9, sum by (le) (rate(vane_http_request_duration_seconds_bucket[5m])))")),
    ("query_range", dict(query="sum by (device) (rate(bench_network_bytes_total_1[5m]))", step="60")),
    ("query_range", dict(query="max_over_time(bench_memory_bytes_3[10m]) / 2", step="300")),
    ("query_range", dict(query="count by (__name__) ({__name__=~\"bench_.*\"})", step="600")),
    ("series", {"match[]": "bench_http_requests_total_5"}),
    ("labels", {}),
    ("label/mode/values", {}),
    ("status/tsdb", {}),
]


def rss_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


class Soak:
    def __init__(self, v):
        self.v, self.trouble, self.end = v, [], time.monotonic() + SECONDS
        self.samples = self.queries = self.busy = self.checks = self.snapshots = 0
        self.acknowledged = 0

    def going(self):
        return time.monotonic() < self.end and not self.trouble

    def guarded(self, what):
        def body():
            try:
                while self.going():
                    what()
            except Exception as e:  # whatever it is, it is the result of the soak
                if self.going():
                    self.trouble.append(f"{what.__name__}: {type(e).__name__}: {e}")
        return threading.Thread(target=body, daemon=True)

    round = 0

    def ingest(self):
        self.round += 1
        p = subprocess.Popen([RWGEN, "--url", self.v.url + "/api/v1/write", "--targets", "20", "--series", "300", "--connections", "4",
                              "--duration", "6h", "--seed", str(self.round), "--first-target", str(self.round * 20 % 60000),
                              "--churn", "10"], stdout=subprocess.PIPE, text=True)
        while p.poll() is None:
            if not self.going():
                p.kill()
                p.wait()
                return
            time.sleep(0.2)
        got = json.loads(p.stdout.read())
        self.samples += got["samples"]
        if got["refused"] > got["requests"] / 2:  # some 429 are right when memory is full; all of them are not
            raise AssertionError(f"{got}")

    def canary(self):
        """value n at second n: the count and the sum of what was acknowledged are known."""
        n = self.acknowledged + 1
        a = self.v.write([({"__name__": "canary"}, [(self.start_ms + n * 1000, n)])], timeout=120)
        if a.status in (429, 503):
            self.busy += 1
            time.sleep(0.5)
            return
        assert a.status == 204, f"{a.status} {a.body[:200]}"
        self.acknowledged = n
        time.sleep(0.05 if n * 1000 < (time.time() - 5) * 1000 - self.start_ms else 1)

    def check(self):
        before = self.acknowledged
        if before:
            at = self.start_ms / 1000 + before
            a = self.v.get("/api/v1/query", query=f"sum_over_time(canary[{before}s])", time=f"{at:.3f}", timeout="100s")
            if a.status == 503:
                self.busy += 1
            else:
                assert a.status == 200, f"{a.status} {a.body[:300]}"
                got = float(a.json["data"]["result"][0]["value"][1])
                assert got == before * (before + 1) / 2, f"sum of {before} acknowledged samples is {got}"
                self.checks += 1
        time.sleep(1)

    def ask(self):
        path, params = random.choice(QUERIES)
        params = dict(params)
        if path == "query_range":
            end = time.time() - random.random() * 20000
            params.update(start=end - random.choice((600, 3600, 14400)), end=end)
        a = self.v.get("/api/v1/" + path, **params)
        if a.status in (422, 503):
            self.busy += 1  # a limit of the server: said, not broken
        else:
            assert a.status == 200, f"{path} {params}: {a.status} {a.body[:300]}"
            assert a.json["status"] == "success"
            self.queries += 1
        time.sleep(0.05)

    def snapshot(self):
        """Writes the head, besides."""
        a = http("POST", self.v.url + "/api/v1/admin/tsdb/snapshot", timeout=300)
        assert a.status == 200, f"{a.status} {a.body[:300]}"
        shutil.rmtree(self.v.data / "snapshots" / a.json["data"]["name"])
        self.snapshots += 1
        for _ in range(20):
            time.sleep(1 if self.going() else 0)

    def metric(self, name):
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.v.get("/metrics").body.decode().splitlines()
                   if line.split("{")[0].split(" ")[0] == name)


def soak():
    if not SECONDS:
        raise Skip("SOAK_SECONDS is not set (make test-long sets it)")
    with Vane("retention: {time: 1d}\nlimits: {memory: 512MB, out_of_order_window: 12h}\n", self_metrics=True,
              args=["--enable-admin-api"]) as v:
        s = Soak(v)
        s.start_ms = int(time.time() * 1000) // 1000 * 1000 - 3600 * 1000
        threads = [s.guarded(f) for f in (s.ingest, s.canary, s.check, s.ask, s.ask, s.snapshot)]
        for t in threads:
            t.start()
        largest = 0
        while s.going():
            assert v.process.poll() is None, f"vane ended with {v.process.returncode}:\n{v.log_text()[-6000:]}"
            largest = max(largest, rss_bytes(v.process.pid))
            time.sleep(1)
        for t in threads:
            t.join(150 * PATIENCE)
        assert v.process.poll() is None, f"vane ended with {v.process.returncode}:\n{v.log_text()[-6000:]}"
        if s.trouble:
            raise AssertionError("; ".join(s.trouble) + "\n" + v.log_text()[-4000:])
        flushes, compactions = s.metric("vane_tsdb_flushes_total"), s.metric("vane_tsdb_compactions_total")
        print(f"# {s.metric('vane_tsdb_samples_appended_total') / 1e6:.1f} M samples, {s.queries} queries, {s.checks} checks of "
              f"{s.acknowledged} canaries, {s.busy} refusals, {s.snapshots} snapshots, {flushes:.0f} flushes, {compactions:.0f} compactions, "
              f"{largest / 1e6:.0f} MB RSS at most", flush=True)
        assert s.queries and s.checks and flushes, "nothing happened"
        for line in v.log_text().splitlines():
            assert "level=error" not in line and "Sanitizer" not in line and "runtime error" not in line, line
    # leaving: __exit__ stops it in order and wants exit code 0 (leaks, races)


run([soak])
