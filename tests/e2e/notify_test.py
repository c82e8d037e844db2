"""Notifications to every kind of receiver, against fake providers on loopback: what each is told, byte by byte or by its
schema; providers that are down, slow, refuse or talk nonsense; secrets; mails with pictures; calls that acknowledge."""
import base64
import hashlib
import hmac
import json
import re
import struct
import subprocess
import time
import urllib.parse
import zlib

from fake_receivers import Providers, Smtp, certificate, sigv4_is_right
from vane_e2e import BINARY, Vane, http, run, wait_for

FAST = "group_by: [alertname], group_wait: 10ms, group_interval: 300ms, repeat_interval: 1h"
SECRETS = {name: f"S3cr3t{name}Zq" for name in
           ("hook", "pagerduty", "opsgenie", "slack", "victorops", "pushuser", "pushtoken", "aws", "telegram", "discord", "webex",
            "teams", "teams2", "jira", "rocketid", "rocket", "mattermost", "incident", "twilio", "vonage", "gateway", "wechat",
            "smtp", "callback", "xtoken")}

EVERYTHING = """
receivers:
- name: all
  webhook_configs: [{{url: '{u}/hook/{hook}', http_config: {{http_headers: {{X-Token: {{secrets: ['{xtoken}']}}}}}}}}]
  email_configs: [{{to: 'a@example.com, b@example.com', from: vane@example.com, smarthost: '127.0.0.1:{smtp_port}',
    require_tls: false, auth_username: user, auth_password: '{smtp}', threading: {{enabled: true, thread_by_date: daily}}}}]
  pagerduty_configs: [{{routing_key: '{pagerduty}', url: '{u}/pagerduty'}}]
  opsgenie_configs: [{{api_key: '{opsgenie}', api_url: '{u}/opsgenie', update_alerts: true, tags: 'a, b'}}]
  wechat_configs: [{{api_secret: '{wechat}', corp_id: corp, api_url: '{u}/wechat/', message: M, send_resolved: false}}]
  slack_configs: [{{api_url: '{u}/slack/{slack}', channel: '#ops'}}]
  victorops_configs: [{{api_key: '{victorops}', api_url: '{u}/victorops', routing_key: team}}]
  pushover_configs: [{{user_key: '{pushuser}', token: '{pushtoken}', api_url: '{u}/pushover'}}]
  sns_configs: [{{api_url: '{u}', topic_arn: 'arn:aws:sns:eu-central-1:1:t', message: M, attributes: {{k: v}},
    sigv4: {{region: eu-central-1, access_key: AK, secret_key: '{aws}'}}}}]
  telegram_configs: [{{bot_token: '{telegram}', chat_id: -5, api_url: '{u}/telegram'}}]
  discord_configs: [{{webhook_url: '{u}/discord/{discord}'}}]
  webex_configs: [{{api_url: '{u}/webex', room_id: room, http_config: {{authorization: {{credentials: '{webex}'}}}}}}]
  msteams_configs: [{{webhook_url: '{u}/teams/{teams}'}}]
  msteamsv2_configs: [{{webhook_url: '{u}/teams2/{teams2}'}}]
  jira_configs: [{{api_url: '{u}/jira/rest/api/2', project: OPS, issue_type: Bug, resolve_transition: Done,
    http_config: {{basic_auth: {{username: me, password: '{jira}'}}}}}}]
  rocketchat_configs: [{{api_url: '{u}/rocket', token_id: '{rocketid}', token: '{rocket}', channel: '#r'}}]
  mattermost_configs: [{{webhook_url: '{u}/mattermost/{mattermost}'}}]
  incidentio_configs: [{{url: '{u}/incident', alert_source_token: '{incident}'}}]
  sms_configs:
  - {{provider: twilio, api_url: '{u}/twilio', account: AC1, secret: '{twilio}', from: '+1', to: '+4930, +4931', message: M}}
  - {{provider: vonage, api_url: '{u}/vonage', account: K1, secret: '{vonage}', from: vane, to: '+4930', message: M}}
  - {{provider: http, api_url: '{u}/gateway', secret: '{gateway}', headers: {{X-Key: '{{secret}}'}}, to: '+4930', message: M,
     callback_secret: '{callback}'}}
  phone_configs:
  - {{provider: twilio, api_url: '{u}/twilio', account: AC1, secret: '{twilio}', from: '+1', to: '+4930', message: M}}
"""
ANSWERS = {
    "/slack": (200, "ok", {}),
    "/pagerduty": (202, "{}", {}), "/opsgenie": (202, "{}", {}),
    "/wechat/gettoken": (200, '{"errcode":0,"access_token":"TOK"}', {}),
    "/wechat/message": (200, '{"errcode":0,"errmsg":"ok"}', {}),
    "/telegram": (200, '{"ok":true}', {}), "/discord": (204, "", {}),
    "/jira/rest/api/2/search": (200, '{"issues":[]}', {}), "/jira/rest/api/2/issue": (201, '{"key":"OPS-1"}', {}),
    "/rocket": (200, '{"success":true}', {}), "/mattermost": (200, "ok", {}), "/incident": (202, "{}", {}),
    "/twilio": (201, "{}", {}), "/vonage": (200, '{"messages":[{"status":"0"}]}', {}),
}


class Site:
    """A vane with an Alertmanager; text may name {u}, the providers' URL, and secrets."""

    def __init__(self, text, providers, smtp_port=1, route=FAST, receiver="all"):
        self.vane = Vane()
        self.file = self.vane.folder / "am.yml"
        self.write(text, providers, smtp_port, route, receiver)
        config = self.vane.folder / "vane.yaml"
        config.write_text("alertmanager: am.yml\n")
        self.vane.config = config

    def write(self, text, providers, smtp_port=1, route=FAST, receiver="all"):
        values = dict(SECRETS, u=providers.url if providers else "", smtp_port=smtp_port, vane=self.vane.url)
        self.file.write_text(f"route: {{receiver: {receiver}, {route}}}\n" + text.format(**values))

    def __enter__(self):
        return self.vane.__enter__()

    def __exit__(self, *exc):
        return self.vane.__exit__(*exc)


def post(vane, path, body):
    return http("POST", vane.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, timeout=90)


def fire(vane, name, **more):
    assert post(vane, "/api/v2/alerts", [{"labels": {"alertname": name, **more}}]).status == 200


def test_receiver(vane, name="all"):
    a = post(vane, "/api/v1/alerting/receivers/test", {"receiver": name, "labels": {"x": "<b>&"}})
    assert a.status == 200, a.body
    return a.json["data"]


def group_hash(body):
    return hashlib.sha256(json.loads(body)["groupKey"].encode()).hexdigest()


def one(p, prefix, status="firing", n=1):
    posts = p.to(prefix)
    assert len(posts) >= n, f"{prefix}: {len(posts)} requests"
    return posts[0]


def calls_through_vonage():
    text = """receivers:
- name: all
  phone_configs: [{{provider: vonage, api_url: '{u}', account: app-1, secret_file: key.pem, from: '+1', to: '+4930', message: M,
    times: 1, callback_url: 'https://v.example'}}]
"""
    with Providers({"/v1/calls": (201, '{"uuid":"1"}', {})}) as p:
        site = Site(text, p)
        key, public = site.vane.folder / "key.pem", site.vane.folder / "public.pem"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        subprocess.run(["openssl", "rsa", "-in", str(key), "-pubout", "-out", str(public)], check=True, capture_output=True)
        with site as vane:
            data = test_receiver(vane)
            assert data["ok"] and data["results"][0]["status"] == 201, data
            call = p.to("/v1/calls")[0]
            body = json.loads(call.body)
            assert body["to"] == [{"type": "phone", "number": "4930"}] and body["from"] == {"type": "phone", "number": "1"}
            talk, keys = body["ncco"]
            assert talk == {"action": "talk", "text": "M Press 1 to acknowledge.", "language": "en-US", "bargeIn": True}
            assert keys["action"] == "input" and keys["type"] == ["dtmf"] and keys["dtmf"] == {"maxDigits": 1, "timeOut": 10}
            assert re.fullmatch(r"https://v.example/api/v1/alerting/callback/phone/all/0\?code=[0-9]{6}", keys["eventUrl"][0])
            head, claims, signature = call.headers["Authorization"].removeprefix("Bearer ").split(".")
            decode = lambda x: base64.urlsafe_b64decode(x + "=" * (-len(x) % 4))  # noqa: E731
            assert json.loads(decode(head)) == {"alg": "RS256", "typ": "JWT"}
            assert json.loads(decode(claims))["application_id"] == "app-1"
            sig = site.vane.folder / "sig"
            sig.write_bytes(decode(signature))
            r = subprocess.run(["openssl", "dgst", "-sha256", "-verify", str(public), "-signature", str(sig)],
                               input=f"{head}.{claims}".encode(), capture_output=True)
            assert r.returncode == 0, r.stdout + r.stderr


def history_has_the_answers():
    text = "receivers: [{{name: all, webhook_configs: [{{url: '{u}/hook/{hook}'}}]}}]\n"
    with Providers() as p, Site(text, p) as vane:
        p.echo = True
        fire(vane, "Told")
        wait_for(lambda: len(p.to("/hook")) >= 2, "attempts")
        p.echo = False
        wait_for(lambda: "delivered" in vane.get("/api/v1/alerting/history").body.decode(), "the delivery in the history")
        told = vane.get("/api/v1/alerting/history").body.decode()
        assert "unexpected status code 400" in told and SECRETS["hook"] not in told, told


def every_receiver_is_told():
    with Providers(ANSWERS) as p, Smtp(auth="PLAIN", word=SECRETS["smtp"]) as smtp, Site(EVERYTHING, p, smtp.port) as vane:
        data = test_receiver(vane)
        bad = [r for r in data["results"] if r["outcome"] != "sent" or r["answer"]]
        assert not bad and data["ok"], bad
        assert len(data["results"]) == 22 + 5, len(data["results"])  # five keep incidents: these are resolved, too
        hook = json.loads(one(p, "/hook/" + SECRETS["hook"]).body)
        assert hook["version"] == "4" and hook["receiver"] == "all" and hook["truncatedAlerts"] == 0
        assert list(hook) == ["receiver", "status", "alerts", "groupLabels", "commonLabels", "commonAnnotations", "externalURL",
                              "version", "groupKey", "truncatedAlerts"]
        labels = {"alertname": "[DRILL] VaneReceiverTest", "drill": "true", "receiver": "all", "severity": "info", "x": "<b>&"}
        assert hook["commonLabels"] == labels and "drill" in hook["commonAnnotations"]["summary"].lower()
        assert one(p, "/hook/").headers["X-Token"] == SECRETS["xtoken"]
        assert re.fullmatch("[0-9a-f]{16}", one(p, "/hook/").headers["Idempotency-Key"])
        key, title = group_hash(one(p, "/hook/").body), "[FIRING:1] [DRILL] VaneReceiverTest (true all info <b>&)"

        pd = json.loads(one(p, "/pagerduty").body)
        assert pd["routing_key"] == SECRETS["pagerduty"] and pd["dedup_key"] == key and pd["event_action"] == "trigger"
        assert set(pd["payload"]) == {"summary", "source", "severity", "custom_details"} and pd["payload"]["severity"] == "error"
        assert pd["payload"]["custom_details"]["num_firing"] == 1 and len(pd["payload"]["custom_details"]["firing"]) == 1
        assert [json.loads(x.body)["event_action"] for x in p.to("/pagerduty")] == ["trigger", "resolve"]

        og = p.to("/opsgenie")
        assert [x.path.replace(key, "KEY") for x in og] == [
            "/opsgenie/v2/alerts", "/opsgenie/v2/alerts/KEY/message", "/opsgenie/v2/alerts/KEY/description",
            "/opsgenie/v2/alerts/KEY/close"], [x.path for x in og]
        body = json.loads(og[0].body)
        assert body["alias"] == key and body["tags"] == ["a", "b"] and body["details"] == labels
        assert og[0].headers["Authorization"] == "GenieKey " + SECRETS["opsgenie"] and og[1].method == "PUT"

        wx = p.to("/wechat")
        assert wx[0].query == f"corpid=corp&corpsecret={SECRETS['wechat']}" and wx[1].query == "access_token=TOK"
        assert wx[1].body == b'{"text":{"content":"M"},"markdown":{"content":""},"safe":"0","msgtype":"text"}'

        slack = json.loads(one(p, "/slack").body)
        assert slack["channel"] == "#ops" and len(slack["attachments"]) == 1
        att = slack["attachments"][0]
        assert att["title"] == title, att["title"]
        assert att["color"] == "danger" and att["mrkdwn_in"] == ["fallback", "pretext", "text"]
        assert set(att) == {"title", "title_link", "text", "fallback", "callback_id", "footer", "color", "mrkdwn_in"}

        vo = json.loads(one(p, f"/victorops/{SECRETS['victorops']}/team").body)
        assert vo["message_type"] == "CRITICAL" and vo["entity_id"] == key and vo["entity_display_name"] == title
        assert json.loads(p.to("/victorops")[1].body)["message_type"] == "RECOVERY"

        po = one(p, "/pushover").form
        assert po["token"] == SECRETS["pushtoken"] and po["user"] == SECRETS["pushuser"] and po["priority"] == "2"
        assert po["title"] == title and po["retry"] == "60" and po["expire"] == "3600"

        sns = [x for x in p.posts if x.path == "/"]
        assert len(sns) == 1 and sigv4_is_right(sns[0], SECRETS["aws"], f"127.0.0.1:{p.port}")
        assert sns[0].form["Action"] == "Publish" and sns[0].form["TopicArn"] == "arn:aws:sns:eu-central-1:1:t"
        assert sns[0].form["MessageAttributes.entry.1.Value.StringValue"] == "v" and len(sns[0].form["Subject"]) <= 100

        tg = json.loads(one(p, f"/telegram/bot{SECRETS['telegram']}/sendMessage").body)
        assert tg["chat_id"] == "-5" and tg["parse_mode"] == "HTML" and tg["disable_web_page_preview"] == "true"
        assert "&lt;b&gt;&amp;" in tg["text"] and "<b>&" not in tg["text"]

        dc = json.loads(one(p, "/discord").body)
        assert set(dc) == {"content", "embeds"} and dc["embeds"][0]["title"] == title and dc["embeds"][0]["color"] == 0x992D22
        we = one(p, "/webex")
        assert json.loads(we.body)["roomId"] == "room" and we.headers["Authorization"] == "Bearer " + SECRETS["webex"]
        t1, t2 = json.loads(one(p, "/teams/").body), json.loads(one(p, "/teams2/").body)
        assert t1["@context"] == "http://schema.org/extensions" and t1["type"] == "MessageCard" and t1["themeColor"] == "8C1A1A"
        assert t1["title"] == title.replace("<", "&lt;")
        content = t2["attachments"][0]["content"]
        assert t2["type"] == "message" and content["version"] == "1.2" and content["msteams"] == {"width": "full"}
        assert [b["type"] for b in content["body"]] == ["TextBlock"] * 2 and content["body"][0]["color"] == "Attention"

        ji = p.to("/jira")
        assert [(x.method, x.path) for x in ji[:2]] == [("POST", "/jira/rest/api/2/search"), ("POST", "/jira/rest/api/2/issue")]
        search, fields = json.loads(ji[0].body), json.loads(ji[1].body)["fields"]
        assert search == {"fields": ["status"], "maxResults": 2, "jql": 'statusCategory != Done and project="OPS" and '
                          f'labels="ALERT{{{key}}}" order by status ASC,resolutiondate DESC'}, search
        assert fields["labels"] == [f"ALERT{{{key}}}"] and fields["project"] == {"key": "OPS"} and len(fields["summary"]) <= 255
        assert ji[0].headers["Authorization"] == "Basic " + base64.b64encode(f"me:{SECRETS['jira']}".encode()).decode()

        rc = one(p, "/rocket/api/v1/chat.postMessage")
        assert (rc.headers["X-User-Id"], rc.headers["X-Auth-Token"]) == (SECRETS["rocketid"], SECRETS["rocket"])
        assert json.loads(rc.body)["attachments"][0]["title"] == title
        assert json.loads(one(p, "/mattermost").body)["attachments"][0]["title"] == title
        inc = one(p, "/incident")
        assert inc.headers["Authorization"] == "Bearer " + SECRETS["incident"] and json.loads(inc.body)["version"] == "4"

        tw = p.to("/twilio/2010-04-01/Accounts/AC1/Messages.json")
        assert [x.form["To"] for x in tw] == ["+4930", "+4931"] and tw[0].form["From"] == "+1"
        assert re.fullmatch("M\nReply ACK [0-9]{6} to acknowledge.", tw[0].form["Body"])
        assert tw[0].headers["Authorization"] == "Basic " + base64.b64encode(f"AC1:{SECRETS['twilio']}".encode()).decode()
        call = one(p, "/twilio/2010-04-01/Accounts/AC1/Calls.json").form
        assert re.fullmatch(r'<Response><Gather numDigits="1" timeout="10" method="POST" action="http://127.0.0.1:[0-9]+/api/v1/'
                            r'alerting/callback/phone/all/0\?code=[0-9]{6}">(<Say language="en-US">M</Say><Say language="en-US">'
                            r'Press 1 to acknowledge.</Say>){2}</Gather></Response>', call["Twiml"]), call["Twiml"]
        vg = one(p, "/vonage/sms/json").form
        assert (vg["api_key"], vg["api_secret"], vg["to"], vg["from"]) == ("K1", SECRETS["vonage"], "4930", "vane")
        gw = one(p, "/gateway")
        assert gw.headers["X-Key"] == SECRETS["gateway"] and json.loads(gw.body)["to"] == "+4930"

        mail = smtp.parsed()
        assert smtp.mails[0][0] == ["a@example.com", "b@example.com"] and smtp.logins == ["PLAIN"]
        assert mail["Subject"] == title and mail["References"] == mail["In-Reply-To"]
        assert re.fullmatch(rf"<alert-{key[:16]}-[0-9-]*@alertmanager>", mail["References"]), mail["References"]
        parts = {x.get_content_type(): x.get_payload(decode=True).decode() for x in mail.walk() if not x.is_multipart()}
        assert set(parts) == {"text/plain", "text/html"}
        assert 'x="<b>&"' in parts["text/plain"] and "<b>&" not in parts["text/html"] and "&lt;b&gt;&amp;" in parts["text/html"]


def nothing_secret_is_told():
    with Providers() as p, Smtp(auth="PLAIN", word="another") as smtp, Site(EVERYTHING, p, smtp.port) as vane:
        p.echo = True  # what a server may answer at worst
        seen = [json.dumps(test_receiver(vane))]
        assert "refused" in seen[0] and "<secret>" in seen[0]
        fire(vane, "A")
        wait_for(lambda: len(p.to("/gateway")) >= 3, "attempts of a group")
        for path in ("/api/v2/status", "/api/v2/receivers", "/api/v2/alerts", "/metrics", "/api/v1/alerting/routes",
                     "/api/v1/alerting/history", "/api/v1/status/config"):
            seen.append(vane.get(path).body.decode())
        bad = vane.folder / "bad.yml"
        bad.write_text((vane.folder / "am.yml").read_text().replace("room_id: room", "room_id: 7, no_such_key: 1"))
        checked = subprocess.run([BINARY, "check", "alertmanager", str(bad)], capture_output=True, text=True)
        assert checked.returncode == 1
        seen.append(vane.log_text())
        for name, secret in SECRETS.items():
            forms = {secret, base64.b64encode(secret.encode()).decode().rstrip("=")}
            for text in seen:
                assert not any(f in text for f in forms), f"{name} is shown: ...{text[max(0, text.find(secret) - 300):][:400]}"


def wrong_questions():
    with Providers() as p, Site("receivers: [{{name: all}}, {{name: hook, webhook_configs: [{{url: '{u}/x'}}]}}]\n", p) as vane:
        for body, status, say in (({"receiver": "none"}, 404, 'no receiver \\"none\\"'), ({}, 400, "which receiver?"),
                                  ({"receiver": "all"}, 400, "has no integrations"), ({"receiver": 5}, 400, "the body is no"),
                                  ([1], 400, "the body is no")):
            a = post(vane, "/api/v1/alerting/receivers/test", body)
            assert a.status == status and say.encode() in a.body, (body, a.status, a.body)
        a = http("POST", vane.url + "/api/v1/alerting/receivers/test?receiver=hook", b"")
        assert a.status == 200 and a.json["data"]["ok"], a.body
        assert http("POST", vane.url + "/api/v1/alerting/callback/phone/hook/0", b"").status == 404
        assert http("POST", vane.url + "/api/v1/alerting/callback/pigeon/hook/0", b"").status == 404


def command_line():
    text = """receivers:
- {{name: all, webhook_configs: [{{url: '{u}/good'}}]}}
- {{name: two, webhook_configs: [{{url: '{u}/good'}}, {{url: '{u}/bad'}}]}}
"""
    with Providers({"/bad": (500, "out of order", {})}) as p, Site(text, p) as vane:
        def notify(*args):
            return subprocess.run([BINARY, "notify", "test", "--url", vane.url, *args], capture_output=True, text=True, timeout=60)

        r = notify("all", "--label", "severity=P1")
        assert r.returncode == 0 and re.search(r"webhook\[0\] +firing +sent +200 +[0-9.]+ s", r.stdout), r.stdout + r.stderr
        assert json.loads(p.to("/good")[0].body)["commonLabels"]["severity"] == "P1"
        r = notify("two")
        assert r.returncode == 1 and "out of order" in r.stdout and "failed" in r.stdout, r.stdout + r.stderr
        r = notify("--output", "json", "two")
        assert r.returncode == 1 and json.loads(r.stdout)["ok"] is False, r.stdout + r.stderr
        r = notify("none")
        assert r.returncode == 1 and 'no receiver "none"' in r.stderr, r.stdout + r.stderr
        assert notify().returncode == 2 and notify("all", "--label", "x").returncode == 2


def providers_in_trouble():
    text = "receivers: [{{name: all, webhook_configs: [{{url: '{u}/hook', timeout: 1s}}]}}]\n"
    with Providers() as p, Site(text, p) as vane:
        for name, answer, outcome in (("no", (404, "not here", {}), "refused"), ("busy", (503, "later", {}), "failed"),
                                      ("limit", (429, "slow down", {"Retry-After": "2"}), "failed"),
                                      ("garbage", (200, b"\xff\xfe\x00<html>", {}), "sent")):
            p.answers["/hook"] = answer
            row = test_receiver(vane)["results"][0]
            assert row["outcome"] == outcome and (outcome == "sent") == (row["answer"] == ""), (name, row)
            assert row["status"] == answer[0] and row["seconds"] >= 0
        p.slow = 5
        row = test_receiver(vane)["results"][0]
        assert row["outcome"] == "failed" and row["status"] is None and "time" in row["answer"].lower(), row
        p.slow = 0
        p.answers["/hook"] = lambda x: (429, "", {"Retry-After": "1"}) if len(p.to("/hook")) == 1 else (200, "", {})
        p.posts.clear()
        begin = time.monotonic()
        fire(vane, "Limited")
        wait_for(lambda: len(p.to("/hook")) >= 2, "the attempt after Retry-After")
        assert time.monotonic() - begin >= 0.9, "it did not wait"
        assert p.to("/hook")[0].headers["Idempotency-Key"] == p.to("/hook")[1].headers["Idempotency-Key"]
    # Nobody listens there any more.
    with Site(text, p) as vane:
        row = test_receiver(vane)["results"][0]
        assert row["outcome"] == "failed" and row["status"] is None and row["answer"], row


def a_slow_receiver_holds_up_nobody_else():
    text = """receivers:
- {{name: all, webhook_configs: [{{url: '{u}/good'}}]}}
- {{name: slow, webhook_configs: [{{url: '%s/hangs', timeout: 20s}}]}}
"""
    with Providers() as p, Providers() as hung:
        hung.slow = 60
        with Site(text % hung.url, p, route=FAST + ", routes: [{matchers: [to=slow], receiver: slow}]") as vane:
            for i in range(40):
                fire(vane, f"Slow{i}", to="slow")
            wait_for(lambda: len(hung.posts) >= 4, "requests that hang")
            fire(vane, "Quick")
            wait_for(lambda: p.to("/good"), "the other receiver", 5)
            assert len(hung.posts) == 4, len(hung.posts)
            begin = time.monotonic()
            vane.stop()
            assert time.monotonic() - begin < 15, "stopping waited for the receiver"
            vane.start()
            hung.slow = 0
            hung.stopped.set()
            wait_for(lambda: len({x.body for x in hung.posts}) >= 40, "those that waited")


def receivers_have_limits():
    text = "receivers: [{{name: all, max_messages_per_minute: 3, webhook_configs: [{{url: '{u}/hook'}}]}}]\n"
    with Providers() as p, Site(text, p) as vane:
        for i in range(10):
            fire(vane, f"Many{i}")
        wait_for(lambda: vane.get("/metrics").body.decode().find("vane_alertmanager_messages_limited_total 0") < 0 and
                 len(p.to("/hook")) >= 3, "messages that are put off")
        time.sleep(1)
        assert 3 <= len(p.to("/hook")) <= 4, len(p.to("/hook"))


def templates_that_fail():
    text = """receivers:
- name: all
  slack_configs: [{{api_url: '{u}/slack', title: '{{{{ index .Alerts 99 }}}}', text: fine}}]
  webhook_configs: [{{url: '{u}/hook', payload: {{text: '{{{{ index .Alerts 99 }}}}'}}}}]
  email_configs: [{{to: a@b.c, from: d@e.f, smarthost: '127.0.0.1:{smtp_port}', require_tls: false, html: '{{{{ template "no" . }}}}'}}]
"""
    with Providers(ANSWERS) as p, Smtp() as smtp, Site(text, p, smtp.port) as vane:
        fire(vane, "Broken", x="<i>")
        wait_for(lambda: p.to("/slack") and p.to("/hook") and smtp.mails, "all three")
        att = json.loads(p.to("/slack")[0].body)["attachments"][0]
        assert att["title"].startswith("[FIRING:1] Broken (x=<i>): the template of this text failed:"), att["title"]
        assert att["text"] == "fine"
        assert "template of this text failed" in json.loads(p.to("/hook")[0].body)["text"]
        html = [x for x in smtp.parsed().walk() if x.get_content_type() == "text/html"][0].get_payload(decode=True).decode()
        assert "Broken (x=&#60;i&#62;): the template of this text failed" in html, html
        assert "sent with an error in it" in vane.log_text()
        assert len(p.to("/slack")) == 1  # it counts as sent


def slack_updates_its_message():
    text = """receivers:
- name: all
  slack_configs: [{{api_url: '{u}/api/chat.postMessage', channel: '#ops', title: 'T {{{{ .Alerts.Firing | len }}}}',
    update_message: true, http_config: {{authorization: {{credentials: xoxb}}}}}}]
"""
    answers = {"/api/chat": (200, '{"ok":true,"channel":"C1","ts":"17.001"}', {"Content-Type": "application/json"})}
    with Providers(answers) as p, Site(text, p) as vane:
        fire(vane, "A", i="1")
        wait_for(lambda: p.to("/api/chat.postMessage"), "the message")
        fire(vane, "A", i="2")
        wait_for(lambda: p.to("/api/chat.update"), "its update")
        update = json.loads(p.to("/api/chat.update")[0].body)
        assert (update["channel"], update["ts"], update["attachments"][0]["title"]) == ("C1", "17.001", "T 2"), update
        assert len(p.to("/api/chat.postMessage")) == 1
        vane.kill()
        vane.start()
        fire(vane, "A", i="3")
        fire(vane, "A", i="1")
        wait_for(lambda: len(p.to("/api/chat.update")) >= 2, "an update after a crash")
        assert len(p.to("/api/chat.postMessage")) == 1


def png_size(data):
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR"
    at, idat = 8, b""
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        assert zlib.crc32(data[at + 4:at + 8 + n]) == struct.unpack(">I", data[at + 8 + n:at + 12 + n])[0]
        idat += data[at + 8:at + 8 + n] if kind == b"IDAT" else b""
        at += 12 + n
    w, h = struct.unpack(">II", data[16:24])
    assert len(zlib.decompress(idat)) == h * (w + 1)
    return w, h


def mails_show_a_picture():
    text = """global: {{smtp_smarthost: '127.0.0.1:{smtp_port}', smtp_from: v@e.f, smtp_require_tls: false}}
receivers: [{{name: all, email_configs: [{{to: a@b.c}}]}}]
"""
    with Smtp() as smtp, Site(text, None, smtp.port) as vane:
        now = int(time.time() * 1000)
        points = [(now - 3600000 + i * 30000, 5.0 + i % 7) for i in range(120)]
        assert vane.write([({"__name__": "load", "i": "a"}, points), ({"__name__": "load", "i": "b"}, points)]).status < 300
        url = f"{vane.url}/graph?g0.expr={urllib.parse.quote('load > 7')}&g0.tab=1"
        assert post(vane, "/api/v2/alerts", [{"labels": {"alertname": "Load", "i": "a"}, "generatorURL": url}]).status == 200
        wait_for(lambda: smtp.mails, "the mail")
        mail = smtp.parsed()
        pictures = [x for x in mail.walk() if x.get_content_type() == "image/png"]
        assert len(pictures) == 1 and png_size(pictures[0].get_payload(decode=True)) == (600, 180)
        html = [x for x in mail.walk() if x.get_content_type() == "text/html"][0].get_payload(decode=True).decode()
        assert f'src="cid:{pictures[0]["Content-ID"].strip("<>")}"' in html
        assert [x.get_content_type() for x in mail.walk()] == [
            "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"]


def mail_servers_of_all_kinds():
    text = """receivers:
- name: all
  email_configs: [{{to: a@b.c, from: d@e.f, smarthost: '127.0.0.1:{smtp_port}', tls_config: {{ca_file: smtp.pem}}, %s}}]
"""
    login = "auth_username: user, auth_password: word"
    cases = (("", None, "require_tls: false"), ("LOGIN", "starttls", login), ("PLAIN", "implicit", login + ", force_implicit_tls: true"),
             ("CRAM-MD5", "starttls", "auth_username: user, auth_secret: word"),
             ("CRAM-MD5 PLAIN", None, login + ", require_tls: false"))
    for auth, tls, more in cases:
        site = Site(text % more, None, 1)
        cert = certificate(site.vane.folder)
        with Smtp(auth=auth, tls=tls, cert=cert) as smtp:
            site.write(text % more, None, smtp.port)
            with site as vane:
                row = test_receiver(vane)["results"][0]
                assert row["outcome"] == "sent" and row["status"] == 250, (auth, tls, row)
                assert smtp.logins == ([] if not auth else [auth.split()[-1]]), smtp.logins
    site = Site(text % "", None, 1)  # require_tls is the default, and the server has none
    certificate(site.vane.folder)
    with Smtp() as smtp, Smtp(refuse="550 no such user") as unwilling, Smtp(auth="PLAIN", word="other") as strict:
        site.write(text % "", None, smtp.port)
        with site as vane:
            assert test_receiver(vane)["results"][0]["outcome"] != "sent" and not smtp.mails
            for server, more, say in ((unwilling, "require_tls: false", "550"), (strict, login + ", require_tls: false", "login")):
                site.write(text % more, None, server.port)
                assert http("POST", vane.url + "/-/reload", b"").status in (200, 403)
                vane.process.send_signal(1)
                row = wait_for(lambda: (r := test_receiver(vane)["results"][0])["status"] in (550, 535) and r, "the new server")
                assert row["outcome"] == "refused" and say in row["answer"].lower(), row


def calls_acknowledge():
    text = """receivers:
- name: all
  phone_configs: [{{provider: twilio, api_url: '{u}', account: AC1, secret: '{twilio}', from: '+1', to: '+4930', callback_url: '{vane}'}}]
  sms_configs: [{{provider: http, api_url: '{u}/gateway', to: '+4930', callback_secret: '{callback}'}}]
"""
    with Providers(ANSWERS) as p, Site(text, p) as vane:
        fire(vane, "Down")
        call = wait_for(lambda: p.to("/2010-04-01"), "the call")[0].form
        url = re.search('action="([^"]+)"', call["Twiml"]).group(1)
        form = {"Digits": "1", "To": "+4930", "From": "+1", "CallSid": "CA1"}
        text = url + "".join(k + form[k] for k in sorted(form))
        sign = base64.b64encode(hmac.new(SECRETS["twilio"].encode(), text.encode(), "sha1").digest()).decode()
        body = urllib.parse.urlencode(form).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert http("POST", url, body, headers).status == 403
        assert http("POST", url, body, dict(headers, **{"X-Twilio-Signature": sign[:-2] + "x="})).status == 403
        a = http("POST", url, body, dict(headers, **{"X-Twilio-Signature": sign}))
        assert a.status == 200 and a.body == b"<Response><Say>Acknowledged.</Say></Response>", (a.status, a.body)
        assert a.headers["Content-Type"].startswith("text/xml")
        fire(vane, "Other")
        code = wait_for(lambda: [x for x in p.to("/gateway") if "Other" in x.body.decode()], "the text")[0]
        reply = json.dumps({"from": "+4930", "text": "ack " + json.loads(code.body)["code"]}).encode()
        sign = "sha256=" + hmac.new(SECRETS["callback"].encode(), reply, "sha256").hexdigest()
        a = http("POST", vane.url + "/api/v1/alerting/callback/sms/all/0", reply,
                 {"Content-Type": "application/json", "X-Vane-Signature": sign})
        assert a.status == 200 and a.json == {"message": "Acknowledged."}, (a.status, a.body)
        assert "callback refused" in vane.log_text()


run([every_receiver_is_told, calls_through_vonage, history_has_the_answers, nothing_secret_is_told,
     wrong_questions, command_line,
     providers_in_trouble, a_slow_receiver_holds_up_nobody_else, receivers_have_limits,
     templates_that_fail, slack_updates_its_message, mails_show_a_picture, mail_servers_of_all_kinds, calls_acknowledge])
