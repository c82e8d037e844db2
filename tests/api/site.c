#include "site.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"

struct site site;
const struct api_alertmanager *site_alertmanager;

static int64_t now_ms(struct clock *c)
{
    (void)c;
    return site.now_ms;
}
static uint64_t mono_ns(struct clock *c)
{
    (void)c;
    return os_mono_ns();
}
static bool is_ready(void *ctx)
{
    (void)ctx;
    return site.ready;
}
static enum err config_text(void *ctx, struct arena *a, str *ret)
{
    (void)ctx;
    *ret = arena_str(a, STR("global:\n  scrape_interval: 1h\n"));
    return OK;
}
static enum err reload(void *ctx, struct err_text *reterr)
{
    (void)ctx;
    site.reloads++;
    return site.reload_fails ? err_fail(reterr, ERR_PARSE, "vane.yaml:3:1: unknown key") : OK;
}
static void quit(void *ctx)
{
    (void)ctx;
    site.quit_called = true;
}

static struct label discovered[] = {
    { STR_INIT("__address__"), STR_INIT("127.0.0.1:1") },
    { STR_INIT("__metrics_path__"), STR_INIT("/metrics") },
    { STR_INIT("__scheme__"), STR_INIT("http") },
    { STR_INIT("__scrape_interval__"), STR_INIT("1s") },
    { STR_INIT("__scrape_timeout__"), STR_INIT("1s") },
    { STR_INIT("foo"), STR_INIT("bar") },
    { STR_INIT("job"), STR_INIT("dead") },
};
static struct label labels[] = { { STR_INIT("foo"), STR_INIT("bar") },
                                 { STR_INIT("instance"), STR_INIT("127.0.0.1:1") },
                                 { STR_INIT("job"), STR_INIT("dead") } };

static enum err targets(void *ctx, bool want_active, bool want_dropped, struct arena *a, struct api_targets *ret)
{
    (void)ctx;
    struct api_target *t = arena_new(a, struct api_target);
    *t = (struct api_target){ .discovered = { discovered, ARRAY_LEN(discovered) },
                              .labels = { labels, ARRAY_LEN(labels) },
                              .pool = STR("dead"),
                              .url = STR("http://127.0.0.1:1/metrics"),
                              .global_url = STR("http://prom.example:1/metrics"),
                              .last_error = STR("cannot connect: Connection refused"),
                              .last_scrape_ms = 1700000000123,
                              .last_duration_s = 0.0004,
                              .health = API_HEALTH_DOWN,
                              .interval_ms = 1000,
                              .timeout_ms = 1000 };
    struct api_dropped_target *d = arena_new(a, struct api_dropped_target);
    *d = (struct api_dropped_target){ t->discovered, STR("dead") };
    struct api_pool_count *c = arena_new(a, struct api_pool_count);
    *c = (struct api_pool_count){ STR("dead"), 3 };
    *ret = (struct api_targets){ .active = t,
                                 .n_active = want_active,
                                 .dropped = d,
                                 .n_dropped = want_dropped,
                                 .dropped_counts = c,
                                 .n_dropped_counts = 1 };
    return OK;
}
static enum err pools(void *ctx, struct arena *a, str **ret, size_t *ret_n)
{
    (void)ctx;
    *ret = arena_new(a, str);
    (*ret)[0] = STR("dead");
    *ret_n = 1;
    return OK;
}

static const struct http_pair flags[] = { { STR_INIT("storage.path"), STR_INIT("/data") } };
static const struct http_file index_html = { STR_INIT("/index.html"), STR_INIT("text/html; charset=utf-8"),
                                             STR_INIT("\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff\xb3\xc9\x28"
                                                      "\xc9\xcd\xb1\x03\x00\x41\x0c\x43\xc7\x06\x00\x00\x00"),
                                             STR_INIT("\"i\""), false };

static bool ui_find(str path, struct http_file *ret)
{
    if (!str_eq(path, STR("/")) && !str_eq(path, STR("/explore")) && !str_eq(path, STR("/index.html")))
        return false;
    *ret = index_html;
    return true;
}

static void tsdb_plug(bool tenants)
{
    struct err_text why;
    struct tsdb_config cfg;
    struct store_config scfg;
    tsdb_config_defaults(&cfg);
    store_config_defaults(&scfg);
    scfg.wal_file_bytes = 1 << 20;
    scfg.reserve_bytes = 0;
    cfg.retention_ms = 0;
    cfg.partitions = 2;
    snprintf(site.dir, sizeof(site.dir), "/tmp/vane_api_test_XXXXXX");
    ASSERT(mkdtemp(site.dir) != NULL);
    ASSERT(store_open(fs_os(), site.dir, &scfg, &site.clock, &site.disk, &why) == OK);
    ASSERT(tsdb_open(&cfg, site.disk, &site.clock, &site.db, &why) == OK);
    ASSERT(ingest_open(
               &(struct ingest_config){ .clock = &site.clock, .tenants = tenants, .default_tenant = STR("anonymous") },
               site.db, &site.ingest, &why) == OK);
    site.pair = (struct api_store_pair){ site.db, site.ingest };
    site.db_source = api_source_tsdb_new(site.db);
}

static void tsdb_unplug(void)
{
    char command[128];
    api_source_tsdb_free(site.db_source);
    ingest_close(site.ingest);
    tsdb_close(site.db);
    store_close(site.disk);
    snprintf(command, sizeof(command), "rm -rf %s", site.dir);
    ASSERT(system(command) == 0);
}

void site_copy_to_tsdb(void)
{
    struct batch b = { .a = &site.a };
    struct tsdb_write_result r;
    for (size_t i = 0; i < site.store.series.n; i++) {
        const struct memory_series *s = site.store.series.p[i];
        struct batch_series bs = { .labels = s->labels, .samples = s->samples.p, .n_samples = s->samples.n };
        avec_push(&site.a, &b.series, bs);
        b.n_samples += bs.n_samples;
    }
    ASSERT(tsdb_write(site.db, &b, &r) == OK);
    ASSERT(r.samples == b.n_samples);
    ASSERT(tsdb_wait(site.db, r.lsn) == OK);
}

static int open_with(bool tsdb, bool tenants)
{
    memset(&site, 0, sizeof(site));
    arena_init(&site.a, 0);
    memory_store_init(&site.store);
    site.ready = true;
    site.now_ms = 1700000900000;
    site.clock = (struct clock){ now_ms, mono_ns };
    if (tsdb)
        tsdb_plug(tenants);
    site.source = api_classic_histograms_new(tsdb ? site.db_source : &site.store.source);
    struct promql_engine_config ec;
    promql_engine_config_defaults(&ec);
    ec.timeout_ms = 5000;
    site.engine = promql_engine_new(&ec);
    site.process =
        (struct api_process){ .ready = is_ready, .config_text = config_text, .reload = reload, .quit = quit };
    site.scrape = (struct api_scrape){ .targets = targets, .pools = pools };
    struct api_deps d = { .store = tsdb ? api_store_tsdb(&site.pair) : memory_store_api(&site.store),
                          .engine = site.engine,
                          .source = site.source,
                          .scrape = &site.scrape,
                          .process = &site.process,
                          .flags = flags,
                          .n_flags = 1,
                          .alertmanager = site_alertmanager,
                          .build = { .version = STR("0.1.0"), .revision = STR("abc"), .compiler = STR("gcc") },
                          .clock = &site.clock,
                          .tenants = tenants,
                          .default_tenant = STR("anonymous"),
                          .start_ms = 1700000000000,
                          .storage_retention = STR("15d"),
                          .cwd = STR("/"),
                          .hostname = STR("h"),
                          .ui_find = ui_find,
                          .ui_csp = STR("default-src 'self'") };
    struct err_text why;
    ASSERT(api_open(&d, &site.api, &why) == OK);
    struct http_table tables[API_TABLES_MAX];
    size_t n = api_tables(site.api, 1, 2, tables);
    const struct http_listener listener = { .address = "127.0.0.1" };
    struct http_server_config sc = {
        .listeners = &listener, .n_listeners = 1, .tables = tables, .n_tables = n, .drain_ms = 500
    };
    ASSERT(http_server_open(&sc, &site.server, &why) == OK);
    ASSERT(http_client_open(NULL, &site.client) == OK);
    snprintf(site.base, sizeof(site.base), "http://127.0.0.1:%u", http_server_port(site.server, 0));
    return 0;
}

int site_open(void **state)
{
    (void)state;
    return open_with(false, false);
}

int site_open_tenants(void **state)
{
    (void)state;
    return open_with(true, true);
}

int site_open_tsdb(void **state)
{
    (void)state;
    return open_with(true, false);
}

int site_close(void **state)
{
    (void)state;
    http_client_close(site.client);
    http_server_close(site.server);
    api_close(site.api);
    promql_engine_free(site.engine);
    api_classic_histograms_free(site.source);
    if (site.db)
        tsdb_unplug();
    memory_store_deinit(&site.store);
    arena_deinit(&site.a);
    return 0;
}

struct answer site_ask(enum http_method method, const char *path, const struct http_pair *headers, size_t n, str body)
{
    struct answer ans = { 0 };
    struct err_text why = { .msg = "" };
    struct http_fetch f = { .url = arena_printf(&site.a, "%s%s", site.base, path),
                            .method = method,
                            .headers = headers,
                            .n_headers = n,
                            .body = body,
                            .accept_encoding = STR("gzip") };
    enum err e = http_fetch_sync(site.client, &f, &site.a, &ans.r, &ans.body, &why);
    ASSERT(e == OK);
    ans.status = ans.r.status;
    ans.content_type = ans.r.content_type;
    return ans;
}

struct answer site_get(const char *path_and_query)
{
    return site_ask(HTTP_GET, path_and_query, NULL, 0, STR(""));
}

struct answer site_post(const char *path, const char *type, const char *encoding, str body)
{
    struct http_pair h[2];
    size_t n = 0;
    if (type)
        h[n++] = (struct http_pair){ STR("Content-Type"), str_c(type) };
    if (encoding)
        h[n++] = (struct http_pair){ STR("Content-Encoding"), str_c(encoding) };
    return site_ask(HTTP_POST, path, h, n, body);
}
