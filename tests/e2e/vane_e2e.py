"""What the end-to-end tests share: a vane process on free loopback ports with a folder of its own, an HTTP client,
and a remote-write encoder (protobuf and snappy by hand, so that the tests need nothing but Python)."""
import collections
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

SOURCE = pathlib.Path(os.environ.get("VANE_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
BINARY = os.environ.get("VANE_BINARY", str(SOURCE / "build/vane"))
PATIENCE = float(os.environ.get("VANE_TEST_PATIENCE", 1))  # sanitizers slow everything down
STALE = struct.unpack("<d", struct.pack("<Q", 0x7FF0000000000002))[0]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(check, what, seconds=20.0, every=0.05):
    """Calls check() until it returns something true, and returns that."""
    seconds *= PATIENCE
    end = time.monotonic() + seconds
    last = None
    while time.monotonic() < end:
        try:
            value = check()
            if value:
                return value
        except (OSError, urllib.error.URLError, json.JSONDecodeError, KeyError, IndexError) as e:
            last = e
        time.sleep(every)
    raise AssertionError(f"waited {seconds:g} s for {what}; last error: {last}")


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


def http(method, url, body=None, headers=None, timeout=30):
    rq = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(rq, timeout=timeout) as r:
            return Answer(r.status, r.headers, r.read())
    except urllib.error.HTTPError as e:
        return Answer(e.code, e.headers, e.read())


class Vane:
    """A vane process. Use as a context manager; stop() is graceful, kill() is kill -9."""

    def __init__(self, config=None, args=(), folder=None, host_metrics=False, self_metrics=False, command="serve"):
        self.own_folder = folder is None
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="vane-e2e-"))
        self.data = self.folder / "data"
        self.port, self.otlp_port, self.grpc_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.otlp_url = f"http://127.0.0.1:{self.otlp_port}"
        self.args, self.subcommand = list(args), command
        self.host_metrics, self.self_metrics = host_metrics, self_metrics
        self.log_path = self.folder / "vane.log"
        self.process = None
        self.config = None
        if config is not None:
            self.config = self.folder / "prometheus.yml"
            self.config.write_text(config)

    def command(self):
        cmd = [BINARY, self.subcommand, "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}",
               "--otlp-listen", f"127.0.0.1:{self.otlp_port}", "--otlp-grpc-listen", f"127.0.0.1:{self.grpc_port}"]
        if not self.host_metrics:
            cmd.append("--no-host-metrics")
        if not self.self_metrics:
            cmd.append("--no-self-metrics")
        if self.config:
            cmd += ["--config", str(self.config)]
        return cmd + self.args

    def start(self, wait=True):
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(self.command(), stdout=self.log, stderr=self.log)
        if wait:
            wait_for(self.ready, "vane to be ready")
        return self

    def ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"vane ended with {self.process.returncode}:\n{self.log_text()[-3000:]}")
        return http("GET", self.url + "/-/ready", timeout=2).status == 200

    def threads(self):
        """What each thread waits for in the kernel: a stalled disk looks different from a lock."""
        seen = collections.Counter()
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").glob("*"):
            with contextlib.suppress(OSError):
                seen[f"{(task / 'comm').read_text().strip()} in {(task / 'wchan').read_text()}"] += 1
        return "threads: " + ", ".join(f"{n} {what}" for what, n in sorted(seen.items())) + "\n"

    def log_text(self):
        return self.log_path.read_text(errors="replace")

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20 * PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise AssertionError("vane did not stop within 20 s of SIGTERM")
        code = self.process.returncode if self.process else 0
        self.process = None
        self.log.close()
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None
        self.log.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if self.process:
            if kind:
                sys.stderr.write(self.log_text()[-4000:] + "\n")
                sys.stderr.write(self.threads())
                self.kill()
            else:
                code = self.stop()
                assert code == 0, f"vane exited with {code}:\n{self.log_text()[-3000:]}"
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- asking
    def get(self, path, **params):
        query = "?" + urllib.parse.urlencode(params, doseq=True) if params else ""
        return http("GET", self.url + path + query)

    def query(self, expr, at=None):
        params = {"query": expr}
        if at is not None:
            params["time"] = at
        a = self.get("/api/v1/query", **params)
        assert a.status == 200, f"{expr}: {a.status} {a.body[:500]}"
        return a.json["data"]["result"]

    def value(self, expr, at=None):
        """The one value of an instant query; None when there is none."""
        result = self.query(expr, at)
        assert len(result) <= 1, f"{expr}: {len(result)} series"
        return float(result[0]["value"][1]) if result else None

    def range(self, expr, start, end, step):
        a = self.get("/api/v1/query_range", query=expr, start=start, end=end, step=step)
        assert a.status == 200, f"{expr}: {a.status} {a.body[:500]}"
        return a.json["data"]["result"]

    def write(self, series, **kw):
        return http("POST", self.url + "/api/v1/write", remote_write(series), REMOTE_WRITE_HEADERS, **kw)


# -- remote write 1.0 by hand
REMOTE_WRITE_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def varint(n):
    out = bytearray()
    n &= (1 << 64) - 1
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def snappy(data):
    """A valid snappy block of literals only."""
    out = bytearray(varint(len(data)))
    for at in range(0, len(data), 65536):
        piece = data[at:at + 65536]
        out += bytes([61 << 2]) + struct.pack("<H", len(piece) - 1) + piece
    return bytes(out)


def label_pairs(labels):
    return b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in sorted(labels.items()))


def remote_write(series):
    """series: [({label: value}, [(timestamp_ms, value), ...]), ...] -> a compressed WriteRequest."""
    body = bytearray()
    for labels, samples in series:
        ts = label_pairs(labels)
        for ms, value in samples:
            ts += field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(ms))
        body += field(1, ts)
    return snappy(bytes(body))


@contextlib.contextmanager
def background(cmd, log, **kw):
    """A helper process (exporter, prometheus ...), stopped at the end."""
    with open(log, "ab") as out:
        p = subprocess.Popen(cmd, stdout=out, stderr=out, **kw)
        try:
            yield p
        finally:
            p.terminate()
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()


class Skip(Exception):
    """Raised by a test that cannot run here, with the reason."""


def run(tests):
    """Runs test functions in order, TAP on stdout; exit code 1 if one failed."""
    failed = 0
    print(f"1..{len(tests)}", flush=True)
    for i, test in enumerate(tests, 1):
        name = test.__name__
        try:
            test()
            print(f"ok {i} - {name}", flush=True)
        except Skip as why:
            print(f"ok {i} - {name} # SKIP {why}", flush=True)
        except Exception as e:  # a test that fails must not hide the others
            failed += 1
            import traceback
            print(f"not ok {i} - {name}", flush=True)
            for line in traceback.format_exc().splitlines():
                print(f"# {line}", flush=True)
    sys.exit(1 if failed else 0)
