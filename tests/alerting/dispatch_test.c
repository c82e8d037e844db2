/* alerting/am.h, in simulated time: when groups speak, what they say, and when they keep silent. */
#include "test.h"

#include "alerting/am.h"
#include "base/vec.h"

#define T0 INT64_C(1790000000000) /* a Monday: 2026-09-21 14:13:20 UTC */
#define S  INT64_C(1000)
#define M  (60 * S)
#define H  (60 * M)

struct world {
    struct am *am;
    int64_t now;
    enum am_outcome answer;
    struct am_notice *held; /* hold: the message waits for its answer */
    bool hold;
    struct buf said; /* "30s r webhook {}:{a="x"} 1 firing 0 resolved attempt 1\n" */
    uint64_t key;    /* idempotency of the last one */
};

static void send(void *ctx, struct am_notice *n)
{
    struct world *w = ctx;
    buf_printf(&w->said, "%llds " STR_FMT " %s " STR_FMT, (long long)((w->now - T0) / S), STR_ARG(n->receiver->name),
               am_kind_name(n->integration->kind), STR_ARG(n->group_key));
    for (size_t i = 0; i < n->n_alerts; i++)
        buf_printf(&w->said, " %s%s" STR_FMT, n->alerts[i].ends_ms ? "-" : "+", n->attempt > 1 ? "again:" : "",
                   STR_ARG(labels_get(n->alerts[i].labels, STR("a"))));
    buf_u8(&w->said, '\n');
    w->key = n->idempotency;
    if (w->hold)
        w->held = n;
    else
        am_sent(w->am, n, w->answer, w->now);
}

static struct am_config *config(const char *yaml)
{
    struct am_config *c = NULL;
    struct err_text why;
    if (am_config_parse(STR("am.yml"), str_c(yaml), &c, NULL, &why) != OK)
        fail_msg("%s", why.msg);
    return c;
}

static void begin(struct world *w, const char *yaml)
{
    struct am_config *c = config(yaml);
    *w = (struct world){ .now = T0, .answer = AM_SENT };
    buf_init(&w->said, 0);
    const struct am_options opt = { .ctx = w, .send = send };
    assert_ok(am_open(&opt, c, T0, &w->am));
    am_config_unref(c);
}

static void end(struct world *w)
{
    am_close(w->am);
    buf_deinit(&w->said);
}

/* Go on to a time, turn by turn. */
static void until(struct world *w, int64_t t)
{
    for (int i = 0; i < 1000000; i++) {
        int64_t next = am_tick(w->am, w->now);
        assert_true(next > w->now);
        if (next > t)
            break;
        w->now = next;
    }
    w->now = t;
}

static void said(struct world *w, const char *want)
{
    buf_u8(&w->said, 0);
    assert_string_equal(w->said.p, want);
    buf_clear(&w->said);
}

/* "a=x severity=critical": fires for ten minutes, or has ended (for_ms 0). */
static void post(struct world *w, const char *labels, int64_t for_ms)
{
    struct label p[8];
    size_t n = 0;
    str rest = str_c(labels), pair;
    while (str_cut(&rest, ' ', &pair)) {
        p[n].value = pair;
        str_cut(&p[n].value, '=', &p[n].name);
        n++;
    }
    struct am_alert a = { .labels = { p, n }, .starts_ms = w->now - (for_ms ? 0 : S), .ends_ms = w->now + for_ms };
    assert_ok(am_post(w->am, &a, 1, w->now, NULL, NULL));
}
#define FIRE(labels) post(&w, labels, 365 * 24 * H)
#define END(labels)  post(&w, labels, 0)

#define HOOK "  webhook_configs: [{url: 'http://x.example'}]\n"
#define BASE                                                                                          \
    "route: {receiver: r, group_by: [g], group_wait: 30s, group_interval: 5m, repeat_interval: 1h}\n" \
    "receivers:\n- name: r\n" HOOK

static void fingerprints(void **state)
{
    (void)state;
    const struct label p[] = { { STR("alertname"), STR("A") },
                               { STR("cluster"), STR("c1") },
                               { STR("instance"), STR("i1") },
                               { STR("severity"), STR("critical") } };
    assert_true(am_fingerprint((struct labels){ (struct label *)(uintptr_t)p, 4 }) == 0x68e19148f160d404u);
}

static void waits_and_repeats(void **state)
{
    (void)state;
    struct world w;
    begin(&w, BASE);
    FIRE("a=1 g=x");
    until(&w, T0 + 10 * S);
    FIRE("a=2 g=x");
    FIRE("a=3 g=y");
    until(&w, T0 + 29 * S);
    said(&w, "");
    until(&w, T0 + 5 * M);
    said(&w, "30s r webhook {}:{g=\"x\"} +1 +2\n40s r webhook {}:{g=\"y\"} +3\n");
    until(&w, T0 + 59 * M); /* nothing new */
    said(&w, "");
    until(&w, T0 + 70 * M); /* repeated at the first turn that is more than repeat_interval later */
    said(&w, "3930s r webhook {}:{g=\"x\"} +1 +2\n3940s r webhook {}:{g=\"y\"} +3\n");
    FIRE("a=4 g=x"); /* a new one: at the group's next turn */
    until(&w, T0 + 75 * M);
    said(&w, "4230s r webhook {}:{g=\"x\"} +1 +2 +4\n");
    end(&w);
}

static void resolves(void **state)
{
    (void)state;
    struct world w;
    begin(&w, BASE "  email_configs: [{to: b, from: a, smarthost: 'h:25'}]\n");
    FIRE("a=1 g=x");
    FIRE("a=2 g=x");
    until(&w, T0 + M);
    said(&w, "30s r webhook {}:{g=\"x\"} +1 +2\n30s r email {}:{g=\"x\"} +1 +2\n");
    END("a=1 g=x");
    until(&w, T0 + 6 * M); /* who wants resolved ones hears of it */
    said(&w, "330s r webhook {}:{g=\"x\"} -1 +2\n");
    END("a=2 g=x");
    until(&w, T0 + 11 * M);
    said(&w, "630s r webhook {}:{g=\"x\"} -2\n");
    until(&w, T0 + 5 * H);
    said(&w, "");
    FIRE("a=1 g=x"); /* a new story */
    until(&w, w.now + M);
    said(&w, "18030s r webhook {}:{g=\"x\"} +1\n18030s r email {}:{g=\"x\"} +1\n");
    end(&w);
}

static void short_ones_are_not_told(void **state)
{
    (void)state;
    struct world w;
    begin(&w, BASE);
    FIRE("a=1 g=x");
    until(&w, T0 + 10 * S);
    END("a=1 g=x");
    until(&w, T0 + H);
    said(&w, "");
    end(&w);
}

static void ends_by_itself(void **state)
{
    (void)state;
    struct world w;
    begin(&w, BASE);
    const struct label p[] = { { STR("a"), STR("1") }, { STR("empty"), STR("") } };
    const struct am_alert a = { .labels = { (struct label *)(uintptr_t)p, 2 } }; /* no times: resolve_timeout, 5m */
    assert_ok(am_post(w.am, &a, 1, w.now, NULL, NULL));
    until(&w, T0 + 4 * M);
    assert_ok(am_post(w.am, &a, 1, w.now, NULL, NULL)); /* still there: until 9m */
    until(&w, T0 + 20 * M);
    said(&w, "30s r webhook {}:{} +1\n630s r webhook {}:{} -1\n");
    end(&w);
}

static void old_ones_do_not_wait(void **state)
{
    (void)state;
    struct world w;
    begin(&w, BASE);
    const struct label p[] = { { STR("a"), STR("1") } };
    const struct am_alert a = { .labels = { (struct label *)(uintptr_t)p, 1 }, .starts_ms = T0 - H, .ends_ms = T0 + H };
    assert_ok(am_post(w.am, &a, 1, w.now, NULL, NULL));
    until(&w, T0 + S);
    said(&w, "0s r webhook {}:{} +1\n");
    end(&w);
}

static void refusals(void **state)
{
    (void)state;
    struct world w;
    begin(&w, BASE);
    const struct label none[] = { { STR("a"), STR("") } }, bad[] = { { STR("1bad"), STR("x") } },
                       good[] = { { STR("a"), STR("1") } };
    const struct am_alert a[] = {
        { .labels = { (struct label *)(uintptr_t)none, 1 } },
        { .labels = { (struct label *)(uintptr_t)bad, 1 } },
        { .labels = { (struct label *)(uintptr_t)good, 1 }, .starts_ms = T0, .ends_ms = T0 - S },
        { .labels = { (struct label *)(uintptr_t)good, 1 } },
    };
    AUTO_BUF struct buf why;
    buf_init(&why, 0);
    size_t rejected;
    assert_int_equal(am_post(w.am, a, 4, w.now, &rejected, &why), ERR_INVALID);
    assert_int_equal(rejected, 3);
    buf_u8(&why, 0);
    assert_string_equal(why.p, "at least one label pair required; invalid label set: invalid name \"1bad\"; "
                               "start time must be before end time");
    until(&w, T0 + M); /* the good one was taken */
    said(&w, "30s r webhook {}:{} +1\n");
    end(&w);
}

static void inhibits(void **state)
{
    (void)state;
    struct world w;
    begin(&w, BASE "inhibit_rules: [{source_matchers: [sev=c], target_matchers: [sev=w], equal: [h]}]\n");
    FIRE("a=1 g=x h=1 sev=c");
    FIRE("a=2 g=x h=1 sev=w");
    FIRE("a=3 g=x h=2 sev=w");
    until(&w, T0 + M);
    said(&w, "30s r webhook {}:{g=\"x\"} +1 +3\n");
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct am_alert_view *v;
    size_t n, suppressed = 0;
    am_alerts(w.am, w.now, &a, &v, &n);
    for (size_t i = 0; i < n; i++)
        suppressed += v[i].n_inhibited_by;
    assert_int_equal(n, 3);
    assert_int_equal(suppressed, 1);
    END("a=1 g=x h=1 sev=c"); /* the source is gone: the target speaks */
    until(&w, T0 + 6 * M);
    said(&w, "330s r webhook {}:{g=\"x\"} -1 +2 +3\n");
    end(&w);
}

static void silences(void **state)
{
    (void)state;
    struct world w;
    begin(&w, BASE);
    struct arena a;
    arena_init(&a, 0);
    struct am_silence s = { .starts_ms = T0 - H, .ends_ms = T0 + 10 * M, .created_by = STR("me"), .comment = STR("c") },
                      *p;
    char id[AM_ID_LEN + 1], other[AM_ID_LEN + 1];
    struct err_text why;
    size_t n;
    assert_ok(am_matchers_parse(&a, STR("a=~\"1|2\""), AM_FALLBACK, &s.matchers, NULL));
    assert_ok(am_silence_set(w.am, &s, w.now, id, &why));
    FIRE("a=1 g=x");
    FIRE("a=3 g=x");
    until(&w, T0 + M);
    said(&w, "30s r webhook {}:{g=\"x\"} +3\n");
    until(&w, T0 + 11 * M); /* it ended */
    said(&w, "630s r webhook {}:{g=\"x\"} +1 +3\n");
    /* an expired one is not changed but made anew */
    s.id = str_n(id, AM_ID_LEN);
    s.starts_ms = w.now;
    s.ends_ms = w.now + H;
    assert_ok(am_silence_set(w.am, &s, w.now, other, &why));
    assert_string_not_equal(id, other);
    /* same start: changed in place */
    s.id = str_n(other, AM_ID_LEN);
    s.ends_ms = w.now + 2 * H;
    assert_ok(am_silence_set(w.am, &s, w.now, id, &why));
    assert_string_equal(id, other);
    am_silences(w.am, w.now, &a, &p, &n);
    assert_int_equal(n, 2);
    assert_true(str_eq(p[0].id, str_c(id)) && p[0].ends_ms == w.now + 2 * H);
    assert_int_equal(am_silence_state(&p[1], w.now), AM_SILENCE_EXPIRED);
    assert_ok(am_silence_expire(w.am, str_c(id), w.now, &why));
    assert_ok(am_silence_expire(w.am, str_c(id), w.now, &why)); /* again: nothing to do */
    s.id = STR("6f4922e4-5b5d-4a0b-9f0a-2f4a4f1c1d11");
    assert_int_equal(am_silence_set(w.am, &s, w.now, id, &why), ERR_NOT_FOUND);
    s.id = STR("");
    s.ends_ms = w.now - M;
    s.starts_ms = w.now - H;
    assert_int_equal(am_silence_set(w.am, &s, w.now, id, &why), ERR_INVALID);
    assert_string_equal(why.msg, "Failed to create silence: end time can't be in the past");
    until(&w, w.now + 6 * 24 * H); /* forgotten */
    am_silences(w.am, w.now, &a, &p, &n);
    assert_int_equal(n, 0);
    am_matchers_free(&s.matchers);
    arena_deinit(&a);
    end(&w);
}

static void mutes(void **state)
{
    (void)state;
    struct world w;
    begin(&w, "route:\n  receiver: r\n  group_wait: 0s\n  group_interval: 10m\n  repeat_interval: 24h\n  routes:\n"
              "  - {matchers: [a=1], mute_time_intervals: [lunch], continue: true}\n"
              "  - {matchers: [a=1], active_time_intervals: [evening], receiver: s}\n"
              "receivers:\n- name: r\n" HOOK "- name: s\n" HOOK "time_intervals:\n"
              "- {name: lunch, time_intervals: [{times: [{start_time: '14:00', end_time: '14:30'}]}]}\n"
              "- {name: evening, time_intervals: [{times: [{start_time: '15:00', end_time: '16:00'}]}]}\n");
    FIRE("a=1"); /* 14:13:20 */
    until(&w, T0 + 16 * M);
    said(&w, "");
    until(&w, T0 + 3 * H);
    said(&w, "1200s r webhook {}/{a=\"1\"}:{} +1\n3000s s webhook {}/{a=\"1\"}:{} +1\n");
    end(&w);
}

static void tries_again(void **state)
{
    (void)state;
    struct world w;
    begin(&w, BASE);
    w.answer = AM_RETRY;
    FIRE("a=1 g=x");
    until(&w, T0 + 31 * S);
    said(&w, "30s r webhook {}:{g=\"x\"} +1\n30s r webhook {}:{g=\"x\"} +again:1\n");
    uint64_t key = w.key;
    w.answer = AM_SENT;
    until(&w, T0 + 33 * S);
    said(&w, "31s r webhook {}:{g=\"x\"} +again:1\n");
    assert_true(key == w.key);
    /* what fails for good is tried at the next turn, and a resolved alert waits until it was told */
    END("a=1 g=x");
    w.answer = AM_REFUSED;
    until(&w, T0 + 6 * M);
    said(&w, "330s r webhook {}:{g=\"x\"} -1\n");
    w.answer = AM_SENT;
    until(&w, T0 + H);
    said(&w, "630s r webhook {}:{g=\"x\"} -1\n");
    assert_true(key != w.key);
    end(&w);
}

static void gives_up_in_time(void **state)
{
    (void)state;
    struct world w;
    begin(&w, BASE);
    w.answer = AM_RETRY;
    FIRE("a=1 g=x");
    until(&w, T0 + 29 * S + 5 * M); /* the flight must be over by the next turn */
    buf_clear(&w.said);
    w.answer = AM_SENT;
    until(&w, T0 + 6 * M);
    said(&w, "330s r webhook {}:{g=\"x\"} +1\n");
    end(&w);
}

static void reloads(void **state)
{
    (void)state;
    struct world w;
    begin(&w, BASE);
    FIRE("a=1 g=x");
    until(&w, T0 + M);
    said(&w, "30s r webhook {}:{g=\"x\"} +1\n");
    struct am_config *same = config(BASE),
                     *other = config("route: {receiver: q, group_wait: 0s}\nreceivers:\n- name: q\n" HOOK);
    am_reload(w.am, same, w.now); /* told already */
    until(&w, T0 + 10 * M);
    said(&w, "");
    w.hold = true; /* a message is out while the tree changes, twice */
    FIRE("a=2 g=x");
    until(&w, T0 + 12 * M);
    said(&w, "660s r webhook {}:{g=\"x\"} +1 +2\n");
    am_reload(w.am, other, w.now);
    am_reload(w.am, same, w.now);
    until(&w, T0 + 13 * M); /* not said twice while it is out */
    said(&w, "");
    w.hold = false;
    am_sent(w.am, w.held, AM_SENT, w.now);
    until(&w, T0 + 30 * M);
    said(&w, "");
    am_reload(w.am, other, w.now);
    until(&w, T0 + 31 * M);
    said(&w, "1800s q webhook {}:{} +1 +2\n");
    am_config_unref(same);
    am_config_unref(other);
    end(&w);
}

static void groups_are_shown(void **state)
{
    (void)state;
    struct world w;
    begin(&w, BASE);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct am_group_view *g;
    size_t n;
    FIRE("a=1 g=y");
    FIRE("a=2 g=x");
    FIRE("a=3 g=x");
    am_groups(w.am, w.now, &a, &g, &n);
    assert_int_equal(n, 2);
    assert_true(str_eq(labels_get(g[0].labels, STR("g")), STR("x")) && g[0].n == 2 && g[1].n == 1);
    END("a=1 g=y");
    am_groups(w.am, w.now, &a, &g, &n);
    assert_int_equal(n, 1);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fingerprints),   cmocka_unit_test(waits_and_repeats),
        cmocka_unit_test(resolves),       cmocka_unit_test(short_ones_are_not_told),
        cmocka_unit_test(ends_by_itself), cmocka_unit_test(old_ones_do_not_wait),
        cmocka_unit_test(refusals),       cmocka_unit_test(inhibits),
        cmocka_unit_test(silences),       cmocka_unit_test(mutes),
        cmocka_unit_test(tries_again),    cmocka_unit_test(gives_up_in_time),
        cmocka_unit_test(reloads),        cmocka_unit_test(groups_are_shown),
    };
    return cmocka_run_group_tests_name("alerting/dispatch", tests, NULL, NULL);
}
