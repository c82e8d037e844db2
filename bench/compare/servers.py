"""Starting, stopping and measuring the servers that are compared: vane, Debian's victoria-metrics and prometheus."""
import gzip
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.request

TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def get(url, timeout=300):
    rq = urllib.request.Request(url, headers={"Accept-Encoding": "gzip"})
    with urllib.request.urlopen(rq, timeout=timeout) as r:
        body = r.read()
        if r.headers.get("Content-Encoding") == "gzip":
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


class Server:
    def __init__(self, name, folder, vane):
        self.vane = vane
        self.name, self.folder, self.port = name, folder / name, free_port()
        self.folder.mkdir()
        self.base = f"http://127.0.0.1:{self.port}"
        self.data = self.folder / "data"

    def command(self):
        if self.name == "vane":
            return [self.vane, "serve", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}", "--no-otlp-listen", "--no-otlp-grpc-listen",
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
