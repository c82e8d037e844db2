"""What alerting said OK to survives kill -9 at any moment: alerts, silences, acknowledgements, timers; every message is
delivered at least once, and a repeated one carries the key of the first. Rules feed the Alertmanager inside by a call."""
import collections
import http.server as web
import json
import os
import random
import sqlite3
import subprocess
import threading
import time
import urllib.error

from vane_e2e import BINARY, Vane, http, run, wait_for

ROUNDS = int(os.environ.get("ALERT_CRASH_ROUNDS", "4"))
CONFIG = """route:
  receiver: hook
  group_by: [alertname]
  group_wait: %s
  group_interval: 300ms
  repeat_interval: 4h
inhibit_rules: [{source_matchers: [severity=high], target_matchers: [severity=low]}]
receivers:
- name: hook
  webhook_configs: [{url: 'http://127.0.0.1:%d/'}]
"""


class Hook:
    """Keeps what was posted with its key; answers late, and now and then not at all."""

    def __init__(self, flaky=False):
        self.flaky, self.seen, self.lock = flaky, [], threading.Lock()

    def __enter__(self):
        hook = self

        class Handler(web.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with hook.lock:
                    hook.seen.append((self.headers["Idempotency-Key"], body))
                if hook.flaky and random.random() < 0.2:
                    time.sleep(random.random() / 5)
                try:
                    self.send_response(503 if hook.flaky and random.random() < 0.1 else 200)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                except OSError:
                    pass  # who asked is dead

            def log_message(self, *args):
                pass

        class Server(web.ThreadingHTTPServer):
            request_queue_size = 256

            def handle_error(self, *args):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()

    def names(self, status):
        with self.lock:
            return {b["groupLabels"]["alertname"] for _, b in self.seen if b["status"] == status}

    def keys(self):
        """By what a message says: the keys it came with."""
        keys = collections.defaultdict(set)
        with self.lock:
            for key, b in self.seen:
                said = frozenset((a["fingerprint"], a["status"], a["startsAt"]) for a in b["alerts"])
                keys[b["groupKey"], said].add(key)
        return keys


def site(hook, group_wait="100ms", extra=""):
    v = Vane()
    (v.folder / "am.yml").write_text(CONFIG % (group_wait, hook.port))
    v.config = v.folder / "vane.yaml"
    v.config.write_text("alertmanager: am.yml\n" + extra)
    return v


def post(v, path, body):
    return http("POST", v.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, timeout=10)


def stamp(t):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(t))


class Sender(threading.Thread):
    """Posts new alerts and silences without a pause, and remembers which were answered with 200."""

    def __init__(self, v, begin, number):
        super().__init__(daemon=True)
        self.v, self.begin, self.n, self.number, self.ended = v, begin, 0, number, False
        self.alerts, self.silences = [], []

    def run(self):
        while not self.ended:
            self.n += 1
            names = [f"A{self.number}_{self.n}_{i}" for i in range(3)]
            try:
                if post(self.v, "/api/v2/alerts", [{"labels": {"alertname": x}, "startsAt": self.begin} for x in names]).status == 200:
                    self.alerts += names
                s = {"matchers": [{"name": "alertname", "value": f"S{self.number}_{self.n}", "isRegex": False}], "createdBy": "t",
                     "comment": "c", "startsAt": stamp(time.time()), "endsAt": stamp(time.time() + 3600)}
                r = post(self.v, "/api/v2/silences", s)
                if r.status == 200:
                    self.silences.append(r.json["silenceID"])
            except (OSError, urllib.error.URLError, ValueError):
                time.sleep(0.05)  # it is dead, or about to
            time.sleep(0.02)


def nothing_acknowledged_is_lost():
    random.seed(int(os.environ.get("ALERT_CRASH_SEED", "0")) or None)
    with Hook(flaky=True) as hook, site(hook) as v:
        sender = [Sender(v, stamp(time.time() - 1), i) for i in range(2)]
        for s in sender:
            s.start()
        for _ in range(ROUNDS):
            time.sleep(random.uniform(0.1, 1.2))
            v.kill()
            v.start()
        time.sleep(0.3)
        for s in sender:
            s.ended = True
        for s in sender:
            s.join()
        alerts, silences = set(sum((s.alerts for s in sender), [])), set(sum((s.silences for s in sender), []))
        assert len(alerts) > 20 and len(silences) > 5, f"{len(alerts)} {len(silences)}"
        assert not alerts - {a["labels"]["alertname"] for a in v.get("/api/v2/alerts").json}, "alerts are lost"
        assert not silences - {s["id"] for s in v.get("/api/v2/silences").json}, "silences are lost"
        wait_for(lambda: not alerts - hook.names("firing"), "every alert to be told")
        ends = [{"labels": {"alertname": x}, "startsAt": sender[0].begin, "endsAt": stamp(time.time() - 1)} for x in sorted(alerts)]
        assert post(v, "/api/v2/alerts", ends).status == 200
        time.sleep(random.uniform(0, 0.5))
        v.kill()
        v.start()
        wait_for(lambda: not alerts - hook.names("resolved"), "every end to be told")
        again = {k: v for k, v in hook.keys().items() if len(v) > 1}
        assert not again, f"repeated messages came with other keys: {again}"
        told = {e["kind"] for e in v.get("/api/v1/alerting/history", limit=10000).json["data"]["events"]}
        assert {"received", "grouped", "sent", "delivered", "resolved"} <= told, told


def timers_and_acknowledgements_go_on():
    with Hook() as hook, site(hook, group_wait="1h") as v:
        alert = {"alertname": "Slow", "x": "1"}
        assert post(v, "/api/v2/alerts", [{"labels": alert}]).status == 200
        explain = lambda: v.get("/api/v1/alerting/explain", alert='Slow{x="1"}').json["data"]["alerts"][0]
        before = explain()
        [group] = before["groups"]
        assert before["state"] == "firing" and group["inGroup"] and not group["hadTurn"] and group["nextTurn"], before
        ack = {"fingerprint": before["fingerprint"], "owner": "anna", "comment": "mine", "for": "2h"}
        assert post(v, "/api/v1/alerting/acks", ack).json["data"] == {"alerts": 1}
        v.kill()
        v.start()
        after = explain()
        assert after["groups"][0]["nextTurn"] == group["nextTurn"], "the timer began anew"
        assert after["acknowledged"]["owner"] == "anna" and after["startsAt"] == before["startsAt"], after
        assert [e["kind"] for e in after["history"]] == ["acknowledged", "grouped", "received"], after["history"]
        assert http("DELETE", v.url + f"/api/v1/alerting/acks?owner=ben&fingerprint={before['fingerprint']}").status == 200
        assert v.get("/api/v1/alerting/acks").json["data"] == []
        assert v.get("/api/v1/alerting/history", kind="unacknowledged").json["data"]["events"][0]["actor"] == "ben"
        for bad in ("kind=nothing", "fingerprint=xyz", "filter=a=~(", "limit=-1", "before=x"):
            assert http("GET", v.url + "/api/v1/alerting/history?" + bad).status == 400, bad
        for bad in ({}, {"owner": "a"}, {"fingerprint": "1", "owner": 5}, {"fingerprint": "1", "owner": "a", "for": "soon"},
                    {"filter": ["a=~("], "owner": "a"}, {"fingerprint": before["fingerprint"]}, []):
            assert post(v, "/api/v1/alerting/acks", bad).status == 400, bad
        assert post(v, "/api/v1/alerting/acks", {"fingerprint": "1", "owner": "a"}).status == 404
        assert not hook.seen


RULES = """groups:
- name: g
  interval: 200ms
  rules:
  - {alert: Always, expr: vector(7), labels: {severity: high}, annotations: {value: "{{ $value }}"}}
  - {alert: Hidden, expr: vector(1), labels: {severity: low}}
  - {alert: Patient, expr: vector(1), for: 1h}
"""


def rules_tell_it_by_a_call():
    with Hook() as hook, site(hook, extra="global: {external_labels: {site: here}}\nrule_files: [r.yml]\n") as v:
        v.stop()
        (v.folder / "r.yml").write_text(RULES)
        v.start()
        wait_for(lambda: "Always" in hook.names("firing"), "the rule's alert at the webhook")
        [first] = [b for _, b in hook.seen if b["groupLabels"]["alertname"] == "Always"]
        assert first["alerts"][0]["labels"] == {"alertname": "Always", "severity": "high", "site": "here"}, first
        assert "/graph?g0.expr=vector" in first["alerts"][0]["generatorURL"] and first["alerts"][0]["annotations"] == {"value": "7"}
        assert v.get("/api/v1/alertmanagers").json["data"]["activeAlertmanagers"] == []
        hidden = wait_for(lambda: [x for x in v.get("/api/v1/alerting/explain", alert="Hidden").json["data"]["alerts"] if x["inhibitedBy"]],
                          "the other one to be inhibited")
        assert "Inhibited by" in hidden[0]["verdict"] and hidden[0]["inhibitedBy"][0]["alertname"] == "Always"
        wait_for(lambda: v.get("/api/v1/alerting/history", kind="inhibited").json["data"]["events"], "that in the history")
        patient = v.get("/api/v1/alerting/explain", alert="Patient").json["data"]
        assert patient["alerts"][0]["state"] == "unknown" and patient["rules"][0]["alerts"][0]["state"] == "pending", patient
        assert patient["rules"][0]["alerts"][0]["firesAt"] > patient["rules"][0]["alerts"][0]["activeAt"]
        wait_for(lambda: v.get("/api/v1/alerting/history", kind="delivered").json["data"]["events"], "the answer in the history")
        r = subprocess.run([BINARY, "explain", "alert", 'Always{severity="high"}', "--url", v.url], capture_output=True, text=True, timeout=60)
        if os.environ.get("SHOW"):
            print(r.stdout, subprocess.run([BINARY, "explain", "alert", "Hidden", "--url", v.url], capture_output=True, text=True).stdout)
        assert r.returncode == 0, r.stderr
        for part in ("rule Always (group g, ", "is firing, value 7", "It fires, since", "taken", "webhook[0]: told at", "delivered", "200"):
            assert part in r.stdout, f"{part}: {r.stdout}"
        for _ in range(3):
            v.kill()
            v.start()
            time.sleep(random.uniform(0.2, 0.8))
        (v.folder / "r.yml").write_text("groups: []\n")
        assert http("POST", v.url + "/-/reload").status == 200 or v.process.send_signal(1) is None
        assert all(len(keys) == 1 for keys in hook.keys().values()), hook.keys()
        assert "Hidden" not in hook.names("firing")


def goes_on_without_its_database():
    with Hook() as hook:
        v = site(hook)
        v.data.mkdir(exist_ok=True)
        (v.data / "control.db").write_bytes(b"not a database, not at all" * 100)
        with v:
            status = v.get("/api/v1/alerting/status").json["data"]
            assert status["configured"] and not status["durable"] and status["error"], status
            assert "WITHOUT THEIR DATABASE" in v.log_text()
            assert post(v, "/api/v2/alerts", [{"labels": {"alertname": "A"}}]).status == 200
            wait_for(lambda: "A" in hook.names("firing"), "the message")


def locked_database():
    """Somebody else holds it while vane runs: nothing is said to be stored that is not, and messages go out."""
    with Hook() as hook, site(hook) as v:
        assert v.get("/api/v1/alerting/status").json["data"]["durable"]
        other = sqlite3.connect(v.data / "control.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            r = http("POST", v.url + "/api/v2/alerts", json.dumps([{"labels": {"alertname": "A"}}]).encode(),
                     {"Content-Type": "application/json"}, timeout=60)
            assert r.status == 500 and b"not stored" in r.body and b"another program" in r.body, r.body
            wait_for(lambda: "A" in hook.names("firing"), "the message")
            assert not v.get("/api/v1/alerting/status").json["data"]["durable"]
        finally:
            other.execute("ROLLBACK")
            other.close()
        wait_for(lambda: v.get("/api/v1/alerting/status").json["data"]["durable"], "it to be written after all")
        v.kill()
        v.start()
        assert [a["labels"] for a in v.get("/api/v2/alerts").json] == [{"alertname": "A"}]


def backup_holds_it():
    """A backup while silences come in: all that were answered before it are in it, and the database is whole."""
    with Hook() as hook, site(hook) as v:
        v.stop()
        v.args.append("--enable-admin-api")
        v.start()
        sender = Sender(v, stamp(time.time() - 1), 0)
        sender.start()
        wait_for(lambda: len(sender.silences) > 5, "some silences")
        known = set(sender.silences)
        for i, cmd in enumerate((["backup", v.folder / "b", "--url", v.url], ["backup", "--verify", v.folder / "b"],
                                 ["restore", v.folder / "b", v.folder / "r"])):
            r = subprocess.run([BINARY, *map(str, cmd)], capture_output=True, text=True, timeout=60)
            assert r.returncode == 0, f"{cmd}: {r.stdout}{r.stderr}"
        sender.ended = True
        sender.join()
        assert sorted(p.name for p in (v.folder / "r").glob("control.db*")) == ["control.db"]
        db = sqlite3.connect(v.folder / "r/control.db")
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert known <= {x for x, in db.execute("SELECT id FROM am_silences")}
        db.close()
        v.stop()
        v.data.rename(v.folder / "old")
        (v.folder / "r").rename(v.data)
        v.start()
        assert known <= {s["id"] for s in v.get("/api/v2/silences").json}


run([nothing_acknowledged_is_lost, timers_and_acknowledgements_go_on, rules_tell_it_by_a_call, goes_on_without_its_database, locked_database,
     backup_holds_it])
