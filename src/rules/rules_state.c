/* Alerts in the control database: one row each, with their times. Annotations and the value are those of the last
 * change of state: nothing is written while an alert stays what it is. */
#include "rules/rules_manager_int.h"

#include <math.h>

enum { ALIVE_EVERY_MS = 30000 };

static const char *const steps[] = {
    "CREATE TABLE rules_alerts(grp INTEGER NOT NULL, rule INTEGER NOT NULL, alert INTEGER NOT NULL,"
    " file TEXT NOT NULL, group_name TEXT NOT NULL, rule_name TEXT NOT NULL, state INTEGER NOT NULL, value REAL,"
    " active_at_ms INTEGER NOT NULL, fired_at_ms INTEGER NOT NULL, resolved_at_ms INTEGER NOT NULL,"
    " keep_firing_since_ms INTEGER NOT NULL, labels TEXT NOT NULL, annotations TEXT NOT NULL,"
    " PRIMARY KEY(grp, rule, alert)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE rules_alive(id INTEGER PRIMARY KEY CHECK(id = 1), at_ms INTEGER NOT NULL) STRICT",
};
static const struct control_tables tables = { "rules", steps, ARRAY_LEN(steps) };

enum err rules_state_attach(struct control *c, struct err_text *reterr)
{
    return control_attach(c, &tables, reterr);
}

/* ---- identities ---- */
uint64_t rules_group_hash(const struct rule_group *g)
{
    return hash64_seed(g->name, hash64(g->file));
}

static uint64_t rule_hash(const struct rule *r)
{
    return hash64_seed(r->expr, hash64_seed(r->name, labels_hash(r->labels)));
}

static uint64_t alert_key(uint64_t rule, uint64_t alert)
{
    return hash_u64(rule + 0x9e3779b97f4a7c15ull * alert);
}

static uint64_t facts_hash(const struct rule_alert *al)
{
    const int64_t v[] = { al->state, al->active_at_ms, al->fired_at_ms, al->resolved_at_ms, al->keep_firing_since_ms };
    return hash64(str_n((const char *)v, sizeof(v)));
}

/* ---- writing ---- */
static enum err write_alert(struct control_tx *tx, const struct rules_state *s, const struct rule_group *g,
                            const struct rule *r, const struct saved_alert *key, const struct rule_alert *al)
{
    AUTO_BUF struct buf labels = { 0 }, annotations = { 0 };
    struct json_out j = json_out_init(&labels);
    labels_json(&j, al->labels);
    j = json_out_init(&annotations);
    labels_json(&j, al->annotations);
    const struct control_val v[] = {
        CV_INT((int64_t)s->group),
        CV_INT((int64_t)key->rule),
        CV_INT((int64_t)key->alert),
        CV_TEXT(g->file),
        CV_TEXT(g->name),
        CV_TEXT(r->name),
        CV_INT(al->state),
        isnan(al->value) ? CV_NULL : CV_REAL(al->value),
        CV_INT(al->active_at_ms),
        CV_INT(al->fired_at_ms),
        CV_INT(al->resolved_at_ms),
        CV_INT(al->keep_firing_since_ms),
        CV_TEXT(buf_str(&labels)),
        CV_TEXT(buf_str(&annotations)),
    };
    return control_run(tx, "INSERT OR REPLACE INTO rules_alerts VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)", v, ARRAY_LEN(v),
                       NULL);
}

static enum err delete_alert(struct control_tx *tx, const struct rules_state *s, const struct saved_alert *key)
{
    const struct control_val v[] = { CV_INT((int64_t)s->group), CV_INT((int64_t)key->rule),
                                     CV_INT((int64_t)key->alert) };
    return control_run(tx, "DELETE FROM rules_alerts WHERE grp = ? AND rule = ? AND alert = ?", v, 3, NULL);
}

struct change {
    struct saved_alert key;
    const struct rule *rule;
    const struct rule_alert *al; /* NULL: it is gone */
};
struct changes {
    struct arena *a;
    VEC(struct change) v;
};

static void gather(struct rules_state *s, const struct rules_group *g, struct changes *c)
{
    s->round++;
    for (size_t i = 0; i < rules_group_n_rules(g); i++) {
        struct rule_facts f = rules_group_rule(g, i);
        uint64_t rule = f.n_alerts ? rule_hash(f.rule) : 0;
        for (size_t k = 0; k < f.n_alerts; k++) {
            const struct rule_alert *al = f.alerts[k];
            struct saved_alert now = { rule, labels_hash(al->labels), facts_hash(al), s->round };
            struct saved_alert *old = saved_alerts_get(&s->saved, alert_key(now.rule, now.alert));
            if (old)
                old->round = s->round;
            if (!old || old->facts != now.facts)
                avec_push(c->a, &c->v, ((struct change){ now, f.rule, al }));
        }
    }
    map_each (saved_alerts, slot, &s->saved)
        if (slot->value.round != s->round)
            avec_push(c->a, &c->v, ((struct change){ slot->value, NULL, NULL }));
}

static void note_written(struct rules_state *s, const struct changes *c)
{
    for (size_t i = 0; i < c->v.n; i++) {
        const struct change *x = &c->v.p[i];
        uint64_t key = alert_key(x->key.rule, x->key.alert);
        if (x->al)
            *saved_alerts_put(&s->saved, key, NULL) = x->key;
        else
            saved_alerts_del(&s->saved, key);
    }
}

/* When somebody last evaluated: says after a restart how long nobody did. */
static bool alive_due(int64_t now_ms)
{
    static atomic_int_least64_t told;
    int64_t last = atomic_load(&told);
    return (now_ms >= last + ALIVE_EVERY_MS || now_ms < last) && atomic_compare_exchange_strong(&told, &last, now_ms);
}

enum err rules_state_save(struct rules_state *s, const struct rules_group *g, int64_t now_ms, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    struct control_tx *tx;
    arena_init(&a, 0);
    struct changes c = { .a = &a };
    if (!s->control)
        return OK;
    gather(s, g, &c);
    bool alive = alive_due(now_ms);
    if (!c.v.n && !alive)
        return OK;
    TRY(control_begin(s->control, &tx, reterr));
    enum err e = OK; /* sticky in tx: the commit tells it */
    for (size_t i = 0; i < c.v.n && !e; i++)
        e = c.v.p[i].al ? write_alert(tx, s, rules_group_source(g), c.v.p[i].rule, &c.v.p[i].key, c.v.p[i].al)
                        : delete_alert(tx, s, &c.v.p[i].key);
    if (alive || c.v.n)
        IGNORE_ERR(
            control_run(tx, "INSERT OR REPLACE INTO rules_alive(id, at_ms) VALUES(1, ?)", &CV_INT(now_ms), 1, NULL));
    TRY(control_commit(tx, reterr));
    note_written(s, &c);
    return OK;
}

enum err rules_state_delete(struct rules_state *s, struct err_text *reterr)
{
    struct control_tx *tx;
    if (!s->control || !s->saved.n)
        return OK;
    TRY(control_begin(s->control, &tx, reterr));
    IGNORE_ERR(control_run(tx, "DELETE FROM rules_alerts WHERE grp = ?", &CV_INT((int64_t)s->group), 1, NULL));
    saved_alerts_clear(&s->saved);
    return control_commit(tx, reterr);
}

/* ---- reading ---- */
struct restore {
    struct rules_state *s;
    struct rules_group *g;
    struct arena *a;
    int64_t now_ms;
    bool outage; /* nothing ran for long */
    VEC(struct saved_alert) dead;
};

static size_t find_rule(const struct rules_group *g, uint64_t hash)
{
    for (size_t i = 0; i < rules_group_n_rules(g); i++) {
        const struct rule *r = rules_group_rule(g, i).rule;
        if (r->alerting && rule_hash(r) == hash)
            return i;
    }
    return SIZE_MAX;
}

static bool restore_row(void *ctx, const struct control_val *c, size_t n)
{
    struct restore *rs = ctx;
    ASSERT(n == 10);
    struct saved_alert key = { .rule = (uint64_t)c[0].i, .alert = (uint64_t)c[1].i };
    struct rule_alert al = {
        .state = c[2].i == ALERT_FIRING    ? ALERT_FIRING
                 : c[2].i == ALERT_PENDING ? ALERT_PENDING
                                           : ALERT_INACTIVE,
        .value = c[3].type == CONTROL_REAL ? c[3].f : f64_from_bits(NORMAL_NAN_BITS),
        .active_at_ms = c[4].i,
        .fired_at_ms = c[5].i,
        .resolved_at_ms = c[6].i,
        .keep_firing_since_ms = c[7].i,
    };
    size_t at = find_rule(rs->g, key.rule);
    bool sound = at != SIZE_MAX && labels_read_json(rs->a, c[8].s, &al.labels) &&
                 labels_read_json(rs->a, c[9].s, &al.annotations) && labels_hash(al.labels) == key.alert &&
                 !saved_alerts_get(&rs->s->saved, alert_key(key.rule, key.alert));
    if (!sound || (rs->outage && al.state == ALERT_PENDING)) {
        avec_push(rs->a, &rs->dead, key);
        return true;
    }
    rules_group_restore_alert(rs->g, at, &al);
    key.facts = facts_hash(&al);
    *saved_alerts_put(&rs->s->saved, alert_key(key.rule, key.alert), NULL) = key;
    return true;
}

static bool read_time(void *ctx, const struct control_val *c, size_t n)
{
    ASSERT(n == 1);
    *(int64_t *)ctx = c[0].i;
    return false;
}

enum err rules_state_restore(struct rules_state *s, struct rules_group *g, int64_t now_ms, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    struct control_tx *tx;
    int64_t alive = now_ms;
    arena_init(&a, 0);
    struct restore rs = { .s = s, .g = g, .a = &a, .now_ms = now_ms };
    if (!s->control)
        return OK;
    TRY(control_begin(s->control, &tx, reterr));
    IGNORE_ERR(control_query(tx, "SELECT at_ms FROM rules_alive", NULL, 0, read_time, &alive, NULL));
    rs.outage = now_ms - alive > RULES_OUTAGE_MAX_MS;
    IGNORE_ERR(control_query(tx,
                             "SELECT rule, alert, state, value, active_at_ms, fired_at_ms, resolved_at_ms,"
                             " keep_firing_since_ms, labels, annotations FROM rules_alerts WHERE grp = ?",
                             &CV_INT((int64_t)s->group), 1, restore_row, &rs, NULL));
    for (size_t i = 0; i < rs.dead.n; i++)
        IGNORE_ERR(delete_alert(tx, s, &rs.dead.p[i]));
    return control_commit(tx, reterr);
}

struct sweep {
    struct arena *a;
    const uint64_t *groups;
    size_t n;
    VEC(int64_t) dead;
};

static bool sweep_row(void *ctx, const struct control_val *c, size_t n)
{
    struct sweep *s = ctx;
    ASSERT(n == 1);
    for (size_t i = 0; i < s->n; i++)
        if (s->groups[i] == (uint64_t)c[0].i)
            return true;
    avec_push(s->a, &s->dead, c[0].i);
    return true;
}

enum err rules_state_sweep(struct control *c, const uint64_t *groups, size_t n, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    struct control_tx *tx;
    arena_init(&a, 0);
    struct sweep s = { .a = &a, .groups = groups, .n = n };
    TRY(control_begin(c, &tx, reterr));
    IGNORE_ERR(control_query(tx, "SELECT DISTINCT grp FROM rules_alerts", NULL, 0, sweep_row, &s, NULL));
    for (size_t i = 0; i < s.dead.n; i++)
        IGNORE_ERR(control_run(tx, "DELETE FROM rules_alerts WHERE grp = ?", &CV_INT(s.dead.p[i]), 1, NULL));
    return control_commit(tx, reterr);
}
