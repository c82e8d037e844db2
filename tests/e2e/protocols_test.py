"""The other doors for metrics: import of text, pushed groups ... in and out, with the real program."""
import base64
import json
import shutil
import json
import socket
import struct
import time
from urllib.parse import urlencode

from vane_e2e import STALE, Vane, background, field, free_port, http, run, snappy, varint, wait_for

now = int(time.time() * 1000)
TEXT = {"Content-Type": "text/plain; version=0.0.4"}


def post(v, path, body, headers=None, method="POST"):
    return http(method, v.url + path, body if isinstance(body, bytes) else body.encode(), headers or {})


def import_of_text():
    with Vane() as v:
        body = "# HELP imp_total Things.\n# TYPE imp_total counter\n" + "".join(
            f'imp_total{{a="1"}} {i} {now - 60000 + i * 1000}\n' for i in range(60))
        # curl's default content type is taken as text
        a = post(v, "/api/v1/import/prometheus?extra_label=job=batch&extra_label=env=test", body,
                 {"Content-Type": "application/x-www-form-urlencoded"})
        assert a.status == 204, (a.status, a.body)
        assert v.value('imp_total{job="batch",env="test",a="1"}', (now - 30000) / 1000) == 30
        assert v.value('count_over_time(imp_total[2m])', now / 1000) == 60
        meta = v.get("/api/v1/metadata", metric="imp_total").json["data"]
        assert meta["imp_total"][0]["type"] == "counter", meta
        om = b'# TYPE req counter\nreq_total 5 # {trace_id="abc"} 1\nreq_created 1600000000\n# EOF\n'
        a = post(v, "/api/v1/import/prometheus", om, {"Content-Type": "application/openmetrics-text; version=1.0.0"})
        assert a.status == 204, (a.status, a.body)
        assert v.value("req_total") == 5
        a = post(v, "/api/v1/import/prometheus", "x 1\ny{ 2\n", TEXT)
        assert a.status == 400 and b"line 2" in a.body, a.body
        assert v.value("x") is None
        assert post(v, "/api/v1/import/prometheus?extra_label=x", "x 1\n").status == 400
        a = post(v, "/api/v1/import/prometheus", f"new 1\nold 1 {now - 40 * 86400000}\n")
        assert a.status == 400 and v.value("new") == 1, a.body
        assert post(v, "/api/v1/import/prometheus", "x", {"Content-Type": "application/vnd.google.protobuf"}).status == 415


def pushed_groups_stay_until_they_are_deleted():
    with Vane(args=[]) as v:
        # honor_labels: the group's labels win, nothing is added
        a = post(v, "/metrics/job/backup/instance/db1", '# TYPE backup_seconds gauge\nbackup_seconds{job="own",part="a"} 5\nbackup_bytes 7\n',
                 TEXT, "PUT")
        assert a.status == 200, (a.status, a.body)
        assert v.value('backup_seconds{job="backup",instance="db1",part="a"}') == 5
        assert abs(v.value('push_time_seconds{job="backup",instance="db1"}') - time.time()) < 60
        assert v.value('push_failure_time_seconds{job="backup",instance="db1"}') == 0
        # POST replaces families of the same name, PUT the whole group
        assert post(v, "/metrics/job/backup/instance/db1", 'backup_seconds{part="b"} 6\n').status == 200
        assert [r["metric"]["part"] for r in v.query("backup_seconds")] == ["b"]
        assert v.value("backup_bytes") == 7
        assert post(v, "/metrics/job/backup/instance/db1", "backup_bytes 8\n", method="PUT").status == 200
        assert v.query("backup_seconds") == [] and v.value("backup_bytes") == 8
        path = base64.urlsafe_b64encode(b"/var/tmp").decode().rstrip("=")
        assert post(v, f"/metrics/job/clean/path@base64/{path}", "cleaned 1\n", method="PUT").status == 200
        assert v.value('cleaned{job="clean",path="/var/tmp"}') == 1
        job64 = base64.urlsafe_b64encode(b"a/b").decode()
        assert post(v, f"/metrics/job@base64/{job64}", "slash 1\n", method="PUT").status == 200
        assert v.value('slash{job="a/b"}') == 1
        # protobuf, as Go's client pushes: one counter family, delimited
        family = field(1, b"go_pushed_total") + field(4, field(3, b"\x09" + struct.pack("<d", 42)))
        a = post(v, "/metrics/job/go", varint(len(family)) + family,
                 {"Content-Type": "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"}, "PUT")
        assert a.status == 200, a.body
        assert v.value('go_pushed_total{job="go"}') == 42
        # refusals
        a = post(v, "/metrics/job/backup/instance/db1", "backup_bytes 9 1700000000000\n")
        assert a.status == 400 and b"timestamp" in a.body, a.body
        assert v.value("backup_bytes") == 8
        assert v.value('push_failure_time_seconds{job="backup",instance="db1"}') > 0
        assert post(v, "/metrics/job/", "x 1\n").status == 400
        assert post(v, "/metrics/job/a/b", "x 1\n").status == 400
        assert http("GET", v.url + "/metrics/job/backup").status == 405
        # a restart, kill -9 even, keeps the groups: they are written again at once
        before = v.query("timestamp(backup_bytes)")[0]["value"][1]
        v.kill()
        v.start()
        wait_for(lambda: float(v.query("timestamp(backup_bytes)")[0]["value"][1]) > float(before), "the group after the restart")
        assert v.value("backup_bytes") == 8
        # DELETE ends the series at once; a second one is fine
        for _ in range(2):
            assert http("DELETE", v.url + "/metrics/job/backup/instance/db1").status == 202
        assert v.query("backup_bytes") == [] and v.query('push_time_seconds{job="backup"}') == []
        assert v.value("cleaned") == 1
        assert v.value("count_over_time(backup_bytes[1m])") > 0  # history stays


def pushed_groups_are_written_every_interval():
    with Vane() as v:
        v.stop()
        v.config = v.folder / "vane.yaml"
        v.config.write_text("pushed_groups: {interval: 1s}\n")
        v.start()
        assert post(v, "/metrics/job/j", "x 1\n").status == 200
        wait_for(lambda: (v.value("count_over_time(x[1m])") or 0) >= 3, "three rounds")
        v.stop()
        v.config.write_text("pushed_groups: false\n")
        v.start()
        assert post(v, "/metrics/job/j", "x 1\n").status == 404


def federation_into_another_vane():
    with Vane("global: {external_labels: {region: eu}}\n") as v:
        t = int(time.time() * 1000)
        v.write([({"__name__": "fed_total", "job": "a", "instance": "i1"}, [(t - 1000, 5)]),
                 ({"__name__": "fed_total", "job": "b"}, [(t - 2000, 6)]),
                 ({"__name__": "gone", "job": "b"}, [(t - 2000, 6), (t - 1000, STALE)]),
                 ({"__name__": "old", "job": "b"}, [(t - 400000, 6)])])
        a = http("GET", v.url + "/federate?match[]=fed_total&match[]=gone&match[]=old")
        assert a.status == 200 and a.body.decode() == (
            "# TYPE fed_total untyped\n"
            f'fed_total{{instance="i1",job="a",region="eu"}} 5 {t - 1000}\n'
            f'fed_total{{job="b",region="eu",instance=""}} 6 {t - 2000}\n'), a.body
        config = f"""
scrape_configs:
  - job_name: federate
    scrape_interval: 1s
    honor_labels: true
    metrics_path: /federate
    params: {{'match[]': ['{{__name__=~"fed.*"}}']}}
    static_configs: [{{targets: ['127.0.0.1:{v.port}']}}]
"""
        with Vane(config) as w:
            wait_for(lambda: w.value('fed_total{instance="i1",job="a",region="eu"}') == 5, "the federated series")
            assert w.value('fed_total{instance="",job="b",region="eu"}') == 6
            assert w.query("timestamp(fed_total)")[0]["value"][1].startswith(str((t - 1000) / 1000)[:10])


# -- remote read
def read_request(start, end, matchers, types=()):
    m = b"".join(field(3, b"\x08" + varint(kind) + field(2, n.encode()) + field(3, x.encode())) for kind, n, x in matchers)
    body = field(1, b"\x08" + varint(start) + b"\x10" + varint(end) + m)
    return snappy(body + (field(2, bytes(types)) if types else b""))


def read_varint(b, at):
    shift = value = 0
    while True:
        value |= (b[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not b[at - 1] & 0x80:
            return value, at


def fields(b):
    at = 0
    while at < len(b):
        key, at = read_varint(b, at)
        if key & 7 == 0:
            value, at = read_varint(b, at)
        elif key & 7 == 1:
            value, at = b[at:at + 8], at + 8
        else:
            n, at = read_varint(b, at)
            value, at = b[at:at + n], at + n
        yield key >> 3, value


class Bits:
    def __init__(self, data):
        self.value, self.left = int.from_bytes(data, "big"), len(data) * 8

    def take(self, n):
        self.left -= n
        return self.value >> self.left & (1 << n) - 1

    def uvarint(self):
        value = shift = 0
        while True:
            b = self.take(8)
            value |= (b & 0x7F) << shift
            shift += 7
            if not b & 0x80:
                return value


def xor_chunk(data):
    bits = Bits(data)
    n = bits.take(16)
    out, delta, lead, size = [], 0, 0, 0
    for i in range(n):
        if i == 0:
            z = bits.uvarint()
            t, u = (z >> 1) ^ -(z & 1), bits.take(64)
        else:
            if i == 1:
                delta = bits.uvarint()
            else:
                k = 0
                while k < 4 and bits.take(1):
                    k += 1
                width = (0, 14, 17, 20, 64)[k]
                dod = bits.take(width) if width else 0
                delta += dod - (1 << width) if width and dod > 1 << width - 1 else dod
            t += delta
            if bits.take(1):
                if bits.take(1):
                    lead, size = bits.take(5), bits.take(6) or 64
                u ^= bits.take(size) << 64 - lead - size
        out.append((t, struct.unpack("<d", struct.pack("<Q", u))[0]))
    return out


def remote_read_streams_chunks():
    with Vane("global: {external_labels: {region: eu}}\n") as v:
        t = int(time.time() * 1000) - 3600000
        data = {str(i): [(t + k * 1000, i * 1000 + k / 8) for k in range(500)] for i in range(20)}
        assert v.write([({"__name__": "rr", "i": i}, x) for i, x in data.items()]).status == 204
        matchers = [(0, "__name__", "rr"), (0, "region", "eu"), (3, "i", "1.")]
        a = http("POST", v.url + "/api/v1/read", read_request(t, t + 400000, matchers, (1, 0)),
                 {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"})
        assert a.status == 200, a.body
        assert a.headers["Content-Type"] == "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
        got, at = {}, 0
        while at < len(a.body):
            n, at = read_varint(a.body, at)
            message, at = a.body[at + 4:at + 4 + n], at + 4 + n
            for number, series in fields(message):
                if number != 1:
                    continue
                labels, samples = {}, []
                for f, x in fields(series):
                    if f == 1:
                        pair = dict(fields(x))
                        labels[pair[1].decode()] = pair[2].decode()
                    else:
                        chunk = dict(fields(x))
                        assert chunk[3] == 1
                        part = xor_chunk(chunk[4])
                        assert chunk[1] == part[0][0] and chunk[2] == part[-1][0]
                        samples += part
                assert labels["region"] == "eu" and labels["__name__"] == "rr"
                got.setdefault(labels["i"], []).extend(samples)
        want = {i: x[:401] for i, x in data.items() if not i.startswith("1") or len(i) == 1}
        assert got == want, (sorted(got), sorted(want))
        assert http("POST", v.url + "/api/v1/read", b"junk", {"Content-Encoding": "snappy"}).status == 400
        assert http("POST", v.url + "/api/v1/read", read_request(0, 1, [(2, "a", "(")])).status == 400


def debians_prometheus_reads_through_us():
    if not shutil.which("prometheus"):
        print("# no prometheus here")
        return
    with Vane() as v:
        t = int(time.time() * 1000) - 600000
        series = [({"__name__": "read_me_total", "i": str(i)}, [(t + k * 15000, k * (i + 1)) for k in range(41)]) for i in range(50)]
        assert v.write(series).status == 204
        v.write([({"__name__": "stale_one"}, [(t, 1), (t + 15000, STALE)])])
        port = free_port()
        d = v.folder
        (d / "reader.yml").write_text(f"remote_read: [{{url: '{v.url}/api/v1/read', read_recent: true}}]\n")
        with background(["prometheus", f"--config.file={d}/reader.yml", f"--storage.tsdb.path={d}/reader",
                         f"--web.listen-address=127.0.0.1:{port}"], d / "reader.log"):
            url = f"http://127.0.0.1:{port}"
            wait_for(lambda: http("GET", url + "/-/ready").status == 200, "prometheus")
            for expr in ("sum(rate(read_me_total[299s]))", 'read_me_total{i=~"1.|7"}', "count_over_time(stale_one[601s])", "stale_one",
                         "topk(3, read_me_total)", "label_replace(read_me_total, 'x', '$1', 'i', '(.)')"):
                q = urlencode({"query": expr, "start": t / 1000, "end": (t + 600000) / 1000, "step": 30})
                theirs = http("GET", f"{url}/api/v1/query_range?{q}").json["data"]["result"]
                ours = http("GET", f"{v.url}/api/v1/query_range?{q}").json["data"]["result"]
                key = lambda r: json.dumps(r["metric"], sort_keys=True)
                assert theirs, expr
                same = lambda x, y: x[0] == y[0] and abs(float(x[1]) - float(y[1])) <= 1e-12 * abs(float(y[1]))
                for x, y in zip(sorted(ours, key=key), sorted(theirs, key=key), strict=True):
                    assert x["metric"] == y["metric"] and len(x["values"]) == len(y["values"]), (expr, x["metric"], y["metric"])
                    assert all(map(same, x["values"], y["values"])), expr


def influx_lines():
    with Vane() as v:
        body = f"cpu,host=a usage_idle=98.5,usage_user=1i {now}000000\ntemperature,room=b value=21.5\n"
        assert post(v, "/write?db=tele", body).status == 204
        assert v.value('cpu_usage_idle{host="a",db="tele"}', now / 1000) == 98.5
        assert v.value('temperature{room="b"}') == 21.5
        a = post(v, "/api/v2/write?org=o&bucket=b&precision=s", f"good value=1 {now // 1000}\nbad\n")
        assert a.status == 400 and "line 2" in a.json["message"], a.body
        assert v.value("good", now / 1000) == 1


def graphite_and_statsd_listeners():
    graphite, statsd = free_port(), free_port()
    with Vane() as v:
        v.stop()
        v.config = v.folder / "vane.yaml"
        v.config.write_text(f"compat_listeners: {{graphite: '127.0.0.1:{graphite}', statsd: '127.0.0.1:{statsd}', statsd_flush: 1s}}\n")
        v.start()
        with socket.create_connection(("127.0.0.1", graphite)) as s:
            s.sendall(f"servers.web1.load;dc=x 1.5 {now // 1000}\nnot a line at all\n".encode())
            wait_for(lambda: v.value('servers_web1_load{dc="x"}', now / 1000) == 1.5, "the Graphite line")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect(("127.0.0.1", statsd))
            for _ in range(100):
                s.send(b"api.hits:1|c|#env:prod\napi.time:250|ms|#env:prod")
            s.send(b"queue:7|g")
            s.send(b"rubbish")
        wait_for(lambda: v.value('api_hits{env="prod"}') == 100, "the counter")
        assert v.value("queue") == 7
        assert v.value("histogram_count(api_time)") == 100
        assert abs(v.value("histogram_quantile(0.5, api_time)") - 0.25) < 0.03
        own = http("GET", v.url + "/metrics").body.decode()
        assert 'vane_graphite_lines_total{result="malformed"} 1' in own
        assert 'vane_statsd_lines_total{result="malformed"} 1' in own
        assert "vane_statsd_packets_dropped_total 0" in own


def otlp_section_of_the_configuration():
    """Promoted attributes, translation and scopes as prometheus.yml says; another reload, other names."""
    def send(v):
        point = {"asInt": "3", "timeUnixNano": str(time.time_ns())}
        body = {"resourceMetrics": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "s"}},
                                        {"key": "cloud.region", "value": {"stringValue": "eu"}}]},
            "scopeMetrics": [{"scope": {"name": "lib"}, "metrics": [{"name": "my.gauge", "unit": "By", "gauge": {"dataPoints": [point]}}]}]}]}
        a = http("POST", v.otlp_url + "/v1/metrics", json.dumps(body).encode(), {"Content-Type": "application/json"})
        assert a.status == 200, a.body

    with Vane("otlp: {promote_resource_attributes: [cloud.region], promote_scope_metadata: false}\n") as v:
        send(v)
        assert v.query('my_gauge_bytes{cloud_region="eu",otel_scope_name=""}')
        v.config.write_text("otlp: {translation_strategy: NoTranslation}\n")
        assert http("POST", v.url + "/-/reload").status == 200
        send(v)
        assert v.query('{"my.gauge","otel_scope_name"="lib"}')


run([otlp_section_of_the_configuration, import_of_text, pushed_groups_stay_until_they_are_deleted, pushed_groups_are_written_every_interval,
     federation_into_another_vane, remote_read_streams_chunks, debians_prometheus_reads_through_us,
     influx_lines, graphite_and_statsd_listeners])
