"""libvane pushes OTLP/HTTP and Zipkin: a Node.js receiver checks every field of every request; endpoints that are down, busy, slow or
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
    assert [e["name"] for e in serve["events"]] == ["cache miss", "odd", "exception"]
    assert attributes(serve["events"][1]) == {"k\ufffd": "1"}
    assert "1" in (attributes(serve).get("k"), attributes(serve).get("k\ufffd"))  # a name may also be cut there
    assert attributes(serve["events"][2])["exception.message"] == "gave up"
    assert serve["links"][0]["flags"] == 0x301 and serve["flags"] == 0x301 and child["flags"] == 0x101
    assert 0 <= int(serve["endTimeUnixNano"]) - int(serve["startTimeUnixNano"]) < 10**9
    assert abs(int(serve["endTimeUnixNano"]) / 1e9 - time.time()) < 60
    metrics = {m["name"]: m for sm in got[1]["message"]["resourceMetrics"][0]["scopeMetrics"] for m in sm["metrics"]}
    assert metrics["app_requests"]["sum"]["isMonotonic"] and metrics["app_requests"]["sum"]["dataPoints"][0]["asInt"] == "7"
    assert metrics["app_queue"]["sum"]["dataPoints"][0]["asInt"] == "-3"
    assert "gauge" in metrics["app_build_info"], sorted(metrics)
    h = metrics["app_size_bytes"]["histogram"]["dataPoints"][0]
    assert h["bucketCounts"] == ["3", "1", "2"] and h["explicitBounds"] == [0.1, 1] and h["count"] == "6"
    e = metrics["app_seconds"]["exponentialHistogram"]["dataPoints"][0]
    base = 2 ** 2 ** -e["scale"]
    counts = {e["positive"]["offset"] + i: int(n) for i, n in enumerate(e["positive"]["bucketCounts"]) if n != "0"}
    for value, n in ((0.05, 1), (0.5, 1), (2, 2)):
        assert any(base**i < value <= base**(i + 1) * 1.0000001 and have == n for i, have in counts.items()), (value, counts)
    assert e["zeroCount"] == "1" and sum(map(int, e["negative"]["bucketCounts"])) == 1


def lines_of(requests):
    return [l for r in requests if r["url"] == "/v1/logs" for rl in r["message"]["resourceLogs"]
            for sl in rl["scopeLogs"] for l in sl["logRecords"]]


def every_field_of_a_log_line_arrives():
    with Receiver("200") as r:
        self = app(8, 10000, "logs", OTEL_EXPORTER_OTLP_ENDPOINT=r.url, OTEL_LOGS_EXPORTER="otlp", OTEL_SERVICE_NAME="shop",
                   OTEL_METRICS_EXPORTER="none")
        got = r.requests()
    assert self["flush"] == 0 and self["logs_dropped"] == self["events_dropped"] == self["failed"] == 0, self
    body = next(g for g in got if g["url"] == "/v1/logs")
    assert body["headers"]["content-type"] == "application/x-protobuf" and body["headers"]["content-encoding"] == "gzip"
    rl = body["message"]["resourceLogs"][0]
    assert attributes(rl["resource"])["service.name"] == "shop" and rl["scopeLogs"][0]["scope"]["name"] == "libvane"
    span = next(s for s in spans_of(got) if s["name"] == "work")
    lines = lines_of(got)
    assert [(l["severityNumber"], l["severityText"], l["body"]["stringValue"]) for l in lines] == [
        (9, "INFO", "café \ufffd"), (17, "ERROR", "error"), (21, "CRITICAL", "critical"),
        (13, "WARN", "ada delete order/7: denied"), (9, "INFO", "feature.used"), (13, "WARN", "outside"),
        (9, "INFO", "plain"), (9, "INFO", "plain")], lines
    for l in lines:
        inside = l["body"]["stringValue"] != "outside"
        assert (l.get("traceId"), l.get("spanId")) == ((span["traceId"], span["spanId"]) if inside else (None, None)), l
        assert l.get("flags") == (1 if inside else None), l
        assert abs(int(l["timeUnixNano"]) / 1e9 - time.time()) < 60 and int(l["observedTimeUnixNano"]) >= int(l["timeUnixNano"])
        assert attributes(l)["correlation_id"] == "c-1"
    a = attributes(lines[0])
    assert a["int"] == "-7" and a["f64"] == 0.25 and a["bool"] is True and a["bytes"] == "0102" and a["password"] == "[redacted]"
    assert a["nan"] in (None, "NaN") and a["user_id"] == "u-1" and a["code.file.path"].endswith("push_app.c")
    assert int(a["code.line.number"]) > 0
    audit, event = attributes(lines[3]), attributes(lines[4])
    assert audit["log.kind"] == "audit" and audit["audit.actor"] == "ada" and audit["audit.action"] == "delete"
    assert audit["audit.object"] == "order/7" and audit["audit.outcome"] == "denied" and audit["client.address"] == "192.0.2.1"
    assert lines[4]["eventName"] == "feature.used" and event["feature"] == "export" and event["user_id"] == "u-2"
    assert "event.name" not in event and not any("eventName" in l for l in lines if l is not lines[4])


def lines_go_in_batches_and_only_where_they_are_wanted():
    with Receiver("200") as r:
        self = app(1500, 20000, "logs", OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=r.url + "/v1/logs", VANE_LOG_SINKS="otlp",
                   OTEL_BSP_MAX_EXPORT_BATCH_SIZE="100", OTEL_EXPORTER_OTLP_COMPRESSION="none")
        got = r.requests()
    assert self["flush"] == 0 and self["logs_dropped"] + len(lines_of(got)) == 1500 and len(lines_of(got)) >= 500, self
    assert all(len(lines_of([g])) <= 100 for g in got) and "plain" not in self["told"]
    with Receiver("200") as r:  # an endpoint for everything does not carry the lines away from stderr unasked
        self = app(6, 10000, "logs", OTEL_EXPORTER_OTLP_ENDPOINT=r.url, OTEL_METRICS_EXPORTER="none")
        got = r.requests()
    assert not lines_of(got) and spans_of(got) and '"message":"outside"' in self["told"]
    with Receiver("200") as r:  # and a list of exporters keeps spans from it
        self = app(6, 10000, "logs", OTEL_EXPORTER_OTLP_ENDPOINT=r.url, OTEL_METRICS_EXPORTER="none",
                   OTEL_TRACES_EXPORTER="console", OTEL_LOGS_EXPORTER="console, otlp")
        got = r.requests()
    assert len(lines_of(got)) == 6 and not spans_of(got) and self["dropped"] == 0, self


def each_signal_has_settings_of_its_own():
    with Receiver("200") as r, Receiver("200") as other:
        self = app(6, 10000, "logs", OTEL_EXPORTER_OTLP_ENDPOINT=r.url, OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=other.url + "/v1/logs",
                   OTEL_EXPORTER_OTLP_HEADERS="x-key=general", OTEL_EXPORTER_OTLP_LOGS_HEADERS="x-key=lines,x-more=1",
                   OTEL_EXPORTER_OTLP_TRACES_COMPRESSION="none", OTEL_EXPORTER_OTLP_METRICS_HEADERS="authorization=Basic%20abc")
        got, lines = r.requests(), other.requests()
    by = {g["url"]: g["headers"] for g in got + lines}
    assert self["flush"] == 0 and all(g["url"] == "/v1/logs" for g in lines) and len(lines_of(lines)) == 6
    assert by["/v1/traces"]["x-key"] == "general" and "content-encoding" not in by["/v1/traces"]
    assert by["/v1/metrics"]["authorization"] == "Basic abc" and "x-key" not in by["/v1/metrics"]
    assert by["/v1/metrics"]["content-encoding"] == "gzip"
    assert by["/v1/logs"]["x-key"] == "lines" and by["/v1/logs"]["x-more"] == "1"
    with Receiver("hang") as r:  # a tenth of a second for spans, ten for the rest
        self = app(2, 4000, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=r.url + "/v1/traces", OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="100")
    assert self["retries"] >= 2, self


def lines_for_an_endpoint_that_fails_are_counted():
    logs = {"VANE_LOG_SINKS": "otlp", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
    down = app(6, 300, "logs", OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"http://127.0.0.1:{free_port()}/v1/logs", **logs)
    assert down["flush"] != 0 and down["retries"] >= 1 and down["ok"] == 0 and down["seconds"] < 5, down
    with Receiver("hang") as r:
        slow = app(6, 300, "logs", OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=r.url + "/v1/logs", **logs)
    assert slow["flush"] != 0 and slow["ok"] == 0 and slow["seconds"] < 5, slow
    with Receiver("garbage") as r:
        mad = app(6, 5000, "logs", OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=r.url + "/v1/logs", **logs)
    assert mad["failed"] == 1 and mad["logs_dropped"] == 6 and mad["ok"] == 0 and "push of logs" in mad["told"], mad
    with Receiver("404") as r:
        no = app(6, 5000, "logs", OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=r.url + "/v1/logs", **logs)
    assert no["logs_dropped"] == 6 and "it answered 404; 6 are dropped" in no["told"], no
    with Receiver("503+1,partial") as r:
        busy = app(6, 15000, "logs", OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=r.url + "/v1/logs", **logs)
    assert busy["retries"] == 1 and busy["rejected"] == 2 and busy["logs_dropped"] == 0, busy


def a_child_of_fork_pushes_its_own_lines():
    with Receiver("200") as r:
        self = app(7, 10000, "fork", "logs", OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=r.url + "/v1/logs", OTEL_METRICS_EXPORTER="none")
        got = r.requests()
    assert self["flush"] == 0 and len(lines_of(got)) == 7, self


def zipkin_takes_the_spans():
    with Receiver("202") as r:
        self = app(3, 10000, OTEL_EXPORTER_ZIPKIN_ENDPOINT=r.url + "/api/v2/spans", OTEL_TRACES_EXPORTER="zipkin",
                   OTEL_EXPORTER_OTLP_HEADERS="x-key=secret", OTEL_SERVICE_NAME="shop",
                   OTEL_RESOURCE_ATTRIBUTES="service.namespace=eu,text=hidden", OTEL_METRICS_EXPORTER="none")
        got = r.requests()
    assert self["flush"] == 0 and self["ok"] == 1 and self["dropped"] == self["rejected"] == 0, self
    h = got[0]["headers"]
    assert h["content-type"] == "application/json" and "content-encoding" not in h and "x-key" not in h
    child, _, serve = got[0]["message"]
    assert (child["name"], serve["name"]) == ("child", "serve") and child["parentId"] == serve["id"]
    assert serve["kind"] == "SERVER" and "kind" not in child and serve["parentId"] == "0400000000000000"
    assert serve["traceId"] == child["traceId"] == "010203" + "0" * 26 and serve["localEndpoint"] == {"serviceName": "shop"}
    assert "annotations" not in child and abs(serve["timestamp"] / 1e6 - time.time()) < 60
    t = serve["tags"]
    assert t["text"] == "café" and t["bad"] == "a\ufffd\ufffd" and t["int"] == "-7" and t["f64"] == "0.25" and t["bool"] == "true"
    assert t["bytes"] == "AQI=" and t["otel.status_code"] == "ERROR" and t["error"] == "declined"
    assert t["otel.scope.name"] == "libvane" and t["otel.scope.version"] and t["service.namespace"] == "eu"
    assert "error" not in child["tags"] and "otel.status_code" not in child["tags"] and child["tags"]["i"] == "1"
    first, odd, second = serve["annotations"]
    assert odd["value"] == '"odd": { "k\ufffd": 1 }', odd
    assert first["value"] == '"cache miss": { "n": 1 }', first
    assert json.loads("{" + second["value"] + "}")["exception"]["exception.message"] == "gave up"
    assert serve["timestamp"] <= first["timestamp"] <= second["timestamp"] <= serve["timestamp"] + serve["duration"]


def zipkin_and_otlp_take_the_same_spans():
    with Receiver("200") as r:
        self = app(1200, 10000, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=r.url + "/v1/traces", ZIPKIN_ENDPOINT=r.url + "/api/v2/spans")
        got = r.requests()
    ids = {s["spanId"] for s in spans_of(got)}
    assert len(ids) == 1200 and ids == {s["id"] for g in got if g["url"] == "/api/v2/spans" for s in g["message"]}, self
    down = app(2, 300, ZIPKIN_ENDPOINT=f"http://127.0.0.1:{free_port()}/api/v2/spans")
    assert down["flush"] != 0 and down["retries"] >= 1 and "traces (Zipkin)" in down["told"] and down["seconds"] < 5, down
    with Receiver("400") as r:
        refused = app(2, 5000, ZIPKIN_ENDPOINT=r.url + "/api/v2/spans")
    assert refused["dropped"] == 2 and refused["failed"] == 1, refused


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


run([every_field_arrives, every_field_of_a_log_line_arrives, lines_go_in_batches_and_only_where_they_are_wanted,
     each_signal_has_settings_of_its_own, lines_for_an_endpoint_that_fails_are_counted, a_child_of_fork_pushes_its_own_lines,
     zipkin_takes_the_spans, zipkin_and_otlp_take_the_same_spans, many_spans_go_in_batches, a_busy_receiver_is_asked_again, a_refusal_is_counted,
     endpoints_that_are_down_slow_or_mad_do_not_hold_the_host, a_child_of_fork_pushes_its_own, vane_takes_the_metrics])
