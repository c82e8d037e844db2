"""The disk fills up and is freed again: writes are refused with a status that makes senders retry, reads go on, nothing
acknowledged is lost, and it recovers by itself. Needs a small file system of its own (tmpfs, as root); skipped otherwise."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

from vane_e2e import Skip, Vane, http, run, wait_for

MIB = 1 << 20


def tmpfs(folder, options):
    """A file system of its own at folder; the caller unmounts it."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True)
    if mounted.returncode:
        raise Skip("cannot mount a tmpfs here")


def a_full_disk_refuses_and_recovers():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vane-e2e-disk-"))
    try:
        tmpfs(folder, "size=420m")
        now = int(time.time() * 1000)
        with Vane(folder=str(folder)) as v:
            assert v.write([({"__name__": "d"}, [(now - 5000, 1)])]).status == 204
            filler = folder / "filler"
            with open(filler, "wb", buffering=0) as f:
                try:
                    while shutil.disk_usage(folder).free > 20 * MIB:
                        f.write(b"\0" * MIB)
                except OSError:
                    pass  # vane took the rest for its log: full is full
            refused = wait_for(lambda: (a := v.write([({"__name__": "d"}, [(now - 4000, 2)])])).status != 204 and a, "a refusal", 15)
            assert refused.status in (429, 503, 507), (refused.status, refused.body)
            assert refused.headers["Retry-After"], refused.headers
            assert b"space" in refused.body, refused.body
            assert v.value("d", (now - 4500) / 1000) == 1
            assert http("GET", v.url + "/-/healthy").status == 200
            assert "vane_store_no_space 1" in http("GET", v.url + "/metrics").body.decode()
            filler.unlink()
            wait_for(lambda: v.write([({"__name__": "d"}, [(now - 3000, 3)])]).status == 204, "recovery", 30)
            v.kill()
            v.start()
            assert v.value("d", (now - 4500) / 1000) == 1 and v.value("d", (now - 2000) / 1000) == 3
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)
        os.rmdir(folder)


def a_read_only_folder_is_refused_with_a_reason():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="vane-e2e-ro-"))
    target = folder / "data"
    target.mkdir()
    try:
        tmpfs(target, "size=10m,ro")
        v = Vane(folder=str(folder))
        v.start(wait=False)
        assert v.process.wait(10) == 1
        assert "data" in v.log_text() and ("permission" in v.log_text().lower() or "read-only" in v.log_text().lower()), v.log_text()
        v.process = None
    finally:
        subprocess.run(["umount", "-l", str(target)], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


run([a_full_disk_refuses_and_recovers, a_read_only_folder_is_refused_with_a_reason])
