#!/usr/bin/env python3
"""What libvane costs an API under load: one small server, without it and with parts of it on, in one run.

    bench/sdk/overhead.py BUILD/bench/overhead_api [ROUNDS]

Load comes from wrk (Debian package wrk), twice: paced, some 1,000 requests a second, and as fast as the server answers.
Processor time is the server's own, all its threads, by /proc/PID/task/*/schedstat; the modes take turns, a figure is the
median over the rounds of the difference to the server without libvane in the same round."""
import collections
import glob
import http.server
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
import urllib.request

# mode: CPU %, memory MB, latency ms
BUDGETS = {"metrics": (2, 10, 1), "tracing": (5, 20, 2), "logging": (1, 5, 0.5), "health": (0.5, None, None), "all": (5, None, None)}
PACE = "function delay() return math.random(4, 12) end\n"
PATHS = 'local n = 0\nfunction request() n = n + 1; return wrk.format("GET", "/api/orders/" .. n % 2000) end\n'


class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, exe, mode, otlp, folder):
        self.mode, self.port = mode, free_port()
        self.p = subprocess.Popen([exe, mode, str(self.port), otlp, str(folder / f"{mode}.log")], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        if self.p.stdout.readline() != "ready\n":
            sys.exit(f"{exe} {mode} did not start")

    def cpu(self):
        total = 0
        for f in glob.glob(f"/proc/{self.p.pid}/task/*/schedstat"):
            try:
                total += int(pathlib.Path(f).read_text().split()[0])
            except OSError:
                pass  # a thread that has just ended
        return total / 1e9

    def rss(self):
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{self.p.pid}/status").read_text()).group(1)) / 1024

    def load(self, script, seconds):
        before = self.cpu()
        if self.mode in ("health", "all"):
            urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=10).read()
        out = subprocess.run(["wrk", "-t1", "-c8", f"-d{seconds}s", "--latency", "-s", script, f"http://127.0.0.1:{self.port}/"],
                             capture_output=True, text=True, check=True).stdout
        cpu = self.cpu() - before
        n = int(re.search(r"(\d+) requests in", out).group(1))
        value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", out).groups()
        if "Non-2xx" in out:
            sys.exit(f"{self.mode}: errors under load\n{out}")
        return cpu / n * 1e6, float(value) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit], n / seconds


def main():
    if not shutil.which("wrk"):
        print("overhead: skipped, there is no wrk (Debian package wrk)")
        return 0
    exe, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 7
    sink = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as tmp:
        folder = pathlib.Path(tmp)
        (folder / "paced.lua").write_text(PACE + PATHS)
        (folder / "full.lua").write_text(PATHS)
        servers = [Server(exe, m, f"http://127.0.0.1:{sink.server_port}/v1/traces", folder) for m in ["none", *BUDGETS]]
        try:
            figures = collections.defaultdict(list)
            for s in servers:
                s.load(folder / "full.lua", 1)
            for _ in range(rounds):
                for kind, seconds in (("paced", 2), ("full", 1)):
                    now = {s.mode: s.load(folder / f"{kind}.lua", seconds) for s in servers}
                    for m in BUDGETS:
                        figures[kind, m].append([a - b for a, b in zip(now[m], now["none"])])
                        figures[kind, m][-1].append(100 * (now[m][0] / now["none"][0] - 1))
                    figures[kind, "none"].append(now["none"])
            report(figures, {s.mode: s.rss() for s in servers})
        finally:
            for s in servers:
                s.p.stdin.close()
                s.p.wait(timeout=20)
            sink.shutdown()
    return 0


def report(figures, rss):
    def median(key, i):
        return statistics.median(row[i] for row in figures[key])

    rate = median(("paced", "none"), 2)
    print(f"without libvane: {median(('paced', 'none'), 0):.1f} us of CPU a request at {rate:.0f}/s (p50 {median(('paced', 'none'), 1):.2f} ms), "
          f"{median(('full', 'none'), 0):.1f} us at {median(('full', 'none'), 2):.0f}/s, {rss['none']:.1f} MB")
    print(f"{'':8} {'CPU at ' + format(rate, '.0f') + '/s':>24} {'at full speed':>22} {'memory':>20} {'latency':>22}")
    for mode, (cpu, mb, ms) in BUDGETS.items():
        share = median(("paced", mode), 0) * rate / 1e4  # microseconds a request into percent of one core
        us, relative = median(("full", mode), 0), median(("full", mode), 3)
        cells = [("%", share, cpu), (" MB", rss[mode] - rss["none"], mb), (" ms", median(("paced", mode), 1), ms)]
        text = [f"{v:+.2f}{unit}" + (f" ({'ok' if v < budget else 'OVER'}, < {budget})" if budget else "") for unit, v, budget in cells]
        print(f"{mode:8} {text[0]:>24} {f'{us:+.2f} us, {relative:+.1f} %':>22} {text[1]:>20} {text[2]:>22}")


if __name__ == "__main__":
    os.environ.pop("http_proxy", None)
    sys.exit(main())
