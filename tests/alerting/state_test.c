/* alerting/am.h over a control database: what was acknowledged is there after a crash, timers go on, a message that was
 * sent and not noted is sent again under the same key; acknowledgements; the history. A crash is a copy of the files
 * at that moment. */
#include "test.h"

#include <stdio.h>
#include <unistd.h>

#include "alerting/am_ack.h"
#include "alerting/am_history.h"
#include "base/fs.h"
#include "base/vec.h"
#include "control/control.h"

#define T0 INT64_C(1790000000000)
#define S  INT64_C(1000)
#define M  (60 * S)
#define H  (60 * M)

struct world {
    char path[128];
    struct control *control;
    struct am_config *cfg;
    struct am *am;
    int64_t now;
    enum am_outcome answer;
    struct am_notice *held;
    bool hold;
    struct buf said; /* "30s webhook +1 -2\n" */
    uint64_t key;
};
static char dir[64];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/vane-am-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return fs_remove_tree(fs_os(), dir) != OK;
}

static void send(void *ctx, struct am_notice *n)
{
    struct world *w = ctx;
    buf_printf(&w->said, "%llds", (long long)((w->now - T0) / S));
    for (size_t i = 0; i < n->n_alerts; i++)
        buf_printf(&w->said, " %s" STR_FMT, n->alerts[i].ends_ms ? "-" : "+",
                   STR_ARG(labels_get(n->alerts[i].labels, STR("a"))));
    buf_u8(&w->said, '\n');
    w->key = n->idempotency;
    snprintf(n->delivery.answer, sizeof(n->delivery.answer), "ok, said the provider");
    snprintf(n->delivery.memory, sizeof(n->delivery.memory), "thread 7");
    if (w->hold)
        w->held = n;
    else
        am_sent(w->am, n, w->answer, w->now);
}

#define YAML                                                                                          \
    "route: {receiver: r, group_by: [g], group_wait: 30s, group_interval: 5m, repeat_interval: 1h}\n" \
    "inhibit_rules: [{source_matchers: [s=high], target_matchers: [s=low]}]\n"                        \
    "receivers:\n- name: r\n  webhook_configs: [{url: 'http://x.example'}]\n"

static void begin_at(struct world *w, const char *path, int64_t now)
{
    struct err_text why = { 0 };
    *w = (struct world){ .now = now, .answer = AM_SENT };
    snprintf(w->path, sizeof(w->path), "%s", path);
    buf_init(&w->said, 0);
    if (control_open(w->path, &w->control, &why) != OK ||
        am_config_parse(STR("am.yml"), STR(YAML), &w->cfg, NULL, &why) != OK)
        fail_msg("%s", why.msg);
    const struct am_options opt = { .ctx = w, .send = send, .control = w->control };
    assert_ok(am_open(&opt, w->cfg, now, &w->am));
}

static void begin(struct world *w)
{
    char path[96];
    snprintf(path, sizeof(path), "%s/control.db", dir);
    begin_at(w, path, T0);
    assert_ok(am_durable(w->am, NULL));
}

static void end(struct world *w)
{
    if (w->held)
        am_sent(w->am, w->held, AM_SENT, w->now);
    am_close(w->am);
    control_close(w->control);
    am_config_unref(w->cfg);
    buf_deinit(&w->said);
}

static void copy_file(const char *from, const char *to, const char *suffix)
{
    char a[160], b[160];
    AUTO_ARENA struct arena mem;
    str all;
    arena_init(&mem, 0);
    snprintf(a, sizeof(a), "%s%s", from, suffix);
    snprintf(b, sizeof(b), "%s%s", to, suffix);
    if (fs_read_file(fs_os(), a, 1u << 30, &mem, &all, NULL) == OK)
        assert_ok(fs_write_file_atomic(fs_os(), b, all));
}

/* As if the process had been killed now, and another began after down_ms. The old one goes on for itself. */
static void crash(struct world *w, struct world *after, int64_t down_ms)
{
    static int n;
    char path[96];
    AUTO_ARENA struct arena a;
    struct am_history_page page;
    arena_init(&a, 0);
    assert_ok(am_post(w->am, NULL, 0, w->now, NULL, NULL)); /* all is on disk, and nobody writes */
    assert_ok(am_history_query(w->am, &(struct am_history_filter){ .limit = 1 }, &a, &page, NULL));
    snprintf(path, sizeof(path), "%s/crash-%d.db", dir, n++);
    copy_file(w->path, path, "");
    copy_file(w->path, path, "-wal");
    begin_at(after, path, w->now + down_ms);
}

static void until(struct world *w, int64_t t)
{
    for (int i = 0; i < 1000000; i++) {
        int64_t next = am_tick(w->am, w->now);
        if (next > t)
            break;
        w->now = MAX(next, w->now + 1);
    }
    w->now = t;
}

static void said(struct world *w, const char *want)
{
    buf_u8(&w->said, 0);
    assert_string_equal(w->said.p, want);
    buf_clear(&w->said);
}

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
#define FIRE(labels) post(&w, labels, 10 * H)
#define END(labels)  post(&w, labels, 0)

static size_t n_alerts(struct world *w)
{
    AUTO_ARENA struct arena a;
    struct am_alert_view *v;
    size_t n;
    arena_init(&a, 0);
    am_alerts(w->am, w->now, &a, &v, &n);
    return n;
}

/* "received grouped ...", oldest first. */
static void history(struct world *w, const struct am_history_filter *f, const char *want)
{
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf b;
    struct am_history_page page;
    struct err_text why;
    arena_init(&a, 0);
    buf_init(&b, 0);
    if (am_history_query(w->am, f, &a, &page, &why) != OK)
        fail_msg("%s", why.msg);
    for (size_t i = page.n; i-- > 0;)
        buf_printf(&b, "%s%s", b.n ? " " : "", am_event_kind_name(page.events[i].kind));
    buf_u8(&b, 0);
    assert_string_equal(b.p, want);
}

static void timers_go_on(void **state)
{
    (void)state;
    struct world w, x;
    begin(&w);
    FIRE("a=1 g=x");
    until(&w, T0 + 10 * S);
    crash(&w, &x, 5 * S);
    assert_int_equal(n_alerts(&x), 1);
    until(&x, T0 + 29 * S);
    said(&x, "");
    until(&x, T0 + 4 * M);
    said(&x, "30s +1\n");
    end(&x);
    until(&w, T0 + 31 * S); /* told: at once after a restart there is nothing to say */
    said(&w, "30s +1\n");
    crash(&w, &x, H / 2);
    until(&x, x.now + M);
    said(&x, "");
    end(&x);
    FIRE("a=2 g=x"); /* waits for the group's next turn */
    crash(&w, &x, 5 * S);
    until(&x, T0 + 6 * M);
    said(&x, "330s +1 +2\n");
    end(&x);
    end(&w);
}

static void told_again_under_the_same_key(void **state)
{
    (void)state;
    struct world w, x, y;
    begin(&w);
    FIRE("a=1 g=x");
    FIRE("a=2 g=x");
    w.hold = true;
    until(&w, T0 + 40 * S);
    said(&w, "30s +1 +2\n");
    crash(&w, &x, S); /* between send and record */
    until(&x, T0 + 42 * S);
    said(&x, "41s +1 +2\n");
    assert_true(x.key == w.key);
    crash(&x, &y, S); /* it was noted there */
    until(&y, T0 + M);
    said(&y, "");
    until(&y, T0 + 2 * H); /* a repetition is another message */
    assert_true(y.said.n > 0 && y.key != x.key);
    end(&y);
    end(&x);
    end(&w);
}

static void ends_are_told_once(void **state)
{
    (void)state;
    struct world w, x;
    begin(&w);
    FIRE("a=1 g=x");
    FIRE("a=2 g=x");
    until(&w, T0 + M);
    said(&w, "30s +1 +2\n");
    END("a=2 g=x");
    crash(&w, &x, 3 * H); /* was not told yet; and what fires still does, however long nobody ran */
    assert_int_equal(n_alerts(&x), 1);
    until(&x, x.now + S);
    said(&x, "10860s +1 -2\n");
    end(&x);
    until(&w, T0 + 6 * M);
    said(&w, "330s +1 -2\n");
    FIRE("a=3 g=x");
    until(&w, T0 + 11 * M);
    said(&w, "630s +1 +3\n");
    crash(&w, &x, S);
    until(&x, T0 + 20 * M);
    said(&x, "");
    end(&x);
    end(&w);
}

static void while_nothing_runs_nothing_ends(void **state)
{
    (void)state;
    struct world w, x;
    begin(&w);
    post(&w, "a=1 g=x", 4 * M);
    until(&w, T0 + M);
    said(&w, "30s +1\n");
    crash(&w, &x, 30 * M);
    assert_int_equal(n_alerts(&x), 1);
    until(&x, x.now + M);
    said(&x, "");
    until(&x, x.now + 10 * M); /* its sender is gone as well */
    assert_int_equal(n_alerts(&x), 0);
    end(&x);
    for (int i = 1; i < 20; i++) { /* told every minute: little is written, and yet it is known to fire */
        until(&w, T0 + i * M);
        post(&w, "a=1 g=x", 4 * M);
    }
    buf_clear(&w.said);
    crash(&w, &x, S);
    assert_int_equal(n_alerts(&x), 1);
    until(&x, x.now + M);
    said(&x, "");
    end(&x);
    end(&w);
}

static void silences(void **state)
{
    (void)state;
    struct world w, x;
    char id[AM_ID_LEN + 1], other[AM_ID_LEN + 1];
    struct err_text why;
    AUTO_ARENA struct arena a;
    struct am_matchers m;
    arena_init(&a, 0);
    assert_ok(am_matchers_parse(&a, STR("{g=~\"x|y\\\"\\n\", a!=\"\"}"), AM_UTF8, &m, &why));
    begin(&w);
    struct am_silence s = {
        .matchers = m, .starts_ms = T0, .ends_ms = T0 + H, .created_by = STR("anna"), .comment = STR("repair, 100 %")
    };
    assert_ok(am_silence_set(w.am, &s, T0, id, &why));
    assert_ok(am_silence_set(w.am, &s, T0, other, &why));
    assert_ok(am_silence_expire(w.am, str_c(other), T0 + S, &why));
    crash(&w, &x, 10 * S);
    struct am_silence *p;
    size_t n;
    am_silences(x.am, x.now, &a, &p, &n);
    assert_int_equal(n, 2);
    assert_true(str_eq(p[0].id, str_c(id)) && str_eq(p[0].comment, STR("repair, 100 %")));
    assert_int_equal(p[0].matchers.n, 2);
    for (size_t i = 0; i < 2; i++)
        assert_true(p[0].matchers.p[i].type == m.p[i].type && str_eq(p[0].matchers.p[i].value, m.p[i].value));
    assert_int_equal(am_silence_state(&p[1], x.now), AM_SILENCE_EXPIRED);
    post(&x, "a=1 g=x", H);
    until(&x, T0 + 2 * M);
    said(&x, "");
    history(&x, &(struct am_history_filter){ 0 }, "silence_set silence_set silence_expired received grouped silenced");
    am_matchers_free(&m);
    end(&x);
    end(&w);
}

static void acknowledgements(void **state)
{
    (void)state;
    struct world w, x;
    struct err_text why;
    size_t n;
    begin(&w);
    FIRE("a=1 g=x");
    FIRE("a=2 g=x");
    until(&w, T0 + M);
    said(&w, "30s +1 +2\n");
    const struct am_ack_target group = { .group_key = STR("{}:{g=\"x\"}") }, none = { .fingerprint = 1 };
    assert_int_equal(am_ack_set(w.am, &none, STR("anna"), STR(""), 0, w.now, &n, &why), ERR_NOT_FOUND);
    assert_int_equal(am_ack_set(w.am, &group, STR(""), STR(""), 0, w.now, &n, &why), ERR_INVALID);
    assert_int_equal(am_ack_set(w.am, &group, STR("anna"), STR(""), T0, w.now, &n, &why), ERR_INVALID);
    assert_ok(am_ack_set(w.am, &group, STR("anna"), STR("I look"), 0, w.now, &n, &why));
    assert_int_equal(n, 2);
    until(&w, T0 + 3 * H); /* no repetition */
    said(&w, "");
    crash(&w, &x, S);
    AUTO_ARENA struct arena a;
    struct am_ack *p;
    arena_init(&a, 0);
    am_acks(x.am, x.now, &a, &p, &n);
    assert_int_equal(n, 2);
    assert_true(str_eq(p[0].owner, STR("anna")) && str_eq(p[0].comment, STR("I look")));
    until(&x, T0 + 4 * H);
    said(&x, "");
    post(&x, "a=3 g=x", H); /* news is told */
    until(&x, x.now + 5 * M);
    assert_non_null(strstr(x.said.p, "+1 +2 +3"));
    buf_clear(&x.said);
    assert_ok(am_ack_clear(x.am, &group, STR("ben"), x.now, &n, &why));
    assert_int_equal(n, 2);
    assert_false(am_ack_get(x.am, p[0].fingerprint, x.now, &a, NULL));
    end(&x);
    END("a=1 g=x"); /* that it ended is told, and ends the acknowledgement */
    until(&w, w.now + 5 * M);
    assert_non_null(strstr(w.said.p, "-1 +2"));
    am_acks(w.am, w.now, &a, &p, &n);
    assert_int_equal(n, 1);
    history(&w,
            &(struct am_history_filter){ .kinds =
                                             1u << AM_EV_HELD | 1u << AM_EV_ACKNOWLEDGED | 1u << AM_EV_UNACKNOWLEDGED },
            "acknowledged acknowledged held unacknowledged");
    const struct am_ack_target two = { .fingerprint = p[0].fingerprint };
    assert_ok(am_ack_set(w.am, &two, STR("anna"), STR(""), w.now + 10 * M, w.now, &n, &why));
    assert_true(am_ack_get(w.am, two.fingerprint, w.now, &a, NULL));
    until(&w, w.now + 20 * M); /* it runs out */
    assert_false(am_ack_get(w.am, two.fingerprint, w.now, &a, NULL));
    assert_non_null(strstr(w.said.p, "+2"));
    end(&w);
}

static void the_history_tells(void **state)
{
    (void)state;
    struct world w, x;
    AUTO_ARENA struct arena a;
    struct am_history_page page;
    arena_init(&a, 0);
    begin(&w);
    FIRE("a=1 g=x s=high");
    FIRE("a=2 g=x s=low");
    FIRE("a=3 g=y");
    w.answer = AM_RETRY;
    until(&w, T0 + 30 * S);
    w.answer = AM_SENT;
    until(&w, T0 + M);
    END("a=1 g=x s=high");
    struct am_alert_view *v;
    size_t n;
    am_alerts(w.am, w.now, &a, &v, &n);
    uint64_t low = 0;
    for (size_t i = 0; i < n; i++)
        if (str_eq(labels_get(v[i].alert.labels, STR("a")), STR("2")))
            low = v[i].alert.fingerprint;
    until(&w, T0 + 6 * M);
    crash(&w, &x, S);
    history(&x, &(struct am_history_filter){ .fingerprint = low }, "received grouped inhibited sent delivered");
    history(&x, &(struct am_history_filter){ .receiver = STR("r"), .kinds = 1u << AM_EV_FAILED }, "failed failed");
    history(&x,
            &(struct am_history_filter){
                .contains = STR("SAID the"), .group_key = STR("{}:{g=\"y\"}"), .kinds = 1u << AM_EV_DELIVERED },
            "delivered");
    struct am_matchers m;
    assert_ok(am_matchers_parse(&a, STR("{a=\"1\"}"), AM_FALLBACK, &m, NULL));
    history(&x, &(struct am_history_filter){ .matchers = &m }, "received grouped resolved");
    am_matchers_free(&m);
    history(&x, &(struct am_history_filter){ .from_ms = T0 + 2, .to_ms = T0 + 30 * S }, "");
    struct am_history_filter f = { .limit = 3 };
    size_t total = 0;
    do { /* page by page */
        assert_ok(am_history_query(x.am, &f, &a, &page, NULL));
        total += page.n;
        f.before_id = page.next_id;
    } while (page.next_id);
    f = (struct am_history_filter){ .limit = 1000 };
    assert_ok(am_history_query(x.am, &f, &a, &page, NULL));
    assert_int_equal(total, page.n);
    /* the same by kinds, in pages that end amid one */
    const uint32_t some = 1u << AM_EV_RECEIVED | 1u << AM_EV_GROUPED | 1u << AM_EV_FAILED;
    struct am_history_page of_kinds;
    f = (struct am_history_filter){ .kinds = some, .limit = 2 };
    total = 0;
    for (size_t i = 0; i < page.n;) {
        assert_ok(am_history_query(x.am, &f, &a, &of_kinds, NULL));
        for (size_t k = 0; k < of_kinds.n; k++, total++) {
            while (!(some >> page.events[i].kind & 1))
                i++;
            assert_int_equal(of_kinds.events[k].id, page.events[i++].id);
        }
        f.before_id = of_kinds.next_id;
        if (!f.before_id)
            break;
    }
    assert_int_equal(total, 3 + 3 + 2);
    end(&x);
    end(&w);
}

/* A message was on its way when the process died, and the alert ended meanwhile: perhaps it was taken. */
static void an_end_of_what_was_perhaps_told(void **state)
{
    (void)state;
    struct world w, x;
    begin(&w);
    FIRE("a=1 g=x");
    w.hold = true;
    until(&w, T0 + 40 * S);
    said(&w, "30s +1\n");
    END("a=1 g=x");
    crash(&w, &x, S);
    until(&x, T0 + M);
    said(&x, "41s -1\n");
    until(&x, T0 + H);
    said(&x, "");
    end(&x);
    am_sent(w.am, w.held, AM_REFUSED, w.now); /* it was not */
    w.held = NULL;
    w.hold = false;
    crash(&w, &x, S);
    until(&x, T0 + H);
    said(&x, "");
    end(&x);
    until(&w, T0 + H);
    said(&w, "");
    end(&w);
}

/* As version 1 of the tables left it. */
static void a_database_of_the_version_before(void **state)
{
    (void)state;
    struct world w, x;
    struct control_tx *tx;
    char path[96];
    begin(&w);
    FIRE("a=1 g=x");
    until(&w, T0 + M);
    said(&w, "30s +1\n");
    assert_ok(am_post(w.am, NULL, 0, w.now, NULL, NULL));
    assert_ok(control_begin(w.control, &tx, NULL));
    static const char *const down[] = {
        "DROP INDEX am_history_kind",
        "ALTER TABLE am_log DROP COLUMN tried",
        "CREATE TABLE old(fp INTEGER PRIMARY KEY, starts_ms INTEGER NOT NULL, ends_ms INTEGER NOT NULL,"
        " updated_ms INTEGER NOT NULL, timed_out INTEGER NOT NULL, url TEXT NOT NULL, labels TEXT NOT NULL,"
        " annotations TEXT NOT NULL) STRICT",
        "INSERT INTO old SELECT fp, starts_ms, ends_ms, updated_ms, timed_out, url, labels, annotations FROM am_alerts",
        "DROP TABLE am_alerts",
        "ALTER TABLE old RENAME TO am_alerts",
        "UPDATE control_tables SET version = 1 WHERE name = 'alerting'",
    };
    for (size_t i = 0; i < ARRAY_LEN(down); i++)
        assert_ok(control_run(tx, down[i], NULL, 0, NULL));
    assert_ok(control_commit(tx, NULL));
    snprintf(path, sizeof(path), "%s/before.db", dir);
    copy_file(w.path, path, "");
    copy_file(w.path, path, "-wal");
    end(&w);
    begin_at(&x, path, T0 + 2 * M);
    assert_ok(am_durable(x.am, NULL));
    assert_int_equal(n_alerts(&x), 1);
    until(&x, T0 + 20 * M); /* it was told */
    said(&x, "");
    end(&x);
}

/* A database that cannot be taken up: alerting goes on, and says that it forgets. */
static void broken_database(void **state)
{
    (void)state;
    struct world w;
    struct control_tx *tx;
    struct err_text why;
    begin(&w);
    FIRE("a=1 g=x");
    assert_ok(control_begin(w.control, &tx, &why));
    assert_ok(control_run(tx, "DROP TABLE am_log", NULL, 0, &why));
    assert_ok(control_commit(tx, &why));
    until(&w, T0 + M); /* what cannot be written does not stop a message */
    said(&w, "30s +1\n");
    struct am_alert a = { .labels = { &(struct label){ STR("a"), STR("2") }, 1 } };
    AUTO_BUF struct buf text;
    buf_init(&text, 0);
    assert_int_not_equal(am_post(w.am, &a, 1, w.now, NULL, &text), OK);
    assert_true(str_contains(buf_str(&text), STR("not stored: ")));
    assert_int_equal(n_alerts(&w), 2);
    end(&w);
    char path[128];
    memcpy(path, w.path, sizeof(path));
    begin_at(&w, path, T0 + M);
    assert_int_not_equal(am_durable(w.am, &why), OK);
    assert_int_equal(n_alerts(&w), 0);
    FIRE("a=1 g=x");
    until(&w, T0 + 2 * M);
    said(&w, "90s +1\n");
    end(&w);
}

/* Rows that somebody else wrote. */
static void rows_without_sense(void **state)
{
    (void)state;
    struct world w, x;
    struct control_tx *tx;
    begin(&w);
    FIRE("a=1 g=x");
    assert_ok(control_begin(w.control, &tx, NULL));
    static const char *const bad[] = {
        "INSERT INTO am_alerts VALUES(70, 77, 1, 2, 3, 0, '', '{\"a\":\"1\"}', '{}')",
        "INSERT INTO am_alerts VALUES(71, 78, 1, 2, 3, 0, '', 'no', '{}')",
        "INSERT INTO am_silences VALUES('short', 1, 2, 3, '', '', '[]')",
        "INSERT INTO am_silences VALUES('6f4922e4-5b5d-4a0b-9f0a-2f4a4f1c1d11', 1, 2, 3, '', '', "
        "'[\"=~\",\"a\",\"(\"]')",
        "INSERT INTO am_log VALUES('k', x'01', x'', 1, 2, 3, '', x'')",
        "INSERT INTO am_acks VALUES(5, 'x', '', 1, 2)",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_ok(control_run(tx, bad[i], NULL, 0, NULL));
    assert_ok(control_commit(tx, NULL));
    crash(&w, &x, S);
    assert_ok(am_durable(x.am, NULL));
    assert_int_equal(n_alerts(&x), 1);
    until(&x, T0 + M);
    said(&x, "30s +1\n");
    end(&x);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timers_go_on, setup, teardown),
        cmocka_unit_test_setup_teardown(told_again_under_the_same_key, setup, teardown),
        cmocka_unit_test_setup_teardown(ends_are_told_once, setup, teardown),
        cmocka_unit_test_setup_teardown(while_nothing_runs_nothing_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(silences, setup, teardown),
        cmocka_unit_test_setup_teardown(acknowledgements, setup, teardown),
        cmocka_unit_test_setup_teardown(the_history_tells, setup, teardown),
        cmocka_unit_test_setup_teardown(an_end_of_what_was_perhaps_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_database_of_the_version_before, setup, teardown),
        cmocka_unit_test_setup_teardown(broken_database, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_without_sense, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
