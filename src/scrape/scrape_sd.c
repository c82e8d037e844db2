/* Service discovery that runs here: static groups, files (looked at twice a second by time and size), an HTTP endpoint,
 * DNS. Each yields label sets with __address__; a provider's newest good answer counts, a bad one changes nothing.
 * Spec: prometheus.io/docs, <file_sd_config>, <http_sd_config>, <dns_sd_config>. */
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <glob.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdio.h>
#undef MIN /* sys/param.h, by way of resolv.h */
#undef MAX

#include "base/hash.h"
#include "scrape/scrape_int.h"

#define FILE_POLL_NS 500000000ull /* stat of each file: next to nothing */

uint16_t sd_dns_port_override;

struct sd_groups *sd_groups_new(void)
{
    struct sd_groups *g = mem_zalloc(sizeof(*g));
    arena_init(&g->a, SCRAPE_SD_BYTES_MAX * 4);
    return g;
}

void sd_groups_free(struct sd_groups *g)
{
    if (!g)
        return;
    arena_deinit(&g->a);
    mem_free(g);
}

/* ---- groups ---- */

struct names {
    VEC(str) v;
};
struct pairs {
    VEC(struct label) v;
};

/* Everything in g's arena already. meta: appended to every target. */
static void add_group(struct sd_groups *g, const str *targets, size_t n, const struct label *labels, size_t n_labels,
                      str meta_name, str source)
{
    struct sd_group out = { .targets = arena_zarray(&g->a, struct labels, n + 1) };
    for (size_t i = 0; i < n; i++) {
        struct label_builder b;
        lb_init(&b, &g->a);
        for (size_t k = 0; k < n_labels; k++)
            lb_set(&b, labels[k].name, labels[k].value);
        lb_set(&b, STR("__address__"), targets[i]);
        if (meta_name.n)
            lb_set(&b, meta_name, source);
        out.targets[out.n++] = lb_labels(&b);
    }
    avec_push(&g->a, &g->v, out);
}

struct sd_groups *sd_static(const struct target_group *groups, size_t n)
{
    struct sd_groups *g = sd_groups_new();
    for (size_t i = 0; i < n; i++) {
        struct pairs labels = { 0 };
        struct names targets = { 0 };
        for (size_t k = 0; k < groups[i].labels.n; k++) {
            struct label l = { arena_str(&g->a, groups[i].labels.keys[k]), arena_str(&g->a, groups[i].labels.p[k]) };
            avec_push(&g->a, &labels.v, l);
        }
        for (size_t k = 0; k < groups[i].targets.n; k++) {
            str t = arena_str(&g->a, groups[i].targets.p[k]);
            avec_push(&g->a, &targets.v, t);
        }
        add_group(g, targets.v.p, targets.v.n, labels.v.p, labels.v.n, STR_NONE, STR_NONE);
    }
    return g;
}

/* ---- JSON ---- */

static enum err json_wrong(struct json_in *j, const char *want, struct err_text *reterr)
{
    if (j->tok == JSON_TOK_ERR)
        return json_fail(j, reterr);
    return err_fail_at(reterr, ERR_PARSE, (size_t)(j->p - j->start), "byte %zu: expected %s", (size_t)(j->p - j->start),
                       want);
}

static enum err json_targets(struct json_in *j, struct sd_groups *g, struct names *out, struct err_text *reterr)
{
    if (json_next(j) == JSON_TOK_NULL)
        return OK;
    if (j->tok != JSON_TOK_ARR)
        return json_wrong(j, "a list of targets", reterr);
    while (json_next(j) != JSON_TOK_ARR_END) {
        if (j->tok != JSON_TOK_STR)
            return json_wrong(j, "a target (string)", reterr);
        str t = arena_str(&g->a, j->text);
        avec_push(&g->a, &out->v, t);
        if (out->v.n > SCRAPE_SD_TARGETS_MAX)
            return err_fail(reterr, ERR_LIMIT, "more than %u targets", SCRAPE_SD_TARGETS_MAX);
    }
    return OK;
}

static enum err json_labels(struct json_in *j, struct sd_groups *g, struct pairs *out, struct err_text *reterr)
{
    if (json_next(j) == JSON_TOK_NULL)
        return OK;
    if (j->tok != JSON_TOK_OBJ)
        return json_wrong(j, "an object of labels", reterr);
    while (json_next(j) != JSON_TOK_OBJ_END) {
        if (j->tok != JSON_TOK_KEY)
            return json_wrong(j, "a label name", reterr);
        struct label l = { arena_str(&g->a, j->text), STR_NONE };
        if (l.name.n == 0)
            return json_wrong(j, "a label name that is not empty", reterr);
        if (json_next(j) != JSON_TOK_STR)
            return json_wrong(j, "a label value (string)", reterr);
        l.value = arena_str(&g->a, j->text);
        avec_push(&g->a, &out->v, l);
        if (out->v.n > 1000)
            return err_fail(reterr, ERR_LIMIT, "more than 1000 labels in a group");
    }
    return OK;
}

static enum err json_group(struct json_in *j, struct sd_groups *g, str meta_name, str source, struct err_text *reterr)
{
    struct names targets = { 0 };
    struct pairs labels = { 0 };
    while (json_next(j) != JSON_TOK_OBJ_END) {
        if (j->tok != JSON_TOK_KEY)
            return json_wrong(j, "a key", reterr);
        if (str_eq(j->text, STR("targets")))
            TRY(json_targets(j, g, &targets, reterr));
        else if (str_eq(j->text, STR("labels")))
            TRY(json_labels(j, g, &labels, reterr));
        else
            return err_fail(reterr, ERR_PARSE, "unknown field \"" STR_FMT "\"", STR_ARG(str_take(j->text, 100)));
        if (arena_over(&g->a))
            return err_fail(reterr, ERR_LIMIT, "too many targets");
    }
    add_group(g, targets.v.p, targets.v.n, labels.v.p, labels.v.n, meta_name, source);
    return OK;
}

enum err sd_json_decode(struct sd_groups *g, str json, str meta_name, str source, struct err_text *reterr)
{
    struct json_in j;
    json_in_init(&j, &g->a, json);
    source = arena_str(&g->a, source);
    if (json_next(&j) == JSON_TOK_NULL)
        return json_next(&j) == JSON_TOK_END ? OK : json_wrong(&j, "the end", reterr);
    if (j.tok != JSON_TOK_ARR)
        return json_wrong(&j, "a list of target groups", reterr);
    while (json_next(&j) != JSON_TOK_ARR_END) {
        if (j.tok != JSON_TOK_OBJ)
            return json_wrong(&j, "a target group (object)", reterr);
        TRY(json_group(&j, g, meta_name, source, reterr));
    }
    return json_next(&j) == JSON_TOK_END ? OK : json_wrong(&j, "the end", reterr);
}

/* ---- YAML ---- */

enum err sd_yaml_decode(struct sd_groups *g, str file, str text, str meta_name, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct conf_ctx cx = conf_ctx_init(&a, fs_os());
    struct conf_node *root;
    enum err e = conf_parse(&cx, file, text, 0, &root);
    if (e == OK && root->kind != CONF_SEQ && root->kind != CONF_NULL)
        e = conf_error(&cx, root, "expected a list of target groups");
    file = arena_str(&g->a, file);
    for (size_t i = 0; e == OK && root->kind == CONF_SEQ && i < root->n; i++) {
        struct target_group tg;
        e = conf_decode(&cx, root->items[i], &target_group_schema, &tg);
        if (e)
            break;
        struct sd_groups *one = sd_static(&tg, 1);
        for (size_t k = 0; k < one->v.p[0].n; k++) { /* rebuilt with the meta label */
            struct label_builder b;
            lb_init(&b, &g->a);
            lb_reset(&b, labels_copy(&g->a, one->v.p[0].targets[k]));
            lb_set(&b, meta_name, file);
            struct sd_group out = { .targets = arena_new(&g->a, struct labels), .n = 1 };
            out.targets[0] = lb_labels(&b);
            avec_push(&g->a, &g->v, out);
        }
        sd_groups_free(one);
    }
    if (e)
        conf_first_error(&cx, reterr);
    conf_ctx_release(&cx);
    return e;
}

/* ---- files ---- */

static enum err read_one(const char *path, struct sd_groups *g, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    str text, name = str_c(path);
    arena_init(&a, 0);
    TRY(fs_read_file(fs_os(), path, SCRAPE_SD_BYTES_MAX, &a, &text, reterr));
    if (str_has_suffix(name, STR(".json")) || str_has_suffix(name, STR(".JSON"))) {
        enum err e = sd_json_decode(g, text, STR("__meta_filepath"), name, reterr);
        if (e)
            err_prefix(reterr, "%s", path);
        return e;
    }
    return sd_yaml_decode(g, name, text, STR("__meta_filepath"), reterr);
}

static struct sd_source *source_of(struct provider *p, str path)
{
    for (size_t i = 0; i < p->sources.n; i++)
        if (str_eq(p->sources.p[i].path, path))
            return &p->sources.p[i];
    struct sd_source s = { .path = mem_dup(path) };
    vec_push(&p->sources, s);
    return &p->sources.p[p->sources.n - 1];
}

/* One file: re-read when its stamp changed. Groups are exchanged under the engine's mutex: the sync reads them there. */
static bool look_at(struct provider *p, const char *path)
{
    struct err_text et = { .msg = "" };
    uint64_t stamp = fs_stamp(path);
    if (!stamp)
        return false;
    mtx_lock(&p->s->mu);
    struct sd_source *src = source_of(p, str_c(path));
    src->present = true;
    bool same = src->stamp == stamp;
    src->stamp = stamp;
    mtx_unlock(&p->s->mu);
    if (same)
        return false;
    struct sd_groups *g = sd_groups_new(), *old = NULL;
    enum err e = read_one(path, g, &et);
    if (e) {
        mtx_lock(&p->s->mu);
        snprintf(p->error, sizeof(p->error), "%.250s", et.msg);
        mtx_unlock(&p->s->mu);
        LOG_WARN("target file cannot be used, its last good content stays", "err", et.msg);
        sd_groups_free(g);
        return false;
    }
    mtx_lock(&p->s->mu);
    p->error[0] = 0;
    src = source_of(p, str_c(path));
    old = src->groups;
    src->groups = g;
    mtx_unlock(&p->s->mu);
    sd_groups_free(old);
    return true;
}

bool sd_files_read(const struct file_sd_config *cfg, struct provider *p)
{
    bool changed = false;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    mtx_lock(&p->s->mu);
    for (size_t i = 0; i < p->sources.n; i++)
        p->sources.p[i].present = false;
    mtx_unlock(&p->s->mu);
    for (size_t i = 0; i < cfg->files.n; i++) {
        glob_t g;
        if (glob(arena_cstr(&a, cfg->files.p[i]), 0, NULL, &g) == 0)
            for (size_t k = 0; k < g.gl_pathc; k++)
                changed |= look_at(p, g.gl_pathv[k]);
        globfree(&g);
    }
    mtx_lock(&p->s->mu);
    for (size_t i = p->sources.n; i-- > 0;)
        if (!p->sources.p[i].present) { /* the file went: so do its targets */
            sd_groups_free(p->sources.p[i].groups);
            mem_free((void *)(uintptr_t)p->sources.p[i].path.p);
            vec_remove_swap(&p->sources, i);
            changed = true;
        }
    mtx_unlock(&p->s->mu);
    return changed;
}

/* ---- DNS ---- */

static void dns_target(struct sd_groups *g, str name, str address, str meta, str meta_value, unsigned srv_port)
{
    struct label_builder b;
    lb_init(&b, &g->a);
    lb_set(&b, STR("__address__"), address);
    lb_set(&b, STR("__meta_dns_name"), arena_str(&g->a, name));
    if (meta.n)
        lb_set(&b, meta, meta_value);
    if (srv_port)
        lb_set(&b, STR("__meta_dns_srv_record_port"), arena_printf(&g->a, "%u", srv_port));
    struct sd_group out = { .targets = arena_new(&g->a, struct labels), .n = 1 };
    out.targets[0] = lb_labels(&b);
    avec_push(&g->a, &g->v, out);
}

static void dns_record(const struct dns_sd_config *cfg, ns_msg *msg, ns_rr *rr, str name, struct sd_groups *g)
{
    char host[NS_MAXDNAME], ip[INET6_ADDRSTRLEN];
    const unsigned char *d = ns_rr_rdata(*rr);
    size_t n = ns_rr_rdlen(*rr), skip = cfg->type == DNS_SRV ? 6 : cfg->type == DNS_MX ? 2 : 0;
    if (cfg->type == DNS_A || cfg->type == DNS_AAAA) {
        bool v4 = cfg->type == DNS_A;
        if (n == (v4 ? 4 : 16) && inet_ntop(v4 ? AF_INET : AF_INET6, d, ip, sizeof(ip)))
            dns_target(g, name, arena_printf(&g->a, v4 ? "%s:%lld" : "[%s]:%lld", ip, (long long)cfg->port), STR_NONE,
                       STR_NONE, 0);
        return;
    }
    if (n <= skip || dn_expand(ns_msg_base(*msg), ns_msg_end(*msg), d + skip, host, sizeof(host)) < 0)
        return;
    unsigned srv_port = cfg->type == DNS_SRV ? (unsigned)d[4] << 8 | d[5] : 0;
    str address =
        arena_printf(&g->a, "%s:%lld", host, cfg->type == DNS_SRV ? (long long)srv_port : (long long)cfg->port);
    str dotted = arena_printf(&g->a, "%s.", host);
    static const char *const metas[] = { [DNS_SRV] = "__meta_dns_srv_record_target",
                                         [DNS_MX] = "__meta_dns_mx_record_target",
                                         [DNS_NS] = "__meta_dns_ns_record_target" };
    dns_target(g, name, address, str_c(metas[cfg->type]), dotted, srv_port);
}

enum err sd_dns_resolve(const struct dns_sd_config *cfg, str name, struct sd_groups *g, struct err_text *reterr)
{
    static const int types[] = {
        [DNS_SRV] = ns_t_srv, [DNS_A] = ns_t_a, [DNS_AAAA] = ns_t_aaaa, [DNS_MX] = ns_t_mx, [DNS_NS] = ns_t_ns
    };
    struct __res_state rs = { 0 };
    AUTO_FREE unsigned char *answer = mem_alloc(65536);
    char *c_name = arena_cstr(&g->a, name);
    if (res_ninit(&rs) != 0)
        return err_fail(reterr, ERR_IO, "resolver cannot be set up");
    rs.retrans = 2;
    rs.retry = 2;
    if (sd_dns_port_override) {
        rs.nscount = 1;
        rs.nsaddr_list[0] = (struct sockaddr_in){ .sin_family = AF_INET,
                                                  .sin_port = htons(sd_dns_port_override),
                                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    }
    int n = res_nsearch(&rs, c_name, ns_c_in, types[cfg->type], answer, 65536);
    int why = rs.res_h_errno;
    res_nclose(&rs);
    if (n < 0 && (why == HOST_NOT_FOUND || why == NO_DATA))
        return OK;
    if (n < 0)
        return err_fail(reterr, ERR_IO, "could not resolve \"%s\": %s", c_name, hstrerror(why));
    ns_msg msg;
    if (ns_initparse(answer, n, &msg) != 0)
        return err_fail(reterr, ERR_PARSE, "malformed DNS answer for \"%s\"", c_name);
    for (int i = 0; i < ns_msg_count(msg, ns_s_an); i++) {
        ns_rr rr;
        if (ns_parserr(&msg, ns_s_an, i, &rr) == 0 && (int)ns_rr_type(rr) == types[cfg->type])
            dns_record(cfg, &msg, &rr, name, g);
    }
    return OK;
}

/* ---- providers ---- */

void provider_free(struct provider *p)
{
    for (size_t i = 0; i < p->sources.n; i++) {
        sd_groups_free(p->sources.p[i].groups);
        mem_free((void *)(uintptr_t)p->sources.p[i].path.p);
    }
    vec_free(&p->sources);
    arena_deinit(&p->request_a);
    mem_free((void *)(uintptr_t)p->body.p);
    prom_config_unref(p->prom);
    mem_free(p);
}

/* Under mu, by who had it busy. False: it is gone. */
static bool provider_back(struct provider *p)
{
    p->busy = false;
    if (p->dead) {
        provider_free(p);
        return false;
    }
    return true;
}

void sd_install(struct provider *p, struct sd_groups *g)
{
    struct sd_source *src = source_of(p, STR(""));
    sd_groups_free(src->groups);
    src->groups = g;
    p->error[0] = 0;
    scrape_sync_pool(p->s, p->pool);
}

static void http_done(void *ctx, const struct http_result *r)
{
    struct provider *p = ctx;
    struct scrape *s = p->s;
    mtx_lock(&s->mu);
    if (p->dead) {
        provider_free(p);
        mtx_unlock(&s->mu);
        return;
    }
    mem_free((void *)(uintptr_t)p->body.p);
    p->body = STR_NONE;
    p->error[0] = 0;
    if (r->err)
        snprintf(p->error, sizeof(p->error), "%.250s", r->error);
    else if (r->status != 200)
        snprintf(p->error, sizeof(p->error), "server returned HTTP status %d %s", r->status,
                 http_status_text(r->status));
    else if (!str_has_prefix(r->content_type, STR("application/json")))
        snprintf(p->error, sizeof(p->error), "unsupported content type \"%.*s\"",
                 STR_ARG(str_take(r->content_type, 100)));
    else
        p->body = buf_detach(r->body);
    p->answered = true;
    cond_signal(&s->sd_cv);
    mtx_unlock(&s->mu);
}

/* Not under mu; p is busy. */
static void http_ask(struct provider *p)
{
    const struct http_sd_config *cfg = p->cfg;
    struct arena *a = &p->request_a;
    arena_reset(a);
    struct http_pair *h = arena_array(a, struct http_pair, 2);
    h[0] = (struct http_pair){ STR("Accept"), STR("application/json") };
    h[1] = (struct http_pair){ STR("X-Prometheus-Refresh-Interval-Seconds"),
                               arena_printf(a, "%.3f", (double)cfg->refresh_ms / 1e3) };
    struct http_fetch f = { .url = cfg->url,
                            .headers = h,
                            .n_headers = 2,
                            .timeout_ms = MAX(cfg->refresh_ms, 1000),
                            .accept_encoding = STR("gzip"),
                            .body_bytes_max = SCRAPE_SD_BYTES_MAX,
                            .done = http_done,
                            .ctx = p };
    char error[256] = "";
    enum err e =
        http_config_apply(&cfg->http, a, &f, error, sizeof(error)) ? http_start(p->s->http, &f, NULL) : ERR_INVALID;
    if (e == OK)
        return;
    struct scrape *s = p->s;
    mtx_lock(&s->mu);
    if (error[0])
        snprintf(p->error, sizeof(p->error), "%s", error);
    else
        snprintf(p->error, sizeof(p->error), "request could not be started: %s", err_describe(e));
    if (p->dead)
        provider_free(p);
    else
        p->answered = true;
    mtx_unlock(&s->mu);
}

/* The answer is there: decode without the lock, install with it. */
static void http_answered(struct provider *p)
{
    const struct http_sd_config *cfg = p->cfg;
    struct err_text et = { .msg = "" };
    struct sd_groups *g = NULL;
    struct scrape *s = p->s;
    if (p->body.p) {
        g = sd_groups_new();
        if (sd_json_decode(g, p->body, STR("__meta_url"), cfg->url, &et)) {
            sd_groups_free(g);
            g = NULL;
        }
    }
    mtx_lock(&s->mu);
    if (et.msg[0])
        snprintf(p->error, sizeof(p->error), "%.250s", et.msg);
    if (!g)
        LOG_WARN("http_sd answer cannot be used, the last good one stays", "url", LOG_STR(cfg->url), "err", p->error);
    p->answered = false;
    if (!provider_back(p))
        sd_groups_free(g);
    else if (g)
        sd_install(p, g);
    mtx_unlock(&s->mu);
}

static void dns_ask(struct provider *p)
{
    const struct dns_sd_config *cfg = p->cfg;
    struct sd_groups *g = sd_groups_new();
    struct err_text et = { .msg = "" };
    enum err e = OK;
    for (size_t i = 0; i < cfg->names.n && e == OK; i++)
        e = sd_dns_resolve(cfg, cfg->names.p[i], g, &et);
    if (e)
        LOG_WARN("DNS discovery failed, the last good answer stays", "err", et.msg);
    struct scrape *s = p->s;
    mtx_lock(&s->mu);
    if (!provider_back(p)) {
        sd_groups_free(g);
    } else if (e) {
        snprintf(p->error, sizeof(p->error), "%.250s", et.msg);
        sd_groups_free(g);
    } else {
        sd_install(p, g);
    }
    mtx_unlock(&s->mu);
}

static void files_ask(struct provider *p)
{
    struct scrape *s = p->s;
    bool changed = sd_files_read(p->cfg, p);
    mtx_lock(&s->mu);
    if (provider_back(p) && changed)
        scrape_sync_pool(s, p->pool);
    mtx_unlock(&s->mu);
}

/* ---- threads ---- */

static uint64_t provider_period_ns(const struct provider *p)
{
    int64_t ms = p->kind == SD_HTTP  ? ((const struct http_sd_config *)p->cfg)->refresh_ms
                 : p->kind == SD_DNS ? ((const struct dns_sd_config *)p->cfg)->refresh_ms
                                     : 1000;
    return p->kind == SD_FILE ? FILE_POLL_NS : (uint64_t)MAX(ms, 1000) * 1000000u;
}

/* Under mu: the next provider this thread should look after, marked busy; NULL: none is due. */
static struct provider *next_due(struct scrape *s, bool dns)
{
    uint64_t now = os_mono_ns();
    for (size_t i = 0; i < s->pools.n; i++)
        for (size_t k = 0; k < s->pools.p[i]->providers.n; k++) {
            struct provider *p = s->pools.p[i]->providers.p[k];
            if (!dns && p->answered)
                return p;
            if (p->busy || p->kind == SD_STATIC || p->kind >= SD_KUBERNETES || (p->kind == SD_DNS) != dns ||
                p->next_ns > now)
                continue;
            p->busy = true;
            p->next_ns = now + provider_period_ns(p);
            return p;
        }
    return NULL;
}

static void loop(struct scrape *s, bool dns, struct cond *cv)
{
    mtx_lock(&s->mu);
    while (!s->sd_closing) {
        struct provider *p = next_due(s, dns);
        if (!p) {
            cond_wait_ms(cv, &s->mu, 250);
            continue;
        }
        bool answered = p->answered;
        mtx_unlock(&s->mu);
        if (answered)
            http_answered(p);
        else if (p->kind == SD_FILE)
            files_ask(p);
        else if (p->kind == SD_HTTP)
            http_ask(p);
        else
            dns_ask(p);
        mtx_lock(&s->mu);
    }
    mtx_unlock(&s->mu);
}

void sd_main(void *s)
{
    loop(s, false, &((struct scrape *)s)->sd_cv);
}

void sd_dns_main(void *s)
{
    loop(s, true, &((struct scrape *)s)->dns_cv);
}
