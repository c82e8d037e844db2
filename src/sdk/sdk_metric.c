/* The registry: groups, instruments, series. Everything here is off the request path and under one lock, but the cache of
 * the convenience calls, which belongs to its thread.
 *
 * Series are found by their key: the instrument's id (8 bytes), then each value as a length byte and its bytes, valid
 * UTF-8. A collection reads the lists of instruments and series without the lock: entries are published with release,
 * removed ones are unlinked and freed only after ten seconds, by a collection or when none is under way. */
#include "sdk_metric.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

_Atomic(struct sdk_instrument *) sdk_instruments[SDK_INSTRUMENTS_MAX];
_Atomic uint32_t sdk_instruments_n;
pthread_mutex_t sdk_collect_mu = PTHREAD_MUTEX_INITIALIZER;

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER; /* the registry lock; after sdk_collect_mu */

_Atomic bool sdk_observing;

static struct sdk_group *groups[SDK_GROUPS_MAX];
static uint32_t n_groups;
static uint32_t next_gen; /* of instruments and groups */

/* Open addressing, linear probing; grows at two thirds. */
static struct sdk_series **table;
static size_t table_n, table_cap;
#define TOMB ((struct sdk_series *)8)

/* What rests: the oldest first. */
static struct sdk_rest *rest_first, **rest_last = &rest_first;

/* Slots that have rested, by their shape. */
static struct free_slots {
    struct free_slots *next;
    uint32_t slot, n, gen;
    uint8_t keep, schema;
} * free_slots;

/* Of one thread. By the bytes of the values; and before it by their addresses, because most calls pass literals: then the
 * bytes need only be compared, not hashed. The bytes are compared in any case. */
struct sdk_metric_cache {
    struct cache_entry {
        uint64_t hash, id;
        const struct sdk_series *series;
    } e[256], by_address[64];
};

/* ---- names ---- */

static bool name_start(char c, bool colon)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colon && c == ':');
}

static bool name_ok(const char *s, size_t n, bool colon)
{
    if (!n || n > VANE_NAME_MAX || !name_start(s[0], colon))
        return false;
    for (size_t i = 1; i < n; i++)
        if (!name_start(s[i], colon) && !(s[i] >= '0' && s[i] <= '9'))
            return false;
    return true;
}

static bool label_ok(const char *s, size_t n, vane_kind kind)
{
    if (!name_ok(s, n, false) || (n >= 2 && s[0] == '_' && s[1] == '_'))
        return false;
    return kind != VANE_HISTOGRAM || !((n == 2 && !memcmp(s, "le", 2)) || (n == 8 && !memcmp(s, "quantile", 8)));
}

/* The next of a comma list, trimmed. */
static bool list_next(const char **at, const char **ret, size_t *ret_n)
{
    const char *s = *at;
    if (!s || !*s)
        return false;
    const char *end = strchr(s, ',');
    *at = end ? end + 1 : s + strlen(s);
    end = end ? end : s + strlen(s);
    while (s < end && *s == ' ')
        s++;
    while (end > s && end[-1] == ' ')
        end--;
    *ret = s;
    *ret_n = (size_t)(end - s);
    return true;
}

void sdk_put_label(struct sdk_buf *b, const char *name, const char *value, size_t n)
{
    if (b->n && b->p[b->n - 1] == '"')
        sdk_putc(b, ',');
    sdk_puts(b, name);
    SDK_PUTS(b, "=\"");
    for (size_t i = 0; i < n; i++) {
        if (value[i] == '\n')
            SDK_PUTS(b, "\\n");
        else {
            if (value[i] == '"' || value[i] == '\\')
                sdk_putc(b, '\\');
            sdk_putc(b, value[i]);
        }
    }
    sdk_putc(b, '"');
}

/* ---- groups ---- */

static struct sdk_group *group_of(vane_group g)
{
    uint32_t i = (uint32_t)g.id - 1;
    return i < n_groups && groups[i]->gen == g.id >> 32 ? groups[i] : NULL;
}

static void group_free(struct sdk_group *g)
{
    if (!g)
        return;
    sdk_free_str(g->name);
    sdk_free_str(g->version);
    sdk_free_str(g->prefix);
    sdk_free_str(g->labels);
    sdk_free(g, sizeof *g);
}

/* "k=v,k2=v2" to label text; NULL when malformed or without memory. */
static char *pairs_text(const char *pairs, bool comma_behind)
{
    char *copy = sdk_dup(pairs);
    if (!copy)
        return NULL;
    size_t size = strlen(copy) + 1;
    struct sdk_buf b;
    sdk_buf_init(&b, SDK_TEXT_MAX);
    char *rest = copy, *key, *value, clean[VANE_VALUE_MAX];
    bool bad = false;
    while (sdk_pairs_next(&rest, &key, &value, &bad)) {
        bad |= !label_ok(key, strlen(key), VANE_GAUGE);
        sdk_put_label(&b, key, clean, sdk_text(clean, sizeof clean, value, SIZE_MAX));
    }
    if (comma_behind && b.n)
        sdk_putc(&b, ',');
    sdk_putc(&b, 0);
    char *text = bad || b.failed ? NULL : sdk_dup(b.p);
    sdk_buf_free(&b);
    sdk_free(copy, size);
    return text;
}

static vane_status group_make(const vane_group_opts *o, vane_group *ret)
{
    if (!o->name || !*o->name || strlen(o->name) > VANE_NAME_MAX || !sdk_text_valid(o->name, strlen(o->name)))
        return VANE_E_ARG;
    if (o->prefix && *o->prefix && !name_ok(o->prefix, strlen(o->prefix), true))
        return VANE_E_ARG;
    for (uint32_t i = 0; i < n_groups; i++)
        if (!strcmp(groups[i]->name, o->name)) {
            ret->id = (uint64_t)groups[i]->gen << 32 | (i + 1);
            return VANE_OK;
        }
    if (n_groups == SDK_GROUPS_MAX)
        return VANE_E_LIMIT;
    struct sdk_group *g = sdk_alloc(sizeof *g);
    if (!g)
        return VANE_E_NOMEM;
    g->name = sdk_dup(o->name);
    g->version = sdk_dup(o->version);
    g->prefix = sdk_dup(o->prefix);
    g->labels = pairs_text(o->labels, true);
    g->series_max = o->series_max;
    if (!g->name || !g->version || !g->prefix || !g->labels) {
        bool bad = g->name && g->version && g->prefix;
        group_free(g);
        return bad ? VANE_E_ARG : VANE_E_NOMEM;
    }
    g->gen = ++next_gen;
    groups[n_groups++] = g;
    ret->id = (uint64_t)g->gen << 32 | n_groups;
    return VANE_OK;
}

vane_group vane_group_new_opts(const vane_group_opts *opts, vane_status *ret_status)
{
    vane_group g = { 0 };
    vane_group_opts o = { 0 };
    vane_status st = VANE_E_ARG;
    if (opts && opts->size >= 2 * sizeof(size_t) && opts->size <= 65536) {
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
        st = VANE_E_STATE;
        if (sdk_on()) {
            pthread_mutex_lock(&mu);
            st = group_make(&o, &g);
            pthread_mutex_unlock(&mu);
        }
        if (st && st != VANE_E_STATE)
            sdk_diag(st, "group \"%.100s\" refused: %s", o.name ? o.name : "", vane_status_text(st));
    }
    if (ret_status)
        *ret_status = st;
    return g;
}

vane_group vane_group_new(const char *name)
{
    vane_group_opts o = VANE_GROUP_OPTS_INIT;
    o.name = name;
    return vane_group_new_opts(&o, NULL);
}

/* ---- instruments ---- */

static struct sdk_instrument *instrument_of(vane_metric m)
{
    uint32_t i = (uint32_t)m.id - 1;
    if (i >= atomic_load_explicit(&sdk_instruments_n, memory_order_acquire))
        return NULL;
    struct sdk_instrument *in = atomic_load_explicit(&sdk_instruments[i], memory_order_acquire);
    return in && in->gen == m.id >> 32 && !atomic_load_explicit(&in->dead, memory_order_relaxed) ? in : NULL;
}

static vane_metric handle_of(const struct sdk_instrument *in)
{
    return (vane_metric){ (uint64_t)in->gen << 32 | (in->index + 1) };
}

static void instrument_free(struct sdk_instrument *in)
{
    if (!in)
        return;
    sdk_free_str((char *)(uintptr_t)in->f.name);
    sdk_free_str((char *)(uintptr_t)in->f.help);
    sdk_free_str((char *)(uintptr_t)in->f.unit);
    sdk_free_str(in->info);
    for (uint32_t i = 0; i < in->n_labels; i++)
        sdk_free_str(in->labels[i]);
    for (size_t i = 0; in->f.states && i < in->f.n_states; i++)
        sdk_free_str((char *)(uintptr_t)in->f.states[i]);
    sdk_free((void *)(uintptr_t)in->f.states, VANE_STATES_MAX * sizeof(char *));
    sdk_free((void *)(uintptr_t)in->f.bounds, in->f.n_bounds * sizeof(double));
    sdk_free(in, sizeof *in);
}

static vane_status parse_labels(struct sdk_instrument *in, const char *list)
{
    const char *at = list, *s;
    size_t n;
    while (list_next(&at, &s, &n)) {
        if (in->n_labels == VANE_LABELS_MAX)
            return VANE_E_LIMIT;
        if (!label_ok(s, n, in->f.kind))
            return VANE_E_ARG;
        for (uint32_t i = 0; i < in->n_labels; i++)
            if (strlen(in->labels[i]) == n && !memcmp(in->labels[i], s, n))
                return VANE_E_ARG;
        char *copy = sdk_alloc(n + 1);
        if (!copy)
            return VANE_E_NOMEM;
        memcpy(copy, s, n);
        in->labels[in->n_labels++] = copy;
    }
    return VANE_OK;
}

static vane_status parse_states(struct sdk_instrument *in, const char *list)
{
    const char **states = sdk_alloc(VANE_STATES_MAX * sizeof *states);
    if (!states)
        return VANE_E_NOMEM;
    in->f.states = states;
    const char *at = list, *s;
    size_t n;
    while (list_next(&at, &s, &n)) {
        if (in->f.n_states == VANE_STATES_MAX)
            return VANE_E_LIMIT;
        if (!n || n > VANE_VALUE_MAX || !sdk_text_valid(s, n))
            return VANE_E_ARG;
        char *copy = sdk_alloc(n + 1);
        if (!copy)
            return VANE_E_NOMEM;
        memcpy(copy, s, n);
        states[in->f.n_states++] = copy;
    }
    return in->f.n_states ? VANE_OK : VANE_E_ARG;
}

static vane_status parse_histogram(struct sdk_instrument *in, const vane_metric_opts *o)
{
    bool has_bounds = o->bounds != NULL;
    if (has_bounds != (o->n_bounds != 0) || o->n_bounds > VANE_BOUNDS_MAX)
        return VANE_E_ARG;
    in->f.native = !has_bounds || o->flags & VANE_F_CLASSIC_TOO;
    uint32_t per_octave = o->buckets_per_octave ? o->buckets_per_octave : 8;
    while (in->schema < 7 && 1u << in->schema != per_octave)
        in->schema++;
    if (in->schema == 7)
        return VANE_E_ARG;
    in->buckets_max = o->buckets_max ? o->buckets_max : 160;
    for (size_t i = 0; i < o->n_bounds; i++)
        if (!isfinite(o->bounds[i]) || (i && o->bounds[i] <= o->bounds[i - 1]))
            return VANE_E_ARG;
    if (!has_bounds)
        return VANE_OK;
    double *copy = sdk_alloc(o->n_bounds * sizeof *copy);
    if (!copy)
        return VANE_E_NOMEM;
    memcpy(copy, o->bounds, o->n_bounds * sizeof *copy);
    in->f.bounds = copy;
    in->f.n_bounds = o->n_bounds;
    return VANE_OK;
}

static char *clean_dup(const char *s, size_t max)
{
    struct sdk_buf b;
    sdk_buf_init(&b, max + 1);
    char *copy = NULL;
    if (sdk_buf_room(&b, max + 1)) {
        b.p[sdk_text(b.p, max, s, SIZE_MAX)] = 0;
        copy = sdk_dup(b.p);
    }
    sdk_buf_free(&b);
    return copy;
}

/* A counter's name is kept without _total: exporters add it where their format wants it. */
static char *name_dup(const struct sdk_group *g, const char *name, vane_kind kind)
{
    const char *prefix = g ? g->prefix : "";
    size_t p = strlen(prefix), n = strlen(name);
    if ((kind == VANE_COUNTER || kind == VANE_FCOUNTER) && n > 6 && !strcmp(name + n - 6, "_total"))
        n -= 6;
    if (kind == VANE_INFO && n > 5 && !strcmp(name + n - 5, "_info"))
        n -= 5;
    char *s = sdk_alloc(p + n + 1);
    if (s) {
        memcpy(s, prefix, p);
        memcpy(s + p, name, n);
    }
    return s;
}

static vane_status instrument_fill(struct sdk_instrument *in, const vane_metric_opts *o)
{
    struct sdk_group *g = in->group;
    in->f.kind = o->kind;
    in->f.name = name_dup(g, o->name, o->kind);
    in->f.help = clean_dup(o->help, VANE_HELP_MAX);
    in->f.unit = clean_dup(o->unit, VANE_NAME_MAX);
    in->f.scope = g ? g->name : "";
    in->f.scope_version = g ? g->version : "";
    if (!in->f.name || !in->f.help || !in->f.unit)
        return VANE_E_NOMEM;
    if (!name_ok(in->f.name, strlen(in->f.name), true) ||
        (*in->f.unit && !name_ok(in->f.unit, strlen(in->f.unit), false)))
        return VANE_E_ARG;
    vane_status st = parse_labels(in, o->labels);
    if (!st && o->kind == VANE_HISTOGRAM)
        st = parse_histogram(in, o);
    if (!st && o->kind == VANE_STATESET)
        st = parse_states(in, o->states);
    for (uint32_t i = 0; !st && o->kind == VANE_STATESET && i < in->n_labels; i++)
        if (!strcmp(in->labels[i], in->f.name))
            st = VANE_E_ARG;
    uint32_t max = o->series_max ? o->series_max : g && g->series_max ? g->series_max : sdk_cfg.series_max;
    in->series_max = max;
    in->flags = o->flags;
    in->gauge_mode = o->gauge_mode;
    in->observe = o->observe;
    in->observe_ctx = o->observe_ctx;
    if (o->observe && o->kind > VANE_GAUGE)
        st = VANE_E_ARG;
    return st;
}

static bool instrument_same(const struct sdk_instrument *a, const struct sdk_instrument *b)
{
    bool same = a->f.kind == b->f.kind && a->n_labels == b->n_labels && !strcmp(a->f.unit, b->f.unit) &&
                a->group == b->group && a->f.native == b->f.native && a->schema == b->schema &&
                a->f.n_bounds == b->f.n_bounds && a->f.n_states == b->f.n_states && a->gauge_mode == b->gauge_mode &&
                !a->observe && !b->observe;
    for (uint32_t i = 0; same && i < a->n_labels; i++)
        same = !strcmp(a->labels[i], b->labels[i]);
    for (size_t i = 0; same && i < a->f.n_states; i++)
        same = !strcmp(a->f.states[i], b->f.states[i]);
    return same && (!a->f.n_bounds || !memcmp(a->f.bounds, b->f.bounds, a->f.n_bounds * sizeof(double)));
}

/* The exposition would show b's samples under a's name: a histogram's _sum, _count and _bucket, a counter's _total, an
 * info's _info. */
static bool names_clash(const struct sdk_family *a, const struct sdk_family *b)
{
    static const struct {
        const char *tail;
        unsigned kinds;
    } tails[] = {
        { "_sum", 1u << VANE_HISTOGRAM },    { "_count", 1u << VANE_HISTOGRAM },
        { "_bucket", 1u << VANE_HISTOGRAM }, { "_total", 1u << VANE_COUNTER | 1u << VANE_FCOUNTER },
        { "_info", 1u << VANE_INFO },
    };
    size_t an = strlen(a->name), bn = strlen(b->name);
    for (size_t i = 0; i < SDK_COUNT_OF(tails); i++) {
        size_t t = strlen(tails[i].tail);
        if (tails[i].kinds >> b->kind & 1 && an == bn + t && !memcmp(a->name, b->name, bn) &&
            !strcmp(a->name + bn, tails[i].tail))
            return true;
    }
    return false;
}

static vane_status instrument_add(struct sdk_instrument *in, vane_metric *ret)
{
    uint32_t n = atomic_load_explicit(&sdk_instruments_n, memory_order_relaxed), at = n;
    for (uint32_t i = 0; i < n; i++) {
        struct sdk_instrument *other = atomic_load_explicit(&sdk_instruments[i], memory_order_relaxed);
        if (!other || atomic_load_explicit(&other->dead, memory_order_relaxed)) {
            if (!other && at == n)
                at = i;
            continue;
        }
        if (!strcmp(other->f.name, in->f.name)) {
            if (!instrument_same(other, in))
                return VANE_E_EXISTS;
            *ret = handle_of(other);
            return VANE_OK;
        }
        if (names_clash(&in->f, &other->f) || names_clash(&other->f, &in->f))
            return VANE_E_EXISTS;
    }
    if (at == SDK_INSTRUMENTS_MAX)
        return VANE_E_LIMIT;
    in->index = at;
    in->gen = ++next_gen;
    atomic_store_explicit(&sdk_instruments[at], in, memory_order_release);
    if (at == n)
        atomic_store_explicit(&sdk_instruments_n, n + 1, memory_order_release);
    *ret = handle_of(in);
    return VANE_OK;
}

static vane_status metric_make(const vane_metric_opts *o, vane_metric *ret)
{
    if (!o->name || !*o->name || strlen(o->name) > VANE_NAME_MAX || o->kind < VANE_COUNTER || o->kind > VANE_STATESET ||
        (unsigned)o->gauge_mode > VANE_GAUGE_LIVE_RECENT)
        return VANE_E_ARG;
    struct sdk_instrument *in = sdk_alloc(sizeof *in);
    if (!in)
        return VANE_E_NOMEM;
    if (o->group.id && !(in->group = group_of(o->group))) {
        sdk_free(in, sizeof *in);
        return VANE_E_STALE;
    }
    vane_status st = instrument_fill(in, o);
    if (!st)
        st = instrument_add(in, ret);
    if (st || ret->id != handle_of(in).id)
        instrument_free(in);
    return st;
}

vane_metric vane_metric_new(const vane_metric_opts *opts, vane_status *ret_status)
{
    vane_metric m = { 0 };
    vane_metric_opts o = { 0 };
    vane_status st = VANE_E_ARG;
    if (opts && opts->size >= offsetof(vane_metric_opts, help) && opts->size <= 65536) {
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
        st = VANE_E_STATE;
        if (sdk_on()) {
            pthread_mutex_lock(&mu);
            st = sdk_on() ? metric_make(&o, &m) : VANE_E_STATE;
            pthread_mutex_unlock(&mu);
        }
        if (st && st != VANE_E_STATE)
            sdk_diag(st, "instrument \"%.100s\" refused: %s", o.name ? o.name : "", vane_status_text(st));
    }
    if (ret_status)
        *ret_status = st;
    return m;
}

static vane_metric short_form(vane_group g, vane_kind kind, const char *name, const char *help, const char *labels)
{
    vane_metric_opts o = VANE_METRIC_OPTS_INIT;
    o.kind = kind;
    o.group = g;
    o.name = name;
    o.help = help;
    o.labels = labels;
    return vane_metric_new(&o, NULL);
}

static const vane_group no_group;

vane_metric vane_counter_new(const char *name, const char *help, const char *labels)
{
    return short_form(no_group, VANE_COUNTER, name, help, labels);
}

vane_metric vane_fcounter_new(const char *name, const char *help, const char *labels)
{
    return short_form(no_group, VANE_FCOUNTER, name, help, labels);
}

vane_metric vane_updown_new(const char *name, const char *help, const char *labels)
{
    return short_form(no_group, VANE_UPDOWN, name, help, labels);
}

vane_metric vane_gauge_new(const char *name, const char *help, const char *labels)
{
    return short_form(no_group, VANE_GAUGE, name, help, labels);
}

vane_metric vane_histogram_new(const char *name, const char *help, const char *labels)
{
    return short_form(no_group, VANE_HISTOGRAM, name, help, labels);
}

vane_metric vane_group_counter(vane_group g, const char *name, const char *help, const char *labels)
{
    return short_form(g, VANE_COUNTER, name, help, labels);
}

vane_metric vane_group_gauge(vane_group g, const char *name, const char *help, const char *labels)
{
    return short_form(g, VANE_GAUGE, name, help, labels);
}

vane_metric vane_group_histogram(vane_group g, const char *name, const char *help, const char *labels)
{
    return short_form(g, VANE_HISTOGRAM, name, help, labels);
}

vane_metric vane_stateset_new(const char *name, const char *help, const char *labels, const char *states)
{
    vane_metric_opts o = VANE_METRIC_OPTS_INIT;
    o.kind = VANE_STATESET;
    o.name = name;
    o.help = help;
    o.labels = labels;
    o.states = states;
    return vane_metric_new(&o, NULL);
}

/* ---- series ---- */

static bool table_grow(void)
{
    size_t cap = table_cap ? table_cap * 2 : 256;
    struct sdk_series **t = sdk_alloc(cap * sizeof *t);
    if (!t)
        return false;
    table_n = 0;
    for (size_t i = 0; i < table_cap; i++) {
        struct sdk_series *s = table[i];
        if (!s || s == TOMB)
            continue;
        size_t at = s->hash & (cap - 1);
        while (t[at])
            at = (at + 1) & (cap - 1);
        t[at] = s;
        table_n++;
    }
    sdk_free(table, table_cap * sizeof *table);
    table = t;
    table_cap = cap;
    return true;
}

static struct sdk_series **table_find(uint64_t hash, const char *key, size_t n)
{
    for (size_t at = hash & (table_cap - 1); table_cap && table[at]; at = (at + 1) & (table_cap - 1)) {
        struct sdk_series *s = table[at];
        if (s != TOMB && s->hash == hash && s->key_n == n && !memcmp(s->bytes, key, n))
            return &table[at];
    }
    return NULL;
}

/* How many slots, how aligned, and whether they survive fork. */
static void shape_of(const struct sdk_instrument *in, uint32_t *ret_n, uint32_t *ret_align, bool *ret_keep)
{
    uint32_t n = 1, align = 1;
    bool keep = in->f.kind == VANE_GAUGE || in->f.kind == VANE_STATESET;
    if (in->f.kind == VANE_GAUGE)
        n = 2;
    if (in->f.kind == VANE_HISTOGRAM) {
        uint32_t counts = in->f.n_bounds ? (uint32_t)in->f.n_bounds + 1 : 0;
        n = in->f.native ? SDK_H_CLASSIC + counts : SDK_H_COUNTS + counts;
        align = 8;
    }
    *ret_n = n;
    *ret_align = align;
    *ret_keep = keep;
}

/* Values back to zero. A directory keeps its chunks, with zero counts: the next owner has the same shape. */
static void slots_zero(uint32_t slot, uint32_t n, const struct sdk_instrument *in)
{
    uint32_t used = atomic_load_explicit(&sdk_shards_used, memory_order_acquire);
    for (uint32_t k = 0; k < used; k++) {
        _Atomic uint64_t *p = sdk_slot_of(k, slot);
        if (!p)
            continue;
        bool native = in->f.kind == VANE_HISTOGRAM && in->f.native;
        for (uint32_t i = 0; i < n; i++)
            if (!native || i < SDK_H_DIR || i >= SDK_H_CLASSIC)
                atomic_store_explicit(p + i, 0, memory_order_relaxed);
        for (_Atomic uint32_t *dir = native ? sdk_dir_at(p + SDK_H_DIR) : NULL; dir;) {
            for (uint32_t i = 0; i < SDK_DIR_ENTRIES; i++) {
                uint32_t e = atomic_load_explicit(&dir[i], memory_order_acquire);
                for (uint32_t j = 0; e && j < (in->schema > 3 ? 1u << in->schema : 8u); j++)
                    atomic_store_explicit(sdk_unit(e & SDK_DIR_UNIT) + j, 0, memory_order_relaxed);
            }
            uint32_t next = atomic_load_explicit(&dir[SDK_DIR_ENTRIES], memory_order_acquire);
            dir = next ? sdk_dir_at(sdk_unit(next)) : NULL;
        }
    }
}

static uint32_t slots_take(const struct sdk_instrument *in, uint32_t *ret_n)
{
    uint32_t n, align;
    bool keep;
    shape_of(in, &n, &align, &keep);
    *ret_n = n;
    uint8_t schema = in->f.kind == VANE_HISTOGRAM && in->f.native ? (uint8_t)(in->schema + 1) : 0;
    for (struct free_slots **at = &free_slots; *at; at = &(*at)->next) {
        struct free_slots *f = *at;
        if (f->n != n || f->keep != keep || f->schema != schema)
            continue;
        uint32_t slot = f->slot;
        *at = f->next;
        sdk_free(f, sizeof *f);
        slots_zero(slot, n, in);
        return slot;
    }
    return sdk_slots_new(n, align, keep);
}

static void slots_release(const struct sdk_series *s)
{
    uint32_t n, align;
    bool keep;
    shape_of(s->in, &n, &align, &keep);
    struct free_slots *f = s->slot ? sdk_alloc(sizeof *f) : NULL;
    if (!f)
        return; /* without memory the slots are lost, which their counter tells */
    f->slot = s->slot;
    f->n = s->n_slots;
    f->keep = keep;
    f->schema = s->in->f.kind == VANE_HISTOGRAM && s->in->f.native ? (uint8_t)(s->in->schema + 1) : 0;
    f->next = free_slots;
    free_slots = f;
}

/* Text of the labels into b. */
static void labels_text(struct sdk_buf *b, const struct sdk_instrument *in, const char *key, bool overflow)
{
    if (in->group) {
        size_t n = strlen(in->group->labels);
        sdk_put(b, in->group->labels, n ? n - 1 : 0); /* its comma is put by the next label */
    }
    if (overflow) {
        sdk_put_label(b, "otel_metric_overflow", "true", 4);
        return;
    }
    const char *at = key + 8;
    for (uint32_t i = 0; i < in->n_labels; i++) {
        size_t n = (uint8_t)*at++;
        sdk_put_label(b, in->labels[i], at, n);
        at += n;
    }
}

static void meta_write(struct sdk_series *s)
{
    const struct sdk_instrument *in = s->in;
    if (!sdk_mem_mapped())
        return;
    struct sdk_buf b;
    sdk_buf_init(&b, SDK_BLOCK);
    struct sdk_meta_record r = {
        .state = 1,
        .kind = (uint8_t)in->f.kind,
        .gauge_mode = (uint8_t)in->gauge_mode,
        .native = in->f.native,
        .schema = in->schema,
        .n_bounds = (uint16_t)in->f.n_bounds,
        .slot = s->slot,
        .n_slots = s->n_slots,
        .created_ms = s->created_ms,
        .buckets_max = in->buckets_max,
        .name_n = (uint16_t)strlen(in->f.name),
        .help_n = (uint16_t)strlen(in->f.help),
        .unit_n = (uint16_t)strlen(in->f.unit),
        .scope_n = (uint16_t)strlen(in->f.scope),
        .version_n = (uint16_t)strlen(in->f.scope_version),
        .labels_n = s->text_n,
    };
    sdk_put(&b, (const char *)&r, sizeof r);
    sdk_put(&b, (const char *)in->f.bounds, in->f.n_bounds * sizeof(double));
    const char *const strings[] = { in->f.name, in->f.help, in->f.unit, in->f.scope, in->f.scope_version };
    for (size_t i = 0; i < SDK_COUNT_OF(strings); i++)
        sdk_puts(&b, strings[i]);
    size_t states_at = b.n;
    for (size_t i = 0; i < in->f.n_states; i++) {
        sdk_puts(&b, in->f.states[i]);
        sdk_putc(&b, 0);
    }
    r.states_n = (uint16_t)(b.n - states_at);
    sdk_put(&b, sdk_series_text(s), s->text_n);
    while (b.n % 8)
        sdk_putc(&b, 0);
    r.bytes = (uint32_t)b.n;
    if (!b.failed) {
        memcpy(b.p, &r, sizeof r);
        char *at = sdk_meta_append(b.p, b.n);
        if (at)
            s->meta_state = (_Atomic uint8_t *)(void *)(at + offsetof(struct sdk_meta_record, state));
        else
            sdk_count(SDK_ALLOC_FAILURES, 1);
    }
    sdk_buf_free(&b);
}

static bool wants_exemplars(const struct sdk_instrument *in)
{
    if (sdk_cfg.exemplars != VANE_ON || in->flags & VANE_F_NO_EXEMPLARS)
        return false;
    return in->f.kind == VANE_HISTOGRAM ||
           ((in->f.kind == VANE_COUNTER || in->f.kind == VANE_FCOUNTER) && in->flags & VANE_F_EXEMPLARS);
}

static void info_publish(struct sdk_series *s)
{
    const struct sdk_instrument *in = s->in;
    struct sdk_slot_info *i = &sdk_slots.info[s->slot];
    uint32_t gen = atomic_load_explicit(&i->gen, memory_order_relaxed) + 1;
    s->gen = gen ? gen : 1;
    i->schema = in->schema;
    i->native = in->f.native;
    i->n_bounds = (uint16_t)in->f.n_bounds;
    if (in->f.kind == VANE_GAUGE)
        i->native = in->gauge_mode == VANE_GAUGE_RECENT || in->gauge_mode == VANE_GAUGE_LIVE_RECENT;
    if (in->f.kind == VANE_STATESET)
        i->n_bounds = (uint16_t)in->f.n_states;
    i->more = s;
    atomic_store_explicit(&i->gen, s->gen, memory_order_release);
}

static void series_free(struct sdk_series *s)
{
    sdk_free(s->ex, s->n_ex * sizeof *s->ex);
    sdk_free(s, sizeof *s + s->key_n + s->text_n + 1);
}

static void reap_locked(bool all)
{
    uint64_t now = sdk_mono_ns();
    if (!all && atomic_load(&sdk_observing))
        return; /* a callback's instrument may be among them */
    while (rest_first && (all || now - rest_first->freed_ns >= SDK_REST_NS)) {
        struct sdk_rest *r = rest_first;
        rest_first = r->next;
        if (!rest_first)
            rest_last = &rest_first;
        if (r->is_series) {
            struct sdk_series *s = (struct sdk_series *)(void *)r; /* its first member */
            if (!all)
                slots_release(s);
            series_free(s);
        } else {
            instrument_free((struct sdk_instrument *)(void *)r);
        }
    }
}

static struct sdk_series *series_make(struct sdk_instrument *in, const char *key, size_t key_n, uint64_t hash,
                                      bool overflow)
{
    static char text[SDK_TEXT_MAX]; /* under the lock */
    struct sdk_buf b = { .p = text, .cap = sizeof text, .max = sizeof text };
    labels_text(&b, in, key, overflow);
    if (b.failed)
        return NULL;
    struct sdk_series *s = sdk_alloc(sizeof *s + key_n + b.n + 1);
    if (!s)
        return NULL;
    s->in = in;
    s->hash = hash;
    s->overflow = overflow;
    s->key_n = (uint32_t)key_n;
    s->text_n = (uint32_t)b.n;
    s->created_ms = sdk_unix_ms_coarse();
    memcpy(s->bytes, key, key_n);
    memcpy(s->bytes + key_n, text, b.n);
    if (wants_exemplars(in)) {
        s->n_ex = in->f.kind == VANE_HISTOGRAM ? SDK_EX_HISTOGRAM : SDK_EX_COUNTER;
        s->ex = sdk_alloc(s->n_ex * sizeof *s->ex);
        s->n_ex = s->ex ? s->n_ex : 0;
    }
    bool ready = in->f.kind != VANE_HISTOGRAM || !in->f.native || sdk_units_prepare();
    s->slot = ready ? slots_take(in, &s->n_slots) : 0;
    if (!s->slot) {
        series_free(s);
        return NULL;
    }
    info_publish(s);
    meta_write(s);
    if (in->last)
        atomic_store_explicit(&in->last->next, s, memory_order_release);
    else
        atomic_store_explicit(&in->first, s, memory_order_release);
    in->last = s;
    in->n_series += !overflow;
    sdk_count(SDK_SERIES, 1);
    return s;
}

static struct sdk_series *series_overflow(struct sdk_instrument *in)
{
    sdk_count(SDK_SERIES_OVERFLOW, 1);
    if (!in->overflow) {
        char key[8] = "";
        in->overflow = series_make(in, key, sizeof key, 0, true);
    }
    return in->overflow;
}

/* Under the lock. */
static struct sdk_series *series_get(struct sdk_instrument *in, const char *key, size_t n, uint64_t hash)
{
    struct sdk_series **found = table_find(hash, key, n);
    if (found)
        return *found;
    if (in->n_series >= in->series_max ||
        atomic_load_explicit(&sdk_counters[SDK_SERIES], memory_order_relaxed) >= sdk_cfg.series_total_max)
        return series_overflow(in);
    if ((table_n + 1) * 3 > table_cap * 2 && !table_grow())
        return NULL;
    if (rest_first && pthread_mutex_trylock(&sdk_collect_mu) == 0) {
        reap_locked(false);
        pthread_mutex_unlock(&sdk_collect_mu);
    }
    struct sdk_series *s = series_make(in, key, n, hash, false);
    if (!s)
        return NULL;
    size_t at = hash & (table_cap - 1);
    while (table[at] && table[at] != TOMB)
        at = (at + 1) & (table_cap - 1);
    table_n += table[at] == NULL;
    table[at] = s;
    return s;
}

/* The clean key into key[SDK_KEY_MAX]; 0 when the number of values is wrong. */
static size_t key_make(char *key, const struct sdk_instrument *in, vane_metric m, vane_labels values)
{
    if (values.n != in->n_labels || (values.n && !values.v)) {
        sdk_count(SDK_BAD_LABELS, 1);
        return 0;
    }
    memcpy(key, &m.id, 8);
    size_t at = 8;
    for (size_t i = 0; i < values.n; i++) {
        size_t n = sdk_text(key + at + 1, VANE_VALUE_MAX, values.v[i], values.len ? values.len[i] : SIZE_MAX);
        key[at] = (char)n;
        at += 1 + n;
    }
    return at;
}

static struct sdk_series *bind_locked(vane_metric m, vane_labels values, vane_kind kind)
{
    static char key[SDK_KEY_MAX]; /* under the lock */
    struct sdk_instrument *in = instrument_of(m);
    if (!in || in->f.kind != kind) {
        sdk_count(SDK_STALE_HANDLES, 1);
        return NULL;
    }
    size_t n = key_make(key, in, m, values);
    return n ? series_get(in, key, n, sdk_hash(key, n)) : NULL;
}

static uint64_t series_id(const struct sdk_series *s)
{
    return s ? (uint64_t)s->gen << 32 | s->slot : 0;
}

uint64_t sdk_series_bind(vane_metric m, vane_labels values, vane_kind kind)
{
    if (!sdk_on())
        return 0;
    uint64_t id = 0;
    pthread_mutex_lock(&mu);
    if (sdk_on())
        id = series_id(bind_locked(m, values, kind));
    pthread_mutex_unlock(&mu);
    return id;
}

vane_counter vane_counter_bind(vane_metric m, vane_labels values)
{
    return (vane_counter){ sdk_series_bind(m, values, VANE_COUNTER) };
}

vane_fcounter vane_fcounter_bind(vane_metric m, vane_labels values)
{
    return (vane_fcounter){ sdk_series_bind(m, values, VANE_FCOUNTER) };
}

vane_updown vane_updown_bind(vane_metric m, vane_labels values)
{
    return (vane_updown){ sdk_series_bind(m, values, VANE_UPDOWN) };
}

vane_gauge vane_gauge_bind(vane_metric m, vane_labels values)
{
    return (vane_gauge){ sdk_series_bind(m, values, VANE_GAUGE) };
}

vane_histogram vane_histogram_bind(vane_metric m, vane_labels values)
{
    return (vane_histogram){ sdk_series_bind(m, values, VANE_HISTOGRAM) };
}

vane_stateset vane_stateset_bind(vane_metric m, vane_labels values)
{
    return (vane_stateset){ sdk_series_bind(m, values, VANE_STATESET) };
}

/* ---- the cache of the convenience calls ---- */

static SDK_COLD uint64_t cached_miss(vane_metric m, vane_labels values, vane_kind kind, uint64_t hash)
{
    struct sdk_tls *t = &sdk_tls;
    uint64_t id = 0;
    pthread_mutex_lock(&mu);
    struct sdk_series *s = sdk_on() ? bind_locked(m, values, kind) : NULL;
    id = series_id(s);
    pthread_mutex_unlock(&mu);
    if (!t->cache) {
        sdk_thread_hook();
        if (t->attached) /* somebody will free it */
            t->cache = sdk_alloc(sizeof *t->cache);
    }
    if (t->cache && s && s->hash == hash && !s->overflow)
        t->cache->e[hash % SDK_COUNT_OF(t->cache->e)] = (struct cache_entry){ hash, id, s };
    return id;
}

/* The generation first: while it is alive, so is the memory of its series. */
static inline bool entry_alive(const struct cache_entry *e, uint64_t hash)
{
    return e->hash == hash && e->id &&
           atomic_load_explicit(&sdk_slots.info[(uint32_t)e->id].gen, memory_order_acquire) == e->id >> 32;
}

/* The key of a series says exactly these values. Reads no byte of a value behind its NUL. */
static inline bool key_is(const struct sdk_series *s, vane_metric m, vane_labels values)
{
    const char *k = s->bytes + 8;
    uint64_t id;
    memcpy(&id, s->bytes, 8);
    if (id != m.id || s->in->n_labels != values.n)
        return false;
    for (size_t i = 0; i < values.n; i++) {
        const char *v = values.v[i];
        size_t n = (uint8_t)*k++, j = 0;
        if (n > 8) {
            if (strncmp(v, k, n))
                return false;
        } else {
            while (j < n && v[j] == k[j])
                j++;
            if (j < n)
                return false;
        }
        if (v[n])
            return false;
        k += n;
    }
    return true;
}

static SDK_HOT uint64_t cached_by_bytes(vane_metric m, vane_labels values, vane_kind kind, struct cache_entry *address,
                                        uint64_t at_hash)
{
    char key[520];
    size_t at = 8;
    memcpy(key, &m.id, 8);
    for (size_t i = 0; i < values.n; i++) {
        const char *v = values.v[i];
        size_t n = !v ? 0 : values.len ? values.len[i] : strlen(v);
        if (SDK_UNLIKELY(n > VANE_VALUE_MAX || at + 1 + n > sizeof key))
            return cached_miss(m, values, kind, 0);
        key[at++] = (char)n;
        if (n)
            memcpy(key + at, v, n);
        at += n;
    }
    uint64_t hash = sdk_hash(key, at);
    const struct sdk_metric_cache *c = sdk_tls.cache;
    if (SDK_LIKELY(c)) {
        const struct cache_entry *e = &c->e[hash % SDK_COUNT_OF(c->e)];
        if (SDK_LIKELY(entry_alive(e, hash)) && e->series->in->f.kind == kind && e->series->key_n == at &&
            !memcmp(e->series->bytes, key, at)) {
            if (address)
                *address = (struct cache_entry){ at_hash, e->id, e->series };
            return e->id;
        }
    }
    return cached_miss(m, values, kind, hash);
}

SDK_HOT uint64_t sdk_series_cached(vane_metric m, vane_labels values, vane_kind kind)
{
    struct sdk_metric_cache *c = sdk_tls.cache;
    if (values.n && !values.v)
        return cached_miss(m, values, kind, 0);
    if (SDK_UNLIKELY(!c || values.len || values.n > 8))
        return cached_by_bytes(m, values, kind, NULL, 0);
    static const uint64_t factors[8] = { 0x9E3779B97F4A7C15u, 0xC2B2AE3D27D4EB4Fu, 0x165667B19E3779F9u,
                                         0xD6E8FEB86659FD93u, 0xA0761D6478BD642Fu, 0xE7037ED1A0B428DBu,
                                         0x8EBC6AF09C88C6E3u, 0x589965CC75374CC3u };
    uint64_t h = m.id;
    bool null = false;
    for (size_t i = 0; i < values.n; i++) {
        h += (uintptr_t)values.v[i] * factors[i];
        null |= !values.v[i];
    }
    h ^= h >> 32;
    struct cache_entry *e = &c->by_address[h % SDK_COUNT_OF(c->by_address)];
    if (SDK_LIKELY(entry_alive(e, h) && !null) &&
        SDK_LIKELY(e->series->in->f.kind == kind && key_is(e->series, m, values)))
        return e->id;
    return cached_by_bytes(m, values, kind, null ? NULL : e, h);
}

static void metric_thread_exit(void)
{
    struct sdk_metric_cache *c = sdk_tls.cache;
    sdk_tls.cache = NULL;
    sdk_free(c, sizeof *c);
}

/* ---- removal ---- */

static void rest_add(struct sdk_rest *r, bool is_series)
{
    r->next = NULL;
    r->is_series = is_series;
    r->freed_ns = sdk_mono_ns();
    *rest_last = r;
    rest_last = &r->next;
}

static void series_bury(struct sdk_series *s)
{
    struct sdk_slot_info *i = &sdk_slots.info[s->slot];
    uint32_t gen = s->gen + 1;
    atomic_store_explicit(&i->gen, gen ? gen : 1, memory_order_release);
    atomic_store_explicit(&s->dead, true, memory_order_release);
    if (s->meta_state)
        atomic_store_explicit(s->meta_state, 2, memory_order_relaxed);
    sdk_count(SDK_SERIES, UINT64_MAX);
    rest_add(&s->rest, true);
}

static void series_unlink(struct sdk_instrument *in, struct sdk_series *s)
{
    _Atomic(struct sdk_series *) *at = &in->first;
    struct sdk_series *prev = NULL, *cur;
    while ((cur = atomic_load_explicit(at, memory_order_relaxed)) != s) {
        prev = cur;
        at = &cur->next;
    }
    atomic_store_explicit(at, atomic_load_explicit(&s->next, memory_order_relaxed), memory_order_release);
    if (in->last == s)
        in->last = prev;
}

vane_status vane_series_remove(vane_metric m, vane_labels values)
{
    static char key[SDK_KEY_MAX];
    if (!sdk_on())
        return VANE_E_STATE;
    pthread_mutex_lock(&mu);
    struct sdk_instrument *in = instrument_of(m);
    size_t n = in ? key_make(key, in, m, values) : 0;
    struct sdk_series **found = n ? table_find(sdk_hash(key, n), key, n) : NULL;
    vane_status st = !in ? VANE_E_STALE : !n ? VANE_E_ARG : !found ? VANE_E_STALE : VANE_OK;
    if (found) {
        struct sdk_series *s = *found;
        *found = TOMB;
        in->n_series--;
        series_unlink(in, s);
        series_bury(s);
    }
    pthread_mutex_unlock(&mu);
    return st;
}

vane_status vane_metric_free(vane_metric m)
{
    if (!sdk_on())
        return VANE_E_STATE;
    pthread_mutex_lock(&mu);
    struct sdk_instrument *in = instrument_of(m);
    if (in) {
        atomic_store_explicit(&in->dead, true, memory_order_release);
        atomic_store_explicit(&sdk_instruments[in->index], NULL, memory_order_release);
        struct sdk_series *next;
        for (struct sdk_series *s = atomic_load_explicit(&in->first, memory_order_relaxed); s; s = next) {
            next = atomic_load_explicit(&s->next, memory_order_relaxed);
            struct sdk_series **found = s->overflow ? NULL : table_find(s->hash, s->bytes, s->key_n);
            if (found)
                *found = TOMB;
            series_bury(s);
        }
        rest_add(&in->rest, false);
    }
    pthread_mutex_unlock(&mu);
    return in ? VANE_OK : VANE_E_STALE;
}

void sdk_metric_reap(void)
{
    pthread_mutex_lock(&mu);
    reap_locked(false);
    pthread_mutex_unlock(&mu);
}

/* ---- info ---- */

vane_status vane_info_set(const char *name, const char *help, const char *pairs)
{
    if (!sdk_on())
        return VANE_E_STATE;
    vane_metric_opts o = VANE_METRIC_OPTS_INIT;
    o.kind = VANE_INFO;
    o.name = name;
    o.help = help;
    char *text = pairs_text(pairs, false);
    if (!text)
        return VANE_E_ARG;
    vane_status st;
    vane_metric m = vane_metric_new(&o, &st), again = { 0 };
    pthread_mutex_lock(&mu);
    struct sdk_instrument *in = st ? NULL : instrument_of(m);
    if (in && in->info && strcmp(in->info, text)) { /* what collections read never changes: a new one takes its place */
        atomic_store_explicit(&in->dead, true, memory_order_release);
        atomic_store_explicit(&sdk_instruments[in->index], NULL, memory_order_release);
        rest_add(&in->rest, false);
        st = metric_make(&o, &again);
        in = st ? NULL : instrument_of(again);
    }
    if (in && !in->info) {
        in->info = text;
        text = NULL;
    }
    pthread_mutex_unlock(&mu);
    sdk_free_str(text);
    return st;
}

/* ---- life ---- */

/* Handles die at once; what calls under way may still look at is freed at the next start. */
static void metric_stop(void)
{
    pthread_mutex_lock(&mu);
    uint32_t n = atomic_load(&sdk_instruments_n);
    for (uint32_t i = 0; i < n; i++) {
        struct sdk_instrument *in = atomic_load(&sdk_instruments[i]);
        for (struct sdk_series *s = in ? atomic_load(&in->first) : NULL; s; s = atomic_load(&s->next))
            atomic_fetch_add(&sdk_slots.info[s->slot].gen, 1);
    }
    pthread_mutex_unlock(&mu);
}

static vane_status metric_start(void)
{
    pthread_mutex_lock(&sdk_collect_mu);
    pthread_mutex_lock(&mu);
    uint32_t n = atomic_load(&sdk_instruments_n);
    for (uint32_t i = 0; i < n; i++) {
        struct sdk_instrument *in = atomic_load(&sdk_instruments[i]);
        struct sdk_series *next;
        for (struct sdk_series *s = in ? atomic_load(&in->first) : NULL; s; s = next) {
            next = atomic_load(&s->next);
            series_free(s);
        }
        instrument_free(in);
        atomic_store(&sdk_instruments[i], NULL);
    }
    atomic_store(&sdk_instruments_n, 0);
    reap_locked(true);
    while (free_slots) {
        struct free_slots *f = free_slots;
        free_slots = f->next;
        sdk_free(f, sizeof *f);
    }
    for (uint32_t i = 0; i < n_groups; i++)
        group_free(groups[i]);
    n_groups = 0;
    sdk_free(table, table_cap * sizeof *table);
    table = NULL;
    table_n = table_cap = 0;
    pthread_mutex_unlock(&mu);
    pthread_mutex_unlock(&sdk_collect_mu);
    return VANE_OK;
}

static void metric_fork_prepare(void)
{
    pthread_mutex_lock(&sdk_collect_mu);
    pthread_mutex_lock(&mu);
}

static void metric_fork_parent(void)
{
    pthread_mutex_unlock(&mu);
    pthread_mutex_unlock(&sdk_collect_mu);
}

/* The forking thread took them, so in the child they are its own. */
static void metric_fork_child(void)
{
    pthread_mutex_unlock(&mu);
    pthread_mutex_unlock(&sdk_collect_mu);
}

const struct sdk_module sdk_metric_module = {
    .name = "metric",
    .start = metric_start,
    .stop = metric_stop,
    .fork_prepare = metric_fork_prepare,
    .fork_parent = metric_fork_parent,
    .fork_child = metric_fork_child,
    .thread_exit = metric_thread_exit,
};
