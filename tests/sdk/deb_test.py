"""The Debian packages: made, taken apart, and a program built against what they hold by pkg-config and by CMake, and run."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

root, build = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
for tool in ("dpkg-deb", "dpkg-shlibdeps", "pkg-config"):
    if not shutil.which(tool):
        print(f"skipped: no {tool}")
        sys.exit(77)
PROGRAM = """#include <vane/vane.h>
#include <stdio.h>
int main(void)
{
    if (vane_start(NULL))
        return 1;
    vane_counter_inc(vane_counter_bind(vane_counter_new("hits_total", "Hits.", ""), VANE_NO_LABELS));
    puts(vane_version());
    return vane_stop(1000);
}
"""


def run(*cmd, **more):
    return subprocess.run([str(c) for c in cmd], check=True, capture_output=True, text=True, **more).stdout


def install(place, debs):
    """dpkg itself, in a root of its own, where it may: it runs the scripts and keeps the configuration files apart."""
    if os.geteuid():
        for path in debs.values():
            run("dpkg-deb", "--extract", path, place)
        return
    (place / "var/lib/dpkg/info").mkdir(parents=True)
    (place / "var/lib/dpkg/updates").mkdir()
    (place / "var/lib/dpkg/status").touch()
    dpkg = ["dpkg", f"--root={place}", "--force-depends", "--force-script-chrootless", f"--log={place}/log"]
    run(*dpkg, "--install", *debs.values())
    listed = run("dpkg-query", f"--admindir={place}/var/lib/dpkg", "-W", "-f", "${Package} ${db:Status-Status}\n").split("\n")
    assert {f"{p} installed" for p in debs} <= set(listed), listed
    (place / "etc/vane/vane.yml").write_text("global: {scrape_interval: 30s}\n")  # somebody's own
    run(*dpkg, "--install", debs["vane"])
    assert "30s" in (place / "etc/vane/vane.yml").read_text(), "an upgrade has overwritten the configuration"
    changed = subprocess.run(["dpkg", f"--root={place}", "--verify"], capture_output=True, text=True).stdout.split()
    assert changed in ([], ["??5??????", "c", "/etc/vane/vane.yml"]), changed


def service(place):
    """The unit names what the package installs, and keeps to itself."""
    unit = (place / "lib/systemd/system/vane.service").read_text()
    command = next(line for line in unit.splitlines() if line.startswith("ExecStart=")).removeprefix("ExecStart=").split()
    assert (place / command[0].lstrip("/")).exists() and (place / command[command.index("--config") + 1].lstrip("/")).exists()
    run(place / "usr/bin/vane", "check", "config", place / "etc/vane/vane.yml")
    if not shutil.which("systemd-analyze"):
        return
    r = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", place / "lib/systemd/system/vane.service"], capture_output=True, text=True)
    assert r.returncode == 0, r.stdout[-2000:] + r.stderr
    r = subprocess.run(["systemd-analyze", "verify", "--man=no", place / "lib/systemd/system/vane.service"], capture_output=True, text=True)
    odd = [x for x in r.stderr.splitlines() if "vane.service" in x and "not executable" not in x]
    assert not odd, odd


tmp = pathlib.Path(tempfile.mkdtemp(prefix="vane-deb-"))
try:
    debs = {pathlib.Path(p).name.split("_")[0]: p for p in run(root / "tools/deb.sh", build, tmp / "out").split()}
    assert set(debs) == {"vane", "libvane", "libvane-dev"}, debs
    for name, path in debs.items():
        info = run("dpkg-deb", "--field", path)
        print(info.splitlines()[0], [x for x in info.splitlines() if x.startswith("Depends")], os.path.getsize(path), "bytes")
        assert run("dpkg-deb", "--field", path, "Version").strip() and "Installed-Size" in info
    assert run("dpkg-deb", "--field", debs["libvane"], "Depends").startswith("libc6"), "libvane needs libc and nothing else"
    assert "," not in run("dpkg-deb", "--field", debs["libvane"], "Depends")
    assert "libmicrohttpd" in run("dpkg-deb", "--field", debs["vane"], "Depends")
    place = tmp / "root"
    install(place, debs)
    usr = place / "usr"
    assert "vane" in run(usr / "bin/vane", "--version")
    service(place)
    for name in ("man1/vane.1", "man3/vane_counter_add.3", "man3/vane_http_server.3", "man7/libvane.7"):
        assert (usr / f"share/man/{name}.gz").exists(), name
    if shutil.which("man"):
        assert "vane_counter_add" in run("man", "-M", usr / "share/man", "vane_counter_add", env=os.environ | {"MANPAGER": "cat", "LC_ALL": "C"})
    assert (usr / "share/doc/libvane-dev/examples/libmicrohttpd/vane_mhd.c").exists() and not list((usr / "share/doc/libvane-dev/examples").rglob("*.pyc"))
    lib = next(usr.glob("lib/*/libvane.so.0")).parent
    assert "libvane.so.0" in run("objdump", "-p", lib / "libvane.so")
    (tmp / "p.c").write_text(PROGRAM)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "VANE_"))}
    env |= {"PKG_CONFIG_PATH": str(lib / "pkgconfig"), "PKG_CONFIG_SYSROOT_DIR": str(place), "LD_LIBRARY_PATH": str(lib)}
    flags = run("pkg-config", "--cflags", "--libs", "libvane", env=env).split()
    run("cc", "-std=c99", tmp / "p.c", "-o", tmp / "shared", *flags, env=env)
    version = run(tmp / "shared", env=env).strip()
    assert version == run("pkg-config", "--modversion", "libvane", env=env).strip(), version
    run("cc", "-std=c99", f"-I{usr}/include", tmp / "p.c", lib / "libvane.a", "-pthread", "-o", tmp / "static")
    assert run(tmp / "static", env=env).strip() == version
    if shutil.which("cmake"):
        (tmp / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.18)\nproject(p C)\nfind_package(vane REQUIRED)\n"
                                            "add_executable(a p.c)\ntarget_link_libraries(a vane::vane)\n"
                                            "add_executable(b p.c)\ntarget_link_libraries(b vane::static)\n")
        run("cmake", "-S", tmp, "-B", tmp / "c", f"-Dvane_DIR={lib}/cmake/vane", env=env)
        run("cmake", "--build", tmp / "c", env=env)
        assert run(tmp / "c/a", env=env).strip() == run(tmp / "c/b", env=env).strip() == version
        print("cmake too")
    print("ok")
except subprocess.CalledProcessError as e:
    print(e.cmd, e.stdout, e.stderr)
    sys.exit(1)
finally:
    shutil.rmtree(tmp, ignore_errors=True)
