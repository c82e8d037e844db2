/* alerting/am_policy.h: severities, escalation, digests, flapping, resolve_wait and drills, in simulated time. */
#include "test.h"

#include <stdlib.h>

#include "alerting/am.h"
#include "alerting/am_ack.h"
#include "alerting/am_heartbeat.h"
#include "alerting/am_history.h"
#include "alerting/am_policy.h"
#include "alerting/am_policy_state.h"
#include "base/vec.h"

#define T0 INT64_C(1790000000000) /* a Monday: 2026-09-21 14:13:20 UTC */
#define S  INT64_C(1000)
#define M  (60 * S)
#define H  (60 * M)
#define D  (24 * H)

struct world {
    struct am *am;
    struct am_policy_state *facts;
    int64_t now;
    enum am_outcome answer;
    struct buf said; /* "30s phone +A" */
    struct am_changes changes;
    struct buf annotations;
};

static void send(void *ctx, struct am_notice *n)
{
    struct world *w = ctx;
    buf_printf(&w->said, "%llds " STR_FMT, (long long)((w->now - T0) / S), STR_ARG(n->receiver->name));
    for (size_t i = 0; i < n->n_alerts; i++)
        buf_printf(&w->said, " %s%s" STR_FMT, n->alerts[i].ends_ms ? "-" : "+", n->alerts[i].flapping ? "~" : "",
                   STR_ARG(labels_get(n->alerts[i].labels, STR("alertname"))));
    buf_u8(&w->said, '\n');
    w->changes = n->changes;
    buf_clear(&w->annotations);
    if (n->n_alerts)
        buf_str_add(&w->annotations, labels_get(n->alerts[0].annotations, STR("flapping")));
    am_sent(w->am, n, w->answer, w->now);
}

#define FILE_TEXT                                                                          \
    "route: {receiver: other, group_by: [alertname], group_wait: 30s, group_interval: 5m," \
    " repeat_interval: 12h}\n"                                                             \
    "receivers:\n"                                                                         \
    "- {name: other, webhook_configs: [{url: 'http://x.example'}]}\n"                      \
    "- {name: phone, webhook_configs: [{url: 'http://x.example'}]}\n"                      \
    "- {name: mail, webhook_configs: [{url: 'http://x.example'}]}\n"                       \
    "- {name: chat, webhook_configs: [{url: 'http://x.example'}]}\n"                       \
    "- {name: second, webhook_configs: [{url: 'http://x.example'}]}\n"

/* Errors as text; *ret NULL then. */
static void load_policy(const char *policy, const char *file, struct am_config **ret, struct buf *errors)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct conf_ctx cx = conf_ctx_init(&a, fs_os());
    struct conf_node *n;
    struct err_text why = { 0 };
    *ret = NULL;
    assert_ok(conf_parse(&cx, STR("vane.yaml"), str_c(policy), 0, &n));
    if (am_config_parse_under(STR("am.yml"), str_c(file), conf_get(n, STR("alert_policy")), ret, errors, &why) != OK)
        *ret = NULL;
    conf_ctx_release(&cx);
}

static struct am_config *config(const char *policy)
{
    struct am_config *c;
    AUTO_BUF struct buf errors;
    buf_init(&errors, 0);
    load_policy(policy, FILE_TEXT, &c, &errors);
    if (!c)
        fail_msg("%.*s", (int)errors.n, errors.p);
    return c;
}

static void begin(struct world *w, const char *policy)
{
    struct am_config *c = config(policy);
    *w = (struct world){ .now = T0, .answer = AM_SENT };
    buf_init(&w->said, 0);
    buf_init(&w->annotations, 0);
    assert_ok(am_policy_state_open(NULL, &w->facts, NULL));
    const struct am_options opt = { .ctx = w, .facts = w->facts, .send = send };
    assert_ok(am_open(&opt, c, T0, &w->am));
    am_config_unref(c);
}

/* As after a kill -9: alerts come again, only what was saved is known. */
static void restart(struct world *w, const char *policy)
{
    struct am_config *c = config(policy);
    am_close(w->am);
    const struct am_options opt = { .ctx = w, .facts = w->facts, .send = send };
    assert_ok(am_open(&opt, c, w->now, &w->am));
    am_config_unref(c);
}

static void end(struct world *w)
{
    am_close(w->am);
    am_policy_state_close(w->facts);
    buf_deinit(&w->said);
    buf_deinit(&w->annotations);
}

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

static int cmp_line(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

/* Messages of one moment come in no order. */
static str sorted(struct arena *a, str text)
{
    VEC(str) lines = { 0 };
    struct buf b;
    str line;
    buf_init(&b, 0);
    while (str_cut(&text, '\n', &line))
        if (line.n)
            avec_push(a, &lines, line);
    if (lines.n)
        qsort(lines.p, lines.n, sizeof(*lines.p), cmp_line);
    for (size_t i = 0; i < lines.n; i++)
        buf_printf(&b, STR_FMT "\n", STR_ARG(lines.p[i]));
    str r = arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return r;
}

static void said(struct world *w, const char *want)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str is = sorted(&a, buf_str(&w->said)), should = sorted(&a, str_c(want));
    if (!str_eq(is, should))
        fail_msg("said:\n" STR_FMT "and not:\n" STR_FMT, STR_ARG(is), STR_ARG(should));
    buf_clear(&w->said);
}

/* "alertname=x severity=P1" began at `starts` and fires on, or ends now. */
static void post(struct world *w, const char *labels, int64_t starts, bool ends)
{
    struct label p[8];
    size_t n = 0;
    str rest = str_c(labels), pair;
    while (str_cut(&rest, ' ', &pair)) {
        p[n].value = pair;
        str_cut(&p[n].value, '=', &p[n].name);
        n++;
    }
    struct am_alert a = { .labels = { p, n }, .starts_ms = starts, .ends_ms = ends ? w->now : w->now + 365 * D };
    assert_ok(am_post(w->am, &a, 1, w->now, NULL, NULL));
}
#define FIRE(labels) post(&w, labels, w.now, false)
#define END(labels)  post(&w, labels, w.now - S, true)

#define POLICY                                                           \
    "alert_policy:\n"                                                    \
    "  channels: {phone: phone, email: mail, chat: [chat]}\n"            \
    "  escalations: {default: {steps: [{after: 5m, channels: [second]}," \
    " {after: 20m, channels: [phone, second]}]}}\n"                      \
    "  digests: {daily: {at: '08:00', time_zone: Europe/Berlin, channels: [email]}}\n"

static void severities(void **state)
{
    (void)state;
    struct world w;
    begin(&w, POLICY);
    FIRE("alertname=A severity=warning"); /* P3 */
    FIRE("alertname=B severity=none");
    FIRE("alertname=C severity=P3");
    until(&w, T0 + 60 * S);
    said(&w, "30s mail +A\n30s chat +A\n30s mail +C\n30s chat +C\n30s other +B\n");
    end(&w);
}

static void escalates(void **state)
{
    (void)state;
    struct world w;
    begin(&w, POLICY);
    FIRE("alertname=A severity=P1");
    until(&w, T0 + 31 * S);
    said(&w, "30s phone +A\n30s mail +A\n30s chat +A\n");
    until(&w, T0 + 5 * M + 29 * S);
    said(&w, "");
    until(&w, T0 + 15 * M); /* five minutes after it was told */
    said(&w, "330s second +A\n");
    until(&w, T0 + 60 * M);
    said(&w, "1230s phone +A\n1230s second +A\n");
    END("alertname=A severity=P1"); /* everybody hears the end */
    until(&w, T0 + 66 * M);
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_add(&b, w.said.p, w.said.n);
    assert_true(str_contains(buf_str(&b), STR(" second -A\n")));
    assert_true(str_contains(buf_str(&b), STR(" mail -A\n")));
    end(&w);
}

static void acknowledged_does_not_escalate(void **state)
{
    (void)state;
    struct world w;
    struct err_text why;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    begin(&w, POLICY);
    FIRE("alertname=A severity=P1");
    until(&w, T0 + 2 * M);
    said(&w, "30s phone +A\n30s mail +A\n30s chat +A\n");
    struct am_matcher m;
    assert_ok(am_matcher_parse(&a, STR("alertname=A"), AM_FALLBACK, &m, NULL));
    const struct am_matchers ms = { &m, 1 };
    const struct am_ack_target target = { .matchers = &ms };
    assert_ok(am_ack_set(w.am, &target, STR("me"), STR(""), T0 + 30 * M, w.now, NULL, &why));
    until(&w, T0 + 29 * M);
    said(&w, "");
    until(&w, T0 + 31 * M); /* it ran out, and nobody did anything: both steps are due */
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_add(&b, w.said.p, w.said.n);
    assert_true(str_contains(buf_str(&b), STR(" second +A\n")));
    assert_true(str_contains(buf_str(&b), STR(" phone +A\n")));
    struct am_history_page page;
    const struct am_history_filter f = { .kinds = 1u << AM_EV_ESCALATED };
    assert_ok(am_history_query(w.am, &f, &a, &page, &why));
    assert_true(page.n >= 1);
    assert_true(str_contains(page.events[0].text, STR("of default")));
    am_matchers_free(&(struct am_matchers){ &m, 1 });
    end(&w);
}

static void ends_before_the_step(void **state)
{
    (void)state;
    struct world w;
    begin(&w, POLICY);
    FIRE("alertname=A severity=P1");
    until(&w, T0 + 2 * M);
    END("alertname=A severity=P1");
    until(&w, T0 + 60 * M);
    said(&w, "30s phone +A\n30s mail +A\n30s chat +A\n330s phone -A\n330s mail -A\n330s chat -A\n");
    end(&w);
}

static void each_alert_has_its_own_clock(void **state)
{
    (void)state;
    struct world w;
    begin(&w, POLICY);
    FIRE("alertname=A severity=P1 i=1");
    until(&w, T0 + 4 * M);
    FIRE("alertname=A severity=P1 i=2"); /* told with the group's turn at 330 s, so its step comes at 630 s */
    until(&w, T0 + 9 * M);
    said(&w, "30s phone +A\n30s mail +A\n30s chat +A\n"
             "330s phone +A +A\n330s mail +A +A\n330s chat +A +A\n330s second +A\n");
    until(&w, T0 + 12 * M);
    said(&w, "630s second +A +A\n");
    end(&w);
}

static void clock_goes_on_after_a_restart(void **state)
{
    (void)state;
    struct world w;
    begin(&w, POLICY);
    FIRE("alertname=A severity=P1");
    until(&w, T0 + 2 * M);
    said(&w, "30s phone +A\n30s mail +A\n30s chat +A\n");
    restart(&w, POLICY);
    post(&w, "alertname=A severity=P1", T0, false);
    until(&w, T0 + 6 * M);
    said(&w,
         "120s phone +A\n120s mail +A\n120s chat +A\n330s second +A\n"); /* the log of what was told is not kept here */
    end(&w);
}

static void silenced_has_no_clock(void **state)
{
    (void)state;
    struct world w;
    AUTO_ARENA struct arena a;
    char id[AM_ID_LEN + 1];
    begin(&w, POLICY);
    arena_init(&a, 0);
    struct am_matcher m;
    assert_ok(am_matcher_parse(&a, STR("alertname=A"), AM_FALLBACK, &m, NULL));
    struct am_silence sil = {
        .matchers = { &m, 1 }, .starts_ms = T0, .ends_ms = T0 + H, .created_by = STR("x"), .comment = STR("y")
    };
    assert_ok(am_silence_set(w.am, &sil, T0, id, NULL));
    FIRE("alertname=A severity=P1");
    until(&w, T0 + 59 * M);
    said(&w, "");
    until(&w, T0 + 65 * M + 29 * S); /* the base at its next turn, the step five minutes later */
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_add(&b, w.said.p, w.said.n);
    assert_true(str_contains(buf_str(&b), STR("3630s phone +A\n")));
    assert_false(str_contains(buf_str(&b), STR("second")));
    until(&w, T0 + 67 * M);
    buf_clear(&b);
    buf_add(&b, w.said.p, w.said.n);
    assert_true(str_contains(buf_str(&b), STR(" second +A\n")));
    am_matchers_free(&sil.matchers);
    end(&w);
}

static void digest(void **state)
{
    (void)state;
    struct world w;
    begin(&w, POLICY);
    FIRE("alertname=A severity=P4");
    FIRE("alertname=B severity=info");
    until(&w, T0 + H);
    END("alertname=B severity=info"); /* it came and went: told all the same */
    until(&w, T0 + 30 * H);
    /* 08:00 in Berlin is 06:00 UTC: 15 h 46 min 40 s after T0 */
    said(&w, "56800s mail +A -B\n");
    until(&w, T0 + 60 * H); /* A fires on: it is in the next one */
    said(&w, "143200s mail +A\n");
    END("alertname=A severity=P4");
    until(&w, T0 + 5 * D);
    said(&w, "229600s mail -A\n");
    until(&w, T0 + 6 * D);
    FIRE("alertname=A severity=P4"); /* the ones between were empty: nothing was missed */
    until(&w, T0 + 6 * D + H);
    said(&w, "");
    end(&w);
}

static void missed_digest(void **state)
{
    (void)state;
    struct world w;
    begin(&w, POLICY);
    FIRE("alertname=A severity=P4");
    until(&w, T0 + 30 * H);
    said(&w, "56800s mail +A\n");
    w.now = T0 + 45 * H; /* nothing ran at 143200 s */
    restart(&w, POLICY);
    post(&w, "alertname=A severity=P4", T0, false);
    until(&w, T0 + 46 * H);
    said(&w, "162000s mail +A\n");
    restart(&w, POLICY); /* and not twice */
    post(&w, "alertname=A severity=P4", T0, false);
    until(&w, T0 + 47 * H);
    said(&w, "");
    end(&w);
}

static void dashboard_only(void **state)
{
    (void)state;
    struct world w;
    begin(&w, "alert_policy: {channels: {email: mail}}\n");
    FIRE("alertname=A severity=P4");
    until(&w, T0 + H);
    said(&w, "");
    struct am_alert_view *v;
    size_t n;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    am_alerts(w.am, w.now, &a, &v, &n);
    assert_int_equal(n, 1);
    assert_true(str_eq(v[0].receivers[0], STR("vane-dashboard")));
    end(&w);
}

static void waits_before_it_says_resolved(void **state)
{
    (void)state;
    struct world w;
    begin(&w, "alert_policy: {resolve_wait: 6m}\n");
    FIRE("alertname=A");
    until(&w, T0 + 4 * M);
    END("alertname=A");
    until(&w, T0 + 9 * M); /* the turn at 330 s keeps still */
    said(&w, "30s other +A\n");
    FIRE("alertname=A");
    until(&w, T0 + 20 * M); /* nobody heard of the gap */
    said(&w, "");
    END("alertname=A");
    until(&w, T0 + 40 * M);
    said(&w, "1830s other -A\n");
    FIRE("alertname=B");
    until(&w, T0 + 40 * M + 10 * S);
    END("alertname=B"); /* never told: neither is its end */
    until(&w, T0 + 60 * M);
    said(&w, "");
    end(&w);
}

static void flaps(void **state)
{
    (void)state;
    struct world w;
    begin(&w, "alert_policy: {flapping: {changes: 4, window: 20m}}\n");
    for (int i = 0; i < 15; i++) {
        FIRE("alertname=A");
        until(&w, w.now + M);
        END("alertname=A");
        until(&w, w.now + M);
    }
    /* told, its end, flapping; and then nothing for half an hour */
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_add(&b, w.said.p, w.said.n);
    size_t lines = 0;
    for (size_t i = 0; i < b.n; i++)
        lines += b.p[i] == '\n';
    assert_true(lines <= 3);
    assert_true(str_contains(buf_str(&b), STR("other +~A\n")));
    assert_true(str_contains(buf_str(&w.annotations), STR("changes in the last 1200 s")));
    buf_clear(&w.said);
    until(&w, w.now + H);
    buf_clear(&b);
    buf_add(&b, w.said.p, w.said.n);
    assert_true(str_contains(buf_str(&b), STR("other -A\n"))); /* quiet: it is over */
    end(&w);
}

static void counts_changes(void **state)
{
    (void)state;
    struct world w;
    begin(&w, "alert_policy: {}\n");
    FIRE("alertname=A i=1");
    FIRE("alertname=A i=2");
    until(&w, T0 + M);
    assert_int_equal(w.changes.n_new, 2);
    assert_int_equal(w.changes.n_unchanged, 0);
    FIRE("alertname=A i=3");
    END("alertname=A i=1");
    until(&w, T0 + 6 * M);
    assert_int_equal(w.changes.n_new, 1);
    assert_int_equal(w.changes.n_resolved, 1);
    assert_int_equal(w.changes.n_unchanged, 1);
    end(&w);
}

/* As a receiver's webhook and a mail's subject would have it. */
static void messages(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    struct am_config *c = config("alert_policy: {}");
    struct tmpl_set *text, *html;
    struct am_request rq[AM_REQUESTS_MAX];
    size_t n;
    arena_init(&a, 0);
    assert_ok(am_config_templates(c, false, &text, NULL));
    assert_ok(am_config_templates(c, true, &html, NULL));
    struct label l[] = { { STR("alertname"), STR("A") }, { STR("drill"), STR("true") } };
    const struct am_data_alert al = { .labels = { l, 2 }, .starts_ms = 1, .generator_url = STR("") };
    const struct am_data_changes changes = { 1, 0, 3 };
    const struct am_data_input in = { .receiver = STR("other"),
                                      .external_url = STR("http://v"),
                                      .group_labels = { l, 1 },
                                      .alerts = &al,
                                      .n = 1,
                                      .now_ms = T0,
                                      .changes = &changes };
    const struct tmpl_val data = am_data(&a, &in);
    const struct am_receiver *rc = am_config_receiver(c, STR("other"));
    const struct am_message m = { .receiver = rc,
                                  .integration = &rc->integrations[0],
                                  .data = &data,
                                  .text = text,
                                  .html = html,
                                  .group_key = STR("{}:{}"),
                                  .now_ms = T0,
                                  .fs = fs_os() };
    assert_ok(am_payload_build(&m, &a, rq, &n, NULL));
    assert_true(str_contains(rq[0].body, STR("\"changes\":{\"new\":1,\"resolved\":0,\"unchanged\":3}")));
    assert_true(str_contains(rq[0].body, STR("\"alertname\":\"[DRILL] A\",\"drill\":\"true\"")));
    struct tmpl_am world = { .now_ms = T0, .set = text, .data = &data };
    const struct tmpl_run run = { .a = &a, .ctx = &world };
    AUTO_BUF struct buf out;
    buf_init(&out, 0);
    assert_ok(tmpl_exec(text, STR("__subject"), &data, &run, &out, NULL));
    buf_u8(&out, 0);
    assert_string_equal(out.p, "[FIRING:1] [DRILL] A (true) - 1 new, 3 unchanged");
    tmpl_set_free(text);
    tmpl_set_free(html);
    am_config_unref(c);
}

static void drills(void **state)
{
    (void)state;
    struct world w;
    begin(&w, POLICY);
    FIRE("alertname=A severity=P3");
    until(&w, T0 + M);
    said(&w, "30s mail +A\n30s chat +A\n");
    FIRE("alertname=A severity=P3 drill=true"); /* a group of its own */
    FIRE("alertname=A drill=true drill_receiver=phone");
    FIRE("alertname=D severity=P4 drill=true"); /* no digest has it */
    until(&w, T0 + 2 * M);
    said(&w, "60s phone +A\n90s mail +A\n90s chat +A\n");
    END("alertname=A drill=true drill_receiver=phone");
    END("alertname=A severity=P3 drill=true");
    END("alertname=A severity=P3");
    until(&w, T0 + H);
    buf_clear(&w.said);
    until(&w, T0 + 2 * D);
    said(&w, "");
    end(&w);
}

static void watchdog(void **state)
{
    (void)state;
    struct world w;
    begin(&w, "alert_policy: {watchdog: {url: 'http://ping.example/x', period: 1m}}\n");
    FIRE("alertname=Watchdog");
    until(&w, T0 + 3 * M + S);
    said(&w, "0s vane-watchdog +Watchdog\n60s vane-watchdog +Watchdog\n120s vane-watchdog +Watchdog\n"
             "180s vane-watchdog +Watchdog\n");
    END("alertname=Watchdog");
    until(&w, T0 + H);
    said(&w, "");
    end(&w);
}

#define BEATS                                                                               \
    "alert_policy: {channels: {email: mail}, heartbeats: {backup: {period: 1h, grace: 10m," \
    " labels: {severity: P3}, annotations: {runbook: x}}}}\n"

static void heartbeats(void **state)
{
    (void)state;
    struct world w;
    struct err_text why;
    struct am_heartbeat_view *v;
    size_t n;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    begin(&w, BEATS);
    until(&w, T0 + 10 * M);
    assert_ok(am_heartbeat_seen(w.am, STR("backup"), w.now, &why));
    assert_int_equal(am_heartbeat_seen(w.am, STR("other"), w.now, &why), ERR_NOT_FOUND);
    until(&w, T0 + 80 * M - S);
    said(&w, "");
    until(&w, T0 + 84 * M); /* an hour and ten minutes after it came; then group_wait */
    said(&w, "4830s mail +HeartbeatMissing\n");
    am_heartbeats(w.am, w.now, &a, &v, &n);
    assert_true(n == 1 && v->missing && v->last_ms == T0 + 10 * M && v->due_ms == T0 + 80 * M);
    restart(&w, BEATS); /* it is missing still */
    until(&w, T0 + 90 * M);
    said(&w, "5040s mail +HeartbeatMissing\n");
    assert_ok(am_heartbeat_seen(w.am, STR("backup"), w.now, &why));
    until(&w, T0 + 100 * M);
    said(&w, "5640s mail -HeartbeatMissing\n");
    until(&w, T0 + 155 * M);
    w.now = T0 + 200 * M; /* nothing ran when it was due: it has its grace */
    restart(&w, BEATS);
    until(&w, T0 + 209 * M);
    said(&w, "");
    assert_ok(am_heartbeat_seen(w.am, STR("backup"), w.now, &why));
    until(&w, T0 + 260 * M);
    said(&w, "");
    end(&w);
}

/* As `amtool config` sees it. */
static void prints_its_routes(void **state)
{
    (void)state;
    struct am_config *c = config("alert_policy: {channels: {email: mail}, watchdog: {url: 'http://p.example/hunter2'},"
                                 " digests: {daily: {at: '08:00', channels: [email]}}}\n");
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    am_config_print(c, &b);
    static const char *const has[] = {
        "  - receiver: vane-watchdog\n    matchers:\n    - alertname=\"Watchdog\"\n    continue: false\n    group_by:\n"
        "    - alertname\n    group_wait: 0s\n    group_interval: 1m\n    repeat_interval: 30s\n",
        "  - receiver: mail\n    matchers:\n    - severity=~\"critical|page|P1\"\n    continue: false\n",
        "    group_by: []\n    group_interval: 6h\n    labels:\n      digest: daily\n",
        "- name: vane-watchdog\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(has); i++)
        if (!str_contains(buf_str(&b), str_c(has[i])))
            fail_msg("no\n%s in\n%.*s", has[i], (int)b.n, b.p);
    assert_false(str_contains(buf_str(&b), STR("hunter2")));
    am_config_unref(c);
}

static void goals(void **state)
{
    (void)state;
    struct am_config *c = config("alert_policy:\n  channels: {email: mail}\n"
                                 "  business_hours: [{weekdays: ['monday:friday'], times: [{start_time: '09:00', "
                                 "end_time: '17:00'}], location: UTC}]\n"
                                 "  severities: {P2: {response: 30m}, X: {match: [x], channels: [chat]}}\n");
    const struct am_policy *p = c->policy;
    const struct {
        const char *value, *name;
        int64_t due;
    } rows[] = {
        { "critical", "P1", T0 },    { "P2", "P2", T0 + 30 * M },
        { "warning", "P3", T0 + D }, { "P4", "P4", INT64_C(1790010000000) },
        { "x", "X", INT64_MAX },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct label l = { STR("severity"), str_c(rows[i].value) };
        const struct am_severity *s = am_policy_severity(p, (struct labels){ &l, 1 });
        assert_non_null(s);
        assert_true(str_eq(s->name, str_c(rows[i].name)));
        assert_true(am_policy_due_ms(p, s, T0) == rows[i].due);
    }
    /* Overdue is due and past. */
    for (int64_t t = T0; t < T0 + 8 * D; t += 37 * M) {
        bool want = am_policy_due_ms(p, &p->all[3], T0 + 2 * D) <= t / M * M;
        assert_int_equal(am_policy_overdue(p, &p->all[3], T0 + 2 * D, t, am_policy_last_end_ms(p, t)), want);
    }
    /* Saturday: the end of Monday */
    assert_true(am_policy_due_ms(p, &p->all[3], T0 + 5 * D) == INT64_C(1790010000000) + 7 * D);
    am_config_unref(c);
}

static void calendars(void **state)
{
    (void)state;
    const struct tz *berlin;
    assert_ok(tz_load(STR("Europe/Berlin"), &berlin, NULL));
    struct am_range weekdays = { 1, 5 };
    struct am_interval on = { .weekdays = { &weekdays, 1 }, .tz = berlin };
    const int64_t fri = T0 + 4 * D;                                               /* Friday 16:13 in Berlin */
    assert_true(am_calendar_next_ms(8 * 60, &on, fri) == INT64_C(1790575200000)); /* Monday 08:00 = 06:00 UTC */
    assert_true(am_calendar_previous_ms(8 * 60, &on, fri + D) == INT64_C(1790316000000));
    /* the clock goes back on 2026-10-25: 08:00 is 07:00 UTC from then on */
    const struct am_interval any = { .tz = berlin };
    assert_true(am_calendar_next_ms(8 * 60, &any, INT64_C(1792915200000)) == INT64_C(1792998000000));
    assert_true(am_calendar_next_ms(8 * 60, &any, INT64_C(1792821600000)) == INT64_C(1792911600000));
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *policy, *error;
    } rows[] = {
        { "alert_policy: {chanels: {}}",
          "vane.yaml:1:16: field chanels not found in type alert_policy, did you mean \"channels\"?" },
        { "alert_policy: {channels: {phone: nobody}}", "undefined receiver \"nobody\"" },
        { "alert_policy: {severities: {P1: {channels: [x]}}}",
          "\"x\" is neither one of alert_policy.channels nor a receiver" },
        { "alert_policy: {severities: {P1: {escalation: x}}}", "undefined escalation \"x\"" },
        { "alert_policy: {severities: {P1: {digest: x}}}", "undefined digest \"x\"" },
        { "alert_policy: {severities: {P1: {response: soon}}}", "vane.yaml:1:44: not a valid duration" },
        { "alert_policy: {severities: {P1: {match: [a]}, P2: {match: [a]}}}", "\"a\" means P1 already" },
        { "alert_policy: {digests: {d: {at: '8', channels: [mail]}}}", "\"8\" is not a time of day" },
        { "alert_policy: {digests: {d: {at: '08:00', time_zone: Nowhere/X, channels: [mail]}}}", "unknown time zone" },
        { "alert_policy: {digests: {d: {at: '08:00'}}}", "a digest needs channels" },
        { "alert_policy: {digests: {d: {at: '08:00', weekdays: [someday], channels: [mail]}}}",
          "someday is not a valid weekday" },
        { "alert_policy: {escalations: {e: {steps: [{after: 5m, channels: [mail]}, {after: 5m, channels: [chat]}]}}}",
          "`after` must grow" },
        { "alert_policy: {escalations: {e: {steps: [{channels: [mail]}]}}}", "after" },
        { "alert_policy: {flapping: {changes: 100}}", "at most 60 changes" },
        { "alert_policy: {watchdog: {period: 1m}}", "watchdog needs one of url and url_file" },
        { "alert_policy: {heartbeats: {x: {}}}", "period" },
        { "alert_policy: {drills: [{at: '03:00'}]}", "one of rule, receiver and labels" },
        { "alert_policy: {drills: [{at: '03:00', receiver: x}]}", "undefined receiver \"x\" of a drill" },
        { "alert_policy: {business_hours: always}", "business_hours is a list of time intervals" },
        { "alert_policy: []", "vane.yaml:1" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct am_config *c;
        AUTO_BUF struct buf errors;
        buf_init(&errors, 0);
        load_policy(rows[i].policy, FILE_TEXT, &c, &errors);
        if (c || !str_contains(buf_str(&errors), str_c(rows[i].error)))
            fail_msg("%s: %.*s", rows[i].policy, (int)errors.n, errors.p ? errors.p : "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(severities),
        cmocka_unit_test(escalates),
        cmocka_unit_test(acknowledged_does_not_escalate),
        cmocka_unit_test(ends_before_the_step),
        cmocka_unit_test(each_alert_has_its_own_clock),
        cmocka_unit_test(clock_goes_on_after_a_restart),
        cmocka_unit_test(silenced_has_no_clock),
        cmocka_unit_test(digest),
        cmocka_unit_test(missed_digest),
        cmocka_unit_test(dashboard_only),
        cmocka_unit_test(waits_before_it_says_resolved),
        cmocka_unit_test(flaps),
        cmocka_unit_test(counts_changes),
        cmocka_unit_test(messages),
        cmocka_unit_test(drills),
        cmocka_unit_test(watchdog),
        cmocka_unit_test(heartbeats),
        cmocka_unit_test(prints_its_routes),
        cmocka_unit_test(goals),
        cmocka_unit_test(calendars),
        cmocka_unit_test(refuses),
    };
    return cmocka_run_group_tests_name("alerting/policy", tests, NULL, NULL);
}
