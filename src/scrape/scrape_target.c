/* Discovered labels -> a target: defaults, relabelling, URL; and a target -> an HTTP request. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/num.h"
#include "scrape/scrape_int.h"

#define L_ADDRESS  STR("__address__")
#define L_SCHEME   STR("__scheme__")
#define L_PATH     STR("__metrics_path__")
#define L_INTERVAL STR("__scrape_interval__")
#define L_TIMEOUT  STR("__scrape_timeout__")
#define L_PARAM    STR("__param_")
#define L_META     STR("__meta_")
#define L_JOB      STR("job")
#define L_INSTANCE STR("instance")

static str duration_text(struct arena *a, int64_t ms)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 100);
    buf_duration(&b, ms);
    return arena_str(a, buf_str(&b));
}

static void set_default(struct label_builder *b, str name, str value)
{
    if (lb_get(b, name).n == 0)
        lb_set(b, name, value);
}

static void set_defaults(struct label_builder *b, const struct scrape_config *cfg)
{
    set_default(b, L_JOB, cfg->job_name);
    set_default(b, L_INTERVAL, duration_text(b->a, cfg->interval_ms));
    set_default(b, L_TIMEOUT, duration_text(b->a, cfg->timeout_ms));
    set_default(b, L_PATH, cfg->metrics_path);
    set_default(b, L_SCHEME, cfg->scheme);
    for (size_t i = 0; i < cfg->params.n; i++)
        if (cfg->params.p[i].n)
            lb_set(b, arena_printf(b->a, "__param_" STR_FMT, STR_ARG(cfg->params.keys[i])),
                   ((const str *)cfg->params.p[i].p)[0]);
}

static bool read_times(struct target_spec *t, str interval, str timeout)
{
    if (!num_parse_duration(interval, &t->interval_ms))
        snprintf(t->error, sizeof(t->error), "error parsing scrape interval: not a valid duration string: \"%.60s\"",
                 interval.n ? interval.p : "");
    else if (t->interval_ms == 0)
        snprintf(t->error, sizeof(t->error), "scrape interval cannot be 0");
    else if (!num_parse_duration(timeout, &t->timeout_ms))
        snprintf(t->error, sizeof(t->error), "error parsing scrape timeout: not a valid duration string: \"%.60s\"",
                 timeout.n ? timeout.p : "");
    else if (t->timeout_ms == 0)
        snprintf(t->error, sizeof(t->error), "scrape timeout cannot be 0");
    else if (t->timeout_ms > t->interval_ms)
        snprintf(t->error, sizeof(t->error),
                 "scrape timeout cannot be greater than scrape interval (" STR_FMT " > " STR_FMT ")",
                 STR_ARG(str_take(timeout, 30)), STR_ARG(str_take(interval, 30)));
    return t->error[0] == 0;
}

/* ---- URL ---- */

static int pair_cmp(const void *a, const void *b)
{
    return str_cmp(((const struct http_pair *)a)->name, ((const struct http_pair *)b)->name);
}

/* Parameters of the configuration, the first value of each replaced by its __param_ label; sorted by name. */
static void put_query(struct arena *a, struct buf *url, const struct scrape_config *cfg, struct labels ls)
{
    VEC(struct http_pair) v = { 0 };
    for (size_t i = 0; i < cfg->params.n; i++)
        for (size_t k = 0; k < cfg->params.p[i].n; k++) {
            str value = ((const str *)cfg->params.p[i].p)[k];
            str label = labels_get(ls, arena_printf(a, "__param_" STR_FMT, STR_ARG(cfg->params.keys[i])));
            struct http_pair p = { cfg->params.keys[i], k == 0 && label.p ? label : value };
            avec_push(a, &v, p);
        }
    labels_each (l, ls) {
        bool given = false;
        str name = str_skip(l->name, L_PARAM.n);
        if (!str_has_prefix(l->name, L_PARAM))
            continue;
        for (size_t i = 0; i < cfg->params.n; i++)
            given |= str_eq(cfg->params.keys[i], name) && cfg->params.p[i].n;
        struct http_pair p = { name, l->value };
        if (!given)
            avec_push(a, &v, p);
    }
    for (size_t i = 1; i < v.n; i++) /* stable: values of one name keep their order */
        for (size_t k = i; k > 0 && pair_cmp(&v.p[k - 1], &v.p[k]) > 0; k--) {
            struct http_pair tmp = v.p[k];
            v.p[k] = v.p[k - 1];
            v.p[k - 1] = tmp;
        }
    for (size_t i = 0; i < v.n; i++) {
        buf_u8(url, i ? '&' : '?');
        http_url_encode(url, v.p[i].name);
        buf_u8(url, '=');
        http_url_encode(url, v.p[i].value);
    }
}

static void put_path(struct buf *url, str path)
{
    if (path.n && path.p[0] != '/')
        buf_u8(url, '/');
    for (size_t i = 0; i < path.n; i++) {
        unsigned char c = (unsigned char)path.p[i];
        if (c <= ' ' || c >= 0x7f || strchr("?#\"<>\\^`{|}", c))
            buf_printf(url, "%%%02X", c);
        else
            buf_u8(url, c);
    }
}

static void make_url(struct arena *a, const struct scrape_config *cfg, struct labels ls, struct target_spec *t)
{
    AUTO_BUF struct buf url;
    buf_init(&url, 1 << 20);
    t->scheme = labels_get(ls, L_SCHEME);
    t->host = labels_get(ls, L_ADDRESS);
    buf_str_add(&url, t->scheme);
    buf_lit(&url, "://");
    buf_str_add(&url, t->host);
    size_t path = url.n;
    put_path(&url, labels_get(ls, L_PATH));
    put_query(a, &url, cfg, ls);
    t->url = arena_str(a, buf_str(&url));
    t->url_path_on = str_skip(t->url, path);
}

/* ---- population ---- */

/* What the series get: without __*; instance defaults to the address. */
static struct labels public_labels(struct arena *a, struct labels ls)
{
    struct label_builder b;
    lb_init(&b, a);
    labels_each (l, ls)
        if (!str_has_prefix(l->name, STR("__")))
            lb_set(&b, l->name, l->value);
    set_default(&b, L_INSTANCE, labels_get(ls, L_ADDRESS));
    return lb_labels(&b);
}

static hash128 spec_key(struct arena *a, const struct target_spec *t, uint64_t settings)
{
    AUTO_BUF struct buf b;
    (void)a;
    buf_init(&b, 0);
    hash128 h = labels_hash128(t->labels, settings);
    buf_u64(&b, h.lo);
    buf_u64(&b, h.hi);
    buf_u64(&b, (uint64_t)t->interval_ms);
    buf_u64(&b, (uint64_t)t->timeout_ms);
    buf_str_add(&b, t->url);
    return hash128_seed(buf_str(&b), settings);
}

void target_populate(struct arena *a, const struct scrape_config *cfg, uint64_t settings, struct labels discovered,
                     struct target_spec *ret)
{
    struct label_builder b;
    *ret = (struct target_spec){ 0 };
    lb_init(&b, a);
    lb_reset(&b, discovered);
    set_defaults(&b, cfg);
    ret->discovered = lb_labels(&b);
    if (!relabel_apply(cfg->relabel, &b)) {
        ret->dropped = true;
        return;
    }
    struct labels ls = lb_labels(&b);
    str address = labels_get(ls, L_ADDRESS), scheme = labels_get(ls, L_SCHEME);
    if (address.n == 0)
        snprintf(ret->error, sizeof(ret->error), "no address");
    else if (str_find_char(address, '/') != SIZE_MAX)
        snprintf(ret->error, sizeof(ret->error), "\"" STR_FMT "\" is not a valid hostname",
                 STR_ARG(str_take(address, 100)));
    else if (!str_ieq(scheme, STR("http")) && !str_ieq(scheme, STR("https")))
        snprintf(ret->error, sizeof(ret->error), "unsupported scheme \"" STR_FMT "\"", STR_ARG(str_take(scheme, 30)));
    labels_each (l, ls)
        if (!str_utf8_ok(l->value))
            snprintf(ret->error, sizeof(ret->error), "invalid label value for \"" STR_FMT "\"",
                     STR_ARG(str_take(l->name, 100)));
    if (ret->error[0] || !read_times(ret, labels_get(ls, L_INTERVAL), labels_get(ls, L_TIMEOUT)))
        return;
    make_url(a, cfg, ls, ret);
    ret->labels = public_labels(a, ls);
    ret->key = spec_key(a, ret, settings);
}

/* ---- objects ---- */

struct target *target_new(struct scrape *s, struct spool *pool, const struct target_spec *spec)
{
    struct target *t = mem_zalloc(sizeof(*t));
    t->s = s;
    t->pool = pool;
    t->prom = prom_config_ref(pool->prom);
    t->cfg = pool->cfg;
    arena_init(&t->a, 0);
    arena_init(&t->request_a, 0);
    t->labels = labels_copy(&t->a, spec->labels);
    t->discovered = labels_copy(&t->a, spec->discovered);
    t->url = arena_str(&t->a, spec->url);
    t->url_path_on = str_skip(t->url, spec->url.n - spec->url_path_on.n);
    t->host = arena_str(&t->a, spec->host);
    t->scheme = arena_str(&t->a, spec->scheme);
    t->interval_ms = spec->interval_ms;
    t->timeout_ms = spec->timeout_ms;
    t->key = spec->key;
    atomic_init(&t->refs, 1);
    mtx_init(&t->cache_mu, 0);
    cache_init(&t->cache);
    return t;
}

struct target *target_ref(struct target *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void target_unref(struct target *t)
{
    if (atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
        return;
    cache_deinit(&t->cache);
    mtx_deinit(&t->cache_mu);
    mem_free((void *)(uintptr_t)t->body.p);
    mem_free((void *)(uintptr_t)t->content_type.p);
    prom_config_unref(t->prom);
    arena_deinit(&t->a);
    arena_deinit(&t->request_a);
    mem_free(t);
}

/* ---- request ---- */

/* Most wanted first. */
static str accept_header(struct arena *a, const struct scrape_config *cfg)
{
    static const char *const types[PROTO_N] = {
        [PROTO_PROM_PROTO] = EXPO_CONTENT_TYPE_PROTOBUF,
        [PROTO_PROM_TEXT_0] = "text/plain;version=0.0.4",
        [PROTO_PROM_TEXT_1] = "text/plain;version=1.0.0",
        [PROTO_OM_TEXT_0] = "application/openmetrics-text;version=0.0.1",
        [PROTO_OM_TEXT_1] = "application/openmetrics-text;version=1.0.0",
    };
    AUTO_BUF struct buf b;
    buf_init(&b, 4096);
    int q = 6;
    for (size_t i = 0; i < cfg->protocols.n; i++) {
        uint8_t p = cfg->protocols.p[i];
        buf_printf(&b, "%s%s", b.n ? "," : "", types[p]);
        if (p == PROTO_PROM_TEXT_1 || p == PROTO_OM_TEXT_1)
            buf_printf(&b, ";escaping=" STR_FMT, STR_ARG(cfg->name_escaping));
        buf_printf(&b, ";q=0.%d", q--);
    }
    buf_printf(&b, "%s*/*;q=0.%d", b.n ? "," : "", q);
    return arena_str(a, buf_str(&b));
}

bool target_request(struct target *t, struct arena *a, struct http_fetch *f, char *error, size_t error_size)
{
    const struct scrape_config *cfg = t->cfg;
    struct http_pair *h = arena_array(a, struct http_pair, 2);
    AUTO_BUF struct buf seconds;
    buf_init(&seconds, NUM_TEXT_MAX);
    buf_f64_g(&seconds, (double)t->timeout_ms / 1e3);
    h[0] = (struct http_pair){ STR("Accept"), accept_header(a, cfg) };
    h[1] = (struct http_pair){ STR("X-Prometheus-Scrape-Timeout-Seconds"), arena_str(a, buf_str(&seconds)) };
    *f = (struct http_fetch){ .url = t->url,
                              .headers = h,
                              .n_headers = 2,
                              .timeout_ms = t->timeout_ms,
                              .accept_encoding = cfg->enable_compression ? STR("gzip") : STR_NONE,
                              .body_bytes_max = cfg->body_size_limit ? cfg->body_size_limit : SCRAPE_BODY_BYTES_MAX };
    return http_config_apply(&cfg->http, a, f, error, error_size);
}
