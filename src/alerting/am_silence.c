/* Silences: created, changed, expired, forgotten after AM_RETENTION_MS. */
#include <stdlib.h>

#include "alerting/am_int.h"
#include "base/os.h"

enum am_silence_state am_silence_state(const struct am_silence *s, int64_t now_ms)
{
    return now_ms < s->starts_ms ? AM_SILENCE_PENDING : now_ms >= s->ends_ms ? AM_SILENCE_EXPIRED : AM_SILENCE_ACTIVE;
}

void am_silence_free(struct silence *s)
{
    am_matchers_free(&s->v.matchers);
    arena_deinit(&s->a);
    mem_free(s);
}

static struct silence *find(const struct am *am, str id)
{
    for (size_t i = 0; i < am->silences.n; i++)
        if (str_eq(am->silences.p[i]->v.id, id))
            return am->silences.p[i];
    return NULL;
}

size_t am_silenced(const struct am *am, struct labels ls, int64_t now_ms, struct arena *a, str **ret)
{
    VEC(str) ids = { 0 };
    for (size_t i = 0; i < am->silences.n; i++) {
        const struct am_silence *s = &am->silences.p[i]->v;
        if (am_silence_state(s, now_ms) != AM_SILENCE_ACTIVE || !am_matchers_match(&s->matchers, ls))
            continue;
        if (!a)
            return 1;
        avec_push(a, &ids, arena_str(a, s->id));
    }
    if (a)
        *ret = ids.p;
    return ids.n;
}

static void new_id(char id[AM_ID_LEN + 1])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char r[16];
    char *p = id;
    os_random(r, sizeof(r));
    r[6] = (unsigned char)(0x40 | (r[6] & 0x0f)); /* version 4, variant 1 (RFC 4122) */
    r[8] = (unsigned char)(0x80 | (r[8] & 0x3f));
    for (size_t i = 0; i < sizeof(r); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = hex[r[i] >> 4];
        *p++ = hex[r[i] & 15];
    }
    *p = 0;
}

/* A copy with its own expressions. */
static enum err silence_copy(const struct am_silence *v, str id, struct silence **ret, struct err_text *reterr)
{
    struct silence *s = mem_zalloc(sizeof(*s));
    arena_init(&s->a, 0);
    s->v = *v;
    s->v.id = arena_str(&s->a, id);
    s->v.created_by = arena_str(&s->a, v->created_by);
    s->v.comment = arena_str(&s->a, v->comment);
    s->v.matchers = (struct am_matchers){ arena_array(&s->a, struct am_matcher, v->matchers.n + 1), 0 };
    for (size_t i = 0; i < v->matchers.n; i++) {
        const struct am_matcher *m = &v->matchers.p[i];
        enum err e = am_matcher_init(&s->v.matchers.p[i], &s->a, m->type, m->name, m->value, reterr);
        if (e) {
            am_silence_free(s);
            return e;
        }
        s->v.matchers.n++;
    }
    *ret = s;
    return OK;
}

enum err am_silence_restore(struct am *am, const struct am_silence *v, struct err_text *reterr)
{
    struct silence *s;
    if (am->silences.n >= AM_SILENCES_MAX)
        return err_fail(reterr, ERR_LIMIT, "more than %u silences", AM_SILENCES_MAX);
    TRY(silence_copy(v, v->id, &s, reterr));
    vec_push(&am->silences, s);
    return OK;
}

/* Of a silence, as the history tells it. */
static void event(struct am *am, enum am_event_kind kind, const struct am_silence *s, str actor, int64_t now_ms)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_printf(&b, STR_FMT " ", STR_ARG(s->id));
    am_matchers_print(&b, &s->matchers);
    buf_printf(&b, " for %llds: " STR_FMT, (long long)(s->ends_ms - s->starts_ms) / 1000, STR_ARG(s->comment));
    am_history_add(am, &(struct am_event){ .at_ms = now_ms, .kind = kind, .actor = actor, .text = buf_str(&b) });
}

static bool may_change(const struct am_silence *old, const struct am_silence *s, int64_t now_ms)
{
    if (!am_matchers_eq(&old->matchers, &s->matchers))
        return false;
    switch (am_silence_state(old, now_ms)) {
    case AM_SILENCE_ACTIVE:
        return s->starts_ms == old->starts_ms && s->ends_ms >= now_ms;
    case AM_SILENCE_PENDING:
        return s->starts_ms >= now_ms;
    default:
        return false;
    }
}

static void expire(struct am *am, struct am_silence *s, int64_t now_ms)
{
    enum am_silence_state state = am_silence_state(s, now_ms);
    if (state == AM_SILENCE_EXPIRED)
        return;
    if (state == AM_SILENCE_PENDING)
        s->starts_ms = now_ms;
    s->ends_ms = now_ms;
    s->updated_ms = now_ms;
    am_row_silence(am, s);
    event(am, AM_EV_SILENCE_EXPIRED, s, STR(""), now_ms);
}

static enum err check(const struct am_silence *s, int64_t now_ms, struct err_text *reterr)
{
    bool selective = false; /* negative matchers count as such, as in the reference */
    if (s->starts_ms >= s->ends_ms)
        return err_fail(reterr, ERR_INVALID, "Failed to create silence: start time must be before end time");
    if (s->ends_ms < now_ms)
        return err_fail(reterr, ERR_INVALID, "Failed to create silence: end time can't be in the past");
    if (!s->matchers.n)
        return err_fail(reterr, ERR_INVALID, "silence invalid: at least one matcher required");
    for (size_t i = 0; i < s->matchers.n; i++)
        selective |= s->matchers.p[i].type == AM_NE || s->matchers.p[i].type == AM_NRE ||
                     !am_matcher_matches(&s->matchers.p[i], STR(""));
    if (!selective)
        return err_fail(reterr, ERR_INVALID, "silence invalid: at least one matcher must not match the empty string");
    return OK;
}

static enum err set(struct am *am, const struct am_silence *s, int64_t now_ms, char ret_id[AM_ID_LEN + 1],
                    struct err_text *reterr)
{
    struct silence *old = s->id.n ? find(am, s->id) : NULL, *made;
    bool change = old && may_change(&old->v, s, now_ms);
    if (s->id.n && !old)
        return err_fail(reterr, ERR_NOT_FOUND, "silence not found");
    TRY(check(s, now_ms, reterr));
    if (!change && am->silences.n >= AM_SILENCES_MAX)
        return err_fail(reterr, ERR_LIMIT, "more than %u silences", AM_SILENCES_MAX);
    if (change)
        memcpy(ret_id, old->v.id.p, AM_ID_LEN);
    else
        new_id(ret_id);
    ret_id[AM_ID_LEN] = 0;
    TRY(silence_copy(s, str_n(ret_id, AM_ID_LEN), &made, reterr));
    made->v.updated_ms = now_ms;
    if (change) {
        struct silence swap = *old;
        *old = *made;
        *made = swap;
        am_silence_free(made);
        am_row_silence(am, &old->v);
        event(am, AM_EV_SILENCE_SET, &old->v, old->v.created_by, now_ms);
        return OK;
    }
    if (old)
        expire(am, &old->v, now_ms);
    if (made->v.starts_ms < now_ms)
        made->v.starts_ms = now_ms;
    vec_push(&am->silences, made);
    am_row_silence(am, &made->v);
    event(am, AM_EV_SILENCE_SET, &made->v, made->v.created_by, now_ms);
    return OK;
}

enum err am_silence_set(struct am *am, const struct am_silence *s, int64_t now_ms, char ret_id[AM_ID_LEN + 1],
                        struct err_text *reterr)
{
    mtx_lock(&am->mu);
    enum err e = set(am, s, now_ms, ret_id, reterr);
    uint64_t mark = am_state_mark(am->state, AM_FACTS);
    mtx_unlock(&am->mu);
    return e ? e : am_state_wait(am->state, AM_FACTS, mark, reterr);
}

enum err am_silence_expire(struct am *am, str id, int64_t now_ms, struct err_text *reterr)
{
    mtx_lock(&am->mu);
    struct silence *s = find(am, id);
    if (s)
        expire(am, &s->v, now_ms);
    uint64_t mark = am_state_mark(am->state, AM_FACTS);
    mtx_unlock(&am->mu);
    return s ? am_state_wait(am->state, AM_FACTS, mark, reterr) : err_fail(reterr, ERR_NOT_FOUND, "silence not found");
}

void am_silences_gc(struct am *am, int64_t now_ms)
{
    for (size_t i = am->silences.n; i-- > 0;)
        if (am->silences.p[i]->v.ends_ms + AM_RETENTION_MS < now_ms) {
            am_row_silence_gone(am, am->silences.p[i]->v.id);
            am_silence_free(am->silences.p[i]);
            vec_remove(&am->silences, i);
        }
}

struct row {
    struct am_silence s;
    enum am_silence_state state;
};
static int cmp_row(const void *x, const void *y)
{
    const struct row *a = x, *b = y;
    int64_t ka = a->state == AM_SILENCE_PENDING ? a->s.starts_ms : a->s.ends_ms,
            kb = b->state == AM_SILENCE_PENDING ? b->s.starts_ms : b->s.ends_ms;
    if (a->state != b->state)
        return a->state < b->state ? -1 : 1;
    if (ka != kb)
        return (ka < kb) == (a->state != AM_SILENCE_EXPIRED) ? -1 : 1;
    return str_cmp(a->s.id, b->s.id);
}

void am_silences(struct am *am, int64_t now_ms, struct arena *a, struct am_silence **ret, size_t *ret_n)
{
    mtx_lock(&am->mu);
    size_t n = am->silences.n;
    struct row *rows = arena_array(a, struct row, n + 1);
    for (size_t i = 0; i < n; i++) {
        const struct am_silence *s = &am->silences.p[i]->v;
        struct am_silence c = *s;
        c.id = arena_str(a, s->id);
        c.created_by = arena_str(a, s->created_by);
        c.comment = arena_str(a, s->comment);
        c.matchers.p = arena_array(a, struct am_matcher, s->matchers.n + 1);
        for (size_t k = 0; k < s->matchers.n; k++)
            c.matchers.p[k] = (struct am_matcher){ .type = s->matchers.p[k].type,
                                                   .name = arena_str(a, s->matchers.p[k].name),
                                                   .value = arena_str(a, s->matchers.p[k].value) };
        rows[i] = (struct row){ c, am_silence_state(s, now_ms) };
    }
    mtx_unlock(&am->mu);
    if (n)
        qsort(rows, n, sizeof(*rows), cmp_row);
    struct am_silence *p = arena_array(a, struct am_silence, n + 1);
    for (size_t i = 0; i < n; i++)
        p[i] = rows[i].s;
    *ret = p;
    *ret_n = n;
}

void am_silences_of(struct am *am, struct labels ls, int64_t now_ms, struct arena *a, str **ret, size_t *ret_n)
{
    mtx_lock(&am->mu);
    *ret_n = am_silenced(am, ls, now_ms, a, ret);
    mtx_unlock(&am->mu);
}
