#!/bin/sh
# Starts vane with the demo services and their traffic. Ctrl-C stops everything; with DETACH=1 it returns, and
# `tools/up.sh down` stops everything. State lives in .demo/ (data, logs, process ids).
# Ports: VANE_PORT (9090), VANE_OTLP_PORT (4318), VANE_OTLP_GRPC_PORT (4317), DEMO_PORT (18080: the shop; payments,
# catalog and assistant take the next three). DEMO_BUILD and DEMO_STATE: other folders than build/ and .demo/.
# Variables of libvane (OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, LOG_LEVEL ...) reach the services.
set -eu
cd "$(dirname "$0")/.."
build=$(cd "${DEMO_BUILD:-build}" && pwd -P)
state=${DEMO_STATE:-.demo}
names="traffic shop assistant payments catalog vane" # in the order they are asked to stop
port=${VANE_PORT:-9090}
otlp_port=${VANE_OTLP_PORT:-4318}
grpc_port=${VANE_OTLP_GRPC_PORT:-4317}
shop_port=${DEMO_PORT:-18080}
payments_port=$((shop_port + 1))
catalog_port=$((shop_port + 2))
assistant_port=$((shop_port + 3))
url=http://127.0.0.1:$port

say() { echo "vane: $*"; }
nap() { sleep "$1" || true; } # a signal may cut it short

# Process ids are given out again: only a program of this checkout is ours.
ours() { case "$(readlink "/proc/$1/exe" 2>/dev/null)" in "$build/"*) true ;; *) false ;; esac; }

running() { # prints the ids of the parts that run
    for name in $names; do
        pid=$(cat "$state/$name.pid" 2>/dev/null) || continue
        if ours "$pid"; then echo "$pid"; fi
    done
}

down() {
    left=$(running)
    rm -f "$state"/*.pid # first: who watches sees that this was meant
    for pid in $left; do kill "$pid" 2>/dev/null || true; done
    for _ in $(seq 1 200); do
        now=""
        for pid in $left; do if ours "$pid"; then now="$now $pid"; fi; done
        left=$now
        [ -n "$left" ] || return 0
        nap 0.1
    done
    for pid in $left; do kill -9 "$pid" 2>/dev/null || true; done
}

start() { # name, command...
    name=$1
    shift
    setsid "$@" >"$state/$name.log" 2>&1 </dev/null &
    echo $! >"$state/$name.pid"
    while kill -0 $! 2>/dev/null && ! ours $!; do nap 0.02; done
}

service() { # name, option...: a demo service; its log is JSON, a line each, in two files of at most 16 MiB
    name=$1
    shift
    start "$name" env VANE_LOG_SINKS="file:$state/$name.json" "$@"
}

check() { # names...: all of them run and nobody asked to stop
    for name in "$@"; do
        ours "$(cat "$state/$name.pid" 2>/dev/null)" && continue
        [ -z "$stop" ] || break
        say "$name did not start:" >&2
        tail -n 5 "$state/$name.log" >&2
        down
        exit 1
    done
    [ -n "$stop" ] || return 0
    down
    exit 1
}

check_ports() { # NAME=port...
    taken=""
    for pair in "$@"; do
        # curl: 7 = nobody listens
        status=0
        curl -s -o /dev/null --noproxy '*' --max-time 1 "http://127.0.0.1:${pair#*=}/" || status=$?
        [ "$status" = 7 ] || taken="$taken ${pair#*=}:${pair%%=*}"
    done
    [ -n "$taken" ] || return 0
    for one in $taken; do
        say "port ${one%%:*} is in use by another program; stop it, or choose another: make up ${one#*:}=PORT" >&2
    done
    exit 1
}

if [ "${1:-}" = down ]; then
    if [ -n "$(running)" ]; then
        down
        say "stopped"
    else
        say "nothing to stop"
    fi
    exit 0
fi

if [ -n "$(running)" ]; then
    say "stopping the demo that runs already"
    down
fi
check_ports "VANE_PORT=$port" "VANE_OTLP_PORT=$otlp_port" "VANE_OTLP_GRPC_PORT=$grpc_port" \
    "DEMO_PORT=$shop_port" "DEMO_PORT=$payments_port" "DEMO_PORT=$catalog_port" \
    "DEMO_PORT=$assistant_port"
mkdir -p "$state"
for file in vane.yaml prometheus.yml alertmanager.yml; do
    sed -e "s/127\.0\.0\.1:9090/127.0.0.1:$port/" -e "s/127\.0\.0\.1:18080/127.0.0.1:$shop_port/" \
        -e "s/127\.0\.0\.1:18081/127.0.0.1:$payments_port/" -e "s/127\.0\.0\.1:18082/127.0.0.1:$catalog_port/" \
        -e "s/127\.0\.0\.1:18083/127.0.0.1:$assistant_port/" \
        "examples/$file" >"$state/$file"
done

export no_proxy="${no_proxy:+$no_proxy,}127.0.0.1" # a proxy of the environment is not for the demo
stop=""
trap 'stop=yes' INT TERM HUP
shop=http://127.0.0.1:$shop_port
payments=http://127.0.0.1:$payments_port
catalog=http://127.0.0.1:$catalog_port
assistant=http://127.0.0.1:$assistant_port
service catalog "$build/examples/catalog" --port "$catalog_port" --db "$state/catalog.db"
service payments "$build/examples/payments" --port "$payments_port"
service assistant CATALOG_URL="$catalog" "$build/examples/assistant" --port "$assistant_port" --db "$state/assistant.db"
service shop CATALOG_URL="$catalog" PAYMENTS_URL="$payments" ASSISTANT_URL="$assistant" \
    "$build/examples/shop" --port "$shop_port" --db "$state/shop.db"
start vane "$build/vane" serve --config "$state/vane.yaml" --data "$state/data" \
    --listen "127.0.0.1:$port" --otlp-listen "127.0.0.1:$otlp_port" \
    --otlp-grpc-listen "127.0.0.1:$grpc_port"
until curl -fs --noproxy '*' "$url/-/ready" >/dev/null 2>&1; do # a long log may have to be read again
    check vane
    nap 0.1
done
service traffic OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="http://127.0.0.1:$otlp_port/v1/metrics" \
    OTEL_METRIC_EXPORT_INTERVAL=5000 "$build/examples/traffic" --shop "$shop" --payments "$payments"
nap 0.2
# shellcheck disable=SC2086
check $names

cat <<TEXT

  vane is running:            $url
  explore metrics with PromQL $url/explore
  alerts, who is told of them $url/alerts
  scraped targets             $url/targets
  its own health              $url/status

  The demo: a shop with its catalog, payments and assistant under traffic; every few minutes there is an incident.
  Health of its parts         $shop/health/detailed
  Their logs, by trace        grep TRACE_ID $state/*.json   (a trace_id stands in every line)
  Logs and data               $state/
TEXT
if [ "${DETACH:-}" = 1 ]; then
    echo "  Stop everything:            make down"
    exit 0
fi
echo "  Ctrl-C stops everything."
mine=$(cat "$state/vane.pid")
while [ -z "$stop" ] && ours "$mine"; do nap 1; done
if [ -n "$stop" ]; then
    echo
    say "stopping"
    down
elif [ "$(cat "$state/vane.pid" 2>/dev/null)" = "$mine" ]; then
    say "the server ended; its last words:" >&2
    tail -n 5 "$state/vane.log" >&2
    down
    exit 1
else
    say "stopped from elsewhere"
fi
