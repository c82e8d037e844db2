/* The engine's facts as rows of the control database, and the way back.
 *
 *   am_alerts    by a number that the engine gives: what comes in together lies together. An alert that goes on as it was is not written again, but for its end: before the one
 *                that is written down has passed (am_row_alive).
 *   am_silences  matchers as ["=", name, value, "=~", name, value ...]
 *   am_log       what an integration was told last about a group; fingerprints as little-endian words. tried: those that
 *                fire in a message that is on its way: after a crash nobody knows whether it was taken
 *   am_groups    when a group that waits has its turn; the key is a hash of route and labels. The row of a group that
 *                is telling somebody keeps the time it was due: after a crash it is due at once.
 *   am_acks      by fingerprint
 *   am_alive     when this was running last: for that time and no longer alerts went on
 *   am_history   see am_history.h */
#include "alerting/am_data.h"
#include "alerting/am_int.h"
#include "base/log.h"
#include "base/stats.h"

static struct stat unreadable =
    STAT_COUNTER("vane_alertmanager_rows_unreadable_total", "Rows of the alerting state that were passed over", "");

static const char *const steps[] = {
    "CREATE TABLE am_alerts(fp INTEGER PRIMARY KEY, starts_ms INTEGER NOT NULL, ends_ms INTEGER NOT NULL,"
    " updated_ms INTEGER NOT NULL, timed_out INTEGER NOT NULL, url TEXT NOT NULL, labels TEXT NOT NULL,"
    " annotations TEXT NOT NULL) STRICT;"
    "CREATE TABLE am_silences(id TEXT PRIMARY KEY, starts_ms INTEGER NOT NULL, ends_ms INTEGER NOT NULL,"
    " updated_ms INTEGER NOT NULL, created_by TEXT NOT NULL, comment TEXT NOT NULL, matchers TEXT NOT NULL)"
    " STRICT, WITHOUT ROWID;"
    "CREATE TABLE am_log(key TEXT PRIMARY KEY, firing BLOB NOT NULL, resolved BLOB NOT NULL, sent_ms INTEGER NOT NULL,"
    " flush_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, memory TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE am_groups(key INTEGER PRIMARY KEY, next_ms INTEGER NOT NULL, flushed INTEGER NOT NULL,"
    " what TEXT NOT NULL) STRICT;"
    "CREATE TABLE am_acks(fp INTEGER PRIMARY KEY, owner TEXT NOT NULL, comment TEXT NOT NULL, at_ms INTEGER NOT NULL,"
    " until_ms INTEGER NOT NULL) STRICT;"
    "CREATE TABLE am_alive(id INTEGER PRIMARY KEY CHECK(id = 1), at_ms INTEGER NOT NULL) STRICT;"
    "CREATE TABLE am_history(id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, kind INTEGER NOT NULL, fp INTEGER,"
    " grp TEXT NOT NULL, receiver TEXT NOT NULL, integration TEXT NOT NULL, actor TEXT NOT NULL, text TEXT NOT NULL,"
    " labels TEXT NOT NULL, idempotency INTEGER NOT NULL, attempt INTEGER NOT NULL, alerts BLOB,"
    " drill INTEGER NOT NULL) STRICT;"
    "CREATE INDEX am_history_fp ON am_history(fp) WHERE fp IS NOT NULL;"
    "CREATE INDEX am_history_grp ON am_history(grp) WHERE fp IS NULL",
    "ALTER TABLE am_log ADD COLUMN tried BLOB NOT NULL DEFAULT x''",
    "ALTER TABLE am_alerts RENAME TO am_alerts_1;"
    "CREATE TABLE am_alerts(row INTEGER PRIMARY KEY, fp INTEGER NOT NULL, starts_ms INTEGER NOT NULL,"
    " ends_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, timed_out INTEGER NOT NULL, url TEXT NOT NULL,"
    " labels TEXT NOT NULL, annotations TEXT NOT NULL) STRICT;"
    "INSERT INTO am_alerts SELECT NULL, * FROM am_alerts_1;"
    "DROP TABLE am_alerts_1",
    "CREATE INDEX am_history_kind ON am_history(kind)",
};
static const struct control_tables tables = { "alerting", steps, ARRAY_LEN(steps) };

enum err am_rows_attach(struct control *c, struct err_text *reterr)
{
    return control_attach(c, &tables, reterr);
}

/* ---- writing ---- */
#define RUN(sql, ...)                                                                     \
    am_state_queue(am->state, AM_FACTS, sql, (const struct control_val[]){ __VA_ARGS__ }, \
                   sizeof((const struct control_val[]){ __VA_ARGS__ }) / sizeof(struct control_val))

static void labels_text(struct buf *b, struct labels ls)
{
    struct json_out j;
    buf_init(b, 0);
    j = json_out_init(b);
    labels_json(&j, ls);
}

void am_row_alert(struct am *am, struct alert *al)
{
    AUTO_BUF struct buf labels, annotations;
    labels_text(&labels, al->v.labels);
    labels_text(&annotations, al->v.annotations);
    al->saved_ends_ms = al->v.ends_ms;
    RUN("INSERT OR REPLACE INTO am_alerts VALUES(?,?,?,?,?,?,?,?,?)", CV_INT(al->row),
        CV_INT((int64_t)al->v.fingerprint), CV_INT(al->v.starts_ms), CV_INT(al->v.ends_ms), CV_INT(al->v.updated_ms),
        CV_INT(al->timed_out), CV_TEXT(al->v.generator_url), CV_TEXT(buf_str(&labels)), CV_TEXT(buf_str(&annotations)));
}

void am_row_alert_gone(struct am *am, const struct alert *al)
{
    RUN("DELETE FROM am_alerts WHERE row = ?", CV_INT(al->row));
}

void am_row_silence(struct am *am, const struct am_silence *s)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    struct json_out j = json_out_init(&b);
    json_arr(&j);
    for (size_t i = 0; i < s->matchers.n; i++) {
        json_str(&j, str_c(am_match_text(s->matchers.p[i].type)));
        json_str(&j, s->matchers.p[i].name);
        json_str(&j, s->matchers.p[i].value);
    }
    json_arr_end(&j);
    RUN("INSERT OR REPLACE INTO am_silences VALUES(?,?,?,?,?,?,?)", CV_TEXT(s->id), CV_INT(s->starts_ms),
        CV_INT(s->ends_ms), CV_INT(s->updated_ms), CV_TEXT(s->created_by), CV_TEXT(s->comment), CV_TEXT(buf_str(&b)));
}

void am_row_silence_gone(struct am *am, str id)
{
    RUN("DELETE FROM am_silences WHERE id = ?", CV_TEXT(id));
}

static struct control_val words(const struct fingerprints *f)
{
    return CV_BLOB(str_n((const char *)f->p, f->n * sizeof(*f->p)));
}

void am_row_log(struct am *am, const struct log_entry *e)
{
    RUN("INSERT OR REPLACE INTO am_log VALUES(?,?,?,?,?,?,?,?)", CV_TEXT(e->key), words(&e->firing),
        words(&e->resolved), CV_INT(e->sent_ms), CV_INT(e->flush_ms), CV_INT(e->expires_ms), CV_TEXT(e->memory),
        words(&e->tried));
}

void am_row_tried(struct am *am, const struct pending *p)
{
    const struct log_entry *before = log_map_get(&am->log, p->log_key);
    struct log_entry e =
        before ? *before : (struct log_entry){ .key = p->log_key, .expires_ms = p->flush_ms + AM_RETENTION_MS };
    e.tried = p->firing;
    am_row_log(am, &e);
}

void am_row_log_gone(struct am *am, str key)
{
    RUN("DELETE FROM am_log WHERE key = ?", CV_TEXT(key));
}

uint64_t am_timer_key(const struct am_route *r, uint64_t labels)
{
    return hash_u64(hash64(r->id) + 0x9e3779b97f4a7c15ull * labels);
}

void am_row_group(struct am *am, const struct group *g)
{
    RUN("INSERT OR REPLACE INTO am_groups VALUES(?,?,?,?)", CV_INT((int64_t)am_timer_key(g->route, g->id)),
        CV_INT(g->next_ms), CV_INT(g->flushed), CV_TEXT(g->key));
}

void am_row_group_gone(struct am *am, uint64_t timer_key)
{
    RUN("DELETE FROM am_groups WHERE key = ?", CV_INT((int64_t)timer_key));
}

void am_row_ack(struct am *am, const struct alert *al)
{
    if (!al->ack) {
        RUN("DELETE FROM am_acks WHERE fp = ?", CV_INT((int64_t)al->v.fingerprint));
        return;
    }
    RUN("INSERT OR REPLACE INTO am_acks VALUES(?,?,?,?,?)", CV_INT((int64_t)al->v.fingerprint), CV_TEXT(al->ack->owner),
        CV_TEXT(al->ack->comment), CV_INT(al->ack->at_ms), CV_INT(al->ack->until_ms));
}

void am_row_alive(struct am *am, int64_t now_ms)
{
    am->alive_ms = now_ms;
    RUN("INSERT OR REPLACE INTO am_alive VALUES(1, ?)", CV_INT(now_ms));
    map_each (alert_map, s, &am->alerts)
        if (s->value->saved_ends_ms < s->value->v.ends_ms && s->value->saved_ends_ms < now_ms + 3 * AM_ALIVE_MS)
            am_row_alert(am, s->value);
}

static void clear(struct am *am, const char *sql)
{
    am_state_queue(am->state, AM_FACTS, sql, NULL, 0);
}

void am_rows_no_groups(struct am *am)
{
    clear(am, "DELETE FROM am_groups");
}

void am_rows_all(struct am *am)
{
    clear(am, "DELETE FROM am_alerts");
    clear(am, "DELETE FROM am_silences");
    clear(am, "DELETE FROM am_log");
    clear(am, "DELETE FROM am_acks");
    am_rows_no_groups(am);
    map_each (alert_map, s, &am->alerts) {
        am_row_alert(am, s->value);
        if (s->value->ack)
            am_row_ack(am, s->value);
    }
    for (size_t i = 0; i < am->silences.n; i++)
        am_row_silence(am, &am->silences.p[i]->v);
    map_each (log_map, s, &am->log)
        am_row_log(am, &s->value);
    map_each (group_map, s, &am->groups)
        if (!s->value->flight)
            am_row_group(am, s->value);
}

/* ---- reading ---- */
struct load {
    struct am *am;
    struct arena a; /* of the row at hand */
    int64_t now_ms, alive_ms, last_row;
    size_t n_bad;
};

static bool is_int(const struct control_val *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c[i].type != CONTROL_INT)
            return false;
    return true;
}

/* SQLite gives empty texts and blobs as such. */
static bool is_text(const struct control_val *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c[i].type != CONTROL_TEXT)
            return false;
    return true;
}

static bool bad(struct load *l, bool is_bad)
{
    l->n_bad += is_bad;
    return is_bad;
}

static bool load_alive(void *ctx, const struct control_val *c, size_t n)
{
    ASSERT(n == 1);
    ((struct load *)ctx)->alive_ms = c[0].i;
    return false;
}

static bool load_alert(void *ctx, const struct control_val *c, size_t n)
{
    struct load *l = ctx;
    struct am *am = l->am;
    ASSERT(n == 9);
    l->last_row = MAX(l->last_row, c[8].i);
    arena_reset(&l->a);
    struct am_alert v = { 0 };
    bool sound = is_int(c, 5) && is_text(c + 5, 3) && labels_read_json(&l->a, c[6].s, &v.labels) &&
                 labels_read_json(&l->a, c[7].s, &v.annotations) && v.labels.n &&
                 am_fingerprint(v.labels) == (uint64_t)c[0].i && am->alerts.n < AM_ALERTS_MAX &&
                 c[8].type == CONTROL_INT && !alert_map_get(&am->alerts, (uint64_t)c[0].i);
    if (bad(l, !sound))
        return true;
    struct alert *al = am_alert_new(am, (uint64_t)c[0].i);
    bool ended = c[2].i <= MAX(l->alive_ms, c[3].i);
    int64_t down_ms = l->alive_ms ? MAX(l->now_ms - l->alive_ms, 0) : 0,
            resolve_ms = am->cfg->global.resolve_timeout_ms;
    al->v = (struct am_alert){ .labels = labels_copy(&al->a, v.labels),
                               .annotations = labels_copy(&al->a, v.annotations),
                               .generator_url = arena_str(&al->a, c[5].s),
                               .fingerprint = (uint64_t)c[0].i,
                               .starts_ms = c[1].i,
                               .ends_ms = ended ? c[2].i : MAX(c[2].i, MIN(c[2].i + down_ms, l->now_ms + resolve_ms)),
                               .updated_ms = c[3].i };
    al->timed_out = c[4].i != 0;
    al->ended = ended;
    al->saved_ends_ms = c[2].i;
    al->row = c[8].i;
    return true;
}

static bool read_matchers(struct load *l, str text, struct am_matchers *ret)
{
    struct json_in j;
    json_in_init(&j, &l->a, text);
    ret->p = arena_zarray(&l->a, struct am_matcher, AM_MATCHERS_MAX);
    if (json_next(&j) != JSON_TOK_ARR)
        return false;
    while (json_next(&j) == JSON_TOK_STR) {
        enum am_match type = AM_EQ;
        while (type < AM_NRE && !str_eq(str_c(am_match_text(type)), j.text))
            type++;
        if (json_next(&j) != JSON_TOK_STR || ret->n >= AM_MATCHERS_MAX)
            return false;
        str name = arena_str(&l->a, j.text);
        if (json_next(&j) != JSON_TOK_STR)
            return false;
        ret->p[ret->n++] = (struct am_matcher){ .type = type, .name = name, .value = arena_str(&l->a, j.text) };
    }
    return j.tok == JSON_TOK_ARR_END;
}

static bool load_silence(void *ctx, const struct control_val *c, size_t n)
{
    struct load *l = ctx;
    struct err_text why;
    ASSERT(n == 7);
    arena_reset(&l->a);
    if (bad(l, !is_text(c, 1) || c[0].s.n != AM_ID_LEN || !is_int(c + 1, 3) || !is_text(c + 4, 3)))
        return true;
    struct am_silence s = { .id = c[0].s,
                            .starts_ms = c[1].i,
                            .ends_ms = c[2].i,
                            .updated_ms = c[3].i,
                            .created_by = c[4].s,
                            .comment = c[5].s };
    bad(l, !read_matchers(l, c[6].s, &s.matchers) || am_silence_restore(l->am, &s, &why) != OK);
    return true;
}

static void read_words(uint64_t *to, str blob)
{
    if (blob.n) /* an empty one points nowhere */
        memcpy(to, blob.p, blob.n);
}

static bool load_log(void *ctx, const struct control_val *c, size_t n)
{
    struct load *l = ctx;
    ASSERT(n == 8);
    bool sound = is_text(c, 1) && c[1].type == CONTROL_BLOB && c[2].type == CONTROL_BLOB && c[1].s.n % 8 == 0 &&
                 c[2].s.n % 8 == 0 && is_int(c + 3, 3) && is_text(c + 6, 1) && c[7].type == CONTROL_BLOB &&
                 c[7].s.n % 8 == 0;
    if (bad(l, !sound))
        return true;
    str key = mem_dup(c[0].s);
    struct log_entry *e = log_map_put(&l->am->log, key, NULL);
    size_t n_firing = c[1].s.n / 8, n_resolved = c[2].s.n / 8, n_tried = c[7].s.n / 8;
    uint64_t *block = mem_alloc((n_firing + n_resolved + n_tried + 1) * sizeof(*block));
    read_words(block, c[1].s);
    read_words(block + n_firing, c[2].s);
    read_words(block + n_firing + n_resolved, c[7].s);
    *e = (struct log_entry){ .key = key,
                             .firing = { block, n_firing },
                             .resolved = { block + n_firing, n_resolved },
                             .tried = { block + n_firing + n_resolved, n_tried },
                             .sent_ms = c[3].i,
                             .flush_ms = c[4].i,
                             .expires_ms = c[5].i,
                             .memory = c[6].s.n ? mem_dup(c[6].s) : STR_NONE };
    return true;
}

static bool load_group(void *ctx, const struct control_val *c, size_t n)
{
    struct load *l = ctx;
    ASSERT(n == 3);
    if (!bad(l, !is_int(c, 3)))
        *timer_map_put(&l->am->timers, (uint64_t)c[0].i, NULL) = (struct timer){ c[1].i, c[2].i != 0, false };
    return true;
}

static bool load_ack(void *ctx, const struct control_val *c, size_t n)
{
    struct load *l = ctx;
    ASSERT(n == 5);
    if (bad(l, !is_int(c, 1) || !is_text(c + 1, 2) || !is_int(c + 3, 2)))
        return true;
    struct alert **al = alert_map_get(&l->am->alerts, (uint64_t)c[0].i);
    if (al && !(*al)->ended)
        am_ack_put(*al, c[1].s, c[2].s, c[3].i, c[4].i);
    return true;
}

enum err am_rows_load(struct am *am, struct control *control, int64_t now_ms, struct err_text *reterr)
{
    static const struct {
        const char *sql;
        bool (*row)(void *ctx, const struct control_val *cols, size_t n);
    } parts[] = {
        { "SELECT at_ms FROM am_alive", load_alive },
        { "SELECT fp, starts_ms, ends_ms, updated_ms, timed_out, url, labels, annotations, row FROM am_alerts",
          load_alert },
        { "SELECT id, starts_ms, ends_ms, updated_ms, created_by, comment, matchers FROM am_silences", load_silence },
        { "SELECT key, firing, resolved, sent_ms, flush_ms, expires_ms, memory, tried FROM am_log", load_log },
        { "SELECT key, next_ms, flushed FROM am_groups", load_group },
        { "SELECT fp, owner, comment, at_ms, until_ms FROM am_acks", load_ack },
    };
    struct control_tx *tx;
    struct load l = { .am = am, .now_ms = now_ms };
    stat_register(&unreadable);
    TRY(control_view(control, &tx, reterr));
    arena_init(&l.a, 0);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        IGNORE_ERR(control_query(tx, parts[i].sql, NULL, 0, parts[i].row, &l, NULL)); /* sticky: the commit tells */
    arena_deinit(&l.a);
    am->last_row = l.last_row;
    if (l.n_bad) {
        stat_add(&unreadable, (int64_t)l.n_bad);
        LOG_WARN("rows of the alerting state make no sense and are passed over", "rows", LOG_I64(l.n_bad));
    }
    return control_commit(tx, reterr);
}
