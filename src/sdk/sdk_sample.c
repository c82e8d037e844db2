/* Samplers, and the holds of tail sampling.
 *
 * What a root is decided by is a `plan`: a list of rules with token buckets. Each kind of sampler is a plan: the ratio is
 * one rule, the rate limit one, Jaeger's answer one per operation. A plan is constant but for its buckets; a new one
 * replaces it by a pointer, and the old one rests until the second replacement after 10 s, because a thread may be
 * reading it.
 *
 * Ratios compare the last 7 bytes of the trace id with a threshold, as W3C trace context level 2 provides for, so that
 * every service with the same ratio decides alike. */
#include "sdk_trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define RULES_MAX 256 /* of a plan; vane_sampler_rules() takes 64, Jaeger's answer may name more operations */

struct bucket {
    double per_second;        /* 0: no limit */
    _Atomic uint64_t full_ns; /* the time at which the bucket would be full again */
    uint64_t cost_ns, depth_ns;
};

struct rule {
    char *name, *attr_key, *attr_value;
    size_t name_n;
    bool any_rest; /* the name ended in * */
    uint64_t threshold;
    struct bucket limit; /* at most */
    struct bucket floor; /* at least, whatever the ratio (Jaeger's lower bound) */
    bool keep_errors;
    uint64_t keep_slow_ns;
};

struct plan {
    size_t n;
    struct rule rule[RULES_MAX];
};

static struct plan *_Atomic plan;
_Atomic bool sdk_sample_all, sdk_sample_attrs;
static pthread_mutex_t plan_mu = PTHREAD_MUTEX_INITIALIZER;
static struct plan *old_plan;
static uint64_t old_since_ns;

/* ---- deciding ---- */

#define SCALE 72057594037927936.0 /* 2^56 */

static uint64_t threshold_of(double ratio)
{
    return ratio >= 1 ? 0 : ratio <= 0 ? (uint64_t)1 << 56 : (uint64_t)((1 - ratio) * SCALE);
}

static bool ratio_takes(uint64_t threshold, const uint8_t id[16])
{
    uint64_t r = 0;
    if (!threshold)
        return true;
    for (size_t i = 9; i < 16; i++)
        r = r << 8 | id[i];
    return r >= threshold;
}

static void bucket_init(struct bucket *b, double per_second)
{
    b->per_second = per_second;
    b->cost_ns = per_second > 0 ? (uint64_t)(1e9 / per_second) : 0;
    b->depth_ns = b->cost_ns > 1000000000u ? b->cost_ns : 1000000000u; /* a second's worth, at least one */
}

/* Take one token: a bucket is the point in time at which it is full again, moved ahead by each token. */
static bool bucket_take(struct bucket *b)
{
    uint64_t now = sdk_mono_ns(), full = atomic_load_explicit(&b->full_ns, memory_order_relaxed), next;
    do {
        next = (full > now ? full : now) + b->cost_ns;
        if (next > now + b->depth_ns)
            return false;
    } while (
        !atomic_compare_exchange_weak_explicit(&b->full_ns, &full, next, memory_order_relaxed, memory_order_relaxed));
    return true;
}

static bool value_is(const vane_attr *a, const char *want)
{
    char text[32];
    size_t n = 0;
    switch (a->type) {
    case VANE_T_STR:
        if (!a->v.s)
            return !*want;
        return a->n == SIZE_MAX ? !strcmp(a->v.s, want) : strlen(want) == a->n && !memcmp(a->v.s, want, a->n);
    case VANE_T_INT:
        n = (size_t)snprintf(text, sizeof text, "%lld", (long long)a->v.i);
        break;
    case VANE_T_F64:
        n = sdk_fmt_f64(text, a->v.f);
        break;
    case VANE_T_BOOL:
        return !strcmp(want, a->v.b ? "true" : "false");
    default:
        return false;
    }
    return strlen(want) == n && !memcmp(text, want, n);
}

static bool rule_fits(const struct rule *r, const char *name, const vane_attr *attrs, size_t n)
{
    if (r->name && (strncmp(name, r->name, r->name_n) || (!r->any_rest && name[r->name_n])))
        return false;
    if (!r->attr_key)
        return true;
    for (size_t i = 0; i < n; i++)
        if (attrs[i].key && !strcmp(attrs[i].key, r->attr_key) &&
            (!r->attr_value || value_is(&attrs[i], r->attr_value)))
            return true;
    return false;
}

struct sdk_decision sdk_sample_root(const uint8_t trace_id[16], const char *name, const vane_attr *attrs, size_t n)
{
    struct plan *p = atomic_load_explicit(&plan, memory_order_acquire);
    for (size_t i = 0; p && i < p->n; i++) {
        struct rule *r = &p->rule[i];
        if (!rule_fits(r, name, attrs, n))
            continue;
        bool yes = ratio_takes(r->threshold, trace_id) && (!r->limit.cost_ns || bucket_take(&r->limit));
        if (!yes && r->floor.cost_ns)
            yes = bucket_take(&r->floor);
        return (struct sdk_decision){ yes, r->keep_errors, r->keep_slow_ns };
    }
    return (struct sdk_decision){ .sampled = false };
}

/* ---- plans ---- */

static void plan_free(struct plan *p)
{
    for (size_t i = 0; p && i < p->n; i++) {
        sdk_free_str(p->rule[i].name);
        sdk_free_str(p->rule[i].attr_key);
        sdk_free_str(p->rule[i].attr_value);
    }
    sdk_free(p, sizeof *p);
}

/* NULL stays NULL. */
static bool dup_to(char **to, const char *s)
{
    return !s || (*to = sdk_dup(s)) != NULL;
}

static vane_status plan_add(struct plan *p, const vane_sampler_rule *in, double floor)
{
    if (p->n == RULES_MAX)
        return VANE_E_LIMIT;
    struct rule *r = &p->rule[p->n++];
    size_t n = in->name ? strlen(in->name) : 0;
    r->any_rest = n && in->name[n - 1] == '*';
    r->name_n = n - r->any_rest;
    r->threshold = threshold_of(in->ratio);
    bucket_init(&r->limit, in->per_second);
    bucket_init(&r->floor, floor);
    r->keep_errors = in->keep_errors;
    r->keep_slow_ns = (uint64_t)(in->keep_slow_s * 1e9);
    return dup_to(&r->name, in->name) && dup_to(&r->attr_key, in->attr_key) && dup_to(&r->attr_value, in->attr_value)
               ? VANE_OK
               : VANE_E_NOMEM;
}

static bool takes_all(const struct plan *p)
{
    const struct rule *r = &p->rule[0];
    return p->n && !r->name && !r->attr_key && !r->threshold && !r->limit.cost_ns;
}

static bool reads_attrs(const struct plan *p)
{
    size_t i = 0;
    while (i < p->n && !p->rule[i].attr_key)
        i++;
    return i < p->n;
}

static void plan_use(struct plan *p)
{
    pthread_mutex_lock(&plan_mu);
    atomic_store(&sdk_sample_all, p && takes_all(p));
    atomic_store(&sdk_sample_attrs, p && reads_attrs(p));
    struct plan *gone = atomic_exchange_explicit(&plan, p, memory_order_acq_rel), *dead = NULL;
    uint64_t now = sdk_mono_ns();
    if (old_plan && now - old_since_ns > 10000000000u) {
        dead = old_plan;
        old_plan = NULL;
    }
    if (gone && !old_plan) {
        old_plan = gone;
        old_since_ns = now;
        gone = NULL;
    }
    pthread_mutex_unlock(&plan_mu);
    plan_free(dead);
    if (!gone)
        return;
    /* Replaced twice within 10 s: wait for the readers here, where nobody is in a hurry. */
    struct timespec t = { 0, 50000000 };
    nanosleep(&t, NULL);
    plan_free(gone);
}

vane_status vane_sampler_rules(const vane_sampler_rule *rules, size_t n)
{
    if (!sdk_on())
        return VANE_E_STATE;
    if (n > 64)
        return VANE_E_LIMIT;
    if ((n && !rules) || sdk_cfg.sampler != VANE_SAMPLER_RULES)
        return VANE_E_ARG;
    for (size_t i = 0; i < n; i++) {
        const vane_sampler_rule *r = &rules[i];
        bool ok = r->ratio >= 0 && r->ratio <= 1 && r->per_second >= 0 && r->per_second <= 1e9 && r->keep_slow_s >= 0 &&
                  r->keep_slow_s <= 1e6 && (!r->attr_value || r->attr_key);
        if (!ok) {
            sdk_diag(VANE_E_ARG,
                     "vane_sampler_rules: rule %zu has a ratio, rate or duration out of range; nothing changed", i);
            return VANE_E_ARG;
        }
    }
    struct plan *p = sdk_alloc(sizeof *p);
    vane_status st = p ? VANE_OK : VANE_E_NOMEM;
    for (size_t i = 0; !st && i < n; i++)
        st = plan_add(p, &rules[i], 0);
    if (st)
        plan_free(p);
    else
        plan_use(p);
    return st;
}

/* ---- Jaeger's answer: a JSON reader that walks, bounded in depth ---- */

struct json {
    const char *p, *end;
    int depth;
    bool bad;
};

static char json_peek(struct json *j)
{
    while (j->p < j->end && strchr(" \t\r\n", *j->p) && *j->p)
        j->p++;
    return j->p < j->end ? *j->p : 0;
}

static bool json_eat(struct json *j, char c)
{
    if (json_peek(j) != c)
        return false;
    j->p++;
    return true;
}

/* A string, unescaped and cut to cap - 1 bytes. */
static void json_string(struct json *j, char *buf, size_t cap)
{
    size_t n = 0;
    if (!json_eat(j, '"')) {
        j->bad = true;
        return;
    }
    while (j->p < j->end && *j->p != '"') {
        char c = *j->p++;
        if ((unsigned char)c < 0x20 || (c == '\\' && j->p == j->end)) {
            j->bad = true;
            return;
        }
        if (c == '\\') {
            c = *j->p++;
            const char *from = "nrtbf", *to = "\n\r\t\b\f", *at = strchr(from, c);
            uint8_t u[2];
            if (c == 'u') {
                if (j->end - j->p < 4 || !sdk_unhex(j->p, 4, u)) {
                    j->bad = true;
                    return;
                }
                j->p += 4;
                c = u[0] || u[1] >= 0x80 ? '?' : (char)u[1]; /* no operation is named so; it just does not match */
            } else if (at && c) {
                c = to[at - from];
            }
        }
        if (n + 1 < cap)
            buf[n++] = c;
    }
    if (cap)
        buf[n] = 0;
    j->bad |= !json_eat(j, '"');
}

static double json_number(struct json *j)
{
    json_peek(j);
    const char *s = j->p;
    while (j->p < j->end && *j->p && strchr("+-0123456789.eE", *j->p))
        j->p++;
    double v = 0;
    j->bad |= !sdk_parse_f64(s, (size_t)(j->p - s), &v);
    return v;
}

static void json_skip(struct json *j)
{
    char c = json_peek(j), close = c == '{' ? '}' : ']';
    if (c == '"') {
        json_string(j, NULL, 0);
    } else if (c == '{' || c == '[') {
        j->p++;
        if (++j->depth > 32)
            j->bad = true;
        if (!json_eat(j, close))
            do {
                if (c == '{') {
                    json_string(j, NULL, 0);
                    j->bad |= !json_eat(j, ':');
                }
                if (!j->bad)
                    json_skip(j);
            } while (!j->bad && json_eat(j, ','));
        else
            goto closed;
        j->bad |= !json_eat(j, close);
    closed:
        j->depth--;
    } else if ((c >= '0' && c <= '9') || c == '-') {
        json_number(j);
    } else {
        static const char *const words[] = { "true", "false", "null" };
        for (size_t i = 0; i < 3; i++)
            if ((size_t)(j->end - j->p) >= strlen(words[i]) && !memcmp(j->p, words[i], strlen(words[i]))) {
                j->p += strlen(words[i]);
                return;
            }
        j->bad = true;
    }
}

/* Next key of an object; first after its "{". false at the end. */
static bool json_key(struct json *j, bool *first, char *key, size_t cap)
{
    if (j->bad)
        return false;
    if (*first) {
        *first = false;
        if (!json_eat(j, '{')) {
            j->bad = true;
            return false;
        }
        if (json_eat(j, '}'))
            return false;
    } else if (!json_eat(j, ',')) {
        j->bad |= !json_eat(j, '}');
        return false;
    }
    json_string(j, key, cap);
    j->bad |= !json_eat(j, ':');
    return !j->bad;
}

/* The number behind one key of an object. */
static double json_member(struct json *j, const char *want, bool *ret_found)
{
    char key[64];
    double v = 0;
    for (bool first = true; json_key(j, &first, key, sizeof key);) {
        if (strcmp(key, want)) {
            json_skip(j);
        } else {
            v = json_number(j);
            *ret_found = true;
        }
    }
    return v;
}

static bool null_next(struct json *j)
{
    if (json_peek(j) != 'n')
        return false;
    json_skip(j);
    return true;
}

static void remote_operations(struct json *j, struct plan *p, double floor)
{
    if (null_next(j) || !json_eat(j, '[') || json_eat(j, ']'))
        return;
    do {
        char key[64], name[SDK_NAME_BYTES + 1] = "";
        bool found = false;
        vane_sampler_rule r = { .name = name };
        for (bool first = true; json_key(j, &first, key, sizeof key);) {
            if (!strcmp(key, "operation"))
                json_string(j, name, sizeof name);
            else if (!strcmp(key, "probabilisticSampling"))
                r.ratio = json_member(j, "samplingRate", &found);
            else
                json_skip(j);
        }
        size_t n = strlen(name);
        bool usable = found && n && name[n - 1] != '*' && r.ratio >= 0 && r.ratio <= 1;
        if (!j->bad && usable && p->n < RULES_MAX - 1 && plan_add(p, &r, floor))
            j->bad = true;
    } while (!j->bad && json_eat(j, ','));
    j->bad |= !json_eat(j, ']');
}

/* operationSampling. The lower bound may stand behind the list, so it is looked up first. */
static void remote_per_operation(struct json *j, struct plan *p, vane_sampler_rule *rest, double *floor)
{
    struct json again = *j;
    bool found = false;
    char key[64];
    *floor = json_member(&again, "defaultLowerBoundTracesPerSecond", &found);
    *floor = *floor > 0 && *floor < 1e9 ? *floor : 0;
    for (bool first = true; json_key(j, &first, key, sizeof key);) {
        if (!strcmp(key, "defaultSamplingProbability"))
            rest->ratio = json_number(j);
        else if (!strcmp(key, "perOperationStrategies"))
            remote_operations(j, p, *floor);
        else
            json_skip(j);
    }
}

bool sdk_sample_remote(const char *text, size_t n)
{
    struct json j = { .p = text, .end = text + n };
    struct plan *p = sdk_alloc(sizeof *p);
    if (!p)
        return false;
    vane_sampler_rule rest = { .ratio = 1 };
    bool found = false;
    double floor = 0;
    char key[64];
    for (bool first = true; json_key(&j, &first, key, sizeof key);) {
        if (null_next(&j))
            continue;
        if (!strcmp(key, "probabilisticSampling")) {
            rest.ratio = json_member(&j, "samplingRate", &found);
        } else if (!strcmp(key, "rateLimitingSampling")) {
            rest.per_second = json_member(&j, "maxTracesPerSecond", &found);
            rest.ratio = rest.per_second > 0;
        } else if (!strcmp(key, "operationSampling")) {
            remote_per_operation(&j, p, &rest, &floor);
            found = true;
        } else {
            json_skip(&j);
        }
    }
    json_peek(&j);
    bool ok = !j.bad && found && j.p == j.end && rest.ratio >= 0 && rest.ratio <= 1 && rest.per_second >= 0 &&
              rest.per_second <= 1e9 && plan_add(p, &rest, floor) == VANE_OK;
    if (ok)
        plan_use(p);
    else
        plan_free(p);
    return ok;
}

/* ---- holds ---- */

#define HOLDS      1024u
#define HOLD_SPANS 512u
#define HOLD_BYTES ((size_t)16 << 20)

struct held {
    struct held *next;
    struct sdk_span_rec rec; /* and what follows it */
};
struct hold {
    uint8_t trace_id[16];
    bool used;
    uint32_t n;
    struct held *first, **last;
};
static struct hold *holds; /* stays from the first start with rules on */
static size_t held_bytes;
static uint32_t next_hold;
static pthread_mutex_t hold_mu = PTHREAD_MUTEX_INITIALIZER;

static size_t held_size(uint32_t rec_size)
{
    return offsetof(struct held, rec) + rec_size;
}

uint16_t sdk_hold_new(const uint8_t trace_id[16])
{
    uint16_t id = 0;
    pthread_mutex_lock(&hold_mu);
    for (uint32_t i = 0; holds && !id && i < 64;
         i++) { /* a few tries: a table that full stands for a leak or a flood */
        struct hold *h = &holds[next_hold++ % HOLDS];
        if (h->used)
            continue;
        *h = (struct hold){ .used = true };
        h->last = &h->first;
        memcpy(h->trace_id, trace_id, 16);
        id = (uint16_t)(h - holds + 1);
    }
    pthread_mutex_unlock(&hold_mu);
    return id;
}

static struct hold *hold_of(uint16_t id, const uint8_t trace_id[16])
{
    struct hold *h = holds && id && id <= HOLDS ? &holds[id - 1] : NULL;
    return h && h->used && !memcmp(h->trace_id, trace_id, 16) ? h : NULL;
}

bool sdk_hold_add(uint16_t id, const uint8_t trace_id[16], const struct sdk_span_rec *rec)
{
    struct held *x = sdk_alloc(held_size(rec->size));
    if (!x)
        return false;
    memcpy(&x->rec, rec, rec->size);
    pthread_mutex_lock(&hold_mu);
    struct hold *h = hold_of(id, trace_id);
    bool ok = h && h->n < HOLD_SPANS && held_bytes + rec->size <= HOLD_BYTES;
    if (ok) {
        *h->last = x;
        h->last = &x->next;
        h->n++;
        held_bytes += rec->size;
    }
    pthread_mutex_unlock(&hold_mu);
    if (!ok)
        sdk_free(x, held_size(rec->size));
    return ok;
}

void sdk_hold_end(uint16_t id, const uint8_t trace_id[16], bool keep)
{
    pthread_mutex_lock(&hold_mu);
    struct hold *h = hold_of(id, trace_id);
    struct held *list = h ? h->first : NULL;
    if (h)
        *h = (struct hold){ .used = false };
    for (const struct held *x = list; x; x = x->next)
        held_bytes -= x->rec.size;
    pthread_mutex_unlock(&hold_mu);
    for (struct held *x = list, *next; x; x = next) {
        next = x->next;
        if (keep)
            sdk_trace_queue(&x->rec);
        sdk_free(x, held_size(x->rec.size));
    }
}

/* ---- the module ---- */

static void holds_clear(void)
{
    for (uint16_t i = 0; holds && i < HOLDS; i++)
        if (holds[i].used)
            sdk_hold_end((uint16_t)(i + 1), holds[i].trace_id, false);
}

static vane_status sample_start(void)
{
    plan_free(old_plan);
    old_plan = NULL;
    atomic_store(&sdk_sample_all, false);
    plan_free(atomic_exchange(&plan, NULL));
    if (!holds && sdk_cfg.sampler == VANE_SAMPLER_RULES && !(holds = sdk_alloc(HOLDS * sizeof *holds)))
        return VANE_E_NOMEM;
    vane_sampler_rule r = { .ratio = 1 };
    struct plan *p = sdk_alloc(sizeof *p);
    if (!p)
        return VANE_E_NOMEM;
    switch (sdk_cfg.sampler) {
    case VANE_SAMPLER_RATIO:
    case VANE_SAMPLER_PARENT:
    case VANE_SAMPLER_RULES: /* until vane_sampler_rules() is called */
        r.ratio = sdk_cfg.sample_rate;
        break;
    case VANE_SAMPLER_JAEGER_REMOTE: /* until the first answer */
        r.ratio = sdk_cfg.sample_rate < 1 ? sdk_cfg.sample_rate : 0.001;
        break;
    case VANE_SAMPLER_ALWAYS_OFF:
    case VANE_SAMPLER_PARENT_OFF:
        r.ratio = 0;
        break;
    case VANE_SAMPLER_RATE_LIMITED:
        r.per_second = sdk_cfg.sample_per_second;
        break;
    default:
        break;
    }
    if (plan_add(p, &r, 0)) {
        plan_free(p);
        return VANE_E_NOMEM;
    }
    plan_use(p);
    return VANE_OK;
}

static void sample_fork_prepare(void)
{
    pthread_mutex_lock(&plan_mu);
    pthread_mutex_lock(&hold_mu);
}

static void sample_fork_parent(void)
{
    pthread_mutex_unlock(&hold_mu);
    pthread_mutex_unlock(&plan_mu);
}

static void sample_fork_child(void)
{
    pthread_mutex_init(&plan_mu, NULL);
    pthread_mutex_init(&hold_mu, NULL);
}

extern const struct sdk_module sdk_sample_module;
const struct sdk_module sdk_sample_module = {
    .name = "sample",
    .start = sample_start,
    .stop = holds_clear,
    .fork_prepare = sample_fork_prepare,
    .fork_parent = sample_fork_parent,
    .fork_child = sample_fork_child,
};
