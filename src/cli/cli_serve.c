/* vane serve: opens the configuration, builds the pieces and plugs them together, then waits for signals.
 * Start: configuration, store, tsdb, engine, API and listeners, scraping; writes are taken from here on; then queries
 * when the tsdb has replayed its log. Stop: the other way round. */
#include "alerting/am_service.h"
#include "cli/cli_serve.h"
#include "cli/cli_serve_drill.h"

#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>

#include "base/check.h"
#include "base/log.h"
#include "base/stats.h"

enum { REPLAY_POLL_MS = 50 };

static enum err sink_append(struct scrape_sink *sink, const struct batch *b)
{
    struct serve *s = CONTAINER_OF(sink, struct serve, sink);
    struct tsdb_write_result result;
    const struct ingest_source who = { .flags = INGEST_SCRAPES };
    enum err e = ingest_append(s->ingest, b, &who, &result);
    tsdb_sync_soon(s->db);
    return e;
}

/* This machine, vane itself, the compatibility listeners. */
static enum err host_append(void *ctx, const struct batch *b)
{
    struct tsdb_write_result result;
    const struct ingest_source who = { 0 };
    struct serve *s = ctx;
    enum err e = ingest_append(s->ingest, b, &who, &result);
    tsdb_sync_soon(s->db);
    return e;
}

/* Refusals of single samples (limits) are told to whoever pushes. */
static enum err push_append(void *ctx, const struct batch *b, uint64_t *ret_lsn, struct err_text *reterr)
{
    struct tsdb_write_result result;
    const struct ingest_source who = { .flags = INGEST_LABELLED };
    enum err e = ingest_append(((struct serve *)ctx)->ingest, b, &who, &result);
    if (e != OK)
        return err_fail(reterr, e, "not stored: %s", err_describe(e));
    *ret_lsn = result.lsn;
    return result.first.msg[0] ? err_fail(reterr, ERR_LIMIT, "not all samples were stored: %s", result.first.msg) : OK;
}

static enum err push_wait(void *ctx, uint64_t lsn)
{
    return tsdb_wait(((struct serve *)ctx)->db, lsn);
}

static enum err open_push(struct serve *s, struct err_text *reterr)
{
    const struct cli_push *cfg = &s->cfg->push;
    struct push_config push = {
        .sink = { s, push_append, push_wait },
        .dir = arena_printf(&s->a, STR_FMT "/pushed", STR_ARG(s->cfg->data_dir)).p,
        .interval_ms = cfg->interval_ms,
        .groups_max = cfg->groups_max,
        .bytes_max = cfg->bytes_max,
    };
    return cfg->enabled ? push_open(&push, &s->push, reterr) : OK;
}

static struct compat_listen compat_address(const struct cli_listen *p, size_t n)
{
    return n ? (struct compat_listen){ true, p->host, p->port } : (struct compat_listen){ 0 };
}

static enum err open_compat(struct serve *s, struct err_text *reterr)
{
    const struct cli_compat *cfg = &s->cfg->compat;
    struct compat_config compat = {
        .sink = { s, host_append },
        .graphite = compat_address(cfg->graphite.p, cfg->graphite.n),
        .statsd = compat_address(cfg->statsd.p, cfg->statsd.n),
        .statsd_flush_ms = cfg->statsd_flush_ms,
        .statsd_idle_ms = cfg->statsd_idle_ms,
        .statsd_series_max = cfg->statsd_series_max,
    };
    TRY(compat_open(&compat, &s->compat, reterr));
    if (compat.graphite.on)
        LOG_INFO("listening", "address", arena_cstr(&s->a, compat.graphite.host), "port",
                 LOG_I64(compat_graphite_port(s->compat)), "for", "Graphite plaintext over TCP");
    if (compat.statsd.on)
        LOG_INFO("listening", "address", arena_cstr(&s->a, compat.statsd.host), "port",
                 LOG_I64(compat_statsd_port(s->compat)), "for", "StatsD over UDP");
    return OK;
}

/* An agent forgets what a server keeps: it has a folder of its own, with a mark. */
static enum err agent_folder(struct serve *s, const char *dir, struct err_text *reterr)
{
    const char *format = arena_printf(&s->a, "%s/FORMAT", dir).p, *mark = arena_printf(&s->a, "%s/AGENT", dir).p;
    struct fs_file *f = NULL;
    if (!s->opt.agent)
        return OK;
    if (!s->cfg->prom->remote_write.n)
        return err_fail(reterr, ERR_INVALID,
                        "vane agent forwards what it collects, and the configuration has no remote_write: say where to "
                        "send it");
    bool exists = fs_open(fs_os(), format, FS_READ, &f) == OK;
    fs_close(f);
    f = NULL;
    bool marked = fs_open(fs_os(), mark, FS_READ, &f) == OK;
    fs_close(f);
    if (exists && !marked)
        return err_fail(
            reterr, ERR_PERMISSION,
            "%s holds the data of a `vane serve`, which an agent would not keep: give it a folder of its own "
            "with --data",
            dir);
    enum err e = marked ? OK : fs_write_file_atomic(fs_os(), mark, STR("vane agent\n"));
    return e ? err_fail(reterr, e, "%s: %s", mark, err_describe(e)) : OK;
}

static enum err open_store(struct serve *s, struct err_text *reterr)
{
    struct tsdb_config cfg;
    const char *dir = arena_cstr(&s->a, s->cfg->data_dir);
    enum err e = fs_mkdirs(fs_os(), dir);
    if (e)
        return err_fail(reterr, e, "data folder %s: %s", dir, err_describe(e));
    TRY(agent_folder(s, dir, reterr));
    struct store_config store;
    store_config_defaults(&store);
    store.wal_bytes_max = s->cfg->limits.log_bytes;
    store.wal_file_bytes = MIN(store.wal_file_bytes, store.wal_bytes_max / 8);
    TRY(store_open(fs_os(), dir, &store, os_clock(), &s->store, reterr));
    serve_tsdb_config(s, s->cfg, &cfg);
    cfg.replay_behind = true;
    cfg.log_only = s->opt.agent;
    TRY(tsdb_open(&cfg, s->store, os_clock(), &s->db, reterr));
    struct ingest_config ingest;
    serve_ingest_config(s, s->cfg, &ingest);
    return ingest_open(&ingest, s->db, &s->ingest, reterr);
}

/* Before anything is collected: what is stored from here on is forwarded. */
static enum err open_forward(struct serve *s, struct err_text *reterr)
{
    struct forward_options opt = {
        .store = s->store,
        .db = s->db,
        .fs = fs_os(),
        .clock = os_clock(),
        .dir = arena_printf(&s->a, STR_FMT "/forward", STR_ARG(s->cfg->data_dir)).p,
    };
    TRY(forward_open(&opt, &s->forward, reterr));
    return forward_reload(s->forward, prom_config_ref(s->cfg->prom), reterr);
}

static enum err open_engine(struct serve *s, struct err_text *reterr)
{
    struct promql_engine_config cfg;
    promql_engine_config_defaults(&cfg);
    unsigned threads = os_cores() > 1 ? os_cores() : 1;
    enum err e = pool_open("query", threads, 4096, &s->query_pool);
    if (e)
        return err_fail(reterr, e, "query threads: %s", err_describe(e));
    cfg.pool = s->query_pool;
    cfg.lookback_ms = s->cfg->query.lookback_ms;
    cfg.timeout_ms = s->cfg->query.timeout_ms;
    cfg.features = s->opt.features;
    if (s->cfg->query.samples_max)
        cfg.samples_max = s->cfg->query.samples_max;
    if (s->cfg->query.series_max)
        cfg.series_max = s->cfg->query.series_max;
    if (s->cfg->query.memory_bytes)
        cfg.bytes_max = s->cfg->query.memory_bytes;
    s->engine = promql_engine_new(&cfg);
    s->tsdb_source = api_source_tsdb_new(s->db);
    s->source = api_classic_histograms_new(s->tsdb_source);
    s->rules_source = s->cfg->tenants.enabled
                          ? api_tenant_source(&s->a, s->source, arena_str(&s->a, s->cfg->tenants.default_tenant))
                          : s->source;
    return OK;
}

/* TLS and users, for HTTP and gRPC alike. */
static enum err open_guards(struct serve *s, struct err_text *reterr)
{
    struct http_certificates_config certs = { 0 };
    const struct cli_config *cfg = s->cfg;
    if (cfg->web_file && cfg->web_file->tls) {
        cli_web_certificates(cfg->web_file, &s->a, &certs);
    } else if (cfg->web.tls_cert_file.n) {
        certs.cert_file = arena_cstr(&s->a, cfg->web.tls_cert_file);
        certs.key_file = arena_cstr(&s->a, cfg->web.tls_key_file);
    }
    if (certs.cert_file)
        TRY(http_certificates_open(&certs, &s->certificates, reterr));
    s->users = cfg->web_file ? http_users_new() : NULL;
    return serve_users(s, cfg, reterr);
}

/* Names by which this server may be called: the external URL's and those of web.allowed_hosts. */
static void put_hosts(struct serve *s, struct http_server_config *http)
{
    const struct cli_web *web = &s->cfg->web;
    str *hosts = arena_array(&s->a, str, web->allowed_hosts.n + 1), url = web->external_url;
    size_t at = str_find(url, STR("://")), n = 0;
    for (size_t i = 0; i < web->allowed_hosts.n; i++)
        hosts[n++] = arena_str(&s->a, web->allowed_hosts.p[i]);
    http->hosts = hosts;
    http->n_hosts = n;
    http->check_hosts = n > 0;
    if (at == SIZE_MAX)
        return;
    url = str_skip(url, at + 3);
    size_t len = 0;
    while (len < url.n && url.p[len] != '/' && url.p[len] != ':')
        len++;
    hosts[n] = arena_str(&s->a, str_take(url, len));
    http->n_hosts += len > 0;
}

static enum err open_http(struct serve *s, struct err_text *reterr)
{
    struct api_deps deps;
    struct http_listener listeners[SERVE_LISTENERS_MAX];
    struct http_table tables[API_TABLES_MAX];
    size_t n = 0;
    unsigned mask_main = 0, mask_otlp = 0;
    const struct cli_config *cfg = s->cfg;
    if (cfg->listen.n + cfg->otlp_listen.n > SERVE_LISTENERS_MAX)
        return err_fail(reterr, ERR_LIMIT, "more than %d listen addresses", SERVE_LISTENERS_MAX);
    for (size_t i = 0; i < cfg->listen.n + cfg->otlp_listen.n; i++) {
        bool otlp = i >= cfg->listen.n;
        const struct cli_listen *l = otlp ? &cfg->otlp_listen.p[i - cfg->listen.n] : &cfg->listen.p[i];
        *(otlp ? &mask_otlp : &mask_main) |= 1u << n;
        listeners[n++] = (struct http_listener){ arena_cstr(&s->a, l->host), l->port, s->certificates };
    }
    serve_api_deps(s, &deps);
    TRY(api_open(&deps, &s->api, reterr));
    serve_otlp(s, cfg);
    struct http_server_config http = {
        .listeners = listeners,
        .n_listeners = n,
        .tables = tables,
        .n_tables = api_tables(s->api, mask_main, mask_otlp, tables),
        .cors_origin = cfg->web.cors_origin.n ? arena_cstr(&s->a, cfg->web.cors_origin) : NULL,
        .users = s->users,
    };
    put_hosts(s, &http);
    if (cfg->web_file) {
        struct http_pair *h = arena_array(&s->a, struct http_pair, cfg->web_file->server.headers.n + 1);
        for (size_t i = 0; i < cfg->web_file->server.headers.n; i++)
            h[i] = (struct http_pair){ arena_str(&s->a, cfg->web_file->server.headers.keys[i]),
                                       arena_str(&s->a, cfg->web_file->server.headers.p[i]) };
        http.send_headers = h;
        http.n_send_headers = cfg->web_file->server.headers.n;
    }
    http.threads[HTTP_QUERY] = (unsigned)cfg->query.concurrency;
    TRY(http_server_open(&http, &s->server, reterr));
    for (size_t i = 0; i < n; i++)
        LOG_INFO("listening", "address", listeners[i].address, "port", LOG_I64(http_server_port(s->server, i)), "for",
                 mask_otlp & 1u << i ? "OTLP/HTTP"
                 : s->certificates   ? "https UI and APIs"
                                     : "http UI and APIs");
    return OK;
}

/* OTLP/gRPC: the API's methods over the HTTP server's ingest threads. */
static enum err open_grpc(struct serve *s, struct err_text *reterr)
{
    struct http_listener listeners[SERVE_LISTENERS_MAX];
    struct grpc_table tables[API_GRPC_TABLES_MAX];
    const struct cli_config *cfg = s->cfg;
    size_t n = cfg->otlp_grpc_listen.n;
    if (n == 0)
        return OK;
    if (n > SERVE_LISTENERS_MAX)
        return err_fail(reterr, ERR_LIMIT, "more than %d otlp_grpc_listen addresses", SERVE_LISTENERS_MAX);
    for (size_t i = 0; i < n; i++)
        listeners[i] = (struct http_listener){
            .address = arena_cstr(&s->a, cfg->otlp_grpc_listen.p[i].host),
            .port = cfg->otlp_grpc_listen.p[i].port,
            .tls = s->certificates,
        };
    struct grpc_server_config grpc = {
        .listeners = listeners,
        .n_listeners = n,
        .tables = tables,
        .n_tables = api_grpc_tables(s->api, tables),
        .users = s->users,
        .ingest = http_server_pool(s->server, HTTP_INGEST),
    };
    TRY(grpc_server_open(&grpc, &s->grpc, reterr));
    for (size_t i = 0; i < n; i++)
        LOG_INFO("listening", "address", listeners[i].address, "port", LOG_I64(grpc_server_port(s->grpc, i)), "for",
                 "OTLP/gRPC");
    return OK;
}

static enum err open_collectors(struct serve *s, struct err_text *reterr)
{
    s->sink.append = sink_append;
    TRY(scrape_open(&(struct scrape_options){ .sink = &s->sink }, &s->scrape, reterr));
    TRY(scrape_reload(s->scrape, prom_config_ref(s->cfg->prom), reterr));
    if (s->cfg->host.enabled) {
        struct host_config host = { .sink = { host_append, s }, .interval_ms = s->cfg->host.interval_ms };
        enum err e = host_open(&host, &s->host);
        if (e)
            return err_fail(reterr, e, "host metrics: %s", err_describe(e));
    }
    if (s->cfg->self_metrics && s->cfg->listen.n) {
        const struct cli_listen *l = &s->cfg->listen.p[0];
        struct cli_self_config self = { .sink = s, .append = host_append, .render = stats_render };
        self.instance = arena_printf(&s->a, STR_FMT ":%u", STR_ARG(l->host), http_server_port(s->server, 0)).p;
        enum err e = cli_self_open(&self, &s->self);
        if (e)
            return err_fail(reterr, e, "own metrics: %s", err_describe(e));
    }
    return OK;
}

static enum err serve_open(struct serve *s, struct err_text *reterr)
{
    TRY(cli_config_check_exposure(s->cfg, reterr));
    TRY(open_store(s, reterr));
    TRY(open_forward(s, reterr));
    TRY(open_engine(s, reterr));
    TRY(serve_control_open(s, reterr));
    TRY(serve_alertmanager_open(s, reterr));
    TRY(serve_rules_open(s, reterr));
    if (s->alertmanager)
        TRY(drills_open(s, &s->drills, reterr));
    TRY(open_push(s, reterr));
    TRY(open_guards(s, reterr));
    atomic_store(&s->taking, true);
    TRY(open_http(s, reterr));
    TRY(open_compat(s, reterr));
    TRY(open_grpc(s, reterr));
    TRY(open_collectors(s, reterr));
    return OK;
}

/* Every piece may be missing: the start may have failed anywhere. */
static void serve_close(struct serve *s)
{
    atomic_store(&s->ready, false);
    atomic_store(&s->taking, false);
    cli_self_close(s->self);
    host_close(s->host);
    scrape_close(s->scrape);
    grpc_server_close(s->grpc);
    compat_close(s->compat);
    if (s->server)
        http_server_close(s->server);
    http_users_free(s->users);
    http_certificates_close(s->certificates);
    push_close(s->push);
    if (s->api)
        api_close(s->api);
    drills_close(s->drills);
    rules_manager_close(s->rules);
    am_service_close(s->alertmanager);
    notify_close(s->notify);
    control_close(s->control);
    if (s->source)
        api_classic_histograms_free(s->source);
    if (s->tsdb_source)
        api_source_tsdb_free(s->tsdb_source);
    if (s->engine)
        promql_engine_free(s->engine);
    pool_close(s->query_pool);
    ingest_close(s->ingest);
    forward_close(s->forward, FORWARD_GRACE_MS);
    if (s->db)
        tsdb_close(s->db);
    if (s->store)
        store_close(s->store);
    cli_config_free(s->cfg);
    mtx_deinit(&s->mu);
    arena_deinit(&s->a);
}

/* Blocks of an arena and decode buffers come from the kernel and go back to it when a query ends; without a fixed
 * threshold glibc keeps them, and one heavy query would leave its peak in RSS for good. */
static void tame_malloc(void)
{
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 4 << 20);
    mallopt(M_ARENA_MAX, 4);
}

/* As many files as the system allows: targets and connections each need one. */
static void raise_file_limit(void)
{
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < lim.rlim_max) {
        lim.rlim_cur = lim.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &lim) != 0)
            LOG_WARN("the limit of open files could not be raised: very many targets may fail");
    }
}

static void wait_for_the_end(struct serve *s, const sigset_t *signals)
{
    for (;;) {
        int which;
        if (sigwait(signals, &which) != 0)
            continue;
        if (which == SIGHUP)
            IGNORE_ERR(serve_reload(s, NULL));
        else {
            LOG_INFO("stopping", "signal", which == SIGTERM ? "SIGTERM" : "SIGINT");
            return;
        }
    }
}

/* OK: everything that was in the log can be read. ERR_CANCELLED: a signal came first. */
static enum err wait_for_replay(struct serve *s, const sigset_t *signals, struct err_text *reterr)
{
    for (;;) {
        enum err e = tsdb_await(s->db, REPLAY_POLL_MS, reterr);
        if (e != ERR_TIMEOUT)
            return e;
        int which = sigtimedwait(signals, NULL, &(struct timespec){ 0, 0 });
        if (which == SIGHUP)
            IGNORE_ERR(serve_reload(s, NULL));
        else if (which > 0)
            return ERR_CANCELLED;
    }
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct serve *s = mem_zalloc(sizeof(*s));
    struct err_text why = { 0 };
    AUTO_BUF struct buf report = { 0 };
    sigset_t signals;
    int code;
    arena_init(&s->a, 0);
    mtx_init(&s->mu, 1);
    if (!serve_options_parse(self, argc, argv, &s->a, &s->opt, &code)) {
        serve_close(s);
        mem_free(s);
        return code;
    }
    code = CLI_FAILED;
    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    s->start_ms = s->reload_ms = os_now_ms();
    s->reload_ok = true;
    enum err e = serve_load(s, &s->cfg, &report, &why);
    if (report.n)
        fwrite(report.p, 1, report.n, stderr);
    if (e == OK) {
        serve_log_setup(s, s->cfg);
        raise_file_limit();
        tame_malloc();
        e = serve_open(s, &why);
    }
    if (e == OK) {
        LOG_INFO("taking writes", "took_ms", LOG_I64(os_now_ms() - s->start_ms));
        e = wait_for_replay(s, &signals, &why);
    }
    if (e == ERR_CANCELLED) {
        LOG_INFO("stopping before the log was replayed");
        code = CLI_OK;
    } else if (e == OK) {
        atomic_store(&s->ready, true);
        if (s->rules)
            rules_manager_start(s->rules);
        LOG_INFO("ready", "version", cli_version_text, "took_ms", LOG_I64(os_now_ms() - s->start_ms));
        wait_for_the_end(s, &signals);
        code = CLI_OK;
    } else if (report.n == 0 || s->cfg) {
        cli_fail("%s", why.msg[0] ? why.msg : err_describe(e));
    }
    serve_close(s);
    mem_free(s);
    return code;
}

const struct cli_command cli_agent = {
    .name = "agent",
    .summary = "collect and forward only",
    .help = agent_help,
    .run = run,
};
const struct cli_command cli_serve = {
    .name = "serve",
    .summary = "run the server",
    .help = serve_help,
    .run = run,
};
