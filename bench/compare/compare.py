"""vane beside Debian's prometheus and victoria-metrics, in one run, on the same remote-write stream and the same queries.
Prints a table and one JSON object. Loopback only; stops by itself and removes its folder.

  python3 bench/compare/compare.py [--targets 50] [--series 600] [--duration 6h] [--only vane,vm,prometheus]
                                   [--vane build/vane] [--rwgen build-bench/bench/rwgen]
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

ap = argparse.ArgumentParser()
ap.add_argument("--targets", type=int, default=50)
ap.add_argument("--series", type=int, default=600)
ap.add_argument("--interval", type=int, default=15)
ap.add_argument("--duration", default="6h")
ap.add_argument("--only", default="vane,vm,prometheus")
root = pathlib.Path(__file__).resolve().parents[2]
ap.add_argument("--vane", default=str(root / "build/vane"))
ap.add_argument("--rwgen", default=str(root / "build-bench/bench/rwgen"))
ap.add_argument("--keep", action="store_true", help="keep the data folders")
args = ap.parse_args()
TICK = os.sysconf("SC_CLK_TCK")
END = int(time.time()) // 60 * 60 - 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url, timeout=300):
    rq = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(rq, timeout=timeout) as r:
        body = r.read()
        if r.headers.get("Content-Encoding") == "gzip":
            import gzip
            body = gzip.decompress(body)
        return body


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def cpu_fine(pid):
    """CPU time of the living threads, in nanoseconds' resolution."""
    return sum(int((t / "schedstat").read_text().split()[0]) for t in pathlib.Path(f"/proc/{pid}/task").iterdir()) / 1e9


def rss_mb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0


def disk_bytes(folder, skip=()):
    return sum(f.stat().st_blocks * 512 for f in folder.rglob("*") if f.is_file() and not any(s in f.parts for s in skip))


def range_query(base, expr, step=60):
    p = urllib.parse.urlencode({"query": expr, "start": END - 6 * 3600 + 600, "end": END, "step": step, "nocache": 1})
    return f"{base}/api/v1/query_range?{p}"


QUERIES = {
    "rate_sum": "sum by (instance)(rate(bench_cpu_seconds_total_0[5m]))",
    "all_rate": 'sum by (instance)(rate({__name__=~"bench_.*"}[5m]))',
    "panel": 'bench_cpu_seconds_total_0{device=~"dev1.*"}',
    "topk": "topk(5, sum by (mode)(rate(bench_network_bytes_total_1[10m])))",
}


class Server:
    def __init__(self, name, folder):
        self.name, self.folder, self.port = name, folder / name, free_port()
        self.folder.mkdir()
        self.base = f"http://127.0.0.1:{self.port}"
        self.data = self.folder / "data"

    def command(self):
        if self.name == "vane":
            return [args.vane, "serve", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}", "--no-otlp-listen", "--no-otlp-grpc-listen",
                    "--no-host-metrics", "--no-self-metrics"]
        if self.name == "vm":
            return ["victoria-metrics", f"-storageDataPath={self.data}", f"-httpListenAddr=127.0.0.1:{self.port}", "-retentionPeriod=1",
                    "-search.disableCache", "-search.maxUniqueTimeseries=2000000", "-search.latencyOffset=0s"]
        (self.folder / "prometheus.yml").write_text("global: {scrape_interval: 1h}\n")
        return ["prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.data}",
                f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-remote-write-receiver", "--query.max-samples=500000000"]

    def start(self):
        self.log = open(self.folder / "log", "ab")
        t0 = time.monotonic()
        self.p = subprocess.Popen(self.command(), stdout=self.log, stderr=self.log)
        for _ in range(3000):
            try:
                get(self.base + ("/health" if self.name == "vm" else "/-/ready"), 2)
                return time.monotonic() - t0
            except OSError:
                if self.p.poll() is not None:
                    raise SystemExit(f"{self.name} ended: see {self.folder}/log")
                time.sleep(0.02)
        raise SystemExit(f"{self.name} did not get ready")

    def stop(self, sig=signal.SIGTERM):
        self.p.send_signal(sig)
        self.p.wait(120)
        self.log.close()


def measure(name, folder):
    s = Server(name, folder)
    r = {"start_s": s.start()}
    cpu0 = cpu_seconds(s.p.pid)
    out = subprocess.run([args.rwgen, "--url", s.base + "/api/v1/write", "--targets", str(args.targets), "--series", str(args.series),
                          "--interval", str(args.interval), "--duration", args.duration, "--end", str(END)],
                         capture_output=True, text=True)
    gen = json.loads(out.stdout)
    time.sleep(8)  # flushes and merges that the stream has caused
    millions = gen["samples"] / 1e6
    r |= {"samples_m": millions, "refused": gen["refused"], "ingest_wall_s": gen["wall_s"], "ack_p50_ms": gen["ack_p50_ms"],
          "ack_p99_ms": gen["ack_p99_ms"], "cpu_s_per_m": (cpu_seconds(s.p.pid) - cpu0) / millions, "rss_mb": rss_mb(s.p.pid)}
    for key, expr in QUERIES.items():
        best, cpu_best, series = 1e9, 1e9, 0
        for _ in range(4):
            c0, t0 = cpu_fine(s.p.pid), time.monotonic()
            body = get(range_query(s.base, expr))
            best = min(best, time.monotonic() - t0)
            cpu_best = min(cpu_best, cpu_fine(s.p.pid) - c0)
        r[f"q_{key}_ms"] = best * 1000
        r[f"q_{key}_cpu_ms"] = cpu_best * 1000
        result = json.loads(body)["data"]["result"]
        r[f"series_{key}"] = len(result)
        r[f"sum_{key}"] = sum(float(v[1]) for x in result for v in x["values"] if v[1] not in ("NaN",))
    r["rss_after_queries_mb"] = rss_mb(s.p.pid)
    s.stop(signal.SIGKILL)
    r["restart_after_kill_s"] = s.start()
    last = 'count({__name__=~"bench_.*"})'
    p = urllib.parse.urlencode({"query": last, "time": END, "nocache": 1})
    result = json.loads(get(f"{s.base}/api/v1/query?{p}"))["data"]["result"]
    r["series_after_kill"] = int(result[0]["value"][1]) if result else 0
    s.stop()
    r["disk_b_per_sample"] = disk_bytes(s.data, skip=("wal", "chunks_head")) / gen["samples"]
    r["disk_with_log_b_per_sample"] = disk_bytes(s.data) / gen["samples"]
    return r


folder = pathlib.Path(tempfile.mkdtemp(prefix="vane-bench-"))
results = {}
try:
    for name in args.only.split(","):
        results[name] = measure(name, folder)
        print(name, json.dumps(results[name]), flush=True)
finally:
    if args.keep:
        print("kept", folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
keys = list(next(iter(results.values())))
print(f"\n{'':28}" + "".join(f"{n:>16}" for n in results) + ("   vane/vm  vane/prom" if len(results) == 3 else ""))
for k in keys:
    row = f"{k:28}" + "".join(f"{results[n][k]:16.3f}" for n in results)
    if len(results) == 3 and "vane" in results:
        for other in ("vm", "prometheus"):
            row += f"{results['vane'][k] / results[other][k]:10.3f}" if results[other].get(k) else f"{'':10}"
    print(row)
