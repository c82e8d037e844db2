/* Docker discovery: containers and networks, asked for at every refresh_interval, over TCP or a unix socket.
 * Spec: prometheus.io/docs, <docker_sd_config>; docs.docker.com/engine/api (GET /containers/json, GET /networks). */
#include <jansson.h>
#include <stdlib.h>

#include "base/json.h"
#include "scrape/scrape_sd_kube.h"

#define META "__meta_docker_"

struct docker {
    struct remote *r;
    struct remote_call containers, networks;
    str base, socket; /* in a */
    struct arena a;
    uint64_t next_ns;
    bool asked;
};

static void *docker_open(struct remote *r)
{
    struct docker *d = mem_zalloc(sizeof(*d));
    str host = r->cfg->s[S_DOCKER_HOST];
    d->r = r;
    arena_init(&d->a, 0);
    d->base = host;
    if (str_has_prefix(host, STR("unix://"))) {
        d->socket = str_skip(host, 7);
        d->base = STR("http://localhost");
    } else if (str_has_prefix(host, STR("tcp://"))) {
        d->base = arena_printf(&d->a, "%s://" STR_FMT,
                               r->cfg->http.tls.ca_file.n || r->cfg->http.tls.cert_file.n ? "https" : "http",
                               STR_ARG(str_skip(host, 6)));
    }
    while (d->base.n && d->base.p[d->base.n - 1] == '/')
        d->base.n--;
    remote_call_init(&d->containers, r);
    remote_call_init(&d->networks, r);
    return d;
}

static void docker_close(void *state)
{
    struct docker *d = state;
    remote_call_deinit(&d->containers);
    remote_call_deinit(&d->networks);
    arena_deinit(&d->a);
    mem_free(d);
}

static str filters(struct arena *a, const struct sd_any *cfg)
{
    AUTO_BUF struct buf b, url;
    buf_init(&b, 0);
    buf_init(&url, 0);
    if (!cfg->filters.n)
        return STR("");
    struct json_out j = json_out_init(&b);
    json_obj(&j);
    for (size_t i = 0; i < cfg->filters.n; i++) {
        json_key(&j, cfg->filters.p[i].name);
        json_arr(&j);
        for (size_t k = 0; k < cfg->filters.p[i].values.n; k++)
            json_str(&j, cfg->filters.p[i].values.p[k]);
        json_arr_end(&j);
    }
    json_obj_end(&j);
    buf_lit(&url, "?filters=");
    http_url_encode(&url, buf_str(&b));
    return arena_str(a, buf_str(&url));
}

static void ask(struct docker *d, struct remote_call *c, const char *path, bool filtered)
{
    struct arena *a = remote_call_begin(c);
    str query = filtered ? filters(a, d->r->cfg) : STR("");
    remote_call_start(
        c, &(struct remote_ask){ .http = &d->r->cfg->http,
                                 .url = arena_printf(a, STR_FMT "%s" STR_FMT, STR_ARG(d->base), path, STR_ARG(query)),
                                 .unix_socket = d->socket,
                                 .timeout_ms = 30000 });
}

/* ---- labels ---- */

static void put_labels(struct label_builder *b, const char *prefix, json_t *map)
{
    const char *key;
    json_t *v;
    json_object_foreach(map, key, v)
    {
        lb_set(b, sd_label_name(b->a, prefix, str_c(key)), arena_str(b->a, str_c(json_string_value(v))));
    }
}

static void put(struct label_builder *b, str name, str value)
{
    lb_set(b, name, arena_str(b->a, value));
}

static json_t *by_id(json_t *list, const char *member, str id)
{
    size_t i;
    json_t *x;
    json_array_foreach(list, i, x)
    {
        if (str_eq(kube_str(x, member), id))
            return x;
    }
    return NULL;
}

static void put_network(struct label_builder *b, json_t *all, json_t *n)
{
    json_t *net = by_id(all, "Id", kube_str(n, "NetworkID"));
    put(b, STR(META "network_ip"), kube_str(n, "IPAddress"));
    if (!net)
        return;
    put(b, STR(META "network_id"), kube_str(net, "Id"));
    put(b, STR(META "network_name"), kube_str(net, "Name"));
    put(b, STR(META "network_scope"), kube_str(net, "Scope"));
    put(b, STR(META "network_internal"), json_is_true(kube_at(net, "Internal")) ? STR("true") : STR("false"));
    put(b, STR(META "network_ingress"), json_is_true(kube_at(net, "Ingress")) ? STR("true") : STR("false"));
    put_labels(b, META "network_label_", kube_at(net, "Labels"));
}

/* A container that shares another's network has that one's. */
static json_t *networks_of(json_t *containers, json_t *c)
{
    for (int hops = 0; c && hops < 16; hops++) {
        str mode = kube_str(c, "HostConfig.NetworkMode");
        json_t *nets = kube_at(c, "NetworkSettings.Networks");
        if (!str_has_prefix(mode, STR("container:")) || json_object_size(nets))
            return nets;
        c = by_id(containers, "Id", str_skip(mode, 10));
    }
    return NULL;
}

struct docker_out {
    struct sd_groups *g;
    struct sd_group group;
    size_t cap;
    struct labels common;
    json_t *networks;
    const struct sd_any *cfg;
};

static void add_target(struct docker_out *o, json_t *n, str address, json_t *port)
{
    struct label_builder b;
    VEC(struct labels) v = { o->group.targets, o->group.n, o->cap };
    lb_init(&b, &o->g->a);
    lb_reset(&b, o->common);
    put_network(&b, o->networks, n);
    lb_set(&b, STR("__address__"), address);
    if (port)
        lb_set(&b, STR(META "port_private"),
               arena_printf(&o->g->a, "%lld", (long long)json_integer_value(kube_at(port, "PrivatePort"))));
    if (port && json_integer_value(kube_at(port, "PublicPort")) > 0) {
        lb_set(&b, STR(META "port_public"),
               arena_printf(&o->g->a, "%lld", (long long)json_integer_value(kube_at(port, "PublicPort"))));
        put(&b, STR(META "port_public_ip"), kube_str(port, "IP"));
    }
    struct labels ls = lb_labels(&b);
    avec_push(&o->g->a, &v, ls);
    o->group.targets = v.p, o->group.n = v.n, o->cap = v.cap;
}

static void add_network(struct docker_out *o, json_t *c, json_t *n)
{
    size_t i;
    json_t *port;
    bool added = false;
    str ip = kube_str(n, "IPAddress");
    json_array_foreach(kube_at(c, "Ports"), i, port)
    {
        if (!str_eq(kube_str(port, "Type"), STR("tcp")))
            continue;
        add_target(o, n, sd_host_port(&o->g->a, ip, json_integer_value(kube_at(port, "PrivatePort"))), port);
        added = true;
    }
    bool host = str_eq(kube_str(c, "HostConfig.NetworkMode"), STR("host"));
    if (!added)
        add_target(o, n,
                   host ? arena_str(&o->g->a, o->cfg->s[S_DOCKER_NETWORK_HOST])
                        : sd_host_port(&o->g->a, ip, o->cfg->number[NUMBER_DOCKER_PORT]),
                   NULL);
}

static int name_cmp(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_container(struct docker_out *o, json_t *containers, json_t *c)
{
    struct label_builder b;
    const char *key;
    json_t *n, *nets = networks_of(containers, c), *name = json_array_get(kube_at(c, "Names"), 0);
    VEC(const char *) names = { 0 };
    lb_init(&b, &o->g->a);
    put(&b, STR(META "container_id"), kube_str(c, "Id"));
    put(&b, STR(META "container_name"), str_c(json_string_value(name)));
    put(&b, STR(META "container_network_mode"), kube_str(c, "HostConfig.NetworkMode"));
    put_labels(&b, META "container_label_", kube_at(c, "Labels"));
    o->common = lb_labels(&b);
    json_object_foreach(nets, key, n)
    {
        if (json_is_object(n))
            avec_push(&o->g->a, &names, key);
    }
    if (names.n)
        qsort(names.p, names.n, sizeof(*names.p), name_cmp);
    for (size_t i = 0; i < (o->cfg->flag[FLAG_DOCKER_FIRST_NETWORK] ? MIN(names.n, 1) : names.n); i++)
        add_network(o, c, json_object_get(nets, names.p[i]));
}

static struct sd_groups *docker_groups(const struct sd_any *cfg, json_t *containers, json_t *networks)
{
    struct docker_out o = { .g = sd_groups_new(), .networks = networks, .cfg = cfg };
    size_t i;
    json_t *c;
    json_array_foreach(containers, i, c)
    {
        add_container(&o, containers, c);
    }
    avec_push(&o.g->a, &o.g->v, o.group);
    return o.g;
}

/* ---- answers ---- */

static json_t *take(struct docker *d, struct remote_call *c)
{
    json_error_t je = { .text = "" };
    json_t *doc = NULL;
    if (c->err)
        remote_error(d->r, "docker: %.200s", c->error);
    else if (c->status != 200)
        remote_error(d->r, "docker: server returned HTTP status %d", c->status);
    else if (!(doc = json_loadb(c->in.p ? c->in.p : "", c->in.n, 0, &je)) || !json_is_array(doc))
        remote_error(d->r, "docker: %.200s", doc ? "the answer is no list" : je.text);
    else
        return doc;
    json_decref(doc);
    return NULL;
}

static void docker_step(void *state, uint64_t now_ns)
{
    struct docker *d = state;
    if (!d->asked && d->next_ns <= now_ns) {
        d->next_ns = now_ns + (uint64_t)MAX(d->r->cfg->refresh_ms, 1000) * 1000000u;
        ask(d, &d->containers, "/containers/json", true);
        ask(d, &d->networks, "/networks", false);
        d->asked = true;
    }
    if (!d->asked || remote_call_state(&d->containers) != CALL_DONE || remote_call_state(&d->networks) != CALL_DONE)
        return;
    json_t *containers = take(d, &d->containers), *networks = containers ? take(d, &d->networks) : NULL;
    remote_call_reset(&d->containers);
    remote_call_reset(&d->networks);
    d->asked = false;
    if (networks)
        remote_install(d->r, docker_groups(d->r->cfg, containers, networks));
    json_decref(containers);
    json_decref(networks);
}

const struct remote_kind remote_docker = { docker_open, docker_step, docker_close };
