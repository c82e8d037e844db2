"""libvane seen from outside: its listener answers good and bad requests, its expositions pass promtool, Debian's
Prometheus scrapes it (OpenMetrics with exemplars, and native histograms by protobuf), and so does vane."""
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.parse

sys.path.insert(0, str(pathlib.Path(os.environ["VANE_SOURCE"]) / "tests/e2e"))
from vane_e2e import BINARY, Vane, free_port, http, run, wait_for  # noqa: E402

APP = sys.argv[1]
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
PROTOBUF = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"


class App:
    def __init__(self, **more):
        self.more, self.end = more, 0

    def __enter__(self):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "PROMETHEUS_"))}
        env.update(self.more)
        self.p = subprocess.Popen([APP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self.port = int(self.p.stdout.readline())
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_):
        self.p.stdin.close()
        assert self.p.wait(10) == self.end


def raw(port, data, more=b""):
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        s.settimeout(5)
        s.sendall(data)
        if more:
            s.sendall(more)
        try:
            s.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # answered and closed already
        out = b""
        while True:
            try:
                got = s.recv(65536)
            except ConnectionResetError:
                break
            if not got:
                break
            out += got
        return out


def the_listener_answers_good_and_bad_requests():
    with App() as app:
        a = http("GET", app.url + "/metrics")
        assert a.status == 200 and a.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        body = a.body.decode()
        assert 'app_requests_total{method="GET",path="/caf\u00e9 \\"x\\"\\\\\\n"} 42\n' in body
        assert http("GET", app.url + "/metrics?x=1").status == 200
        assert http("HEAD", app.url + "/metrics").body == b""
        assert http("GET", app.url + "/nothing").status == 404
        p = http("POST", app.url + "/metrics", b"x")
        assert p.status == 405 and p.headers["Allow"] == "GET, HEAD"
        for bad, status in ((b"nonsense\r\n\r\n", b"400"), (b"GET /metrics HTTP/3\r\n\r\n", b"505"), (b"GET  \r\n\r\n", b"400"),
                            (b"GET /metrics SPDY/1\r\n\r\n", b"400"), (b"GET /metr\0ics HTTP/1.1\r\n\r\n", b"400"),
                            (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", b"431"), (b"\r\n\r\n", b"400")):
            assert raw(app.port, bad).split(b" ")[1:2] == [status], (bad[:40], raw(app.port, bad)[:200])
        two = raw(app.port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert two.count(b"HTTP/1.1 200 OK") == 2
        idle = [socket.create_connection(("127.0.0.1", app.port)) for _ in range(60)]  # more than it holds
        for s in idle:
            s.close()
        wait_for(lambda: http("GET", app.url + "/metrics", timeout=2).status == 200, "the listener after idle connections")


def curl_drives_health_and_metrics():
    def curl(app, path, *args):
        r = subprocess.run(["curl", "-sS", "-m", "10", *args, "-w", "\n%{http_code} %{content_type}", app.url + path],
                           capture_output=True, text=True)
        assert r.returncode == 0, r.stderr
        body, _, end = r.stdout.rpartition("\n")
        status, _, kind = end.partition(" ")
        return int(status), kind, json.loads(body) if kind == "application/json" and body else body

    def told(app, what, path, status):
        app.p.stdin.write(what)
        app.p.stdin.flush()
        return wait_for(lambda: (a := curl(app, path))[0] == status and a[2], f"{path} to answer {status}")

    def database(app):
        return curl(app, "/metrics")[2].split('health_check_status{check="database"} ')[1].split("\n")[0]

    with App() as app:
        wait_for(lambda: curl(app, "/health/ready")[0] == 200, "the first run of the check")
        status, kind, all_well = curl(app, "/health")
        assert (status, kind) == (200, "application/json") and all_well["status"] == "HEALTHY" and all_well["healthy"] == 2
        assert all_well["service"] == "scraped-app" and "checks" not in all_well and database(app) == "0"
        status, _, d = curl(app, "/health/detailed")
        assert status == 200 and d["ready"] is True and sorted(d["checks"]) == ["database", "disk"]
        assert d["checks"]["disk"]["message"] == '12 "GB" free' and d["checks"]["disk"]["liveness"] is True
        app.p.stdin.write(b"d")
        app.p.stdin.flush()
        wait_for(lambda: database(app) == "1", "the metric of the degraded database")
        assert curl(app, "/health")[0] == 200 and curl(app, "/health")[2]["status"] == "DEGRADED"
        assert told(app, b"u", "/health", 503)["unhealthy"] == 1 and database(app) == "2"
        assert curl(app, "/health/ready")[0] == 503 and curl(app, "/health/live")[0] == 200  # it is not liveness
        assert curl(app, "/health/detailed")[0] == 503
        told(app, b"h", "/health", 200)
        not_ready = told(app, b"n", "/health/ready", 503)
        assert not_ready["reason"] == "warming up" and curl(app, "/health/live")[0] == 200 and curl(app, "/health")[0] == 200
        told(app, b"r", "/health/ready", 200)
        status, kind, body = curl(app, "/metrics", "-H", "Accept: " + OPENMETRICS)
        assert status == 200 and kind.startswith("application/openmetrics-text; version=1.0.0") and body.endswith("# EOF\n")
        assert curl(app, "/health", "-I", "-o", "/dev/null")[0] == 200 and curl(app, "/health", "-X", "DELETE")[0] == 405
        assert curl(app, "/healthz")[0] == 404 and curl(app, "/health/")[0] == 404
    with App(APP_UNNAMED="1") as app:
        assert curl(app, "/health/detailed")[2]["service"].startswith("unknown_service:sdk_app")


def promtool_accepts_the_text():
    with App() as app:
        for accept in ("text/plain", OPENMETRICS):
            a = http("GET", app.url + "/metrics", headers={"Accept": accept})
            assert a.headers["Content-Type"].split(";")[0] == accept.split(";")[0]
            if accept == "text/plain":
                r = subprocess.run(["promtool", "check", "metrics"], input=a.body, capture_output=True)
                assert r.returncode == 0, r.stdout + r.stderr
            else:
                assert a.body.endswith(b"# EOF\n")
                assert b'# {trace_id="0102030405060708090a0b0c0d0e0f10",span_id="0000000000000009"}' in a.body


def prometheus(app, features, check):
    port, folder = free_port(), tempfile.mkdtemp(prefix="vane-sdk-prom-")
    try:
        config = pathlib.Path(folder) / "p.yml"
        config.write_text("global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
                          f"scrape_configs: [{{job_name: app, static_configs: [{{targets: ['127.0.0.1:{app.port}']}}]}}]\n")
        p = subprocess.Popen(["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
                              f"--web.listen-address=127.0.0.1:{port}", f"--enable-feature={features}"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def query(expr):
            a = http("GET", f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": expr})).json
            assert a["status"] == "success", a
            return [float(r["value"][1]) for r in a["data"]["result"]]

        try:
            wait_for(lambda: query("up") == [1.0] and query("app_requests_total"), "prometheus to scrape", 30)
            check(query, port)
        finally:
            p.kill()
            p.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def debians_prometheus_scrapes_openmetrics_with_exemplars():
    if not shutil.which("prometheus"):
        return

    def check(query, port):
        assert query("app_requests_total") == [42.0]
        assert query("app_temperature_celsius") == [-3.25]
        assert query('app_phase{app_phase="running"}') == [1.0]
        assert query("app_pool_connections") == [3.0]
        assert query("app_duration_seconds_count") == [1001.0]
        assert query('app_size_bytes_bucket{le="0.5"}') == [250.0]
        q = query("histogram_quantile(0.5, app_duration_seconds_bucket)")[0]
        assert 0.45 < q < 0.55, q
        ex = http("GET", f"http://127.0.0.1:{port}/api/v1/query_exemplars?" + urllib.parse.urlencode(
            {"query": "app_duration_seconds_bucket", "start": 0, "end": 9999999999})).json["data"]
        assert any(e["labels"]["trace_id"] == "0102030405060708090a0b0c0d0e0f10" for s in ex for e in s["exemplars"]), ex
        meta = http("GET", f"http://127.0.0.1:{port}/api/v1/metadata?metric=app_duration_seconds").json["data"]
        assert meta["app_duration_seconds"][0]["type"] == "histogram"

    with App() as app:
        prometheus(app, "exemplar-storage", check)


def debians_prometheus_scrapes_native_histograms():
    if not shutil.which("prometheus"):
        return

    def check(query, port):
        assert query("app_requests_total") == [42.0]
        assert query("histogram_count(app_duration_seconds)") == [1001.0]
        assert abs(query("histogram_sum(app_duration_seconds)")[0] - 500.5) < 1e-6
        q = query("histogram_quantile(0.9, app_duration_seconds)")[0]
        assert 0.86 < q < 0.94, q
        assert query("histogram_count(app_empty_seconds)") == [0.0]
        assert query("app_size_bytes_count") == [1000.0]

    with App() as app:
        prometheus(app, "native-histograms,exemplar-storage", check)


def vane_scrapes_native_histograms_and_the_classic_text():
    with App() as app:
        config = ("global: {scrape_interval: 1s}\nscrape_configs:\n"
                  f"- {{job_name: native, scrape_native_histograms: true, static_configs: [{{targets: ['127.0.0.1:{app.port}']}}]}}\n"
                  f"- {{job_name: text, scrape_protocols: [OpenMetricsText1.0.0], static_configs: [{{targets: ['127.0.0.1:{app.port}']}}]}}\n")
        with Vane(config=config) as v:
            wait_for(lambda: v.value('up{job="native"}') == 1 and v.value('up{job="text"}') == 1, "vane to scrape", 30)
            for job in ("native", "text"):
                wait_for(lambda: v.value(f'app_requests_total{{job="{job}"}}') == 42, "the counter")
                assert v.value(f'app_cpu_seconds_total{{job="{job}"}}') == 1.5
                assert v.value(f'target_info{{job="{job}",service_name="scraped-app"}}') == 1
            assert v.value('histogram_count(app_duration_seconds{job="native"})') == 1001
            q = v.value('histogram_quantile(0.9, app_duration_seconds{job="native"})')
            assert 0.86 < q < 0.94, q
            assert abs(v.value('histogram_sum(app_duration_seconds{job="native"})') - 500.5) < 1e-6
            assert abs(v.value('histogram_fraction(-11, 0, app_delta_seconds{job="native"})') - 10.5 / 21) < 0.03
            app.p.stdin.write(b"x" * 8)
            app.p.stdin.flush()
            wait_for(lambda: v.value('app_requests_total{job="native"}') == 50, "the counter to grow")
            ex = v.get("/api/v1/query_exemplars", query="app_duration_seconds", start=0, end=9999999999).json["data"]
            assert any(e["labels"]["trace_id"].startswith("0102") for s in ex for e in s["exemplars"]), ex


def the_black_box_tells_what_a_killed_process_had_counted():
    folder = tempfile.mkdtemp(prefix="vane-sdk-box-")
    try:
        with App(VANE_BLACKBOX_DIR=folder) as app:
            app.p.stdin.write(b"x" * 58)
            app.p.stdin.flush()
            wait_for(lambda: b"} 100\n" in http("GET", app.url + "/metrics").body, "the counts")
            r = subprocess.run([BINARY, "blackbox", folder], capture_output=True, text=True)
            assert r.returncode == 0 and ", running\n" in r.stdout, r.stdout + r.stderr
            app.p.kill()
            app.end = -9
        r = subprocess.run([BINARY, "blackbox", folder], capture_output=True, text=True)
        assert r.returncode == 0, r.stderr
        assert "# service scraped-app, instance " in r.stdout and ", died: " in r.stdout
        assert 'app_requests_total{method="GET",path="/caf\u00e9 \\"x\\"\\\\\\n"} 100\n' in r.stdout, r.stdout[:2000]
        assert "app_duration_seconds_count{method=\"GET\"} 1001\n" in r.stdout
        (pathlib.Path(folder) / "vane_1_1_0.vsm").write_bytes(b"nonsense" * 5000)
        r = subprocess.run([BINARY, "blackbox", folder], capture_output=True, text=True)
        assert r.returncode == 0 and "cannot be read: not a file of libvane" in r.stdout
        for bad in (folder + "/none", "/tmp"):
            r = subprocess.run([BINARY, "blackbox", bad], capture_output=True, text=True)
            assert r.returncode == 1 and "vane: " in r.stderr, r
    finally:
        shutil.rmtree(folder, ignore_errors=True)


run([the_black_box_tells_what_a_killed_process_had_counted, the_listener_answers_good_and_bad_requests,
     curl_drives_health_and_metrics, promtool_accepts_the_text, debians_prometheus_scrapes_openmetrics_with_exemplars,
     debians_prometheus_scrapes_native_histograms, vane_scrapes_native_histograms_and_the_classic_text])
