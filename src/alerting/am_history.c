#include "alerting/am_history.h"

#include <stdlib.h>

#include "alerting/am_int.h"
#include "base/os.h"
#include "base/stats.h"

#define LOOK_NS    2000000000u /* a page takes no longer */
#define BEHIND_MAX 4000u       /* events on their way to the disk that a look waits for */
#define KINDS_MAX  8           /* that are looked for one by one */

static struct stat events = STAT_COUNTER("vane_alertmanager_history_events_total", "Decisions written down", "");

static const char *const names[] = {
#define X(id, name, help) name,
    AM_EVENTS(X)
#undef X
};

const char *am_event_kind_name(enum am_event_kind k)
{
    return k < AM_EV_KINDS ? names[k] : "unknown";
}

bool am_event_kind_parse(str name, enum am_event_kind *ret)
{
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_eq(name, str_c(names[i]))) {
            *ret = (enum am_event_kind)i;
            return true;
        }
    return false;
}

/* ---- adding ---- */
static str cut(str s, size_t max)
{
    s = str_take(s, max);
    return str_take(s, str_utf8_valid_len(s));
}

void am_history_add(struct am *am, const struct am_event *e)
{
    AUTO_BUF struct buf labels;
    buf_init(&labels, 0);
    struct json_out j = json_out_init(&labels);
    labels_json(&j, e->labels);
    bool listed = e->n_alerts && e->n_alerts <= AM_HISTORY_ALERTS_MAX;
    const struct control_val v[] = {
        CV_INT(e->at_ms),
        CV_INT(e->kind),
        e->fingerprint ? CV_INT((int64_t)e->fingerprint) : CV_NULL,
        CV_TEXT(e->group_key),
        CV_TEXT(e->receiver),
        CV_TEXT(e->integration),
        CV_TEXT(cut(e->actor, AM_HISTORY_TEXT_BYTES_MAX)),
        CV_TEXT(cut(e->text, AM_HISTORY_TEXT_BYTES_MAX)),
        CV_TEXT(buf_str(&labels)),
        CV_INT((int64_t)e->idempotency),
        CV_INT(e->attempt),
        listed ? CV_BLOB(str_n((const char *)e->alerts, e->n_alerts * sizeof(*e->alerts))) : CV_NULL,
        CV_INT(e->drill || am_is_drill(e->labels)),
    };
    am_state_queue(am->state, AM_HISTORY,
                   "INSERT INTO am_history(at_ms, kind, fp, grp, receiver, integration, actor, text, labels,"
                   " idempotency, attempt, alerts, drill) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)",
                   v, ARRAY_LEN(v));
    stat_add(&events, 1);
}

void am_event_alert(struct am *am, enum am_event_kind kind, const struct alert *al, const struct group *g, str text,
                    int64_t now_ms)
{
    if (am->quiet)
        return;
    am_history_add(am, &(struct am_event){ .at_ms = now_ms,
                                           .kind = kind,
                                           .fingerprint = al->v.fingerprint,
                                           .labels = al->v.labels,
                                           .group_key = g ? g->key : STR(""),
                                           .receiver = g ? g->route->receiver : STR(""),
                                           .text = text });
}

void am_event_message(struct am *am, enum am_event_kind kind, const struct pending *p, str text, int64_t now_ms)
{
    const struct am_notice *n = &p->n;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    uint64_t *fps = arena_array(&a, uint64_t, n->n_alerts + 1);
    for (size_t i = 0; i < n->n_alerts; i++)
        fps[i] = n->alerts[i].fingerprint;
    am_history_add(am,
                   &(struct am_event){ .at_ms = now_ms,
                                       .kind = kind,
                                       .labels = n->group_labels,
                                       .group_key = n->group_key,
                                       .receiver = n->receiver->name,
                                       .integration = arena_printf(&a, "%s[%zu]", am_kind_name(n->integration->kind),
                                                                   n->integration->index),
                                       .text = text,
                                       .idempotency = n->idempotency,
                                       .attempt = n->attempt,
                                       .alerts = fps,
                                       .n_alerts = n->n_alerts });
}

/* ---- looking ---- */
struct look {
    const struct am_history_filter *f;
    struct arena *a;
    struct am_history_page *page;
    size_t limit, cap;
    uint64_t until_ns;
    VEC(str) groups; /* of the alert that is looked for */
};

static bool contains_fold(str hay, str needle)
{
    for (size_t i = 0; i + needle.n <= hay.n; i++)
        if (str_ieq(str_n(hay.p + i, needle.n), needle))
            return true;
    return !needle.n;
}

static bool in_words(str words, uint64_t fp)
{
    for (size_t i = 0; i + 8 <= words.n; i += 8)
        if (!memcmp(words.p + i, &fp, 8))
            return true;
    return false;
}

/* Columns as in SELECT below. */
static bool wanted(const struct look *l, const struct control_val *c, struct labels *ret)
{
    const struct am_history_filter *f = l->f;
    int64_t at = c[1].i;
    if ((f->from_ms && at < f->from_ms) || (f->to_ms && at >= f->to_ms))
        return false;
    if (f->kinds && !(c[2].i >= 0 && c[2].i < 32 && f->kinds >> c[2].i & 1))
        return false;
    if ((f->receiver.n && !str_eq(f->receiver, c[5].s)) || (f->group_key.n && !str_eq(f->group_key, c[4].s)))
        return false;
    if (f->contains.n && !contains_fold(c[7].s, f->contains) && !contains_fold(c[8].s, f->contains))
        return false;
    if (f->fingerprint && c[3].type != CONTROL_INT && c[12].type == CONTROL_BLOB && !in_words(c[12].s, f->fingerprint))
        return false;
    return labels_read_json(l->a, c[9].s, ret) && (!f->matchers || am_matchers_match(f->matchers, *ret));
}

static bool look_row(void *ctx, const struct control_val *c, size_t n)
{
    struct look *l = ctx;
    struct am_history_page *p = l->page;
    struct labels ls;
    ASSERT(n == 14);
    p->next_id = c[0].i;
    if (wanted(l, c, &ls)) {
        uint64_t *alerts = arena_array(l->a, uint64_t, c[12].s.n / 8 + 1);
        if (c[12].s.n)
            memcpy(alerts, c[12].s.p, c[12].s.n);
        p->events[p->n++] = (struct am_event){ .id = c[0].i,
                                               .at_ms = c[1].i,
                                               .kind = (enum am_event_kind)c[2].i,
                                               .fingerprint = (uint64_t)c[3].i,
                                               .labels = ls,
                                               .group_key = arena_str(l->a, c[4].s),
                                               .receiver = arena_str(l->a, c[5].s),
                                               .integration = arena_str(l->a, c[6].s),
                                               .actor = arena_str(l->a, c[7].s),
                                               .text = arena_str(l->a, c[8].s),
                                               .idempotency = (uint64_t)c[10].i,
                                               .attempt = (unsigned)c[11].i,
                                               .alerts = alerts,
                                               .n_alerts = c[12].s.n / 8,
                                               .drill = c[13].i != 0 };
    }
    p->cut = p->n < l->limit && os_mono_ns() > l->until_ns;
    return p->n < l->limit && !p->cut;
}

#define COLUMNS                                                                                                        \
    "SELECT id, at_ms, kind, fp, grp, receiver, integration, actor, text, labels, idempotency, attempt, alerts, drill" \
    " FROM am_history WHERE id < ? "

static int newest_first(const void *x, const void *y)
{
    const struct am_event *a = x, *b = y;
    return (a->id < b->id) - (a->id > b->id);
}

/* Each kind by its index, as far as all of them were looked at, put together: few among very many are found at once. */
static enum err look_by_kind(struct control_tx *tx, struct look *l, int64_t before_id, struct err_text *reterr)
{
    struct am_history_page *whole = l->page;
    VEC(struct am_event) all = { 0 };
    int64_t floor = 0; /* what is older is not complete */
    bool cut = false;
    enum err e = OK;
    for (int64_t k = 0; k < AM_EV_KINDS && e == OK; k++) {
        struct am_history_page page = { .events = arena_array(l->a, struct am_event, l->limit) };
        if (!(l->f->kinds >> k & 1))
            continue;
        l->page = &page;
        e = control_query(tx, COLUMNS "AND kind = ? ORDER BY id DESC",
                          (struct control_val[]){ CV_INT(before_id), CV_INT(k) }, 2, look_row, l, reterr);
        if (page.cut || page.n == l->limit)
            floor = MAX(floor, page.next_id);
        cut |= page.cut;
        for (size_t i = 0; i < page.n; i++)
            vec_push(&all, page.events[i]);
    }
    if (all.n)
        qsort(all.p, all.n, sizeof(*all.p), newest_first);
    for (size_t i = 0; i < all.n && whole->n < l->limit && all.p[i].id >= floor; i++)
        whole->events[whole->n++] = all.p[i];
    whole->cut = cut && whole->n < l->limit;
    whole->next_id = whole->n == l->limit ? whole->events[whole->n - 1].id : floor;
    vec_free(&all);
    l->page = whole;
    return e;
}

static enum err look(struct control_tx *tx, struct look *l, struct err_text *reterr)
{
    const struct am_history_filter *f = l->f;
    struct control_val v[] = { CV_INT(f->before_id ? f->before_id : INT64_MAX), CV_INT((int64_t)f->fingerprint) };
    if (f->kinds && !f->fingerprint && __builtin_popcount(f->kinds) <= KINDS_MAX)
        return look_by_kind(tx, l, v[0].i, reterr);
    if (f->fingerprint)
        return control_query(tx,
                             COLUMNS "AND (fp = ?2 OR (fp IS NULL AND grp IN (SELECT grp FROM am_history WHERE fp = ?2"
                                     " AND grp <> ''))) ORDER BY id DESC",
                             v, 2, look_row, l, reterr);
    return control_query(tx, COLUMNS "ORDER BY id DESC", v, 1, look_row, l, reterr);
}

static enum err query(struct am *am, struct look *l, struct err_text *reterr)
{
    struct control_tx *tx;
    TRY(control_view(am->control, &tx, reterr));
    l->until_ns = os_mono_ns() + LOOK_NS;
    IGNORE_ERR(look(tx, l, NULL));
    return control_commit(tx, reterr);
}

enum err am_history_query(struct am *am, const struct am_history_filter *f, struct arena *a,
                          struct am_history_page *ret, struct err_text *reterr)
{
    struct look l = { .f = f, .a = a, .page = ret };
    l.limit = MIN(f->limit ? f->limit : 100, AM_HISTORY_LIMIT_MAX);
    *ret = (struct am_history_page){ .events = arena_array(a, struct am_event, l.limit) };
    /* What was added before is to be seen; if it cannot be written, or in a flood, what is there is shown. */
    if (am_state_behind(am->state, AM_HISTORY) <= BEHIND_MAX)
        IGNORE_ERR(am_state_wait(am->state, AM_HISTORY, am_state_mark(am->state, AM_HISTORY), NULL));
    TRY(query(am, &l, reterr));
    if (ret->n < l.limit && !ret->cut)
        ret->next_id = 0;
    return OK;
}
