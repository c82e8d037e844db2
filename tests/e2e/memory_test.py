"""Memory: replay of the log takes no more than running did, also inside a cgroup of just that size. (A day of churn:
tests/tsdb/churn_test.c.)"""
import json
import os
import pathlib
import subprocess
import threading
import time

from vane_e2e import Skip, Vane, run, wait_for

BUILD = pathlib.Path(os.environ.get("VANE_BUILD", pathlib.Path(__file__).resolve().parents[2] / "build"))
RWGEN = os.environ.get("VANE_RWGEN", str(BUILD / "bench/rwgen"))
SANITIZED = float(os.environ.get("VANE_TEST_PATIENCE", 1)) > 1
CONFIG = "limits: {memory: 512MB, out_of_order_window: 2h}\n"
CGROUPS = pathlib.Path("/sys/fs/cgroup")


def status(pid, key):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {key} in /proc/{pid}/status")


def anonymous(pid):
    """What counts: mapped files are the kernel's to drop."""
    return status(pid, "RssAnon")


class Peak:
    """The most anonymous memory a process had, looked at every few milliseconds from its first one on."""

    def __init__(self, v):
        self.v, self.bytes, self.end = v, 0, False
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while not self.end:
            if self.v.process:
                try:
                    self.bytes = max(self.bytes, anonymous(self.v.process.pid))
                except (OSError, AssertionError, AttributeError):
                    pass  # between two processes
            time.sleep(0.002)

    def stop(self):
        self.end = True
        self.thread.join()
        return self.bytes


def send(v, hours, end, **options):
    """Samples taken. rwgen is C: the load must not be what the test waits for."""
    cmd = [RWGEN, "--url", v.url + "/api/v1/write", "--duration", f"{hours * 60:.0f}m", "--end", str(end)]
    for k, value in options.items():
        cmd += ["--" + k.replace("_", "-"), str(value)]
    out = subprocess.run(cmd, capture_output=True, text=True, timeout=600)
    got = json.loads(out.stdout)
    assert got["refused"] == 0, f"{got} {out.stderr}"
    return got["samples"]


def now():
    return int(time.time()) // 60 * 60


def write_and_kill(v):
    """The peak of a process that wrote an hour of 20,000 series, then kill -9: all of it is in the log."""
    peak = Peak(v)
    v.start()
    end = now()
    samples = send(v, 1, end, targets=40, series=500, interval=15)
    v.kill()
    return end, samples, peak.stop()


def assert_all_there(v, end, samples):
    got = sum(float(r["value"][1]) for r in v.query('sum(count_over_time({job="node"}[2h]))', end))
    assert got == samples, f"{got} of {samples}"


def replay_needs_no_more_than_running():
    if SANITIZED:
        raise Skip("a sanitizer's memory is not vane's")
    v = Vane(CONFIG)
    end, samples, running = write_and_kill(v)
    peak = Peak(v)
    with v:
        replay = peak.stop()
        print(f"# {samples / 1e6:.1f} M samples: running {running / 1e6:.0f} MB at most, replay {replay / 1e6:.0f} MB", flush=True)
        assert replay <= running * 1.1 + 4e6, f"replay took {replay}, running {running}"
        assert_all_there(v, end, samples)


def replay_in_a_cgroup_of_that_size():
    if SANITIZED:
        raise Skip("a sanitizer's memory is not vane's")
    group = CGROUPS / f"vane-e2e-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as e:
        raise Skip(f"no cgroup v2 to write to: {e}")
    try:
        limit = group / "memory.max"
        if not limit.exists():
            raise Skip("the memory controller is not delegated to this cgroup")
        v = Vane(CONFIG)
        end, samples, running = write_and_kill(v)
        limit.write_text(str(int(running * 1.1 + 8e6)))  # and a little for what is mapped
        (group / "memory.swap.max").write_text("0") if (group / "memory.swap.max").exists() else None
        inside = v.command()
        v.command = lambda: ["sh", "-c", f"echo $$ > {group}/cgroup.procs && exec \"$0\" \"$@\"", *inside]
        with v:
            assert_all_there(v, end, samples)
        kills = dict(line.split() for line in (group / "memory.events").read_text().splitlines())
        assert kills["oom_kill"] == "0", kills
    finally:
        wait_for(lambda: group.rmdir() is None, "the cgroup to be empty")


run([replay_needs_no_more_than_running, replay_in_a_cgroup_of_that_size])
