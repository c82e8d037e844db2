/* What a target remembers between scrapes, and the work on one exposition.
 *
 * The same text comes every interval, nearly always in the same order. So the parser is told which line to expect
 * (expo_hint); when it is there, the line costs one comparison, no hashing, no labels. A line out of order costs a hash
 * lookup; only a new line is lexed into labels, merged with the target's, relabelled and given to the store to be named.
 * Texts and labels live in an arena that is rewritten when more than half of it is dead.
 *
 * Generations: c->gen counts scrapes. A series with tracked == tracked_gen was written by the last good scrape; when this
 * one does not bring it, it gets a staleness marker. */
#include <stdio.h>

#include "base/stats.h"
#include "scrape/scrape_work.h"

struct stat scrape_stat_sample_limit = STAT_COUNTER("prometheus_target_scrapes_exceeded_sample_limit_total",
                                                    "Scrapes that hit the sample limit and were rejected.", "");
struct stat scrape_stat_body_limit = STAT_COUNTER("prometheus_target_scrapes_exceeded_body_size_limit_total",
                                                  "Scrapes that hit the body size limit.", "");
struct stat scrape_stat_duplicates = STAT_COUNTER("prometheus_target_scrapes_sample_duplicate_timestamp_total",
                                                  "Samples dropped because their series came twice in one scrape.", "");
struct stat scrape_stat_scrapes = STAT_COUNTER("vane_scrape_total", "Scrapes that were carried out.", "");
struct stat scrape_stat_failed = STAT_COUNTER("vane_scrape_failed_total", "Scrapes that failed (up is 0).", "");
struct stat scrape_stat_cache_misses =
    STAT_COUNTER("vane_scrape_cache_misses_total", "Exposition lines that were not remembered.", "");
struct stat scrape_stat_target_limit = STAT_COUNTER("prometheus_target_scrape_pool_exceeded_target_limit_total",
                                                    "Times scrape pools hit the target limit.", "");
struct stat scrape_stat_label_limit = STAT_COUNTER("prometheus_target_scrape_pool_exceeded_label_limits_total",
                                                   "Scrapes that hit one of the label limits.", "");
struct stat scrape_stat_bucket_limit =
    STAT_COUNTER("prometheus_target_scrapes_exceeded_native_histogram_bucket_limit_total",
                 "Scrapes that hit the native histogram bucket limit and were rejected.", "");

void cache_init(struct cache *c)
{
    *c = (struct cache){ 0 };
    arena_init(&c->a, 0);
}

static void meta_free(struct metric_meta *m)
{
    mem_free((void *)(uintptr_t)m->help.p);
    mem_free((void *)(uintptr_t)m->unit.p);
}

void cache_deinit(struct cache *c)
{
    map_each (meta_map, slot, &c->meta) {
        meta_free(&slot->value.meta);
        mem_free((void *)(uintptr_t)slot->key.p);
    }
    meta_map_free(&c->meta);
    line_map_free(&c->by_raw);
    series_map_free(&c->by_labels);
    vec_free(&c->lines);
    vec_free(&c->parts);
    vec_free(&c->series);
    vec_free(&c->free_lines);
    vec_free(&c->free_series);
    vec_free(&c->order);
    vec_free(&c->order_next);
    arena_deinit(&c->a);
}

/* ---- labels without copies: most of their bytes stand in the line's own text or in the target's labels ---- */

struct home {             /* where bytes may be found again */
    str from, to;         /* a text and its copy */
    struct labels target; /* live as long as the cache */
};

static bool inside(str s, str whole)
{
    return s.n && (uintptr_t)s.p >= (uintptr_t)whole.p && (uintptr_t)s.p + s.n <= (uintptr_t)whole.p + whole.n;
}

static str rehome_str(struct cache *c, str s, const struct home *h, size_t *copied)
{
    if (str_eq(s, LABEL_NAME))
        return LABEL_NAME;
    if (inside(s, h->from))
        return (str){ h->to.p + (s.p - h->from.p), s.n };
    labels_each (l, h->target) {
        if (str_eq(s, l->name))
            return l->name;
        if (str_eq(s, l->value))
            return l->value;
    }
    *copied += s.n + 1;
    return arena_str(&c->a, s);
}

/* A label set of the cache's own; counts what it costs. */
static struct labels rehome(struct cache *c, struct labels ls, const struct home *h)
{
    struct label *p = arena_array(&c->a, struct label, ls.n);
    size_t copied = ls.n * sizeof(*p);
    for (size_t i = 0; i < ls.n; i++) {
        p[i].name = rehome_str(c, ls.p[i].name, h, &copied);
        p[i].value = rehome_str(c, ls.p[i].value, h, &copied);
    }
    c->live_bytes += copied;
    return (struct labels){ p, ls.n };
}

/* ---- one exposition ---- */

enum err work_fail(struct work *w, enum err e, const char *fmt, ...)
{
    struct err_text et;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(et.msg, sizeof(et.msg), fmt, ap);
    va_end(ap);
    snprintf(w->o->error, sizeof(w->o->error), "%.250s", et.msg);
    return e;
}

/* Is `name=""` written in the raw text? With honor_labels that keeps the target's label away. */
static bool raw_has_empty(str raw, str name)
{
    for (size_t from = 0; from < raw.n;) {
        str rest = str_skip(raw, from);
        size_t at = str_find(rest, name);
        if (at == SIZE_MAX)
            return false;
        str after = str_skip(rest, at + name.n);
        bool starts = at && strchr("{, \"", rest.p[at - 1]);
        if (starts && (str_has_prefix(after, STR("=\"\"")) || str_has_prefix(after, STR("\"=\"\""))))
            return true;
        from += at + 1;
    }
    return false;
}

static void merge_target_labels(struct work *w, struct label_builder *b, struct labels own)
{
    const struct scrape_config *cfg = w->t->cfg;
    labels_each (l, w->t->labels) {
        str mine = labels_get(own, l->name);
        if (cfg->honor_labels) {
            if (!mine.p && !(w->pb ? expo_pb_has_empty(w->pb, l->name) : raw_has_empty(w->x->series, l->name)))
                lb_set(b, l->name, l->value);
            continue;
        }
        if (mine.n) {
            str name = l->name;
            do
                name = arena_printf(w->a, "exported_" STR_FMT, STR_ARG(name));
            while (labels_has(own, name) || labels_has(w->t->labels, name) || lb_get(b, name).n);
            lb_set(b, name, mine);
        }
        lb_set(b, l->name, l->value);
    }
}

static enum err check_limits(struct work *w, struct labels ls)
{
    const struct scrape_config *cfg = w->t->cfg;
    str name = str_take(labels_name(ls), 50);
    if (cfg->label_limit && ls.n > cfg->label_limit) {
        stat_add(&scrape_stat_label_limit, 1);
        return work_fail(w, ERR_LIMIT,
                         "label_limit exceeded (metric: \"" STR_FMT "\", number of labels: %zu, limit: %llu)",
                         STR_ARG(name), ls.n, (unsigned long long)cfg->label_limit);
    }
    labels_each (l, ls) {
        if (cfg->label_name_length_limit && l->name.n > cfg->label_name_length_limit) {
            stat_add(&scrape_stat_label_limit, 1);
            return work_fail(w, ERR_LIMIT,
                             "label_name_length_limit exceeded (metric: \"" STR_FMT "\", label name: \"" STR_FMT
                             "\", length: %zu, limit: %llu)",
                             STR_ARG(name), STR_ARG(str_take(l->name, 50)), l->name.n,
                             (unsigned long long)cfg->label_name_length_limit);
        }
        if (cfg->label_value_length_limit && l->value.n > cfg->label_value_length_limit) {
            stat_add(&scrape_stat_label_limit, 1);
            return work_fail(w, ERR_LIMIT,
                             "label_value_length_limit exceeded (metric: \"" STR_FMT "\", label name: \"" STR_FMT
                             "\", length: %zu, limit: %llu)",
                             STR_ARG(name), STR_ARG(str_take(l->name, 50)), l->value.n,
                             (unsigned long long)cfg->label_value_length_limit);
        }
    }
    return OK;
}

static enum err check_names(struct work *w, struct labels ls)
{
    bool legacy = w->t->cfg->names == NAMES_LEGACY;
    str name = labels_name(ls);
    if (!name.n)
        return work_fail(w, ERR_INVALID, "missing metric name (__name__ label)");
    bool ok = legacy ? labels_valid_metric_name(name) : str_utf8_ok(name);
    labels_each (l, ls)
        ok = ok && (!legacy || labels_valid_name(l->name)) && str_utf8_ok(l->value);
    str shown = w->pb ? name : w->x->series;
    return ok ? OK
              : work_fail(w, ERR_INVALID, "invalid metric name or label names: " STR_FMT,
                          STR_ARG(str_take(shown, 150)));
}

static uint32_t series_slot(struct cache *c, struct labels ls, const struct home *h)
{
    bool is_new;
    uint32_t *slot = series_map_put(&c->by_labels, labels_hash128(ls, 0), &is_new);
    if (!is_new)
        return *slot;
    struct cache_series s = { .labels = rehome(c, ls, h), .last_ts_ms = INT64_MIN };
    c->n_series++;
    if (c->free_series.n) {
        *slot = c->free_series.p[--c->free_series.n];
        c->series.p[*slot] = s;
    } else {
        *slot = (uint32_t)c->series.n;
        vec_push(&c->series, s);
    }
    return *slot;
}

/* raw: in the cache's arena already. */
static uint32_t line_slot(struct cache *c, str raw, uint32_t series)
{
    struct cache_line line = { .raw = raw, .series = series };
    uint32_t id;
    c->live_bytes += raw.n;
    c->n_lines++;
    if (c->free_lines.n) {
        id = c->free_lines.p[--c->free_lines.n];
        c->lines.p[id] = line;
    } else {
        id = (uint32_t)c->lines.n;
        vec_push(&c->lines, line);
    }
    *line_map_put(&c->by_raw, line.raw, NULL) = id;
    if (series != NO_SERIES)
        c->series.p[series].n_lines++;
    return id;
}

/* Labels of a line -> labels of its series: the target's labels, relabelling, limits. Empty: it is dropped. */
static enum err series_labels(struct work *w, struct labels own, struct labels *ret)
{
    struct label_builder b;
    lb_init(&b, w->a);
    lb_reset(&b, own);
    merge_target_labels(w, &b, own);
    bool kept = relabel_apply(w->t->cfg->metric_relabel, &b);
    *ret = kept ? lb_labels(&b) : LABELS_NONE;
    if (ret->n) {
        TRY(check_names(w, *ret));
        TRY(check_limits(w, *ret));
    }
    return OK;
}

enum err work_line_add(struct work *w, str raw, struct labels own, uint32_t *ret)
{
    struct labels ls;
    TRY(series_labels(w, own, &ls));
    struct home h = { .from = raw, .to = arena_str(&w->c->a, raw), .target = w->t->labels };
    if (ls.n == 0) {
        *ret = line_slot(w->c, h.to, NO_SERIES);
        return OK;
    }
    *ret = line_slot(w->c, h.to, series_slot(w->c, ls, &h));
    w->o->added++;
    return OK;
}

void work_line_ignored(struct work *w, str raw, uint32_t *ret)
{
    *ret = line_slot(w->c, arena_str(&w->c->a, raw), NO_SERIES);
}

/* A line not seen before. */
static enum err line_new(struct work *w, uint32_t *ret)
{
    struct labels own;
    struct err_text et;
    stat_add(&scrape_stat_cache_misses, 1);
    if (w->pb ? expo_pb_labels(w->pb, w->a, &own, &et) : expo_labels(w->x, w->a, &own, &et))
        return work_fail(w, ERR_INVALID, "%.240s", et.msg);
    if (w->converts)
        return nhcb_line_new(w, own, ret);
    return work_line_add(w, w->x->series, own, ret);
}

static enum err line_find(struct work *w, uint32_t *ret)
{
    struct cache *c = w->c;
    if (w->pos < c->order.n) {
        uint32_t id = c->order.p[w->pos];
        if (str_eq(c->lines.p[id].raw, w->x->series)) {
            w->pos++;
            *ret = id;
            return OK;
        }
    }
    uint32_t *id = line_map_get(&c->by_raw, w->x->series);
    if (!id)
        return line_new(w, ret);
    *ret = *id;
    if (c->lines.p[*id].gen == c->gen - 1) /* go on from where it stood */
        w->pos = c->lines.p[*id].pos + 1;
    return OK;
}

size_t work_exemplars(struct work *w, int64_t ts_ms, struct exemplar **ret)
{
    bool has_ts;
    *ret = NULL;
    if (!w->x->has_exemplar)
        return 0;
    if (w->pb)
        return expo_pb_exemplars(w->pb, w->a, ts_ms, ret);
    struct exemplar *ex = arena_new(w->a, struct exemplar);
    if (expo_exemplar(w->x, w->a, ex, &has_ts, NULL) != OK)
        return 0;
    if (!has_ts)
        ex->ts_ms = ts_ms;
    *ret = ex;
    return 1;
}

int64_t work_start_ms(struct work *w)
{
    enum metric_type t = w->x->type;
    if (w->pb)
        return w->pb->start_ms;
    bool may =
        w->x->format == EXPO_OPENMETRICS && (t == METRIC_COUNTER || t == METRIC_HISTOGRAM || t == METRIC_SUMMARY);
    return may ? expo_start_ms(w->x) : 0;
}

void work_see_line(struct work *w, uint32_t id)
{
    struct cache *c = w->c;
    struct cache_line *line = &c->lines.p[id];
    if (line->gen == c->gen)
        return;
    line->gen = c->gen;
    line->pos = (uint32_t)c->order_next.n;
    w->n_seen_lines++;
    vec_push(&c->order_next, id);
}

bool work_take(struct work *w, uint32_t id, const struct taken *s, struct pending **ret)
{
    struct cache *c = w->c;
    const struct scrape_config *cfg = w->t->cfg;
    uint32_t series = c->lines.p[id].series;
    w->o->scraped++;
    work_see_line(w, id);
    if (series == NO_SERIES)
        return false;
    struct cache_series *cs = &c->series.p[series];
    bool own_ts = s->has_ts && cfg->honor_timestamps;
    int64_t ts = own_ts ? s->ts_ms : w->t->scrape_ms;
    if (cs->gen == c->gen && cs->last_ts_ms == ts) { /* twice in this scrape: the first one counts */
        stat_add(&scrape_stat_duplicates, 1);
        return false;
    }
    cs->gen = c->gen;
    cs->last_ts_ms = ts;
    cs->is_hist = s->h != NULL;
    w->o->post++;
    if (cfg->sample_limit && w->o->post > cfg->sample_limit)
        return false; /* counted to the end, refused then */
    if ((!own_ts || cfg->track_timestamps_staleness) && cs->tracked != c->gen) {
        w->n_kept += c->tracked_gen && cs->tracked == c->tracked_gen;
        cs->tracked_before = cs->tracked;
        cs->tracked = c->gen;
        w->n_tracked++;
    }
    struct pending p = { .series = series, .s = { ts, s->value }, .h = s->h };
    avec_push(w->a, &w->out, p);
    *ret = &vec_last(&w->out);
    return true;
}

static enum err take_sample(struct work *w)
{
    uint32_t id = 0;
    struct pending *p;
    TRY(line_find(w, &id));
    if (w->converts) {
        bool done;
        TRY(nhcb_take(w, id, &done));
        if (done)
            return OK;
    }
    struct taken s = { w->x->has_ts, w->x->ts_ms, w->x->value, w->x->entry == EXPO_HISTOGRAM ? w->pb->hist : NULL };
    if (s.h && w->c->lines.p[id].series != NO_SERIES)
        TRY(work_limit_histogram(w, &s.h));
    if (!work_take(w, id, &s, &p))
        return OK;
    p->start_ms = work_start_ms(w);
    if (__builtin_expect(w->x->has_exemplar, 0))
        p->n_exemplars = work_exemplars(w, p->s.ts_ms, &p->exemplars);
    return OK;
}

/* HELP, TYPE, UNIT: remember what changed and tell the store. */
static void take_meta(struct work *w, enum expo_entry e)
{
    struct meta_map *m = &w->c->meta;
    struct cache_meta *cm = meta_map_get(m, w->x->name);
    str help = e != EXPO_HELP ? STR_NONE : w->pb ? w->x->text : expo_help(w->x, w->a);
    if (cm && ((e == EXPO_TYPE && cm->meta.type == w->x->type) || (e == EXPO_HELP && str_eq(cm->meta.help, help)) ||
               (e == EXPO_UNIT && str_eq(cm->meta.unit, w->x->text))))
        return;
    if (!cm)
        cm = meta_map_put(m, mem_dup(w->x->name), NULL);
    if (e == EXPO_TYPE) {
        cm->meta.type = w->x->type;
    } else {
        str *field = e == EXPO_HELP ? &cm->meta.help : &cm->meta.unit;
        mem_free((void *)(uintptr_t)field->p);
        *field = mem_dup(e == EXPO_HELP ? help : w->x->text);
    }
    str name = arena_str(w->a, w->x->name);
    for (size_t i = 0; i < w->families.n; i++)
        if (i + 3 >= w->families.n && str_eq(w->families.p[i].name, name))
            return;
    struct batch_family f = { .name = name };
    avec_push(w->a, &w->families, f);
}

static enum expo_entry next_entry(struct work *w)
{
    struct cache *c = w->c;
    if (w->pb)
        return expo_pb_next(w->pb);
    while (w->converts && w->pos < c->order.n && nhcb_is_key(c->lines.p[c->order.p[w->pos]].raw))
        w->pos++;
    expo_hint(w->x, w->pos < c->order.n ? c->lines.p[c->order.p[w->pos]].raw : STR_NONE);
    return expo_next(w->x);
}

static enum err read_body(struct work *w)
{
    for (;;) {
        enum expo_entry e = next_entry(w);
        if (__builtin_expect(e == EXPO_SAMPLE || e == EXPO_HISTOGRAM, 1))
            TRY(take_sample(w));
        else if (e == EXPO_HELP || e == EXPO_TYPE || e == EXPO_UNIT)
            take_meta(w, e);
        else if (e == EXPO_END)
            break;
        else if (e == EXPO_ERROR)
            return work_fail(w, ERR_PARSE, "%.240s", w->x->error.msg);
    }
    if (w->converts)
        TRY(nhcb_flush(w));
    if (w->t->cfg->sample_limit && w->o->post > w->t->cfg->sample_limit) {
        stat_add(&scrape_stat_sample_limit, 1);
        return work_fail(w, ERR_LIMIT, "sample limit exceeded");
    }
    return OK;
}

/* ---- housekeeping ---- */

static void line_drop(struct cache *c, uint32_t id)
{
    struct cache_line *l = &c->lines.p[id];
    line_map_del(&c->by_raw, l->raw);
    c->dead_bytes += l->raw.n;
    c->n_lines--;
    if (l->series != NO_SERIES) {
        struct cache_series *s = &c->series.p[l->series];
        if (--s->n_lines == 0) {
            series_map_del(&c->by_labels, labels_hash128(s->labels, 0));
            c->dead_bytes += s->labels.n * sizeof(struct label);
            c->n_series--;
            *s = (struct cache_series){ 0 };
            vec_push(&c->free_series, l->series);
        }
    }
    *l = (struct cache_line){ 0 };
    if (id < c->parts.n)
        c->parts.p[id] = (struct cache_part){ 0 };
    vec_push(&c->free_lines, id);
}

/* Copy what lives into a new arena: each line's text, and with the first line of a series its labels. The old arena
 * is there until the end, so that texts can still be found in it. */
static void cache_compact(struct cache *c, struct labels target)
{
    struct arena old = c->a;
    arena_init(&c->a, 0);
    line_map_clear(&c->by_raw);
    c->live_bytes = c->dead_bytes = 0;
    AUTO_FREE bool *done = mem_zalloc(c->series.n + 1);
    for (uint32_t i = 0; i < c->lines.n; i++) {
        struct cache_line *l = &c->lines.p[i];
        if (!l->raw.p)
            continue;
        struct home h = { .from = l->raw, .to = arena_str(&c->a, l->raw), .target = target };
        l->raw = h.to;
        c->live_bytes += h.to.n;
        *line_map_put(&c->by_raw, l->raw, NULL) = i;
        if (l->series != NO_SERIES && !done[l->series]) {
            struct cache_series *s = &c->series.p[l->series];
            s->labels = rehome(c, s->labels, &h);
            done[l->series] = true;
        }
    }
    arena_deinit(&old);
}

/* After a good scrape: forget lines that did not come. Called when nothing refers to labels any more. */
static void cache_sweep(struct cache *c, size_t n_seen_lines, struct labels target)
{
    if (n_seen_lines != c->n_lines)
        for (uint32_t i = 0; i < c->lines.n; i++)
            if (c->lines.p[i].raw.p && c->lines.p[i].gen != c->gen)
                line_drop(c, i);
    if (c->dead_bytes > (64u << 10) && c->dead_bytes > c->live_bytes / 2)
        cache_compact(c, target);
}

/* After failed scrapes: what they brought in vain must not pile up. Keeps the lines of the last good one. */
static void cache_trim(struct cache *c, struct labels target)
{
    if (c->n_lines <= c->order.n + 100000)
        return;
    c->gen++;
    for (size_t i = 0; i < c->order.n; i++)
        c->lines.p[c->order.p[i]].gen = c->gen;
    cache_sweep(c, c->order.n, target);
}

static void order_swap(struct cache *c)
{
    uint32_t *p = c->order.p;
    size_t n = c->order.n, cap = c->order.cap;
    c->order.p = c->order_next.p, c->order.n = c->order_next.n, c->order.cap = c->order_next.cap;
    c->order_next.p = p, c->order_next.n = n, c->order_next.cap = cap;
}

/* ---- the batch ---- */

static void add_series(struct work *w, struct batch *b, struct labels ls, uint64_t *ref, const struct sample *s)
{
    struct batch_series bs = { .labels = ls, .ref = ref, .samples = s, .n_samples = 1 };
    avec_push(w->a, &b->series, bs);
    b->n_samples++;
}

static void add_hist_marker(struct work *w, struct batch *b, struct cache_series *s, int64_t ts_ms)
{
    struct histogram *h = arena_new(w->a, struct histogram);
    struct hist_sample *m = arena_new(w->a, struct hist_sample);
    h->sum = f64_from_bits(STALE_NAN_BITS);
    *m = (struct hist_sample){ ts_ms, h };
    struct batch_series bs = { .labels = s->labels, .ref = &s->ref, .hists = m, .n_hists = 1 };
    avec_push(w->a, &b->series, bs);
    b->n_samples++;
}

static void add_markers(struct work *w, struct batch *b, bool all)
{
    struct cache *c = w->c;
    int64_t ts = w->t->scrape_ms;
    if (!c->tracked_gen || (!all && w->n_kept == c->n_tracked))
        return;
    for (size_t i = 0; i < c->series.n; i++) {
        struct cache_series *s = &c->series.p[i];
        bool was = s->n_lines &&
                   (s->tracked == c->tracked_gen || (s->tracked == c->gen && s->tracked_before == c->tracked_gen));
        if (!was || (!all && s->tracked == c->gen))
            continue;
        if (s->is_hist) {
            add_hist_marker(w, b, s, ts);
            continue;
        }
        struct sample *m = arena_new(w->a, struct sample);
        *m = (struct sample){ ts, f64_from_bits(STALE_NAN_BITS) };
        add_series(w, b, s->labels, &s->ref, m);
    }
}

static void add_pending(struct work *w, struct batch *b)
{
    avec_reserve(w->a, &b->series, w->out.n + 64);
    for (size_t i = 0; i < w->out.n; i++) {
        struct pending *p = &w->out.p[i];
        struct cache_series *s = &w->c->series.p[p->series];
        struct batch_series bs = { .labels = s->labels, .ref = &s->ref };
        if (p->h) {
            struct hist_sample *hs = arena_new(w->a, struct hist_sample);
            *hs = (struct hist_sample){ p->s.ts_ms, p->h };
            bs.hists = hs;
            bs.n_hists = 1;
        } else {
            bs.samples = &p->s;
            bs.n_samples = 1;
        }
        if (p->start_ms)
            bs.start_ms = &p->start_ms;
        bs.exemplars = p->exemplars;
        bs.n_exemplars = p->n_exemplars;
        b->n_exemplars += p->n_exemplars;
        avec_push(w->a, &b->series, bs);
    }
    b->n_samples += w->out.n;
    for (size_t i = 0; i < w->families.n; i++) {
        const struct cache_meta *m = meta_map_get(&w->c->meta, w->families.p[i].name);
        if (m)
            w->families.p[i].meta = m->meta;
    }
    b->families.p = w->families.p;
    b->families.n = b->families.cap = w->families.n;
}

static const char *const report_names[REPORT_N] = {
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
};

static struct labels report_labels(struct work *w, unsigned i)
{
    struct label_builder b;
    lb_init(&b, w->a);
    lb_reset(&b, w->t->labels);
    lb_set(&b, LABEL_NAME, str_c(report_names[i]));
    return lb_labels(&b);
}

static void add_report(struct work *w, struct batch *b, const double values[REPORT_N])
{
    bool extra = w->t->s->extra_metrics || w->t->cfg->extra_metrics == TRI_TRUE;
    for (unsigned i = 0; i < (extra ? REPORT_N : REPORT_TIMEOUT); i++) {
        struct sample *s = arena_new(w->a, struct sample);
        *s = (struct sample){ w->t->scrape_ms, values[i] };
        add_series(w, b, report_labels(w, i), &w->t->report_ref[i], s);
    }
}

static enum err sink_append(struct work *w, struct batch *b)
{
    struct scrape_sink *sink = w->t->s->sink;
    return b->series.n || b->families.n ? sink->append(sink, b) : OK;
}

static void report_values(struct work *w, double v[REPORT_N])
{
    const struct target *t = w->t;
    v[REPORT_UP] = w->o->error[0] == 0;
    v[REPORT_DURATION] = (double)(clock_mono_ns(t->s->clock) - t->start_ns) / 1e9;
    v[REPORT_SCRAPED] = (double)w->o->scraped;
    v[REPORT_POST] = (double)w->o->post;
    v[REPORT_ADDED] = (double)w->o->added;
    v[REPORT_TIMEOUT] = (double)t->timeout_ms / 1e3;
    v[REPORT_LIMIT] = (double)t->cfg->sample_limit;
    v[REPORT_BODY] = w->o->body_bytes ? (double)w->o->body_bytes : t->fetch_err == ERR_LIMIT ? -1 : 0;
}

/* Format of the body, then the body. */
static enum err process_body(struct work *w)
{
    struct target *t = w->t;
    struct err_text warn = { .msg = "" }, et = { .msg = "" };
    enum expo_format format;
    if (t->forced_now[0])
        return work_fail(w, ERR_LIMIT, "%s", t->forced_now);
    if (t->fetch_err == ERR_LIMIT)
        stat_add(&scrape_stat_body_limit, 1);
    if (t->fetch_err)
        return work_fail(w, t->fetch_err, "%s",
                         t->fetch_err == ERR_LIMIT ? "body size limit exceeded" : t->fetch_error);
    if (t->status != 200)
        return work_fail(w, ERR_EXEC, "server returned HTTP status %d %s", t->status, http_status_text(t->status));
    w->o->body_bytes = t->body.n;
    if (expo_format_select(t->content_type, t->cfg->fallback_protocol, &format, &warn, &et))
        return work_fail(w, ERR_UNSUPPORTED, "%.240s", et.msg);
    if (format != EXPO_PROTOBUF) {
        w->converts = t->cfg->convert_classic == TRI_TRUE;
        expo_init(w->x, format, t->body);
        return read_body(w);
    }
    struct expo_pb pb;
    struct expo_pb_options opt = { .native = t->cfg->native_histograms == TRI_TRUE,
                                   .classic_too = t->cfg->always_classic == TRI_TRUE,
                                   .nhcb = t->cfg->convert_classic == TRI_TRUE };
    expo_pb_init(&pb, t->body, opt, w->a);
    w->pb = &pb;
    w->x = &pb.e;
    enum err e = read_body(w);
    expo_pb_deinit(&pb);
    w->pb = NULL;
    w->x = &w->text;
    return e;
}

/* The batch of a failed scrape: nothing but markers and the report. */
static void append_failure(struct work *w)
{
    struct batch b = { .a = w->a };
    double values[REPORT_N];
    stat_add(&scrape_stat_failed, 1);
    add_markers(w, &b, true);
    report_values(w, values);
    add_report(w, &b, values);
    if (sink_append(w, &b) != OK)
        LOG_WARN("scrape report could not be stored", "target", LOG_STR(w->t->url));
    w->c->tracked_gen = 0;
    w->c->n_tracked = 0;
}

static enum err append_success(struct work *w)
{
    struct batch b = { .a = w->a };
    double values[REPORT_N];
    add_pending(w, &b);
    add_markers(w, &b, false);
    report_values(w, values);
    add_report(w, &b, values);
    enum err e = sink_append(w, &b);
    if (e)
        return work_fail(w, e, "samples could not be stored: %s", err_describe(e));
    w->c->tracked_gen = w->c->gen;
    w->c->n_tracked = w->n_tracked;
    return OK;
}

void target_process(struct target *t, struct arena *scratch, struct scrape_outcome *ret)
{
    struct work w = { .t = t, .c = &t->cache, .a = scratch, .o = ret };
    struct cache *c = &t->cache;
    *ret = (struct scrape_outcome){ 0 };
    w.x = &w.text;
    w.nhcb.h.a = scratch;
    mtx_lock(&t->cache_mu);
    if (++c->gen == 0)
        c->gen = 1;
    stat_add(&scrape_stat_scrapes, 1);
    vec_clear(&c->order_next);
    avec_reserve(scratch, &w.out, c->order.n);
    enum err e = process_body(&w);
    e = e ? e : append_success(&w);
    if (e)
        append_failure(&w);
    else
        cache_sweep(c, w.n_seen_lines, t->labels);
    if (e)
        cache_trim(c, t->labels);
    else
        order_swap(c); /* what is expected next time is what came this time */
    t->has_report = true;
    t->newest_ms = t->scrape_ms;
    mtx_unlock(&t->cache_mu);
}

void target_finish(struct target *t, struct arena *scratch)
{
    struct scrape_outcome o = { 0 };
    struct work w = { .t = t, .c = &t->cache, .a = scratch, .o = &o };
    struct batch b = { .a = scratch };
    mtx_lock(&t->cache_mu);
    t->scrape_ms = MAX(clock_now_ms(t->s->clock), t->newest_ms + 1);
    if (++t->cache.gen == 0)
        t->cache.gen = 1;
    add_markers(&w, &b, true);
    if (t->has_report) {
        double stale[REPORT_N];
        for (unsigned i = 0; i < REPORT_N; i++)
            stale[i] = f64_from_bits(STALE_NAN_BITS);
        add_report(&w, &b, stale);
    }
    if (sink_append(&w, &b) != OK)
        LOG_WARN("staleness markers could not be stored: the target's series end by their age", "target",
                 LOG_STR(t->url));
    t->cache.tracked_gen = 0;
    mtx_unlock(&t->cache_mu);
}
