"""vane's verbs for alerting against a server, and vane under the names amtool and promtool; beside Debian's promtool on the
conformance suite's rules where both are there."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from vane_e2e import BINARY, SOURCE, Skip, Vane, free_port, http, run, wait_for

RULES = SOURCE / "../shared/conformance/rules"
REAL = shutil.which("promtool")
ALERTMANAGER = """route:
  receiver: default
  group_by: [alertname]
  routes:
  - {matchers: [team=shop], receiver: shop, continue: true}
  - {matchers: ['severity=~"page|crit"'], receiver: on-call, routes: [{matchers: [team=db], receiver: db}]}
receivers: [{name: default}, {name: shop}, {name: on-call}, {name: db, webhook_configs: [{url: 'http://127.0.0.1:1/hunter2'}]}]
"""


class Tools:
    """vane, and links to it under the other names, in a folder of their own."""

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vane-tools-"))
        for name in ("vane", "amtool", "promtool"):
            (self.folder / name).symlink_to(BINARY)
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.folder)

    def __call__(self, name, *args, stdin="", cwd=None):
        return subprocess.run([self.folder / name, *map(str, args)], input=stdin, capture_output=True, text=True, timeout=60, cwd=cwd,
                              env=os.environ | {"HOME": str(self.folder)})

    def ok(self, name, *args, **more):
        r = self(name, *args, **more)
        assert r.returncode == 0, f"{name} {args}: {r.returncode}\n{r.stdout}{r.stderr}"
        return r.stdout


class Site:
    def __enter__(self):
        self.vane = Vane("")
        self.vane.config = self.vane.folder / "vane.yaml"
        self.vane.config.write_text("alertmanager: am.yml\nrule_files: [rules.yml]\n")
        (self.vane.folder / "am.yml").write_text(ALERTMANAGER)
        (self.vane.folder / "rules.yml").write_text("groups: [{name: g, interval: 1s, rules: [{record: r, expr: vector(1)},"
                                                    " {alert: Always, expr: vector(1), labels: {team: shop}}]}]\n")
        self.vane.__enter__()
        body = [{"labels": {"alertname": "Sent", "severity": "page", "team": "shop"}, "annotations": {"summary": "a\u001b[2Jb"}}]
        r = http("POST", self.vane.url + "/api/v2/alerts", json.dumps(body).encode(), {"Content-Type": "application/json"})
        assert r.status == 200
        return self.vane

    def __exit__(self, *exc):
        return self.vane.__exit__(*exc)


def verbs_of_vane():
    with Tools() as tool, Site() as v:
        url = ("--url", v.url)
        out = tool.ok("vane", "alerts", *url)
        assert "Sent" in out and "\x1b" not in out, out
        assert "default,shop" not in out and "shop,on-call" in out
        assert [a["labels"]["alertname"] for a in json.loads(tool.ok("vane", "alerts", "list", "severity=page", "--json", *url))] == ["Sent"]
        assert "severity=\"page\"" in tool.ok("vane", "alerts", "show", "Sent", *url)
        fingerprint = json.loads(tool.ok("vane", "alerts", "Sent", "--json", *url))[0]["fingerprint"]
        assert tool.ok("vane", "alerts", "show", fingerprint, *url).startswith("Sent  active")
        assert tool("vane", "alerts", "show", "Nothing", *url).returncode == 1
        assert tool("vane", "alerts", "a=~[", *url).returncode == 1
        assert tool("vane", "alerts", "--bogus").returncode == 2

        assert tool.ok("vane", "alerts", "ack", "Sent", "-c", "on it", "--owner", "ada", *url) == "1 alert acknowledged\n"
        assert "  ada  " in tool.ok("vane", "alerts", "Sent", *url) and "acknowledged by ada: on it" in tool.ok("vane", "alerts", "show", fingerprint, *url)
        assert tool.ok("vane", "alerts", "unack", fingerprint, *url) == "1 alert no longer acknowledged\n"
        assert tool("vane", "alerts", "ack", "Nothing", *url).returncode == 1
        assert tool("vane", "alerts", "ack", *url).returncode == 2

        made = tool.ok("vane", "silences", "add", "Sent", 'team=~"sh.*"', "-c", "why\tnot", "-a", "me", "-d", "3h", *url).strip()
        assert len(made) == 36
        assert made in tool.ok("vane", "silences", *url) and made in tool.ok("vane", "silences", "list", "team=sh.*", *url)
        assert "suppressed" in tool.ok("vane", "alerts", "Sent", *url)
        assert "silenced by  " + made in tool.ok("vane", "alerts", "show", "Sent", *url)
        assert "Sent" not in tool.ok("vane", "alerts", "--state", "active", *url)
        saved = tool.folder / "silences.json"
        tool.ok("vane", "silences", "export", saved, *url)
        tool.ok("vane", "silences", "expire", made, *url)
        assert made not in tool.ok("vane", "silences", *url) and made in tool.ok("vane", "silences", "--expired", *url)
        assert tool("vane", "silences", "expire", "0" * 8 + made[8:], *url).returncode == 1
        assert "1 imported, 0 ended already, 0 refused" in tool("vane", "silences", "import", saved, *url).stderr
        again = json.loads(tool.ok("vane", "silences", "--json", *url))
        assert len(again) == 1 and again[0]["comment"] == "why\tnot" and again[0]["id"] != made
        assert tool("vane", "silences", "add", "Sent", *url).returncode == 2, "without a comment"
        assert tool("vane", "silences", "add", "a=~.*", "-c", "all", *url).returncode == 1
        assert tool("vane", "silences", "import", "/nowhere", *url).returncode == 1

        wait_for(lambda: "Always" in tool.ok("vane", "rules", "--firing", *url), "the rule to fire")
        assert tool.ok("vane", "rules", "--firing", *url).splitlines()[1].split()[:4] == ["g", "Always", "alerting", "firing"]
        assert json.loads(tool.ok("vane", "rules", "list", "--json", *url))["groups"][0]["name"] == "g"

        tree = tool.ok("vane", "routes", *url)
        assert '├── team="shop" -> shop  continue' in tree and "hunter2" not in tree
        way = tool.ok("vane", "routes", "test", "team=shop", "severity=page", "--verify-receivers", "shop,on-call", *url)
        assert "1. shop" in way and "2. on-call" in way and way.count("<== takes it") == 2
        assert tool("vane", "routes", "test", "team=shop", "--verify-receivers", "db", *url).returncode == 1
        assert json.loads(tool.ok("vane", "routes", "test", "team=db", "--json", *url))["matches"][0]["receiver"] == "default"
        assert tool("vane", "routes", "test", "team!=db", *url).returncode == 1


def a_server_that_is_away():
    with Tools() as tool:
        url = f"http://127.0.0.1:{free_port()}"
        for words in (["alerts"], ["silences"], ["silences", "add", "x", "-c", "y"], ["rules"], ["routes"], ["routes", "test", "a=b"]):
            r = tool("vane", *words, "--url", url)
            assert r.returncode == 1 and url in r.stderr and "refused" in r.stderr and "Is vane running" in r.stderr, (words, r.stderr)
            assert r.stdout == ""
        r = tool("amtool", "--alertmanager.url", url, "alert")
        assert r.returncode == 1 and "amtool: error" in r.stderr
        r = tool("promtool", "query", "instant", url, "up")
        assert r.returncode == 1 and "query error" in r.stderr


def without_an_alertmanager():
    with Tools() as tool, Vane("") as v:
        assert "ALERT" in tool.ok("vane", "alerts", "--url", v.url)
        for words in (["routes"], ["silences"]):
            r = tool("vane", *words, "--url", v.url)
            assert r.returncode == 1 and "alertmanager:" in r.stderr, r.stderr


def as_amtool():
    with Tools() as tool, Site() as v:
        def am(*args, **more):
            return tool.ok("amtool", "--alertmanager.url", v.url, *args, **more)

        am("alert", "add", "foo", "node=bar", "--annotation=summary=hi")
        lines = am("alert", "query", "alertname=foo").splitlines()
        assert lines[0].split("  ")[0] == "Alertname" and lines[1].split()[0] == "foo" and lines[1].endswith("active  "), lines
        assert am("alert", "foo", "-o", "extended").splitlines()[1].startswith('alertname="foo" node="bar"  summary="hi"  ')
        assert json.loads(am("alert", "foo", "-o", "json"))[0]["annotations"] == {"summary": "hi"}
        silence = am("silence", "add", "foo", "-c", "why", "-a", "me", "-d", "1h").strip()
        assert silence in am("silence", "query", "alertname=foo") and am("silence", "-q").strip() == silence
        assert "foo" not in am("alert", "query") and "suppressed" in am("alert", "query", "-s")
        assert "longer" in am("silence", "update", silence, "-d", "3h", "-c", "longer")
        assert am("silence", "query", "-q", "--within", "2h") == "" and am("silence", "query", "-q", "--within", "4h").strip() == silence
        saved = am("silence", "query", "-o", "json")
        am("silence", "expire", silence)
        assert silence not in am("silence", "query") and silence in am("silence", "query", "--expired")
        assert len(am("silence", "import", "--force", stdin=saved).strip()) == 36
        assert am("config", "routes", "test", "team=shop", "severity=page").strip() == "shop,on-call"
        assert "└── default-route" in am("config", "routes") and "receiver: db" in am("config", "routes", "show")
        assert "receiver: default" in am("config", "show") and "hunter2" not in am("config")
        assert "Cluster Status:" in am("cluster", "show")
        r = tool("amtool", "--alertmanager.url", v.url, "config", "routes", "test", "--verify.receivers=a", "team=x")
        assert r.returncode == 1 and "WARNING: Expected receivers" in r.stdout
        assert tool("amtool", "--alertmanager.url", v.url, "silence", "add", "x").returncode == 1, "a comment is required"
        file = tool.folder / "am.yml"
        file.write_text(ALERTMANAGER)
        assert "SUCCESS" in tool.ok("amtool", "check-config", file)
        assert tool.ok("amtool", "config", "routes", "test", f"--config.file={file}", "--tree", "team=db", "severity=crit").endswith("db\n")
        file.write_text("route: {receiver: gone}\n")
        r = tool("amtool", "check-config", file)
        assert r.returncode == 1 and "FAILED" in r.stdout and "failed to validate 1 file(s)" in r.stderr
        settings = tool.folder / ".config/amtool/config.yml"
        settings.parent.mkdir(parents=True)
        settings.write_text(f"alertmanager.url: {v.url}\nauthor: eve\noutput: extended\nrequire-comment: false\n")
        tool.ok("amtool", "silence", "add", "zip=zap")
        assert "eve" in tool.ok("amtool", "silence", "query", "zip=zap")
        for line in (["bogus"], ["alert", "query", "-z"], ["alert", "--nope"], []):
            r = tool("amtool", *line)
            assert r.returncode == 1 and "amtool" in r.stdout + r.stderr


METRICS = """# TYPE b counter
b 1
# HELP c x
# TYPE c gauge
c{le="1",fooBar="x"} 1
c_total 1
c:ms 1
x_milliseconds_sum 1
x_kilograms 1
thermometers 1
# TYPE h histogram
h_bucket{le="1"} 1
h_bucket{le="+Inf"} 2
h_count 2
h_sum 3
# TYPE s_sum gauge
s_sum 1
# TYPE t_total gauge
t_total{quantile="1"} 1
MyCamel_ms 1
a_gauge 1
# TYPE never gauge
"""


def as_promtool():
    with Tools() as tool, Site() as v:
        wait_for(lambda: v.value("r") == 1, "the recorded series")
        now = int(time.time()) + 2
        file = tool.folder / "prometheus.yml"
        file.write_text("rule_files: [rules.yml]\nscrape_configs: [{job_name: a}]\n")
        (tool.folder / "rules.yml").write_text("groups: [{name: g, rules: [{record: a, expr: b}, {record: a, expr: c}]}]\n")
        lines = [
            (["query", "instant", v.url, "r", f"--time={now}"], ""), (["query", "instant", "-o", "json", v.url, "r", f"--time={now}"], ""),
            (["query", "instant", v.url, "1", f"--time={now}.25"], ""), (["query", "instant", v.url, "r{"], ""), (["query", "instant", v.url, "nothing"], ""),
            (["query", "range", v.url, "vector(2)", f"--start={now - 4}", f"--end={now}", "--step=2s"], ""),
            (["query", "range", "-o", "json", v.url, "vector(2)", f"--start={now - 4}", f"--end={now}", "--step=2s"], ""),
            (["query", "series", "--match=r", v.url], ""), (["query", "labels", v.url, "__name__"], ""),
            (["query", "labels", "-o", "json", v.url, "__name__"], ""), (["query", "instant", v.url, "r", "--time=bad"], ""),
            (["check", "metrics"], METRICS), (["check", "metrics"], "# HELP a x\na 1\n"), (["check", "metrics"], ""),
            (["check", "config", file], ""), (["check", "config", "--lint=none", file], ""), (["check", "config", "--lint-fatal", file], ""),
            (["check", "rules", "--lint-fatal", tool.folder / "rules.yml"], ""),
            (["check", "rules"], ""), (["check"], ""), (["bogus"], ""), (["check", "rules", "--bogus", "x"], ""), (["check", "rules", "/nope"], ""),
        ]
        for args, stdin in lines:
            ours = tool("promtool", *args, stdin=stdin)
            assert "Traceback" not in ours.stderr
            if REAL:
                real = subprocess.run([REAL, *map(str, args)], input=stdin, capture_output=True, text=True, timeout=60)
                got, want = ((r.returncode, r.stdout, [line.strip() for line in r.stderr.splitlines()]) for r in (ours, real))
                assert got == want, f"{args}\ngot  {got}\nwant {want}"
        assert tool("promtool", "check", "metrics", stdin="a b c\n").returncode == 1
        assert tool("promtool", "check", "metrics", stdin=METRICS).returncode == 3
        assert "Percentage" in tool.ok("promtool", "check", "metrics", "--extended", stdin="# HELP a x\na 1\n")
        file.write_text("scrape_configs: [{job_name: a}, {job_name: a}]\n")
        r = tool("promtool", "check", "config", file)
        assert r.returncode == 1 and "FAILED" in r.stderr


def rules_as_promtool_judges_them():
    if not RULES.is_dir():
        raise Skip("the conformance suite is not here")
    with Tools() as tool:
        n = same = 0
        for case in json.loads((RULES / "index.json").read_text()):
            path = RULES / case["file"]
            if not path.exists() or case.get("name_validation_scheme") == "legacy" or "prometheusrule-crd" in case["file"]:
                continue
            ours = tool("promtool", "check", "rules", "--lint=none", path)
            n += 1
            assert (ours.returncode == 0) == case["valid"], f"{path}: {ours.returncode}\n{ours.stdout}{ours.stderr}"
            if REAL and case.get("promtool_2_42_valid") == case["valid"]:
                real = subprocess.run([REAL, "check", "rules", "--lint=none", path], capture_output=True, text=True, timeout=60)
                assert real.returncode == ours.returncode, path
                assert not case["valid"] or real.stdout == ours.stdout, f"{path}\n{real.stdout}\n{ours.stdout}"
                same += 1
        print(f"# {n} rule files, {same} of them beside Debian's promtool")
        assert n > 50


def unit_tests_as_promtool_runs_them():
    if not RULES.is_dir():
        raise Skip("the conformance suite is not here")
    with Tools() as tool:
        cases = json.loads((RULES / "unittests/index.json").read_text())
        n = 0
        for case in cases if isinstance(cases, list) else next(v for v in cases.values() if isinstance(v, list)):
            path = RULES / "unittests" / case["test_file"]
            ours = tool("promtool", "test", "rules", path, cwd=path.parent)
            n += 1
            assert ours.returncode == case["expect_exit"], f"{path}: {ours.returncode}\n{ours.stdout}{ours.stderr}"
        print(f"# {n} files of unit tests")


run([verbs_of_vane, a_server_that_is_away, without_an_alertmanager, as_amtool, as_promtool, rules_as_promtool_judges_them,
     unit_tests_as_promtool_runs_them])
