"""alert_policy from outside: severities and escalation until somebody acknowledges, a kill -9 between two steps,
heartbeats both ways, and policies that are refused."""
import json
import subprocess
import time

from oncall_site import Hook, Site, fire, post
from vane_e2e import BINARY, SOURCE, run, wait_for


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


run([escalates_until_acknowledged, clock_survives_kill9, heartbeats, bad_policy_is_refused])
