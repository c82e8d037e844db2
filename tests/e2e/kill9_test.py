"""kill -9 in full ingest, many times, against a model of what was acknowledged: nothing acknowledged is missing, nothing
that was never sent is there, and vane is ready again within a second. In every other round the writers do not wait
for that: what they send while the log is replayed counts like the rest.
KILL9_ROUNDS sets how many (default 8; the long test runs 50)."""
import os
import random
import shutil
import statistics
import threading
import time

from vane_e2e import PATIENCE, Vane, run, wait_for

ROUNDS = int(os.environ.get("KILL9_ROUNDS", "8"))
SERIES, WRITERS = 200, 3
START_SECONDS_MAX = float(os.environ.get("KILL9_START_SECONDS_MAX", "1.0"))


class Model:
    """Per writer: how many values were sent, and which of them were acknowledged."""

    def __init__(self):
        self.acked = [set() for _ in range(WRITERS)]
        self.sent = [0] * WRITERS


def writer(v, model, w, base_ms, stop, patience):
    """patience: how long vane may still refuse connections."""
    n = model.sent[w]
    began = time.monotonic()
    while not stop.is_set():
        n += 1
        ms = base_ms + n * 50
        series = [({"__name__": "k9", "writer": str(w), "i": str(i)}, [(ms, n * 1000 + i)]) for i in range(SERIES)]
        model.sent[w] = n
        try:
            if v.write(series, timeout=5).status == 204:
                model.acked[w].add(n)
            else:
                return
            patience = 0
        except OSError:
            if time.monotonic() - began > patience:
                return
            time.sleep(0.01)


def check(v, model, base_ms):
    for w in range(WRITERS):
        if not model.sent[w]:
            continue
        end = (base_ms + model.sent[w] * 50) / 1000
        for i in random.sample(range(SERIES), 12):
            # raw samples by a range selector in an instant query
            a = v.get("/api/v1/query", query=f'k9{{writer="{w}",i="{i}"}}[{model.sent[w] * 50 + 1000}ms]', time=end)
            assert a.status == 200, a.body
            values = a.json["data"]["result"][0]["values"] if a.json["data"]["result"] else []
            got = {round(float(t) * 1000): float(x) for t, x in values}
            for n in model.acked[w]:
                assert got.get(base_ms + n * 50) == n * 1000 + i, f"writer {w} series {i}: acknowledged sample {n} is missing or wrong"
            for ms, x in got.items():
                n = (ms - base_ms) // 50
                assert (ms - base_ms) % 50 == 0 and 1 <= n <= model.sent[w] and x == n * 1000 + i, f"invented: {ms} {x}"


def nothing_acknowledged_is_lost():
    rng = random.Random(int(os.environ.get("KILL9_SEED", "1")))
    random.seed(2)
    base_ms = int(time.time() * 1000) - 1800 * 1000
    v = Vane()
    model = Model()
    starts = []
    try:
        v.start()
        early = 0
        for k in range(ROUNDS):
            stop = threading.Event()
            threads = [threading.Thread(target=writer, args=(v, model, w, base_ms, stop, 10 * early)) for w in range(WRITERS)]
            for t in threads:
                t.start()
            time.sleep(0.2 + rng.random() * 0.6)
            v.kill()
            stop.set()
            for t in threads:
                t.join()
            early = k % 2
            t0 = time.monotonic()
            v.start(wait=not early)
            if early and k + 1 < ROUNDS:
                continue
            wait_for(v.ready, "vane to be ready")
            starts.append(time.monotonic() - t0)
            check(v, model, base_ms)
        median = statistics.median(starts)
        print(f"# {ROUNDS} kills, {sum(map(len, model.acked))} acknowledged requests of {SERIES} samples, "
              f"start to ready {median * 1000:.0f} ms median, {max(starts) * 1000:.0f} ms at most")
        assert PATIENCE > 1 or median < START_SECONDS_MAX, f"start took {median:.2f} s"
        assert v.stop() == 0
    finally:
        if v.process:
            v.kill()
        shutil.rmtree(v.folder, ignore_errors=True)


run([nothing_acknowledged_is_lost])
