/* Kubernetes discovery: for each resource a role needs, list its objects, then watch for changes.
 *
 * A watch is a state machine: LIST (pages of 500 until no "continue" is left; the new set replaces the old one as a whole)
 * -> WATCH (one event per line, from the list's resourceVersion on; bookmarks move it) -> again WATCH when the server ends
 * it, LIST when it says 410 Gone or anything unexpected. Trouble waits with back-off and changes nothing known.
 * Targets are made when every resource was listed once, and then at most once a second while something changes.
 * Spec: kubernetes.io/docs/reference/using-api/api-concepts (efficient detection of changes). */
#include "scrape/scrape_sd_kube.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"

#define LIST_LIMIT   500
#define WATCH_S      240 /* asked of the server; the request itself may last a minute longer */
#define REBUILD_NS   1000000000ull
#define ACCOUNT_DIR  "/var/run/secrets/kubernetes.io/serviceaccount"
#define WATCH_MIN_NS 1000000000ull /* one that ended sooner counts as trouble */

const char *sd_kube_account_dir = ACCOUNT_DIR;

static const struct {
    const char *role, *root, *plural;
    bool cluster_wide;
} resources[KUBE_RESOURCES] = {
    [KUBE_POD] = { "pod", "/api/v1", "pods", false },
    [KUBE_SERVICE] = { "service", "/api/v1", "services", false },
    [KUBE_ENDPOINTS] = { "endpoints", "/api/v1", "endpoints", false },
    [KUBE_ENDPOINTSLICE] = { "endpointslice", "/apis/discovery.k8s.io/v1", "endpointslices", false },
    [KUBE_NODE] = { "node", "/api/v1", "nodes", true },
    [KUBE_INGRESS] = { "ingress", "/apis/networking.k8s.io/v1", "ingresses", false },
    [KUBE_NAMESPACE] = { "namespace", "/api/v1", "namespaces", true },
};

struct watch {
    struct remote_call call;
    struct kube *k;
    enum kube_resource what;
    str namespace; /* "" for all */
    bool watching, listed;
    bool gone;              /* the watch cannot go on: the list is read again when its request has ended */
    bool events;            /* this watch brought some */
    json_t *set, *next_set; /* next_set: of a list under way */
    char *version, *page;   /* owned; page: the list's "continue" */
    uint64_t since_ns;
};
struct kube {
    struct remote *r;
    struct arena a;
    struct http_config http;
    str server;
    VEC(struct watch *) watches;
    enum kube_resource role;
    bool dirty;
    uint64_t built_ns;
};

/* ---- questions ---- */

static void put_param(struct buf *b, const char *name, str value)
{
    if (!value.n)
        return;
    buf_printf(b, "%s%s=", memchr(b->p, '?', b->n) ? "&" : "?", name);
    http_url_encode(b, value);
}

static void ask(struct watch *w, uint64_t now_ns)
{
    struct kube *k = w->k;
    const struct sd_any *cfg = k->r->cfg;
    struct arena *a = remote_call_begin(&w->call);
    AUTO_BUF struct buf url;
    buf_init(&url, 1 << 16);
    str server = k->server;
    while (server.n && server.p[server.n - 1] == '/')
        server.n--;
    buf_printf(&url, STR_FMT "%s", STR_ARG(server), resources[w->what].root);
    if (w->namespace.n)
        buf_printf(&url, "/namespaces/" STR_FMT, STR_ARG(w->namespace));
    buf_printf(&url, "/%s", resources[w->what].plural);
    for (size_t i = 0; i < cfg->selectors.n; i++)
        if (str_eq(cfg->selectors.p[i].role, str_c(resources[w->what].role))) {
            put_param(&url, "labelSelector", cfg->selectors.p[i].label);
            put_param(&url, "fieldSelector", cfg->selectors.p[i].field);
        }
    if (w->watching) {
        put_param(&url, "watch", STR("1"));
        put_param(&url, "allowWatchBookmarks", STR("true"));
        put_param(&url, "resourceVersion", str_c(w->version));
        put_param(&url, "timeoutSeconds", arena_printf(a, "%d", WATCH_S));
    } else {
        put_param(&url, "limit", arena_printf(a, "%d", LIST_LIMIT));
        put_param(&url, "continue", w->page ? str_c(w->page) : STR(""));
    }
    struct http_pair *h = arena_new(a, struct http_pair);
    *h = (struct http_pair){ STR("Accept"), STR("application/json") };
    w->since_ns = now_ns;
    w->events = false;
    remote_call_start(&w->call, &(struct remote_ask){ .http = &k->http,
                                                      .url = arena_str(a, buf_str(&url)),
                                                      .headers = h,
                                                      .n_headers = 1,
                                                      .timeout_ms = w->watching ? (WATCH_S + 60) * 1000 : 60000,
                                                      .streams = w->watching });
}

/* ---- answers ---- */

static void set_text(char **to, str s)
{
    mem_free(*to);
    *to = s.n ? mem_strdup(s) : NULL;
}

static void relist(struct watch *w)
{
    w->watching = false;
    set_text(&w->page, STR_NONE);
    json_decref(w->next_set);
    w->next_set = NULL;
}

static void trouble(struct watch *w, uint64_t now_ns, const char *what)
{
    remote_call_failed(&w->call, now_ns);
    remote_error(w->k->r, "kubernetes %s: %.200s", resources[w->what].plural, what);
}

static bool object_key(json_t *object, char *key, size_t size)
{
    str namespace = kube_str(object, "metadata.namespace"), name = kube_str(object, "metadata.name");
    return name.n && snprintf(key, size, STR_FMT "/" STR_FMT, STR_ARG(namespace), STR_ARG(name)) < (int)size;
}

static void keep(json_t *set, json_t *object, enum kube_resource what)
{
    char key[600];
    if (!object_key(object, key, sizeof(key)) || json_object_size(set) >= SCRAPE_SD_TARGETS_MAX)
        return;
    kube_prune(object, what);
    json_object_set(set, key, object);
}

static void list_page(struct watch *w, json_t *doc)
{
    size_t i;
    json_t *item;
    if (!w->next_set)
        w->next_set = json_object();
    json_array_foreach(json_object_get(doc, "items"), i, item)
    {
        keep(w->next_set, item, w->what);
    }
    set_text(&w->page, kube_str(doc, "metadata.continue"));
    if (w->page)
        return;
    json_decref(w->set);
    w->set = w->next_set;
    w->next_set = NULL;
    set_text(&w->version, kube_str(doc, "metadata.resourceVersion"));
    w->watching = w->version != NULL;
    w->listed = w->k->dirty = true;
}

static void list_done(struct watch *w, uint64_t now_ns)
{
    struct remote_call *c = &w->call;
    json_error_t je;
    char text[300];
    remote_call_reset(c);
    if (c->err || c->status != 200) {
        snprintf(text, sizeof(text), c->err ? "%s" : "server returned HTTP status %.0s%d", c->error, c->status);
        relist(w); /* also 410: the pages' snapshot is gone */
        trouble(w, now_ns, text);
        return;
    }
    json_t *doc = json_loadb(c->in.p ? c->in.p : "", c->in.n, 0, &je);
    if (!doc || !json_is_array(json_object_get(doc, "items"))) {
        relist(w);
        trouble(w, now_ns, doc ? "the answer is no list" : je.text);
    } else {
        c->backoff_ms = 0;
        c->next_ns = now_ns;
        list_page(w, doc);
    }
    json_decref(doc);
}

/* One line of a watch. False: it cannot go on; the list is read again. */
static bool event(struct watch *w, str line, uint64_t now_ns)
{
    json_error_t je;
    char key[600];
    json_t *doc = json_loadb(line.p, line.n, 0, &je), *object = json_object_get(doc, "object");
    str type = kube_str(doc, "type"), version = kube_str(object, "metadata.resourceVersion");
    bool ok = json_is_object(object), gone = false;
    if (str_eq(type, STR("ADDED")) || str_eq(type, STR("MODIFIED"))) {
        keep(w->set, object, w->what);
        w->k->dirty = true;
    } else if (str_eq(type, STR("DELETED"))) {
        if (object_key(object, key, sizeof(key)))
            json_object_del(w->set, key);
        w->k->dirty = true;
    } else if (!str_eq(type, STR("BOOKMARK"))) {
        ok = false;
        gone = str_eq(type, STR("ERROR")) && json_integer_value(kube_at(object, "code")) == 410;
    }
    if (ok && version.n)
        set_text(&w->version, version);
    if (!ok && !gone)
        trouble(w, now_ns, doc ? "the watch reported an error" : je.text);
    json_decref(doc);
    return ok;
}

/* Whole lines that have come so far. */
static void watch_lines(struct watch *w, uint64_t now_ns)
{
    struct remote_call *c = &w->call;
    AUTO_BUF struct buf lines;
    buf_init(&lines, 0);
    mtx_lock(&c->r->mu);
    size_t end = c->in.n;
    while (end && c->in.p[end - 1] != '\n')
        end--;
    buf_add(&lines, c->in.p, end);
    if (end)
        memmove(c->in.p, c->in.p + end, c->in.n - end);
    c->in.n -= end;
    mtx_unlock(&c->r->mu);
    str rest = buf_str(&lines), line;
    while (!w->gone && str_cut(&rest, '\n', &line))
        if (str_trim(line).n)
            w->gone = !event(w, line, now_ns);
    if (rest.p != lines.p && !w->gone) {
        w->events = true;
        remote_fine(c->r);
    }
}

static void watch_done(struct watch *w, uint64_t now_ns)
{
    struct remote_call *c = &w->call;
    char text[300];
    remote_call_reset(c);
    bool timed_out = c->err == ERR_TIMEOUT;
    if (w->gone || (!c->err && c->status == 410)) {
        if (c->next_ns <= now_ns && !w->events && now_ns - w->since_ns < WATCH_MIN_NS)
            remote_call_failed(c, now_ns);
        w->gone = false;
        relist(w);
    } else if (!timed_out && (c->err || c->status != 200)) {
        snprintf(text, sizeof(text), c->err ? "%s" : "server returned HTTP status %.0s%d", c->error, c->status);
        if (!c->err && c->status < 500 && c->status != 429)
            relist(w);
        trouble(w, now_ns, text);
    } else if (!w->events && now_ns - w->since_ns < WATCH_MIN_NS) {
        remote_call_failed(c, now_ns);
    } else {
        c->backoff_ms = 0;
        c->next_ns = now_ns;
    }
}

static void watch_step(struct watch *w, uint64_t now_ns)
{
    enum remote_call_state state = remote_call_state(&w->call); /* before the lines: they are all there then */
    if (state != CALL_IDLE && w->watching) {
        watch_lines(w, now_ns);
        if (w->gone && state == CALL_RUNNING)
            http_cancel(w->k->r->s->http, w->call.id);
    }
    if (state == CALL_DONE && w->watching)
        watch_done(w, now_ns);
    else if (state == CALL_DONE)
        list_done(w, now_ns);
    if (remote_call_state(&w->call) == CALL_IDLE && w->call.next_ns <= now_ns)
        ask(w, now_ns);
}

/* ---- where the server is ---- */

static str b64(struct arena *a, str s)
{
    AUTO_BUF struct buf out;
    buf_init(&out, 0);
    uint32_t bits = 0, n = 0;
    for (size_t i = 0; i < s.n; i++) {
        static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const char *at = s.p[i] ? strchr(alphabet, s.p[i]) : NULL;
        if (!at)
            continue;
        bits = bits << 6 | (uint32_t)(at - alphabet);
        n += 6;
        if (n >= 8)
            buf_u8(&out, (uint8_t)(bits >> (n -= 8)));
    }
    return arena_str(a, buf_str(&out));
}

static str node_str(const struct conf_node *map, const char *key)
{
    const struct conf_node *v = map && map->kind == CONF_MAP ? conf_get(map, str_c(key)) : NULL;
    return v && v->kind == CONF_SCALAR ? v->text : STR("");
}

/* Of `list` the entry with that name; its member. */
static const struct conf_node *named(const struct conf_node *root, const char *list, str name, const char *member)
{
    const struct conf_node *l = conf_get(root, str_c(list));
    for (size_t i = 0; l && l->kind == CONF_SEQ && i < l->n; i++)
        if (str_eq(node_str(l->items[i], "name"), name))
            return conf_get(l->items[i], str_c(member));
    return NULL;
}

static void use_token(struct kube *k, str token, str file)
{
    k->http.authorization = arena_new(&k->a, struct authorization_config);
    *k->http.authorization = (struct authorization_config){ .type = STR("Bearer"), .credentials_file = file };
    k->http.authorization->credentials.value = token;
}

static str path_in(struct kube *k, str value)
{
    str dir = k->r->cfg->s[S_KUBE_CONFIG];
    while (dir.n && dir.p[dir.n - 1] != '/')
        dir.n--;
    return dir.n > 1 ? http_join_dir(&k->a, str_take(dir, dir.n - 1), value) : value;
}

static void use_user(struct kube *k, const struct conf_node *user)
{
    struct tls_config *t = &k->http.tls;
    str token = node_str(user, "token"), file = path_in(k, node_str(user, "tokenFile"));
    if (token.n || file.n)
        use_token(k, token, file);
    t->cert_file = path_in(k, node_str(user, "client-certificate"));
    t->key_file = path_in(k, node_str(user, "client-key"));
    t->cert = b64(&k->a, node_str(user, "client-certificate-data"));
    t->key.value = b64(&k->a, node_str(user, "client-key-data"));
    if (node_str(user, "username").n) {
        k->http.basic_auth = arena_new(&k->a, struct basic_auth_config);
        k->http.basic_auth->username = node_str(user, "username");
        k->http.basic_auth->password.value = node_str(user, "password");
    }
}

static bool use_kubeconfig(struct kube *k)
{
    struct conf_ctx cx = conf_ctx_init(&k->a, fs_os());
    struct conf_node *root;
    struct err_text why = { .msg = "" };
    str file = k->r->cfg->s[S_KUBE_CONFIG];
    if (conf_read(&cx, arena_cstr(&k->a, file), 0, &root) != OK || root->kind != CONF_MAP) {
        conf_first_error(&cx, &why);
        remote_error(k->r, "kubeconfig_file: %.200s", why.msg);
        conf_ctx_release(&cx);
        return false;
    }
    conf_ctx_release(&cx);
    const struct conf_node *context = named(root, "contexts", node_str(root, "current-context"), "context");
    const struct conf_node *cluster = named(root, "clusters", node_str(context, "cluster"), "cluster");
    const struct conf_node *user = named(root, "users", node_str(context, "user"), "user");
    k->server = node_str(cluster, "server");
    k->http.tls.ca_file = path_in(k, node_str(cluster, "certificate-authority"));
    k->http.tls.ca = b64(&k->a, node_str(cluster, "certificate-authority-data"));
    k->http.tls.server_name = node_str(cluster, "tls-server-name");
    k->http.tls.insecure_skip_verify = str_eq(node_str(cluster, "insecure-skip-tls-verify"), STR("true"));
    k->http.proxy_url = node_str(cluster, "proxy-url");
    use_user(k, user);
    if (user && (conf_has(user, "exec") || conf_has(user, "auth-provider")))
        remote_error(k->r, "kubeconfig_file: credentials from programs (exec, auth-provider) are not supported");
    else if (!k->server.n)
        remote_error(k->r, "kubeconfig_file: the current context names no server");
    else
        return true;
    return false;
}

static bool use_cluster(struct kube *k)
{
    const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
    uint64_t number = 443;
    if (!host) {
        remote_error(k->r, "kubernetes: not inside a cluster (no KUBERNETES_SERVICE_HOST), and neither api_server nor "
                           "kubeconfig_file is set");
        return false;
    }
    if (port && !str_to_u64(str_c(port), &number))
        number = 443;
    k->server = arena_printf(&k->a, "https://" STR_FMT, STR_ARG(sd_host_port(&k->a, str_c(host), (long long)number)));
    k->http.tls.ca_file = arena_printf(&k->a, "%s/ca.crt", sd_kube_account_dir);
    use_token(k, STR_NONE,
              arena_printf(&k->a, "%s/token", sd_kube_account_dir)); /* read again for each request: it rotates */
    return true;
}

/* ---- open and close ---- */

static void add_watch(struct kube *k, enum kube_resource what, str namespace)
{
    struct watch *w = mem_zalloc(sizeof(*w));
    w->k = k;
    w->what = what;
    w->namespace = resources[what].cluster_wide ? STR("") : namespace;
    w->set = json_object();
    remote_call_init(&w->call, k->r);
    vec_push(&k->watches, w);
}

static void add_watches(struct kube *k, str namespace)
{
    bool endpoints = k->role == KUBE_ENDPOINTS || k->role == KUBE_ENDPOINTSLICE;
    if (!resources[k->role].cluster_wide)
        add_watch(k, k->role, namespace);
    if (endpoints) {
        add_watch(k, KUBE_SERVICE, namespace);
        add_watch(k, KUBE_POD, namespace);
    }
}

static void kube_close(void *state)
{
    struct kube *k = state;
    for (size_t i = 0; i < k->watches.n; i++) {
        struct watch *w = k->watches.p[i];
        remote_call_deinit(&w->call);
        json_decref(w->set);
        json_decref(w->next_set);
        mem_free(w->version);
        mem_free(w->page);
        mem_free(w);
    }
    vec_free(&k->watches);
    arena_deinit(&k->a);
    mem_free(k);
}

static void watch_all(struct kube *k)
{
    const struct sd_any *cfg = k->r->cfg;
    const struct sd_metadata *m = &cfg->metadata;
    bool pods = k->role == KUBE_POD || k->role == KUBE_ENDPOINTS || k->role == KUBE_ENDPOINTSLICE;
    str own;
    if (cfg->namespaces.own && fs_read_file(fs_os(), arena_printf(&k->a, "%s/namespace", sd_kube_account_dir).p, 4096,
                                            &k->a, &own, NULL) == OK)
        add_watches(k, str_trim(own));
    for (size_t i = 0; i < cfg->namespaces.names.n; i++)
        add_watches(k, cfg->namespaces.names.p[i]);
    if (!k->watches.n)
        add_watches(k, STR(""));
    if (k->role == KUBE_NODE || (m->node && pods))
        add_watch(k, KUBE_NODE, STR(""));
    if (m->namespace && k->role != KUBE_NODE)
        add_watch(k, KUBE_NAMESPACE, STR(""));
}

static void *kube_open(struct remote *r)
{
    struct kube *k = mem_zalloc(sizeof(*k));
    const struct sd_any *cfg = r->cfg;
    k->r = r;
    arena_init(&k->a, 0);
    k->http = cfg->http;
    k->server = cfg->s[S_KUBE_SERVER];
    while (!str_eq(str_c(resources[k->role].role), cfg->s[S_KUBE_ROLE])) /* the configuration was checked */
        k->role++;
    bool ok = k->server.n || (cfg->s[S_KUBE_CONFIG].n ? use_kubeconfig(k) : use_cluster(k));
    if (!ok) {
        kube_close(k);
        return NULL;
    }
    watch_all(k);
    return k;
}

/* ---- targets ---- */

static void rebuild(struct kube *k, uint64_t now_ns)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct kube_view v = { .role = k->role,
                           .with_nodes = k->r->cfg->metadata.node,
                           .with_namespaces = k->r->cfg->metadata.namespace };
    for (int what = 0; what < KUBE_RESOURCES; what++) {
        json_t **sets = arena_array(&a, json_t *, k->watches.n + 1);
        size_t n = 0;
        for (size_t i = 0; i < k->watches.n; i++)
            if ((int)k->watches.p[i]->what == what)
                sets[n++] = k->watches.p[i]->set;
        v.of[what].sets = sets;
        v.of[what].n = n;
    }
    k->dirty = false;
    k->built_ns = now_ns;
    remote_install(k->r, kube_groups(&v));
}

static void kube_step(void *state, uint64_t now_ns)
{
    struct kube *k = state;
    bool all = true;
    for (size_t i = 0; i < k->watches.n; i++) {
        watch_step(k->watches.p[i], now_ns);
        all &= k->watches.p[i]->listed;
    }
    if (all && k->dirty && now_ns - k->built_ns >= REBUILD_NS)
        rebuild(k, now_ns);
}

const struct remote_kind remote_kubernetes = { kube_open, kube_step, kube_close };
