/* nginx with libvane: RED metrics, server spans that follow and pass on traceparent, correlation ids, request logs. A
 * dynamic module; README.md says how it is built and which directives it has.
 *
 * A request begins when its location is known (rewrite phase) and ends when nginx logs it. In between nginx serves others on
 * the same thread, so the request is suspended at once and resumed at its end; its context lives in the request's pool and
 * is found again after internal redirects through the pool's cleanup handler, as those clear the modules' contexts. The
 * library runs in the workers only: in the master it is never started. */
#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <vane/vane.h>

typedef struct {
    ngx_str_t service, dir, log;
    ngx_uint_t used; /* a directive of this module is in the configuration */
} main_conf;

typedef struct {
    ngx_flag_t on;
    ngx_str_t route;
} loc_conf;

struct request {
    vane_http_server server;
    unsigned begun : 1;
};

extern ngx_module_t ngx_http_vane_module;
static ngx_http_output_header_filter_pt next_header_filter;

#define CORRELATION "X-Correlation-Id"

/* ---- headers ---- */

static const char *get_header(void *carrier, const char *name, size_t index, size_t *ret_n)
{
    ngx_http_request_t *r = carrier;
    size_t n = ngx_strlen(name);
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part; part = part->next) {
        ngx_table_elt_t *h = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++)
            if (h[i].key.len == n && !ngx_strncasecmp(h[i].key.data, (u_char *)(uintptr_t)name, n) && index-- == 0) {
                *ret_n = h[i].value.len;
                return (const char *)h[i].value.data;
            }
    }
    return NULL;
}

static ngx_int_t copy(ngx_pool_t *pool, ngx_str_t *ret, const char *s)
{
    ret->len = ngx_strlen(s);
    ret->data = ngx_pnalloc(pool, ret->len + 1);
    if (!ret->data)
        return NGX_ERROR;
    ngx_memcpy(ret->data, s, ret->len + 1);
    return NGX_OK;
}

/* A header of the request, as upstreams will get it: the one that is there, or a new one; others of the name are emptied. */
static void set_header(void *carrier, const char *name, const char *value)
{
    ngx_http_request_t *r = carrier;
    size_t n = ngx_strlen(name);
    ngx_table_elt_t *found = NULL;
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part; part = part->next) {
        ngx_table_elt_t *h = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++)
            if (h[i].key.len == n && !ngx_strncasecmp(h[i].key.data, (u_char *)(uintptr_t)name, n)) {
                if (found)
                    h[i].value.len = 0;
                else
                    found = &h[i];
            }
    }
    if (!found) {
        ngx_str_t key;
        u_char *lower = ngx_pnalloc(r->pool, n + 1);
        if (!lower || copy(r->pool, &key, name) != NGX_OK)
            return;
        ngx_strlow(lower, key.data, n + 1);
        found = ngx_list_push(&r->headers_in.headers);
        if (!found)
            return;
        ngx_memzero(found, sizeof *found);
        found->key = key;
        found->lowcase_key = lower;
        found->hash = ngx_hash_key(lower, n);
    }
    if (copy(r->pool, &found->value, value) != NGX_OK)
        found->value.len = 0;
}

/* A NUL-terminated copy; NULL for an empty string or without memory. */
static const char *text(ngx_http_request_t *r, const ngx_str_t *s)
{
    u_char *p = s->len ? ngx_pnalloc(r->pool, s->len + 1) : NULL;
    if (p)
        *ngx_cpymem(p, s->data, s->len) = 0;
    return (const char *)p;
}

/* ---- a request ---- */

static void finish(struct request *q, ngx_http_request_t *r)
{
    vane_http_response a;
    ngx_memzero(&a, sizeof a);
    a.size = sizeof a;
    a.body_bytes = -1;
    if (r) {
        ngx_uint_t status = r->err_status ? r->err_status : r->headers_out.status;
        a.status = status == NGX_HTTP_CLIENT_CLOSED_REQUEST || status == NGX_HTTP_CLOSE ? 0 : (int)status;
        off_t bytes = r->connection->sent - (off_t)r->header_size;
        a.body_bytes = bytes > 0 ? bytes : 0;
    }
    q->begun = 0;
    vane_http_server_resume(&q->server);
    vane_span *span = vane_http_server_span(&q->server);
    if (span && r && r->upstream_states && r->upstream_states->nelts) {
        ngx_http_upstream_state_t *u = r->upstream_states->elts;
        u += r->upstream_states->nelts - 1;
        if (u->peer)
            vane_span_set(span, vane_strn("nginx.upstream.address", (char *)u->peer->data, u->peer->len));
        if (u->status)
            vane_span_set(span, vane_int("nginx.upstream.status", (int64_t)u->status));
        if (u->response_time != (ngx_msec_t)-1)
            vane_span_set(span, vane_f64("nginx.upstream.response_time", (double)u->response_time / 1e3));
    }
    vane_http_server_end(&q->server, &a);
}

/* A request whose pool goes without having been logged. */
static void cleanup(void *data)
{
    struct request *q = data;
    if (q->begun)
        finish(q, NULL);
}

static struct request *find(ngx_http_request_t *r)
{
    struct request *q = ngx_http_get_module_ctx(r, ngx_http_vane_module);
    for (ngx_pool_cleanup_t *c = r->pool->cleanup; !q && c; c = c->next)
        if (c->handler == cleanup)
            q = c->data;
    return q;
}

static struct request *begin(ngx_http_request_t *r)
{
    loc_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_vane_module);
    ngx_http_core_loc_conf_t *location = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    ngx_pool_cleanup_t *c = ngx_pool_cleanup_add(r->pool, sizeof(struct request));
    if (!c)
        return NULL;
    struct request *q = c->data;
    ngx_memzero(q, sizeof *q);
    c->handler = cleanup;
    ngx_http_set_ctx(r, q, ngx_http_vane_module);

    vane_http_request in;
    ngx_memzero(&in, sizeof in);
    in.size = sizeof in;
    in.method = text(r, &r->method_name);
    in.path = text(r, &r->uri);
    in.query = text(r, &r->args);
    in.route = text(r, conf->route.len ? &conf->route : &location->name);
    in.host = text(r, &r->headers_in.server);
    in.protocol = r->http_version == NGX_HTTP_VERSION_20 ? "2" : r->http_version == NGX_HTTP_VERSION_11 ? "1.1" : "1.0";
    in.client = text(r, &r->connection->addr_text);
    in.user_agent = r->headers_in.user_agent ? text(r, &r->headers_in.user_agent->value) : NULL;
    in.body_bytes = r->headers_in.content_length_n > 0 ? r->headers_in.content_length_n : 0;
    in.get_header = get_header;
    in.carrier = r;
#if (NGX_HTTP_SSL)
    in.scheme = r->connection->ssl ? "https" : "http";
#endif
    vane_http_server_begin(&q->server, &in);
    q->begun = 1;
    return q;
}

static ngx_int_t on_rewrite(ngx_http_request_t *r)
{
    loc_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_vane_module);
    if (!conf->on || r != r->main || find(r))
        return NGX_DECLINED;
    struct request *q = begin(r);
    if (!q)
        return NGX_DECLINED;
    vane_inject(NULL, set_header, r);
    const char *id = vane_http_server_correlation_id(&q->server);
    if (id[0])
        set_header(r, CORRELATION, id);
    vane_http_server_suspend(&q->server);
    return NGX_DECLINED;
}

static ngx_int_t on_log(ngx_http_request_t *r)
{
    loc_conf *conf = ngx_http_get_module_loc_conf(r, ngx_http_vane_module);
    struct request *q = find(r);
    if (!q && conf->on && r->method_name.len) /* refused, or answered before it had a location */
        q = begin(r);
    if (q && q->begun)
        finish(q, r);
    return NGX_OK;
}

static ngx_int_t on_headers(ngx_http_request_t *r)
{
    struct request *q = r == r->main ? find(r) : NULL;
    const char *id = q && q->begun ? vane_http_server_correlation_id(&q->server) : "";
    for (ngx_list_part_t *part = &r->headers_out.headers.part; id[0] && part; part = part->next) {
        ngx_table_elt_t *h = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++)
            if (h[i].hash && h[i].key.len == sizeof CORRELATION - 1 &&
                !ngx_strncasecmp(h[i].key.data, (u_char *)CORRELATION, sizeof CORRELATION - 1))
                id = ""; /* the upstream has said it */
    }
    ngx_table_elt_t *h = id[0] ? ngx_list_push(&r->headers_out.headers) : NULL;
    if (h) {
        ngx_memzero(h, sizeof *h);
        ngx_str_set(&h->key, CORRELATION);
        h->hash = copy(r->pool, &h->value, id) == NGX_OK;
    }
    return next_header_filter(r);
}

/* ---- the library's own pages ---- */

static ngx_int_t answer(ngx_http_request_t *r)
{
    ngx_int_t rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK)
        return rc;
    size_t n = 0;
    const char *type = NULL, *found = get_header(r, "Accept", 0, &n);
    ngx_str_t accept = { found ? n : 0, (u_char *)(uintptr_t)found };
    const char *method = text(r, &r->method_name), *path = text(r, &r->uri);
    if (!method || !path)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    char *body = NULL;
    int status = vane_handle_request(method, path, text(r, &accept), &body, &n, &type);
    ngx_buf_t *b = body ? ngx_create_temp_buf(r->pool, n ? n : 1) : NULL;
    if (b)
        b->last = ngx_cpymem(b->last, body, n);
    vane_render_free(body);
    if (status == 404 || (n && !b))
        return status == 404 ? NGX_HTTP_NOT_FOUND : NGX_HTTP_INTERNAL_SERVER_ERROR;
    r->headers_out.status = (ngx_uint_t)status;
    r->headers_out.content_length_n = (off_t)n;
    if (type) {
        r->headers_out.content_type.data = (u_char *)(uintptr_t)type;
        r->headers_out.content_type.len = r->headers_out.content_type_len = ngx_strlen(type);
    }
    r->header_only = r->method == NGX_HTTP_HEAD || !n;
    rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only)
        return rc;
    b->last_buf = 1;
    b->last_in_chain = 1;
    ngx_chain_t out = { b, NULL };
    return ngx_http_output_filter(r, &out);
}

/* ---- life ---- */

static void said(void *ctx, vane_status status, const char *what)
{
    (void)ctx, (void)status;
    dprintf(STDERR_FILENO, "libvane: %s\n", what); /* a worker's is the error log; any thread may call this */
}

static ngx_int_t start(ngx_cycle_t *cycle)
{
    main_conf *conf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_vane_module);
    if (!conf || !conf->used || (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE))
        return NGX_OK;
    vane_config cfg = VANE_CONFIG_INIT;
    cfg.service_name = conf->service.len ? (char *)conf->service.data : "nginx";
    cfg.service_version = NGINX_VERSION;
    cfg.multiproc_dir = conf->dir.len ? (char *)conf->dir.data : NULL;
    cfg.log_sinks = conf->log.len ? (char *)conf->log.data : "none";
    cfg.diag = said;
    vane_status st = vane_start(&cfg);
    if (st) /* requests are worth more than their telemetry */
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0, "vane: libvane cannot start: %s", vane_status_text(st));
    return NGX_OK;
}

static void stop(ngx_cycle_t *cycle)
{
    (void)cycle;
    if (vane_running())
        vane_stop(2000);
}

static ngx_int_t install(ngx_conf_t *cf)
{
    main_conf *own = ngx_http_conf_get_module_main_conf(cf, ngx_http_vane_module);
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    if (!own->used)
        return NGX_OK;
    ngx_http_handler_pt *rewrite = ngx_array_push(&core->phases[NGX_HTTP_REWRITE_PHASE].handlers);
    ngx_http_handler_pt *log = ngx_array_push(&core->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (!rewrite || !log)
        return NGX_ERROR;
    *rewrite = on_rewrite;
    *log = on_log;
    next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = on_headers;
    return NGX_OK;
}

/* ---- configuration ---- */

static void *new_main(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(main_conf));
}

static void *new_loc(ngx_conf_t *cf)
{
    loc_conf *c = ngx_pcalloc(cf->pool, sizeof *c);
    if (c)
        c->on = NGX_CONF_UNSET;
    return c;
}

static char *merge_loc(ngx_conf_t *cf, void *parent, void *child)
{
    (void)cf;
    loc_conf *p = parent, *c = child;
    ngx_conf_merge_value(c->on, p->on, 0);
    return NGX_CONF_OK; /* a route is that of its location only */
}

static char *set_on(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    main_conf *own = ngx_http_conf_get_module_main_conf(cf, ngx_http_vane_module);
    own->used = 1;
    return ngx_conf_set_flag_slot(cf, cmd, conf);
}

static char *set_pages(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    (void)cmd;
    main_conf *own = ngx_http_conf_get_module_main_conf(cf, ngx_http_vane_module);
    ngx_http_core_loc_conf_t *location = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    own->used = 1;
    location->handler = answer;
    ((loc_conf *)conf)->on = 0; /* looking is not counted */
    return NGX_CONF_OK;
}

static char *set_dir(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char *rc = ngx_conf_set_str_slot(cf, cmd, conf);
    return rc != NGX_CONF_OK || ngx_conf_full_name(cf->cycle, &((main_conf *)conf)->dir, 0) == NGX_OK ? rc
                                                                                                      : NGX_CONF_ERROR;
}

#define ANYWHERE (NGX_HTTP_MAIN_CONF | NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF)

static ngx_command_t commands[] = {
    { ngx_string("vane"), ANYWHERE | NGX_CONF_FLAG, set_on, NGX_HTTP_LOC_CONF_OFFSET, offsetof(loc_conf, on), NULL },
    { ngx_string("vane_route"), NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1, ngx_conf_set_str_slot, NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(loc_conf, route), NULL },
    { ngx_string("vane_pages"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, set_pages, NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },
    { ngx_string("vane_service"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_str_slot, NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(main_conf, service), NULL },
    { ngx_string("vane_dir"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, set_dir, NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(main_conf, dir), NULL },
    { ngx_string("vane_log"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_str_slot, NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(main_conf, log), NULL },
    ngx_null_command,
};

static ngx_http_module_t context = { NULL, install, new_main, NULL, NULL, NULL, new_loc, merge_loc };

ngx_module_t ngx_http_vane_module = { NGX_MODULE_V1, &context, commands, NGX_HTTP_MODULE,      NULL, NULL, start, NULL,
                                      NULL,          stop,     NULL,     NGX_MODULE_V1_PADDING };
