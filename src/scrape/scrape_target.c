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

static bool secret_of(struct arena *a, str inline_value, str file, str *ret, char *error, size_t error_size)
{
    *ret = inline_value;
    if (inline_value.n || file.n == 0)
        return true;
    struct err_text et;
    if (fs_read_file(fs_os(), arena_cstr(a, file), 1 << 20, a, ret, &et) != OK) {
        snprintf(error, error_size, "unable to read credentials: %.200s", et.msg);
        return false;
    }
    *ret = str_trim(*ret);
    return true;
}

static unsigned tls_version(int v)
{
    return v ? 9u + (unsigned)v : 0;
}

struct pairs {
    VEC(struct http_pair) v;
};

static bool put_headers(const struct http_config *c, struct arena *a, struct pairs *out, char *error, size_t error_size)
{
    for (size_t i = 0; i < c->headers.n; i++) {
        const struct header_config *h = &c->headers.p[i];
        struct http_pair p = { .name = c->headers.keys[i] };
        for (size_t k = 0; k < h->values.n; k++) {
            p.value = h->values.p[k];
            avec_push(a, &out->v, p);
        }
        for (size_t k = 0; k < h->secrets.n; k++) {
            p.value = h->secrets.p[k].value;
            avec_push(a, &out->v, p);
        }
        for (size_t k = 0; k < h->files.n; k++) {
            if (!secret_of(a, STR_NONE, h->files.p[k], &p.value, error, error_size))
                return false;
            avec_push(a, &out->v, p);
        }
    }
    return true;
}

/* proxy_connect_header: name -> list of values. */
static struct pairs proxy_headers(const struct conf_node *map, struct arena *a)
{
    struct pairs out = { 0 };
    for (size_t i = 0; map && map->kind == CONF_MAP && i < map->n; i++) {
        const struct conf_node *values = map->items[2 * i + 1];
        for (size_t k = 0; values->kind == CONF_SEQ && k < values->n; k++) {
            struct http_pair p = { map->items[2 * i]->text, values->items[k]->text };
            avec_push(a, &out.v, p);
        }
    }
    return out;
}

static const struct http_tls *tls_of(const struct tls_config *c, struct arena *a)
{
    struct http_tls *tls = arena_new(a, struct http_tls);
    *tls = (struct http_tls){ .ca_file = c->ca_file,
                              .cert_file = c->cert_file,
                              .key_file = c->key_file,
                              .ca_pem = c->ca,
                              .cert_pem = c->cert,
                              .key_pem = c->key.value,
                              .server_name = c->server_name,
                              .insecure_skip_verify = c->insecure_skip_verify,
                              .min_version = tls_version(c->min_version),
                              .max_version = tls_version(c->max_version) };
    return tls;
}

static bool put_oauth2(const struct oauth2_config *c, struct arena *a, struct http_fetch *f, char *error,
                       size_t error_size)
{
    struct http_oauth2 *o = arena_new(a, struct http_oauth2);
    struct http_pair *params = arena_array(a, struct http_pair, c->endpoint_params.n + 1);
    struct pairs proxy = proxy_headers(c->proxy_connect_header, a);
    for (size_t i = 0; i < c->endpoint_params.n; i++)
        params[i] = (struct http_pair){ c->endpoint_params.keys[i], c->endpoint_params.p[i] };
    *o = (struct http_oauth2){ .token_url = c->token_url,
                               .client_id = c->client_id,
                               .scopes = c->scopes.p,
                               .n_scopes = c->scopes.n,
                               .params = params,
                               .n_params = c->endpoint_params.n,
                               .tls = tls_of(&c->tls, a),
                               .proxy_url = c->proxy_url,
                               .no_proxy = c->no_proxy,
                               .proxy_from_environment = c->proxy_from_environment,
                               .proxy_headers = proxy.v.p,
                               .n_proxy_headers = proxy.v.n };
    f->oauth2 = o;
    return secret_of(a, c->client_secret.value, c->client_secret_file, &o->client_secret, error, error_size);
}

/* Appends to the headers that f has already. */
bool http_config_apply(const struct http_config *c, struct arena *a, struct http_fetch *f, char *error,
                       size_t error_size)
{
    struct pairs pairs = { 0 };
    for (size_t i = 0; i < f->n_headers; i++)
        avec_push(a, &pairs.v, f->headers[i]);
    if (!put_headers(c, a, &pairs, error, error_size))
        return false;
    if (c->authorization) {
        str credentials;
        if (!secret_of(a, c->authorization->credentials.value, c->authorization->credentials_file, &credentials, error,
                       error_size))
            return false;
        struct http_pair p = { STR("Authorization"),
                               arena_printf(a, STR_FMT " " STR_FMT, STR_ARG(c->authorization->type),
                                            STR_ARG(credentials)) };
        avec_push(a, &pairs.v, p);
    }
    if (c->basic_auth) {
        if (!secret_of(a, c->basic_auth->username, c->basic_auth->username_file, &f->basic_user, error, error_size) ||
            !secret_of(a, c->basic_auth->password.value, c->basic_auth->password_file, &f->basic_password, error,
                       error_size))
            return false;
        if (!f->basic_user.p)
            f->basic_user = STR("");
    }
    if (c->oauth2 && !put_oauth2(c->oauth2, a, f, error, error_size))
        return false;
    struct pairs proxy = proxy_headers(c->proxy_connect_header, a);
    f->tls = tls_of(&c->tls, a);
    f->follow_redirects = c->follow_redirects;
    f->proxy_url = c->proxy_url;
    f->no_proxy = c->no_proxy;
    f->proxy_from_environment = c->proxy_from_environment;
    f->proxy_headers = proxy.v.p;
    f->n_proxy_headers = proxy.v.n;
    f->headers = pairs.v.p;
    f->n_headers = pairs.v.n;
    return true;
}

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
