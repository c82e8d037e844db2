/* Consul discovery: a blocking query of the catalog, and one of the health of each service that is wanted.
 * Spec: prometheus.io/docs, <consul_sd_config>; developer.hashicorp.com/consul/api-docs (blocking queries). */
#include <jansson.h>

#include "scrape/scrape_sd_kube.h"

#define META    "__meta_consul_"
#define WAIT_MS 120000

struct service {
    struct consul *k;
    struct remote_call call;
    char *name;
    uint64_t index;
    bool wanted, known;
    json_t *entries;
};
struct consul {
    struct remote *r;
    struct arena a;
    struct http_config http;
    struct remote_call catalog;
    uint64_t index;
    VEC(struct service *) services;
    bool listed, dirty;
};

/* ---- questions ---- */

static void put_param(struct buf *b, const char *name, str value)
{
    if (!value.n)
        return;
    buf_printf(b, "%s%s=", memchr(b->p, '?', b->n) ? "&" : "?", name);
    http_url_encode(b, value);
}

static void ask(struct consul *k, struct remote_call *c, const char *path, str service, uint64_t index)
{
    const struct sd_any *cfg = k->r->cfg;
    struct arena *a = remote_call_begin(c);
    AUTO_BUF struct buf url;
    buf_init(&url, 1 << 16);
    buf_printf(&url, STR_FMT "://" STR_FMT STR_FMT "%s", STR_ARG(cfg->s[S_CONSUL_SCHEME]),
               STR_ARG(cfg->s[S_CONSUL_SERVER]), STR_ARG(cfg->s[S_CONSUL_PREFIX]), path);
    http_url_encode(&url, service);
    put_param(&url, "dc", cfg->s[S_CONSUL_DC]);
    put_param(&url, "ns", cfg->s[S_CONSUL_NAMESPACE]);
    put_param(&url, "partition", cfg->s[S_CONSUL_PARTITION]);
    put_param(&url, "filter", service.n ? cfg->s[S_CONSUL_HEALTH_FILTER] : cfg->s[S_CONSUL_FILTER]);
    for (size_t i = 0; i < cfg->dict.n; i++)
        put_param(&url, "node-meta",
                  arena_printf(a, STR_FMT ":" STR_FMT, STR_ARG(cfg->dict.keys[i]), STR_ARG(cfg->dict.p[i])));
    for (size_t i = 0; service.n && i < cfg->list[LIST_CONSUL_TAGS].n; i++)
        put_param(&url, "tag", cfg->list[LIST_CONSUL_TAGS].p[i]);
    if (cfg->flag[FLAG_CONSUL_STALE])
        put_param(&url, "stale", STR("true"));
    if (index)
        put_param(&url, "index", arena_printf(a, "%llu", (unsigned long long)index));
    put_param(&url, "wait", arena_printf(a, "%dms", WAIT_MS));
    struct http_pair *h = arena_new(a, struct http_pair);
    *h = (struct http_pair){ STR("X-Consul-Token"), cfg->secret[SEC_CONSUL_TOKEN].value };
    remote_call_start(c, &(struct remote_ask){ .http = &k->http,
                                               .url = arena_str(a, buf_str(&url)),
                                               .headers = h,
                                               .n_headers = h->value.n > 0,
                                               .timeout_ms = WAIT_MS + WAIT_MS / 8 });
}

/* The JSON of a call that is done, or NULL with the trouble told and the next try put off. */
static json_t *take(struct consul *k, struct remote_call *c, uint64_t *index, uint64_t now_ns)
{
    json_error_t je = { .text = "" };
    json_t *doc = NULL;
    remote_call_reset(c);
    if (c->err)
        remote_error(k->r, "consul: %.200s", c->error);
    else if (c->status != 200)
        remote_error(k->r, "consul: server returned HTTP status %d", c->status);
    else if (!(doc = json_loadb(c->in.p ? c->in.p : "", c->in.n, 0, &je)))
        remote_error(k->r, "consul: %.200s", je.text);
    if (!doc) {
        remote_call_failed(c, now_ns);
        *index = 0;
        return NULL;
    }
    *index = c->index < *index ? 0 : c->index; /* an index that goes back: begin anew */
    c->backoff_ms = 0;
    c->next_ns = now_ns + (uint64_t)MAX(k->r->cfg->refresh_ms, 0) * 1000000u;
    remote_fine(k->r);
    return doc;
}

/* ---- services ---- */

static bool listed_in(const str *list, size_t n, str s)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(list[i], s))
            return true;
    return false;
}

static bool has_tags(const struct sd_any *cfg, json_t *tags)
{
    for (size_t i = 0; i < cfg->list[LIST_CONSUL_TAGS].n; i++) {
        size_t k;
        json_t *t;
        bool found = false;
        json_array_foreach(tags, k, t)
        {
            found |= str_eq(str_c(json_string_value(t)), cfg->list[LIST_CONSUL_TAGS].p[i]);
        }
        if (!found)
            return false;
    }
    return true;
}

static struct service *service_of(struct consul *k, str name)
{
    for (size_t i = 0; i < k->services.n; i++)
        if (str_eq(str_c(k->services.p[i]->name), name))
            return k->services.p[i];
    struct service *s = mem_zalloc(sizeof(*s));
    s->k = k;
    s->name = mem_strdup(name);
    remote_call_init(&s->call, k->r);
    vec_push(&k->services, s);
    return s;
}

static void service_free(struct service *s)
{
    remote_call_deinit(&s->call);
    json_decref(s->entries);
    mem_free(s->name);
    mem_free(s);
}

static void catalog_done(struct consul *k, json_t *doc)
{
    const struct sd_any *cfg = k->r->cfg;
    const char *name;
    json_t *tags;
    for (size_t i = 0; i < k->services.n; i++)
        k->services.p[i]->wanted = false;
    json_object_foreach(doc, name, tags)
    {
        bool named = !cfg->list[LIST_CONSUL_SERVICES].n ||
                     listed_in(cfg->list[LIST_CONSUL_SERVICES].p, cfg->list[LIST_CONSUL_SERVICES].n, str_c(name));
        if (named && has_tags(cfg, tags) && k->services.n < 10000)
            service_of(k, str_c(name))->wanted = true;
    }
    k->listed = k->dirty = true;
}

/* A service that is gone: its question is ended first. */
static void drop_unwanted(struct consul *k)
{
    for (size_t i = k->services.n; i-- > 0;) {
        struct service *s = k->services.p[i];
        if (s->wanted)
            continue;
        if (remote_call_state(&s->call) == CALL_RUNNING) {
            http_cancel(k->r->s->http, s->call.id);
            continue;
        }
        service_free(s);
        vec_remove_swap(&k->services, i);
    }
}

/* ---- targets ---- */

static void put(struct label_builder *b, str name, str value)
{
    lb_set(b, name, arena_str(b->a, value));
}

static void put_map(struct label_builder *b, const char *prefix, json_t *map)
{
    const char *key;
    json_t *v;
    json_object_foreach(map, key, v)
    {
        put(b, sd_label_name(b->a, prefix, str_c(key)), str_c(json_string_value(v)));
    }
}

static str health_of(json_t *checks)
{
    size_t i;
    json_t *c;
    str status = STR("passing");
    json_array_foreach(checks, i, c)
    {
        str id = kube_str(c, "CheckID"), s = kube_str(c, "Status");
        if (str_eq(id, STR("_node_maintenance")) || str_has_prefix(id, STR("_service_maintenance:")))
            return STR("maintenance");
        if (str_eq(s, STR("critical")) || (str_eq(s, STR("warning")) && !str_eq(status, STR("critical"))))
            status = s;
    }
    return status;
}

static str tags_of(struct arena *a, json_t *tags, str separator)
{
    size_t i;
    json_t *t;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_str_add(&b, separator);
    json_array_foreach(tags, i, t)
    {
        buf_str_add(&b, str_c(json_string_value(t)));
        buf_str_add(&b, separator);
    }
    if (json_array_size(tags) == 0)
        buf_str_add(&b, separator); /* as upstream: nothing between two separators */
    return arena_str(a, buf_str(&b));
}

static struct labels target_of(struct consul *k, struct arena *a, str service, json_t *e)
{
    struct label_builder b;
    str own = kube_str(e, "Service.Address"), node = kube_str(e, "Node.Address"), dc = k->r->cfg->s[S_CONSUL_DC];
    long long port = json_integer_value(kube_at(e, "Service.Port"));
    lb_init(&b, a);
    lb_set(&b, STR("__address__"), sd_host_port(a, own.n ? own : node, port));
    put(&b, STR(META "service"), service);
    put(&b, STR(META "dc"), dc.n ? dc : kube_str(e, "Node.Datacenter"));
    put(&b, STR(META "address"), node);
    put(&b, STR(META "node"), kube_str(e, "Node.Node"));
    put(&b, STR(META "namespace"), kube_str(e, "Service.Namespace"));
    put(&b, STR(META "partition"), kube_str(e, "Service.Partition"));
    put(&b, STR(META "tags"), tags_of(a, kube_at(e, "Service.Tags"), k->r->cfg->s[S_CONSUL_SEPARATOR]));
    put(&b, STR(META "service_address"), own);
    lb_set(&b, STR(META "service_port"), arena_printf(a, "%lld", port));
    put(&b, STR(META "service_id"), kube_str(e, "Service.ID"));
    put(&b, STR(META "health"), health_of(kube_at(e, "Checks")));
    put_map(&b, META "metadata_", kube_at(e, "Node.Meta"));
    put_map(&b, META "service_metadata_", kube_at(e, "Service.Meta"));
    put_map(&b, META "tagged_address_", kube_at(e, "Node.TaggedAddresses"));
    return lb_labels(&b);
}

static void rebuild(struct consul *k)
{
    struct sd_groups *g = sd_groups_new();
    for (size_t i = 0; i < k->services.n; i++) {
        struct service *s = k->services.p[i];
        struct sd_group group = { .targets = arena_zarray(&g->a, struct labels, json_array_size(s->entries) + 1) };
        size_t n;
        json_t *e;
        json_array_foreach(s->entries, n, e)
        {
            group.targets[group.n++] = target_of(k, &g->a, str_c(s->name), e);
        }
        if (s->wanted && group.n)
            avec_push(&g->a, &g->v, group);
    }
    k->dirty = false;
    remote_install(k->r, g);
}

/* ---- steps ---- */

static void service_step(struct consul *k, struct service *s, uint64_t now_ns)
{
    if (remote_call_state(&s->call) == CALL_DONE) {
        json_t *doc = take(k, &s->call, &s->index, now_ns);
        if (doc) {
            json_decref(s->entries);
            s->entries = doc;
            s->known = k->dirty = true;
        }
    }
    if (s->wanted && remote_call_state(&s->call) == CALL_IDLE && s->call.next_ns <= now_ns)
        ask(k, &s->call, "/v1/health/service/", str_c(s->name), s->index);
}

/* Without tags or filter to look for, services that are named need no catalog. */
static bool needs_catalog(const struct sd_any *cfg)
{
    return !cfg->list[LIST_CONSUL_SERVICES].n || cfg->list[LIST_CONSUL_TAGS].n || cfg->s[S_CONSUL_FILTER].n;
}

static void consul_step(void *state, uint64_t now_ns)
{
    struct consul *k = state;
    bool all = k->listed;
    if (remote_call_state(&k->catalog) == CALL_DONE) {
        json_t *doc = take(k, &k->catalog, &k->index, now_ns);
        if (doc)
            catalog_done(k, doc);
        json_decref(doc);
    }
    if (needs_catalog(k->r->cfg) && remote_call_state(&k->catalog) == CALL_IDLE && k->catalog.next_ns <= now_ns)
        ask(k, &k->catalog, "/v1/catalog/services", STR(""), k->index);
    for (size_t i = 0; i < k->services.n; i++) {
        service_step(k, k->services.p[i], now_ns);
        all &= k->services.p[i]->known || !k->services.p[i]->wanted;
    }
    drop_unwanted(k);
    if (all && k->dirty)
        rebuild(k);
}

static void consul_close(void *state)
{
    struct consul *k = state;
    for (size_t i = 0; i < k->services.n; i++)
        service_free(k->services.p[i]);
    vec_free(&k->services);
    remote_call_deinit(&k->catalog);
    arena_deinit(&k->a);
    mem_free(k);
}

static void *consul_open(struct remote *r)
{
    struct consul *k = mem_zalloc(sizeof(*k));
    const struct sd_any *cfg = r->cfg;
    k->r = r;
    arena_init(&k->a, 0);
    remote_call_init(&k->catalog, r);
    k->http = cfg->http;
    if (cfg->s[S_CONSUL_USER].n) {
        k->http.basic_auth = arena_new(&k->a, struct basic_auth_config);
        k->http.basic_auth->username = cfg->s[S_CONSUL_USER];
        k->http.basic_auth->password = cfg->secret[SEC_CONSUL_PASSWORD];
    }
    for (size_t i = 0; !needs_catalog(cfg) && i < cfg->list[LIST_CONSUL_SERVICES].n; i++)
        service_of(k, cfg->list[LIST_CONSUL_SERVICES].p[i])->wanted = true;
    k->listed = !needs_catalog(cfg);
    return k;
}

const struct remote_kind remote_consul = { consul_open, consul_step, consul_close };
