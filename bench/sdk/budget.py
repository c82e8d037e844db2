#!/usr/bin/env python3
"""What instrumentation costs a service: the demo's catalog (HTTP, JSON, SQLite) under wrk, without it and with each part of it,
side by side, in one run. Prints a line of JSON a variant: CPU per request and how it grows, memory, latency, the budget.
The variant "none" is the measurement's own error: on a machine that does other things it is larger than the budgets.

usage: bench/sdk/budget.py [--build build] [--seconds 4] [--rounds 5] [--connections 16]"""
import argparse
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

OFF = {"metrics": {"METRICS_ENABLED": "false"}, "tracing": {"TRACING_ENABLED": "false"}, "logging": {"LOG_LEVEL": "critical", "VANE_LOG_SINKS": "none"},
       "health": {"HEALTH_CHECK_ENABLED": "false"}}
# what is on, and the budget: share of CPU, MB, ms
VARIANTS = {"none": ((), (None, None, None)), "metrics": (("metrics",), (0.02, 10, 1)), "tracing": (("tracing",), (0.05, 20, 2)), "logging": (("logging",), (0.01, 5, 0.5)),
            "health": (("health",), (0.005, 2, None)), "everything": (tuple(OFF), (0.05, None, None))}


class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_s(pid):
    f = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


def environment(on, sink, folder, sample_rate):
    """Of a service with these parts on."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "LOG_", "VANE_", "METRICS_", "TRACING_", "HEALTH_", "PROFILING_"))}
    for part, off in OFF.items():
        env |= {} if part in on else off
    if not on:
        env["OTEL_SDK_DISABLED"] = "true"
    if "logging" in on:
        env["VANE_LOG_SINKS"] = f"file:{folder}/requests.json"
    if "tracing" in on:
        env |= {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{sink}/v1/traces", "TRACING_SAMPLE_RATE": str(sample_rate)}
    return env


class Service:
    """The catalog with these parts on."""

    def __init__(self, args, on, sink, folder, name):
        env = environment(on, sink, folder, args.sample_rate)
        self.port, self.args = free_port(), args
        self.p = subprocess.Popen([args.build / "examples/catalog", "--port", str(self.port), "--db", folder / f"{name}.db"], env=env, stdout=subprocess.DEVNULL)

    def wait(self):
        for _ in range(200):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)

    def load(self, seconds):
        self.before = cpu_s(self.p.pid)
        self.wrk = subprocess.Popen(["wrk", "-t1", f"-c{self.args.connections}", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{self.port}/products/7"],
                                    stdout=subprocess.PIPE, text=True)

    def result(self):
        """CPU seconds per request, MB, median latency in ms, requests."""
        out = self.wrk.communicate()[0]
        assert self.wrk.returncode == 0 and "Non-2xx" not in out, out
        n = int(re.search(r"(\d+) requests in", out).group(1))
        value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", out).groups()
        return (cpu_s(self.p.pid) - self.before) / n, rss_mb(self.p.pid), float(value) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit], n

    def stop(self):
        self.p.terminate()
        self.p.wait(20)


def pair(args, on, sink, folder):
    """Both at the same time, so that whatever else the machine does is done to both: their results."""
    both = [Service(args, on if i else (), sink, folder, f"db{i}") for i in range(2)]
    try:
        for seconds in (1, args.seconds):  # the first: caches, connections of the pool
            for s in both:
                s.wait()
                s.load(seconds)
            results = [s.result() for s in both]
        return results
    finally:
        for s in both:
            s.stop()


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--build", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2] / "build")
    a.add_argument("--seconds", type=int, default=4)
    a.add_argument("--rounds", type=int, default=5)
    a.add_argument("--connections", type=int, default=16)
    a.add_argument("--sample-rate", type=float, default=0.1, help="of traces; the default is the usual one in production")
    args = a.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: tools/setup.sh dev")
    sink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    got = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory(prefix="vane-budget-") as folder:
        for _ in range(args.rounds):
            for name, (on, _) in VARIANTS.items():
                got[name].append(pair(args, on, sink.server_port, pathlib.Path(folder)))
    over = []
    for name, (_, budget) in VARIANTS.items():
        def least(side, k):  # what else the machine does only ever adds
            return min(x[side][k] for x in got[name])
        memory = statistics.median(b[1] - a[1] for a, b in got[name])
        growth = (least(1, 0) / least(0, 0) - 1, memory, least(1, 2) - least(0, 2))
        print(json.dumps({"variant": name, "cpu_us_per_request": round(least(1, 0) * 1e6, 2), "without_us": round(least(0, 0) * 1e6, 2),
                          "cpu_growth_percent": round(100 * growth[0], 2), "rss_growth_mb": round(memory, 2), "p50_growth_ms": round(growth[2], 3),
                          "requests_per_s": round(max(x[1][3] for x in got[name]) / args.seconds), "budget": dict(zip(("cpu", "mb", "ms"), budget))}), flush=True)
        over += [f"{name}: {what}" for what, g, b in zip(("CPU", "memory", "latency"), growth, budget) if b is not None and g > b]
    print(json.dumps({"over_budget": over}))


if __name__ == "__main__":
    main()
