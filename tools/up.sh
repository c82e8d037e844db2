#!/bin/sh
# Starts vane with the demo services and their traffic. Ctrl-C stops everything; with DETACH=1 it returns and
# tools/up.sh down stops everything. State lives in .demo/ (data, logs, process ids).
set -eu
cd "$(dirname "$0")/.."
state=.demo
url=http://127.0.0.1:9090

down() {
    [ -d "$state" ] || return 0
    for f in "$state"/*.pid; do
        [ -e "$f" ] || continue
        pid=$(cat "$f")
        kill "$pid" 2>/dev/null || true
        for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.5
        done
        kill -9 "$pid" 2>/dev/null || true
        rm -f "$f"
    done
}

start() { # name, command...
    name=$1
    shift
    setsid "$@" >"$state/$name.log" 2>&1 </dev/null &
    echo $! >"$state/$name.pid"
}

alive() { # name
    kill -0 "$(cat "$state/$1.pid")" 2>/dev/null || {
        echo "vane: $1 did not start:" >&2
        tail -n 5 "$state/$1.log" >&2
        down
        exit 1
    }
}

if [ "${1:-}" = down ]; then
    down
    echo "vane: stopped"
    exit 0
fi

mkdir -p "$state"
down
trap 'down; exit 1' INT TERM
start catalog build/examples/catalog
start payments build/examples/payments
start shop build/examples/shop
start vane build/vane serve --config examples/prometheus.yml --data "$state/data"
for _ in $(seq 1 100); do
    alive vane
    curl -fs "$url/-/ready" >/dev/null 2>&1 && break
    sleep 0.1
done
start traffic build/examples/traffic
sleep 0.3
for name in catalog payments shop vane traffic; do alive "$name"; done

cat <<TEXT

  vane is running:            $url
  explore metrics with PromQL $url/explore
  scraped targets             $url/targets
  its own health              $url/status

  The demo: a shop, its payments and its catalog under traffic; every few minutes payments has an incident.
  Logs and data: $state/
TEXT
if [ "${DETACH:-}" = 1 ]; then
    echo "  Stop everything:            make down"
    exit 0
fi
echo "  Ctrl-C stops everything."
trap 'echo; echo "vane: stopping"; down; exit 0' INT TERM
while kill -0 "$(cat "$state/vane.pid")" 2>/dev/null; do sleep 1; done
echo "vane: the server ended; its last words:" >&2
tail -n 5 "$state/vane.log" >&2
down
exit 1
