/* POST /api/v1/write: Prometheus remote write 1.0 and 2.0. 204 once everything is durable. The three headers
 * X-Prometheus-Remote-Write-{Samples,Histograms,Exemplars}-Written are in every answer: what is stored, also beside a refusal.
 *
 * The status tells the sender what to do: 4xx other than 429 = drop the request and go on (what could be stored has
 * been stored), 429 and 5xx = send it again later. Refused samples (too old, bad labels) give 400 after the
 * others were taken, in the words of the reference receiver. */
#include "wire/compress.h"
#include "wire/remote_write.h"

#include "api/api_int.h"

static struct stat requests_taken =
    STAT_COUNTER("vane_remote_write_requests_total", "Remote write requests", "result=\"taken\"");
static struct stat requests_partial =
    STAT_COUNTER("vane_remote_write_requests_total", "Remote write requests", "result=\"partial\"");
static struct stat requests_refused =
    STAT_COUNTER("vane_remote_write_requests_total", "Remote write requests", "result=\"refused\"");
static struct stat requests_later =
    STAT_COUNTER("vane_remote_write_requests_total", "Remote write requests", "result=\"later\"");
static struct stat samples_taken = STAT_COUNTER("vane_ingested_samples_total", "Samples taken over push protocols", "");
static struct stat samples_refused =
    STAT_COUNTER("vane_refused_samples_total", "Samples refused over push protocols", "");

const char *api_reject_text(const struct tsdb_write_result *r)
{
    static const char *const words[TSDB_REJECT_N] = {
        [TSDB_REJECT_TOO_OLD] = "out of order sample",
        [TSDB_REJECT_FUTURE] = "timestamp is too far in the future",
        [TSDB_REJECT_LABELS] = "labels are not valid",
        [TSDB_REJECT_SERIES_LIMIT] = "limit of active series reached",
        [TSDB_REJECT_HISTOGRAM] = "histogram is not valid",
    };
    for (size_t i = 0; i < TSDB_REJECT_N; i++)
        if (r->rejected[i])
            return words[i];
    return NULL;
}

enum err api_store_write(const struct api_store *st, const struct batch *b, const struct ingest_source *who,
                         struct tsdb_write_result *ret, struct err_text *reterr)
{
    memset(ret, 0, sizeof(*ret));
    reterr->msg[0] = 0;
    if (b->series.n == 0 && b->families.n == 0)
        return OK;
    enum err e = st->write(st->ctx, b, who, ret);
    if (e == OK && ret->lsn)
        e = st->wait(st->ctx, ret->lsn);
    if (e == ERR_BUSY)
        return err_fail(reterr, e, "overloaded: no memory for more samples right now, try again");
    if (e == ERR_NO_SPACE)
        return err_fail(reterr, e, "no space left on the data disk: writes are refused until there is");
    if (e != OK)
        return err_fail(reterr, e == ERR_CLOSED ? e : ERR_IO, "not stored: %s", err_describe(e));
    size_t refused = 0;
    for (size_t i = 0; i < TSDB_REJECT_N; i++)
        refused += ret->rejected[i];
    stat_add(&samples_taken, (int64_t)ret->samples);
    if (refused)
        stat_add(&samples_refused, (int64_t)refused);
    return OK;
}

static void count(const struct http_response *rs, bool partial)
{
    bool later = rs->status == 429 || rs->status >= 500;
    stat_add(rs->status == 204 ? &requests_taken
             : later           ? &requests_later
             : partial         ? &requests_partial
                               : &requests_refused,
             1);
}

struct salted { /* label bytes mean something for one sender */
    const struct api_store *store;
    uint64_t salt;
};
static uint64_t known_salted(void *ctx, str bytes, uint64_t salt, uint32_t *io_hint, hash128 *ret_key)
{
    const struct salted *s = ctx;
    return s->store->known(s->store->ctx, bytes, salt ^ s->salt, io_hint, ret_key);
}

static enum err decode(struct http_request *rq, const struct ingest_source *who, struct batch *batch,
                       struct wire_rejects *rejects, struct err_text *why)
{
    const struct api_deps *d = &api_of(rq)->d;
    size_t plain_max = d->write_body_bytes_max ? d->write_body_bytes_max : RW_BODY_BYTES_MAX;
    const struct api_store *st = api_store(rq);
    struct salted salted = { st, st->salt ? st->salt(st->ctx, who) : 0 };
    const struct wire_known known = { &salted, known_salted };
    struct wire_limits limits = d->write_limits;
    limits.known = st->known ? &known : NULL;
    enum rw_version version;
    TRY(rw_version_of(http_header(rq, STR("Content-Type")), rq->content_encoding, &version, why));
    return (version == RW_V2 ? rw2_decode : rw1_decode)(rq->a, rq->body, plain_max, &limits, batch, rejects, why);
}

static void written_header(struct http_response *rs, const char *what, size_t n)
{
    str name = arena_printf(rs->a, "X-Prometheus-Remote-Write-%s-Written", what);
    http_set_header(rs, name, arena_printf(rs->a, "%zu", n));
}

/* A sample that was there already with the same value counts as written. Nothing is claimed that is not durable. */
static void written_headers(struct http_response *rs, enum err e, const struct tsdb_write_result *r)
{
    size_t all = r->samples + r->duplicates - r->conflicts;
    written_header(rs, "Samples", e == OK ? all - r->histograms : 0);
    written_header(rs, "Histograms", e == OK ? r->histograms : 0);
    written_header(rs, "Exemplars", e == OK ? r->exemplars : 0);
}

void api_partial_fail(struct http_response *rs, const struct wire_rejects *rejects, const struct tsdb_write_result *r)
{
    const char *phrase = api_reject_text(r);
    struct err_text text;
    if (phrase)
        IGNORE_ERR(err_fail(&text, OK, "%s: %s", phrase, r->first.msg));
    else
        text = rejects->first;
    api_write_fail(rs, ERR_INVALID, text.msg);
}

static void remote_write(struct http_request *rq, struct http_response *rs)
{
    struct api *api = api_of(rq);
    struct batch batch = { .a = rq->a };
    struct wire_rejects rejects = { 0 };
    struct tsdb_write_result result = { 0 };
    struct err_text why = { .msg = "" };
    const struct ingest_source who = api_sender(rq, INGEST_REPLICAS);
    if (api_not_taking(api, rs)) {
        written_headers(rs, ERR_BUSY, &result);
        count(rs, false);
        return;
    }
    enum err e = decode(rq, &who, &batch, &rejects, &why);
    if (e == OK)
        e = api_store_write(api_store(rq), &batch, &who, &result, &why);
    written_headers(rs, e, &result);
    if (e != OK) {
        api_write_fail(rs, e, why.msg);
        count(rs, false);
        return;
    }
    bool partial = rejects.series || rejects.samples || api_reject_text(&result);
    if (partial)
        api_partial_fail(rs, &rejects, &result);
    else
        rs->status = 204;
    count(rs, partial);
}

static const struct http_limits write_limits = { .body_bytes_max = 32 << 20,
                                                 .decoded_bytes_max = 64 << 20,
                                                 .body_ms_max = 60000,
                                                 .arena_bytes_max = (size_t)256 << 20 };
const struct http_route api_write_routes[] = {
    { HTTP_BIT(HTTP_POST), "/api/v1/write", remote_write, HTTP_INGEST, &write_limits, HTTP_RAW_BODY | HTTP_NO_FORM },
};
const size_t api_write_routes_n = ARRAY_LEN(api_write_routes);
