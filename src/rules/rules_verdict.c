/* The two other verdicts of an alerting rule: its data is absent, its evaluation failed. A rule that asks for them
 * (on_absent, on_error) leaves a series while it is so:
 *
 *   vane_rule_absent{rule, rule_group, verdict, job}   seconds since the source was seen last
 *   vane_rule_failing{rule, rule_group, verdict}       1
 *
 * and one group of rules made here, "verdicts", alerts on those: DataAbsent for each source, RuleFailing for each group,
 * however many rules see it. So `for`, routing, state over restarts and history are those of every other alert.
 *
 * Absent is a source (labels `by`, job unless said) that one of the rule's selectors has shown and none does now. What has
 * been seen is kept in memory; after a start the last hour is asked. A source away for a day is forgotten. */
#include "rules/rules_verdict.h"

#include <stdlib.h>

#include "base/hash.h"
#include "rules/rules_int.h"

enum { SOURCES_MAX = 10000, SELECTORS_MAX = 64, FORGET_MS = 24 * 3600 * 1000 };

/* ---- what a rule asks for its sources ---- */
struct selectors {
    str v[SELECTORS_MAX];
    size_t n;
};

static void gather(struct arena *a, const struct promql_expr *e, struct selectors *s)
{
    if (e->kind == PQ_CALL && (e->call.fn == PQ_FN_absent || e->call.fn == PQ_FN_absent_over_time))
        return; /* asks for absence itself */
    if (e->kind == PQ_VECTOR) {
        AUTO_BUF struct buf b = { 0 };
        if (e->vector.when.at != PQ_AT_NONE || s->n == SELECTORS_MAX)
            return;
        promql_print(&b, e);
        s->v[s->n++] = arena_str(a, buf_str(&b));
        return;
    }
    if (e->kind == PQ_MATRIX) {
        gather(a, e->matrix.vector, s);
        return;
    }
    const struct promql_expr *children[8];
    size_t n = promql_children(e, children, ARRAY_LEN(children));
    for (size_t i = 0; i < MIN(n, ARRAY_LEN(children)); i++)
        gather(a, children[i], s);
}

static void names(struct buf *b, const str *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%s" STR_FMT, i ? ", " : "", STR_ARG(v[i]));
}

str rules_verdict_sources(struct arena *a, const struct rule *r)
{
    struct selectors s = { .n = 0 };
    AUTO_BUF struct buf b = { 0 };
    gather(a, r->parsed, &s);
    for (size_t i = 0; i < s.n; i++) {
        bool twice = false;
        for (size_t k = 0; k < i; k++)
            twice |= str_eq(s.v[i], s.v[k]);
        if (twice)
            continue;
        buf_str_add(&b, b.n ? STR(" or group by (") : STR("group by ("));
        names(&b, r->on_absent.by, r->on_absent.n_by);
        buf_printf(&b, ") (" STR_FMT ")", STR_ARG(s.v[i]));
    }
    return arena_str(a, buf_str(&b));
}

/* ---- series ---- */
static str group_name(struct arena *a, const struct rule_group *g)
{
    return arena_printf(a, STR_FMT ";" STR_FMT, STR_ARG(g->file), STR_ARG(g->name));
}

static void put(struct batch *out, const char *metric, const struct rule_group *g, const struct rule *r,
                const struct rule_verdict *verdict, struct labels source, int64_t ts_ms, double v)
{
    struct label_builder lb;
    lb_init(&lb, out->a);
    lb_reset(&lb, source);
    lb_set(&lb, LABEL_NAME, str_c(metric));
    lb_set(&lb, STR("rule"), r->name);
    lb_set(&lb, STR("rule_group"), group_name(out->a, g));
    lb_set(&lb, STR("verdict"), verdict->id);
    out_sample(out, lb_labels(&lb), ts_ms, v, NULL);
}

void rules_verdict_failing(const struct rule_group *g, const struct rule *r, int64_t ts_ms, struct batch *out)
{
    if (r->on_error.on)
        put(out, "vane_rule_failing", g, r, &r->on_error, LABELS_NONE, ts_ms, 1);
}

static struct rule_source *source_of(struct rule_sources *known, struct labels ls)
{
    for (size_t i = 0; i < known->v.n; i++)
        if (labels_eq(known->v.p[i].labels, ls))
            return &known->v.p[i];
    return NULL;
}

static void see(struct rule_sources *known, struct labels ls, int64_t ts_ms)
{
    struct rule_source *s = source_of(known, ls);
    if (s)
        s->seen_ms = ts_ms;
    else if (known->v.n < SOURCES_MAX)
        vec_push(&known->v, ((struct rule_source){ rules_labels_own(ls), ts_ms }));
}

void rules_sources_free(struct rule_sources *known)
{
    for (size_t i = 0; i < known->v.n; i++)
        rules_labels_disown(known->v.p[i].labels);
    vec_free(&known->v);
    known->asked = false;
}

static void own_selector(struct buf *b, const struct rule_group *g, const struct rule *r)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    buf_lit(b, "{__name__=~\"vane_rule_(absent|failing)\",rule=");
    buf_go_quote(b, r->name);
    buf_lit(b, ",rule_group=");
    buf_go_quote(b, group_name(&a, g));
    buf_lit(b, "}");
}

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(*(const struct labels *)a, *(const struct labels *)b);
}

enum err rules_verdict_written(const struct rules_env *env, const struct rule_group *g, const struct rule *r,
                               int64_t ts_ms, struct arena *a, struct labels **ret, size_t *ret_n)
{
    AUTO_BUF struct buf b = { 0 };
    struct promql_result was;
    own_selector(&b, g, r);
    TRY(rules_ask(env, buf_str(&b), NULL, ts_ms, a, &was, NULL));
    *ret = arena_array(a, struct labels, was.n_series + 1);
    for (size_t i = 0; i < was.n_series; i++)
        (*ret)[i] = was.series[i].labels;
    *ret_n = was.n_series;
    if (was.n_series)
        qsort(*ret, was.n_series, sizeof(**ret), by_labels);
    return OK;
}

/* What was there in the last hour, or was missed then. */
static enum err recall(const struct rules_env *env, const struct rule_group *g, const struct rule *r, int64_t ts_ms,
                       struct rule_sources *known, struct arena *a, struct err_text *reterr)
{
    AUTO_BUF struct buf b = { 0 };
    struct promql_result was;
    buf_printf(&b, "max_over_time((" STR_FMT ")[1h:5m]) or group by (", STR_ARG(r->on_absent.sources));
    names(&b, r->on_absent.by, r->on_absent.n_by);
    buf_lit(&b, ") (last_over_time(");
    own_selector(&b, g, r);
    buf_lit(&b, "[1h]))");
    TRY(rules_ask(env, buf_str(&b), NULL, ts_ms, a, &was, reterr));
    for (size_t i = 0; i < was.n_series; i++)
        if (was.series[i].labels.n)
            see(known, was.series[i].labels, ts_ms);
    known->asked = true;
    return OK;
}

enum err rules_verdict_absent(const struct rules_env *env, const struct rule_group *g, const struct rule *r,
                              int64_t ts_ms, struct rule_sources *known, struct batch *out, struct err_text *reterr)
{
    struct promql_result now;
    if (!r->on_absent.on || !r->on_absent.sources.n)
        return OK;
    if (!known->asked)
        TRY(recall(env, g, r, ts_ms, known, out->a, reterr));
    TRY(rules_ask(env, r->on_absent.sources, NULL, ts_ms, out->a, &now, reterr));
    for (size_t i = 0; i < now.n_series; i++)
        see(known, now.series[i].labels, ts_ms);
    for (size_t i = 0; i < known->v.n;) {
        struct rule_source *s = &known->v.p[i];
        int64_t away = ts_ms - s->seen_ms;
        if (away > FORGET_MS) {
            rules_labels_disown(s->labels);
            vec_remove(&known->v, i);
            continue;
        }
        if (away > 0)
            put(out, "vane_rule_absent", g, r, &r->on_absent, s->labels, ts_ms, (double)away / 1e3);
        i++;
    }
    if (!known->v.n) /* it has never seen anything */
        put(out, "vane_rule_absent", g, r, &r->on_absent, LABELS_NONE, ts_ms, 0);
    return OK;
}

/* ---- the group that alerts on them ---- */
str rules_verdict_id(struct arena *a, const struct rule_verdict *v)
{
    uint64_t h = hash_u64((uint64_t)v->for_ms + labels_hash(v->labels));
    for (size_t i = 0; i < v->n_by; i++)
        h = hash64_seed(v->by[i], h);
    return arena_printf(a, "%08x", (unsigned)(h ^ h >> 32));
}

static struct labels annotations(struct arena *a, bool absent, const struct rule_verdict *v)
{
    AUTO_BUF struct buf who = { 0 }, sel = { 0 }, args = { 0 };
    struct label_builder lb;
    const char *metric = absent ? "vane_rule_absent" : "vane_rule_failing";
    buf_printf(&sel, "%s{verdict='" STR_FMT "'", metric, STR_ARG(v->id));
    for (size_t i = 0; i < v->n_by; i++) {
        buf_printf(&who, "%s" STR_FMT " {{ $labels." STR_FMT " }}", i ? ", " : "", STR_ARG(v->by[i]),
                   STR_ARG(v->by[i]));
        buf_printf(&sel, "," STR_FMT "=%%q", STR_ARG(v->by[i]));
        buf_printf(&args, " $labels." STR_FMT, STR_ARG(v->by[i]));
    }
    buf_lit(&sel, "}");
    lb_init(&lb, a);
    lb_set(&lb, STR("summary"),
           absent ? arena_printf(a, "No data{{ if $labels." STR_FMT " }} from " STR_FMT "{{ end }}", STR_ARG(v->by[0]),
                                 STR_ARG(buf_str(&who)))
                  : STR("Rules of {{ $labels.rule_group }} cannot be evaluated"));
    lb_set(&lb, STR("description"),
           arena_printf(a,
                        "Rules that %s ({{ $value }}):{{ range printf \"" STR_FMT "\"" STR_FMT
                        " | query }} {{ .Labels.rule }}{{ end }}",
                        absent ? "see nothing of it" : "fail", STR_ARG(buf_str(&sel)), STR_ARG(buf_str(&args))));
    lb_set(&lb, STR("runbook_url"),
           absent ? STR("{{ $externalURL }}/runbook/DataAbsent") : STR("{{ $externalURL }}/runbook/RuleFailing"));
    return lb_labels(&lb);
}

struct making {
    struct arena *a;
    unsigned features;
    VEC(struct rule) rules;
};

static enum err add_verdict(struct making *m, bool absent, const struct rule_verdict *v, struct err_text *reterr)
{
    AUTO_BUF struct buf expr = { 0 };
    str alert = absent ? STR("DataAbsent") : STR("RuleFailing");
    if (!v->on)
        return OK;
    buf_lit(&expr, "count by (");
    names(&expr, v->by, v->n_by);
    buf_printf(&expr, ") (%s{verdict=\"" STR_FMT "\"})", absent ? "vane_rule_absent" : "vane_rule_failing",
               STR_ARG(v->id));
    for (size_t i = 0; i < m->rules.n; i++)
        if (str_eq(m->rules.p[i].expr, buf_str(&expr)))
            return OK;
    struct rule r = { .alerting = true,
                      .name = alert,
                      .expr = arena_str(m->a, buf_str(&expr)),
                      .for_ms = v->for_ms,
                      .labels = v->labels,
                      .annotations = annotations(m->a, absent, v) };
    TRY(promql_parse_text(m->a, r.expr, m->features, &r.parsed, reterr));
    avec_push(m->a, &m->rules, r);
    return OK;
}

enum err rules_verdicts_file(struct arena *a, struct rule_file *const *files, size_t n, unsigned features,
                             struct rule_file *ret, struct err_text *reterr)
{
    struct making m = { .a = a, .features = features };
    enum err e = OK;
    for (size_t f = 0; f < n; f++)
        for (size_t g = 0; g < files[f]->n_groups; g++)
            for (size_t i = 0; i < files[f]->groups[g].n_rules && !e; i++) {
                const struct rule *r = &files[f]->groups[g].rules[i];
                e = add_verdict(&m, true, &r->on_absent, reterr);
                e = e ? e : add_verdict(&m, false, &r->on_error, reterr);
            }
    *ret = (struct rule_file){ .path = STR("vane:verdicts") };
    if (e || !m.rules.n)
        return e;
    ret->groups = arena_new(a, struct rule_group);
    ret->n_groups = 1;
    *ret->groups =
        (struct rule_group){ .file = ret->path, .name = STR("verdicts"), .rules = m.rules.p, .n_rules = m.rules.n };
    return OK;
}
