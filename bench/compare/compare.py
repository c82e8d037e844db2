"""vane beside Debian's prometheus and victoria-metrics, in one run, on the same remote-write stream and the same queries.
Prints a table and one JSON object. Loopback only; stops by itself and removes its folder.

  python3 bench/compare/compare.py [--targets 50] [--series 600] [--duration 6h] [--only vane,vm,prometheus]
                                   [--vane build/vane] [--rwgen build-bench/bench/rwgen]
"""
import argparse
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse

from servers import Server, cpu_fine, cpu_seconds, disk_bytes, get, rss_mb

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
END = int(time.time()) // 60 * 60 - 60


def range_query(base, expr, step=60):
    p = urllib.parse.urlencode({"query": expr, "start": END - 6 * 3600 + 600, "end": END, "step": step, "nocache": 1})
    return f"{base}/api/v1/query_range?{p}"


QUERIES = {
    "rate_sum": "sum by (instance)(rate(bench_cpu_seconds_total_0[5m]))",
    "all_rate": 'sum by (instance)(rate({__name__=~"bench_.*"}[5m]))',
    "panel": 'bench_cpu_seconds_total_0{device=~"dev1.*"}',
    "topk": "topk(5, sum by (mode)(rate(bench_network_bytes_total_1[10m])))",
}


def measure(name, folder):
    s = Server(name, folder, args.vane)
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
