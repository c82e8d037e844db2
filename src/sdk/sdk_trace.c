/* Spans. A vane_span is a struct sdk_span in the caller's memory; its magic word says in which state it is and where it
 * lies, so that a second end, a copy and memory that was never a span are noticed.
 *
 * An unsampled span below an unsampled current one, the common case, shares that one's context: it only notes it.
 * A finished span is written as one record (struct sdk_span_rec) into a ring of slots that the pusher empties. The ring
 * is lock-free for any number of writers and readers: slot i holds in lap l the state 2l when it is free and 2l + 1 when
 * it is full, so zeroed memory (a child of fork has it) is an empty ring. A record too long for its slot lies behind a
 * pointer. With a folder for the black box the ring is in its file, and what was taken stays readable there.
 *
 * Nested current spans of a thread are numbered: `stack` has the serial number of the span at each depth, which is how an
 * end tells whether its span still is among the current ones, without touching the memory of another span. */
#include "sdk_mem.h"
#include "sdk_trace.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum span_state { IDLE, FAST, UNSAMPLED, RECORDED, OFF, ENDED };
#define MAGIC 0x76616E655350A000u

#define DEPTH 32
#define SAVED 4
static __thread struct {
    uint32_t serial;
    uint16_t depth, n_saved;
    uint32_t stack[DEPTH];
    struct {
        uint8_t span_id[8];
        vane_span *span;
    } saved[SAVED]; /* recorded spans hidden by vane_context_attach() */
} here __attribute__((tls_model("initial-exec")));

/* 0: off; else bit 0 on, bit 1 children follow their parents. */
static _Atomic uint32_t mode;

static inline enum span_state state_of(const struct sdk_span *s)
{
    uint64_t k = s->magic ^ (uintptr_t)s ^ MAGIC;
    return k <= ENDED ? (enum span_state)k : IDLE;
}

static inline void state_set(struct sdk_span *s, enum span_state k)
{
    s->magic = MAGIC ^ (uintptr_t)s ^ (uint64_t)k;
}

static inline struct sdk_span *span_of(const vane_span *s)
{
    return (struct sdk_span *)(uintptr_t)s;
}

static SDK_COLD void misuse(void)
{
    if (sdk_on())
        sdk_count(SDK_SPAN_MISUSE, 1);
}

/* The span if it is recorded. */
static inline struct sdk_span *recorded(const vane_span *p)
{
    struct sdk_span *s = span_of(p);
    if (SDK_UNLIKELY(!s))
        return NULL;
    enum span_state k = state_of(s);
    if (SDK_UNLIKELY(k == ENDED || k == IDLE))
        misuse();
    return k == RECORDED ? s : NULL;
}

static uint64_t unix_now(void)
{
    uint64_t now;
    sdk_tick_ns(&now);
    return now;
}

/* ---- the ring ---- */

#define SLOT_BYTES  512
#define TOUCH_SLOTS 128u /* slots whose memory is asked for at once */
struct slot {
    _Atomic uint32_t state;
    uint32_t far; /* 1: the record is in far_records[] */
    char near[SLOT_BYTES - 8];
};
_Static_assert(sizeof(struct slot) == SLOT_BYTES, "slots are 512 bytes");

static struct slot *_Atomic ring;
static uint32_t ring_max, ring_mask, ring_bits; /* spans that may wait; slots: the next power of two */
static struct sdk_span_rec **far_records;       /* one per slot; apart, so that a child of fork can free them */
static uint32_t far_records_n;
static _Atomic uint64_t ring_head __attribute__((aligned(64))), ring_tail __attribute__((aligned(64)));
static bool ring_overwrites; /* nobody takes: the black box alone reads it */
_Atomic(sdk_wake_fn) sdk_trace_wake;

static void ignore(void *ctx, const struct sdk_span_rec *rec)
{
    (void)ctx, (void)rec;
}

/* The first lap goes through memory that is not there yet: many pages by one system call, not a fault for each. */
static SDK_COLD void ring_touch(struct slot *s, uint64_t at)
{
    uint32_t n = ring_mask + 1 - (uint32_t)at;
    int saved = errno;
    uintptr_t from = (uintptr_t)s & ~(uintptr_t)4095, to = (uintptr_t)(s + (n < TOUCH_SLOTS ? n : TOUCH_SLOTS));
    madvise((void *)from, to - from, MADV_POPULATE_WRITE); /* a kernel before 5.14 lets them fault */
    errno = saved;
}

/* The slot to write to, NULL when all are full. *ret_pos is its position. */
static inline struct slot *ring_reserve(uint64_t *ret_pos)
{
    struct slot *r = atomic_load_explicit(&ring, memory_order_acquire);
    if (SDK_UNLIKELY(!r))
        return NULL;
    uint64_t at = atomic_load_explicit(&ring_head, memory_order_relaxed);
    for (;;) {
        struct slot *s = &r[at & ring_mask];
        uint32_t want = (uint32_t)(at >> ring_bits) * 2, have = atomic_load_explicit(&s->state, memory_order_acquire);
        bool full = (int64_t)(at - atomic_load_explicit(&ring_tail, memory_order_relaxed)) >= ring_max ||
                    (int32_t)(have - want) < 0;
        if (SDK_UNLIKELY(full)) {
            if (!ring_overwrites || !sdk_trace_take(ignore, NULL))
                return NULL;
            at = atomic_load_explicit(&ring_head, memory_order_relaxed);
        } else if (SDK_UNLIKELY(have != want)) {
            at = atomic_load_explicit(&ring_head, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak_explicit(&ring_head, &at, at + 1, memory_order_relaxed,
                                                         memory_order_relaxed)) {
            if (SDK_UNLIKELY(at <= ring_mask && !(at % TOUCH_SLOTS)))
                ring_touch(s, at);
            *ret_pos = at;
            return s;
        }
    }
}

static SDK_COLD void ring_wake(void)
{
    sdk_wake_fn wake = atomic_load_explicit(&sdk_trace_wake, memory_order_acquire);
    if (wake)
        wake();
}

static inline void ring_publish(struct slot *s, uint64_t pos)
{
    atomic_store_explicit(&s->state, (uint32_t)(pos >> ring_bits) * 2 + 1, memory_order_release);
    uint32_t at = (uint32_t)pos & ring_mask;
    /* The first one too: in a child of fork it starts the pusher. */
    if (SDK_UNLIKELY(at == ring_max / 2 || at % sdk_cfg.batch_max == sdk_cfg.batch_max - 1 || !pos))
        ring_wake();
}

SDK_COLD bool sdk_trace_take(void (*fn)(void *ctx, const struct sdk_span_rec *rec), void *ctx)
{
    struct slot *r = atomic_load_explicit(&ring, memory_order_acquire);
    uint64_t at = atomic_load_explicit(&ring_tail, memory_order_relaxed);
    while (r) {
        struct slot *s = &r[at & ring_mask];
        uint32_t want = (uint32_t)(at >> ring_bits) * 2 + 1,
                 have = atomic_load_explicit(&s->state, memory_order_acquire);
        if ((int32_t)(have - want) < 0)
            return false;
        if (have == want && atomic_compare_exchange_weak_explicit(&ring_tail, &at, at + 1, memory_order_relaxed,
                                                                  memory_order_relaxed)) {
            struct sdk_span_rec *far = s->far ? far_records[at & ring_mask] : NULL;
            fn(ctx, far ? far : (const struct sdk_span_rec *)(const void *)s->near);
            if (far)
                far_records[at & ring_mask] = NULL;
            atomic_store_explicit(&s->state, want + 1, memory_order_release);
            sdk_free(far, far ? far->size : 0);
            return true;
        }
        if (have != want)
            at = atomic_load_explicit(&ring_tail, memory_order_relaxed);
    }
    return false;
}

uint32_t sdk_trace_waiting(void)
{
    uint64_t tail = atomic_load_explicit(&ring_tail, memory_order_relaxed);
    return (uint32_t)(atomic_load_explicit(&ring_head, memory_order_relaxed) - tail);
}

/* What fits of a long record stays in its slot, for the black box: it has the slots alone. */
static SDK_COLD void near_write(struct slot *s, const struct sdk_span_rec *far)
{
    struct sdk_span_rec r = *far;
    struct sdk_rec_attr a;
    size_t n = sizeof r + r.name_n + r.status_n + r.state_n;
    r.n_attrs = 0;
    r.events_n = r.links_n = 0;
    if (n > sizeof s->near) {
        r.status_n = r.state_n = 0;
        r.name_n = r.name_n < 256 ? r.name_n : 256;
        n = sizeof r + r.name_n;
    } else {
        for (; r.n_attrs < far->n_attrs; r.n_attrs++) {
            const char *at = (const char *)far + n;
            memcpy(&a, at, sizeof a);
            if (sizeof a + a.key_n + (size_t)a.n > sizeof s->near - n)
                break;
            n += sizeof a + a.key_n + a.n;
        }
    }
    r.dropped_attrs += (uint32_t)(far->n_attrs - r.n_attrs);
    r.size = (uint32_t)(n + 7) & ~7u;
    memcpy(s->near, far, n);
    memcpy(s->near, &r, sizeof r);
}

SDK_COLD void sdk_trace_queue(const struct sdk_span_rec *rec)
{
    struct sdk_span_rec *far = NULL;
    bool spill = rec->size > sizeof((struct slot *)0)->near;
    uint64_t pos;
    if (!atomic_load_explicit(&ring, memory_order_relaxed))
        return;
    struct slot *s = spill && !(far = sdk_alloc(rec->size)) ? NULL : ring_reserve(&pos);
    if (!s) {
        sdk_free(far, far ? rec->size : 0);
        sdk_count(SDK_SPANS_DROPPED, 1);
        return;
    }
    s->far = spill;
    if (spill)
        far_records[pos & ring_mask] = far;
    memcpy(spill ? (void *)far : s->near, rec, rec->size);
    if (spill)
        near_write(s, rec);
    ring_publish(s, pos);
}

/* ---- text of a span ---- */

#define HIGH_BITS 0x8080808080808080u

/* In HIGH_BITS of the answer: a byte with its high bit set, or a zero byte. */
static inline uint64_t odd_bytes(uint64_t w)
{
    return w | (w - 0x0101010101010101u);
}

static inline uint64_t copy8(char *dst, const char *p)
{
    uint64_t w;
    memcpy(&w, p, 8);
    memcpy(dst, &w, 8);
    return odd_bytes(w);
}

/* Copy n bytes in words, which overlap. Some of HIGH_BITS are set in the answer when they are not all plain ASCII. */
static inline uint64_t copy_words(char *dst, const char *p, size_t n)
{
    uint64_t odd;
    if (SDK_LIKELY(n >= 8)) {
        odd = copy8(dst, p) | copy8(dst + n - 8, p + n - 8);
        if (n > 16)
            odd |= copy8(dst + 8, p + 8) | copy8(dst + n - 16, p + n - 16);
        for (size_t i = 16; SDK_UNLIKELY(i + 16 < n); i += 8)
            odd |= copy8(dst + i, p + i);
    } else if (n >= 4) {
        uint32_t a, b;
        memcpy(&a, p, 4);
        memcpy(&b, p + n - 4, 4);
        odd = odd_bytes((uint64_t)a << 32 | b);
        memcpy(dst, &a, 4);
        memcpy(dst + n - 4, &b, 4);
    } else {
        if (!n)
            return 0;
        char a = p[0], b = p[n / 2], c = p[n - 1];
        odd = a > 0 && b > 0 && c > 0 ? 0 : HIGH_BITS;
        dst[0] = a;
        dst[n / 2] = b;
        dst[n - 1] = c;
    }
    return odd;
}

static bool plain_copy(char *dst, const char *p, size_t n)
{
    if (SDK_LIKELY(!(copy_words(dst, p, n) & HIGH_BITS)))
        return true;
    if (!sdk_text_valid(p, n))
        return false;
    memcpy(dst, p, n);
    return true;
}

/* As sdk_text(). */
static __attribute__((noinline)) size_t text_copy(char *dst, size_t cap, const char *p, size_t n)
{
    return n <= cap && plain_copy(dst, p, n) ? n : sdk_text(dst, cap, p, n);
}

static SDK_COLD struct sdk_span_more *more_of(struct sdk_span *s)
{
    if (s->more)
        return s->more;
    struct sdk_span_more *m = sdk_alloc(sizeof *m);
    if (!m)
        return NULL;
    sdk_buf_init(&m->attrs, (size_t)64 << 20);
    sdk_buf_init(&m->events, (size_t)64 << 20);
    sdk_buf_init(&m->links, (size_t)64 << 20);
    return s->more = m;
}

/* What may be put the quick way: nothing once attributes lie elsewhere, because what follows goes behind them, and nothing
 * when the body has room for more than are allowed. */
SDK_COLD static void room_set(struct sdk_span *s)
{
    bool quick = sdk_cfg.span_attributes_max > SDK_SPAN_BODY / 9 && !(s->more && s->more->attrs.n);
    s->room = quick ? s->body_end - s->body_n : 0;
}

static SDK_COLD void text_drop(struct sdk_span_text *t)
{
    if (t->own)
        sdk_free((void *)(uintptr_t)t->p, SDK_NAME_BYTES);
    *t = (struct sdk_span_text){ 0 };
}

SDK_COLD static void more_free(struct sdk_span *s)
{
    struct sdk_span_more *m = s->more;
    text_drop(&s->name);
    text_drop(&s->status);
    if (!m)
        return;
    sdk_buf_free(&m->attrs);
    sdk_buf_free(&m->events);
    sdk_buf_free(&m->links);
    sdk_free(m, sizeof *m);
    s->more = NULL;
}

static size_t bounded_len(const char *p, size_t n, size_t max)
{
    return !p ? 0 : n == SIZE_MAX ? strnlen(p, max + 1) : n;
}

/* Bytes that n bytes of text may become: three for each that has to be replaced, but no more than max. */
static size_t text_room(size_t n, size_t max)
{
    return n < max / 3 ? 3 * n : max;
}

/* Keep a copy of a name or a description; without memory what was there stays. */
static SDK_COLD void text_keep(struct sdk_span *s, struct sdk_span_text *t, const char *p)
{
    size_t n = strnlen(p, SDK_NAME_BYTES + 1), room = text_room(n, SDK_NAME_BYTES);
    bool own = room > (size_t)s->body_end - s->body_n;
    char *to = own ? sdk_alloc(SDK_NAME_BYTES) : s->body + s->body_end - room;
    if (!to)
        return;
    n = text_copy(to, room, p, n);
    text_drop(t);
    *t = (struct sdk_span_text){ to, (uint32_t)n, own };
    if (!own) {
        memmove(s->body + s->body_end - n, to, n);
        s->body_end = (uint16_t)(s->body_end - n);
        t->p = s->body + s->body_end;
        room_set(s);
    }
}

/* ---- attributes: kept as they go into the record (struct sdk_rec_attr, key, value) ---- */

/* Which bit of sdk_span.seen stands for the key. */
static inline uint8_t key_bit(const char *key, size_t n)
{
    uint64_t w;
    uint32_t a, b;
    if (SDK_LIKELY(n >= 8)) {
        memcpy(&w, key + n - 8, 8);
    } else if (n >= 4) {
        memcpy(&a, key, 4);
        memcpy(&b, key + n - 4, 4);
        w = (uint64_t)a << 32 | b;
    } else {
        w = (uint64_t)(uint8_t)key[0] << 16 | (uint64_t)(uint8_t)key[n / 2] << 8 | (uint8_t)key[n - 1];
    }
    return (uint8_t)((w + n) * 0x9E3779B97F4A7C15u >> 56);
}

static inline void attr_head(char *p, unsigned type, size_t key_n, size_t n)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ /* in one store, so that copying it soon does not wait */
    uint64_t w = (uint32_t)n | (uint64_t)(uint16_t)key_n << 32 | (uint64_t)type << 48;
    memcpy(p, &w, 8);
#else
    struct sdk_rec_attr h = { .n = (uint32_t)n, .key_n = (uint16_t)key_n, .type = (uint8_t)type };
    memcpy(p, &h, sizeof h);
#endif
}
_Static_assert(sizeof(struct sdk_rec_attr) == 8 && offsetof(struct sdk_rec_attr, key_n) == 4 &&
                   offsetof(struct sdk_rec_attr, type) == 6,
               "attr_head()");

static inline void number_put(char *p, unsigned type, uint64_t value)
{
    int b;
    memcpy(&b, &value, sizeof b); /* where the union has it */
    if (type == VANE_T_BOOL)
        value = b != 0;
    memcpy(p, &value, 8);
}

static SDK_COLD void attr_dropped(struct sdk_span *s)
{
    s->dropped_attrs++;
    sdk_count(SDK_SPAN_LIMITS, 1);
}

/* An attribute on its way: value are the bits of the union in a vane_attr. */
struct attr {
    const char *key;
    size_t key_n, n;
    uint64_t value;
    unsigned type;
};

/* The most bytes it takes when written. */
SDK_COLD static size_t attr_room(const struct attr *a)
{
    size_t max = sdk_cfg.attribute_bytes_max,
           n = a->type == VANE_T_STR     ? text_room(bounded_len((const char *)(uintptr_t)a->value, a->n, max), max)
               : a->type == VANE_T_BYTES ? (a->n < max ? a->n : max)
                                         : 8;
    return sizeof(struct sdk_rec_attr) + a->key_n + n;
}

/* Write to memory of attr_room(); returns the bytes. What replacement makes too long for its key is cut. */
SDK_COLD static size_t attr_write(char *to, const struct attr *a)
{
    const char *p = (const char *)(uintptr_t)a->value;
    char *at = to + sizeof(struct sdk_rec_attr);
    size_t max = sdk_cfg.attribute_bytes_max, key_n = text_copy(at, a->key_n, a->key, a->key_n), n = 8;
    at += key_n;
    if (a->type == VANE_T_STR) {
        n = bounded_len(p, a->n, max);
        n = text_copy(at, text_room(n, max), p, n);
    } else if (a->type == VANE_T_BYTES) {
        n = a->n < max ? a->n : max;
        sdk_count(SDK_CUT_STRINGS, n < a->n);
        if (n)
            memcpy(at, p, n);
    } else {
        number_put(at, a->type, a->value);
    }
    attr_head(to, a->type, key_n, n);
    return (size_t)(at - to) + n;
}

/* Head and key alone, to look for. */
SDK_COLD static void attr_probe(char *to, const struct attr *a)
{
    attr_head(to, a->type, text_copy(to + sizeof(struct sdk_rec_attr), a->key_n, a->key, a->key_n), 0);
}

/* The attribute with the key of the one at `like` in n bytes of them, *ret_n its bytes; NULL: none. */
SDK_COLD static char *attr_like(char *p, size_t n, const char *like, size_t *ret_n)
{
    struct sdk_rec_attr want, have;
    memcpy(&want, like, sizeof want);
    for (const char *end = p + n; p < end; p += *ret_n) {
        memcpy(&have, p, sizeof have);
        *ret_n = sizeof have + have.key_n + have.n;
        if (have.key_n == want.key_n && !memcmp(p + sizeof have, like + sizeof want, want.key_n))
            return p;
    }
    return NULL;
}

SDK_COLD static void reverse(char *p, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++, n--) {
        char c = p[i];
        p[i] = p[n - 1];
        p[n - 1] = c;
    }
}

/* a bytes and the b bytes behind them change places. */
SDK_COLD static void swap_parts(char *p, size_t a, size_t b)
{
    reverse(p, a);
    reverse(p + a, b);
    reverse(p, a + b);
}

/* The general way: written behind the others; one that is not new then takes the place of the one before. */
static SDK_COLD void attr_put_slow(struct sdk_span *s, const char *key, uint64_t type_and_key_n, size_t n,
                                   uint64_t value)
{
    const struct attr *a = &(struct attr){ key, type_and_key_n >> 32, n, value, (uint32_t)type_and_key_n };
    struct sdk_span_more *m = s->more;
    size_t room = attr_room(a), old_n = 0, new_n;
    bool in_body = !(m && m->attrs.n) && room <= (size_t)s->body_end - s->body_n;
    if (!in_body && (!(m = more_of(s)) || !sdk_buf_room(&m->attrs, room))) {
        attr_dropped(s);
        return;
    }
    char *fresh = in_body ? s->body + s->body_n : m->attrs.p + m->attrs.n;
    attr_probe(fresh, a);
    char *old = attr_like(s->body, s->body_n, fresh, &old_n);
    bool old_in_body = old;
    if (!old && m && m->attrs.n)
        old = attr_like(m->attrs.p, m->attrs.n, fresh, &old_n);
    if (!old && s->n_attrs >= sdk_cfg.span_attributes_max) {
        attr_dropped(s);
        return;
    }
    new_n = attr_write(fresh, a);
    if (in_body)
        s->body_n += (uint32_t)new_n;
    else
        m->attrs.n += new_n;
    if (!old) {
        uint8_t bit = key_bit(a->key, a->key_n);
        s->seen[bit / 32] |= 1u << bit % 32;
        s->n_attrs++;
        room_set(s);
        return;
    }
    char *end = old_in_body ? s->body + s->body_n : m->attrs.p + m->attrs.n;
    size_t others = (size_t)(end - old) - old_n - (old_in_body == in_body ? new_n : 0);
    if (old_in_body == in_body) {
        swap_parts(old + old_n, others, new_n);
    } else if (sdk_buf_room(&m->attrs, others)) { /* what follows the old one in the body goes elsewhere, too */
        memcpy(m->attrs.p + m->attrs.n, old + old_n, others);
        swap_parts(m->attrs.p, m->attrs.n - new_n, new_n + others);
        m->attrs.n += others;
        s->body_n -= (uint32_t)others;
        end -= others;
    }
    memmove(old, old + old_n, (size_t)(end - old) - old_n);
    if (old_in_body)
        s->body_n -= (uint32_t)old_n;
    else
        m->attrs.n -= old_n;
    room_set(s);
}

/* Not as the quick ways below want it: not measured, too long, of another type, or refused. */
static SDK_COLD void attr_put_any(vane_span *p, const char *key, uint64_t type_and_key_n, size_t n, uint64_t value)
{
    struct sdk_span *s = recorded(p);
    unsigned type = (uint32_t)type_and_key_n;
    size_t key_n = !key ? 0 : type_and_key_n >> 32 ? type_and_key_n >> 32 : strnlen(key, VANE_NAME_MAX + 1);
    if (!s)
        return;
    if (!key_n || key_n > VANE_NAME_MAX || type - 1 >= VANE_T_BYTES) {
        sdk_count(SDK_BAD_VALUES, 1);
        return;
    }
    bool again = type != VANE_T_BYTES;
    if (type == VANE_T_STR) {
        n = bounded_len((const char *)(uintptr_t)value, n, sdk_cfg.attribute_bytes_max);
        again = n <= s->text_max;
    }
    if (!again)
        attr_put_slow(s, key, (uint64_t)key_n << 32 | type, n, value);
    else if (type == VANE_T_STR)
        vane_span_put_str_(p, key, key_n, n, (const char *)(uintptr_t)value);
    else
        vane_span_put_(p, key, (uint64_t)key_n << 32 | type, n, value);
}

static inline bool is_recorded(const vane_span *p)
{
    return SDK_LIKELY(p && span_of(p)->magic == (MAGIC ^ (uintptr_t)p ^ (uint64_t)RECORDED));
}

/* What has been written behind the attributes becomes one, unless it must be looked at. */
static inline bool quick_done(struct sdk_span *s, const char *key, size_t key_n, unsigned type, size_t n, uint64_t odd)
{
    uint8_t bit = key_bit(key, key_n);
    uint32_t *seen = &s->seen[bit / 32], mask = 1u << bit % 32;
    if (SDK_UNLIKELY(odd & HIGH_BITS || *seen & mask))
        return false;
    attr_head(s->body + s->body_n, type, key_n, n);
    *seen |= mask;
    size_t size = sizeof(struct sdk_rec_attr) + key_n + n;
    s->body_n += (uint32_t)size;
    s->room -= (uint32_t)size;
    s->n_attrs++;
    return true;
}

/* The quick ways: all else goes to another function in tail position. */
SDK_HOT void vane_span_put_(vane_span *p, const char *key, uint64_t type_and_key_n, size_t n, uint64_t value)
{
    struct sdk_span *s = span_of(p);
    size_t key_n = type_and_key_n >> 32;
    unsigned type = (uint32_t)type_and_key_n;
    if (SDK_UNLIKELY(!is_recorded(p) || key_n - 1 >= VANE_NAME_MAX || !key ||
                     type - VANE_T_INT > VANE_T_BOOL - VANE_T_INT)) {
        attr_put_any(p, key, type_and_key_n, n, value);
        return;
    }
    if (SDK_UNLIKELY(sizeof(struct sdk_rec_attr) + key_n + 8 > s->room)) {
        attr_put_slow(s, key, type_and_key_n, n, value);
        return;
    }
    char *at = s->body + s->body_n + sizeof(struct sdk_rec_attr);
    number_put(at + key_n, type, value);
    if (SDK_UNLIKELY(!quick_done(s, key, key_n, type, 8, copy_words(at, key, key_n))))
        attr_put_slow(s, key, type_and_key_n, n, value);
}

SDK_HOT void vane_span_put_str_(vane_span *p, const char *key, size_t key_n, size_t n, const char *value)
{
    struct sdk_span *s = span_of(p);
    if (SDK_UNLIKELY(!is_recorded(p) || key_n - 1 >= VANE_NAME_MAX || !key || n > s->text_max)) {
        attr_put_any(p, key, (uint64_t)key_n << 32 | VANE_T_STR, n, (uintptr_t)value);
        return;
    }
    if (SDK_UNLIKELY(sizeof(struct sdk_rec_attr) + key_n + n > s->room)) {
        attr_put_slow(s, key, (uint64_t)key_n << 32 | VANE_T_STR, n, (uintptr_t)value);
        return;
    }
    char *at = s->body + s->body_n + sizeof(struct sdk_rec_attr);
    uint64_t odd = copy_words(at + key_n, value, n);
    if (SDK_UNLIKELY(!quick_done(s, key, key_n, VANE_T_STR, n, odd | copy_words(at, key, key_n))))
        attr_put_slow(s, key, (uint64_t)key_n << 32 | VANE_T_STR, n, (uintptr_t)value);
}

SDK_COLD static void attrs_put(vane_span *p, const vane_attr *attrs, size_t n)
{
    for (size_t i = 0; attrs && i < n; i++)
        vane_span_set(p, attrs[i]);
}

SDK_COLD void vane_span_set_all(vane_span *p, const vane_attr *attrs, size_t n)
{
    struct sdk_span *s = recorded(p);
    if (s)
        attrs_put(p, attrs, n);
}

/* ---- events, links, status ---- */

static void pb_text(struct sdk_buf *b, unsigned field, const char *p, size_t n, size_t max);

SDK_COLD void sdk_otlp_pair(struct sdk_buf *b, unsigned field, const char *key, size_t key_n, vane_type type,
                            const void *value, size_t n)
{
    size_t pair = sdk_pb_begin(b, field), any;
    uint64_t bits = 0;
    pb_text(b, 1, key, key_n, UINT16_MAX);
    any = sdk_pb_begin(b, 2);
    if (type == VANE_T_STR || type == VANE_T_BYTES) {
        sdk_pb_bytes(b, type == VANE_T_STR ? 1 : 7, value, n);
    } else {
        memcpy(&bits, value, 8);
        if (type == VANE_T_F64)
            sdk_pb_fixed64(b, 4, bits);
        else
            sdk_pb_u64(b, type == VANE_T_BOOL ? 2 : 3, bits);
    }
    sdk_pb_end(b, any);
    sdk_pb_end(b, pair);
}

/* A string into a protobuf field, made valid. */
SDK_COLD static void pb_text(struct sdk_buf *b, unsigned field, const char *p, size_t n, size_t max)
{
    n = bounded_len(p, n, max);
    size_t room = n < max / 3 ? 3 * n : max, mark = sdk_pb_begin(b, field);
    if (!sdk_buf_room(b, room))
        return;
    b->n += room ? text_copy(b->p + b->n, room, p, n) : 0;
    sdk_pb_end(b, mark);
}

/* Attributes of an event or a link; returns how many were dropped. */
SDK_COLD static uint32_t pb_attrs(struct sdk_buf *b, unsigned field, const vane_attr *attrs, size_t n)
{
    uint32_t dropped = 0, put = 0;
    for (size_t i = 0; attrs && i < n; i++) {
        const vane_attr *a = &attrs[i];
        size_t key_n = !a->key ? 0 : a->key_n ? a->key_n : strnlen(a->key, VANE_NAME_MAX + 1);
        bool bad = !key_n || key_n > VANE_NAME_MAX || a->type == VANE_T_NONE || (unsigned)a->type > VANE_T_BYTES;
        if (bad || put == sdk_cfg.span_attributes_max) {
            dropped++;
            sdk_count(bad ? SDK_BAD_VALUES : SDK_SPAN_LIMITS, 1);
            continue;
        }
        put++;
        if (a->type != VANE_T_STR) {
            int64_t truth = a->v.b != 0;
            size_t len = a->n > sdk_cfg.attribute_bytes_max ? sdk_cfg.attribute_bytes_max : a->n;
            const void *v = a->type == VANE_T_BYTES ? a->v.p : a->type == VANE_T_BOOL ? &truth : (const void *)&a->v;
            sdk_otlp_pair(b, field, a->key, key_n, a->type, v, len);
            continue;
        }
        size_t pair = sdk_pb_begin(b, field);
        pb_text(b, 1, a->key, key_n, VANE_NAME_MAX);
        size_t any = sdk_pb_begin(b, 2);
        pb_text(b, 1, a->v.s, a->n, sdk_cfg.attribute_bytes_max);
        sdk_pb_end(b, any);
        sdk_pb_end(b, pair);
    }
    return dropped;
}

static bool over(uint32_t *n, uint32_t max, uint32_t *dropped)
{
    if (*n < max)
        return ++*n, false;
    ++*dropped;
    sdk_count(SDK_SPAN_LIMITS, 1);
    return true;
}

/* A message that did not fit is taken back. */
SDK_COLD static void pb_done(struct sdk_buf *b, size_t before, uint32_t *n, uint32_t *dropped)
{
    if (!b->failed)
        return;
    b->failed = false;
    b->n = before;
    --*n;
    ++*dropped;
    sdk_count(SDK_SPAN_LIMITS, 1);
}

SDK_COLD void vane_span_event_at(vane_span *p, const char *name, uint64_t unix_ns, const vane_attr *attrs, size_t n)
{
    struct sdk_span *s = recorded(p);
    if (!s || over(&s->n_events, sdk_cfg.span_events_max, &s->dropped_events))
        return;
    struct sdk_span_more *m = more_of(s);
    if (!m) {
        s->n_events--;
        s->dropped_events++;
        return;
    }
    size_t before = m->events.n, mark = sdk_pb_begin(&m->events, 11);
    sdk_pb_fixed64(&m->events, 1, unix_ns ? unix_ns : unix_now());
    pb_text(&m->events, 2, name, SIZE_MAX, SDK_NAME_BYTES);
    uint32_t dropped = pb_attrs(&m->events, 3, attrs, n);
    if (dropped)
        sdk_pb_u64(&m->events, 4, dropped);
    sdk_pb_end(&m->events, mark);
    pb_done(&m->events, before, &s->n_events, &s->dropped_events);
}

SDK_COLD void vane_span_event(vane_span *p, const char *name, const vane_attr *attrs, size_t n)
{
    vane_span_event_at(p, name, 0, attrs, n);
}

SDK_COLD void vane_span_exception(vane_span *p, const char *type, const char *message, const char *stacktrace)
{
    vane_attr attrs[3];
    size_t n = 0;
    if (type)
        attrs[n++] = vane_str("exception.type", type);
    if (message)
        attrs[n++] = vane_str("exception.message", message);
    if (stacktrace)
        attrs[n++] = vane_str("exception.stacktrace", stacktrace);
    vane_span_event_at(p, "exception", 0, attrs, n);
}

SDK_COLD void vane_span_link(vane_span *p, const vane_context *to, const vane_attr *attrs, size_t n)
{
    struct sdk_span *s = recorded(p);
    if (!s || !vane_context_valid(to) || over(&s->n_links, sdk_cfg.span_links_max, &s->dropped_links))
        return;
    struct sdk_span_more *m = more_of(s);
    if (!m) {
        s->n_links--;
        s->dropped_links++;
        return;
    }
    struct sdk_buf *b = &m->links;
    char state[VANE_TRACESTATE_MAX];
    size_t before = b->n, state_n = to->extra ? sdk_extra_state(to->extra, state) : 0, mark = sdk_pb_begin(b, 13);
    sdk_pb_bytes(b, 1, to->trace_id, 16);
    sdk_pb_bytes(b, 2, to->span_id, 8);
    if (state_n)
        sdk_pb_bytes(b, 3, state, state_n);
    uint32_t dropped = pb_attrs(b, 4, attrs, n);
    if (dropped)
        sdk_pb_u64(b, 5, dropped);
    uint8_t flags[4] = { to->flags & 3, to->remote ? 3 : 1, 0, 0 }; /* bit 8: remote is known; bit 9: it is */
    sdk_pb_tag(b, 6, 5);
    sdk_put(b, (const char *)flags, 4);
    sdk_pb_end(b, mark);
    pb_done(b, before, &s->n_links, &s->dropped_links);
}

SDK_COLD void vane_span_status(vane_span *p, vane_span_code code, const char *description)
{
    struct sdk_span *s = recorded(p);
    if (!s || code == VANE_SPAN_UNSET || (unsigned)code > VANE_SPAN_ERROR || s->code == VANE_SPAN_OK)
        return;
    s->code = (uint8_t)code;
    text_drop(&s->status);
    if (code == VANE_SPAN_ERROR && description && *description)
        text_keep(s, &s->status, description);
}

SDK_COLD void vane_span_rename(vane_span *p, const char *name)
{
    struct sdk_span *s = recorded(p);
    if (s && name && *name)
        text_keep(s, &s->name, name);
}

/* ---- start ---- */

static inline bool ids_set(const vane_context *c)
{
    uint64_t a, b, s;
    memcpy(&a, c->trace_id, 8);
    memcpy(&b, c->trace_id + 8, 8);
    memcpy(&s, c->span_id, 8);
    return (a | b) && s;
}

/* An own context in the making: kept in registers until it is stored, because a copy of what was just stored in parts
 * waits for the stores. */
struct identity {
    uint64_t trace[2], span;
    uint8_t flags;
    uint16_t hold;
    uint32_t extra;
};

static inline void context_put(vane_context *c, const struct identity *id)
{
    memcpy(c->trace_id, &id->trace[0], 8);
    memcpy(c->trace_id + 8, &id->trace[1], 8);
    memcpy(c->span_id, &id->span, 8);
    c->flags = id->flags;
    c->remote = 0;
    c->reserved_[0] = (uint8_t)id->hold;
    c->reserved_[1] = (uint8_t)(id->hold >> 8);
    c->extra = id->extra;
}

static inline void make_current(struct sdk_span *s, const struct identity *id, vane_span *span)
{
    struct sdk_tls *t = &sdk_tls;
    s->thread = t;
    s->previous = t->context;
    s->previous_span = t->span;
    s->serial = ++here.serial;
    s->depth = here.depth;
    if (SDK_LIKELY(here.depth < DEPTH))
        here.stack[here.depth] = s->serial;
    here.depth++;
    context_put(&t->context, id);
    t->span = span;
}

/* Sampled, held for the end of the root, or neither: by the sampler's rules. */
static SDK_COLD void decide_by_rules(struct sdk_span *s, struct identity *id, const char *name, const vane_attr *attrs,
                                     size_t n)
{
    uint8_t trace_id[16];
    memcpy(trace_id, id->trace, 16);
    struct sdk_decision d = sdk_sample_root(trace_id, name, attrs, n);
    if (d.sampled) {
        id->flags |= SDK_CTX_SAMPLED;
    } else if (d.keep_errors || d.keep_slow_ns) {
        id->hold = sdk_hold_new(trace_id);
        s->hold_root = id->hold ? (uint8_t)(d.keep_errors | 2) : 0;
        s->keep_slow_ns = d.keep_slow_ns;
    }
}

static inline void decide(struct sdk_span *s, struct identity *id, const vane_context *parent, bool child,
                          const char *name, const vane_attr *attrs, size_t n)
{
    bool told = child ? !(parent->flags & SDK_CTX_DEFERRED) : (parent->flags & SDK_CTX_DECIDED) != 0;
    if (SDK_UNLIKELY(parent->flags & SDK_CTX_DEBUG)) {
        id->flags |= SDK_CTX_SAMPLED | SDK_CTX_DEBUG;
    } else if (told && atomic_load_explicit(&mode, memory_order_relaxed) & 2) {
        id->flags |= parent->flags & SDK_CTX_SAMPLED;
        if (child && !parent->remote)
            id->hold = sdk_ctx_hold(parent);
    } else if (SDK_LIKELY(atomic_load_explicit(&sdk_sample_all, memory_order_relaxed))) {
        id->flags |= SDK_CTX_SAMPLED;
    } else {
        decide_by_rules(s, id, name, attrs, n);
    }
}

static inline void count_started(void)
{
    struct sdk_shard *shard = sdk_tls.shard;
    if (SDK_UNLIKELY(!shard))
        shard = sdk_shard_mine();
    if (SDK_LIKELY(shard != sdk_shards))
        sdk_own_add(&shard->spans_started, 1);
    else
        sdk_count(SDK_SPANS_STARTED, 1);
}

static inline void start_recording(struct sdk_span *s, const char *name, uint64_t start_unix_ns)
{
    state_set(s, RECORDED);
    s->name = (struct sdk_span_text){ .p = name };
    s->status = (struct sdk_span_text){ 0 };
    s->more = NULL;
    s->n_attrs = 0;
    s->body_n = 0;
    s->body_end = SDK_SPAN_BODY;
    s->room = sdk_cfg.span_attributes_max > SDK_SPAN_BODY / 9 ? SDK_SPAN_BODY : 0;
    s->text_max = sdk_cfg.attribute_bytes_max < SDK_SPAN_BODY ? (uint16_t)sdk_cfg.attribute_bytes_max : SDK_SPAN_BODY;
    memset(s->seen, 0, sizeof s->seen);
    s->code = 0;
    s->n_events = s->n_links = s->dropped_attrs = s->dropped_events = s->dropped_links = 0;
    s->start_mono_ns = sdk_tick_ns(&s->start_unix_ns);
    if (SDK_UNLIKELY(start_unix_ns))
        s->start_unix_ns = start_unix_ns;
    count_started();
}

static SDK_COLD void record_options(vane_span *span, const vane_span_opts *o)
{
    attrs_put(span, o->attrs, o->n_attrs);
    for (size_t i = 0; o->links && i < o->n_links; i++)
        vane_span_link(span, &o->links[i], NULL, 0);
}

static inline void start(vane_span *span, const char *name, vane_span_kind kind, const vane_span_opts *o)
{
    struct sdk_span *s = span_of(span);
    if (SDK_UNLIKELY(!atomic_load_explicit(&mode, memory_order_relaxed))) {
        s->ctx = (vane_context){ 0 };
        state_set(s, OFF);
        return;
    }
    const vane_context *parent = o && o->parent ? o->parent : &sdk_tls.context;
    bool child = ids_set(parent);
    struct identity id = { .flags = SDK_CTX_RANDOM, .extra = parent->extra };
    uint64_t fresh[3];
    sdk_random_ids(fresh, child ? 1 : 3);
    id.span = fresh[0];
    name = name ? name : "";
    s->hold_root = 0;
    s->kind = (unsigned)kind - 1 < VANE_SPAN_CONSUMER ? (uint8_t)kind : VANE_SPAN_INTERNAL;
    s->parent_remote = child && parent->remote;
    if (child) {
        memcpy(id.trace, parent->trace_id, 16);
        memcpy(s->parent, parent->span_id, 8);
        id.flags = parent->flags & SDK_CTX_RANDOM;
    } else {
        id.trace[0] = fresh[1];
        id.trace[1] = fresh[2];
        memset(s->parent, 0, 8);
    }
    s->extra_held = SDK_UNLIKELY(id.extra) && sdk_extra_hold(id.extra);
    if (!s->extra_held)
        id.extra = 0;
    decide(s, &id, parent, child, name, o ? o->attrs : NULL, o && o->attrs ? o->n_attrs : 0);
    context_put(&s->ctx, &id);
    bool recording = id.flags & SDK_CTX_SAMPLED || id.hold;
    if (SDK_LIKELY(recording)) {
        start_recording(s, name, o ? o->start_unix_ns : 0);
        if (o)
            record_options(span, o);
    } else {
        state_set(s, UNSAMPLED);
    }
    s->thread = NULL;
    if (!o || !o->not_current)
        make_current(s, &id, recording ? span : NULL);
}

static __attribute__((noinline)) void start_plain(vane_span *span, const char *name, vane_span_kind kind)
{
    start(span, name, kind, NULL);
}

SDK_HOT void vane_span_start(vane_span *span, const char *name, vane_span_kind kind)
{
    if (SDK_UNLIKELY(!span))
        return;
    struct sdk_span *s = span_of(span);
    const struct sdk_tls *t = &sdk_tls;
    uint32_t word; /* flags, remote, the hold: nothing but "random" and "remote" may be set */
    uint64_t id;
    memcpy(&word, &t->context.flags, 4);
    memcpy(&id, t->context.span_id, 8);
    static const uint8_t allowed[4] = { SDK_CTX_RANDOM, 1, 0, 0 };
    uint32_t mask;
    memcpy(&mask, allowed, 4);
    if (SDK_LIKELY(atomic_load_explicit(&mode, memory_order_relaxed) == 3 && !(word & ~mask) && id && !t->span)) {
        s->ctx = t->context;
        state_set(s, FAST);
        return;
    }
    start_plain(span, name, kind);
}

SDK_COLD void vane_span_start_opts(vane_span *span, const char *name, const vane_span_opts *opts)
{
    if (!span)
        return;
    vane_span_opts o = { 0 };
    if (opts && opts->size >= sizeof(size_t) && opts->size <= 65536)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    start(span, name, o.kind, &o);
}

/* ---- end ---- */

static inline void leave(struct sdk_span *s, vane_span *span)
{
    struct sdk_tls *t = &sdk_tls;
    if (s->thread != t)
        return;
    bool top = t->span == span && span,
         listed = s->depth < here.depth && s->depth < DEPTH && here.stack[s->depth] == s->serial;
    if (!top && !listed)
        return;
    t->context = s->previous;
    t->span = s->previous_span;
    here.depth = s->depth;
}

/* A finished span's parts, and how long they are together. */
struct parts {
    const char *name, *state;
    size_t name_n, state_n, size;
};

static inline char *put_bytes(char *p, const char *from, size_t n)
{
    if (n)
        memcpy(p, from, n);
    return p + n;
}

static __attribute__((noinline)) void rec_write(struct sdk_span_rec *r, const struct sdk_span *s, const struct parts *x,
                                                uint64_t end)
{
    const struct sdk_span_more *m = s->more;
    *r = (struct sdk_span_rec){ .size = (uint32_t)x->size,
                                .kind = s->kind,
                                .code = s->code,
                                .flags = s->ctx.flags & 3,
                                .parent_remote = s->parent_remote,
                                .start_unix_ns = s->start_unix_ns,
                                .end_unix_ns = end,
                                .status_n = (uint16_t)s->status.n,
                                .state_n = (uint16_t)x->state_n,
                                .n_attrs = s->n_attrs,
                                .dropped_attrs = s->dropped_attrs,
                                .dropped_events = s->dropped_events,
                                .dropped_links = s->dropped_links,
                                .events_n = m ? (uint32_t)m->events.n : 0,
                                .links_n = m ? (uint32_t)m->links.n : 0 };
    memcpy(r->trace_id, s->ctx.trace_id, 16);
    memcpy(r->span_id, s->ctx.span_id, 8);
    memcpy(r->parent, s->parent, 8);
    char *p = (char *)(r + 1);
    r->name_n = (uint16_t)text_copy(p, x->name_n, x->name, x->name_n); /* what replacement does not fit is cut */
    p += r->name_n;
    if (SDK_UNLIKELY(s->status.n))
        p = put_bytes(p, s->status.p, s->status.n);
    if (SDK_UNLIKELY(x->state_n))
        p = put_bytes(p, x->state, x->state_n);
    p = put_bytes(p, s->body, s->body_n);
    if (SDK_UNLIKELY(m != NULL)) {
        p = put_bytes(p, m->attrs.p, m->attrs.n);
        p = put_bytes(p, m->events.p, m->events.n);
        put_bytes(p, m->links.p, m->links.n);
    }
}

/* A held span: its record goes to the hold; with the root's the hold ends. */
static SDK_COLD void end_held(struct sdk_span *s, const struct parts *x, uint64_t end)
{
    uint16_t hold = sdk_ctx_hold(&s->ctx);
    struct sdk_span_rec *r = sdk_alloc(x->size);
    if (r) {
        rec_write(r, s, x, end);
        (void)sdk_hold_add(hold, s->ctx.trace_id, r);
        sdk_free(r, x->size);
    }
    if (!s->hold_root)
        return;
    bool keep = (s->hold_root & 1 && s->code == VANE_SPAN_ERROR) ||
                (s->keep_slow_ns && end - s->start_unix_ns >= s->keep_slow_ns);
    sdk_hold_end(hold, s->ctx.trace_id, keep);
}

/* A record longer than a slot. */
static SDK_COLD void export_far(struct sdk_span *s, const struct parts *x, uint64_t end)
{
    struct sdk_span_rec *far = sdk_alloc(x->size);
    uint64_t pos = 0;
    struct slot *slot = far ? ring_reserve(&pos) : NULL;
    if (!slot) {
        sdk_free(far, far ? x->size : 0);
        sdk_count(SDK_SPANS_DROPPED, 1);
        return;
    }
    slot->far = 1;
    far_records[pos & ring_mask] = far;
    rec_write(far, s, x, end);
    near_write(slot, far);
    ring_publish(slot, pos);
}

static void export(struct sdk_span *s, uint64_t end)
{
    bool sampled = s->ctx.flags & SDK_CTX_SAMPLED;
    if (sampled && !atomic_load_explicit(&ring, memory_order_relaxed))
        return;
    char state[VANE_TRACESTATE_MAX];
    struct parts x = { .name = s->name.p, .state = state };
    x.name_n = s->name.n ? s->name.n : strnlen(s->name.p, SDK_NAME_BYTES);
    if (SDK_UNLIKELY(s->extra_held))
        x.state_n = sdk_extra_state(s->ctx.extra, state);
    x.size = sizeof(struct sdk_span_rec) + x.name_n + s->status.n + x.state_n + s->body_n;
    if (SDK_UNLIKELY(s->more != NULL))
        x.size += s->more->attrs.n + s->more->events.n + s->more->links.n;
    x.size = (x.size + 7) & ~(size_t)7;
    if (SDK_UNLIKELY(!sampled)) {
        end_held(s, &x, end);
        return;
    }
    if (SDK_UNLIKELY(x.size > sizeof((struct slot *)0)->near)) {
        export_far(s, &x, end);
        return;
    }
    uint64_t pos = 0;
    struct slot *slot = ring_reserve(&pos);
    if (SDK_UNLIKELY(!slot)) {
        sdk_count(SDK_SPANS_DROPPED, 1);
        return;
    }
    slot->far = 0;
    rec_write((void *)slot->near, s, &x, end);
    ring_publish(slot, pos);
}

static uint64_t end(vane_span *span, uint64_t end_unix_ns)
{
    struct sdk_span *s = span_of(span);
    if (SDK_UNLIKELY(!s))
        return 0;
    enum span_state k = state_of(s);
    uint64_t took = 0;
    if (k == FAST || k == OFF) {
        state_set(s, ENDED);
        return 0;
    }
    if (k == IDLE || k == ENDED) {
        misuse();
        return 0;
    }
    leave(s, k == RECORDED ? span : NULL);
    if (k == RECORDED) {
        uint64_t unused, now = sdk_tick_ns(&unused);
        took = now > s->start_mono_ns ? now - s->start_mono_ns : 0;
        uint64_t at = s->start_unix_ns + took;
        if (end_unix_ns) {
            at = end_unix_ns > s->start_unix_ns ? end_unix_ns : s->start_unix_ns;
            took = at - s->start_unix_ns;
        }
        if (SDK_LIKELY(atomic_load_explicit(&mode, memory_order_relaxed)))
            export(s, at);
        if (SDK_UNLIKELY(s->more != NULL || s->name.own || s->status.own))
            more_free(s);
    }
    state_set(s, ENDED);
    if (SDK_UNLIKELY(s->extra_held))
        sdk_extra_release(s->ctx.extra);
    return took;
}

SDK_HOT uint64_t vane_span_end(vane_span *span)
{
    if (SDK_LIKELY(span && state_of(span_of(span)) == FAST)) {
        state_set(span_of(span), ENDED);
        return 0;
    }
    return end(span, 0);
}

SDK_COLD void vane_span_end_at(vane_span *span, uint64_t end_unix_ns)
{
    end(span, end_unix_ns);
}

SDK_COLD void vane_span_cleanup_(vane_span *span)
{
    if (span && state_of(span_of(span)) != ENDED) /* ended by hand inside its scope: fine */
        vane_span_end(span);
}

/* ---- looking ---- */

SDK_COLD int vane_span_recording(const vane_span *span)
{
    return span && state_of(span_of(span)) == RECORDED;
}

SDK_COLD vane_context vane_span_context(const vane_span *span)
{
    enum span_state k = span ? state_of(span_of(span)) : IDLE;
    return k == IDLE ? (vane_context){ 0 } : span_of(span)->ctx;
}

vane_span *vane_span_current(void)
{
    vane_span *s = sdk_on() ? sdk_tls.span : NULL;
    return s && state_of(span_of(s)) == RECORDED ? s : NULL;
}

vane_context vane_context_current(void)
{
    return sdk_on() ? sdk_tls.context : (vane_context){ 0 };
}

SDK_COLD vane_context vane_context_attach(const vane_context *c)
{
    struct sdk_tls *t = &sdk_tls;
    vane_context previous = t->context;
    if (!sdk_on())
        return (vane_context){ 0 };
    if (t->span && here.n_saved < SAVED) {
        memcpy(here.saved[here.n_saved].span_id, previous.span_id, 8);
        here.saved[here.n_saved++].span = t->span;
    }
    t->context = c ? *c : (vane_context){ 0 };
    t->span = NULL;
    return previous;
}

SDK_COLD void vane_context_detach(vane_context previous)
{
    struct sdk_tls *t = &sdk_tls;
    t->context = previous;
    t->span = NULL;
    for (size_t i = here.n_saved; i-- > 0;)
        if (!memcmp(here.saved[i].span_id, previous.span_id, 8)) {
            t->span = here.saved[i].span;
            here.n_saved = (uint16_t)i;
            break;
        }
}

/* ---- the module ---- */

static bool set(const char *s)
{
    return s && *s;
}

SDK_COLD static vane_status trace_start(void)
{
    atomic_store(&mode, 0);
    atomic_store(&ring, NULL);
    atomic_store(&ring_head, 0);
    atomic_store(&ring_tail, 0);
    if (sdk_cfg.tracing != VANE_ON)
        return VANE_OK;
    bool taken = sdk_trace_pushed();
    ring_overwrites = !taken;
    if (taken || set(sdk_cfg.blackbox_dir)) {
        ring_max = sdk_cfg.span_queue_max;
        for (ring_bits = 0; 1u << ring_bits < ring_max; ring_bits++)
            ;
        uint32_t slots = 1u << ring_bits;
        ring_mask = slots - 1;
        struct slot *r = sdk_region("span", 0, (size_t)slots * sizeof *r);
        sdk_free(far_records, far_records_n * sizeof *far_records);
        far_records = sdk_alloc(slots * sizeof *far_records);
        far_records_n = far_records ? slots : 0;
        if (!r || !far_records) {
            sdk_diag(VANE_E_NOMEM, "no room for %u finished spans (span_queue_max) in memory_max_bytes", ring_max);
            return VANE_E_NOMEM;
        }
        atomic_store(&ring, r);
    }
    atomic_store(&mode, sdk_sample_follows() ? 3 : 1);
    return VANE_OK;
}

/* The ring's memory stays until the next start: what lies behind pointers goes now. */
SDK_COLD static void trace_stop(void)
{
    atomic_store(&mode, 0);
    while (sdk_trace_take(ignore, NULL))
        sdk_count(SDK_SPANS_DROPPED, !ring_overwrites);
    atomic_store(&ring, NULL);
}

SDK_COLD static void trace_fork_child(void)
{
    atomic_store(&ring_head, 0); /* the kernel has zeroed the slots */
    atomic_store(&ring_tail, 0);
    for (uint32_t i = 0; i < far_records_n; i++) {
        struct sdk_span_rec *far = far_records[i];
        far_records[i] = NULL;
        sdk_free(far, far ? far->size : 0);
    }
}

static void trace_thread_exit(void)
{
    sdk_tls.context = (vane_context){ 0 };
    sdk_tls.span = NULL;
}

extern const struct sdk_module sdk_trace_module;
const struct sdk_module sdk_trace_module = {
    .name = "trace",
    .start = trace_start,
    .stop = trace_stop,
    .fork_child = trace_fork_child,
    .thread_exit = trace_thread_exit,
};
