"""Fire drills from outside: of a rule, a receiver and a route, of every rule of the packs, with receivers that fail, and
what they leave behind."""
import json
import subprocess

from oncall_site import Hook, Site, drill, fire, post
from vane_e2e import BINARY, http, run, wait_for


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


run([drills, real_alerts_are_left_alone, every_rule_of_the_packs, interrupted_drill_leaves_nothing])
