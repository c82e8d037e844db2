/* Decoders of wire: text exposition (every line lexed; lines recognised by hint; with labels), OpenMetrics, remote write
 * and OTLP in both codings. One JSON object on standard output: MB/s of input and ns of CPU per sample, best of several runs. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/os.h"
#include "wire/compress.h"
#include "wire/custom.h"
#include "wire/expo.h"
#include "wire/otlp.h"
#include "wire/otlp_int.h"
#include "wire/pb.h"
#include "wire/remote_write.h"

enum { RUNS = 7, INSTANCES = 200, ROUTES = 12 };

struct input {
    str text, openmetrics, remote_write, plain, otlp, otlp_json;
    size_t n_samples;
    str *series; /* raw, in order */
};

typedef size_t run_fn(const struct input *in); /* samples decoded */

/* ---- input: a service with counters, gauges and histograms, numbers as they come ---- */

static void exposition(struct buf *b, bool om, size_t *n)
{
    static const char *const les[] = { "0.005", "0.01", "0.025", "0.05", "0.1",  "0.25",
                                       "0.5",   "1.0",  "2.5",   "5.0",  "10.0", "+Inf" };
    struct rng r = { 42 };
    buf_lit(b, "# HELP http_requests Requests served, by route and status.\n# TYPE http_requests counter\n");
    for (int i = 0; i < INSTANCES; i++)
        for (int k = 0; k < ROUTES; k++, ++*n)
            buf_printf(b, "%s{method=\"GET\",route=\"/api/v1/items/%d\",status=\"200\",pod=\"shop-%d-x7f9c\"} %llu\n",
                       om ? "http_requests_total" : "http_requests", k, i,
                       (unsigned long long)rng_below(&r, 100000000));
    buf_lit(b, "# HELP request_seconds Latency.\n# TYPE request_seconds histogram\n");
    for (int i = 0; i < INSTANCES; i++) {
        for (int k = 0; k < 12; k++, ++*n)
            buf_printf(b, "request_seconds_bucket{handler=\"/api/v1/query\",pod=\"shop-%d-x7f9c\",le=\"%s\"} %llu\n", i,
                       les[k], (unsigned long long)(100 * k + (int)rng_below(&r, 100)));
        buf_printf(b, "request_seconds_sum{handler=\"/api/v1/query\",pod=\"shop-%d-x7f9c\"} %.9g\n", i,
                   rng_unit(&r) * 1e4);
        buf_printf(b, "request_seconds_count{handler=\"/api/v1/query\",pod=\"shop-%d-x7f9c\"} %d\n", i, 1200 + i);
        *n += 2;
    }
    buf_lit(b, "# HELP memory_bytes Memory.\n# TYPE memory_bytes gauge\n");
    for (int i = 0; i < INSTANCES; i++, ++*n)
        buf_printf(b, "memory_bytes{pod=\"shop-%d-x7f9c\"} %.17g\n", i, 1e9 * rng_unit(&r));
    if (om)
        buf_lit(b, "# EOF\n");
}

static void otlp_request(struct buf *b, bool json)
{
    AUTO_BUF struct buf j;
    buf_init(&j, 0);
    struct rng r = { 7 };
    buf_lit(&j, "{\"resourceMetrics\":[");
    for (int i = 0; i < INSTANCES; i++) {
        buf_printf(&j,
                   "%s{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":"
                   "\"shop\"}},{\"key\":"
                   "\"service.instance.id\",\"value\":{\"stringValue\":\"pod-%d\"}},{\"key\":\"host.name\","
                   "\"value\":{"
                   "\"stringValue\":\"node-%d\"}}]},\"scopeMetrics\":[{\"scope\":{\"name\":\"lib\","
                   "\"version\":\"1.2.0\"},"
                   "\"metrics\":[{\"name\":\"http.server.requests\",\"unit\":\"1\",\"sum\":{"
                   "\"aggregationTemporality\":2,"
                   "\"isMonotonic\":true,\"dataPoints\":[",
                   i ? "," : "", i, i % 10);
        for (int k = 0; k < ROUTES; k++)
            buf_printf(&j,
                       "%s{\"attributes\":[{\"key\":\"http.request.method\",\"value\":{\"stringValue\":"
                       "\"GET\"}},{\"key\":"
                       "\"http.route\",\"value\":{\"stringValue\":\"/items/"
                       "%d\"}},{\"key\":\"http.response.status_code\","
                       "\"value\":{\"intValue\":\"200\"}}],\"startTimeUnixNano\":\"1700000000000000000\","
                       "\"timeUnixNano\":"
                       "\"1700000060000000000\",\"asInt\":\"%llu\"}",
                       k ? "," : "", k, (unsigned long long)rng_below(&r, 1000000));
        buf_lit(&j, "]}},{\"name\":\"http.server.request.duration\",\"unit\":\"s\",\"histogram\":{"
                    "\"aggregationTemporality\":2,"
                    "\"dataPoints\":[{\"attributes\":[{\"key\":\"http.route\",\"value\":{\"stringValue\":\"/"
                    "items\"}}],"
                    "\"startTimeUnixNano\":\"1700000000000000000\",\"timeUnixNano\":\"1700000060000000000\","
                    "\"count\":\"78\","
                    "\"sum\":12.5,\"bucketCounts\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\","
                    "\"10\",\"11\",\"12\"],"
                    "\"explicitBounds\":[0.005,0.01,0.025,0.05,0.1,0.25,0.5,1,2.5,5,10]}]}}]}]}");
    }
    buf_lit(&j, "]}");
    if (json) {
        buf_str_add(b, buf_str(&j));
        return;
    }
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    if (otlp_json_to_protobuf(&a, buf_str(&j), &otlp_json_metrics_request, b, NULL) != OK)
        abort();
}

/* The exposition as a remote write request. */
static void remote_write(struct arena *a, struct input *in)
{
    struct batch b = { .a = a };
    struct expo x;
    struct buf plain, packed;
    expo_init(&x, EXPO_TEXT, in->text);
    in->series = arena_array(a, str, in->n_samples);
    while (expo_next(&x) > EXPO_ERROR) {
        if (x.entry != EXPO_SAMPLE)
            continue;
        struct batch_series s = { .n_samples = 1 };
        struct sample *p = arena_new(a, struct sample);
        if (expo_labels(&x, a, &s.labels, NULL) != OK)
            abort();
        *p = (struct sample){ 1700000000000, x.value };
        s.samples = p;
        in->series[b.series.n] = x.series;
        avec_push(a, &b.series, s);
    }
    buf_init(&plain, 0);
    buf_init(&packed, 0);
    rw1_encode(&plain, &b);
    snappy_pack(buf_str(&plain), &packed);
    in->plain = arena_str(a, buf_str(&plain));
    in->remote_write = arena_str(a, buf_str(&packed));
    buf_deinit(&plain);
    buf_deinit(&packed);
}

static str built(struct arena *a, void (*fn)(struct buf *, bool), bool flag)
{
    struct buf b;
    buf_init(&b, 0);
    fn(&b, flag);
    str s = arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return s;
}
static size_t count_sink;
static void exposition_fn(struct buf *b, bool om)
{
    count_sink = 0;
    exposition(b, om, &count_sink);
}

/* ---- runs ---- */

static volatile double sink;
static struct arena request; /* as a server's worker keeps one */

static size_t parse(str body, enum expo_format f, const str *hints, bool labels)
{
    struct expo x;
    size_t n = 0;
    double sum = 0;
    expo_init(&x, f, body);
    if (hints)
        expo_hint(&x, hints[0]);
    for (enum expo_entry e; (e = expo_next(&x)) > EXPO_ERROR;) {
        if (e != EXPO_SAMPLE)
            continue;
        struct labels ls;
        sum += x.value;
        n++;
        if (hints && n < count_sink)
            expo_hint(&x, hints[n]);
        if (labels && expo_labels(&x, &request, &ls, NULL) != OK)
            abort();
    }
    if (x.entry != EXPO_END)
        abort();
    sink = sum;
    arena_reset(&request);
    return n;
}
static size_t run_text(const struct input *in)
{
    return parse(in->text, EXPO_TEXT, NULL, false);
}
static size_t run_text_hinted(const struct input *in)
{
    return parse(in->text, EXPO_TEXT, in->series, false);
}
static size_t run_text_labels(const struct input *in)
{
    return parse(in->text, EXPO_TEXT, NULL, true);
}
static size_t run_openmetrics(const struct input *in)
{
    return parse(in->openmetrics, EXPO_OPENMETRICS, NULL, false);
}

static size_t decoded(struct arena *a, enum err e, const struct batch *b)
{
    if (e != OK)
        abort();
    size_t n = b->n_samples;
    arena_reset(a);
    return n;
}
static size_t run_remote_write(const struct input *in)
{
    struct batch b;
    struct wire_rejects r;
    return decoded(&request,
                   rw1_decode(&request, in->remote_write, RW_BODY_BYTES_MAX, &WIRE_LIMITS_DEFAULT, &b, &r, NULL), &b);
}
static size_t run_remote_write_plain(const struct input *in)
{
    struct batch b;
    struct wire_rejects r;
    return decoded(&request, rw1_decode_plain(&request, in->plain, &WIRE_LIMITS_DEFAULT, &b, &r, NULL), &b);
}
static size_t otlp(str body, enum otlp_coding c)
{
    struct batch b;
    struct wire_rejects r;
    return decoded(&request, otlp_metrics_decode(&request, body, c, &OTLP_OPTIONS_DEFAULT, &b, &r, NULL), &b);
}
static size_t run_otlp(const struct input *in)
{
    return otlp(in->otlp, OTLP_PROTOBUF);
}
static size_t run_otlp_json(const struct input *in)
{
    return otlp(in->otlp_json, OTLP_JSON);
}

static void measure(struct json_out *j, str name, run_fn *fn, const struct input *in, size_t bytes)
{
    uint64_t best = UINT64_MAX;
    size_t n = 0;
    for (int run = 0; run < RUNS; run++) {
        uint64_t from = os_cpu_ns();
        size_t times = 0;
        uint64_t took;
        do {
            n = fn(in);
            times++;
        } while ((took = os_cpu_ns() - from) < 30000000);
        took /= times;
        best = took < best ? took : best;
    }
    json_key(j, name);
    json_obj(j);
    json_kf64(j, "mb_per_s", (double)(long)((double)bytes * 1e3 / (double)best * 10) / 10);
    json_kf64(j, "ns_per_sample", (double)(long)((double)best / (double)n * 10) / 10);
    json_ku64(j, "samples", n);
    json_ku64(j, "bytes", bytes);
    json_obj_end(j);
}

int main(void)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct input in = { .openmetrics = built(&a, exposition_fn, true), .text = built(&a, exposition_fn, false) };
    in.n_samples = count_sink;
    remote_write(&a, &in);
    in.otlp = built(&a, otlp_request, false);
    in.otlp_json = built(&a, otlp_request, true);
    AUTO_BUF struct buf out;
    buf_init(&out, 0);
    struct json_out j = json_out_init(&out);
    json_obj(&j);
    measure(&j, STR("text"), run_text, &in, in.text.n);
    measure(&j, STR("text_hinted"), run_text_hinted, &in, in.text.n);
    measure(&j, STR("text_with_labels"), run_text_labels, &in, in.text.n);
    measure(&j, STR("openmetrics"), run_openmetrics, &in, in.openmetrics.n);
    measure(&j, STR("remote_write"), run_remote_write, &in, in.plain.n);
    measure(&j, STR("remote_write_plain"), run_remote_write_plain, &in, in.plain.n);
    measure(&j, STR("otlp_protobuf"), run_otlp, &in, in.otlp.n);
    measure(&j, STR("otlp_json"), run_otlp_json, &in, in.otlp_json.n);
    json_obj_end(&j);
    arena_deinit(&request);
    printf(STR_FMT "\n", STR_ARG(buf_str(&out)));
    return 0;
}
