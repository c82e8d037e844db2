#!/bin/sh
# Installs the Debian packages that are missing for the given groups (tools/packages.txt), saying which.
# Usage: tools/setup.sh build [ui] [test] [dev]
set -eu
cd "$(dirname "$0")/.."
missing=""
for group in "$@"; do
    while read -r row_group package command; do
        [ "$row_group" = "$group" ] || continue
        if [ -n "$command" ] && command -v "$command" >/dev/null 2>&1; then continue; fi
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] || missing="$missing $package"
    done <<ROWS
$(grep -v '^#' tools/packages.txt)
ROWS
done
[ -n "$missing" ] || exit 0
echo "vane: installing Debian packages:$missing"
sudo=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || { echo "vane: not root and no sudo: install these packages, then try again" >&2; exit 1; }
    sudo=sudo
fi
# The services that come with Debian's prometheus packages are not wanted, only the programs: a policy that
# says no keeps dpkg from starting them.
policy=/usr/sbin/policy-rc.d
made_policy=""
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
    made_policy=yes
fi
trap '[ -z "$made_policy" ] || $sudo rm -f "$policy"' EXIT
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null || {
    echo "vane: apt-get could not install:$missing" >&2
    exit 1
}
