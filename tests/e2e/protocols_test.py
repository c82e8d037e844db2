"""The other doors for metrics: import of text, pushed groups ... in and out, with the real program."""
import base64
import time

from vane_e2e import Vane, http, run, wait_for

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


run([import_of_text, pushed_groups_stay_until_they_are_deleted, pushed_groups_are_written_every_interval])
