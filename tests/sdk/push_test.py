"""libvane pushes OTLP/HTTP: a Node.js receiver checks every field of every request; endpoints that are down, busy, slow or
answer garbage lose nothing silently; vane itself takes the metrics; a child of fork pushes what is its own."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

E2E = pathlib.Path(os.environ["VANE_SOURCE"]) / "tests/e2e"
sys.path.insert(0, str(E2E))
from vane_e2e import Skip, Vane, free_port, http, run, wait_for  # noqa: E402

APP = sys.argv[1]
CLIENTS = pathlib.Path(os.environ.get("VANE_E2E_CLIENTS", E2E / "clients"))


class Receiver:
    def __init__(self, replies):
        self.replies = replies

    def __enter__(self):
        if not shutil.which("node") or not (CLIENTS / "node_modules/protobufjs").exists():
            raise Skip("needs node and npm ci in tests/e2e/clients")
        self.p = subprocess.Popen(["node", str(CLIENTS / "otlp_receiver.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True, env={**os.environ, "REPLIES": self.replies})
        self.url = f"http://127.0.0.1:{int(self.p.stdout.readline())}"
        return self

    def __exit__(self, *_):
        self.p.kill()
        self.p.wait()
        self.p.stdout.close()
        self.p.stdin.close()

    def requests(self):
        """Ends the receiver; what it was sent, each request valid."""
        self.p.stdin.close()
        got = [json.loads(line) for line in self.p.stdout]
        for g in got:
            assert "error" not in g, g
        return got


def app(*args, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")}
    t = time.monotonic()
    r = subprocess.run([APP, *map(str, args)], capture_output=True, text=True, timeout=60, env={**clean, **env})
    assert r.returncode == 0, (r.returncode, r.stderr)
    self = json.loads(r.stdout)
    self.update(seconds=time.monotonic() - t, told=r.stderr)
    return self


def attributes(thing):
    return {a["key"]: next(iter(a["value"].values()), "") for a in thing.get("attributes", [])}


def spans_of(requests):
    return [s for r in requests if r["url"] == "/v1/traces" for rs in r["message"]["resourceSpans"]
            for ss in rs["scopeSpans"] for s in ss["spans"]]


def every_field_arrives():
    with Receiver("200") as r:
        self = app(3, 10000, OTEL_EXPORTER_OTLP_ENDPOINT=r.url + "/", OTEL_SERVICE_NAME="shop",
                   OTEL_EXPORTER_OTLP_HEADERS="x-key=a%20b,bad")
        got = r.requests()
    assert self["flush"] == 0 and self["ok"] == 2 and self["failed"] == self["dropped"] == 0, self
    assert [g["url"] for g in got[:2]] == ["/v1/traces", "/v1/metrics"], got  # the stop collects once more, if there is time
    for g in got:
        assert g["headers"]["x-key"] == "a b" and g["headers"]["content-encoding"] == "gzip"
    resource = attributes(got[0]["message"]["resourceSpans"][0]["resource"])
    assert resource["service.name"] == "shop" and len(resource["service.instance.id"]) == 36
    spans = spans_of(got)
    assert [s["name"] for s in spans] == ["child", "child", "serve"]
    serve = spans[2]
    child = spans[0]
    assert child["parentSpanId"] == serve["spanId"] and child["traceId"] == serve["traceId"]
    assert serve["kind"] == 2 and serve["status"] == {"message": "declined", "code": 2} and serve["traceState"] == "a=1"
    a = attributes(serve)
    assert a["text"] == "café" and a["bad"] == "a\ufffd\ufffd" and a["int"] == "-7" and a["f64"] == 0.25 and a["bool"] is True
    assert [e["name"] for e in serve["events"]] == ["cache miss", "exception"]
    assert attributes(serve["events"][1])["exception.message"] == "gave up"
    assert serve["links"][0]["flags"] == 0x301 and serve["flags"] == 0x301 and child["flags"] == 0x101
    assert 0 <= int(serve["endTimeUnixNano"]) - int(serve["startTimeUnixNano"]) < 10**9
    assert abs(int(serve["endTimeUnixNano"]) / 1e9 - time.time()) < 60
    metrics = {m["name"]: m for sm in got[1]["message"]["resourceMetrics"][0]["scopeMetrics"] for m in sm["metrics"]}
    assert metrics["app_requests"]["sum"]["isMonotonic"] and metrics["app_requests"]["sum"]["dataPoints"][0]["asInt"] == "7"
    assert metrics["app_queue"]["sum"]["dataPoints"][0]["asInt"] == "-3"
    h = metrics["app_size_bytes"]["histogram"]["dataPoints"][0]
    assert h["bucketCounts"] == ["3", "1", "2"] and h["explicitBounds"] == [0.1, 1] and h["count"] == "6"
    e = metrics["app_seconds"]["exponentialHistogram"]["dataPoints"][0]
    base = 2 ** 2 ** -e["scale"]
    counts = {e["positive"]["offset"] + i: int(n) for i, n in enumerate(e["positive"]["bucketCounts"]) if n != "0"}
    for value, n in ((0.05, 1), (0.5, 1), (2, 2)):
        assert any(base**i < value <= base**(i + 1) * 1.0000001 and have == n for i, have in counts.items()), (value, counts)
    assert e["zeroCount"] == "1" and sum(map(int, e["negative"]["bucketCounts"])) == 1


def many_spans_go_in_batches():
    with Receiver("200") as r:
        self = app(1500, 10000, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=r.url + "/v1/traces", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="400",
                   OTEL_EXPORTER_OTLP_COMPRESSION="none")
        got = r.requests()
    assert self["dropped"] == 0 and len(spans_of(got)) == 1500
    assert all("content-encoding" not in g["headers"] and g["url"] == "/v1/traces" for g in got)
    assert all(len(spans_of([g])) <= 400 for g in got)


def a_busy_receiver_is_asked_again():
    with Receiver("503+1,429,200") as r:
        self = app(2, 15000, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=r.url + "/v1/traces")
        got = r.requests()
    assert self["flush"] == 0 and self["retries"] == 2 and self["ok"] == 1 and self["dropped"] == 0, self
    assert [g["reply"] for g in got] == ["503+1", "429", "200"] and len(spans_of(got[-1:])) == 2
    assert self["seconds"] >= 1.5, self  # Retry-After, then half a second at least


def a_refusal_is_counted():
    with Receiver("400") as r:
        self = app(2, 5000, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=r.url + "/v1/traces")
    assert self["failed"] == 1 and self["dropped"] == 2 and self["retries"] == 0 and "it answered 400" in self["told"], self
    with Receiver("partial") as r:
        self = app(5, 5000, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=r.url + "/v1/traces")
    assert self["ok"] == 1 and self["rejected"] == 2, self


def endpoints_that_are_down_slow_or_mad_do_not_hold_the_host():
    down = app(2, 300, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"http://127.0.0.1:{free_port()}/v1/traces")
    assert down["flush"] != 0 and down["retries"] == 1 and down["ok"] == 0 and down["seconds"] < 5, down
    with Receiver("hang") as r:
        slow = app(2, 300, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=r.url + "/v1/traces")
    assert slow["flush"] != 0 and slow["ok"] == 0 and slow["seconds"] < 5, slow
    with Receiver("garbage") as r:
        mad = app(2, 3000, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=r.url + "/v1/traces")
    assert mad["failed"] == 1 and mad["dropped"] == 2 and mad["ok"] == 0 and "are dropped" in mad["told"], mad


def a_child_of_fork_pushes_its_own():
    with Receiver("200") as r:
        self = app(3, 10000, "fork", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=r.url + "/v1/traces")
        got = r.requests()
    assert self["flush"] == 0 and len(spans_of(got)) == 3, self


def vane_takes_the_metrics():
    with Vane() as v:
        self = app(1, 10000, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=v.otlp_url + "/v1/metrics", OTEL_TRACES_EXPORTER="none")
        assert self["ok"] == 1 and self["rejected"] == 0, self


run([every_field_arrives, many_spans_go_in_batches, a_busy_receiver_is_asked_again, a_refusal_is_counted,
     endpoints_that_are_down_slow_or_mad_do_not_hold_the_host, a_child_of_fork_pushes_its_own, vane_takes_the_metrics])
