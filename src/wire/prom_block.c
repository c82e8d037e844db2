/* Blocks and head chunks of Prometheus (manual: prom_tsdb.h). */
#include "base/check.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/rd.h"
#include "wire/prom_tsdb.h"

#define MAGIC_INDEX       0xbaaad700u
#define MAGIC_CHUNKS      0x85bd40ddu
#define MAGIC_HEAD_CHUNKS 0x0130bc91u
#define MAGIC_TOMBSTONES  0x0130ba30u
#define TOC_BYTES         52
#define BLOCK_MS_MAX      (20ull * 366 * 86400000)
#define OUT_OF_ORDER_BIT  0x80

static uint32_t be32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}

static uint64_t be64(const char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}

static enum err corrupt(struct err_text *reterr, uint64_t pos, const char *what)
{
    return err_fail_at(reterr, ERR_CORRUPT, (size_t)pos, "offset %llu: %s", (unsigned long long)pos, what);
}

/* ---- meta.json ---- */
static bool meta_i64(struct json_in *j, int64_t *ret)
{
    return json_next(j) == JSON_TOK_NUM && str_to_i64(j->text, ret);
}

static bool meta_parents(struct json_in *j, struct arena *a, struct prom_meta *m)
{
    VEC(str) v = { 0 };
    if (json_next(j) == JSON_TOK_NULL)
        return true;
    if (j->tok != JSON_TOK_ARR)
        return false;
    while (json_next(j) == JSON_TOK_OBJ)
        while (json_next(j) == JSON_TOK_KEY) {
            bool ulid = str_eq(j->text, STR("ulid"));
            json_next(j);
            if (ulid && j->tok == JSON_TOK_STR)
                avec_push(a, &v, arena_str(a, j->text));
            else if (!json_skip(j))
                return false;
        }
    m->parents = v.p;
    m->n_parents = v.n;
    return j->tok == JSON_TOK_ARR_END;
}

static bool meta_hints(struct json_in *j, struct prom_meta *m)
{
    if (json_next(j) == JSON_TOK_NULL)
        return true;
    if (j->tok != JSON_TOK_ARR)
        return false;
    while (json_next(j) == JSON_TOK_STR)
        m->out_of_order |= str_eq(j->text, STR("from-out-of-order"));
    return j->tok == JSON_TOK_ARR_END;
}

static bool meta_compaction(struct json_in *j, struct arena *a, struct prom_meta *m)
{
    if (json_next(j) != JSON_TOK_OBJ)
        return false;
    while (json_next(j) == JSON_TOK_KEY) {
        bool ok;
        if (str_eq(j->text, STR("deletable")))
            ok = json_next(j) == JSON_TOK_FALSE || (m->deletable = j->tok == JSON_TOK_TRUE);
        else if (str_eq(j->text, STR("parents")))
            ok = meta_parents(j, a, m);
        else if (str_eq(j->text, STR("hints")))
            ok = meta_hints(j, m);
        else
            ok = json_next(j) != JSON_TOK_ERR && json_skip(j);
        if (!ok)
            return false;
    }
    return j->tok == JSON_TOK_OBJ_END;
}

static bool meta_stats(struct json_in *j, struct prom_meta *m)
{
    if (json_next(j) != JSON_TOK_OBJ)
        return false;
    while (json_next(j) == JSON_TOK_KEY) {
        bool samples = str_eq(j->text, STR("numSamples")), series = str_eq(j->text, STR("numSeries"));
        if (json_next(j) == JSON_TOK_NUM && (samples || series)) {
            if (!str_to_u64(j->text, samples ? &m->samples : &m->series))
                return false;
        } else if (!json_skip(j)) {
            return false;
        }
    }
    return j->tok == JSON_TOK_OBJ_END;
}

enum err prom_meta_read(str json, struct arena *a, struct prom_meta *ret, struct err_text *reterr)
{
    struct json_in j;
    struct prom_meta m = { .min_ms = INT64_MAX, .max_ms = INT64_MIN };
    int64_t version = 0;
    json_in_init(&j, a, json);
    bool ok = json_next(&j) == JSON_TOK_OBJ;
    while (ok && json_next(&j) == JSON_TOK_KEY) {
        str k = j.text;
        if (str_eq(k, STR("version")))
            ok = meta_i64(&j, &version);
        else if (str_eq(k, STR("minTime")))
            ok = meta_i64(&j, &m.min_ms);
        else if (str_eq(k, STR("maxTime")))
            ok = meta_i64(&j, &m.max_ms);
        else if (str_eq(k, STR("ulid")))
            ok = json_next(&j) == JSON_TOK_STR && (m.ulid = arena_str(a, j.text)).n > 0;
        else if (str_eq(k, STR("compaction")))
            ok = meta_compaction(&j, a, &m);
        else if (str_eq(k, STR("stats")))
            ok = meta_stats(&j, &m);
        else
            ok = json_next(&j) != JSON_TOK_ERR && json_skip(&j);
    }
    if (!ok || j.tok != JSON_TOK_OBJ_END || json_next(&j) != JSON_TOK_END) {
        if (j.tok == JSON_TOK_ERR) {
            IGNORE_ERR(json_fail(&j, reterr));
            return ERR_CORRUPT;
        }
        return corrupt(reterr, (uint64_t)(j.p - j.start), "not a block's meta.json");
    }
    if (version != 1)
        return err_fail(reterr, ERR_UNSUPPORTED, "meta.json version %lld; version 1 is known", (long long)version);
    if (m.min_ms > m.max_ms)
        return err_fail(reterr, ERR_CORRUPT, "meta.json lacks minTime or maxTime, or they are in the wrong order");
    if ((uint64_t)m.max_ms - (uint64_t)m.min_ms > BLOCK_MS_MAX)
        return err_fail(reterr, ERR_CORRUPT, "meta.json: a block of more than 20 years (%lld to %lld ms)",
                        (long long)m.min_ms, (long long)m.max_ms);
    *ret = m;
    return OK;
}

/* ---- index ---- */

/* A section with 4 bytes of length before and a checksum behind. */
static enum err section(str file, uint64_t at, const char *what, str *ret, struct err_text *reterr)
{
    uint64_t end = file.n - TOC_BYTES;
    if (at < 5 || at + 8 > end)
        return corrupt(reterr, at, what);
    uint32_t n = be32(file.p + at);
    if (n > end - at - 8)
        return corrupt(reterr, at, what);
    str body = { file.p + at + 4, n };
    if (crc32c(0, body) != be32(file.p + at + 4 + n))
        return err_fail_at(reterr, ERR_CORRUPT, (size_t)at, "offset %llu: checksum of the %s does not match",
                           (unsigned long long)at, what);
    *ret = body;
    return OK;
}

static enum err open_symbols(struct prom_index *ix, uint64_t at, struct arena *a, struct err_text *reterr)
{
    str body;
    TRY(section(ix->file, at, "symbol table", &body, reterr));
    if (body.n < 4)
        return corrupt(reterr, at, "symbol table");
    uint32_t n = be32(body.p);
    if (n > body.n)
        return corrupt(reterr, at + 4, "more symbols than bytes");
    struct rd r = rd_init(str_skip(body, 4));
    ix->symbols = arena_array(a, uint32_t, n + 1);
    for (uint32_t i = 0; i < n; i++) {
        ix->symbols[i] = (uint32_t)(r.p - body.p);
        (void)rd_lstr(&r);
    }
    if (!rd_end(&r))
        return corrupt(reterr, at, "the symbol table's strings do not fill it");
    ix->n_symbols = n;
    ix->symbols_at = at + 4;
    ix->symbols_end = at + 4 + body.n;
    return OK;
}

static bool symbol(const struct prom_index *ix, uint64_t ref, str *ret)
{
    uint64_t at;
    if (ix->version == 1) {
        at = ref;
        if (at < ix->symbols_at + 4 || at >= ix->symbols_end)
            return false;
    } else {
        if (ref >= ix->n_symbols)
            return false;
        at = ix->symbols_at + ix->symbols[ref];
    }
    struct rd r = rd_init(str_n(ix->file.p + at, (size_t)(ix->symbols_end - at)));
    *ret = rd_lstr(&r);
    return rd_ok(&r);
}

static enum err find_all(struct prom_index *ix, uint64_t table_at, uint64_t *ret, struct err_text *reterr)
{
    str body;
    TRY(section(ix->file, table_at, "postings offset table", &body, reterr));
    if (body.n < 4)
        return corrupt(reterr, table_at, "postings offset table");
    uint32_t n = be32(body.p);
    struct rd r = rd_init(str_skip(body, 4));
    *ret = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint64_t keys = rd_uvarint(&r);
        str name = rd_lstr(&r), value = rd_lstr(&r);
        uint64_t at = rd_uvarint(&r);
        if (!rd_ok(&r) || keys != 2)
            return corrupt(reterr, table_at + 4 + (uint64_t)(r.p - body.p), "entry of the postings offset table");
        if (!name.n && !value.n)
            *ret = at;
    }
    return rd_end(&r) ? OK : corrupt(reterr, table_at, "bytes are left in the postings offset table");
}

enum err prom_index_open(str file, struct arena *a, struct prom_index *ret, struct err_text *reterr)
{
    struct prom_index ix = { .file = file };
    if (file.n < 5 + TOC_BYTES)
        return corrupt(reterr, file.n, "the file is too short for an index");
    if (be32(file.p) != MAGIC_INDEX)
        return corrupt(reterr, 0, "not an index file (magic number)");
    ix.version = (uint8_t)file.p[4];
    if (ix.version != 1 && ix.version != 2)
        return err_fail_at(reterr, ERR_UNSUPPORTED, 4, "index version %u; versions 1 and 2 are known", ix.version);
    uint64_t toc = file.n - TOC_BYTES;
    if (crc32c(0, str_n(file.p + toc, TOC_BYTES - 4)) != be32(file.p + file.n - 4))
        return corrupt(reterr, toc, "checksum of the table of contents does not match");
    uint64_t symbols = be64(file.p + toc), series = be64(file.p + toc + 8), label_indices = be64(file.p + toc + 16),
             postings = be64(file.p + toc + 32), table = be64(file.p + toc + 40);
    ix.series_at = series;
    ix.series_end = label_indices ? label_indices : postings ? postings : toc;
    if (symbols)
        TRY(open_symbols(&ix, symbols, a, reterr));
    if (series && table) {
        uint64_t all = 0;
        str body = STR_NONE;
        if (series < 5 || ix.series_end > toc || series > ix.series_end)
            return corrupt(reterr, toc + 8, "the table of contents places the series outside the file");
        TRY(find_all(&ix, table, &all, reterr));
        if (all)
            TRY(section(file, all, "postings of all series", &body, reterr));
        if (all && (body.n < 4 || (uint64_t)be32(body.p) * 4 != body.n - 4))
            return corrupt(reterr, all, "postings of all series: their number does not fit");
        if (all) {
            ix.n_series = be32(body.p);
            ix.refs = (const uint8_t *)body.p + 4;
        }
    }
    *ret = ix;
    return OK;
}

static bool series_labels(const struct prom_index *ix, struct rd *r, struct arena *a, struct labels *ret)
{
    uint64_t n = rd_uvarint(r);
    if (n > PROM_LABELS_MAX || n > rd_left(r))
        return false;
    struct label *p = arena_array(a, struct label, n + 1);
    for (size_t i = 0; i < n; i++) {
        uint64_t name = rd_uvarint(r), value = rd_uvarint(r);
        if (!symbol(ix, name, &p[i].name) || !symbol(ix, value, &p[i].value))
            return false;
        if (i && str_cmp(p[i - 1].name, p[i].name) >= 0)
            return false;
    }
    *ret = (struct labels){ p, (size_t)n };
    return rd_ok(r);
}

static bool series_chunks(struct rd *r, struct arena *a, struct prom_series *s)
{
    uint64_t n = rd_uvarint(r), ref = 0, t = 0;
    if (n > rd_left(r) / 3 + 1)
        return false;
    s->chunks = arena_array(a, struct prom_chunk_meta, n + 1);
    s->n_chunks = (size_t)n;
    for (size_t i = 0; i < n; i++) {
        t = i ? t + rd_uvarint(r) : (uint64_t)rd_svarint(r);
        uint64_t min = t;
        t += rd_uvarint(r);
        ref = i ? ref + (uint64_t)rd_svarint(r) : rd_uvarint(r);
        if ((int64_t)t < (int64_t)min)
            return false;
        s->chunks[i] = (struct prom_chunk_meta){ (int64_t)min, (int64_t)t, (uint32_t)(ref >> 32), (uint32_t)ref };
    }
    return rd_end(r);
}

enum err prom_index_series(const struct prom_index *ix, uint32_t i, struct arena *a, struct prom_series *ret,
                           struct err_text *reterr)
{
    ASSERT(i < ix->n_series);
    struct prom_series s = { .ref = be32((const char *)ix->refs + 4 * (size_t)i) };
    uint64_t at = ix->version == 1 ? s.ref : (uint64_t)s.ref * 16;
    if (at < ix->series_at || at >= ix->series_end)
        return corrupt(reterr, at, "a series lies outside the section of series");
    struct rd r = rd_init(str_n(ix->file.p + at, (size_t)(ix->series_end - at)));
    str body = rd_lstr(&r);
    uint64_t body_at = at + (uint64_t)(r.p - (ix->file.p + at)) - body.n;
    str crc = rd_bytes(&r, 4);
    if (!rd_ok(&r))
        return corrupt(reterr, at, "a series does not end within the section of series");
    if (crc32c(0, body) != be32(crc.p))
        return corrupt(reterr, at, "checksum of a series does not match");
    struct rd b = rd_init(body);
    if (!series_labels(ix, &b, a, &s.labels))
        return corrupt(reterr, body_at, "labels of a series");
    if (!series_chunks(&b, a, &s))
        return corrupt(reterr, body_at, "chunks of a series");
    *ret = s;
    return OK;
}

/* ---- chunks ---- */
static enum err file_head(str file, uint32_t magic, const char *what, struct err_text *reterr)
{
    if (file.n < 8)
        return err_fail_at(reterr, ERR_CORRUPT, file.n, "offset %zu: too short for %s", file.n, what);
    if (be32(file.p) != magic)
        return err_fail_at(reterr, ERR_CORRUPT, 0, "offset 0: not %s (magic number)", what);
    if (file.p[4] != 1)
        return err_fail_at(reterr, ERR_UNSUPPORTED, 4, "version %u of %s; version 1 is known", (uint8_t)file.p[4],
                           what);
    return OK;
}

enum err prom_chunks_check(str file, struct err_text *reterr)
{
    return file_head(file, MAGIC_CHUNKS, "a file of chunks", reterr);
}

enum err prom_chunk_at(str file, uint32_t offset, struct prom_chunk *ret, struct err_text *reterr)
{
    if (offset < 8 || offset >= file.n)
        return corrupt(reterr, offset, "no chunk can be there: outside the file");
    struct rd r = rd_init(str_skip(file, offset));
    uint64_t n = rd_uvarint(&r);
    if (n > XOR_CHUNK_BYTES_MAX)
        return corrupt(reterr, offset, "the chunk's length is out of bounds");
    str body = rd_bytes(&r, (size_t)n + 1), crc = rd_bytes(&r, 4);
    if (!rd_ok(&r))
        return corrupt(reterr, offset, "the chunk does not end within the file");
    if (crc32c(0, body) != be32(crc.p))
        return corrupt(reterr, offset, "checksum of the chunk does not match");
    *ret = (struct prom_chunk){ (uint8_t)body.p[0], str_skip(body, 1) };
    return OK;
}

/* ---- tombstones ---- */
enum err prom_tombstones_read(str file, struct arena *a, struct prom_tombstone **ret, size_t *ret_n,
                              struct err_text *reterr)
{
    if (file.n < 9)
        return corrupt(reterr, file.n, "too short for tombstones");
    if (be32(file.p) != MAGIC_TOMBSTONES)
        return corrupt(reterr, 0, "not a file of tombstones (magic number)");
    str body = str_take(str_skip(file, 4), file.n - 8);
    if (crc32c(0, str_skip(body, 1)) != be32(file.p + file.n - 4)) /* of what follows the version */
        return corrupt(reterr, 5, "checksum of the tombstones does not match");
    if (body.p[0] != 1)
        return err_fail_at(reterr, ERR_UNSUPPORTED, 4, "version %u of tombstones; version 1 is known",
                           (uint8_t)body.p[0]);
    struct rd r = rd_init(str_skip(body, 1));
    VEC(struct prom_tombstone) v = { 0 };
    while (rd_left(&r)) {
        struct prom_tombstone t = { .ref = rd_uvarint(&r) };
        t.min_ms = rd_svarint(&r);
        t.max_ms = rd_svarint(&r);
        if (!rd_ok(&r))
            return corrupt(reterr, 4, "a tombstone does not end within the file");
        avec_push(a, &v, t);
    }
    *ret = v.p;
    *ret_n = v.n;
    return rd_ok(&r) ? OK : corrupt(reterr, 4, "a tombstone does not end within the file");
}

/* ---- head chunks ---- */
static bool zeros_from(str file, uint64_t at)
{
    for (size_t i = (size_t)at; i < file.n; i++)
        if (file.p[i])
            return false;
    return true;
}

enum err prom_head_chunk_next(str file, uint64_t *io_off, struct prom_head_chunk *ret, bool *ret_torn,
                              struct err_text *reterr)
{
    *ret_torn = false;
    if (*io_off == 0) {
        if (zeros_from(file, 0)) { /* made and not written to yet */
            *ret_torn = file.n > 0;
            return ERR_NOT_FOUND;
        }
        TRY(file_head(file, MAGIC_HEAD_CHUNKS, "a file of head chunks", reterr));
        *io_off = 8;
    }
    uint64_t at = *io_off;
    if (at >= file.n || zeros_from(file, at))
        return ERR_NOT_FOUND;
    struct rd r = rd_init(str_skip(file, (size_t)at));
    str head = rd_bytes(&r, 25);
    uint64_t n = rd_uvarint(&r);
    bool sized = rd_ok(&r) && n <= XOR_CHUNK_BYTES_MAX;
    str data = sized ? rd_bytes(&r, (size_t)n) : STR_NONE;
    size_t covered = (size_t)(r.p - (file.p + at));
    str crc = sized ? rd_bytes(&r, 4) : STR_NONE;
    if (!rd_ok(&r)) {
        *ret_torn = true;
        return ERR_NOT_FOUND;
    }
    if (!sized)
        return corrupt(reterr, at, "the head chunk's length is out of bounds");
    uint64_t end = at + covered + 4;
    if (crc32c(0, str_n(file.p + at, covered)) != be32(crc.p)) {
        if (zeros_from(file, MAX(end, 12) - 4)) { /* preallocated room behind a chunk that was being written */
            *ret_torn = true;
            return ERR_NOT_FOUND;
        }
        return corrupt(reterr, at, "checksum of the head chunk does not match");
    }
    unsigned encoding = (uint8_t)head.p[24];
    *ret = (struct prom_head_chunk){ .ref = be64(head.p),
                                     .min_ms = (int64_t)be64(head.p + 8),
                                     .max_ms = (int64_t)be64(head.p + 16),
                                     .out_of_order = encoding & OUT_OF_ORDER_BIT,
                                     .chunk = { encoding & ~(unsigned)OUT_OF_ORDER_BIT, data } };
    *io_off = end;
    return OK;
}
