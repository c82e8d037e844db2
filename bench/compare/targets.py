"""The figures beside compare.py's: many series, small queries, a start after kill -9, acknowledgements beside compaction. For each server
in turn; prints JSON per server and a table. Loopback only; stops by itself and removes its folder.

  python3 bench/compare/targets.py [--only vane,vm,prometheus] [--parts series,small,start,compaction] [--millions 1]
                                   [--vane build/vane] [--rwgen build-rel/bench/rwgen]
  series      1 M new series: CPU, resident bytes, label values
  small       instant queries of some tens of series over HTTP: latency of one at a time, CPU at 667 a second
  start       24 M samples (--millions 24) in the log, kill -9: first write acknowledged, everything visible
  compaction  acknowledgements while segments are written and merged beside a steady stream (vane only: it says when)
"""
import argparse
import http.client
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse

from servers import Server, cpu_fine, cpu_seconds, get, rss_mb

ap = argparse.ArgumentParser()
ap.add_argument("--only", default="vane,vm,prometheus")
ap.add_argument("--parts", default="series,small,start,compaction")
ap.add_argument("--millions", type=float, default=1, help="series of part series; samples of part start are 24 times that")
root = pathlib.Path(__file__).resolve().parents[2]
ap.add_argument("--vane", default=str(root / "build/vane"))
ap.add_argument("--rwgen", default=str(root / "build-rel/bench/rwgen"))
args = ap.parse_args()
END = int(time.time()) // 60 * 60 - 60


def generate(s, targets, series, duration, interval=15, end=END, per_request=2000, connections=2):
    out = subprocess.run([args.rwgen, "--url", s.base + "/api/v1/write", "--targets", str(targets), "--series", str(series), "--interval",
                          str(interval), "--duration", duration, "--end", str(end), "--per-request", str(per_request), "--connections", str(connections)],
                         capture_output=True, text=True)
    if not out.stdout:
        raise SystemExit(f"rwgen: {out.stderr}")
    return json.loads(out.stdout)


def instant(s, expr, when=END):
    p = urllib.parse.urlencode({"query": expr, "time": when, "nocache": 1})
    return json.loads(get(f"{s.base}/api/v1/query?{p}"))["data"]["result"]


def series(s, r):
    s.start()
    cpu0, rss0 = cpu_seconds(s.p.pid), rss_mb(s.p.pid)
    gen = generate(s, int(args.millions * 1e6 / 500), 500, "15s")
    n = gen["samples"]
    time.sleep(5)
    r["new_series"] = n
    r["new_series_cpu_s_per_m"] = (cpu_seconds(s.p.pid) - cpu0) / n * 1e6
    r["rss_bytes_per_series"] = (rss_mb(s.p.pid) - rss0) * 1048576 / n
    for label in ("instance", "__name__"):
        best = 1e9
        for _ in range(5):
            t0 = time.monotonic()
            body = get(f"{s.base}/api/v1/label/{label}/values?start={END - 3600}&end={END}")
            best = min(best, time.monotonic() - t0)
        r[f"label_values_{label}_ms"] = best * 1000
        r[f"label_values_{label}"] = len(json.loads(body)["data"])
    s.stop()


def small(s, r):
    s.start()
    generate(s, 50, 600, "30m")
    expr = 'sum by (mode)(rate(bench_cpu_seconds_total_0{instance="10.0.0.7:9100"}[5m]))'
    every = instant(s, 'count by (instance)({__name__=~"bench_cpu_seconds_total_0"})')
    expr = expr.replace("10.0.0.7:9100", every[0]["metric"]["instance"])
    r["small_series"] = int(every[0]["value"][1])
    c = http.client.HTTPConnection("127.0.0.1", s.port)
    path = "/api/v1/query?" + urllib.parse.urlencode({"query": expr, "time": END, "nocache": 1})

    def one():
        c.request("GET", path)
        a = c.getresponse()
        body = a.read()
        assert a.status == 200, body

    for _ in range(200):
        one()
    took = []
    cpu0 = cpu_fine(s.p.pid)
    for _ in range(2000):
        t0 = time.monotonic()
        one()
        took.append(time.monotonic() - t0)
    r["small_cpu_us"] = (cpu_fine(s.p.pid) - cpu0) / 2000 * 1e6
    took.sort()
    r["small_p50_ms"], r["small_p99_ms"] = took[1000] * 1000, took[1980] * 1000
    cpu0, t0, n = cpu_fine(s.p.pid), time.monotonic(), 0
    while time.monotonic() - t0 < 6:
        due = t0 + n / 667
        time.sleep(max(0, due - time.monotonic()))
        one()
        n += 1
    wall = time.monotonic() - t0
    r["rules_per_s"], r["rules_cores"] = n / wall, (cpu_fine(s.p.pid) - cpu0) / wall
    s.stop()


def start(s, r):
    s.start()
    generate(s, 200, 500, f"{int(240 * args.millions * 7)}s", interval=7, per_request=5000, end=END)
    want = instant(s, 'count({__name__=~"bench_.*"})')
    s.stop(signal.SIGKILL)
    s.log = open(s.folder / "log", "ab")
    t0 = time.monotonic()
    s.p = subprocess.Popen(s.command(), stdout=s.log, stderr=s.log)
    body = None
    while body is None:  # a write is a refused or accepted POST: rwgen itself, over and over, is too slow to start
        try:
            c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=5)
            c.request("POST", "/api/v1/import/prometheus", body=f"bench_first_write 1 {END * 1000}\n")
            a = c.getresponse()
            a.read()
            body = a.status if a.status in (200, 204) else None
            if a.status in (404, 405):  # no such route: prometheus; its readiness is the next figure
                break
        except OSError:
            time.sleep(0.002)
    r["first_write_s"] = time.monotonic() - t0
    while True:
        try:
            get(s.base + ("/health" if s.name == "vm" else "/-/ready"), 5)
            break
        except OSError:
            time.sleep(0.005)
    have = instant(s, 'count({__name__=~"bench_.*"})')
    r["all_visible_s"] = time.monotonic() - t0
    r["visible_before_after"] = [int(x[0]["value"][1]) if x else 0 for x in (want, have)]
    for line in (s.folder / "log").read_text(errors="replace").splitlines():
        if "metrics log replayed" in line:
            r["replay"] = line[line.index("records="):]
    s.stop()


def vane_counter(s, name):
    return sum(float(x.rsplit(" ", 1)[1]) for x in get(s.base + "/metrics").decode().splitlines() if x.startswith(name + " ") or x.startswith(name + "{"))


def compaction(s, r):
    """A steady stream while hours of history make the store flush and merge."""
    if s.name != "vane":
        return
    s.start()
    quiet = generate(s, 20, 500, "60s", connections=1)
    busy = []
    stop = threading.Event()

    def history():
        k = 0
        while not stop.is_set():
            generate(s, 100, 500, "2h", interval=60, end=END - 7200 * (11 - k % 11), connections=1)
            k += 1

    c0, m0 = vane_counter(s, "vane_tsdb_flushes_total"), vane_counter(s, "vane_tsdb_compactions_total")
    t = threading.Thread(target=history)
    t.start()
    t0 = time.monotonic()
    while time.monotonic() - t0 < 40:
        busy.append(generate(s, 20, 500, "60s", connections=1, end=END + 60))
    stop.set()
    t.join()
    r["flushes"] = vane_counter(s, "vane_tsdb_flushes_total") - c0
    r["compactions"] = vane_counter(s, "vane_tsdb_compactions_total") - m0
    r["ack_quiet_p50_ms"], r["ack_quiet_p99_ms"] = quiet["ack_p50_ms"], quiet["ack_p99_ms"]
    r["ack_busy_p50_ms"] = sorted(x["ack_p50_ms"] for x in busy)[len(busy) // 2]
    r["ack_busy_p99_ms"] = max(x["ack_p99_ms"] for x in busy)
    s.stop()


folder = pathlib.Path(tempfile.mkdtemp(prefix="vane-bench-"))
results = {}
try:
    for name in args.only.split(","):
        results[name] = {}
        for part in args.parts.split(","):
            (folder / part).mkdir(exist_ok=True)
            s = Server(name, folder / part, args.vane)
            globals()[part](s, results[name])
            shutil.rmtree(folder / part, ignore_errors=True)
        print(name, json.dumps(results[name]), flush=True)
finally:
    shutil.rmtree(folder, ignore_errors=True)
print(f"\n{'':28}" + "".join(f"{n:>16}" for n in results))
for k, v in next(iter(results.values())).items():
    if isinstance(v, (int, float)):
        print(f"{k:28}" + "".join(f"{results[n].get(k, float('nan')):16.3f}" for n in results))
