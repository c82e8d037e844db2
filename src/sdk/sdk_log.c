/* libvane's logging, the host's side: levels, sites, scopes, redaction, and the copy of a line into the ring of its
 * thread. Nothing here waits, but for an audit record that finds the ring full. Values whose key is on the redaction list
 * are replaced here, so that no secret ever lies in a ring or in the black box. */
#include "sdk_log.h"
#include "sdk_http.h"
#include "sdk_conf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

volatile uint8_t vane_log_threshold_ = 255;

struct sdk_log_ring sdk_log_rings[SDK_LOG_RINGS_MAX];
_Atomic uint32_t sdk_log_rings_n;

/* Lock of rings: who owns which. Taken when a thread logs for the first time and when it ends. */
static pthread_mutex_t rings_mu = PTHREAD_MUTEX_INITIALIZER;
static uint32_t ring_bytes, value_max;
static _Atomic bool shared_ready; /* ring 0 has memory */
static _Atomic uint32_t log_run;  /* number of this module's start: tells rings of an earlier one */

#define SCOPE_BYTES_MAX 1024u
#define KEY_MAX         255u
#define FILE_MAX        120u

/* A thread that has logged or begun a scope. */
struct sdk_log_thread {
    uint32_t run;              /* log_run its ring belongs to */
    struct sdk_log_ring *ring; /* NULL: it uses ring 0 */
    bool muted;                /* the writer thread: what it logs is dropped */
    uint32_t depth, scopes_n;  /* open scopes; bytes of their fields */
    uint32_t begin[VANE_LOG_SCOPES_MAX];
    uint64_t serial[VANE_LOG_SCOPES_MAX];
    char scopes[VANE_LOG_SCOPES_MAX * SCOPE_BYTES_MAX]; /* fields as in a record */
};
static _Atomic uint64_t scope_serial;

/* ---- levels ---- */

static void threshold_set(uint8_t v)
{
    __atomic_store_n(&vane_log_threshold_, v, __ATOMIC_RELAXED);
}

vane_log_level sdk_log_level(unsigned number)
{
    return number < 9    ? VANE_LOG_DEBUG
           : number < 13 ? VANE_LOG_INFO
           : number < 17 ? VANE_LOG_WARN
           : number < 21 ? VANE_LOG_ERROR
                         : VANE_LOG_CRITICAL;
}

const char *sdk_log_level_name(vane_log_level level)
{
    static const char *const names[] = { "DEBUG", "INFO", "WARN", "ERROR", "CRITICAL" };
    return names[((unsigned)sdk_log_level(level) - 5) / 4];
}

void vane_log_set_level(vane_log_level level)
{
    if (sdk_on())
        threshold_set((uint8_t)sdk_log_level(level));
}

vane_status vane_log_level_parse(const char *text, vane_log_level *ret)
{
    static const struct {
        const char *name;
        vane_log_level level;
    } names[] = {
        { "trace", VANE_LOG_DEBUG },        { "debug", VANE_LOG_DEBUG },   { "info", VANE_LOG_INFO },
        { "notice", VANE_LOG_INFO },        { "warn", VANE_LOG_WARN },     { "warning", VANE_LOG_WARN },
        { "error", VANE_LOG_ERROR },        { "err", VANE_LOG_ERROR },     { "critical", VANE_LOG_CRITICAL },
        { "fatal", VANE_LOG_CRITICAL },     { "crit", VANE_LOG_CRITICAL }, { "alert", VANE_LOG_CRITICAL },
        { "emergency", VANE_LOG_CRITICAL },
    };
    for (size_t i = 0; text && ret && i < SDK_COUNT_OF(names); i++)
        if (!strcasecmp(text, names[i].name)) {
            *ret = names[i].level;
            return VANE_OK;
        }
    return VANE_E_ARG;
}

/* ---- redaction ---- */

#define REDACT_MAX     256u
#define REDACT_KEY_MAX 64u
#define REDACTED       "[redacted]"

/* Only grows while running, so readers need no lock: entries below the count are complete. */
static char redact_keys[REDACT_MAX][REDACT_KEY_MAX];
static uint8_t redact_len[REDACT_MAX];
static _Atomic uint32_t redact_n;
/* By the last character (5 bits): which second last ones (5 bits) and lengths some key has. Most keys end here. */
static _Atomic uint32_t redact_last[32];
static pthread_mutex_t redact_mu = PTHREAD_MUTEX_INITIALIZER;

static uint32_t before_last(const char *key, size_t n)
{
    return n > 1 ? (uint32_t)key[n - 2] & 31 : 0;
}

static SDK_COLD bool redact_match(const char *key, size_t n)
{
    uint32_t count = atomic_load_explicit(&redact_n, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        size_t len = redact_len[i];
        if (len <= n && !strncasecmp(key + n - len, redact_keys[i], len) && (len == n || key[n - len - 1] == '.'))
            return true;
    }
    return false;
}

static inline bool redacted(const char *key, size_t n)
{
    uint32_t mask = atomic_load_explicit(&redact_last[(uint8_t)key[n - 1] & 31], memory_order_relaxed);
    return SDK_UNLIKELY(mask >> before_last(key, n) & 1) && redact_match(key, n);
}

static vane_status redact_add(const char *keys)
{
    vane_status st = VANE_OK;
    for (const char *at = keys; at && *at;) {
        at += strspn(at, ", \t");
        size_t n = strcspn(at, ","), trimmed = n;
        while (trimmed && (at[trimmed - 1] == ' ' || at[trimmed - 1] == '\t'))
            trimmed--;
        uint32_t i = atomic_load_explicit(&redact_n, memory_order_relaxed);
        if (trimmed >= REDACT_KEY_MAX)
            st = VANE_E_ARG;
        else if (trimmed && !redact_match(at, trimmed)) {
            if (i == REDACT_MAX)
                return VANE_E_LIMIT;
            memcpy(redact_keys[i], at, trimmed);
            redact_keys[i][trimmed] = 0;
            redact_len[i] = (uint8_t)trimmed;
            atomic_store_explicit(&redact_n, i + 1, memory_order_release);
            atomic_fetch_or(&redact_last[(uint8_t)at[trimmed - 1] & 31], 1u << before_last(at, trimmed));
            if (trimmed == 1) /* in a dotted key, anything may stand before it; it is a dot */
                atomic_fetch_or(&redact_last[(uint8_t)at[0] & 31], 1u << ('.' & 31));
        }
        at += n;
    }
    return st;
}

vane_status vane_log_redact(const char *keys)
{
    if (!keys || !*keys)
        return VANE_E_ARG;
    if (!sdk_enter())
        return VANE_E_STATE;
    pthread_mutex_lock(&redact_mu);
    vane_status st = redact_add(keys);
    pthread_mutex_unlock(&redact_mu);
    sdk_leave();
    return st;
}

/* ---- rings and threads ---- */

/* Memory for a ring; the lock is held. */
static bool ring_make(uint32_t i)
{
    struct sdk_log_ring *r = &sdk_log_rings[i];
    if (!r->data) {
        r->data = sdk_region("LOGS", i, ring_bytes);
        if (!r->data)
            return false;
        r->size = ring_bytes;
        if (i >= atomic_load_explicit(&sdk_log_rings_n, memory_order_relaxed))
            atomic_store_explicit(&sdk_log_rings_n, i + 1, memory_order_release);
    }
    return true;
}

/* A ring nobody owns, or NULL. */
static struct sdk_log_ring *ring_take(void)
{
    struct sdk_log_ring *found = NULL;
    pthread_mutex_lock(&rings_mu);
    for (uint32_t i = 1; i < SDK_LOG_RINGS_MAX && !found; i++)
        if (!sdk_log_rings[i].owned) {
            if (!ring_make(i))
                break;
            sdk_log_rings[i].owned = true;
            found = &sdk_log_rings[i];
        }
    if (!found && ring_make(0))
        atomic_store_explicit(&shared_ready, true, memory_order_release);
    pthread_mutex_unlock(&rings_mu);
    if (!found)
        sdk_count(SDK_THREADS_SHARED, 1);
    return found;
}

/* This thread's state with a ring of this start; NULL without memory. */
static SDK_COLD struct sdk_log_thread *thread_attach(void)
{
    int saved = errno;
    struct sdk_log_thread *t = sdk_tls.log;
    if (!t)
        t = sdk_alloc(sizeof *t);
    if (t && !t->muted) {
        sdk_tls.log = t;
        sdk_thread_hook();
        t->run = atomic_load(&log_run);
        t->depth = t->scopes_n = 0;
        t->ring = ring_take();
    }
    errno = saved;
    return t;
}

static inline struct sdk_log_thread *thread_get(void)
{
    struct sdk_log_thread *t = sdk_tls.log;
    if (SDK_LIKELY(t && t->run == atomic_load_explicit(&log_run, memory_order_relaxed)))
        return t;
    return thread_attach();
}

/* Not from the heap: in a child of fork nobody could free it. */
void sdk_log_mute(void)
{
    static struct sdk_log_thread muted;
    muted.muted = true;
    sdk_tls.log = &muted;
    sdk_thread_hook();
}

static void log_thread_exit(void)
{
    struct sdk_log_thread *t = sdk_tls.log;
    sdk_tls.log = NULL;
    if (!t || t->muted)
        return;
    pthread_mutex_lock(&rings_mu);
    if (t->ring && t->run == atomic_load(&log_run))
        t->ring->owned = false;
    pthread_mutex_unlock(&rings_mu);
    sdk_free(t, sizeof *t);
}

/* The copy of a line is the one part of this file that is compiled for speed. */
#if defined(__OPTIMIZE_SIZE__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("O2")
#endif

/* ---- fields ---- */

/* Cut at a character: n is over the limit. */
static SDK_COLD uint32_t cut(const char *s, uint32_t max)
{
    sdk_count(SDK_CUT_STRINGS, 1);
    uint32_t n = max;
    while (n && max - n < 3 && ((uint8_t)s[n] & 0xC0) == 0x80)
        n--;
    return ((uint8_t)s[n] & 0xC0) == 0x80 ? max : n;
}

static inline uint32_t text_len(const char *s, size_t n, uint32_t max)
{
    if (!s)
        return 0;
    if (n == SIZE_MAX)
        n = strnlen(s, (size_t)max + 1);
    return SDK_LIKELY(n <= max) ? (uint32_t)n : cut(s, max);
}

/* What a field becomes: lengths, and where the value is. */
struct field_plan {
    uint8_t key_n;
    uint8_t type;
    uint32_t value_n;
    const void *value;
};

/* false: the field cannot be logged (no key, no type). */
static inline bool plan_field(struct field_plan *p, const vane_attr *a)
{
    uint32_t key_n = text_len(a->key, SIZE_MAX, KEY_MAX);
    if (SDK_UNLIKELY(!key_n || a->type == VANE_T_NONE || (unsigned)a->type > VANE_T_BYTES))
        return false;
    p->key_n = (uint8_t)key_n;
    p->type = (uint8_t)a->type;
    if (a->type == VANE_T_STR) {
        p->value = a->v.s;
        p->value_n = text_len(a->v.s, a->n, value_max);
    } else if (a->type == VANE_T_BYTES) {
        p->value = a->v.p;
        p->value_n = !a->v.p ? 0 : a->n <= value_max ? (uint32_t)a->n : value_max;
        if (SDK_UNLIKELY(a->v.p && a->n > value_max))
            sdk_count(SDK_CUT_STRINGS, 1);
    } else {
        p->value = &a->v;
        p->value_n = 8;
    }
    if (SDK_UNLIKELY(redacted(a->key, key_n))) {
        p->type = VANE_T_STR;
        p->value = REDACTED;
        p->value_n = sizeof REDACTED - 1;
    }
    return true;
}

static inline uint32_t plan_size(const struct field_plan *p)
{
    return (uint32_t)sizeof(struct sdk_log_field) + p->key_n + p->value_n;
}

/* Most keys and values are short: no call for them. */
static inline void copy(char *to, const void *from, uint32_t n)
{
    const char *p = from;
    if (n > 16) {
        memcpy(to, p, n);
    } else if (n >= 8) {
        uint64_t a, b;
        memcpy(&a, p, 8);
        memcpy(&b, p + n - 8, 8);
        memcpy(to, &a, 8);
        memcpy(to + n - 8, &b, 8);
    } else if (n >= 4) {
        uint32_t a, b;
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
        memcpy(to, &a, 4);
        memcpy(to + n - 4, &b, 4);
    } else if (n) {
        to[0] = p[0];
        to[n / 2] = p[n / 2];
        to[n - 1] = p[n - 1];
    }
}

static inline char *put_field(char *at, const struct field_plan *p, const vane_attr *a)
{
    struct sdk_log_field f = { .type = p->type, .key_n = p->key_n, .value_n = p->value_n };
    memcpy(at, &f, sizeof f);
    copy(at + sizeof f, a->key, p->key_n);
    at += sizeof f + p->key_n;
    if (p->type == VANE_T_BOOL) {
        int64_t b = a->v.b != 0;
        memcpy(at, &b, 8);
    } else if (p->value_n) {
        copy(at, p->value, p->value_n);
    }
    return at + p->value_n;
}

/* ---- a record ---- */

/* Room for size bytes, which are then all the caller's until ring_publish(). NULL: full. */
static inline char *ring_reserve(struct sdk_log_ring *r, uint32_t size)
{
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    uint32_t pad = r->size - r->at < size ? r->size - r->at : 0;
    if (SDK_UNLIKELY(head + pad + size - r->tail_seen > r->size)) {
        r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
        if (head + pad + size - r->tail_seen > r->size)
            return NULL;
    }
    if (pad) { /* 8 bytes are always there: sizes are multiples of 8 */
        uint32_t mark[2] = { pad, 0 };
        memcpy(r->data + r->at, mark, 8);
        r->at = 0;
        atomic_store_explicit(&r->head, head + pad, memory_order_release);
    }
    return r->data + r->at;
}

static inline void ring_publish(struct sdk_log_ring *r, uint32_t size)
{
    r->at += size;
    if (r->at == r->size)
        r->at = 0;
    atomic_store_explicit(&r->head, atomic_load_explicit(&r->head, memory_order_relaxed) + size, memory_order_release);
}

/* Ring 0, for threads without one of their own: a few tries, never a wait. */
static SDK_COLD struct sdk_log_ring *shared_enter(void)
{
    struct sdk_log_ring *r = &sdk_log_rings[0];
    if (!atomic_load_explicit(&shared_ready, memory_order_acquire))
        return NULL;
    for (int i = 0; i < 1000; i++)
        if (!atomic_exchange_explicit(&r->busy, 1, memory_order_acquire))
            return r;
    return NULL;
}

/* What to log. With a format, the message is printed into the ring; its length is known already. */
struct what {
    enum sdk_log_kind kind;
    vane_log_level level;
    vane_log_site *site;
    const char *message;
    const vane_attr *fields;
    size_t n;
    const char *format;
    va_list *args;
    size_t printed;
};

/* Print into the record; returns the bytes, cut at a character when there was no room for all. */
static SDK_COLD uint32_t print_message(char *at, uint32_t room, const struct what *w)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the compiler has looked at it where it was given */
    vsnprintf(at, (size_t)room + 1, w->format, *w->args);
#pragma GCC diagnostic pop
    uint32_t n = (uint32_t)strnlen(at, room), begin = n;
    while (begin && n - begin < 3 && ((uint8_t)at[begin - 1] & 0xC0) == 0x80)
        begin--;
    if (w->printed > room && begin && (uint8_t)at[begin - 1] >= 0xC0 && !sdk_text_valid(at + begin - 1, n - begin + 1))
        n = begin - 1;
    return n;
}

/* Fields from the baggage of the thread's context, for what no scope has. */
struct carried {
    size_t n;
    vane_attr a[2];
    char text[2][256];
};

static SDK_COLD void carry(struct carried *c, const vane_context *context)
{
    static const char *const keys[] = { "correlation_id", "user_id" };
    char other[8];
    c->n = 0;
    for (size_t i = 0; i < SDK_COUNT_OF(keys); i++)
        if (!sdk_log_scope_get(keys[i], other, sizeof other) &&
            vane_baggage_get(context, keys[i], c->text[c->n], sizeof c->text[0]) != SIZE_MAX) {
            c->a[c->n] = vane_str(keys[i], c->text[c->n]);
            c->n++;
        }
}

static __attribute__((noinline)) SDK_HOT bool put_with(const struct what *w)
{
    struct sdk_log_thread *t = thread_get();
    struct sdk_log_ring *r = SDK_LIKELY(t && t->ring) ? t->ring : t && t->muted ? NULL : shared_enter();
    if (SDK_UNLIKELY(!r))
        return false;
    uint32_t room = r->size / 2 < SDK_LOG_REC_MAX ? r->size / 2 : SDK_LOG_REC_MAX;
    uint32_t message_max = room / 4 < VANE_LOG_MESSAGE_MAX ? room / 4 : VANE_LOG_MESSAGE_MAX;
    uint32_t message_n;
    if (SDK_UNLIKELY(w->format != NULL)) {
        message_n = w->printed < message_max ? (uint32_t)w->printed : message_max;
        if (w->printed > message_max)
            sdk_count(SDK_CUT_STRINGS, 1);
    } else {
        message_n = text_len(w->message, SIZE_MAX, message_max);
    }
    vane_log_site *site = w->site;
    const vane_attr *fields = w->fields;
    /* private_[3] keeps the length of the file's name. */
    uint32_t file_n = 0;
    const char *file = NULL;
    if (site && site->file) {
        _Atomic uint32_t *known = (_Atomic uint32_t *)&site->private_[3];
        uint32_t len = atomic_load_explicit(known, memory_order_relaxed);
        if (SDK_UNLIKELY(!len)) {
            len = (uint32_t)strnlen(site->file, 4095) + 1;
            atomic_store_explicit(known, len, memory_order_relaxed);
        }
        file_n = len - 1 < FILE_MAX ? len - 1 : FILE_MAX;
        file = site->file + (len - 1 - file_n);
    }
    uint32_t used = (uint32_t)sizeof(struct sdk_log_rec) + message_n + file_n + 8, dropped = 0; /* 1 for a NUL */
    uint32_t scope_n = t ? t->scopes_n : 0;
    if (SDK_UNLIKELY(scope_n > (room - used) / 2)) {
        scope_n = 0;
        dropped += t->depth;
    }
    used += scope_n;
    struct field_plan plans[VANE_LOG_FIELDS_MAX];
    uint8_t from[VANE_LOG_FIELDS_MAX];
    uint32_t n_plans = 0, fields_n = 0;
    size_t limit = fields ? w->n : 0;
    if (SDK_UNLIKELY(limit > VANE_LOG_FIELDS_MAX)) {
        dropped += limit - VANE_LOG_FIELDS_MAX < 60000 ? (uint32_t)(limit - VANE_LOG_FIELDS_MAX) : 60000;
        limit = VANE_LOG_FIELDS_MAX;
    }
    for (size_t i = 0; i < limit; i++) {
        struct field_plan *p = &plans[n_plans];
        if (SDK_UNLIKELY(!plan_field(p, &fields[i]) || plan_size(p) > room - used)) {
            dropped++;
            continue;
        }
        from[n_plans++] = (uint8_t)i;
        fields_n += plan_size(p);
        used += plan_size(p);
    }
    uint32_t size = used & ~7u;
    char *rec = ring_reserve(r, size);
    uint64_t fill = 0;
    if (SDK_LIKELY(rec != NULL)) {
        const vane_context *c = &sdk_tls.context;
        bool ids = sdk_cfg.correlation == VANE_ON;
        struct sdk_log_rec h = {
            .size = size,
            .check = sdk_log_check(atomic_load_explicit(&r->head, memory_order_relaxed), size),
            .unix_ns = sdk_unix_ns(),
            .kind = (uint8_t)w->kind,
            .level = (uint8_t)w->level,
            .trace_flags = ids ? c->flags : 0,
            .scope_n = scope_n,
            .fields_n = fields_n,
            .message_n = message_n,
            .line = site ? (uint32_t)site->line : 0,
            .file_n = (uint16_t)file_n,
            .dropped = (uint16_t)dropped,
        };
        if (ids) {
            memcpy(h.trace_id, c->trace_id, sizeof h.trace_id);
            memcpy(h.span_id, c->span_id, sizeof h.span_id);
        }
        if (site) {
            _Atomic uint32_t *withheld = (_Atomic uint32_t *)&site->private_[2];
            if (SDK_UNLIKELY(atomic_load_explicit(withheld, memory_order_relaxed)))
                h.suppressed = atomic_exchange_explicit(withheld, 0, memory_order_relaxed);
        }
        char *at = rec + sizeof h;
        if (scope_n)
            memcpy(at, t->scopes, scope_n);
        at += scope_n;
        for (uint32_t i = 0; i < n_plans; i++)
            at = put_field(at, &plans[i], &fields[from[i]]);
        if (SDK_UNLIKELY(w->format != NULL))
            h.message_n = print_message(at, message_n, w);
        else if (message_n)
            memcpy(at, w->message, message_n);
        if (file_n)
            memcpy(at + h.message_n, file, file_n);
        memcpy(rec, &h, sizeof h);
        ring_publish(r, size);
        fill = atomic_load_explicit(&r->head, memory_order_relaxed) - r->tail_seen;
        if (SDK_UNLIKELY(fill > r->size / 2)) {
            r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
            fill = atomic_load_explicit(&r->head, memory_order_relaxed) - r->tail_seen;
        }
    }
    bool urgent = !rec || fill > r->size / 2 || w->kind == SDK_LOG_AUDIT || w->level >= VANE_LOG_CRITICAL;
    if (SDK_UNLIKELY(r == &sdk_log_rings[0]))
        atomic_store_explicit(&r->busy, 0, memory_order_release);
    uint32_t sleeping = atomic_load_explicit(&sdk_log_sleeping, memory_order_relaxed);
    if (SDK_UNLIKELY(sleeping == 1 || (sleeping && urgent)))
        sdk_log_wake();
    return rec != NULL;
}

#if defined(__OPTIMIZE_SIZE__) && !defined(__clang__)
#pragma GCC pop_options
#endif

_Atomic uint64_t sdk_log_lost;

static SDK_COLD void line_lost(void)
{
    atomic_fetch_add_explicit(&sdk_log_lost, 1, memory_order_relaxed);
    sdk_count(SDK_LOGS_DROPPED, 1);
}

/* The same with fields from baggage before the line's own, which therefore win. */
static SDK_COLD bool put_carried(const struct what *w)
{
    struct carried c;
    int saved = errno;
    carry(&c, &sdk_tls.context);
    errno = saved;
    if (!c.n)
        return put_with(w);
    vane_attr fields[VANE_LOG_FIELDS_MAX];
    struct what more = *w;
    memcpy(fields, c.a, c.n * sizeof c.a[0]);
    size_t n = w->fields ? w->n : 0, room = VANE_LOG_FIELDS_MAX - c.n;
    if (n)
        memcpy(fields + c.n, w->fields, (n < room ? n : room) * sizeof fields[0]);
    more.fields = fields;
    more.n = c.n + n; /* what is over the limit is counted in the line */
    return put_with(&more);
}

static bool put(const struct what *w)
{
    if (SDK_UNLIKELY(sdk_tls.context.extra && sdk_cfg.correlation == VANE_ON))
        return put_carried(w);
    return put_with(w);
}

bool sdk_log_put(enum sdk_log_kind kind, vane_log_level level, vane_log_site *site, const char *message,
                 const vane_attr *fields, size_t n)
{
    const struct what w = { .kind = kind, .level = level, .site = site, .message = message, .fields = fields, .n = n };
    return put(&w);
}

SDK_HOT void vane_log(vane_log_level level, vane_log_site *site, const char *message, const vane_attr *fields, size_t n)
{
    if (!vane_log_on(level) || !sdk_on())
        return;
    const struct what w = {
        .kind = SDK_LOG_LINE, .level = sdk_log_level(level), .site = site, .message = message, .fields = fields, .n = n
    };
    if (SDK_UNLIKELY(!put(&w)))
        line_lost();
}

void vane_logf_(vane_log_level level, vane_log_site *site, const char *format, ...)
{
    if (!vane_log_on(level) || !sdk_on())
        return;
    int saved = errno;
    char text[512];
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    int n = format ? vsnprintf(text, sizeof text, format, ap) : 0;
    struct what w = { .kind = SDK_LOG_LINE, .level = sdk_log_level(level), .site = site, .message = n > 0 ? text : "" };
    if (n >= (int)sizeof text) { /* once more, into the ring */
        w.format = format;
        w.args = &again;
        w.printed = (size_t)n;
    }
    if (!put(&w))
        line_lost();
    va_end(again);
    va_end(ap);
    errno = saved;
}

/* ---- rate limits: private_[0] second, [1] lines in it, [2] withheld, [3] length of the file's name, [4] calls ---- */

int vane_log_allow_rate_(vane_log_site *site, uint32_t per_second)
{
    if (!site || !sdk_on())
        return 0;
    _Atomic uint32_t *p = (_Atomic uint32_t *)site->private_;
    uint32_t now = (uint32_t)(sdk_mono_ns() / 1000000000u) + 1, was = atomic_load_explicit(&p[0], memory_order_relaxed);
    if (was != now && atomic_compare_exchange_strong(&p[0], &was, now))
        atomic_store_explicit(&p[1], 0, memory_order_relaxed);
    if (atomic_load_explicit(&p[1], memory_order_relaxed) < per_second &&
        atomic_fetch_add_explicit(&p[1], 1, memory_order_relaxed) < per_second)
        return 1;
    atomic_fetch_add_explicit(&p[2], 1, memory_order_relaxed);
    sdk_count(SDK_LOGS_SUPPRESSED, 1);
    return 0;
}

int vane_log_allow_one_in_(vane_log_site *site, uint32_t n)
{
    if (!site || !sdk_on())
        return 0;
    _Atomic uint32_t *p = (_Atomic uint32_t *)site->private_;
    if (n < 2 || atomic_fetch_add_explicit(&p[4], 1, memory_order_relaxed) % n == 0)
        return 1;
    atomic_fetch_add_explicit(&p[2], 1, memory_order_relaxed);
    sdk_count(SDK_LOGS_SUPPRESSED, 1);
    return 0;
}

/* ---- scopes ---- */

/* private_: 0 log_run + 1, 1 depth it made, 2 its serial number. All zero: none. */
static vane_log_scope scope_push(struct sdk_log_thread *t)
{
    vane_log_scope s = { { 0 } };
    t->serial[t->depth] = atomic_fetch_add_explicit(&scope_serial, 1, memory_order_relaxed) + 1;
    s.private_[0] = (uint64_t)t->run + 1;
    s.private_[2] = t->serial[t->depth];
    s.private_[1] = ++t->depth;
    return s;
}

static SDK_COLD void scope_refused(void)
{
    sdk_count(SDK_CUT_STRINGS, 1);
    sdk_diag(VANE_E_LIMIT, "more than %d nested log scopes in a thread: the fields of the innermost are left out",
             VANE_LOG_SCOPES_MAX);
}

vane_log_scope vane_log_scope_begin(const vane_attr *fields, size_t n)
{
    vane_log_scope none = { { 0 } };
    struct sdk_log_thread *t = sdk_on() ? thread_get() : NULL;
    if (!t)
        return none;
    if (t->depth == VANE_LOG_SCOPES_MAX) {
        scope_refused();
        return none;
    }
    uint32_t at = t->scopes_n, end = at + SCOPE_BYTES_MAX;
    end = end < sizeof t->scopes ? end : (uint32_t)sizeof t->scopes;
    t->begin[t->depth] = at;
    for (size_t i = 0; fields && i < n && i < VANE_LOG_FIELDS_MAX; i++) {
        struct field_plan p;
        if (!plan_field(&p, &fields[i]))
            continue;
        uint32_t fixed = (uint32_t)sizeof(struct sdk_log_field) + p.key_n;
        if (plan_size(&p) > end - at) {
            if (p.type != VANE_T_STR || fixed + 16 > end - at) { /* not worth cutting */
                sdk_count(SDK_CUT_STRINGS, 1);
                continue;
            }
            p.value_n = cut(p.value, end - at - fixed);
        }
        at = (uint32_t)(put_field(t->scopes + at, &p, &fields[i]) - t->scopes);
    }
    t->scopes_n = at;
    return scope_push(t);
}

void vane_log_scope_end(vane_log_scope *scope)
{
    if (!scope || !scope->private_[0])
        return;
    struct sdk_log_thread *t = sdk_tls.log;
    uint64_t depth = scope->private_[1];
    if (t && scope->private_[0] == (uint64_t)t->run + 1 && depth >= 1 && depth <= t->depth &&
        t->serial[depth - 1] == scope->private_[2]) {
        t->depth = (uint32_t)depth - 1;
        t->scopes_n = t->begin[t->depth];
    }
    scope->private_[0] = 0;
}

bool sdk_log_scope_get(const char *key, char *buf, size_t n)
{
    struct sdk_log_thread *t = sdk_tls.log;
    size_t key_n = strlen(key);
    bool found = false;
    if (!t || t->run != atomic_load_explicit(&log_run, memory_order_relaxed) || !n)
        return false;
    for (const char *at = t->scopes, *end = at + t->scopes_n; at < end;) {
        struct sdk_log_field f;
        memcpy(&f, at, sizeof f);
        const char *k = at + sizeof f;
        if (f.type == VANE_T_STR && f.key_n == key_n && !memcmp(k, key, key_n)) {
            size_t len = f.value_n < n - 1 ? f.value_n : n - 1;
            memcpy(buf, k + key_n, len);
            buf[len] = 0;
            found = true; /* the innermost comes last */
        }
        at = k + f.key_n + f.value_n;
    }
    return found;
}

/* ---- carrying scopes to another thread ---- */

struct vane_log_saved {
    uint32_t n;
    char bytes[];
};

vane_log_saved *vane_log_context_save(void)
{
    struct sdk_log_thread *t = sdk_on() ? sdk_tls.log : NULL;
    if (!t || t->run != atomic_load_explicit(&log_run, memory_order_relaxed) || !t->scopes_n)
        return NULL;
    vane_log_saved *s = malloc(sizeof *s + t->scopes_n);
    if (!s) {
        sdk_count(SDK_ALLOC_FAILURES, 1);
        return NULL;
    }
    s->n = t->scopes_n;
    memcpy(s->bytes, t->scopes, s->n);
    return s;
}

vane_log_scope vane_log_context_begin(const vane_log_saved *saved)
{
    vane_log_scope none = { { 0 } };
    struct sdk_log_thread *t = saved && sdk_on() ? thread_get() : NULL;
    if (!t)
        return none;
    if (t->depth == VANE_LOG_SCOPES_MAX || saved->n > sizeof t->scopes - t->scopes_n) {
        scope_refused();
        return none;
    }
    t->begin[t->depth] = t->scopes_n;
    memcpy(t->scopes + t->scopes_n, saved->bytes, saved->n);
    t->scopes_n += saved->n;
    return scope_push(t);
}

void vane_log_context_free(vane_log_saved *saved)
{
    free(saved);
}

/* ---- audit ---- */

#define AUDIT_WAIT_NS 50000000u

vane_status vane_audit(const char *actor, const char *action, const char *object, const char *outcome,
                       const vane_attr *context, size_t n)
{
    if (!actor || !*actor || !action || !*action || !object || !*object || !outcome ||
        (strcmp(outcome, "success") && strcmp(outcome, "failure") && strcmp(outcome, "denied")))
        return VANE_E_ARG;
    if (!sdk_on())
        return VANE_E_STATE;
    int saved = errno;
    struct sdk_attrs l;
    l.n = 0;
    sdk_attr_str(&l, "audit.actor", actor);
    sdk_attr_str(&l, "audit.action", action);
    sdk_attr_str(&l, "audit.object", object);
    sdk_attr_str(&l, "audit.outcome", outcome);
    for (size_t i = 0; context && i < n; i++)
        sdk_attr_add(&l, context[i]);
    char message[512];
    snprintf(message, sizeof message, "%.120s %.120s %.120s: %s", actor, action, object, outcome);
    vane_log_level level = strcmp(outcome, "success") ? VANE_LOG_WARN : VANE_LOG_INFO;
    uint64_t deadline = sdk_mono_ns() + AUDIT_WAIT_NS;
    bool in;
    while (!(in = sdk_log_put(SDK_LOG_AUDIT, level, NULL, message, l.a, l.n)) && sdk_mono_ns() < deadline) {
        const struct timespec t = { 0, 500000 };
        nanosleep(&t, NULL);
    }
    if (!in)
        sdk_count(SDK_EVENTS_DROPPED, 1);
    errno = saved;
    return in ? VANE_OK : VANE_E_LIMIT;
}

void vane_log_reopen(void)
{
    if (!sdk_enter())
        return;
    sdk_log_writer_reopen();
    sdk_leave();
}

/* ---- life ---- */

static vane_status log_start(void)
{
    vane_log_level level;
    if (vane_log_level_parse(sdk_cfg.log_level, &level)) {
        sdk_diag(VANE_E_ARG, "log_level (LOG_LEVEL) is \"%.40s\"; DEBUG, INFO, WARN, ERROR or CRITICAL is meant",
                 sdk_cfg.log_level);
        return VANE_E_ARG;
    }
    memset(sdk_log_rings, 0, sizeof sdk_log_rings);
    atomic_store(&sdk_log_rings_n, 0);
    atomic_store(&shared_ready, false);
    /* A little less than asked, so that ring and block head fill whole blocks. */
    ring_bytes = (sdk_cfg.log_ring_bytes - 64) & ~63u;
    value_max = sdk_cfg.attribute_bytes_max ? sdk_cfg.attribute_bytes_max : 4096;
    atomic_store(&redact_n, 0);
    for (size_t i = 0; i < SDK_COUNT_OF(redact_last); i++)
        atomic_store(&redact_last[i], 0);
    redact_add("password,passwd,secret,token,api_key,authorization,cookie,set-cookie");
    if (redact_add(sdk_cfg.log_redact) != VANE_OK) {
        sdk_diag(VANE_E_ARG, "log_redact (VANE_LOG_REDACT): a key is over %u bytes, or there are over %u",
                 REDACT_KEY_MAX - 1, REDACT_MAX);
        return VANE_E_ARG;
    }
    atomic_fetch_add(&log_run, 1);
    vane_status st = sdk_log_writer_start();
    if (!st)
        threshold_set((uint8_t)level);
    return st;
}

static void log_stop(void)
{
    threshold_set(255);
    sdk_log_writer_stop();
}

static void log_fork_prepare(void)
{
    sdk_log_writer_fork_prepare();
    pthread_mutex_lock(&redact_mu);
    pthread_mutex_lock(&rings_mu);
}

static void log_fork_parent(void)
{
    pthread_mutex_unlock(&rings_mu);
    pthread_mutex_unlock(&redact_mu);
    sdk_log_writer_fork_parent();
}

/* The lines in the rings are the parent's; the memory is zero already (sdk_region). */
static void log_fork_child(void)
{
    pthread_mutex_unlock(&rings_mu); /* taken by fork_prepare, on this thread */
    pthread_mutex_unlock(&redact_mu);
    struct sdk_log_ring *mine = sdk_tls.log ? sdk_tls.log->ring : NULL;
    for (uint32_t i = 0; i < atomic_load(&sdk_log_rings_n); i++) {
        struct sdk_log_ring *r = &sdk_log_rings[i];
        atomic_store(&r->head, 0);
        atomic_store(&r->tail, 0);
        atomic_store(&r->busy, 0);
        r->tail_seen = 0;
        r->at = r->tail_at = 0;
        r->owned = r == mine;
    }
    sdk_log_writer_fork_child();
}

const struct sdk_module sdk_log_module = {
    .name = "log",
    .start = log_start,
    .threads = sdk_log_writer_threads,
    .flush = sdk_log_writer_flush,
    .stop = log_stop,
    .fork_prepare = log_fork_prepare,
    .fork_parent = log_fork_parent,
    .fork_child = log_fork_child,
    .thread_exit = log_thread_exit,
};
