/* libvane's HTTP middleware: what include/vane/http.h promises for servers and clients.
 *
 * Names of metrics and attributes are those of the OpenTelemetry HTTP semantic conventions (stable, 1.23), in metrics
 * with "_" for "."; http_requests_total and http_request_duration_seconds are the two that dashboards made by hand use.
 * Instruments are made at the first request of a start: making one twice gives the same, so no lock is needed. */
#include "sdk_http.h"
#include "sdk_conf.h"
#include "sdk_metric.h"
#include "sdk_trace.h"

#include <stdlib.h>

/* ---- instruments ---- */

enum { M_DURATION, M_ACTIVE, M_REQUEST_SIZE, M_RESPONSE_SIZE, M_REQUESTS, M_ENDPOINT_DURATION, M_CLIENT_DURATION, M_N };
static const double second_bounds[] = { 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10 };
#define RED_LABELS "http_request_method,http_route,http_response_status_code"
#define SECONDS    second_bounds, SDK_COUNT_OF(second_bounds)
static struct sdk_own_metric instruments[M_N] = {
    { VANE_HISTOGRAM, "http_server_request_duration_seconds", "seconds", "Duration of HTTP server requests.",
      RED_LABELS ",error_type", SECONDS, 0, 0 },
    { VANE_UPDOWN, "http_server_active_requests", NULL, "HTTP server requests in progress.",
      "http_request_method,url_scheme", NULL, 0, 0, 0 },
    { VANE_HISTOGRAM, "http_server_request_body_size_bytes", "bytes", "Size of HTTP server request bodies.", RED_LABELS,
      NULL, 0, 0, 0 },
    { VANE_HISTOGRAM, "http_server_response_body_size_bytes", "bytes", "Size of HTTP server response bodies.",
      RED_LABELS, NULL, 0, 0, 0 },
    { VANE_COUNTER, "http_requests_total", NULL, "HTTP requests answered.", "method,endpoint,status", NULL, 0, 0, 0 },
    { VANE_HISTOGRAM, "http_request_duration_seconds", "seconds", "Duration of HTTP requests.", "method,endpoint",
      SECONDS, 0, 0 },
    { VANE_HISTOGRAM, "http_client_request_duration_seconds", "seconds", "Duration of HTTP client requests.",
      "http_request_method,server_address,http_response_status_code,error_type", SECONDS, 0, 0 },
};
#undef SECONDS

vane_metric sdk_own_metric(struct sdk_own_metric *i)
{
    uint32_t run = atomic_load_explicit(&sdk_run, memory_order_relaxed);
    if (SDK_UNLIKELY(atomic_load_explicit(&i->run, memory_order_acquire) != run) && run) {
        vane_metric_opts o = VANE_METRIC_OPTS_INIT;
        o.kind = i->kind, o.name = i->name, o.unit = i->unit, o.help = i->help, o.labels = i->labels;
        o.gauge_mode = VANE_GAUGE_LIVE_SUM;
        o.bounds = i->bounds, o.n_bounds = i->n_bounds;
        o.flags = i->n_bounds ? VANE_F_CLASSIC_TOO : 0;
        atomic_store_explicit(&i->id, vane_metric_new(&o, NULL).id, memory_order_relaxed);
        atomic_store_explicit(&i->run, run, memory_order_release);
    }
    vane_metric m = { atomic_load_explicit(&i->id, memory_order_relaxed) };
    return m;
}

uint64_t sdk_bound(struct sdk_bound *b, struct sdk_own_metric *i, vane_labels values)
{
    if (!b)
        return sdk_series_cached(sdk_own_metric(i), values, i->kind);
    uint32_t run = atomic_load_explicit(&sdk_run, memory_order_relaxed);
    if (SDK_LIKELY(atomic_load_explicit(&b->run, memory_order_acquire) == run)) {
        uint64_t id = atomic_load_explicit(&b->id, memory_order_relaxed);
        if (SDK_LIKELY(atomic_load_explicit(&sdk_slots.info[(uint32_t)id & sdk_slots.mask].gen, memory_order_acquire) ==
                       id >> 32))
            return id;
    }
    uint64_t id = sdk_series_bind(sdk_own_metric(i), values, i->kind);
    atomic_store_explicit(&b->id, id, memory_order_relaxed);
    atomic_store_explicit(&b->run, run, memory_order_release);
    return id;
}

/* ---- what is kept ---- */

void *sdk_kept(const struct sdk_kept_table *t, const void *a, size_t a_n, const void *b, size_t b_n, uint64_t *ret_add)
{
    *ret_add = 0;
    if (a_n + b_n > t->key_max)
        return NULL;
    uint64_t hash = (sdk_hash(a, a_n) + sdk_hash(b, b_n) * 3) | 2;
    for (uint32_t i = 0; i < 8; i++) {
        struct sdk_kept *e =
            (struct sdk_kept *)(void *)((char *)t->entries +
                                        (size_t)(((uint32_t)(hash >> 32) + i) & (t->n - 1)) * t->entry_size);
        char *key = (char *)(e + 1);
        uint64_t have = atomic_load_explicit(&e->hash, memory_order_acquire);
        if (have == hash && e->a_n == a_n && e->b_n == b_n && !memcmp(key, a, a_n) && !memcmp(key + a_n, b, b_n))
            return e;
        if (have)
            continue;
        if (atomic_exchange_explicit(&e->missed, (uint32_t)hash, memory_order_relaxed) != (uint32_t)hash ||
            !atomic_compare_exchange_strong_explicit(&e->hash, &have, 1, memory_order_acquire, memory_order_relaxed))
            return NULL;
        e->a_n = (uint16_t)a_n, e->b_n = (uint16_t)b_n;
        memcpy(key, a, a_n);
        memcpy(key + a_n, b, b_n);
        *ret_add = hash;
        return e;
    }
    return NULL;
}

void sdk_kept_added(void *entry, uint64_t add)
{
    atomic_store_explicit(&((struct sdk_kept *)entry)->hash, add, memory_order_release);
}

/* ---- attributes ---- */

void sdk_attr_add(struct sdk_attrs *l, vane_attr a)
{
    if (l->n < SDK_COUNT_OF(l->a))
        l->a[l->n++] = a;
}

void sdk_attr_str(struct sdk_attrs *l, const char *key, const char *value)
{
    if (value && *value)
        sdk_attr_add(l, vane_str(key, value));
}

void sdk_attr_int(struct sdk_attrs *l, const char *key, int64_t value)
{
    if (value >= 0)
        sdk_attr_add(l, vane_int(key, value));
}

void sdk_attr_f64(struct sdk_attrs *l, const char *key, double value)
{
    sdk_attr_add(l, vane_f64(key, value));
}

void sdk_span_begin(vane_span *s, const char *name, vane_span_kind kind, const vane_context *parent,
                    const struct sdk_attrs *l)
{
    const vane_span_opts o = { .size = sizeof o, .kind = kind, .parent = parent, .attrs = l->a, .n_attrs = l->n };
    vane_span_start_opts(s, name, &o);
}

/* ---- small texts ---- */

static const char methods[][8] = { "GET",   "POST",    "PUT",     "DELETE", "HEAD",  "PATCH",
                                   "TRACE", "OPTIONS", "CONNECT", "QUERY",  "_OTHER" };
enum { METHOD_OTHER = SDK_COUNT_OF(methods) - 1 };

static uint8_t method_number(const char *method)
{
    uint8_t i = 0;
    while (i < METHOD_OTHER && strcmp(method, methods[i]))
        i++;
    return i;
}

static const char *status_text(char buf[4], int status)
{
    if (status < 100 || status > 999)
        return "";
    buf[0] = (char)('0' + status / 100), buf[1] = (char)('0' + status / 10 % 10), buf[2] = (char)('0' + status % 10);
    buf[3] = 0;
    return buf;
}

/* The key, percent-decoded, cut at cap - 1. */
static void plain_key(char *dst, size_t cap, const char *s, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n && at + 1 < cap; i++) {
        char c = s[i];
        uint8_t byte;
        if (c == '%' && i + 2 < n && sdk_unhex(s + i + 1, 2, &byte)) {
            c = (char)byte;
            i += 2;
        }
        dst[at++] = c;
    }
    dst[at] = 0;
}

size_t sdk_copy(char *dst, size_t cap, const char *s)
{
    size_t n = s ? strnlen(s, cap) : 0;
    if (n >= cap)
        for (n = cap - 1; n && ((unsigned char)s[n] & 0xC0) == 0x80;)
            n--;
    if (n)
        memcpy(dst, s, n);
    dst[n] = 0;
    return n;
}

/* Copy a query without the values of secret keys. Returns its length, NUL-terminated, cut. */
static size_t put_query(char *dst, size_t cap, const char *query, size_t n)
{
    static const char secret[] =
        "password,passwd,secret,token,api_key,apikey,authorization,cookie,set-cookie,access_token,"
        "refresh_token,id_token,client_secret,signature,sig,awsaccesskeyid,x-amz-signature,"
        "x-amz-credential,x-amz-security-token,x-goog-signature";
    static const char shown[] = "REDACTED";
    size_t at = 0, i = 0;
    while (i < n && at + 1 < cap) {
        size_t end = i;
        while (end < n && query[end] != '&' && query[end] != ';')
            end++;
        size_t eq = i;
        while (eq < end && query[eq] != '=')
            eq++;
        char key[64];
        plain_key(key, sizeof key, query + i, eq - i);
        bool hide = eq < end && (sdk_lists(secret, key) > 0 || sdk_lists(sdk_cfg.log_redact, key) > 0);
        for (size_t k = i; k < (hide ? eq + 1 : end) && at + 1 < cap; k++)
            dst[at++] = query[k];
        for (size_t k = 0; hide && shown[k] && at + 1 < cap; k++)
            dst[at++] = shown[k];
        if (end < n && at + 1 < cap)
            dst[at++] = query[end];
        i = end + 1;
    }
    dst[at] = 0;
    return at;
}

/* "host:port" or "[v6]:port": the host into dst, the port (0: none) returned. */
static int split_host(char *dst, size_t cap, const char *host, size_t n)
{
    size_t end = n;
    int port = 0;
    const char *s = host;
    if (n && s[0] == '[') {
        for (end = 1; end < n && s[end] != ']';)
            end++;
        if (end + 1 < n && s[end + 1] == ':')
            port = atoi(s + end + 2);
        s++, end -= end > 0;
    } else {
        for (size_t i = n; i > 0; i--)
            if (s[i - 1] == ':') {
                end = i - 1;
                for (size_t k = i; k < n && s[k] >= '0' && s[k] <= '9' && port < 65536; k++)
                    port = port * 10 + (s[k] - '0');
                break;
            }
    }
    if (end >= cap)
        end = cap - 1;
    memcpy(dst, s, end);
    dst[end] = 0;
    return port > 0 && port < 65536 ? port : 0;
}

/* ---- server ---- */

#define MAGIC_SERVER 0x76616e6548545350u
#define MAGIC_CLIENT 0x76616e654854434cu

#define CORRELATION_MAX 72
struct server {
    uint64_t magic; /* MAGIC_SERVER between begin and end */
    vane_span span;
    uint64_t start_ns;
    const char *method, *route;
    int64_t body_bytes;
    vane_context previous, remote;
    vane_log_scope scope;
    bool spanned, scoped, here, moved, secure, profiled;
    uint8_t method_number;
    uint32_t run;
    char name[96], path[120], client[46]; /* from here on: written before they are read */
    char correlation[CORRELATION_MAX];
};
_Static_assert(sizeof(struct server) <= sizeof(vane_http_server), "VANE_HTTP_WORDS");
_Static_assert(_Alignof(struct server) <= _Alignof(vane_http_server), "the caller's memory is aligned for it");

static struct server *of_server(const vane_http_server *x)
{
    union {
        const vane_http_server *in;
        struct server *out;
    } u = { x };
    return u.out;
}

/* Requests in progress, by method and scheme. */
static void active_add(const struct server *s, int64_t n)
{
    static struct sdk_bound bound[SDK_COUNT_OF(methods)][2];
    vane_updown u = { sdk_bound(&bound[s->method_number][s->secure], &instruments[M_ACTIVE],
                                VANE_LABELS(s->method, s->secure ? "https" : "http")) };
    vane_updown_add(u, n);
}

/* The series of a method, a route and a status; error_type is the status from 500 on. */
struct red {
    struct sdk_kept kept;
    char key[96];
    struct sdk_bound bound[M_N];
};
static struct red reds[256];

static void count_request(const struct server *s, int status, double seconds, int64_t body_bytes, const char *route,
                          const char *text, const char *error, bool plain)
{
    static const struct sdk_kept_table table = { reds, SDK_COUNT_OF(reds), sizeof *reds, sizeof reds->key };
    uint64_t add;
    const uint32_t a = (uint32_t)status << 8 | s->method_number;
    struct red *r = plain ? sdk_kept(&table, &a, sizeof a, route, strlen(route), &add) : NULL;
    struct sdk_bound *bound = r ? r->bound : NULL;
    if (r && add)
        sdk_kept_added(r, add);
    vane_labels labels = VANE_LABELS(s->method, route, text, error);
    const struct {
        unsigned which, n_labels;
        double v;
    } observed[] = { { M_DURATION, 4, seconds },
                     { M_REQUEST_SIZE, 3, (double)s->body_bytes },
                     { M_RESPONSE_SIZE, 3, (double)body_bytes },
                     { M_ENDPOINT_DURATION, 2, seconds } };
    for (size_t i = 0; i < SDK_COUNT_OF(observed); i++)
        if (observed[i].v >= 0) {
            unsigned w = observed[i].which;
            labels.n = observed[i].n_labels;
            vane_histogram_observe((vane_histogram){ sdk_bound(bound ? bound + w : NULL, &instruments[w], labels) },
                                   observed[i].v);
        }
    labels.n = 3;
    vane_counter_add((vane_counter){ sdk_bound(bound ? bound + M_REQUESTS : NULL, &instruments[M_REQUESTS], labels) },
                     1);
    active_add(s, -1);
}

/* The id of the request this thread is in, for requests it makes itself. */
static __thread char thread_correlation[CORRELATION_MAX] __attribute__((tls_model("initial-exec")));

/* A foreign id is taken only when it is short and harmless in a header, a log line and a shell. */
static bool take_correlation(char out[CORRELATION_MAX], const char *s, size_t n)
{
    if (!s || n == 0 || n >= CORRELATION_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
              c == '.' || c == ':'))
            return false;
    }
    memcpy(out, s, n);
    out[n] = 0;
    return true;
}

static void name_span(struct server *s)
{
    size_t n = sdk_copy(s->name, sizeof s->name, s->method[0] == '_' ? "HTTP" : s->method);
    if (s->route && s->route[0] && n + 2 < sizeof s->name) {
        s->name[n++] = ' ';
        sdk_copy(s->name + n, sizeof s->name - n, s->route);
    }
}

static void begin_scope(struct server *s)
{
    if (!s->correlation[0])
        return;
    vane_attr f[2] = { vane_str("correlation_id", s->correlation), vane_str("endpoint", s->route) };
    s->scope = vane_log_scope_begin(f, s->route && s->route[0] ? 2 : 1);
    s->scoped = true;
}

static void end_scope(struct server *s)
{
    if (s->scoped)
        vane_log_scope_end(&s->scope);
    s->scoped = false;
}

/* The attributes a request begins with. query and host: room for texts that must stay while they are used. */
static void server_attrs(struct sdk_attrs *l, const struct server *s, const vane_http_request *r, char query[512],
                         char host[256])
{
    sdk_attr_str(l, "http.request.method", s->method);
    if (s->method[0] == '_')
        sdk_attr_add(l, vane_strn("http.request.method_original", r->method, strnlen(r->method, 64)));
    sdk_attr_str(l, "url.scheme", s->secure ? "https" : "http");
    sdk_attr_str(l, "url.path", r->path);
    if (r->query && r->query[0])
        sdk_attr_add(l, vane_strn("url.query", query, put_query(query, 512, r->query, strnlen(r->query, 8192))));
    sdk_attr_str(l, "http.route", s->route);
    if (r->host && r->host[0]) {
        int port = split_host(host, 256, r->host, strnlen(r->host, 300));
        sdk_attr_str(l, "server.address", host);
        sdk_attr_int(l, "server.port", port ? port : -1);
    }
    sdk_attr_str(l, "network.protocol.version", r->protocol);
    sdk_attr_str(l, "client.address", r->client);
    sdk_attr_str(l, "user_agent.original", r->user_agent);
    sdk_attr_int(l, "http.request.body.size", r->body_bytes);
    sdk_attr_str(l, "correlation_id", s->correlation);
}

static void begin_span(struct server *s, const vane_http_request *r)
{
    if (r->get_header)
        vane_extract(r->get_header, r->carrier, &s->remote);
    struct sdk_attrs l;
    char query[512], host[256];
    l.n = 0;
    if (sdk_attrs_first())
        server_attrs(&l, s, r, query, host);
    sdk_span_begin(&s->span, s->name, VANE_SPAN_SERVER, vane_context_valid(&s->remote) ? &s->remote : NULL, &l);
    if (!l.n && vane_span_recording(&s->span)) {
        server_attrs(&l, s, r, query, host);
        vane_span_set_all(&s->span, l.a, l.n);
    }
    s->spanned = true;
}

void vane_http_server_begin(vane_http_server *x, const vane_http_request *req)
{
    if (!x)
        return;
    struct server *s = of_server(x);
    memset(s, 0, offsetof(struct server, span) + 16); /* the magic and the words that say "not started" */
    if (!sdk_on() || !req || req->size < offsetof(vane_http_request, path) || !req->method)
        return;
    vane_http_request r;
    memset(&r, 0, sizeof r);
    r.body_bytes = -1;
    memcpy(&r, req, req->size < sizeof r ? req->size : sizeof r);
    memset(&s->start_ns, 0, offsetof(struct server, name) - offsetof(struct server, start_ns));
    s->run = atomic_load_explicit(&sdk_run, memory_order_relaxed);
    s->method_number = method_number(r.method);
    s->method = methods[s->method_number];
    s->route = r.route;
    s->secure = r.scheme && !strcmp(r.scheme, "https");
    s->body_bytes = r.body_bytes;
    sdk_copy(s->path, sizeof s->path, r.path);
    sdk_copy(s->client, sizeof s->client, r.client);
    name_span(s);
    s->correlation[0] = 0;
    if (sdk_cfg.correlation == VANE_ON) {
        size_t n = 0;
        const char *got = r.get_header ? r.get_header(r.carrier, sdk_cfg.correlation_header, 0, &n) : NULL;
        if (!take_correlation(s->correlation, got, n)) {
            if (got)
                sdk_count(SDK_HEADERS_REFUSED, 1);
            sdk_uuid(s->correlation);
        }
        memcpy(thread_correlation, s->correlation, sizeof thread_correlation);
    }
    s->previous = sdk_tls.context;
    if (sdk_has_tracing())
        begin_span(s, &r);
    begin_scope(s);
    if (sdk_has_metrics())
        active_add(s, 1);
    if (sdk_cfg.profiling == VANE_ON) {
        vane_profile_request_begin(s->route && s->route[0] ? s->route : s->name);
        s->profiled = true;
    }
    s->here = true;
    s->start_ns = sdk_mono_ns();
    s->magic = MAGIC_SERVER;
}

const char *vane_http_server_correlation_id(const vane_http_server *x)
{
    return x && of_server(x)->magic == MAGIC_SERVER ? of_server(x)->correlation : "";
}

vane_span *vane_http_server_span(vane_http_server *x)
{
    struct server *s = x ? of_server(x) : NULL;
    return s && s->magic == MAGIC_SERVER && s->spanned && vane_span_recording(&s->span) ? &s->span : NULL;
}

/* Nothing of the request is current on this thread after this. */
static void leave(struct server *s)
{
    end_scope(s);
    if (s->profiled)
        vane_profile_request_end();
    if (s->spanned)
        vane_context_detach(s->previous);
    thread_correlation[0] = 0;
    s->here = false;
}

void vane_http_server_suspend(vane_http_server *x)
{
    struct server *s = x ? of_server(x) : NULL;
    if (!s || s->magic != MAGIC_SERVER || !s->here)
        return;
    leave(s);
    s->moved = true;
}

void vane_http_server_resume(vane_http_server *x)
{
    struct server *s = x ? of_server(x) : NULL;
    if (!s || s->magic != MAGIC_SERVER || s->here || s->run != atomic_load_explicit(&sdk_run, memory_order_relaxed))
        return;
    if (s->spanned) {
        vane_context c = vane_span_context(&s->span);
        s->previous = vane_context_attach(&c);
    }
    begin_scope(s);
    memcpy(thread_correlation, s->correlation, sizeof thread_correlation);
    if (s->profiled)
        vane_profile_request_begin(s->route && s->route[0] ? s->route : s->name);
    s->here = true;
}

static void log_request(const struct server *s, int status, uint64_t ns, const vane_http_response *res,
                        const char *error)
{
    vane_log_level level = status >= 500 || status == 0 ? VANE_LOG_ERROR
                           : status >= 400              ? VANE_LOG_WARN
                                                        : VANE_LOG_INFO;
    if (!vane_log_on(level))
        return;
    struct sdk_attrs l;
    l.n = 0;
    sdk_attr_str(&l, "http.request.method", s->method);
    sdk_attr_str(&l, "url.path", s->path);
    sdk_attr_str(&l, "http.route", s->route);
    sdk_attr_int(&l, "http.response.status_code", status);
    sdk_attr_f64(&l, "duration_ms", (double)((ns + 500) / 1000) / 1e3); /* microseconds: few digits to print */
    sdk_attr_str(&l, "client.address", s->client);
    sdk_attr_int(&l, "http.response.body.size", res->body_bytes);
    sdk_attr_str(&l, "user_id", res->user);
    sdk_attr_str(&l, "error.type", error);
    vane_log(level, NULL, s->name, l.a, l.n);
}

void vane_http_server_end(vane_http_server *x, const vane_http_response *res)
{
    struct server *s = x ? of_server(x) : NULL;
    if (!s)
        return;
    if (s->magic != MAGIC_SERVER) {
        if (sdk_on())
            sdk_count(SDK_SPAN_MISUSE, 1);
        return;
    }
    s->magic = 0;
    vane_http_response r;
    memset(&r, 0, sizeof r);
    r.body_bytes = -1;
    if (res && res->size >= sizeof(size_t) + sizeof(int))
        memcpy(&r, res, res->size < sizeof r ? res->size : sizeof r);
    int status = r.status >= 100 && r.status <= 599 ? r.status : 0;
    uint64_t ns = sdk_mono_ns() - s->start_ns;
    double seconds = (double)ns / 1e9;
    bool renamed = r.route && r.route[0] && r.route != s->route;
    if (r.route)
        s->route = r.route;
    char code[4];
    const char *route = s->route ? s->route : "", *text = status_text(code, status);
    const char *error = r.error_type ? r.error_type : !status ? "connection_lost" : status >= 500 ? text : "";
    if (renamed)
        name_span(s);
    if (s->run == atomic_load_explicit(&sdk_run, memory_order_relaxed)) {
        /* Metrics first: the span is still current and gives their exemplars. */
        if (sdk_has_metrics())
            count_request(s, status, seconds, r.body_bytes, route, text, error, !r.error_type && status);
        log_request(s, status, ns, &r, error);
    }
    if (s->spanned && vane_span_recording(&s->span)) {
        struct sdk_attrs l;
        l.n = 0;
        sdk_attr_int(&l, "http.response.status_code", status ? status : -1);
        sdk_attr_str(&l, "http.route", renamed ? route : NULL);
        sdk_attr_int(&l, "http.response.body.size", r.body_bytes);
        sdk_attr_str(&l, "user.id", r.user);
        sdk_attr_str(&l, "error.type", error);
        vane_span_set_all(&s->span, l.a, l.n);
        if (renamed)
            vane_span_rename(&s->span, s->name);
        if (error[0])
            vane_span_status(&s->span, VANE_SPAN_ERROR, NULL);
    }
    if (s->here) {
        end_scope(s);
        if (s->profiled)
            vane_profile_request_end();
        thread_correlation[0] = 0;
        if (s->moved && s->spanned)
            vane_context_detach(s->previous);
    }
    if (s->spanned) {
        vane_span_end(&s->span);
        vane_context_release(s->remote);
    }
}

/* ---- client ---- */

struct client {
    uint64_t magic;
    vane_span span;
    uint64_t start_ns;
    const char *method;
    uint32_t run;
    bool spanned;
    char name[32], host[128];
};
_Static_assert(sizeof(struct client) <= sizeof(vane_http_client), "VANE_HTTP_WORDS");

/* The parts of a URL; none of them is copied. */
struct url {
    const char *scheme, *host, *path, *query;
    size_t scheme_n, host_n, path_n, query_n;
    bool userinfo;
};

static struct url parse_url(const char *s)
{
    struct url u;
    memset(&u, 0, sizeof u);
    const char *at = strstr(s, "://");
    size_t before = strcspn(s, "/?#");
    if (at && (size_t)(at - s) < before) {
        u.scheme = s, u.scheme_n = (size_t)(at - s);
        s = at + 3;
    }
    size_t authority = strcspn(s, "/?#");
    u.host = s, u.host_n = authority;
    for (size_t i = authority; i > 0; i--)
        if (s[i - 1] == '@') {
            u.userinfo = true;
            u.host = s + i, u.host_n = authority - i;
            break;
        }
    u.path = s + authority, u.path_n = strcspn(u.path, "?#");
    if (u.path[u.path_n] == '?') {
        u.query = u.path + u.path_n + 1;
        u.query_n = strcspn(u.query, "#");
    }
    return u;
}

static size_t append(char *dst, size_t at, size_t cap, const char *s, size_t n)
{
    for (size_t i = 0; i < n && at + 1 < cap; i++)
        dst[at++] = s[i];
    dst[at] = 0;
    return at;
}

void vane_http_client_begin(vane_http_client *x, const char *method, const char *url, vane_header_set set,
                            void *carrier)
{
    if (!x)
        return;
    struct client *s = (struct client *)(void *)x;
    memset(s, 0, offsetof(struct client, span) + 16);
    if (!sdk_on() || !method || !url)
        return;
    memset(&s->start_ns, 0, offsetof(struct client, name) - offsetof(struct client, start_ns));
    s->run = atomic_load_explicit(&sdk_run, memory_order_relaxed);
    s->method = methods[method_number(method)];
    sdk_copy(s->name, sizeof s->name, s->method[0] == '_' ? "HTTP" : s->method);
    struct url u = parse_url(url);
    int port = split_host(s->host, sizeof s->host, u.host, u.host_n);
    if (sdk_has_tracing()) {
        char full[1024];
        size_t n = append(full, 0, sizeof full, u.scheme, u.scheme_n);
        n = append(full, n, sizeof full, "://", u.scheme ? 3 : 0);
        n = append(full, n, sizeof full, "REDACTED:REDACTED@", u.userinfo ? 18 : 0);
        n = append(full, n, sizeof full, u.host, u.host_n);
        n = append(full, n, sizeof full, u.path, u.path_n);
        if (u.query) {
            n = append(full, n, sizeof full, "?", 1);
            n += put_query(full + n, sizeof full - n, u.query, u.query_n < 8192 ? u.query_n : 8192);
        }
        struct sdk_attrs l;
        l.n = 0;
        sdk_attr_str(&l, "http.request.method", s->method);
        if (s->method[0] == '_')
            sdk_attr_add(&l, vane_strn("http.request.method_original", method, strnlen(method, 64)));
        sdk_attr_add(&l, vane_strn("url.full", full, n));
        sdk_attr_str(&l, "server.address", s->host);
        if (!port && u.scheme)
            port = u.scheme_n == 5 ? 443 : 80;
        sdk_attr_int(&l, "server.port", port ? port : -1);
        sdk_span_begin(&s->span, s->name, VANE_SPAN_CLIENT, NULL, &l);
        s->spanned = true;
    }
    if (set) {
        vane_inject(NULL, set, carrier);
        if (sdk_cfg.correlation == VANE_ON && thread_correlation[0])
            set(carrier, sdk_cfg.correlation_header, thread_correlation);
    }
    s->start_ns = sdk_mono_ns();
    s->magic = MAGIC_CLIENT;
}

void vane_http_client_end(vane_http_client *x, int status, const char *error_type, int64_t response_bytes)
{
    struct client *s = (struct client *)(void *)x;
    if (!s)
        return;
    if (s->magic != MAGIC_CLIENT) {
        if (sdk_on())
            sdk_count(SDK_SPAN_MISUSE, 1);
        return;
    }
    s->magic = 0;
    if (status < 100 || status > 599)
        status = 0;
    char code[4];
    const char *text = status_text(code, status);
    const char *error = error_type && error_type[0] ? error_type : !status ? "no_response" : status >= 400 ? text : "";
    if (s->run == atomic_load_explicit(&sdk_run, memory_order_relaxed) && sdk_has_metrics())
        vane_histogram_observe_to(sdk_own_metric(&instruments[M_CLIENT_DURATION]),
                                  (double)(sdk_mono_ns() - s->start_ns) / 1e9,
                                  VANE_LABELS(s->method, s->host, text, error));
    if (!s->spanned)
        return;
    struct sdk_attrs l;
    l.n = 0;
    sdk_attr_int(&l, "http.response.status_code", status ? status : -1);
    sdk_attr_int(&l, "http.response.body.size", response_bytes);
    sdk_attr_str(&l, "error.type", error);
    vane_span_set_all(&s->span, l.a, l.n);
    if (error[0])
        vane_span_status(&s->span, VANE_SPAN_ERROR, NULL);
    vane_span_end(&s->span);
}
