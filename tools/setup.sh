#!/bin/sh
# Installs the Debian packages that are missing for the given groups (tools/packages.txt), saying which.
# Usage: tools/setup.sh build [ui] [test] [dev]
set -eu
cd "$(dirname "$0")/.."
installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p')
missing=""
while read -r group package command; do
    case " $* " in *" $group "*) ;; *) continue ;; esac
    if [ -n "$command" ] && command -v "$command" >/dev/null 2>&1; then continue; fi
    case "
$installed
" in *"
$package
"*) ;; *) missing="$missing $package" ;; esac
done <<ROWS
$(grep -v '^#' tools/packages.txt)
ROWS
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null 2>&1 || { echo "vane: no apt-get here; needed are, by their names in Debian 12:$missing" >&2; exit 1; }
sudo=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 || { echo "vane: not root and no sudo; as root: apt-get install$missing" >&2; exit 1; }
    sudo=sudo
fi
echo "vane: installing Debian packages:$missing"
# The services that come with Debian's prometheus packages are not wanted, only the programs: a policy that
# says no keeps dpkg from starting them.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '$sudo rm -f "$policy"' EXIT
    trap 'exit 1' INT TERM HUP
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
fi
apt() { $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }
apt update
# shellcheck disable=SC2086
apt install -y --no-install-recommends $missing >/dev/null || {
    echo "vane: apt-get could not install:$missing" >&2
    exit 1
}
