"""Deletes, snapshots, backup and restore of a real process, as an administrator would use them."""
import ctypes
import ctypes.util
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse

from vane_e2e import BINARY, PATIENCE, Vane, http, run, wait_for

ADMIN = ["--enable-admin-api"]


def command(*args, code=0, timeout=120):
    r = subprocess.run([BINARY, *map(str, args)], capture_output=True, text=True, timeout=timeout)
    assert r.returncode == code, (args, r.returncode, r.stdout, r.stderr)
    return r


def post(v, path, **params):
    pairs = [(k.replace("match", "match[]"), x) for k, p in params.items() for x in (p if isinstance(p, list) else [p])]
    return http("POST", f"{v.url}/api/v1/{path}?{urllib.parse.urlencode(pairs)}")


def get(v, path, **params):
    pairs = [(k.replace("match", "match[]"), x) for k, p in params.items() for x in (p if isinstance(p, list) else [p])]
    return http("GET", f"{v.url}/api/v1/{path}?{urllib.parse.urlencode(pairs)}")


def write(v, lines):
    a = http("POST", f"{v.url}/api/v1/import/prometheus", "\n".join(lines).encode() + b"\n")
    assert a.status in (200, 204), (a.status, a.body)


def values(v, selector, at, back="10d"):
    a = get(v, "query", query=f"{selector}[{back}]", time=at).json
    assert a["status"] == "success" and "warnings" not in a, a
    return {json.dumps(r["metric"], sort_keys=True): r["values"] for r in a["data"]["result"]}


def everything(v, at):
    """All that can be asked, for comparing two servers."""
    window = dict(start=at - 10 * 86400, end=at + 60)
    return {
        "samples": values(v, '{__name__=~".+"}', at + 60),
        "series": sorted(json.dumps(s, sort_keys=True)
                         for s in get(v, "series", match='{__name__=~".+"}', **window).json["data"]),
        "labels": get(v, "labels", **window).json["data"],
        "names": get(v, "label/__name__/values", **window).json["data"],
        "instances": get(v, "label/instance/values", **window).json["data"],
        "rate": get(v, "query_range", query="sum by (instance) (rate(c[10m]))", start=at - 7200, end=at,
                    step=60).json["data"],
    }


def fill(v, at, hours=6):
    for h in range(hours):
        lines = []
        for k in range(60):
            ts = int((at - hours * 3600 + h * 3600 + k * 60) * 1000)
            for i in range(5):
                lines.append(f'c{{instance="i{i}"}} {h * 60 + k + i} {ts}')
                lines.append(f'g{{instance="i{i}",only_g="x"}} {(h * 60 + k) % 7 / 10} {ts}')
        write(v, lines)


def off_by_default():
    with Vane() as v:
        for path in ("delete_series", "clean_tombstones", "snapshot"):
            for method in ("POST", "PUT"):
                a = http(method, f"{v.url}/api/v1/admin/tsdb/{path}?match[]=x")
                assert a.json == {"status": "error", "errorType": "unavailable", "error": "admin APIs disabled"}, a.body
        assert http("GET", f"{v.url}/api/v1/admin/tsdb/snapshot").status == 405


def delete_and_snapshot():
    at = int(time.time()) // 60 * 60
    with Vane(args=ADMIN) as v:
        fill(v, at)
        before = values(v, '{__name__=~"c|g"}', at)
        assert len(before) == 10
        assert post(v, "admin/tsdb/delete_series").status == 400
        assert post(v, "admin/tsdb/delete_series", match="{").status == 400
        assert post(v, "admin/tsdb/delete_series", match='{a=""}').status == 400
        assert post(v, "admin/tsdb/delete_series", match="c", start="soon").status == 400
        assert values(v, '{__name__=~"c|g"}', at) == before
        cut = at - 3 * 3600
        a = post(v, "admin/tsdb/delete_series", match=['c{instance="i1"}', 'c{instance=~"i[23]"}'], start=cut, end=at)
        assert (a.status, a.body) == (204, b""), (a.status, a.body)
        want = {}
        for k, s in before.items():
            m = json.loads(k)
            if m["__name__"] == "c" and m["instance"] in ("i1", "i2", "i3"):
                s = [x for x in s if not cut <= x[0] <= at]
            want[k] = s
        assert values(v, '{__name__=~"c|g"}', at) == want
        # a whole metric goes from every list
        assert post(v, "admin/tsdb/delete_series", match="g").status == 204
        want = {k: s for k, s in want.items() if json.loads(k)["__name__"] != "g"}
        assert values(v, '{__name__=~"c|g"}', at) == want
        assert get(v, "label/__name__/values").json["data"] == ["c"]
        assert get(v, "labels").json["data"] == ["__name__", "instance"]
        assert get(v, "series", match="g").json["data"] == []
        # the same sample again, and an older one
        first = before[json.dumps({"__name__": "g", "instance": "i0", "only_g": "x"}, sort_keys=True)]
        write(v, [f'g{{instance="i0",only_g="x"}} {first[-1][1]} {int(first[-1][0] * 1000)}'])
        assert list(values(v, "g", at).values()) == [[first[-1]]]
        assert "only_g" in get(v, "labels").json["data"]
        v.kill()
        v.start()
        assert list(values(v, "g", at).values()) == [[first[-1]]]
        assert {k: s for k, s in values(v, "c", at).items()} == want
        size = sum(f.stat().st_size for f in (v.data / "seg").rglob("*.vseg"))
        assert post(v, "admin/tsdb/clean_tombstones").status == 204
        assert sum(f.stat().st_size for f in (v.data / "seg").rglob("*.vseg")) < size
        assert "vane_tsdb_tombstones 0\n" in http("GET", v.url + "/metrics").body.decode()
        assert values(v, "c", at) == want
        # snapshots
        write(v, [f'late{{instance="i9"}} 1 {at * 1000}'])
        a = post(v, "admin/tsdb/snapshot", skip_head="maybe")
        assert a.status == 400 and a.json["errorType"] == "bad_data", a.body
        with_head = v.data / "snapshots" / post(v, "admin/tsdb/snapshot").json["data"]["name"]
        write(v, [f'later{{instance="i9"}} 1 {at * 1000}'])
        without = v.data / "snapshots" / post(v, "admin/tsdb/snapshot", skip_head="true").json["data"]["name"]
        answers = everything(v, at)
        assert post(v, "admin/tsdb/delete_series", match='{__name__=~".+"}').status == 204
        assert post(v, "admin/tsdb/clean_tombstones").status == 204
        assert values(v, '{__name__=~".+"}', at) == {}
        for folder in (with_head, without):
            command("fsck", folder)
            with Vane(args=ADMIN) as w:  # a copy, because a server writes into its folder
                w.stop()
                shutil.rmtree(w.data)
                shutil.copytree(folder, w.data)
                w.start()
                got = everything(w, at)
                assert "late" in got["names"] and "later" not in got["names"]
                got_all = {k: s for k, s in answers["samples"].items() if '"later"' not in k}
                assert got["samples"] == got_all
                assert got["rate"] == answers["rate"]
                write(w, [f'later{{instance="i9"}} 1 {at * 1000}'])
                assert everything(w, at) == answers
                w.kill()
                w.start()
                assert everything(w, at) == answers


class Writer(threading.Thread):
    """Counts up in one series per write, and knows what was acknowledged."""

    def __init__(self, v):
        super().__init__(daemon=True)
        self.v, self.acked, self.halt, self.slowest = v, 0, False, 0.0

    def run(self):
        n = 0
        while not self.halt:
            n += 1
            began = time.monotonic()
            try:
                a = http("POST", f"{self.v.url}/api/v1/import/prometheus",
                         b"".join(b'w{n="%d"} %d\n' % (i, n) for i in range(20)))
            except OSError:
                time.sleep(0.05)
                continue
            if a.status in (200, 204):
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.acked = n


def newest(folder):
    """The highest count in a data folder, over all of the series."""
    with Vane() as v:
        v.stop()
        shutil.rmtree(v.data)
        shutil.copytree(folder, v.data)
        v.start()
        got = get(v, "query", query="max_over_time(w[1h])").json
        assert "warnings" not in got, got
        counts = [float(r["value"][1]) for r in got["data"]["result"]]
        return counts


def objects(dest):
    return sorted(p.name for p in (dest / "objects").iterdir())


def backup_under_ingest():
    tmp = pathlib.Path(tempfile.mkdtemp(prefix="vane-e2e-backup-"))
    dest = tmp / "backups"
    at = int(time.time()) // 60 * 60
    try:
        with Vane(args=ADMIN) as v:
            fill(v, at, hours=4)
            w = Writer(v)
            w.start()
            wait_for(lambda: w.acked > 20, "writes")
            known = w.acked
            r = command("backup", dest, "--url", v.url)
            assert "copied" in r.stdout, r.stdout
            assert not list((v.data / "snapshots").iterdir()), "the snapshot is removed"
            wait_for(lambda: w.acked > known + 20, "writes")
            first_objects = set(objects(dest))
            command("restore", dest, tmp / "r1")
            command("fsck", tmp / "r1")
            counts = newest(tmp / "r1")
            assert len(counts) == 20 and min(counts) >= known, (counts, known)
            # killed in the middle: the first stays, and the next takes what is there
            p = subprocess.Popen([BINARY, "backup", str(dest), "--url", v.url, "--limit-rate", "2KiB"])
            wait_for(lambda: (dest / "SNAPSHOT").exists() and list((v.data / "snapshots").iterdir()), "the copy to begin")
            time.sleep(0.5)
            p.send_signal(signal.SIGKILL)
            p.wait()
            assert len(list((dest / "backups").iterdir())) == 1
            command("backup", "--verify", dest)
            assert first_objects <= set(objects(dest))
            v.kill()  # and the server as well, with unflushed data
            known = w.acked
            v.start()
            wait_for(lambda: w.acked > known + 5, "writes after the restart")
            known = w.acked
            command("backup", dest, "--url", v.url, "--keep", 2)
            assert not list((v.data / "snapshots").iterdir()), "also the one of the killed backup is removed"
            assert not (dest / "SNAPSHOT").exists()
            command("restore", dest, tmp / "r2")
            command("fsck", tmp / "r2")
            assert min(newest(tmp / "r2")) >= known
            w.halt = True
            w.join()
            assert w.slowest < 10 * PATIENCE, w.slowest
            listed = json.loads(command("backup", "--list", dest, "-o", "json").stdout)
            assert [x["state"] for x in listed] == ["ok", "ok"], listed
            command("restore", dest, tmp / "r3", "--backup", listed[0]["name"])
            assert newest(tmp / "r3") == counts
            answers = everything(v, at)
            v.stop()
            # offline, from the folder itself
            command("backup", dest, "--data", v.data, "--keep", 1)
            assert len(json.loads(command("backup", "--list", dest, "-o", "json").stdout)) == 1
            command("restore", dest, tmp / "r4")
            with Vane(args=ADMIN) as x:
                x.stop()
                shutil.rmtree(x.data)
                shutil.copytree(tmp / "r4", x.data)
                x.start()
                assert everything(x, at) == answers
            again = command("backup", dest, "--data", v.data).stdout
            assert "copied 0 (0 B)" in again, again
    finally:
        shutil.rmtree(tmp)


def backup_with_a_password():
    tmp = pathlib.Path(tempfile.mkdtemp(prefix="vane-e2e-backup-"))
    lib = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1")
    lib.crypt.restype = ctypes.c_char_p
    (tmp / "web.yml").write_text(f"basic_auth_users: {{ann: '{lib.crypt(b'to:mato', b'$2y$05$abcdefghijklmnopqrstuu').decode()}'}}\n")
    (tmp / "right").write_text("to:mato\n")
    (tmp / "wrong").write_text("tomato")
    v = Vane(args=[*ADMIN, "--web.config.file", str(tmp / "web.yml")])
    try:
        v.ready = lambda: http("GET", v.url + "/-/ready", timeout=2).status == 401
        v.start()
        who = ["--url", v.url, "--user", "ann", "--password-file"]
        assert "401" in command("backup", tmp / "b", "--url", v.url, code=1).stderr
        assert "401" in command("backup", tmp / "b", *who, tmp / "wrong", code=1).stderr
        assert "go together" in command("backup", tmp / "b", "--user", "ann", code=2).stderr
        command("backup", tmp / "b", *who, tmp / "right")
        command("restore", tmp / "b", tmp / "r")
        v.stop()
    finally:
        if v.process:
            v.kill()
        shutil.rmtree(v.folder)
        shutil.rmtree(tmp)


def refusals_and_damage():
    tmp = pathlib.Path(tempfile.mkdtemp(prefix="vane-e2e-backup-"))
    dest = tmp / "backups"
    at = int(time.time()) // 60 * 60
    try:
        with Vane() as v:
            fill(v, at, hours=6)
            assert "--enable-admin-api" in command("backup", dest, "--url", v.url, code=1).stderr
            assert "has the data directory" in command("backup", dest, "--data", v.data, code=1).stderr
            v.stop()
            assert "not a data directory" in command("backup", dest, "--data", tmp, code=1).stderr
            assert str(tmp / "none") in command("backup", dest, "--data", tmp / "none", code=1).stderr
            command("backup", dest, "--data", v.data)
            for _ in range(5):  # in the same second: names are in order of time all the same
                command("backup", dest, "--data", v.data)
            listed = json.loads(command("backup", "--list", dest, "-o", "json").stdout)
            assert [x["time"] for x in listed] == sorted({x["time"] for x in listed}) and len(listed) == 6, listed
            # a damaged segment of the source is named, the rest is kept
            segments = sorted((v.data / "seg/metrics").glob("*.vseg"))
            assert len(segments) > 2
            bad = segments[1]
            raw = bytearray(bad.read_bytes())
            raw[len(raw) // 2] ^= 0x10
            bad.write_bytes(raw)
            other = tmp / "other"
            r = command("backup", other, "--data", v.data, "--keep", 1, code=1)
            assert bad.name in r.stderr and "DAMAGED" in r.stderr, r.stderr
            segments[2].rename(tmp / "away")
            r = command("backup", other, "--data", v.data, code=1)
            assert segments[2].name in r.stderr, r.stderr
            r = command("restore", other, tmp / "partly", code=1)
            assert bad.name in r.stderr and segments[2].name in r.stderr, r.stderr
            assert command("fsck", tmp / "partly", code=1).stdout.count("DAMAGE") == 2
        # a damaged backup is never restored as if it were sound
        assert "not empty" in command("restore", dest, tmp / "partly", code=1).stderr
        victim = max((dest / "objects").iterdir(), key=lambda p: p.stat().st_size if p.stat().st_size < 1 << 20 else 0)
        raw = bytearray(victim.read_bytes())
        raw[len(raw) // 3] ^= 1
        victim.write_bytes(raw)
        assert victim.name in command("backup", "--verify", dest, code=1).stderr
        assert victim.name in command("restore", dest, tmp / "r", code=1).stderr
        # newer formats, and folders of others
        (other / "BACKUP").write_text("vane backup 2\n")
        assert "newer vane" in command("backup", "--list", other, code=1).stderr
        (tmp / "mine").mkdir()
        (tmp / "mine/letter").write_text("dear")
        assert "letter" in command("backup", tmp / "mine", "--data", v.data, code=1).stderr
        assert "no BACKUP file" in command("restore", tmp / "mine", tmp / "x", code=1).stderr
        assert not (tmp / "x").exists()
        assert command("restore", dest, tmp / "x", "--backup", "nope", code=1).stderr
        assert command("backup", code=2).stderr
        assert command("backup", dest, "--keep", "0", code=2).stderr
        assert command("restore", dest, code=2).stderr
    finally:
        shutil.rmtree(tmp)


run([off_by_default, delete_and_snapshot, backup_under_ingest, backup_with_a_password, refusals_and_damage])
