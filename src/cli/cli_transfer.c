/* A data folder or a running vane as the other side of import and export (manual: cli_transfer.h). */
#include "cli/cli_transfer.h"

#include <jansson.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "base/os.h"
#include "wire/compress.h"
#include "wire/remote_write.h"

#define SEND_SAMPLES (1u << 20)
#define SEND_BYTES   (24u << 20) /* of a request's body before compression, about */

bool cli_parse_time_option(const char *text, int64_t *ret_ms)
{
    return num_parse_time(str_c(text), ret_ms);
}

/* ---- folder ---- */
enum err cli_folder_open(const char *dir, bool must_exist, const struct cli_config *cfg, struct cli_folder *ret,
                         struct err_text *reterr)
{
    struct fs *fs = fs_os();
    struct tsdb_config c;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    *ret = (struct cli_folder){ 0 };
    str format = arena_printf(&a, "%s/FORMAT", dir);
    AUTO_FS_FILE struct fs_file *f = NULL;
    if (must_exist && fs_open(fs, format.p, FS_READ, &f))
        return err_fail(reterr, ERR_NOT_FOUND, "%s is not a data folder of vane", dir);
    if (!must_exist)
        TRY(fs_mkdirs(fs, dir));
    enum err e = store_open(fs, dir, NULL, os_clock(), &ret->st, reterr);
    if (e == ERR_BUSY)
        return err_fail(reterr, e, "%s is in use by a running vane: name it with --url, or stop it first", dir);
    TRY(e);
    tsdb_config_defaults(&c);
    c.retention_ms = 0;
    c.no_upkeep = true;
    c.labels_max = (unsigned)cfg->limits.labels;
    c.label_name_bytes_max = cfg->limits.label_name_bytes;
    c.label_value_bytes_max = cfg->limits.label_value_bytes;
    e = tsdb_open(&c, ret->st, os_clock(), &ret->db, reterr);
    if (e)
        store_close(ret->st);
    return e;
}

void cli_folder_close(struct cli_folder *f)
{
    if (f->db)
        tsdb_close(f->db);
    if (f->st)
        store_close(f->st);
    *f = (struct cli_folder){ 0 };
}

/* ---- remote ---- */
struct cli_remote {
    char *url;
    struct http_client *client;
    struct arena a; /* of the request in the making */
    struct batch b;
    size_t bytes;
    VEC(struct batch_family) families;
    struct arena families_a;
    struct tsdb_bulk_result r;
};

enum err cli_remote_open(const char *url, struct cli_remote **ret, struct err_text *reterr)
{
    struct cli_remote *r = mem_zalloc(sizeof(*r));
    str u = str_c(url);
    while (str_has_suffix(u, STR("/")))
        u.n--;
    r->url = mem_strdup(u);
    r->r.min_ms = INT64_MAX;
    r->r.max_ms = INT64_MIN;
    arena_init(&r->a, 0);
    arena_init(&r->families_a, 0);
    r->b.a = &r->a;
    if (http_client_open(NULL, &r->client)) {
        cli_remote_close(r);
        return err_fail(reterr, ERR_IO, "cannot start an HTTP client");
    }
    return *ret = r, OK;
}

void cli_remote_close(struct cli_remote *r)
{
    if (!r)
        return;
    if (r->client)
        http_client_close(r->client);
    vec_free(&r->families);
    arena_deinit(&r->a);
    arena_deinit(&r->families_a);
    mem_free(r->url);
    mem_free(r);
}

static str error_of(struct arena *a, int status, str body)
{
    json_error_t at;
    json_t *doc = json_loadb(body.p, body.n, 0, &at);
    const char *text = json_string_value(json_object_get(doc, "error"));
    str s = text ? arena_printf(a, "status %d: %s", status, text)
                 : arena_printf(a, "status %d: %.*s", status, (int)MIN(body.n, 300), body.n ? body.p : "");
    json_decref(doc);
    return s;
}

static uint64_t number(const json_t *doc, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(doc, key));
}

static enum err add_answer(struct cli_remote *r, str body, struct err_text *reterr)
{
    static const char *const reasons[TSDB_REJECT_N] = {
        [TSDB_REJECT_TOO_OLD] = "tooOld", [TSDB_REJECT_FUTURE] = "future", [TSDB_REJECT_LABELS] = "labels"
    };
    json_error_t at;
    json_t *doc = json_loadb(body.p, body.n, 0, &at), *data = json_object_get(doc, "data");
    if (!data) {
        json_decref(doc);
        return err_fail(reterr, ERR_PARSE, "%s: an answer that is not vane's", r->url);
    }
    r->r.samples += number(data, "samples");
    r->r.histograms += number(data, "histograms");
    r->r.exemplars += number(data, "exemplars");
    r->r.rows += number(data, "series");
    r->r.segments += number(data, "segments");
    r->r.bytes += number(data, "bytes");
    const json_t *refused = json_object_get(data, "refused");
    for (size_t i = 0; i < TSDB_REJECT_N; i++)
        if (reasons[i])
            r->r.rejected[i] += number(refused, reasons[i]);
    const char *first = json_string_value(json_object_get(data, "firstRefusal"));
    if (first && !r->r.first.msg[0])
        IGNORE_ERR(err_fail(&r->r.first, OK, "%s", first));
    json_decref(doc);
    return OK;
}

static bool transient(int status)
{
    return status == 429 || status == 503;
}

static enum err post(struct cli_remote *r, str plain, str type, struct err_text *reterr)
{
    AUTO_BUF struct buf packed = { 0 };
    struct http_pair headers[] = { { STR("Content-Type"), type }, { STR("Content-Encoding"), STR("snappy") } };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    snappy_pack(plain, &packed);
    struct http_fetch fetch = { .url = arena_printf(&a, "%s/api/v1/admin/tsdb/import", r->url),
                                .method = HTTP_POST,
                                .body = buf_str(&packed),
                                .headers = headers,
                                .n_headers = 2,
                                .timeout_ms = 300000 };
    for (unsigned attempt = 0;; attempt++) { /* the same again changes nothing */
        struct http_result result;
        str body = STR_NONE;
        struct err_text why = { .msg = "" };
        enum err e = http_fetch_sync(r->client, &fetch, &a, &result, &body, &why);
        if (e == OK && result.status == 200)
            return add_answer(r, body, reterr);
        if (attempt < 8 && (e == ERR_TIMEOUT || (e == OK && transient(result.status)))) {
            os_sleep_ms(250u << attempt);
            continue;
        }
        if (e)
            return err_fail(reterr, e, "%s: %s", r->url, why.msg);
        str text = error_of(&a, result.status, body);
        return err_fail(reterr, ERR_INVALID, "%s: " STR_FMT, r->url, STR_ARG(text));
    }
}

static enum err send_batch(struct cli_remote *r, struct err_text *reterr)
{
    AUTO_BUF struct buf plain = { 0 };
    enum err e = OK;
    if (r->b.series.n) {
        rw2_encode(&plain, &r->b);
        e = post(r, buf_str(&plain), STR("application/x-protobuf;proto=io.prometheus.write.v2.Request"), reterr);
    }
    arena_reset(&r->a);
    r->b = (struct batch){ .a = &r->a };
    r->bytes = 0;
    return e;
}

static enum err remote_series(void *ctx, const struct tsdb_bulk_series *s, struct err_text *reterr)
{
    struct cli_remote *r = ctx;
    struct arena *a = &r->a;
    size_t n = s->points.n;
    struct sample *floats = arena_array(a, struct sample, n);
    struct hist_sample *hists = s->points.h ? arena_array(a, struct hist_sample, n) : NULL;
    int64_t *start = s->points.start_ms ? arena_array(a, int64_t, n) : NULL;
    struct batch_series b = {
        .labels = labels_copy(a, s->labels), .samples = floats, .hists = hists, .start_ms = start
    };
    b.meta.type = s->type;
    size_t k = 0;
    for (size_t i = 0; i < n; i++)
        if (!s->points.h || !s->points.h[i]) {
            floats[b.n_samples++] = (struct sample){ s->points.ts[i], s->points.v[i] };
            if (start)
                start[k++] = s->points.start_ms[i];
        }
    for (size_t i = 0; hists && i < n; i++)
        if (s->points.h[i]) {
            hists[b.n_hists++] = (struct hist_sample){ s->points.ts[i], histogram_copy(a, s->points.h[i]) };
            r->bytes += 100 + 8 * (s->points.h[i]->pos.n_buckets + s->points.h[i]->neg.n_buckets);
            if (start)
                start[k++] = s->points.start_ms[i];
        }
    struct exemplar *ex = arena_array(a, struct exemplar, s->n_exemplars);
    for (size_t i = 0; i < s->n_exemplars; i++) {
        ex[i] = s->exemplars[i];
        ex[i].labels = labels_copy(a, s->exemplars[i].labels);
    }
    b.exemplars = ex;
    b.n_exemplars = s->n_exemplars;
    avec_push(a, &r->b.series, b);
    r->b.n_samples += n;
    r->b.n_exemplars += s->n_exemplars;
    r->bytes += n * 17 + 100 * s->n_exemplars;
    return r->bytes > SEND_BYTES || r->b.n_samples > SEND_SAMPLES ? send_batch(r, reterr) : OK;
}

static void remote_family(void *ctx, str name, const struct metric_meta *m)
{
    struct cli_remote *r = ctx;
    struct arena *a = &r->families_a;
    for (size_t i = r->families.n; i > 0 && i + 16 > r->families.n; i--) /* pieces of a text repeat the last one */
        if (str_eq(r->families.p[i - 1].name, name))
            return;
    struct batch_family f = { arena_str(a, name), { m->type, arena_str(a, m->help), arena_str(a, m->unit) } };
    vec_push(&r->families, f);
}

struct transfer_sink cli_remote_sink(struct cli_remote *r)
{
    return (struct transfer_sink){ r, remote_series, remote_family };
}

enum err cli_remote_flush(struct cli_remote *r, struct tsdb_bulk_result *ret, struct err_text *reterr)
{
    TRY(send_batch(r, reterr));
    if (r->families.n) { /* metadata of families is the 1.0 message's */
        AUTO_BUF struct buf plain = { 0 };
        struct batch b = { .a = &r->a };
        for (size_t i = 0; i < r->families.n; i++)
            avec_push(&r->a, &b.families, r->families.p[i]);
        rw1_encode(&plain, &b);
        TRY(post(r, buf_str(&plain), STR("application/x-protobuf"), reterr));
    }
    *ret = r->r;
    return OK;
}

enum err cli_remote_retention(struct cli_remote *r, int64_t *ret_ms, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    struct http_result result;
    str body = STR_NONE;
    struct err_text why = { .msg = "" };
    json_error_t at;
    arena_init(&a, 0);
    struct http_fetch fetch = { .url = arena_printf(&a, "%s/api/v1/status/runtimeinfo", r->url), .timeout_ms = 30000 };
    enum err e = http_fetch_sync(r->client, &fetch, &a, &result, &body, &why);
    if (e)
        return err_fail(reterr, e, "%s: %s", r->url, why.msg);
    json_t *doc = json_loadb(body.p, body.n, 0, &at);
    const char *text = json_string_value(json_object_get(json_object_get(doc, "data"), "storageRetention"));
    str s = str_c(text ? text : ""), head;
    int64_t ms = 0;
    bool known = text != NULL;
    if (str_cut(&s, ' ', &head) && !str_has_suffix(head, STR("B")))
        known = num_parse_duration(head, &ms);
    json_decref(doc);
    if (!known)
        return err_fail(reterr, ERR_PARSE, "%s does not say its retention (status %d): is it a vane?", r->url,
                        result.status);
    *ret_ms = ms;
    return OK;
}

/* ---- a stream down ---- */
struct down {
    struct mtx mu;
    struct cond cond;
    bool done;
    enum err err;
    int status;
    char text[300];
    bool (*data)(void *ctx, str piece);
    void *ctx;
};

static bool on_data(void *ctx, str piece)
{
    struct down *d = ctx;
    return d->data(d->ctx, piece);
}

static void on_done(void *ctx, const struct http_result *result)
{
    struct down *d = ctx;
    mtx_lock(&d->mu);
    d->err = result->err;
    d->status = result->status;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str text = result->err ? str_c(result->error)
                           : error_of(&a, result->status, result->body ? buf_str(result->body) : STR_NONE);
    memcpy(d->text, text.p, MIN(text.n, sizeof(d->text) - 1));
    d->done = true;
    cond_signal(&d->cond);
    mtx_unlock(&d->mu);
}

enum err cli_remote_get(struct cli_remote *r, const char *path, bool (*data)(void *ctx, str piece), void *ctx,
                        struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct down d = { .data = data, .ctx = ctx };
    mtx_init(&d.mu, 10);
    cond_init(&d.cond);
    struct http_fetch fetch = { .url = arena_printf(&a, "%s%s", r->url, path),
                                .accept_encoding = STR("gzip"),
                                .timeout_ms = 24 * 3600 * 1000,
                                .data = on_data,
                                .done = on_done,
                                .ctx = &d };
    enum err e = http_start(r->client, &fetch, NULL);
    if (!e) {
        mtx_lock(&d.mu);
        while (!d.done)
            cond_wait(&d.cond, &d.mu);
        mtx_unlock(&d.mu);
        e = d.err ? err_fail(reterr, d.err, "%s: %s", r->url, d.text) : OK;
        if (!e && d.status != 200)
            e = err_fail(reterr, ERR_INVALID, "%s: %s", r->url, d.text);
    } else {
        e = err_fail(reterr, e, "%s: %s", r->url, err_describe(e));
    }
    mtx_deinit(&d.mu);
    cond_deinit(&d.cond);
    return e;
}
