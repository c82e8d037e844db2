/* libvane's logging, the writer thread's side: takes records from the rings in order of time, makes lines of them, hands
 * them to the sinks.
 *
 * Sleeping: while lines come the thread naps 20 ms between rounds, so that the host's threads need not wake it; after a
 * second without lines it sleeps until woken. A line's thread looks at sdk_log_sleeping after its line is in the ring, and
 * the writer looks at the rings after it has set that word; the fence that makes one of the two see the other is paid for
 * by the writer alone (membarrier). Without membarrier it wakes ten times a second.
 *
 * The writer's memory is one piece of fixed size, so that a child of fork, where the thread may have been anywhere, can go
 * on with it; and it is left behind, counted, when the thread is stuck in a system call at the end of vane_stop(). */
#include "sdk_log.h"
#include "sdk_conf.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <strings.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NAP_NS        20000000
#define NAPS          50 /* without a line before it sleeps */
#define SINKS_MAX     8u
#define LINE_TEXT_MAX 524288u /* a record of 64 KiB where every byte becomes \u00xx */
#define STOP_NS       500000000u

struct writer {
    _Atomic uint64_t stop_deadline_ns; /* 0: not stopping */
    _Atomic bool abandoned, finished;
    bool text; /* format */
    char service[256];
    size_t n_sinks;
    struct sdk_sink sinks[SINKS_MAX];
    bool otlp;
    struct sdk_log_line line;
    struct head {
        uint64_t until;
        const char *rec;
        struct sdk_log_rec h;
    } heads[SDK_LOG_RINGS_MAX];      /* the next record of each ring, while a round goes on */
    char clean[SDK_LOG_REC_MAX * 3]; /* texts made valid */
    uint32_t clean_n;
    char out[LINE_TEXT_MAX];
};

_Atomic uint32_t sdk_log_sleeping;
_Atomic(sdk_log_otlp_fn) sdk_log_otlp_hook;

static struct writer *writer;
static pthread_mutex_t thread_mu = PTHREAD_MUTEX_INITIALIZER; /* of the four below */
static pthread_t thread;
static bool thread_runs, running; /* running: between start and stop */
static _Atomic bool thread_gone;  /* a child of fork that has not started its own */
static bool can_barrier;
static _Atomic uint64_t rounds; /* finished: everything that was in the rings when they began is with the sinks */
static _Atomic bool busy;       /* lines have been taken and are not all with the sinks */
static _Atomic uint32_t reopen_wanted;
static _Atomic uint64_t told_dropped;

static struct {
    _Atomic(vane_log_sink_fn) fn;
    void *ctx;
} host_sinks[8];
static _Atomic uint32_t n_host_sinks;

/* ---- records to lines ---- */

const struct sdk_log_pair *sdk_log_find(const struct sdk_log_line *l, const char *key)
{
    size_t n = strlen(key);
    for (size_t i = 0; i < l->n_fields; i++)
        if (l->fields[i].key_n == n && !memcmp(l->fields[i].key, key, n))
            return &l->fields[i];
    return NULL;
}

static void add_pair(struct sdk_log_line *l, const struct sdk_log_pair *p)
{
    for (size_t i = 0; i < l->n_fields; i++)
        if (l->fields[i].key_n == p->key_n && !memcmp(l->fields[i].key, p->key, p->key_n)) {
            l->fields[i] = *p;
            return;
        }
    if (l->n_fields < SDK_LOG_LINE_FIELDS_MAX)
        l->fields[l->n_fields++] = *p;
    else
        l->dropped++;
}

bool sdk_log_read(const char *rec, size_t n, struct sdk_log_line *ret)
{
    struct sdk_log_rec h;
    if (n < sizeof h)
        return false;
    memcpy(&h, rec, sizeof h);
    uint64_t parts = (uint64_t)h.scope_n + h.fields_n + h.message_n + h.file_n;
    if (h.size < sizeof h || h.size > n || parts > h.size - sizeof h || h.kind < SDK_LOG_LINE || h.kind > SDK_LOG_EVENT)
        return false;
    const char *at = rec + sizeof h, *end = at + h.scope_n + h.fields_n;
    static const uint8_t zero[16];
    bool span = memcmp(rec + offsetof(struct sdk_log_rec, trace_id), zero, 16) != 0;
    ret->unix_ns = h.unix_ns;
    ret->kind = (enum sdk_log_kind)h.kind;
    ret->level = sdk_log_level(h.level);
    ret->trace_id = span ? (const uint8_t *)rec + offsetof(struct sdk_log_rec, trace_id) : NULL;
    ret->span_id = span ? (const uint8_t *)rec + offsetof(struct sdk_log_rec, span_id) : NULL;
    ret->trace_flags = h.trace_flags;
    ret->message = end;
    ret->message_n = h.message_n;
    ret->file = end + h.message_n;
    ret->file_n = h.file_n;
    ret->line = h.line;
    ret->suppressed = h.suppressed;
    ret->dropped = h.dropped;
    ret->n_fields = 0;
    while (at < end) {
        struct sdk_log_field f;
        if ((size_t)(end - at) < sizeof f)
            return false;
        memcpy(&f, at, sizeof f);
        at += sizeof f;
        if ((uint64_t)f.key_n + f.value_n > (size_t)(end - at))
            return false;
        struct sdk_log_pair p = {
            .type = (vane_type)f.type, .key = at, .key_n = f.key_n, .value = at + f.key_n, .value_n = f.value_n
        };
        at += f.key_n + f.value_n;
        bool number = f.type == VANE_T_INT || f.type == VANE_T_F64 || f.type == VANE_T_BOOL;
        if (number ? f.value_n != 8 : f.type != VANE_T_STR && f.type != VANE_T_BYTES)
            return false;
        add_pair(ret, &p);
    }
    return true;
}

/* The text valid, in w->clean when it was not. */
static const char *clean(struct writer *w, const char *s, uint32_t *n)
{
    if (sdk_text_valid(s, *n))
        return s;
    char *to = w->clean + w->clean_n;
    *n = (uint32_t)sdk_text(to, sizeof w->clean - w->clean_n, s, *n);
    w->clean_n += *n;
    return to;
}

static void line_clean(struct writer *w)
{
    struct sdk_log_line *l = &w->line;
    w->clean_n = 0;
    l->message = clean(w, l->message, &l->message_n);
    l->file = clean(w, l->file, &l->file_n);
    for (size_t i = 0; i < l->n_fields; i++) {
        struct sdk_log_pair *p = &l->fields[i];
        p->key = clean(w, p->key, &p->key_n);
        if (p->type == VANE_T_STR)
            p->value = clean(w, p->value, &p->value_n);
    }
}

/* ---- lines to text ---- */

static void put_base64(struct sdk_buf *b, const uint8_t *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        char c[4] = { digits[v >> 18], digits[v >> 12 & 63], i + 1 < n ? digits[v >> 6 & 63] : '=',
                      i + 2 < n ? digits[v & 63] : '=' };
        sdk_put(b, c, 4);
    }
}

void sdk_put_json_value(struct sdk_buf *b, vane_type type, const void *value, size_t n, bool as_text)
{
    int64_t i = 0;
    double f;
    if (type == VANE_T_STR) {
        sdk_put_json_str(b, value, n);
        return;
    }
    bool bytes = type == VANE_T_BYTES;
    if (!bytes)
        memcpy(&i, value, 8);
    memcpy(&f, &i, 8);
    as_text |= bytes || (type == VANE_T_F64 && !isfinite(f));
    if (as_text)
        sdk_putc(b, '"');
    if (bytes)
        put_base64(b, value, n);
    else if (type == VANE_T_F64)
        sdk_put_f64(b, f);
    else if (type == VANE_T_INT)
        sdk_put_i64(b, i);
    else
        sdk_puts(b, i ? "true" : "false");
    if (as_text)
        sdk_putc(b, '"');
}

static void put_json_value(struct sdk_buf *b, const struct sdk_log_pair *p)
{
    sdk_put_json_value(b, p->type, p->value, p->value_n, false);
}

/* Fields that stand beside the message, not in metadata: of all lines the first three, of events one more. */
static const struct {
    uint8_t n;
    const char *key, *shown;
} top_keys[] = {
    { 14, "correlation_id", "correlation_id" }, { 7, "user_id", "user_id" },        { 8, "endpoint", "endpoint" },
    { 10, "event.name", "event.name" },         { 11, "audit.actor", "actor" },     { 12, "audit.action", "action" },
    { 12, "audit.object", "object" },           { 13, "audit.outcome", "outcome" },
};

/* Which of them the line has, by row, and a bit for each such field. */
static void find_top(const struct sdk_log_line *l, const struct sdk_log_pair *ret[SDK_COUNT_OF(top_keys)],
                     uint64_t taken[2])
{
    size_t n = l->kind == SDK_LOG_AUDIT ? SDK_COUNT_OF(top_keys) : l->kind == SDK_LOG_EVENT ? 4 : 3;
    _Static_assert(SDK_LOG_LINE_FIELDS_MAX <= 128, "bits of taken");
    for (size_t i = 0; i < l->n_fields; i++)
        for (size_t k = 0; k < n; k++)
            if (l->fields[i].key_n == top_keys[k].n && !memcmp(l->fields[i].key, top_keys[k].key, top_keys[k].n)) {
                ret[k] = &l->fields[i];
                taken[i / 64] |= (uint64_t)1 << i % 64;
            }
}

static const char *kind_name(const struct sdk_log_line *l)
{
    return l->kind == SDK_LOG_AUDIT ? "audit" : l->kind == SDK_LOG_EVENT ? "event" : NULL;
}

void sdk_log_json(struct sdk_buf *b, const struct sdk_log_line *l, const char *service)
{
    SDK_PUTS(b, "{\"timestamp\":\"");
    sdk_put_rfc3339(b, l->unix_ns);
    SDK_PUTS(b, "\",\"level\":\"");
    sdk_puts(b, sdk_log_level_name(l->level));
    SDK_PUTS(b, "\",\"service\":");
    sdk_put_json_str(b, service, strlen(service));
    if (kind_name(l)) {
        SDK_PUTS(b, ",\"log.kind\":\"");
        sdk_puts(b, kind_name(l));
        sdk_putc(b, '"');
    }
    SDK_PUTS(b, ",\"message\":");
    sdk_put_json_str(b, l->message, l->message_n);
    const struct sdk_log_pair *top[SDK_COUNT_OF(top_keys)] = { NULL };
    uint64_t taken[2] = { 0, 0 };
    find_top(l, top, taken);
    for (size_t i = 0; i < SDK_COUNT_OF(top_keys); i++)
        if (top[i]) {
            SDK_PUTS(b, ",\"");
            sdk_puts(b, top_keys[i].shown);
            SDK_PUTS(b, "\":");
            put_json_value(b, top[i]);
        }
    if (l->trace_id) {
        SDK_PUTS(b, ",\"trace_id\":\"");
        sdk_put_hex(b, l->trace_id, 16);
        SDK_PUTS(b, "\",\"span_id\":\"");
        sdk_put_hex(b, l->span_id, 8);
        sdk_putc(b, '"');
    }
    bool rest = false;
    for (size_t i = 0; i < l->n_fields; i++) {
        const struct sdk_log_pair *p = &l->fields[i];
        if (taken[i / 64] >> i % 64 & 1)
            continue;
        if (rest)
            sdk_putc(b, ',');
        else
            SDK_PUTS(b, ",\"metadata\":{");
        rest = true;
        sdk_put_json_str(b, p->key, p->key_n);
        sdk_putc(b, ':');
        put_json_value(b, p);
    }
    if (rest)
        sdk_putc(b, '}');
    if (l->file_n) {
        SDK_PUTS(b, ",\"code.file.path\":");
        sdk_put_json_str(b, l->file, l->file_n);
        SDK_PUTS(b, ",\"code.line.number\":");
        sdk_put_u64(b, l->line);
    }
    if (l->suppressed)
        SDK_PUTS(b, ",\"log.suppressed\":"), sdk_put_u64(b, l->suppressed);
    if (l->dropped)
        SDK_PUTS(b, ",\"log.dropped_fields\":"), sdk_put_u64(b, l->dropped);
    SDK_PUTS(b, "}\n");
}

/* A text as it is when it is a plain word, in quotes otherwise: a line stays a line. */
static void put_word(struct sdk_buf *b, const char *s, size_t n)
{
    bool plain = n > 0;
    for (size_t i = 0; i < n && plain; i++)
        plain = (uint8_t)s[i] > ' ' && s[i] != '"' && s[i] != '=' && s[i] != '\\' && s[i] != 0x7F;
    if (plain)
        sdk_put(b, s, n);
    else
        sdk_put_json_str(b, s, n);
}

static void put_message(struct sdk_buf *b, const char *s, size_t n)
{
    bool plain = true;
    for (size_t i = 0; i < n && plain; i++)
        plain = (uint8_t)s[i] >= ' ' && s[i] != 0x7F;
    if (plain)
        sdk_put(b, s, n);
    else
        sdk_put_json_str(b, s, n);
}

void sdk_log_text(struct sdk_buf *b, const struct sdk_log_line *l, const char *service)
{
    sdk_put_rfc3339(b, l->unix_ns);
    sdk_putc(b, ' ');
    const char *level = sdk_log_level_name(l->level);
    sdk_puts(b, level);
    sdk_put(b, "        ", 9 - strlen(level));
    put_word(b, service, strlen(service));
    sdk_putc(b, ' ');
    if (kind_name(l))
        sdk_putc(b, '['), sdk_puts(b, kind_name(l)), SDK_PUTS(b, "] ");
    put_message(b, l->message, l->message_n);
    for (size_t i = 0; i < l->n_fields; i++) {
        const struct sdk_log_pair *p = &l->fields[i];
        sdk_putc(b, ' ');
        put_word(b, p->key, p->key_n);
        sdk_putc(b, '=');
        if (p->type == VANE_T_STR)
            put_word(b, p->value, p->value_n);
        else
            put_json_value(b, p);
    }
    if (l->trace_id) {
        SDK_PUTS(b, " trace_id=");
        sdk_put_hex(b, l->trace_id, 16);
        SDK_PUTS(b, " span_id=");
        sdk_put_hex(b, l->span_id, 8);
    }
    if (l->file_n) {
        SDK_PUTS(b, " at=");
        put_word(b, l->file, l->file_n);
        sdk_putc(b, ':');
        sdk_put_u64(b, l->line);
    }
    if (l->suppressed)
        SDK_PUTS(b, " suppressed="), sdk_put_u64(b, l->suppressed);
    if (l->dropped)
        SDK_PUTS(b, " dropped_fields="), sdk_put_u64(b, l->dropped);
    sdk_putc(b, '\n');
}

/* ---- one line to all sinks ---- */

static void line_write(struct writer *w)
{
    struct sdk_log_line *l = &w->line;
    struct sdk_buf b = { .p = w->out, .cap = sizeof w->out, .max = sizeof w->out };
    if (w->text) {
        line_clean(w);
        sdk_log_text(&b, l, w->service);
    } else {
        sdk_log_json(&b, l, w->service);
        if (SDK_UNLIKELY(b.odd)) { /* otherwise every text of it has just been seen to be clean */
            line_clean(w);
            b.n = 0;
            sdk_log_json(&b, l, w->service);
        }
    }
    if (b.failed) {
        sdk_count(SDK_LOGS_DROPPED, 1);
        return;
    }
    for (size_t i = 0; i < w->n_sinks; i++)
        w->sinks[i].write(&w->sinks[i], l, b.p, b.n);
    uint32_t n = atomic_load_explicit(&n_host_sinks, memory_order_acquire);
    for (uint32_t i = 0; i < n; i++)
        atomic_load_explicit(&host_sinks[i].fn, memory_order_relaxed)(host_sinks[i].ctx, l->level, b.p, b.n);
    if (w->otlp) {
        sdk_log_otlp_fn fn = atomic_load_explicit(&sdk_log_otlp_hook, memory_order_acquire);
        if (!fn || !fn(l))
            sdk_count(l->kind == SDK_LOG_LINE ? SDK_LOGS_DROPPED : SDK_EVENTS_DROPPED, 1);
    }
}

/* ---- rounds ---- */

/* Next record of a ring below `until`, padding skipped. NULL: none. */
static const char *ring_peek(struct sdk_log_ring *r, uint64_t until, struct sdk_log_rec *ret)
{
    for (;;) {
        uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
        if (tail >= until)
            return NULL;
        uint32_t mark[2];
        memcpy(mark, r->data + r->tail_at, 8);
        if (mark[1]) {
            memcpy(ret, r->data + r->tail_at, sizeof *ret);
            return r->data + r->tail_at;
        }
        r->tail_at = 0;
        atomic_store_explicit(&r->tail, tail + mark[0], memory_order_release);
    }
}

static void ring_take(struct sdk_log_ring *r, uint32_t size)
{
    r->tail_at += size;
    if (r->tail_at == r->size)
        r->tail_at = 0;
    atomic_store_explicit(&r->tail, atomic_load_explicit(&r->tail, memory_order_relaxed) + size, memory_order_release);
}

/* Everything that is in the rings now, oldest first. Returns the number of lines. */
static size_t round_run(struct writer *w)
{
    struct head *heads = w->heads;
    uint32_t n = atomic_load_explicit(&sdk_log_rings_n, memory_order_acquire);
    uint32_t active[SDK_LOG_RINGS_MAX], n_active = 0;
    size_t lines = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct sdk_log_ring *r = &sdk_log_rings[i];
        heads[i].until = atomic_load_explicit(&r->head, memory_order_acquire);
        if ((heads[i].rec = ring_peek(r, heads[i].until, &heads[i].h))) /* empty until it has memory */
            active[n_active++] = i;
    }
    atomic_store_explicit(&busy, n_active > 0, memory_order_release);
    while (n_active && !atomic_load_explicit(&w->abandoned, memory_order_relaxed)) {
        uint32_t best = 0;
        for (uint32_t k = 1; k < n_active; k++)
            if (heads[active[k]].h.unix_ns < heads[active[best]].h.unix_ns)
                best = k;
        uint32_t i = active[best];
        struct sdk_log_ring *r = &sdk_log_rings[i];
        if (sdk_log_read(heads[i].rec, heads[i].h.size, &w->line))
            line_write(w);
        else
            sdk_count(SDK_LOGS_DROPPED, 1); /* a host that writes over our memory */
        if (atomic_load_explicit(&w->abandoned, memory_order_relaxed))
            return lines;
        ring_take(r, heads[i].h.size);
        lines++;
        if (!(heads[i].rec = ring_peek(r, heads[i].until, &heads[i].h)))
            active[best] = active[--n_active];
    }
    for (size_t i = 0; i < w->n_sinks; i++)
        if (w->sinks[i].flush)
            w->sinks[i].flush(&w->sinks[i]);
    return lines;
}

static bool rings_empty(void)
{
    uint32_t n = atomic_load_explicit(&sdk_log_rings_n, memory_order_acquire);
    for (uint32_t i = 0; i < n; i++)
        if (atomic_load_explicit(&sdk_log_rings[i].head, memory_order_acquire) !=
            atomic_load_explicit(&sdk_log_rings[i].tail, memory_order_acquire))
            return false;
    return true;
}

static void tell_dropped(void)
{
    uint64_t now = atomic_load_explicit(&sdk_log_lost, memory_order_relaxed);
    uint64_t was = atomic_exchange_explicit(&told_dropped, now, memory_order_relaxed);
    if (now > was)
        sdk_diag(
            VANE_E_LIMIT,
            "%llu log lines were dropped: the ring of their thread was full; raise log_ring_bytes (%u) or log less",
            (unsigned long long)(now - was), sdk_cfg.log_ring_bytes);
}

static void futex_sleep(uint32_t state, int64_t ns)
{
    struct timespec t = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
    syscall(SYS_futex, &sdk_log_sleeping, FUTEX_WAIT_PRIVATE, state, &t, NULL, 0);
}

static void writer_sleep(struct writer *w, bool nap)
{
    uint32_t state = nap ? 2 : 1;
    atomic_store(&sdk_log_sleeping, state);
    bool fenced = can_barrier && !syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    bool stop = atomic_load(&w->stop_deadline_ns) || atomic_load(&reopen_wanted);
    if (!stop && (nap || rings_empty()))
        futex_sleep(state, nap ? NAP_NS : fenced ? 60000000000 : 100000000);
    atomic_store(&sdk_log_sleeping, 0);
}

static void *writer_main(void *arg)
{
    struct writer *w = arg;
    sdk_log_mute();
    int idle = 0;
    for (;;) {
        if (atomic_exchange(&reopen_wanted, 0))
            for (size_t i = 0; i < w->n_sinks; i++)
                if (w->sinks[i].reopen)
                    w->sinks[i].reopen(&w->sinks[i]);
        bool stopping = atomic_load(&w->stop_deadline_ns) != 0;
        size_t lines = round_run(w);
        if (atomic_load(&w->abandoned))
            return NULL; /* w is left to itself: another may run by now */
        if (lines)
            tell_dropped();
        atomic_store(&busy, false);
        atomic_fetch_add(&rounds, 1);
        if (stopping) {
            atomic_store(&w->finished, true);
            return NULL;
        }
        idle = lines ? 0 : idle + 1;
        writer_sleep(w, idle < NAPS);
    }
}

/* ---- from the host's threads ---- */

void sdk_log_wake(void)
{
    int saved = errno;
    uint32_t was = atomic_exchange(&sdk_log_sleeping, 0);
    if (SDK_UNLIKELY(atomic_load_explicit(&thread_gone, memory_order_relaxed))) {
        if (sdk_cfg.fork_threads != VANE_ON || sdk_log_writer_threads())
            atomic_store(&sdk_log_sleeping, 1);
    } else if (was) {
        syscall(SYS_futex, &sdk_log_sleeping, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    errno = saved;
}

void sdk_log_writer_reopen(void)
{
    atomic_store(&reopen_wanted, 1);
    sdk_log_wake();
}

vane_status vane_log_add_sink(vane_log_sink_fn fn, void *ctx)
{
    if (!fn)
        return VANE_E_ARG;
    if (!sdk_enter())
        return VANE_E_STATE;
    pthread_mutex_lock(&thread_mu);
    uint32_t n = atomic_load(&n_host_sinks);
    if (n < SDK_COUNT_OF(host_sinks)) {
        host_sinks[n].ctx = ctx;
        atomic_store(&host_sinks[n].fn, fn);
        atomic_store_explicit(&n_host_sinks, n + 1, memory_order_release);
    }
    pthread_mutex_unlock(&thread_mu);
    sdk_leave();
    return n < SDK_COUNT_OF(host_sinks) ? VANE_OK : VANE_E_LIMIT;
}

/* ---- life ---- */

/* One item of log_sinks. */
static vane_status sink_open(struct writer *w, const char *item)
{
    if (!strcasecmp(item, "none"))
        return VANE_OK;
    if (!strcasecmp(item, "otlp")) {
        w->otlp = true;
        return VANE_OK;
    }
    if (w->n_sinks == SINKS_MAX) {
        sdk_diag(VANE_E_LIMIT, "log_sinks has more than %u sinks", SINKS_MAX);
        return VANE_E_ARG;
    }
    struct sdk_sink *s = &w->sinks[w->n_sinks];
    s->stop_deadline_ns = &w->stop_deadline_ns;
    s->fd = -1;
    const char *colon = strchr(item, ':');
    vane_status st = VANE_E_ARG;
    if (!strcasecmp(item, "stderr"))
        st = sdk_sink_stream_open(s, NULL);
    else if (!strncasecmp(item, "file:", 5) && item[5])
        st = sdk_sink_stream_open(s, item + 5);
    else if (!strcasecmp(item, "syslog") || !strncasecmp(item, "syslog:", 7))
        st = sdk_sink_syslog_open(s, colon ? colon + 1 : "/dev/log");
    else if (!strcasecmp(item, "journald") || !strncasecmp(item, "journald:", 9))
        st = sdk_sink_journald_open(s, colon ? colon + 1 : "/run/systemd/journal/socket");
    if (st == VANE_OK)
        w->n_sinks++;
    else if (st == VANE_E_IO)
        sdk_diag(st, "log_sinks: \"%.200s\" cannot be opened: %s", item, strerror(errno));
    else
        sdk_diag(st, "log_sinks: \"%.200s\" is no sink; stderr, file:PATH, syslog, journald, otlp or none is meant",
                 item);
    return st;
}

static void sinks_close(struct writer *w)
{
    for (size_t i = 0; i < w->n_sinks; i++)
        w->sinks[i].close(&w->sinks[i]);
    w->n_sinks = 0;
}

vane_status sdk_log_writer_start(void)
{
    struct writer *w = writer = sdk_alloc(sizeof *w);
    if (!w)
        return VANE_E_NOMEM;
    w->text = !strcasecmp(sdk_cfg.log_format, "text");
    snprintf(w->service, sizeof w->service, "%.255s", sdk_cfg.service_name);
    atomic_store(&n_host_sinks, 0);
    atomic_store(&told_dropped, atomic_load(&sdk_log_lost));
    atomic_store(&reopen_wanted, 0);
    atomic_store(&sdk_log_sleeping, 0);
    atomic_store(&busy, false);
    can_barrier = !syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    vane_status st = VANE_OK;
    for (const char *at = sdk_cfg.log_sinks; !st && at && *at;) {
        at += strspn(at, ", \t");
        size_t n = strcspn(at, ",");
        char item[600];
        size_t len = n;
        while (len && (at[len - 1] == ' ' || at[len - 1] == '\t'))
            len--;
        snprintf(item, sizeof item, "%.*s", (int)(len < sizeof item ? len : sizeof item - 1), at);
        if (*item)
            st = sink_open(w, item);
        at += n;
    }
    if (st) {
        sinks_close(w);
        sdk_free(w, sizeof *w);
        writer = NULL;
        return st;
    }
    running = true;
    return VANE_OK;
}

vane_status sdk_log_writer_threads(void)
{
    pthread_mutex_lock(&thread_mu);
    int e = 0;
    if (running && !thread_runs) {
        e = sdk_thread_start(&thread, "log", writer_main, writer);
        thread_runs = !e;
        if (!e)
            atomic_store(&thread_gone, false);
    }
    pthread_mutex_unlock(&thread_mu);
    if (e)
        sdk_diag(VANE_E_NOMEM, "the thread that writes log lines cannot be started: %s", strerror(e));
    return e ? VANE_E_NOMEM : VANE_OK;
}

bool sdk_log_writer_flush(uint64_t deadline_ns)
{
    if (atomic_load(&thread_gone) && !rings_empty() && sdk_cfg.fork_threads == VANE_ON)
        sdk_log_writer_threads();
    if (atomic_load(&thread_gone))
        return rings_empty();
    /* A round that began before this call may have missed the last lines: the one after it has not. */
    uint64_t want = atomic_load(&rounds) + 2;
    while (!(rings_empty() && !atomic_load(&busy)) &&
           atomic_load(&rounds) < want) { /* it is busy before it takes a line */
        if (sdk_mono_ns() >= deadline_ns)
            return false;
        sdk_log_wake();
        const struct timespec t = { 0, 200000 };
        nanosleep(&t, NULL);
    }
    return true;
}

void sdk_log_writer_stop(void)
{
    pthread_mutex_lock(&thread_mu);
    struct writer *w = writer;
    bool join = thread_runs;
    running = thread_runs = false;
    writer = NULL;
    pthread_mutex_unlock(&thread_mu);
    if (!w)
        return;
    if (join) {
        uint64_t now = sdk_mono_ns();
        atomic_store(&w->stop_deadline_ns, now + STOP_NS);
        sdk_log_wake();
        while (!atomic_load(&w->finished) && sdk_mono_ns() < now + STOP_NS + 500000000u) {
            const struct timespec t = { 0, 200000 };
            nanosleep(&t, NULL);
        }
        if (!atomic_load(&w->finished)) {
            atomic_store(&w->abandoned, true);
            pthread_detach(thread);
            sdk_count(SDK_CALLBACKS_SLOW, 1);
            sdk_diag(VANE_E_TIMEOUT, "the thread that writes log lines is stuck in a sink and left behind");
            return; /* it still stands in w */
        }
        pthread_join(thread, NULL);
    }
    sinks_close(w);
    sdk_free(w, sizeof *w);
}

void sdk_log_writer_fork_prepare(void)
{
    pthread_mutex_lock(&thread_mu);
}

void sdk_log_writer_fork_parent(void)
{
    pthread_mutex_unlock(&thread_mu);
}

/* The thread is not here, and may have been anywhere in w: everything in w that is not the sinks' places is rewritten
 * for each line, so only what the sinks have kept back is dropped (it is the parent's). */
void sdk_log_writer_fork_child(void)
{
    pthread_mutex_unlock(&thread_mu); /* taken by fork_prepare, on this thread */
    bool had = running;
    thread_runs = false;
    atomic_store(&busy, false);
    atomic_store(&thread_gone, had);
    atomic_store(&sdk_log_sleeping, had ? 1 : 0); /* the first line takes the slow way and starts the thread */
    atomic_store(&told_dropped, atomic_load(&sdk_log_lost));
    for (size_t i = 0; writer && i < writer->n_sinks; i++)
        writer->sinks[i].n = writer->sinks[i].n_lines = 0;
}
