"""The Alertmanager inside, from outside: alerts to a webhook, silences, reload, and Debian's amtool where it is installed
(or named by VANE_AMTOOL)."""
import http.server as web
import json
import os
import shutil
import subprocess
import threading

from vane_e2e import Skip, Vane, http, run, wait_for

AMTOOL = os.environ.get("VANE_AMTOOL") or shutil.which("amtool")
CONFIG = """global: {smtp_smarthost: 'localhost:25', smtp_from: a@example.com}
route:
  receiver: def
  group_by: [alertname]
  group_wait: 100ms
  group_interval: 300ms
  routes:
  - {matchers: [team=b], receiver: b}
receivers:
- name: def
  webhook_configs: [{url: 'http://127.0.0.1:%d/hunter2'}]
- name: b
"""


class Hook:
    """Keeps what was posted; answers 503 while it is down."""

    def __enter__(self):
        hook = self
        self.seen, self.down, self.asked = [], False, 0

        class Handler(web.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.asked += 1
                if not hook.down:
                    hook.seen.append(body)
                self.send_response(503 if hook.down else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = web.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()

    def told(self, name, status):
        return [b for b in self.seen if b["groupLabels"].get("alertname") == name and b["status"] == status]


class Site:
    def __init__(self, hook):
        self.vane = Vane()
        self.file = self.vane.folder / "am.yml"
        self.file.write_text(CONFIG % hook.port)
        config = self.vane.folder / "vane.yaml"
        config.write_text("alertmanager: am.yml\n")
        self.vane.config = config

    def __enter__(self):
        return self.vane.__enter__(), self.file

    def __exit__(self, *exc):
        return self.vane.__exit__(*exc)


def post(vane, path, body):
    return http("POST", vane.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})


def told_once_and_when_it_ends():
    with Hook() as hook, Site(hook) as (vane, _):
        assert post(vane, "/api/v2/alerts", [{"labels": {"alertname": "A", "x": "<b>"}}]).status == 200
        wait_for(lambda: hook.told("A", "firing"), "the webhook")
        end = {"labels": {"alertname": "A", "x": "<b>"}, "startsAt": "2024-01-01T00:00:00Z",
               "endsAt": "2024-01-02T00:00:00Z"}
        assert post(vane, "/api/v2/alerts", [end]).status == 200
        wait_for(lambda: hook.told("A", "resolved"), "the end")
        assert len(hook.told("A", "firing")) == 1
        assert hook.told("A", "resolved")[0]["alerts"][0]["labels"]["x"] == "<b>"
        assert vane.get("/api/v2/alerts").json == []


def receiver_that_is_down():
    with Hook() as hook, Site(hook) as (vane, _):
        hook.down = True
        post(vane, "/api/v2/alerts", [{"labels": {"alertname": "A"}}])
        wait_for(lambda: hook.asked >= 2, "a second attempt")
        assert not hook.seen
        hook.down = False
        wait_for(lambda: hook.told("A", "firing"), "the message")
        metrics = vane.get("/metrics").body.decode()
        assert "vane_alertmanager_notification_retries_total" in metrics
        assert "hunter2" not in vane.log_text()


def bad_file_and_reload():
    with Hook() as hook, Site(hook) as (vane, file):
        good = file.read_text()
        file.write_text("route: {receiver: gone}\n")
        vane.process.send_signal(1)
        wait_for(lambda: 'undefined receiver \\"gone\\"' in vane.log_text(), "the refusal")
        assert [r["name"] for r in vane.get("/api/v2/receivers").json] == ["def", "b"]
        file.write_text(good + "- name: c\n")
        vane.process.send_signal(1)
        wait_for(lambda: len(vane.get("/api/v2/receivers").json) == 3, "the new receiver")
        assert "hunter2" not in vane.get("/api/v2/status").json["config"]["original"]


def amtool_works():
    if not AMTOOL:
        raise Skip("amtool is not installed")
    with Hook() as hook, Site(hook) as (vane, _):
        def amtool(*args):
            r = subprocess.run([AMTOOL, "--alertmanager.url", vane.url + "/alertmanager", *args], capture_output=True,
                               text=True, timeout=60)
            assert r.returncode == 0, f"{args}: {r.stdout}{r.stderr}"
            return r.stdout

        amtool("alert", "add", "foo", "node=bar", "--annotation=summary=hi")
        assert "foo" in amtool("alert", "query", "alertname=foo")
        wait_for(lambda: hook.told("foo", "firing"), "the webhook")
        silence = amtool("silence", "add", "alertname=foo", "-c", "why", "-a", "me", "-d", "1h").strip()
        assert silence in amtool("silence", "query", "alertname=foo")
        assert "foo" not in amtool("alert", "query")
        assert "suppressed" in amtool("alert", "query", "-s")
        amtool("silence", "expire", silence)
        assert silence not in amtool("silence", "query")
        assert silence in amtool("silence", "query", "--expired")
        assert "foo" in amtool("alert", "query")
        assert amtool("config", "routes", "test", "team=b").strip() == "b"
        assert amtool("config", "routes", "test", "team=x").strip() == "def"
        assert "def" in amtool("config", "routes", "show")


run([told_once_and_when_it_ends, receiver_that_is_down, bad_file_and_reload, amtool_works])
