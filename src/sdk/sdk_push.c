/* The pusher: one thread that collects spans and metrics when they are due, keeps a bounded queue of request bodies and
 * sends them to OTLP/HTTP endpoints, gzipped, with retries; spans to a Zipkin too. It also asks for Jaeger's sampling
 * strategies. Log lines are put into a body by the thread that writes log lines, as they come; it is sent when it is full
 * or log_batch_delay_ms old.
 *
 * libcurl and zlib are loaded when the first body is sent; without libcurl nothing can be pushed, which is told once and
 * counted; without zlib bodies go uncompressed. Their constants below are their published ABI.
 *
 * Retries, as the OTLP specification has them: 429, 502, 503, 504 and failures of the connection are tried again, after
 * Retry-After or with a doubling, jittered delay (1 s to 30 s), ten times; other answers give the body up. While an
 * endpoint is waited for, its bodies stay in the queue and those of other signals go on. */
#include "sdk_conf.h"
#include "sdk_push.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define TRIES_MAX   10
#define DELAY_MIN   1000000000u
#define DELAY_MAX   30000000000u
#define AFTER_MAX_S 300
#define ANSWER_MAX  65536u
#define POLL_NS     60000000000u /* between two questions for sampling strategies */

/* ---- libcurl and zlib ---- */

enum {
    OPT_WRITEDATA = 10001,
    OPT_URL = 10002,
    OPT_POSTFIELDS = 10015,
    OPT_USERAGENT = 10018,
    OPT_HTTPHEADER = 10023,
    OPT_SSLCERT = 10025,
    OPT_HEADERDATA = 10029,
    OPT_CAINFO = 10065,
    OPT_SSLKEY = 10087,
    OPT_HTTPGET = 80,
    OPT_NOSIGNAL = 99,
    OPT_TIMEOUT_MS = 155,
    OPT_PROTOCOLS = 181,
    OPT_WRITEFUNCTION = 20011,
    OPT_HEADERFUNCTION = 20079,
    OPT_POSTFIELDSIZE_LARGE = 30120,
    INFO_RESPONSE_CODE = 0x200002,
    HTTP_AND_HTTPS = 3,
    MSG_DONE = 1,
};
struct curl_msg {
    int msg;
    void *easy;
    union {
        void *whatever;
        int result;
    } data;
};
static struct {
    int (*global_init)(long);
    void *(*easy_init)(void);
    int (*easy_setopt)(void *, int, ...);
    int (*easy_getinfo)(void *, int, ...);
    void (*easy_cleanup)(void *);
    const char *(*easy_strerror)(int);
    void *(*slist_append)(void *, const char *);
    void (*slist_free_all)(void *);
    void *(*multi_init)(void);
    int (*multi_add_handle)(void *, void *);
    int (*multi_remove_handle)(void *, void *);
    int (*multi_perform)(void *, int *);
    int (*multi_poll)(void *, void *, unsigned, int, int *);
    struct curl_msg *(*multi_info_read)(void *, int *);
    int (*multi_cleanup)(void *);
    long (*getdate)(const char *, const long *);
} curl;

static const struct {
    const char *name;
    size_t at;
} curl_names[] = {
#define F(field)                                          \
    {                                                     \
        "curl_" #field, offsetof(__typeof__(curl), field) \
    }
    F(global_init),  F(easy_init),        F(easy_setopt),         F(easy_getinfo),
    F(easy_cleanup), F(easy_strerror),    F(slist_append),        F(slist_free_all),
    F(multi_init),   F(multi_add_handle), F(multi_remove_handle), F(multi_perform),
    F(multi_poll),   F(multi_info_read),  F(multi_cleanup),       F(getdate),
#undef F
};

/* z_stream of zlib 1.x. */
struct z_stream {
    const uint8_t *next_in;
    unsigned avail_in;
    unsigned long total_in;
    uint8_t *next_out;
    unsigned avail_out;
    unsigned long total_out;
    const char *msg;
    void *state, *zalloc, *zfree, *opaque;
    int data_type;
    unsigned long adler, reserved;
};
static struct {
    int (*init)(struct z_stream *, int, int, int, int, int, const char *, int);
    int (*deflate)(struct z_stream *, int);
    int (*end)(struct z_stream *);
    unsigned long (*bound)(struct z_stream *, unsigned long);
} z;

enum loaded { NOT_YET, LOADED, MISSING };
static enum loaded curl_loaded, z_loaded;

static bool curl_load(void)
{
    if (curl_loaded != NOT_YET)
        return curl_loaded == LOADED;
    static const char *const names[] = { "libcurl.so.4", "libcurl-gnutls.so.4" };
    void *lib = NULL;
    for (size_t i = 0; !lib && i < SDK_COUNT_OF(names); i++)
        lib = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    curl_loaded = lib ? LOADED : MISSING;
    for (size_t i = 0; lib && i < SDK_COUNT_OF(curl_names); i++) {
        void *fn = dlsym(lib, curl_names[i].name);
        memcpy((char *)&curl + curl_names[i].at, &fn, sizeof fn);
        if (!fn)
            curl_loaded = MISSING;
    }
    if (curl_loaded == LOADED && curl.global_init(3) != 0)
        curl_loaded = MISSING;
    if (curl_loaded == MISSING)
        sdk_diag(VANE_E_UNAVAILABLE, "libcurl (libcurl.so.4, 7.66 or newer) cannot be loaded: nothing is pushed");
    return curl_loaded == LOADED;
}

static void *z_symbol(void *lib, const char *name)
{
    void *fn = lib ? dlsym(lib, name) : NULL;
    if (!fn)
        z_loaded = MISSING;
    return fn;
}

static bool z_load(void)
{
    if (z_loaded == NOT_YET) {
        void *lib = dlopen("libz.so.1", RTLD_NOW | RTLD_LOCAL), *fn[4];
        z_loaded = LOADED;
        static const char *const names[] = { "deflateInit2_", "deflate", "deflateEnd", "deflateBound" };
        for (size_t i = 0; i < 4; i++)
            fn[i] = z_symbol(lib, names[i]);
        memcpy(&z, fn, sizeof z);
    }
    return z_loaded == LOADED;
}

/* ---- the queue ---- */

struct batch {
    struct batch *next;
    enum sdk_signal signal;
    uint32_t items, tries;
    bool gzipped;
    struct sdk_buf body;
};
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER; /* guards the queue */
static struct batch *first, **last = &first;
static uint64_t queue_bytes;
static struct batch *orphans; /* of the parent, in a child of fork: freed when the thread starts */

/* Where a signal goes; url NULL: nowhere. Strings other than url are of the configuration. */
struct target {
    char *url;
    const char *type, *headers, *compression, *ca_file, *cert_file, *key_file;
    uint32_t timeout_ms;
    uint64_t not_before; /* of the pusher's thread */
};
static struct target targets[SDK_SIGNALS_N];

static pthread_t thread;
static bool running; /* guarded by life_mu */
static pthread_mutex_t life_mu = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool alive, stopping;
static struct sdk_event wake;
static _Atomic uint64_t flush_wanted, flush_done;
static _Atomic bool push_now;

static const char *const signal_names[] = { "traces", "metrics", "logs", "traces (Zipkin)" };

bool sdk_push_wants(enum sdk_signal s)
{
    return sdk_on() && targets[s].url != NULL;
}

static void lost(enum sdk_signal s, uint32_t items)
{
    if (s != SDK_METRICS) /* a later collection has what one of metrics had */
        sdk_count(s == SDK_LOGS ? SDK_LOGS_DROPPED : SDK_SPANS_DROPPED, items);
}

static void batch_free(struct batch *b)
{
    sdk_buf_free(&b->body);
    sdk_free(b, sizeof *b);
}

static void revive(void);

static void on_wake(void)
{
    if (atomic_load_explicit(&alive, memory_order_relaxed))
        sdk_event_set(&wake);
    else
        revive();
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void sdk_push_add(enum sdk_signal s, struct sdk_buf *body, uint32_t items)
{
    struct batch *b = body->failed || !items ? NULL : sdk_alloc(sizeof *b), *gone = NULL;
    if (!b) {
        lost(s, items);
        sdk_buf_free(body);
        return;
    }
    *b = (struct batch){ .signal = s, .items = items, .body = *body };
    sdk_buf_init(body, body->max);
    pthread_mutex_lock(&mu);
    *last = b;
    last = &b->next;
    queue_bytes += b->body.cap;
    struct batch **gone_last = &gone;
    while (queue_bytes > sdk_cfg.push_queue_bytes && first) {
        struct batch *old = first;
        first = old->next;
        if (!first)
            last = &first;
        queue_bytes -= old->body.cap;
        old->next = NULL;
        *gone_last = old;
        gone_last = &old->next;
    }
    pthread_mutex_unlock(&mu);
    while (gone) {
        struct batch *next = gone->next;
        lost(gone->signal, gone->items);
        sdk_count(SDK_PUSHES_FAILED, 1);
        batch_free(gone);
        gone = next;
    }
    on_wake();
}

/* The oldest body whose endpoint may be asked; *ret_due is lowered to when the next may. */
static struct batch *queue_take(uint64_t now, bool hurry, uint64_t *ret_due)
{
    pthread_mutex_lock(&mu);
    struct batch **at = &first, *b;
    while ((b = *at) != NULL && !hurry && targets[b->signal].not_before > now) {
        *ret_due = earlier(targets[b->signal].not_before, *ret_due);
        at = &b->next;
    }
    if (b) {
        *at = b->next;
        if (!b->next)
            last = at;
        queue_bytes -= b->body.cap;
    }
    pthread_mutex_unlock(&mu);
    return b;
}

static void queue_put_back(struct batch *b)
{
    pthread_mutex_lock(&mu);
    b->next = first;
    first = b;
    if (!b->next)
        last = &b->next;
    queue_bytes += b->body.cap;
    pthread_mutex_unlock(&mu);
}

static bool queue_empty(void)
{
    pthread_mutex_lock(&mu);
    bool empty = !first;
    pthread_mutex_unlock(&mu);
    return empty;
}

/* ---- one request ---- */

struct answer {
    long status;
    int error; /* of curl; -1: stopped */
    uint64_t retry_after_s;
    size_t n;
    char body[ANSWER_MAX];
};
static void *multi; /* of the pusher's thread: keeps connections */
static uint32_t multi_forks;

static size_t on_body(const char *p, size_t size, size_t n, void *ctx)
{
    struct answer *a = ctx;
    size_t room = sizeof a->body - a->n, take = size * n < room ? size * n : room;
    memcpy(a->body + a->n, p, take);
    a->n += take;
    return size * n; /* the rest is of no interest */
}

static size_t on_header(const char *p, size_t size, size_t n, void *ctx)
{
    struct answer *a = ctx;
    char text[80];
    static const char name[] = "retry-after:";
    size_t len = size * n, at = sizeof name - 1;
    if (len > at && len - at < sizeof text && !strncasecmp(p, name, at)) {
        memcpy(text, p + at, len - at);
        text[len - at] = 0;
        char *end;
        long s = strtol(text, &end, 10);
        while (*end == ' ' || *end == '\r' || *end == '\n')
            end++;
        if (*end) {
            long date = curl.getdate(text, NULL);
            s = date < 0 ? 0 : date - (long)(sdk_unix_ns() / 1000000000u);
        }
        a->retry_after_s = s <= 0 ? 0 : s > AFTER_MAX_S ? AFTER_MAX_S : (uint64_t)s;
    }
    return len;
}

/* Perform one transfer, watching for the stop. */
static void transfer(void *easy, struct answer *a)
{
    int left = 1, msgs;
    if (multi && multi_forks != atomic_load(&sdk_forks))
        multi = NULL; /* the parent's: its sockets are not ours to touch */
    if (!multi)
        multi = curl.multi_init();
    multi_forks = atomic_load(&sdk_forks);
    a->error = multi ? -1 : 27;
    if (!multi || curl.multi_add_handle(multi, easy))
        return;
    while (left && !atomic_load(&stopping)) {
        if (curl.multi_perform(multi, &left))
            break;
        if (left)
            curl.multi_poll(multi, NULL, 0, 100, NULL);
    }
    for (struct curl_msg *m; (m = curl.multi_info_read(multi, &msgs)) != NULL;)
        if (m->msg == MSG_DONE)
            a->error = m->data.result;
    curl.easy_getinfo(easy, INFO_RESPONSE_CODE, &a->status);
    curl.multi_remove_handle(multi, easy);
}

static void *with_header(void *list, const char *header)
{
    void *longer = curl.slist_append(list, header);
    return longer ? longer : list;
}

/* The headers of the configuration: percent-encoded pairs. */
static void *own_headers(void *list, const char *headers)
{
    char *copy = headers ? sdk_dup(headers) : NULL, *rest = copy, *key, *value, line[4096];
    size_t size = copy ? strlen(copy) + 1 : 0;
    bool bad = false;
    while (copy && sdk_pairs_next(&rest, &key, &value, &bad))
        if (!strpbrk(key, "\r\n:") && !strpbrk(value, "\r\n")) {
            snprintf(line, sizeof line, "%s: %s", key, value);
            list = with_header(list, line);
        }
    sdk_free(copy, size);
    return list;
}

/* body NULL: GET. */
static void request(const char *url, const struct target *t, const struct sdk_buf *body, bool gzipped, struct answer *a)
{
    a->status = 0;
    a->n = 0;
    a->retry_after_s = 0;
    a->error = 2;
    void *easy = curl.easy_init(), *headers = NULL;
    if (!easy)
        return;
    curl.easy_setopt(easy, OPT_PROTOCOLS, (long)HTTP_AND_HTTPS);
    curl.easy_setopt(easy, OPT_NOSIGNAL, 1L);
    curl.easy_setopt(easy, OPT_TIMEOUT_MS, (long)t->timeout_ms);
    const struct {
        int option;
        const void *p;
    } pointers[] = {
        { OPT_URL, url },           { OPT_USERAGENT, "libvane" },  { OPT_WRITEDATA, a },        { OPT_HEADERDATA, a },
        { OPT_CAINFO, t->ca_file }, { OPT_SSLCERT, t->cert_file }, { OPT_SSLKEY, t->key_file },
    };
    for (size_t i = 0; i < SDK_COUNT_OF(pointers); i++)
        if (pointers[i].p)
            curl.easy_setopt(easy, pointers[i].option, pointers[i].p);
    curl.easy_setopt(easy, OPT_WRITEFUNCTION, on_body);
    curl.easy_setopt(easy, OPT_HEADERFUNCTION, on_header);
    if (body) {
        curl.easy_setopt(easy, OPT_POSTFIELDSIZE_LARGE, (int64_t)body->n);
        curl.easy_setopt(easy, OPT_POSTFIELDS, body->p);
        headers = with_header(headers, t->type);
        headers = with_header(headers, "Expect:");
        if (gzipped)
            headers = with_header(headers, "Content-Encoding: gzip");
        headers = own_headers(headers, t->headers);
        curl.easy_setopt(easy, OPT_HTTPHEADER, headers);
    } else {
        curl.easy_setopt(easy, OPT_HTTPGET, 1L);
    }
    transfer(easy, a);
    curl.slist_free_all(headers);
    curl.easy_cleanup(easy);
}

/* ---- sending ---- */

static void compress(struct batch *b)
{
    const char *how = targets[b->signal].compression;
    if (b->gzipped || (how && strcasecmp(how, "gzip")) || !z_load())
        return;
    struct z_stream s = { 0 };
    if (z.init(&s, 1, 8, 15 + 16, 8, 0, "1", (int)sizeof s)) /* level 1: the host pays for the processor time */
        return;
    size_t cap = z.bound(&s, b->body.n) + 32;
    char *out = sdk_alloc(cap);
    bool ok = out != NULL;
    if (ok) {
        s.next_in = (const uint8_t *)b->body.p;
        s.avail_in = (unsigned)b->body.n;
        s.next_out = (uint8_t *)out;
        s.avail_out = (unsigned)cap;
        ok = z.deflate(&s, 4) == 1; /* Z_FINISH, Z_STREAM_END */
    }
    size_t n = s.total_out;
    z.end(&s);
    if (!ok) {
        sdk_free(out, cap);
        return;
    }
    char *small = sdk_grow(out, cap, n);
    sdk_free(b->body.p, b->body.cap);
    b->body.p = small ? small : out;
    b->body.cap = small ? n : cap;
    b->body.n = n;
    b->gzipped = true;
}

/* partialSuccess.rejected_*: field 1 of a message in field 1. */
static uint64_t rejected(const struct answer *a)
{
    const char *at = a->body;
    struct sdk_pb_field partial, n;
    if (!sdk_pb_next(&at, at + a->n, &partial) || partial.number != 1 || partial.wire != 2)
        return 0;
    at = partial.p;
    return sdk_pb_next(&at, at + partial.n, &n) && n.number == 1 && n.wire == 0 ? n.v : 0;
}

static bool worth_retrying(const struct answer *a)
{
    /* Of curl's own errors those that stand for a bad URL, scheme or certificate file will not go away. */
    static const int final[] = { 1, 2, 3, 4, 27, 48, 58, 59, 60, 77 };
    for (size_t i = 0; i < SDK_COUNT_OF(final); i++)
        if (a->error == final[i])
            return false;
    return a->error || a->status == 429 || a->status == 502 || a->status == 503 || a->status == 504;
}

static void send_batch(struct batch *b, struct answer *a)
{
    struct target *t = &targets[b->signal];
    bool loaded = curl_load();
    if (loaded) {
        compress(b);
        request(t->url, t, &b->body, b->gzipped, a);
    }
    const char *what = signal_names[b->signal];
    if (loaded && a->error == -1) { /* stopping */
        queue_put_back(b);
        return;
    }
    if (loaded && !a->error && a->status / 100 == 2) {
        uint64_t refused = b->signal == SDK_ZIPKIN ? 0 : rejected(a);
        t->not_before = 0;
        sdk_count(SDK_PUSHES_OK, 1);
        sdk_count(SDK_PUSH_REJECTED, refused < b->items ? refused : b->items);
        if (refused)
            sdk_diag(VANE_E_IO, "%s took a push of %s but rejected %llu of %u", t->url, what,
                     (unsigned long long)refused, b->items);
        batch_free(b);
        return;
    }
    char why[120] = "libcurl is missing";
    if (loaded && a->error)
        snprintf(why, sizeof why, "%s", curl.easy_strerror(a->error));
    else if (loaded)
        snprintf(why, sizeof why, "it answered %ld", a->status);
    if (loaded && worth_retrying(a) && ++b->tries < TRIES_MAX) {
        uint64_t delay = (uint64_t)DELAY_MIN << (b->tries - 1);
        delay = delay > DELAY_MAX ? DELAY_MAX : delay;
        delay -= sdk_random() % (delay / 2);
        if (a->retry_after_s)
            delay = a->retry_after_s * 1000000000u;
        t->not_before = sdk_mono_ns() + delay;
        sdk_count(SDK_PUSH_RETRIES, 1);
        sdk_diag(VANE_E_IO, "push of %s to %s: %s; again in %.1f s", what, t->url, why, (double)delay / 1e9);
        queue_put_back(b);
        return;
    }
    sdk_count(SDK_PUSHES_FAILED, 1);
    lost(b->signal, b->items);
    sdk_diag(VANE_E_IO, "push of %s to %s: %s; %u are dropped", what, t->url, why, b->items);
    batch_free(b);
}

/* ---- collecting ---- */

static void collect_spans(void)
{
    for (uint32_t n = 1; n;) {
        struct sdk_buf b, zipkin;
        bool to_otlp = targets[SDK_TRACES].url, to_zipkin = targets[SDK_ZIPKIN].url;
        sdk_buf_init(&b, 2 * SDK_OTLP_BODY);
        sdk_buf_init(&zipkin, 2 * SDK_OTLP_BODY);
        n = sdk_otlp_traces(to_otlp ? &b : NULL, to_zipkin ? &zipkin : NULL, sdk_cfg.batch_max);
        if (n && to_otlp)
            sdk_push_add(SDK_TRACES, &b, n);
        if (n && to_zipkin)
            sdk_push_add(SDK_ZIPKIN, &zipkin, n);
        sdk_buf_free(&b);
        sdk_buf_free(&zipkin);
    }
}

/* The body log lines are written to. */
static struct {
    pthread_mutex_t mu;
    bool open; /* between start and stop */
    struct sdk_buf b;
    struct sdk_otlp_marks marks;
    uint32_t n;
    _Atomic uint64_t due; /* UINT64_MAX: it is empty */
} lines = { .mu = PTHREAD_MUTEX_INITIALIZER, .due = UINT64_MAX };

/* Queue the body if it has that many lines. */
static void collect_lines(uint32_t at_least)
{
    struct sdk_buf b = { 0 };
    pthread_mutex_lock(&lines.mu);
    uint32_t n = lines.n;
    bool full = n >= at_least || lines.b.n >= SDK_OTLP_BODY || lines.b.failed;
    if (full) {
        sdk_otlp_close(&lines.b, &lines.marks);
        b = lines.b;
        sdk_buf_init(&lines.b, 2 * SDK_OTLP_BODY);
        lines.n = 0;
        atomic_store(&lines.due, UINT64_MAX);
    }
    pthread_mutex_unlock(&lines.mu);
    if (full)
        sdk_push_add(SDK_LOGS, &b, n);
}

/* On the thread that writes log lines. */
static bool on_line(const struct sdk_log_line *l)
{
    pthread_mutex_lock(&lines.mu);
    bool ok = lines.open, begins = !lines.n;
    if (ok) {
        sdk_otlp_log(&lines.b, &lines.marks, l);
        lines.n++;
        if (begins)
            atomic_store(&lines.due, sdk_mono_ns() + (uint64_t)sdk_cfg.log_batch_delay_ms * 1000000u);
    }
    pthread_mutex_unlock(&lines.mu);
    if (ok && begins)
        on_wake();
    if (ok)
        collect_lines(sdk_cfg.batch_max);
    return ok;
}

static void lines_open(bool open)
{
    pthread_mutex_lock(&lines.mu);
    sdk_buf_free(&lines.b);
    sdk_buf_init(&lines.b, 2 * SDK_OTLP_BODY);
    lost(SDK_LOGS, lines.n);
    lines.n = 0;
    lines.open = open;
    atomic_store(&lines.due, UINT64_MAX);
    pthread_mutex_unlock(&lines.mu);
    atomic_store(&sdk_log_otlp_hook, open ? on_line : NULL);
}

static void collect_metrics(void)
{
    struct sdk_buf b;
    sdk_buf_init(&b, (size_t)256 << 20);
    uint32_t n = sdk_otlp_metrics(&b);
    sdk_push_add(SDK_METRICS, &b, n);
}

static void ask_strategies(struct answer *a)
{
    char url[2048], name[512];
    size_t n = 0;
    for (const char *s = sdk_resource_value("service.name"); s && *s && n + 4 < sizeof name; s++) {
        bool plain =
            (*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || strchr("-._~", *s);
        n += (size_t)snprintf(name + n, 4, plain ? "%c" : "%%%02X", plain ? *s : (uint8_t)*s);
    }
    name[n] = 0;
    if (!curl_load())
        return;
    snprintf(url, sizeof url, "%s%cservice=%s", sdk_cfg.sampler_url, strchr(sdk_cfg.sampler_url, '?') ? '&' : '?',
             name);
    const struct target t = { .ca_file = sdk_cfg.otlp_ca_file,
                              .cert_file = sdk_cfg.otlp_cert_file,
                              .key_file = sdk_cfg.otlp_key_file,
                              .timeout_ms = sdk_cfg.otlp_timeout_ms };
    request(url, &t, NULL, false, a);
    if (a->error == -1)
        return;
    if (a->error || a->status != 200 || !sdk_sample_remote(a->body, a->n))
        sdk_diag(VANE_E_IO, "sampling strategies of %s: %s; those in use stay", sdk_cfg.sampler_url,
                 a->error           ? curl.easy_strerror(a->error)
                 : a->status != 200 ? "the answer is not 200"
                                    : "the answer is no strategy");
}

static bool asks(void)
{
    return sdk_cfg.sampler == VANE_SAMPLER_JAEGER_REMOTE && sdk_cfg.sampler_url && *sdk_cfg.sampler_url;
}

static bool spans_wanted(void)
{
    return targets[SDK_TRACES].url || targets[SDK_ZIPKIN].url;
}

static void *push_main(void *unused)
{
    (void)unused;
    uint64_t now = sdk_mono_ns(), span_ns = (uint64_t)sdk_cfg.batch_delay_ms * 1000000u,
             metric_ns = (uint64_t)sdk_cfg.metric_interval_ms * 1000000u,
             span_due = spans_wanted() ? now + span_ns : UINT64_MAX,
             metric_due = targets[SDK_METRICS].url ? now + metric_ns : UINT64_MAX, ask_due = asks() ? now : UINT64_MAX;
    static struct answer answer; /* not from the heap: in a child of fork nobody could free it */
    struct answer *a = &answer;
    while (!atomic_load(&stopping)) {
        uint64_t flush = atomic_load(&flush_wanted);
        bool all = flush != atomic_load(&flush_done), hurry = atomic_exchange(&push_now, false);
        now = sdk_mono_ns();
        if (spans_wanted() && (hurry || now >= span_due || sdk_trace_waiting() >= sdk_cfg.batch_max ||
                               sdk_trace_waiting() >= sdk_cfg.span_queue_max / 2)) {
            collect_spans();
            span_due = now + span_ns;
        }
        if (targets[SDK_METRICS].url && (hurry || now >= metric_due)) {
            collect_metrics();
            metric_due = now + metric_ns;
        }
        if (hurry || now >= atomic_load(&lines.due))
            collect_lines(1);
        if (now >= ask_due) {
            ask_strategies(a);
            ask_due = now + POLL_NS;
        }
        uint64_t due = earlier(earlier(ask_due, span_due), earlier(metric_due, atomic_load(&lines.due)));
        struct batch *b = queue_take(now, hurry, &due);
        if (b) {
            send_batch(b, a);
            continue;
        }
        if (all && queue_empty())
            atomic_store(&flush_done, flush);
        if (!atomic_load(&push_now) && !atomic_load(&stopping))
            sdk_event_wait(&wake, due);
    }
    if (multi && multi_forks == atomic_load(&sdk_forks))
        curl.multi_cleanup(multi);
    multi = NULL;
    return NULL;
}

/* ---- life ---- */

static char *url_join(const char *base, const char *path)
{
    size_t n = strlen(base), m = strlen(path);
    while (n && base[n - 1] == '/')
        n--;
    char *s = sdk_alloc(n + m + 1);
    if (s) {
        memcpy(s, base, n);
        memcpy(s + n, path, m);
    }
    return s;
}

static bool set(const char *s)
{
    return s && *s;
}

/* JAEGER_ENDPOINT: the old collector's address means that Jaeger's OTLP port. */
static char *url_of_jaeger(const char *s)
{
    static const char old[] = ":14268/api/traces";
    size_t n = strlen(s), m = sizeof old - 1;
    if (n < m || strcmp(s + n - m, old))
        return url_join(s, strstr(s, "/v1/traces") ? "" : "/v1/traces");
    char base[1024];
    snprintf(base, sizeof base, "%.*s:4318", (int)(n - m < 1000 ? n - m : 1000), s);
    return url_join(base, "/v1/traces");
}

bool sdk_trace_pushed(void)
{
    const char *own = sdk_cfg.otlp_traces_endpoint;
    return set(sdk_cfg.zipkin_endpoint) ||
           (own ? *own != 0 : set(sdk_cfg.otlp_endpoint) || set(sdk_cfg.jaeger_endpoint));
}

static vane_status targets_build(void)
{
    static const char *const paths[] = { "/v1/traces", "/v1/metrics", "/v1/logs" };
    static const struct {
        uint16_t own, opts;
    } at[SDK_SIGNALS_N] = {
        { offsetof(vane_config, otlp_traces_endpoint), offsetof(vane_config, otlp_traces) },
        { offsetof(vane_config, otlp_metrics_endpoint), offsetof(vane_config, otlp_metrics) },
        { offsetof(vane_config, otlp_logs_endpoint), offsetof(vane_config, otlp_logs) },
        { offsetof(vane_config, zipkin_endpoint), 0 },
    };
    for (size_t i = 0; i < SDK_SIGNALS_N; i++) {
        struct target *t = &targets[i];
        const char *c = (const char *)&sdk_cfg, *own = *(const char *const *)(const void *)(c + at[i].own);
        const vane_otlp_signal *o = at[i].opts ? (const vane_otlp_signal *)(const void *)(c + at[i].opts) : NULL;
        vane_switch on = i == SDK_METRICS ? sdk_cfg.metrics : i == SDK_LOGS ? VANE_ON : sdk_cfg.tracing;
        sdk_free_str(t->url);
        *t = (struct target){ .type = "Content-Type: application/x-protobuf",
                              .ca_file = o && o->ca_file ? o->ca_file : sdk_cfg.otlp_ca_file,
                              .cert_file = o && o->cert_file ? o->cert_file : sdk_cfg.otlp_cert_file,
                              .key_file = o && o->key_file ? o->key_file : sdk_cfg.otlp_key_file };
        if (o) {
            t->headers = o->headers ? o->headers : sdk_cfg.otlp_headers;
            t->compression = o->compression ? o->compression : sdk_cfg.otlp_compression;
            t->timeout_ms = o->timeout_ms ? o->timeout_ms : sdk_cfg.otlp_timeout_ms;
        } else {
            t->type = "Content-Type: application/json";
            t->compression = "none";
            t->timeout_ms = sdk_cfg.zipkin_timeout_ms;
        }
        bool general = !own && o && set(sdk_cfg.otlp_endpoint),
             jaeger = !own && !general && i == SDK_TRACES && set(sdk_cfg.jaeger_endpoint);
        if (on != VANE_ON || (!set(own) && !general && !jaeger))
            continue;
        t->url = general  ? url_join(sdk_cfg.otlp_endpoint, paths[i])
                 : jaeger ? url_of_jaeger(sdk_cfg.jaeger_endpoint)
                          : sdk_dup(own);
        if (!t->url)
            return VANE_E_NOMEM;
        if (strncasecmp(t->url, "http://", 7) && strncasecmp(t->url, "https://", 8)) {
            sdk_diag(VANE_E_ARG, "the endpoint of %s is \"%.100s\"; http://... or https://... is meant",
                     signal_names[i], t->url);
            return VANE_E_ARG;
        }
    }
    const char *protocol = sdk_cfg.ignore_environment == VANE_ON ? NULL : secure_getenv("OTEL_EXPORTER_OTLP_PROTOCOL");
    if (set(protocol) && strcasecmp(protocol, "http/protobuf"))
        sdk_diag(VANE_E_UNAVAILABLE, "OTEL_EXPORTER_OTLP_PROTOCOL is \"%.40s\"; http/protobuf is what is spoken",
                 protocol);
    return VANE_OK;
}

static bool needed(void)
{
    for (size_t i = 0; i < SDK_SIGNALS_N; i++)
        if (targets[i].url)
            return true;
    return asks();
}

static vane_status push_threads(void)
{
    if (!needed())
        return VANE_OK;
    pthread_mutex_lock(&life_mu);
    int e = 0;
    if (!running && !atomic_load(&stopping)) {
        e = sdk_thread_start(&thread, "push", push_main, NULL);
        running = e == 0;
        atomic_store(&alive, running);
    }
    pthread_mutex_unlock(&life_mu);
    while (orphans) {
        struct batch *next = orphans->next;
        batch_free(orphans);
        orphans = next;
    }
    return e ? VANE_E_NOMEM : VANE_OK;
}

/* In a child of fork: the thread is started by the first call that has work for it. */
static void revive(void)
{
    if (sdk_on() && sdk_cfg.fork_threads == VANE_ON)
        (void)push_threads();
}

static vane_status push_start(void)
{
    sdk_event_init(&wake);
    atomic_store(&stopping, false);
    atomic_store(&flush_wanted, 0);
    atomic_store(&flush_done, 0);
    atomic_store(&push_now, false);
    vane_status st = targets_build();
    atomic_store(&sdk_trace_wake, st || !spans_wanted() ? NULL : on_wake);
    lines_open(!st && targets[SDK_LOGS].url);
    return st;
}

static bool push_flush(uint64_t deadline)
{
    if (!needed())
        return true;
    uint64_t mine = atomic_fetch_add(&flush_wanted, 1) + 1;
    atomic_store(&push_now, true);
    on_wake();
    while (atomic_load(&flush_done) < mine) {
        if (sdk_mono_ns() >= deadline)
            return false;
        struct timespec t = { 0, 2000000 };
        nanosleep(&t, NULL);
    }
    return true;
}

vane_status vane_push_now(void)
{
    if (!sdk_on() || !needed())
        return VANE_E_STATE;
    atomic_store(&push_now, true);
    on_wake();
    return VANE_OK;
}

static void push_stop(void)
{
    atomic_store(&sdk_trace_wake, NULL);
    lines_open(false);
    atomic_store(&stopping, true);
    pthread_mutex_lock(&life_mu);
    bool was = running;
    running = false;
    atomic_store(&alive, false);
    pthread_mutex_unlock(&life_mu);
    if (was) {
        sdk_event_set(&wake);
        pthread_join(thread, NULL);
    }
    pthread_mutex_lock(&mu);
    struct batch *rest = first;
    first = NULL;
    last = &first;
    queue_bytes = 0;
    pthread_mutex_unlock(&mu);
    while (rest) {
        struct batch *next = rest->next;
        lost(rest->signal, rest->items);
        sdk_count(SDK_PUSHES_FAILED, 1);
        batch_free(rest);
        rest = next;
    }
}

static void push_fork_prepare(void)
{
    pthread_mutex_lock(&lines.mu);
    pthread_mutex_lock(&life_mu);
    pthread_mutex_lock(&mu);
}

static void push_fork_parent(void)
{
    pthread_mutex_unlock(&mu);
    pthread_mutex_unlock(&life_mu);
    pthread_mutex_unlock(&lines.mu);
}

static void push_fork_child(void)
{
    pthread_mutex_init(&life_mu, NULL);
    pthread_mutex_init(&mu, NULL);
    pthread_mutex_init(&lines.mu, NULL);
    lines.b.n = lines.n = 0; /* the parent's */
    atomic_store(&lines.due, UINT64_MAX);
    sdk_event_init(&wake);
    orphans = first; /* one list at most: a child that never pushed has nothing to add */
    first = NULL;
    last = &first;
    queue_bytes = 0;
    running = false;
    atomic_store(&alive, false);
}

extern const struct sdk_module sdk_push_module;
const struct sdk_module sdk_push_module = {
    .name = "push",
    .start = push_start,
    .threads = push_threads,
    .flush = push_flush,
    .stop = push_stop,
    .fork_prepare = push_fork_prepare,
    .fork_parent = push_fork_parent,
    .fork_child = push_fork_child,
};
