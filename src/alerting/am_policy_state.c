#include "alerting/am_policy_state.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/thread.h"
#include "base/vec.h"

struct fact {
    str key; /* owned; begins with the kind as a digit */
    struct am_fact v;
    bool dirty;
};
#define MAP_NAME     fact_map
#define MAP_KEY      str
#define MAP_VALUE    struct fact
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

struct am_policy_state {
    struct control *control;
    struct mtx saving; /* rank 155: one save at a time; facts are freed only under it */
    struct mtx mu;     /* rank 160 */
    struct fact_map facts;
    size_t n_dirty;
};

static const char *const steps[] = {
    "CREATE TABLE am_policy_state(kind INTEGER NOT NULL, key TEXT NOT NULL, at_ms INTEGER NOT NULL, n INTEGER NOT "
    "NULL, "
    "PRIMARY KEY(kind, key)) WITHOUT ROWID",
};
static const struct control_tables tables = { "alert_policy", steps, ARRAY_LEN(steps) };

static str key_of(struct buf *b, enum am_fact_kind k, str key)
{
    buf_init(b, 0);
    buf_u8(b, (unsigned char)('0' + k));
    buf_str_add(b, key);
    return buf_str(b);
}

static struct fact *fact(struct am_policy_state *s, enum am_fact_kind k, str key, bool make)
{
    AUTO_BUF struct buf b = { 0 };
    str full = key_of(&b, k, key);
    struct fact *f = fact_map_get(&s->facts, full);
    if (f || !make || s->facts.n >= AM_POLICY_FACTS_MAX)
        return f;
    str owned = mem_dup(full);
    f = fact_map_put(&s->facts, owned, NULL);
    *f = (struct fact){ .key = owned };
    return f;
}

static bool read_row(void *ctx, const struct control_val *cols, size_t n)
{
    struct fact *f = fact(ctx, (enum am_fact_kind)cols[0].i, cols[1].s, true);
    if (f)
        f->v = (struct am_fact){ cols[2].i, cols[3].i };
    return f && n == 4;
}

static enum err read_all(struct am_policy_state *s, struct err_text *reterr)
{
    struct control_tx *tx;
    TRY(control_attach(s->control, &tables, reterr));
    TRY(control_begin(s->control, &tx, reterr));
    enum err e = control_query(tx, "SELECT kind, key, at_ms, n FROM am_policy_state", NULL, 0, read_row, s, reterr);
    control_rollback(tx);
    return e;
}

enum err am_policy_state_open(struct control *control, struct am_policy_state **ret, struct err_text *reterr)
{
    struct am_policy_state *s = mem_zalloc(sizeof(*s));
    mtx_init(&s->saving, 155);
    mtx_init(&s->mu, 160);
    s->control = control;
    enum err e = control ? read_all(s, reterr) : OK;
    if (e)
        am_policy_state_close(s);
    else
        *ret = s;
    return e;
}

void am_policy_state_close(struct am_policy_state *s)
{
    if (!s)
        return;
    map_each (fact_map, f, &s->facts)
        mem_free((void *)(uintptr_t)f->value.key.p);
    fact_map_free(&s->facts);
    mtx_deinit(&s->mu);
    mtx_deinit(&s->saving);
    mem_free(s);
}

struct am_fact am_policy_state_get(struct am_policy_state *s, enum am_fact_kind k, str key)
{
    mtx_lock(&s->mu);
    const struct fact *f = fact(s, k, key, false);
    struct am_fact v = f ? f->v : (struct am_fact){ 0 };
    mtx_unlock(&s->mu);
    return v;
}

void am_policy_state_put(struct am_policy_state *s, enum am_fact_kind k, str key, struct am_fact v)
{
    mtx_lock(&s->mu);
    struct fact *f = fact(s, k, key, v.at_ms != 0);
    if (f && (f->v.at_ms != v.at_ms || f->v.n != v.n)) {
        f->v = v;
        s->n_dirty += !f->dirty;
        f->dirty = true;
    }
    mtx_unlock(&s->mu);
}

static enum err write(struct control_tx *tx, const struct fact *f, struct err_text *reterr)
{
    const struct control_val args[] = { CV_INT(f->key.p[0] - '0'), CV_TEXT(str_skip(f->key, 1)), CV_INT(f->v.at_ms),
                                        CV_INT(f->v.n) };
    if (!f->v.at_ms)
        return control_run(tx, "DELETE FROM am_policy_state WHERE kind = ? AND key = ?", args, 2, reterr);
    return control_run(tx, "INSERT OR REPLACE INTO am_policy_state(kind, key, at_ms, n) VALUES(?, ?, ?, ?)", args, 4,
                       reterr);
}

struct dirty {
    VEC(struct fact) v;
};

static void take_dirty(struct am_policy_state *s, struct dirty *d)
{
    mtx_lock(&s->mu);
    if (s->n_dirty)
        map_each (fact_map, f, &s->facts)
            if (f->value.dirty) {
                f->value.dirty = false;
                vec_push(&d->v, f->value);
            }
    s->n_dirty = 0;
    mtx_unlock(&s->mu);
}

static enum err write_all(struct am_policy_state *s, const struct dirty *d, struct err_text *reterr)
{
    struct control_tx *tx;
    if (!d->v.n || !s->control)
        return OK;
    TRY(control_begin(s->control, &tx, reterr));
    for (size_t i = 0; i < d->v.n; i++)
        IGNORE_ERR(write(tx, &d->v.p[i], reterr)); /* sticky: the commit tells */
    return control_commit(tx, reterr);
}

/* What is written and gone is freed; what could not be written is dirty again. */
static void settle(struct am_policy_state *s, const struct dirty *d, bool written)
{
    mtx_lock(&s->mu);
    for (size_t i = 0; i < d->v.n; i++) {
        struct fact *f = fact_map_get(&s->facts, d->v.p[i].key);
        if (!written && !f->dirty) {
            f->dirty = true;
            s->n_dirty++;
        } else if (written && !f->dirty && !f->v.at_ms) {
            str key = f->key;
            fact_map_del(&s->facts, key);
            mem_free((void *)(uintptr_t)key.p);
        }
    }
    mtx_unlock(&s->mu);
}

enum err am_policy_state_save(struct am_policy_state *s, struct err_text *reterr)
{
    struct dirty d = { 0 };
    mtx_lock(&s->saving);
    take_dirty(s, &d);
    enum err e = write_all(s, &d, reterr);
    settle(s, &d, e == OK);
    mtx_unlock(&s->saving);
    vec_free(&d.v);
    return e;
}

size_t am_policy_state_sweep(struct am_policy_state *s, enum am_fact_kind k,
                             bool (*keep)(void *ctx, str key, struct am_fact f), void *ctx, size_t at, size_t max)
{
    struct fact_map_slot *f = NULL;
    mtx_lock(&s->mu);
    while (max-- > 0 && (f = fact_map_next(&s->facts, &at)) != NULL)
        if (f->value.key.p[0] == '0' + (char)k && f->value.v.at_ms &&
            !keep(ctx, str_skip(f->value.key, 1), f->value.v)) {
            f->value.v = (struct am_fact){ 0 };
            s->n_dirty += !f->value.dirty;
            f->value.dirty = true;
        }
    mtx_unlock(&s->mu);
    return f ? at : 0;
}
