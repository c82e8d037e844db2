#!/bin/bash
# Builds ngx_http_vane_module.so for the nginx of Debian's package nginx-dev: build.sh MODULE.so FOLDER
# VANE_CFLAGS and VANE_LIBS: where libvane is; what pkg-config says when they are not set.
set -eu
out=$(realpath -m "$1") work=$(realpath -m "$2") here=$(dirname "$(realpath "$0")")
src=${NGINX_SRC:-/usr/share/nginx/src}
export VANE_CFLAGS=${VANE_CFLAGS-$(pkg-config --cflags libvane)} VANE_LIBS=${VANE_LIBS-$(pkg-config --libs libvane)}
mkdir -p "$work"
cd "$src"
. ./conf_flags
./configure --with-cc-opt="-O2 -g -fPIC -fstack-protector-strong -D_FORTIFY_SOURCE=2 -std=gnu17" \
    --with-ld-opt="-Wl,-z,relro -Wl,-z,now -Wl,-z,nodelete -fPIC" "${NGX_CONF_FLAGS[@]}" --add-dynamic-module="$here" \
    --builddir="$work" >"$work/configure.log" || { cat "$work/configure.log" >&2; exit 1; }
make -s -f "$work/Makefile" -C "$src" modules >"$work/make.log" 2>&1 || { cat "$work/make.log" >&2; exit 1; }
grep -i warning "$work/make.log" >&2 || true
cp "$work/ngx_http_vane_module.so" "$out"
