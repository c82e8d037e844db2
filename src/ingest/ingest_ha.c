/* Replicas of one Prometheus: per tenant and cluster, one replica is taken and the others' samples are dropped.
 *
 *   first request of a cluster          its replica is elected
 *   a request of the elected replica    taken
 *   of another one                      dropped; elected when nothing came from the elected one for failover_ms
 *
 * As Mimir's and Cortex's trackers, the labels of a request's first series decide for all of it. A request without the
 * cluster's or the replica's label is taken as it is.
 *
 * The elected replicas are kept in a file (docs/format/ha-replicas.md), written when one changes; after a restart each
 * is given failover_ms to be heard of again. At most CLUSTERS_MAX clusters; requests of further ones are taken with
 * their replica's label, and counted. */
#include "base/fs.h"
#include "base/json.h"
#include "ingest/ingest_int.h"

#define CLUSTERS_MAX   10000
#define FILE_BYTES_MAX (16u << 20)
#define QUIET_MS       (24 * 3600 * 1000LL)

static struct stat dropped =
    STAT_COUNTER("vane_ingest_ha_dropped_samples_total", "Samples of replicas that were not the elected one", "");
static struct stat elections =
    STAT_COUNTER("vane_ingest_ha_elections_total", "Replicas elected, the first of a cluster included", "");
static struct stat too_many = STAT_COUNTER("vane_ingest_ha_untracked_requests_total",
                                           "Requests of clusters beyond the limit, taken as they are", "");

struct ha_cluster {
    str tenant, cluster, replica; /* owned */
    int64_t seen_ms, elected_ms;
    uint64_t changes, dropped;
};

static void cluster_free(struct ha_cluster *c)
{
    mem_free((void *)(uintptr_t)c->tenant.p);
    mem_free((void *)(uintptr_t)c->cluster.p);
    mem_free((void *)(uintptr_t)c->replica.p);
    mem_free(c);
}

static uint64_t key_of(const struct ingest *in, str tenant, str cluster)
{
    return hash64_seed(cluster, hash64_seed(tenant, in->counts.seed));
}

static struct ha_cluster *cluster_new(struct ingest *in, str tenant, str cluster, str replica, int64_t now_ms)
{
    struct ha_cluster *c = mem_zalloc(sizeof(*c));
    c->tenant = mem_dup(tenant);
    c->cluster = mem_dup(cluster);
    c->replica = mem_dup(replica);
    c->seen_ms = c->elected_ms = now_ms;
    *hamap_put(&in->ha.clusters, key_of(in, tenant, cluster), NULL) = c;
    return c;
}

/* ---- the file: [{"tenant":"","cluster":"a","replica":"r0","elected":1700000000000}] ---- */
static void save(struct ingest *in)
{
    struct ha *h = &in->ha;
    if (!h->path)
        return;
    AUTO_BUF struct buf b = { 0 };
    struct json_out j = json_out_init(&b);
    json_arr(&j);
    map_each (hamap, s, &h->clusters) {
        const struct ha_cluster *c = s->value;
        json_obj(&j);
        json_kstr(&j, "tenant", c->tenant);
        json_kstr(&j, "cluster", c->cluster);
        json_kstr(&j, "replica", c->replica);
        json_ki64(&j, "elected", c->elected_ms);
        json_obj_end(&j);
    }
    json_arr_end(&j);
    buf_u8(&b, '\n');
    enum err e = fs_write_file_atomic(h->fs, h->path, buf_str(&b));
    if (e)
        LOG_WARN("the elected replicas could not be kept: after a restart the first one that sends is taken", "file",
                 h->path, "err", err_describe(e));
}

static bool load_one(struct ingest *in, struct json_in *j, int64_t now_ms)
{
    str tenant = STR(""), cluster = STR(""), replica = STR("");
    int64_t elected = now_ms;
    for (enum json_tok k; (k = json_next(j)) == JSON_TOK_KEY;) {
        str key = j->text;
        enum json_tok v = json_next(j);
        if (v == JSON_TOK_STR && str_eq(key, STR("tenant")))
            tenant = j->text;
        else if (v == JSON_TOK_STR && str_eq(key, STR("cluster")))
            cluster = j->text;
        else if (v == JSON_TOK_STR && str_eq(key, STR("replica")))
            replica = j->text;
        else if (v == JSON_TOK_NUM && str_eq(key, STR("elected")))
            IGNORE_ERR(str_to_i64(j->text, &elected) ? OK : ERR_PARSE);
        else if (!json_skip(j))
            return false;
    }
    if (j->tok != JSON_TOK_OBJ_END)
        return false;
    if (cluster.n && replica.n && in->ha.clusters.n < CLUSTERS_MAX &&
        !hamap_get(&in->ha.clusters, key_of(in, tenant, cluster)))
        cluster_new(in, tenant, cluster, replica, now_ms)->elected_ms = elected;
    return true;
}

static void load(struct ingest *in)
{
    AUTO_ARENA struct arena a;
    struct err_text why = { .msg = "" };
    str text;
    arena_init(&a, 0);
    enum err e = fs_read_file(in->ha.fs, in->ha.path, FILE_BYTES_MAX, &a, &text, &why);
    if (e == ERR_NOT_FOUND)
        return;
    bool ok = e == OK;
    struct json_in j;
    int64_t now = clock_now_ms(in->clock);
    if (ok) {
        json_in_init(&j, &a, text);
        ok = json_next(&j) == JSON_TOK_ARR;
        while (ok && json_next(&j) == JSON_TOK_OBJ)
            ok = load_one(in, &j, now);
        ok = ok && j.tok == JSON_TOK_ARR_END;
    }
    if (!ok)
        LOG_WARN("the elected replicas could not be read: the first one that sends is taken", "file", in->ha.path,
                 "err", why.msg[0] ? why.msg : "damaged");
}

void ha_init(struct ingest *in, const struct ingest_config *cfg)
{
    struct ha *h = &in->ha;
    mtx_init(&h->mu, 0);
    h->fs = cfg->fs ? cfg->fs : fs_os();
    stat_register(&dropped);
    stat_register(&elections);
    if (!cfg->dir)
        return;
    AUTO_BUF struct buf b = { 0 };
    buf_printf(&b, "%s/ha-replicas.json", cfg->dir);
    h->path = mem_strdup(buf_str(&b));
    load(in);
}

void ha_deinit(struct ingest *in)
{
    map_each (hamap, s, &in->ha.clusters)
        cluster_free(s->value);
    hamap_free(&in->ha.clusters);
    mem_free(in->ha.path);
    mtx_deinit(&in->ha.mu);
}

static void forget_quiet(struct ingest *in, int64_t now_ms)
{
    struct hamap old = in->ha.clusters;
    memset(&in->ha.clusters, 0, sizeof(old));
    map_each (hamap, s, &old) {
        if (now_ms - s->value->seen_ms < QUIET_MS)
            *hamap_put(&in->ha.clusters, s->key, NULL) = s->value;
        else
            cluster_free(s->value);
    }
    hamap_free(&old);
}

static enum ha_verdict judge(struct ingest *in, const struct ingest_ha *cfg, str tenant, str cluster, str replica,
                             size_t samples)
{
    int64_t now = clock_now_ms(in->clock);
    struct ha_cluster *const *found = hamap_get(&in->ha.clusters, key_of(in, tenant, cluster));
    struct ha_cluster *c = found ? *found : NULL;
    if (!c) {
        if (in->ha.clusters.n >= CLUSTERS_MAX)
            forget_quiet(in, now);
        if (in->ha.clusters.n >= CLUSTERS_MAX) {
            stat_add(&too_many, 1);
            return HA_NONE;
        }
        cluster_new(in, tenant, cluster, replica, now);
        LOG_INFO("replica elected", "tenant", LOG_STR(tenant), "cluster", LOG_STR(cluster), "replica",
                 LOG_STR(replica));
    } else if (str_eq(c->replica, replica)) {
        c->seen_ms = MAX(c->seen_ms, now);
        return HA_TAKEN;
    } else if (now - c->seen_ms < cfg->failover_ms) {
        c->dropped += samples;
        stat_add(&dropped, (int64_t)samples);
        return HA_OTHER;
    } else {
        LOG_WARN("nothing came from the elected replica: another one is taken", "tenant", LOG_STR(tenant), "cluster",
                 LOG_STR(cluster), "was", LOG_STR(c->replica), "now", LOG_STR(replica), "silent_ms",
                 LOG_I64(now - c->seen_ms));
        mem_free((void *)(uintptr_t)c->replica.p);
        c->replica = mem_dup(replica);
        c->seen_ms = c->elected_ms = now;
        c->changes++;
    }
    stat_add(&elections, 1);
    save(in);
    return HA_TAKEN;
}

enum ha_verdict ha_ask(struct ingest *in, const struct ingest_ha *cfg, str tenant, struct labels first, size_t samples)
{
    str cluster = labels_get(first, cfg->cluster_label), replica = labels_get(first, cfg->replica_label);
    if (!cluster.n || !replica.n)
        return HA_NONE;
    mtx_lock(&in->ha.mu);
    enum ha_verdict v = judge(in, cfg, tenant, cluster, replica, samples);
    mtx_unlock(&in->ha.mu);
    return v;
}

void ha_copy(struct ingest *in, str tenant, struct arena *a, struct ingest_status *ret)
{
    mtx_lock(&in->ha.mu);
    ret->replicas = arena_array(a, struct ingest_replica, in->ha.clusters.n);
    map_each (hamap, s, &in->ha.clusters) {
        const struct ha_cluster *c = s->value;
        if (str_eq(c->tenant, tenant))
            ret->replicas[ret->n_replicas++] = (struct ingest_replica){
                arena_str(a, c->cluster), arena_str(a, c->replica), c->seen_ms, c->elected_ms, c->changes, c->dropped
            };
    }
    mtx_unlock(&in->ha.mu);
}
