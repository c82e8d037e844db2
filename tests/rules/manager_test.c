/* rules/rules_manager.h: loading with all errors, moments that were missed, alerts that outlive their process. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "promql/promql.h"
#include "rules/rules_manager.h"
#include "rules/rules_memory.h"

enum { T0 = 1700000000, HOUR_MS = 3600000, INTERVAL_MS = 200 };
static char dir[64];
static atomic_int_least64_t now_ms;

static int64_t fake_now(struct clock *c)
{
    (void)c;
    return atomic_load(&now_ms);
}
static uint64_t fake_mono(struct clock *c)
{
    (void)c;
    return os_mono_ns();
}
static struct clock fake = { fake_now, fake_mono };

static const char *in_dir(struct arena *a, const char *name)
{
    return arena_printf(a, "%s/%s", dir, name).p;
}

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/vane-rules-XXXXXX");
    assert_non_null(mkdtemp(dir));
    atomic_store(&now_ms, (int64_t)T0 * 1000);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return fs_remove_tree(fs_os(), dir) != OK;
}

static enum err load(const char *pattern, struct rules_load **ret, struct buf *report)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str patterns[] = { str_c(in_dir(&a, pattern)), str_c(in_dir(&a, pattern)) };
    const struct rules_settings s = { .patterns = patterns, .n_patterns = 2, .interval_ms = INTERVAL_MS };
    return rules_load(&s, ret, report, NULL);
}

static void write_rules(const char *name, const char *text)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    assert_int_equal(fs_write_file_atomic(fs_os(), in_dir(&a, name), str_c(text)), OK);
}

#define ALERTS_FOR(hold)                                                           \
    "groups:\n  - name: g\n    rules:\n"                                           \
    "      - {alert: Slow, expr: vector(1), for: " hold ", labels: {who: team}}\n" \
    "      - {alert: Fast, expr: vector(2)}\n"

static void every_error_is_told(void **state)
{
    (void)state;
    AUTO_BUF struct buf report = { 0 };
    struct rules_load *l;
    write_rules("a.yml", "groups: [{name: a, rules: [{record: x, expr: 'sum('}]}]\n");
    write_rules("b.yml", "groups: [{name: b, rules: [{record: x, expr: 1, oops: 2}, {alert: y, expr: '1 +'}]}]\n");
    assert_int_equal(load("*.yml", &l, &report), ERR_INVALID);
    assert_true(str_contains(buf_str(&report), STR("a.yml:1:")));
    assert_true(str_contains(buf_str(&report), STR("oops")));
    assert_true(str_contains(buf_str(&report), STR("1:4: parse error")));
    buf_clear(&report);
    write_rules("a.yml", ALERTS_FOR("1m"));
    assert_int_equal(load("a*.yml", &l, &report), OK); /* named twice, read once */
    assert_int_equal(report.n, 0);
    assert_int_equal(rules_load_n_rules(l), 2);
    rules_load_unref(l);
    assert_int_equal(load("none*.yml", &l, &report), OK);
    assert_true(str_contains(buf_str(&report), STR("no file matches")));
    rules_load_unref(l);
}

struct site {
    struct promql_engine *engine;
    struct rules_memory *memory;
    struct control *control;
    struct rules_manager *m;
    atomic_int told_firing, told_resolved;
};

static void note(void *ctx, struct rule_alert *const *alerts, size_t n)
{
    struct site *s = ctx;
    for (size_t i = 0; i < n; i++)
        atomic_fetch_add(alerts[i]->resolved_at_ms ? &s->told_resolved : &s->told_firing, 1);
}

static void site_open(struct site *s, const char *file)
{
    AUTO_ARENA struct arena a;
    struct promql_engine_config cfg;
    struct rules_load *l;
    struct err_text why = { 0 };
    arena_init(&a, 0);
    *s = (struct site){ 0 };
    promql_engine_config_defaults(&cfg);
    s->engine = promql_engine_new(&cfg);
    s->memory = rules_memory_new();
    if (control_open(in_dir(&a, "control.db"), &s->control, &why) != OK)
        fail_msg("%s", why.msg);
    const struct rules_manager_config m = {
        .engine = s->engine,
        .source = rules_memory_source(s->memory),
        .append_ctx = s->memory,
        .append = rules_memory_append,
        .notify_ctx = s,
        .notify = note,
        .control = s->control,
        .clock = &fake,
        .threads = 1,
    };
    assert_int_equal(rules_manager_open(&m, &s->m, &why), OK);
    assert_int_equal(load(file, &l, NULL), OK);
    rules_manager_apply(s->m, l);
}

static void site_close(struct site *s)
{
    rules_manager_close(s->m);
    control_close(s->control);
    rules_memory_free(s->memory);
    promql_engine_free(s->engine);
}

static struct rules_view facts(struct site *s)
{
    struct rules_snapshot snap = rules_manager_snapshot(s->m);
    assert_int_equal(snap.n, 1);
    struct rules_view v = *snap.groups[0];
    v.rules = NULL; /* goes with the snapshot */
    rules_snapshot_deinit(&snap);
    return v;
}

/* Lets the clock run until the group was evaluated n more times. */
static void evaluations(struct site *s, uint64_t n)
{
    uint64_t target = facts(s).iterations + n;
    for (int i = 0; i < 2000 && facts(s).iterations < target; i++) {
        atomic_fetch_add(&now_ms, 20);
        os_sleep_ms(5);
    }
    assert_true(facts(s).iterations >= target);
}

/* active_at of the one alert of rule i; 0: there is none. */
static int64_t active_at(struct site *s, size_t i, enum alert_state want)
{
    struct rules_snapshot snap = rules_manager_snapshot(s->m);
    const struct rule_facts *f = &snap.groups[0]->rules[i];
    int64_t at = 0;
    if (f->n_alerts) {
        assert_int_equal(f->n_alerts, 1);
        assert_int_equal(f->alerts[0]->state, want);
        at = f->alerts[0]->active_at_ms;
    }
    rules_snapshot_deinit(&snap);
    return at;
}

static void missed_moments_are_counted(void **state)
{
    (void)state;
    struct site s;
    write_rules("a.yml", ALERTS_FOR("1h"));
    site_open(&s, "a.yml");
    rules_manager_start(s.m);
    evaluations(&s, 2);
    struct rules_view before = facts(&s);
    atomic_fetch_add(&now_ms, 60 * INTERVAL_MS);
    evaluations(&s, 2);
    struct rules_view after = facts(&s);
    assert_in_range(after.missed - before.missed, 55, 75); /* the clock runs on while the thread sleeps */
    assert_int_equal((after.last_eval_ms - before.last_eval_ms) % INTERVAL_MS, 0);
    /* The clock goes back an hour: evaluation goes on. */
    atomic_fetch_sub(&now_ms, HOUR_MS);
    evaluations(&s, 2);
    assert_true(facts(&s).last_eval_ms < before.last_eval_ms);
    assert_in_range(facts(&s).missed - after.missed, 0, 15);
    site_close(&s);
}

static void alerts_outlive_the_process(void **state)
{
    (void)state;
    struct site s;
    write_rules("a.yml", ALERTS_FOR("90m"));
    site_open(&s, "a.yml");
    rules_manager_start(s.m);
    evaluations(&s, 2);
    int64_t slow = active_at(&s, 0, ALERT_PENDING), fast = active_at(&s, 1, ALERT_FIRING);
    assert_true(slow && fast);
    assert_true(atomic_load(&s.told_firing) >= 1);
    site_close(&s);

    atomic_fetch_add(&now_ms, HOUR_MS / 2); /* away for less than an hour: `for` goes on */
    site_open(&s, "a.yml");
    assert_int_equal(active_at(&s, 0, ALERT_PENDING), slow);
    assert_int_equal(active_at(&s, 1, ALERT_FIRING), fast);
    rules_manager_start(s.m);
    evaluations(&s, 1);
    assert_int_equal(active_at(&s, 0, ALERT_PENDING), slow);
    atomic_fetch_add(&now_ms, HOUR_MS + 60000);
    evaluations(&s, 2);
    assert_int_equal(active_at(&s, 0, ALERT_FIRING), slow);
    site_close(&s);

    write_rules("a.yml", ALERTS_FOR("91m")); /* another `for`: still the same rule */
    site_open(&s, "a.yml");
    assert_int_equal(active_at(&s, 0, ALERT_FIRING), slow);
    site_close(&s);

    write_rules("a.yml", "groups: [{name: g, rules: [{alert: Other, expr: vector(1)}]}]\n"); /* it is gone */
    site_open(&s, "a.yml");
    assert_int_equal(active_at(&s, 0, ALERT_FIRING), 0);
    site_close(&s);
    write_rules("a.yml", ALERTS_FOR("90m"));
    site_open(&s, "a.yml");
    assert_int_equal(active_at(&s, 0, ALERT_FIRING), 0);
    site_close(&s);
}

static void a_long_outage_begins_anew(void **state)
{
    (void)state;
    struct site s;
    write_rules("a.yml", ALERTS_FOR("3h"));
    site_open(&s, "a.yml");
    rules_manager_start(s.m);
    evaluations(&s, 2);
    int64_t fast = active_at(&s, 1, ALERT_FIRING);
    assert_true(active_at(&s, 0, ALERT_PENDING) != 0);
    site_close(&s);
    atomic_fetch_add(&now_ms, 2 * HOUR_MS);
    site_open(&s, "a.yml");
    assert_int_equal(active_at(&s, 0, ALERT_PENDING), 0);
    assert_int_equal(active_at(&s, 1, ALERT_FIRING), fast); /* what fires is not forgotten */
    site_close(&s);
}

static void a_firing_alert_that_ended_meanwhile_is_told_resolved(void **state)
{
    (void)state;
    struct site s;
    const char *rules = "groups: [{name: g, rules: [{alert: Here, expr: 'x > 1'}]}]\n";
    const struct label pair = { STR("__name__"), STR("x") };
    write_rules("a.yml", rules);
    site_open(&s, "a.yml");
    rules_memory_add(s.memory, (struct labels){ &pair, 1 }, atomic_load(&now_ms), 5, NULL, 0);
    rules_manager_start(s.m);
    evaluations(&s, 2);
    assert_true(active_at(&s, 0, ALERT_FIRING) != 0);
    site_close(&s);
    site_open(&s, "a.yml"); /* an empty memory: x is gone */
    rules_manager_start(s.m);
    evaluations(&s, 2);
    assert_int_equal(atomic_load(&s.told_resolved), 1);
    assert_int_equal(atomic_load(&s.told_firing), 0);
    site_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_error_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(missed_moments_are_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(alerts_outlive_the_process, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_outage_begins_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(a_firing_alert_that_ended_meanwhile_is_told_resolved, setup, teardown),
    };
    return cmocka_run_group_tests_name("rules/manager", tests, NULL, NULL);
}
