"""Forwarding by remote write: vane -> vane (1.0 and 2.0) and vane -> Debian's prometheus (1.0), with receivers that are away
and a sender that is killed with kill -9 in the middle: every sample the sender acknowledged is at every receiver."""
import pathlib
import random
import shutil
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

from vane_e2e import Skip, Vane, free_port, http, run, wait_for

SERIES = 60


class Prometheus:
    """Debian's prometheus as a receiver of remote write; the same folder and port after kill()."""

    def __init__(self):
        if not shutil.which("prometheus"):
            raise Skip("no prometheus here")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vane-e2e-prom-"))
        (self.folder / "p.yml").write_text("global: {}\n")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self):
        self.log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(
            ["prometheus", "--config.file", str(self.folder / "p.yml"), "--storage.tsdb.path", str(self.folder / "d"),
             "--web.listen-address", f"127.0.0.1:{self.port}", "--web.enable-remote-write-receiver"],
            stdout=self.log, stderr=self.log)
        wait_for(lambda: http("GET", self.url + "/-/ready", timeout=2).status == 200, "prometheus to be ready")

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.log.close()
            self.process = None

    def query(self, expr, at):
        a = http("GET", f"{self.url}/api/v1/query?query={expr}&time={at}")
        assert a.status == 200, a.body
        return a.json["data"]["result"]


class Writer(threading.Thread):
    """One sample of each series every 20 ms or so; knows what was acknowledged."""

    def __init__(self, sender, seed):
        super().__init__()
        self.sender, self.rng = sender, random.Random(seed)
        self.acked, self.sent, self.stop_it = {}, {}, threading.Event()
        self.last_ms = 0

    def run(self):
        while not self.stop_it.is_set():
            ms = max(int(time.time() * 1000), self.last_ms + 1)
            self.last_ms = ms
            value = self.rng.randrange(1 << 40)
            self.sent[ms] = value
            try:
                batch = [({"__name__": "fw", "i": str(i)}, [(ms, value + i)]) for i in range(SERIES)]
                if self.sender.write(batch, timeout=5).status == 204:
                    self.acked[ms] = value
            except OSError:
                time.sleep(0.05)
            time.sleep(0.02)

    def end(self):
        self.stop_it.set()
        self.join()


def compare(result, writer, what):
    """Everything acknowledged is there, nothing that was never sent."""
    got = {r["metric"]["i"]: {round(float(t) * 1000): float(v) for t, v in r["values"]} for r in result}
    assert len(got) == SERIES, f"{what}: {len(got)} series"
    for i in range(SERIES):
        mine = got[str(i)]
        missing = [ms for ms, v in writer.acked.items() if mine.get(ms) != v + i]
        assert not missing, f"{what}: series {i}: {len(missing)} of {len(writer.acked)} acknowledged samples are missing, first {min(missing)}, last {max(missing)}"
        invented = [ms for ms, v in mine.items() if writer.sent.get(ms, -1) + i != v]
        assert not invented, f"{what}: series {i}: invented {invented[:3]}"


def sent_all(sender, n_remotes):
    a = sender.get("/metrics").body.decode()
    lag = [float(line.rsplit(" ", 1)[1]) for line in a.splitlines() if line.startswith("vane_remote_storage_lag_bytes{")]
    pending = [float(line.rsplit(" ", 1)[1]) for line in a.splitlines() if line.startswith("vane_remote_storage_samples_pending{")]
    return len(lag) == n_remotes and not any(lag) and not any(pending)


QUEUE = "queue_config: {batch_send_deadline: 200ms, max_samples_per_send: 200, capacity: 400, max_backoff: 1s}"


def nothing_is_lost_over_outages_and_kills():
    prom = Prometheus()
    receiver = Vane()
    sender = Vane(config=f"""
global: {{external_labels: {{src: a}}}}
remote_write:
- url: {receiver.url}/api/v1/write
  name: two
  protobuf_message: io.prometheus.write.v2.Request
  write_relabel_configs: [{{target_label: via, replacement: two}}]
  {QUEUE}
- url: {receiver.url}/api/v1/write
  name: one
  write_relabel_configs: [{{target_label: via, replacement: one}}, {{source_labels: [i], regex: "7", action: drop}}]
  {QUEUE}
- url: {prom.url}/api/v1/write
  {QUEUE}
""")
    writer = Writer(sender, 1)
    try:
        receiver.start()
        prom.start()
        sender.start()
        writer.start()
        time.sleep(1)
        receiver.kill()
        prom.kill()
        time.sleep(1.5)
        sender.kill()  # with everything of the outage unsent
        sender.start()
        time.sleep(1)
        receiver.start()
        prom.start()
        for _ in range(4):  # and in the middle of catching up
            time.sleep(0.4)
            sender.kill()
            sender.start()
        time.sleep(0.5)
        receiver.kill()  # a short absence, with requests in flight
        prom.kill()
        receiver.start()
        prom.start()
        time.sleep(1)
        writer.end()
        wait_for(lambda: sent_all(sender, 3), "everything to be sent", 60)
        end = writer.last_ms / 1000 + 1
        assert len(writer.acked) > 50
        compare(receiver.query('fw{via="two",src="a"}[10m]', end), writer, "vane, 2.0")
        compare(prom.query("fw%5B10m%5D", end), writer, "prometheus, 1.0")
        one = receiver.query('fw{via="one",src="a"}[10m]', end)
        assert len(one) == SERIES - 1 and not any(r["metric"]["i"] == "7" for r in one), "relabelling drops series 7"
        for r in one:
            r["metric"].setdefault("i", "")
        one.append({"metric": {"i": "7"}, "values": [[ms / 1000, str(v + 7)] for ms, v in writer.acked.items()]})
        compare(one, writer, "vane, 1.0")
        print(f"# {len(writer.acked)} acknowledged requests of {SERIES} samples, 5 kills of the sender, 2 of each receiver")
        assert sender.stop() == 0
    finally:
        writer.stop_it.set()
        for v in (sender, receiver):
            if v.process:
                v.kill()
            shutil.rmtree(v.folder, ignore_errors=True)
        prom.kill()
        shutil.rmtree(prom.folder, ignore_errors=True)


class Answers(BaseHTTPRequestHandler):
    """A receiver that answers what the test says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        s = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        s.seen.append((time.monotonic(), dict(self.headers), len(body)))
        status, headers = s.answers.pop(0) if s.answers else (204, {})
        self.send_response(status)
        for k, v in headers.items():
            self.send_header(k, v)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


def answers_server():
    s = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    s.seen, s.answers = [], []
    threading.Thread(target=s.serve_forever, daemon=True).start()
    return s


def metric(v, name, **labels):
    total = 0
    for line in v.get("/metrics").body.decode().splitlines():
        if line.startswith(f"vane_remote_storage_{name}{{") and all(f'{k}="{x}"' in line for k, x in labels.items()):
            total += float(line.rsplit(" ", 1)[1])
    return total


def answers_decide():
    """5xx and 429 with Retry-After are tried again, other 4xx drop the batch and are counted; headers and credentials go along."""
    s = answers_server()
    config = f"""
remote_write:
- url: http://127.0.0.1:{s.server_port}/write
  name: r
  headers: {{X-Scope-OrgID: team-a}}
  basic_auth: {{username: u, password: p}}
  metadata_config: {{send: false}}
  queue_config: {{batch_send_deadline: 50ms, min_backoff: 30ms, max_backoff: 60ms}}
"""
    try:
        with Vane(config=config) as v:
            s.answers += [(503, {}), (500, {}), (429, {"Retry-After": "1"})]
            assert v.write([({"__name__": "a"}, [(int(time.time() * 1000), 1)])]).status == 204
            wait_for(lambda: metric(v, "samples_total") == 1, "the sample to be taken")
            assert len(s.seen) == 4 and metric(v, "samples_retried_total") == 3 and metric(v, "samples_failed_total") == 0
            assert s.seen[3][0] - s.seen[2][0] > 0.9, "Retry-After is kept"
            h = {k.lower(): x for k, x in s.seen[3][1].items()}
            assert h["content-encoding"] == "snappy" and h["x-prometheus-remote-write-version"] == "0.1.0"
            assert h["x-scope-orgid"] == "team-a" and h["authorization"].startswith("Basic ") and h["retry-attempt"] == "3"
            s.answers += [(400, {})]
            v.write([({"__name__": "a"}, [(int(time.time() * 1000), 2)])])
            wait_for(lambda: metric(v, "samples_failed_total") == 1, "the refusal to be counted")
            assert "refused samples" in v.log_text()
            s.answers += [(429, {})]  # without Retry-After, as queue_config.retry_on_http_429 (default false) says
            v.write([({"__name__": "a"}, [(int(time.time() * 1000), 3)])])
            wait_for(lambda: metric(v, "samples_failed_total") == 2, "the refusal to be counted")
            v.write([({"__name__": "a"}, [(int(time.time() * 1000), 4)])])
            wait_for(lambda: metric(v, "samples_total") == 2, "the next one to be taken")
            wait_for(lambda: sent_all(v, 1), "the lag to be nothing")
    finally:
        s.shutdown()


def reload_keeps_places():
    """A changed remote goes on where it was; a removed one lets the log go; a new one begins now."""
    s = answers_server()
    remote = f"remote_write: [{{url: 'http://127.0.0.1:{s.server_port}/w', name: r, metadata_config: {{send: false}}, queue_config: {{batch_send_deadline: 50ms, min_backoff: 20ms, max_backoff: 50ms%s}}}}]\n"
    try:
        with Vane(config=remote % "") as v:
            s.answers += [(503, {})] * 100000
            for i in range(10):
                v.write([({"__name__": "a"}, [(int(time.time() * 1000) + i, i)])])
            wait_for(lambda: metric(v, "samples_retried_total") > 5, "retries")
            v.config.write_text(remote % ", capacity: 777")
            assert v.get("/-/reload").status in (405, 200) and http("POST", v.url + "/-/reload").status == 200
            wait_for(lambda: metric(v, "shard_capacity") == 777, "the new remote")
            s.answers.clear()
            wait_for(lambda: metric(v, "samples_total") == 10, "the ten samples of before")
            v.config.write_text("global: {}\n")
            assert http("POST", v.url + "/-/reload").status == 200
            assert metric(v, "shards") == 0
            v.write([({"__name__": "a"}, [(int(time.time() * 1000) + 100, 1)])])
            v.config.write_text(remote % "")
            assert http("POST", v.url + "/-/reload").status == 200
            v.write([({"__name__": "a"}, [(int(time.time() * 1000) + 200, 1)])])
            wait_for(lambda: metric(v, "samples_total") == 1, "what came after it was configured")
            time.sleep(0.3)
            assert metric(v, "samples_total") == 1
    finally:
        s.shutdown()


def tenants_stay_apart():
    """The tenant goes as the header X-Scope-OrgID of its own requests, never as a label; metadata too; rules may choose."""
    with Vane("tenants: {default: ops}") as many, Vane() as one:
        config = f"""
tenants: {{default: ops}}
global: {{external_labels: {{src: s}}}}
remote_write:
- url: {many.url}/api/v1/write
  name: first
  write_relabel_configs:
  - {{target_label: via, replacement: first}}
  - {{source_labels: [__tenant__], regex: hidden, action: drop}}
  metadata_config: {{send_interval: 1s}}
  {QUEUE}
- url: {many.url}/api/v1/write
  name: second
  protobuf_message: io.prometheus.write.v2.Request
  write_relabel_configs:
  - {{target_label: via, replacement: second}}
  - {{source_labels: [__tenant__], regex: hidden, target_label: __tenant__, replacement: shown}}
  {QUEUE}
- url: {one.url}/api/v1/write
  write_relabel_configs: [{{source_labels: [__tenant__], target_label: team}}]
  {QUEUE}
- url: {many.url}/api/v1/write
  name: fixed
  headers: {{X-Scope-OrgID: all}}
  write_relabel_configs: [{{source_labels: [__tenant__], target_label: team}}, {{target_label: via, replacement: fixed}}]
  {QUEUE}
"""
        def ask(v, tenant, path):
            return http("GET", v.url + path, None, {"X-Scope-OrgID": tenant} if tenant else {}).json["data"]

        def values(v, tenant, expr):
            found = ask(v, tenant, "/api/v1/query?query=" + quote(expr))["result"]
            assert all("__tenant__" not in r["metric"] for r in found), found
            return sorted(float(r["value"][1]) for r in found)

        with Vane(config) as sender:
            for k in range(30):  # requests of the sender's tenants alternate in the log
                for tenant, value in (("big", 100), ("small", 200), ("hidden", 300)):
                    body = f"# HELP shared of {tenant}\n# TYPE shared counter\n" + "".join(
                        f'shared{{i="{i}"}} {value + i + k}\n' for i in range(5))
                    a = http("POST", sender.url + "/api/v1/import/prometheus", body.encode(), {"X-Scope-OrgID": tenant})
                    assert a.status == 204, a.body
            want = {t: [v + 29.0 + i for i in range(5)] for t, v in (("big", 100), ("small", 200), ("hidden", 300))}
            for tenant in ("big", "small"):
                for via in ("first", "second"):
                    wait_for(lambda: values(many, tenant, f'shared{{via="{via}",src="s"}}') == want[tenant], f"{tenant}, {via}")
                assert [r["value"][1] for r in ask(many, tenant, "/api/v1/query?query=" + quote("sum(count_over_time(shared[1h]))"))["result"]] == ["300"]
            wait_for(lambda: values(many, "shown", "shared") == want["hidden"], "what a rule gives another tenant")
            assert values(many, "hidden", "shared") == []
            for tenant, found in want.items():
                wait_for(lambda: values(one, None, f'shared{{team="{tenant}"}}') == found, f"{tenant} where there are no tenants")
                wait_for(lambda: values(many, "all", f'shared{{team="{tenant}",via="fixed"}}') == found, f"{tenant} as the configuration says")
            for tenant in ("big", "small"):
                wait_for(lambda: "shared" in ask(many, tenant, "/api/v1/metadata"), "metadata")
                assert [m["help"] for m in ask(many, tenant, "/api/v1/metadata")["shared"]] == [f"of {tenant}"]
            assert ask(many, "hidden", "/api/v1/metadata") == {}
            rows = ask(sender, "ops", "/api/v1/status/forwarding")
            assert [(r["sent"], r["failed"]) for r in rows] == [(300, 0)] + [(450, 0)] * 3, rows


def agent_collects_and_forwards():
    """vane agent: takes all protocols, forwards, answers no queries, keeps no segments, refuses a server's folder."""
    receiver = Vane()
    agent = Vane(command="agent", self_metrics=True, config=f"""
global: {{scrape_interval: 1s}}
scrape_configs: [{{job_name: r, static_configs: [{{targets: ["127.0.0.1:{receiver.port}"]}}]}}]
remote_write: [{{url: "{receiver.url}/api/v1/write", {QUEUE}}}]
""")
    try:
        receiver.start()
        agent.start()
        ms = int(time.time() * 1000)
        assert agent.write([({"__name__": "pushed"}, [(ms, 4.5)])]).status == 204
        wait_for(lambda: receiver.value("pushed") == 4.5, "what was pushed")
        wait_for(lambda: receiver.value('up{job="r"}') == 1, "what was scraped")
        wait_for(lambda: receiver.value('up{job="vane"}') == 1, "the agent's own metrics")
        for path in ("/api/v1/query?query=up", "/api/v1/query_range?query=up", "/api/v1/series", "/api/v1/labels",
                     "/api/v1/label/job/values", "/api/v1/metadata", "/federate"):
            a = agent.get(path)
            assert a.status == 422 and b"unavailable with vane agent" in a.body, (path, a.status, a.body)
        assert http("POST", agent.url + "/api/v1/read", b"").status == 422
        targets = agent.get("/api/v1/targets").json["data"]["activeTargets"]
        assert len(targets) == 1 and targets[0]["health"] == "up"
        rows = agent.get("/api/v1/status/forwarding").json["data"]
        assert len(rows) == 1 and rows[0]["sent"] > 10 and rows[0]["shards"] == 1 and rows[0]["lastError"] == "", rows
        receiver.kill()
        agent.write([({"__name__": "pushed"}, [(ms + 1000, 5.5)])])
        wait_for(lambda: "Connection refused" in agent.get("/api/v1/status/forwarding").json["data"][0]["lastError"], "the error")
        assert agent.stop() == 0  # with a receiver that is away
        agent.start()
        receiver.start()
        wait_for(lambda: receiver.value("pushed", (ms + 2000) / 1000) == 5.5, "what was pushed before the restart")
        assert agent.stop() == 0
        assert not list((agent.data / "seg/metrics").glob("*.vseg")), "an agent writes no segments"
        assert receiver.stop() == 0
        wrong = Vane(command="agent", config=agent.config.read_text())
        shutil.rmtree(wrong.folder)
        wrong.folder, wrong.data, wrong.log_path = receiver.folder, receiver.data, receiver.folder / "agent.log"
        wrong.config = agent.config
        wrong.start(wait=False)
        assert wrong.process.wait(20) == 1 and "a folder of its own" in wrong.log_text(), wrong.log_text()
        wrong.log.close()
        wrong.data = receiver.folder / "fresh"
        wrong.config = None
        wrong.start(wait=False)
        assert wrong.process.wait(20) == 1 and "no remote_write" in wrong.log_text(), wrong.log_text()
        wrong.log.close()
    finally:
        for v in (agent, receiver):
            if v.process:
                v.kill()
            shutil.rmtree(v.folder, ignore_errors=True)


run([nothing_is_lost_over_outages_and_kills, answers_decide, reload_keeps_places, tenants_stay_apart, agent_collects_and_forwards])
