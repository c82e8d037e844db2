#!/bin/sh
# deb.sh BUILD OUT: vane, libvane and libvane-dev as Debian packages, from a build folder, with dpkg-deb and dpkg-shlibdeps.
# The version is that of meson.build; SOURCE_DATE_EPOCH is honoured. Nothing is installed, no root is needed.
set -eu
build=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n "s/^ *version: '\(.*\)',/\1/p" "$root/meson.build" | head -1)
arch=$(dpkg --print-architecture)
multi=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

# All files as installed under /usr, then sorted into packages.
meson install -C "$build" --no-rebuild --destdir "$work/all" >/dev/null
prefix=$(find "$work/all" -type f -name vane -path '*/bin/vane' | head -1)
[ -n "$prefix" ] || { echo "deb.sh: $build has no program vane: build it first (make build)" >&2; exit 1; }
prefix=${prefix%/bin/vane}
so=$(find "$prefix" -name "libvane.so.$version" -type f | head -1)
libdir=${so%/*}

mkdir -p "$work/vane/usr/bin" "$work/vane/usr/share/man/man1" "$work/libvane/usr/lib/$multi"
dev=$work/libvane-dev/usr
mkdir -p "$dev/include" "$dev/lib/$multi/pkgconfig" "$dev/lib/$multi/cmake/vane"
strip -o "$work/vane/usr/bin/vane" "$prefix/bin/vane"
mkdir -p "$work/vane/usr/libexec/vane"
for name in amtool promtool; do ln -s ../../bin/vane "$work/vane/usr/libexec/vane/$name"; done
mkdir -p "$work/vane/usr/share/vane/rules"
cp "$root"/rules/*.yml "$work/vane/usr/share/vane/rules/"
install -D -m 644 "$root/deploy/vane.service" "$work/vane/lib/systemd/system/vane.service"
install -D -m 644 "$root/deploy/vane.yml" "$work/vane/etc/vane/vane.yml"
install -D -m 644 "$root/deploy/default" "$work/vane/etc/default/vane"
gzip -9nc "$root/docs/vane.1" >"$work/vane/usr/share/man/man1/vane.1.gz"
strip --strip-unneeded -o "$work/libvane/usr/lib/$multi/libvane.so.$version" "$so"
ln -s "libvane.so.$version" "$work/libvane/usr/lib/$multi/libvane.so.0"
ln -s libvane.so.0 "$dev/lib/$multi/libvane.so"
strip --strip-debug -o "$dev/lib/$multi/libvane.a" "$libdir/libvane.a"
cp -r "$prefix/include/vane" "$dev/include/"
mkdir -p "$dev/share/doc/libvane-dev" "$dev/share/man"
cp -r "$prefix/share/man/man3" "$prefix/share/man/man7" "$dev/share/man/"
find "$dev/share/man" -name '*.[37]' -exec gzip -9n {} +
cp "$root/docs/instrument.md" "$root/docs/libvane.md" "$root/docs/middleware.md" "$dev/share/doc/libvane-dev/"
cp -r "$root/contrib" "$dev/share/doc/libvane-dev/examples"
rm -f "$dev/share/doc/libvane-dev/examples/meson.build" "$dev/share/doc/libvane-dev/examples/contrib_test.py" "$dev/share/doc/libvane-dev/examples/nginx_test.py"
sed "s|^prefix=.*|prefix=/usr|; s|^libdir=.*|libdir=\${prefix}/lib/$multi|; s|^includedir=.*|includedir=\${prefix}/include|" \
  "$libdir/pkgconfig/libvane.pc" >"$dev/lib/$multi/pkgconfig/libvane.pc"
sed "s|@VERSION@|$version|; s|@INCLUDEDIR@|include|; s|@LIBDIR@|lib/$multi|; s|/../../..\" ABSOLUTE|/../../../..\" ABSOLUTE|" \
  "$root/src/sdk/vane-config.cmake.in" >"$dev/lib/$multi/cmake/vane/vane-config.cmake"

# The service is not started by being installed: who wants it enables it (systemctl enable --now vane).
mkdir -p "$work/vane/DEBIAN"
cat >"$work/vane/DEBIAN/conffiles" <<FILES
/etc/vane/vane.yml
/etc/default/vane
FILES
cat >"$work/vane/DEBIAN/postinst" <<'SCRIPT'
#!/bin/sh
set -e
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
    # an upgrade: the new program takes over
    if [ "$1" = configure ] && [ -n "$2" ]; then systemctl try-restart vane.service || true; fi
fi
SCRIPT
cat >"$work/vane/DEBIAN/prerm" <<'SCRIPT'
#!/bin/sh
set -e
if [ -z "$DPKG_ROOT" ] && [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now vane.service || true
fi
SCRIPT
cat >"$work/vane/DEBIAN/postrm" <<'SCRIPT'
#!/bin/sh
set -e
if [ -z "$DPKG_ROOT" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
# What was stored stays, also when the package is purged: it is in /var/lib/private/vane.
SCRIPT
chmod 755 "$work/vane/DEBIAN/postinst" "$work/vane/DEBIAN/prerm" "$work/vane/DEBIAN/postrm"
mkdir -p "$work/vane/usr/share/doc/vane"
for page in configuration operations protocols; do cp "$root/docs/$page.md" "$work/vane/usr/share/doc/vane/"; done

# control NAME SECTION DEPENDS SHORT LONG MULTI-ARCH [SUGGESTS]
control()
{
  p=$work/$1
  mkdir -p "$p/DEBIAN" "$p/usr/share/doc/$1"
  cp "$root/LICENSE" "$p/usr/share/doc/$1/copyright"
  printf 'vane (%s) stable; urgency=medium\n\n  * See the history of the repository.\n\n -- vane maintainers <maintainers@vane.invalid>  %s\n' "$version" \
    "$(date -R -u -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$p/usr/share/doc/$1/changelog.gz"
  {
    echo "Package: $1"
    echo "Source: vane"
    echo "Version: $version"
    echo "Architecture: $arch"
    echo "Multi-Arch: $6"
    echo "Maintainer: vane maintainers <maintainers@vane.invalid>"
    echo "Section: $2"
    echo "Priority: optional"
    [ -z "$3" ] || echo "Depends: $3"
    [ -z "${7:-}" ] || echo "Suggests: $7"
    echo "Installed-Size: $(du -sk --exclude=DEBIAN "$p" | cut -f1)"
    echo "Description: $4"
    echo " $5"
  } >"$p/DEBIAN/control"
  (cd "$p" && find . \( -path ./DEBIAN -o -path ./etc \) -prune -o -type f -print0 | sed -z 's|^\./||' | sort -z | xargs -0 md5sum) >"$p/DEBIAN/md5sums"
  dpkg-deb --root-owner-group -Zxz --build "$p" "$out/$1_${version}_$arch.deb" >/dev/null
  echo "$out/$1_${version}_$arch.deb"
}

# Which packages the libraries a file needs are in.
needs()
{
  mkdir -p "$work/debian"
  printf 'Source: vane\n\nPackage: vane\nArchitecture: any\n' >"$work/debian/control"
  (cd "$work" && dpkg-shlibdeps -O "$1" 2>/dev/null) | sed -n 's/^shlibs:Depends=//p'
}

so_file=libvane/usr/lib/$multi/libvane.so.$version
mkdir -p "$work/libvane/DEBIAN"
echo "libvane 0 libvane (>= $version)" >"$work/libvane/DEBIAN/shlibs"
echo "activate-noawait ldconfig" >"$work/libvane/DEBIAN/triggers"
control libvane libs "$(needs "$so_file")" "instrumentation library: metrics, traces and logs for C" \
  "The shared library; it needs libc only and works with any Prometheus or OpenTelemetry backend." same "libcurl3-gnutls | libcurl4"
control libvane-dev libdevel "libvane (= $version)" "instrumentation library: files for development" \
  "Headers, static library, pkg-config and CMake files, adapters for other libraries." same
control vane net "$(needs vane/usr/bin/vane)" "observability for API services in one program" \
  "Metrics, traces, logs and alerts in one process with an embedded durable store." foreign
