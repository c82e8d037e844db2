/* rules/rules_backtest.h: a backtest over range queries finds what an evaluation moment by moment finds. */
#include "test.h"

#include "promql/promql.h"
#include "rules/rules_backtest.h"
#include "rules/rules_memory.h"

enum { MINUTE = 60000, STEPS = 3000 };
#define T0 1700000040000ll /* a whole minute */

static struct {
    struct arena a;
    struct conf_ctx cx;
    struct promql_engine *engine;
    struct rules_memory *stored;
    struct rule_file file;
} w;

static uint32_t seed = 7;
static uint32_t next_random(void)
{
    return seed = seed * 1664525u + 1013904223u;
}

static void add(const char *name, const char *instance, int64_t ts, double v)
{
    struct label_builder b;
    lb_init(&b, &w.a);
    lb_set(&b, LABEL_NAME, str_c(name));
    lb_set(&b, STR("instance"), str_c(instance));
    rules_memory_add(w.stored, lb_labels(&b), ts, v, NULL, 0);
}

static int open_world(void **state)
{
    struct promql_engine_config cfg;
    (void)state;
    arena_init(&w.a, 0);
    w.cx = conf_ctx_init(&w.a, fs_os());
    promql_engine_config_defaults(&cfg);
    w.engine = promql_engine_new(&cfg);
    w.stored = rules_memory_new();
    double level[3] = { 50, 50, 50 };
    static const char *const instances[] = { "a", "b", "c" };
    for (int64_t i = -60; i < STEPS; i++) {
        for (size_t k = 0; k < 3; k++) {
            level[k] += (double)(next_random() >> 16 & 31) - 15.5 - (level[k] - 50) / 40;
            if ((next_random() >> 20) % 29 != 0) /* now and then nothing comes */
                add("load", instances[k], T0 + i * MINUTE, level[k]);
        }
        add("load:sum", "stored", T0 + i * MINUTE, 1e6); /* from an older rule: must not count */
    }
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    rules_file_release(&w.file);
    rules_memory_free(w.stored);
    promql_engine_free(w.engine);
    conf_ctx_release(&w.cx);
    arena_deinit(&w.a);
    return 0;
}

static const struct rule_group *const *read_rules(const char *text, size_t *ret_n)
{
    const struct rules_options opt = { .features = 0 };
    rules_file_release(&w.file);
    if (rules_file_parse(&w.cx, STR("r.yml"), str_c(text), &opt, &w.file) != OK) {
        struct err_text why;
        conf_first_error(&w.cx, &why);
        fail_msg("%s", why.msg);
    }
    const struct rule_group **v = arena_array(&w.a, const struct rule_group *, w.file.n_groups);
    for (size_t i = 0; i < w.file.n_groups; i++)
        v[i] = &w.file.groups[i];
    *ret_n = w.file.n_groups;
    return v;
}

static struct rules_backtest_config config(void)
{
    return (struct rules_backtest_config){ .engine = w.engine,
                                           .source = rules_memory_source(w.stored),
                                           .from_ms = T0,
                                           .to_ms = T0 + (STEPS - 1) * (int64_t)MINUTE,
                                           .interval_ms = MINUTE,
                                           .time_ms_max = 100000 };
}

static struct rules_backtest_result tried(const struct rules_backtest_config *cfg, const char *text)
{
    struct rules_backtest_result r;
    struct err_text why = { 0 };
    size_t n;
    const struct rule_group *const *groups = read_rules(text, &n);
    if (rules_backtest(cfg, groups, n, &w.a, &r, &why) != OK)
        fail_msg("%s", why.msg);
    return r;
}

/* The slow model: the groups in order, moment by moment, with all that is stored but the recorded names. */
struct model {
    uint64_t fired;
    int64_t firing_ms, first_ms;
};
static enum err keep_all(void *ctx, const struct batch *b, struct err_text *reterr)
{
    return rules_memory_append(ctx, b, reterr);
}

static struct model run_model(const char *text, size_t of)
{
    size_t n;
    struct model m = { 0 };
    const struct rule_group *const *groups = read_rules(text, &n);
    struct rules_memory *all = rules_memory_new();
    struct promql_source *src = rules_memory_source(w.stored);
    struct promql_view *v;
    struct promql_series *s;
    size_t n_s;
    struct matcher name = { .type = MATCH_EQ, .name = LABEL_NAME, .value = STR("load") };
    assert_int_equal(src->open(src, 0, INT64_MAX, &v), OK);
    assert_int_equal(src->select(v, &name, 1, 0, INT64_MAX, 100, &w.a, &s, &n_s), OK);
    struct promql_reader *rd = src->reader_new(v);
    for (size_t i = 0; i < n_s; i++) {
        struct promql_points p;
        assert_int_equal(src->read(rd, s[i].id, 0, INT64_MAX - 1, &p), OK);
        for (size_t k = 0; k < p.n; k++)
            rules_memory_add(all, s[i].labels, p.ts[k], p.v[k], NULL, 0);
    }
    src->reader_free(rd);
    src->close(v);
    struct rules_env env = { .engine = w.engine,
                             .source = rules_memory_source(all),
                             .default_interval_ms = MINUTE,
                             .ctx = all,
                             .append = keep_all };
    struct rules_group *run[4];
    for (size_t g = 0; g < n; g++)
        run[g] = rules_group_new(groups[g], &env);
    for (int64_t ts = T0; ts < T0 + STEPS * (int64_t)MINUTE; ts += MINUTE)
        for (size_t g = 0; g < n; g++) {
            IGNORE_ERR(rules_group_eval(run[g], ts, NULL));
            for (size_t i = 0; i < rules_group_n_rules(run[g]); i++) {
                struct rule_facts f = rules_group_rule(run[g], i);
                if (g != 0 || i != of)
                    continue;
                for (size_t k = 0; k < f.n_alerts; k++) {
                    m.firing_ms += f.alerts[k]->state == ALERT_FIRING ? MINUTE : 0;
                    m.fired += f.alerts[k]->state == ALERT_FIRING && f.alerts[k]->fired_at_ms == ts;
                    if (f.alerts[k]->state == ALERT_FIRING && !m.first_ms)
                        m.first_ms = ts;
                }
            }
        }
    for (size_t g = 0; g < n; g++)
        rules_group_free(run[g]);
    rules_memory_free(all);
    return m;
}

static const char *const rule_files[] = {
    "groups: [{name: g, rules: [{record: 'load:sum', expr: sum(load)},"
    " {alert: High, expr: 'load > 80', for: 3m, annotations: {s: '{{ $value }}'}}]}]",
    "groups: [{name: g, rules: [{record: 'load:sum', expr: sum(load)},"
    " {alert: High, expr: 'load:sum > 170', for: 2m, keep_firing_for: 4m}]}]",
    /* reads what a later rule recorded a minute ago, and what it fired itself */
    "groups: [{name: g, rules: [{alert: Back, expr: 'load > avg(load:avg) + 20'},"
    " {alert: Again, expr: 'load > 75 unless on (instance) ALERTS{alertname=\"Back\"}', for: 1m},"
    " {record: 'load:avg', expr: avg(load)}]}]",
    "groups: [{name: g, rules: [{record: x, expr: 'load @ start()'}, {alert: High, expr: 'load @ end() > 80', for: "
    "2m}]}]",
    "groups: [{name: g, limit: 1, rules: [{record: 'load:max', expr: max(load)}, {alert: High, expr: 'load > 70', for: "
    "1m}]}]",
};

static void same_as_moment_by_moment(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rule_files); i++) {
        struct rules_backtest_config cfg = config();
        struct rules_backtest_result r = tried(&cfg, rule_files[i]);
        struct model m = run_model(rule_files[i], 1);
        const struct rules_trial *t = &r.trials[1];
        if (t->n_fired != m.fired || t->firing_ms != m.firing_ms || (m.fired && t->episodes[0].fired_ms != m.first_ms))
            fail_msg("file %zu: fired %llu times for %lld s, the model %llu for %lld", i,
                     (unsigned long long)t->n_fired, (long long)t->firing_ms / 1000, (unsigned long long)m.fired,
                     (long long)m.firing_ms / 1000);
        assert_true(m.fired > 3);
        assert_int_equal(t->evaluations, STEPS);
        assert_int_equal(r.reached_ms, cfg.to_ms);
        for (size_t k = 0; k < t->n_episodes; k++) {
            const struct rules_episode *e = &t->episodes[k];
            assert_true(e->active_ms <= e->fired_ms && (!e->resolved_ms || e->resolved_ms > e->fired_ms));
        }
    }
}

static void groups_in_any_order(void **state)
{
    (void)state;
    struct rules_backtest_config cfg = config();
    struct rules_backtest_result a = tried(&cfg, "groups: [{name: b, rules: [{alert: X, expr: 'load:sum > 170'}]},"
                                                 " {name: a, rules: [{record: 'load:sum', expr: sum(load)}]}]");
    struct rules_backtest_result b = tried(&cfg, "groups: [{name: b, rules: [{alert: X, expr: 'sum(load) > 170'}]}]");
    assert_true(b.trials[0].n_fired > 3);
    assert_int_equal(a.trials[0].n_fired, b.trials[0].n_fired);
    assert_int_equal(a.trials[0].firing_ms, b.trials[0].firing_ms);
    assert_int_equal(a.trials[1].samples, STEPS);
}

static void limits_are_told(void **state)
{
    (void)state;
    struct rules_backtest_config cfg = config();
    cfg.samples_max = 1500;
    struct rules_backtest_result r = tried(&cfg, "groups: [{name: a, rules: [{record: s, expr: sum(load)}]}]");
    assert_true(str_contains(r.why, STR("1500 recorded samples")) && r.reached_ms < cfg.to_ms);
    cfg = config();
    cfg.episodes_max = 5;
    r = tried(&cfg, "groups: [{name: a, rules: [{alert: s, expr: 'load > 60'}]}]");
    assert_true(r.trials[0].n_fired > 20);
    assert_int_equal(r.trials[0].n_episodes, 5);
    r = tried(&cfg, "groups: [{name: a, rules: [{alert: s, expr: 'load * on () group_left load'}]}]");
    assert_int_equal(r.trials[0].failures, STEPS);
    assert_true(str_contains(r.trials[0].last_error, STR("duplicate series")));
    struct err_text why;
    size_t n;
    const struct rule_group *const *groups = read_rules("groups: [{name: a, rules: [{alert: s, expr: '1'}]}]", &n);
    cfg.to_ms = cfg.from_ms - 1;
    assert_int_equal(rules_backtest(&cfg, groups, n, &w.a, &r, &why), ERR_INVALID);
    cfg.to_ms = cfg.from_ms + 100ll * 365 * 86400000;
    assert_int_equal(rules_backtest(&cfg, groups, n, &w.a, &r, &why), ERR_INVALID);
    assert_true(str_contains(str_c(why.msg), STR("evaluations")));
    atomic_bool cancel;
    atomic_init(&cancel, true);
    cfg = config();
    cfg.cancel = &cancel;
    assert_int_equal(rules_backtest(&cfg, groups, n, &w.a, &r, &why), ERR_CANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(same_as_moment_by_moment),
                                        cmocka_unit_test(groups_in_any_order), cmocka_unit_test(limits_are_told) };
    return cmocka_run_group_tests_name("rules/backtest", tests, open_world, close_world);
}
