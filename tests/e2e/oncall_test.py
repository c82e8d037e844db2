"""alert_policy from outside: severities and escalation until somebody acknowledges, a kill -9 between two steps,
heartbeats both ways, and fire drills of a rule, a receiver and a route with receivers that fail."""
import http.server as web
import json
import subprocess
import threading
import time

from vane_e2e import BINARY, SOURCE, Vane, http, run, wait_for

AM = """
route: {receiver: other, group_by: [alertname], group_wait: 100ms, group_interval: 1s, repeat_interval: 1h}
receivers:
- {name: other, webhook_configs: [{url: 'http://127.0.0.1:%(port)d/other'}]}
- {name: duty-phone, webhook_configs: [{url: 'http://127.0.0.1:%(port)d/phone'}]}
- {name: team-mail, webhook_configs: [{url: 'http://127.0.0.1:%(port)d/mail'}]}
- {name: lead-phone, webhook_configs: [{url: 'http://127.0.0.1:%(port)d/lead'}]}
- {name: dead, webhook_configs: [{url: 'http://127.0.0.1:1/'}]}
"""
VANE = """
alertmanager: am.yml
rule_files: [rules.yml]
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs: [{job_name: hook, static_configs: [{targets: ['127.0.0.1:%(port)d']}]}]
alert_policy:
  channels: {phone: duty-phone, email: team-mail}
  severities: {P2: {group_wait: 100ms}}
  escalations:
    default:
      steps:
      - {after: %(after)s, channels: [lead-phone]}
  heartbeats:
    backup: {period: 3s, grace: 1s, labels: {severity: P3}}
    other-vane: {period: 1h}
  watchdog: {url: 'http://127.0.0.1:%(port)d/ping', period: 1s}
"""
RULES = """
groups:
- name: g
  interval: 1s
  rules:
  - alert: HighErrorRate
    expr: errors > 5
    for: 2s
    labels: {severity: P2, team: db}
    annotations: {summary: "too many errors: {{ $value }}", runbook_url: "http://runbook/x"}
  - alert: Watchdog
    expr: count(last_over_time(up{job="hook"}[3s]) == 1) > 0
"""


class Hook:
    """Keeps what was posted, by path."""

    def __enter__(self):
        hook = self
        self.seen, self.down = [], False

        class Handler(web.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.seen.append((self.path, {**body, "at": time.monotonic()}))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self):
                self.send_response(503 if hook.down else 200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"x 1\n")

            def log_message(self, *args):
                pass

        self.server = web.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()

    def told(self, path, name, status="firing"):
        return [b for p, b in list(self.seen)
                if p == path and b["status"] == status and b["commonLabels"].get("alertname") == name]


class Site:
    def __init__(self, hook, after="2s", extra=""):
        self.vane = Vane()
        names = {"port": hook.port, "after": after}
        (self.vane.folder / "am.yml").write_text(AM % names)
        (self.vane.folder / "rules.yml").write_text(RULES)
        self.vane.config = self.vane.folder / "vane.yaml"
        self.vane.config.write_text(VANE % names + extra)

    def __enter__(self):
        return self.vane.__enter__()

    def __exit__(self, *exc):
        return self.vane.__exit__(*exc)


def post(vane, path, body=None):
    return http("POST", vane.url + path, json.dumps(body).encode() if body is not None else b"",
                {"Content-Type": "application/json"})


def fire(vane, **labels):
    assert post(vane, "/api/v2/alerts", [{"labels": labels}]).status == 200


def escalates_until_acknowledged():
    with Hook() as hook, Site(hook) as vane:
        fire(vane, alertname="A", severity="critical")
        wait_for(lambda: hook.told("/phone", "A") and hook.told("/mail", "A"), "the first step")
        assert not hook.told("/other", "A")
        wait_for(lambda: hook.told("/lead", "A"), "the second step")
        assert hook.told("/phone", "A")[0]["changes"] == {"new": 1, "resolved": 0, "unchanged": 0}
        rows = {r["name"]: r for r in vane.get("/api/v1/alerting/severities").json["data"]}
        assert rows["P1"]["firing"] == 1 and rows["P1"]["overdue"] == 1, rows["P1"]
        assert rows["P1"]["receivers"] == ["duty-phone", "team-mail"]
        assert rows["P1"]["escalation"] == [{"after": "2s", "receivers": ["lead-phone"]}]


        # a second one: somebody takes care of it in time
        fire(vane, alertname="B", severity="critical")
        ack = {"filter": ['alertname="B"'], "owner": "anna"}
        wait_for(lambda: post(vane, "/api/v1/alerting/acks", ack).status == 200, "the acknowledgement")
        wait_for(lambda: hook.told("/phone", "B"), "the first step")
        fire(vane, alertname="C", severity="critical")
        wait_for(lambda: hook.told("/lead", "C"), "the second step of a later one")
        assert not hook.told("/lead", "B")
        rows = {r["name"]: r for r in vane.get("/api/v1/alerting/severities").json["data"]}
        assert rows["P1"]["acknowledged"] == 1, rows["P1"]
        events = vane.get("/api/v1/alerting/history?kind=escalated").json["data"]
        assert "nobody acknowledged within 2 s: step 1 of default" in json.dumps(events), events


def clock_survives_kill9():
    with Hook() as hook, Site(hook, after="8s") as vane:
        fire(vane, alertname="A", severity="P1")
        wait_for(lambda: hook.told("/phone", "A"), "the first step")
        vane.kill()
        vane.start()
        wait_for(lambda: hook.told("/lead", "A"), "the second step")
        assert hook.told("/lead", "A")[0]["at"] - hook.told("/phone", "A")[0]["at"] > 6  # not at once


def heartbeats():
    with Hook() as hook, Site(hook) as vane:
        assert post(vane, "/api/v1/heartbeats/nobody").status == 404
        wait_for(lambda: hook.told("/mail", "HeartbeatMissing"), "the alert")
        alert = hook.told("/mail", "HeartbeatMissing")[0]["alerts"][0]
        assert alert["labels"]["heartbeat"] == "backup" and "no heartbeat of backup" in alert["annotations"]["summary"]
        assert post(vane, "/api/v1/heartbeats/backup").status == 200
        wait_for(lambda: hook.told("/mail", "HeartbeatMissing", "resolved"), "the end")
        rows = {r["name"]: r for r in vane.get("/api/v1/heartbeats").json["data"]}
        assert rows["other-vane"]["state"] == "waiting" and rows["backup"]["lastSeen"]
        # the other way: the watchdog is pinged again and again, and nobody else hears of it
        wait_for(lambda: len(hook.told("/ping", "Watchdog")) >= 3, "three pings")
        assert not hook.told("/other", "Watchdog")
        hook.down = True  # it is not scraped any more: the pings stop

        def silent():
            n = len(hook.told("/ping", "Watchdog"))
            time.sleep(3)
            return len(hook.told("/ping", "Watchdog")) == n

        wait_for(silent, "the pings to stop", 60)
        hook.down = False
        n = len(hook.told("/ping", "Watchdog"))
        wait_for(lambda: len(hook.told("/ping", "Watchdog")) > n, "the pings to come back")


def drill(vane, *args, code=0):
    r = subprocess.run([BINARY, "drill", "--url", vane.url, *args], capture_output=True, text=True, timeout=100)
    assert r.returncode == code, f"{args}: {r.returncode} {r.stdout}{r.stderr}"
    return r.stdout


def drills():
    with Hook() as hook, Site(hook, after="1h") as vane:
        text = drill(vane, "HighErrorRate")
        for step in ("ingested", "pending", "firing", "received", "grouped", "sent", "delivered", "resolved", "cleaned"):
            assert step in text, text
        assert "2 of 2 messages delivered: passed" in text and "(allowed: 60 s)" in text, text
        body = hook.told("/phone", "[DRILL] HighErrorRate")[0]
        alert = body["alerts"][0]
        assert alert["labels"]["drill"] == "true" and alert["labels"]["severity"] == "P2"
        assert alert["labels"]["team"] == "db" and body["groupLabels"]["drill"] == "true"
        assert alert["annotations"]["summary"] == "[DRILL] too many errors: 1"
        assert alert["annotations"]["runbook_url"] == "http://runbook/x"
        wait_for(lambda: hook.told("/phone", "[DRILL] HighErrorRate", "resolved"), "the end")
        # nothing is left of it
        for query in ('{drill="true"}', 'ALERTS{drill="true"}'):
            answer = vane.get("/api/v1/query?query=" + query.replace('"', "%22").replace("{", "%7B").replace("}", "%7D"))
            assert answer.json["data"]["result"] == [], answer.body
        text = drill(vane, "HighErrorRate", "--severity", "P3", "--for", "0s", "--output", "json")
        assert json.loads(text)["labels"]["severity"] == "P3" and json.loads(text)["expected"] == 1
        assert "passed" in drill(vane, "receiver:lead-phone")
        assert hook.told("/lead", "[DRILL] Drill")
        assert "1 of 1 messages delivered" in drill(vane, '{team="x"}')
        text = drill(vane, "dead", "--timeout", "6s", code=1)
        assert "0 of 1 messages delivered: failed" in text and "failed" in text, text
        assert "is no alerting rule" in subprocess.run([BINARY, "drill", "--url", vane.url, "Nothing"],
                                                       capture_output=True, text=True, timeout=60).stderr
        rows = vane.get("/api/v1/alerting/drills").json["data"]
        assert [r["state"] for r in rows] == ["failed", "passed", "passed", "passed", "passed"], rows
        assert "HighErrorRate" in drill(vane, "--list")


def real_alerts_are_left_alone():
    with Hook() as hook, Site(hook, after="1h") as vane:
        fire(vane, alertname="HighErrorRate", severity="P2", team="db")
        wait_for(lambda: hook.told("/phone", "HighErrorRate"), "the real one")
        drill(vane, "HighErrorRate", "--for", "0s")
        assert len(hook.told("/phone", "HighErrorRate")) == 1  # neither repeated nor ended
        assert not hook.told("/phone", "HighErrorRate", "resolved")
        alerts = vane.get("/api/v2/alerts?filter=alertname=HighErrorRate").json
        assert any(a["status"]["state"] == "active" and "drill" not in a["labels"] for a in alerts)
        # a silence of the real one keeps the drill still, and the drill says so
        silence = {"matchers": [{"name": "alertname", "value": "HighErrorRate", "isRegex": False}], "createdBy": "me",
                   "comment": "c", "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z"}
        assert post(vane, "/api/v2/silences", silence).status == 200
        assert "silenced" in drill(vane, "HighErrorRate", "--for", "0s", code=1)


def every_rule_of_the_packs():
    with Hook() as hook:
        site = Site(hook, after="1h")
        packs = subprocess.run([BINARY, "rules", "packs"], capture_output=True, text=True, timeout=60).stdout
        names = [line.split()[0] for line in packs.splitlines()[1:] if line.strip() and not line.startswith(" ")]
        assert len(names) >= 10, packs
        text = site.vane.config.read_text().replace("rule_files: [rules.yml]", f"rule_packs: [{', '.join(names)}]")
        site.vane.config.write_text(text.replace("global: {", "global: {evaluation_interval: 1s, "))
        with site as vane:
            groups = vane.get("/api/v1/rules?type=alert&exclude_alerts=true").json["data"]["groups"]
            rules = {r["name"]: r["labels"]["severity"] for g in groups for r in g["rules"] if r["name"] != "Watchdog"}
            assert len(rules) >= 30, rules
            ids = {}
            for name in rules:

                def start():
                    return post(vane, f"/api/v1/alerting/drills?target=rule:{name}&for=0s")

                # at most four at a time; one that fails to start says why
                answer = wait_for(lambda: next((a for a in [start()] if a.status != 503), None), "room for a drill", 60)
                assert answer.status == 200, (name, answer.body)
                ids[name] = answer.json["data"]["id"]
            for name, drill_id in ids.items():

                def result():
                    d = vane.get("/api/v1/alerting/drills/" + drill_id).json["data"]
                    return d if d["state"] != "running" else None

                d = wait_for(result, f"the drill of {name}", 60)
                assert d["state"] == "passed", (name, d)
                channels = {"P1": 2, "P2": 2, "P3": 1, "P4": 0}[rules[name]]
                assert d["expected"] == channels == d["delivered"], (name, d)
            for name, severity in rules.items():
                if severity in ("P1", "P2"):
                    alert = hook.told("/phone", "[DRILL] " + name)[0]["alerts"][0]
                    assert alert["labels"]["severity"] == severity and alert["annotations"]["summary"], alert


def interrupted_drill_leaves_nothing():
    with Hook() as hook, Site(hook, after="1h") as vane:
        drill(vane, "HighErrorRate", "--for", "1h", "--no-wait")
        series = vane.url + "/api/v1/series?match%5B%5D=%7Bdrill%3D%22true%22%7D"
        wait_for(lambda: http("GET", series).json["data"], "the series")
        vane.kill()
        vane.start()
        assert [r["state"] for r in vane.get("/api/v1/alerting/drills").json["data"]] == ["interrupted"]
        wait_for(lambda: not http("GET", series).json["data"], "the series to go")


def bad_policy_is_refused():
    with Hook() as hook:
        site = Site(hook, extra="  nonsense: 1\n")
        r = subprocess.run([BINARY, "check", "config", str(site.vane.config)], capture_output=True, text=True, timeout=60)
        assert r.returncode == 1 and "vane.yaml:" in r.stderr and "field nonsense not found" in r.stderr, r.stderr
        good = SOURCE / "examples/oncall/vane.yaml"
        r = subprocess.run([BINARY, "check", "config", str(good)], capture_output=True, text=True, timeout=60)
        assert r.returncode == 0, r.stderr
        site = Site(hook)
        r = subprocess.run([BINARY, "check", "config", str(site.vane.config)], capture_output=True, text=True, timeout=60)
        assert r.returncode == 0, r.stderr


run([escalates_until_acknowledged, clock_survives_kill9, heartbeats, drills, real_alerts_are_left_alone,
     every_rule_of_the_packs, interrupted_drill_leaves_nothing, bad_policy_is_refused])
