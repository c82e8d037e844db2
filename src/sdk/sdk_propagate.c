/* Contexts and baggage into and out of carriers. What does not fit in a vane_context (tracestate, baggage) is an `extra`:
 * an immutable block in a table of 65536, reached by index and generation, counted references.
 *
 * A slot's word is generation << 32 | references, changed by compare-and-swap only; whoever takes the count from 1 to 0
 * frees the block and puts the slot on the free list, whose lock guards nothing else. Blocks are read under a reference.
 *
 * Specifications: W3C Trace Context level 2, W3C Baggage, B3 (openzipkin/b3-propagation), Jaeger's client headers. */
#include "sdk_trace.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

/* ---- extras ---- */

#define EXTRAS 65536u

struct extra {
    uint32_t state_n, baggage_n;
    char text[]; /* tracestate, then baggage as in its header */
};
struct slot {
    _Atomic uint64_t word;
    struct extra *x;
    uint32_t next_free; /* index + 1 */
};
static struct slot *slots; /* stays from the first start on */
static uint32_t n_used, free_head;
static pthread_mutex_t free_mu = PTHREAD_MUTEX_INITIALIZER;

static size_t extra_size(const struct extra *x)
{
    return sizeof *x + x->state_n + x->baggage_n;
}

static struct slot *slot_of(uint32_t extra)
{
    return extra && slots ? &slots[extra & (EXTRAS - 1)] : NULL;
}

__attribute__((noinline)) bool sdk_extra_hold(uint32_t extra)
{
    struct slot *s = slot_of(extra);
    if (!s)
        return false;
    uint64_t w = atomic_load_explicit(&s->word, memory_order_acquire);
    do {
        if ((uint32_t)(w >> 32) != extra >> 16 || (uint32_t)w == 0) {
            sdk_count(SDK_STALE_HANDLES, 1);
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&s->word, &w, w + 1, memory_order_acquire, memory_order_acquire));
    return true;
}

static void slot_free(struct slot *s)
{
    struct extra *x = s->x;
    s->x = NULL;
    sdk_free(x, extra_size(x));
    pthread_mutex_lock(&free_mu);
    s->next_free = free_head;
    free_head = (uint32_t)(s - slots) + 1;
    pthread_mutex_unlock(&free_mu);
}

__attribute__((noinline)) void sdk_extra_release(uint32_t extra)
{
    struct slot *s = slot_of(extra);
    if (!s)
        return;
    uint64_t w = atomic_load_explicit(&s->word, memory_order_relaxed), next;
    do {
        if ((uint32_t)(w >> 32) != extra >> 16 || (uint32_t)w == 0) {
            sdk_count(SDK_STALE_HANDLES, 1);
            return;
        }
        next = (uint32_t)w > 1 ? w - 1 : ((w >> 32) % 0xFFFF + 1) << 32;
    } while (!atomic_compare_exchange_weak_explicit(&s->word, &w, next, memory_order_acq_rel, memory_order_relaxed));
    if ((uint32_t)w == 1)
        slot_free(s);
}

/* A new extra with one reference, 0 when there is nothing to keep or no room (counted). */
static uint32_t extra_new(const char *state, size_t state_n, const char *baggage, size_t baggage_n)
{
    if (!(state_n + baggage_n) || !slots)
        return 0;
    struct extra *x = sdk_alloc(sizeof *x + state_n + baggage_n);
    if (!x)
        return 0;
    x->state_n = (uint32_t)state_n;
    x->baggage_n = (uint32_t)baggage_n;
    if (state_n)
        memcpy(x->text, state, state_n);
    if (baggage_n)
        memcpy(x->text + state_n, baggage, baggage_n);
    pthread_mutex_lock(&free_mu);
    struct slot *s = NULL;
    if (free_head) {
        s = &slots[free_head - 1];
        free_head = s->next_free;
    } else if (n_used < EXTRAS) {
        s = &slots[n_used++];
    }
    pthread_mutex_unlock(&free_mu);
    if (!s) {
        sdk_free(x, extra_size(x));
        sdk_count(SDK_HEADERS_REFUSED, 1);
        sdk_diag(VANE_E_LIMIT, "65536 contexts with tracestate or baggage are held; this one goes without. Is "
                               "vane_context_release() called?");
        return 0;
    }
    s->x = x;
    uint64_t gen = atomic_load_explicit(&s->word, memory_order_relaxed) >> 32;
    gen = gen ? gen : 1;
    atomic_store_explicit(&s->word, gen << 32 | 1, memory_order_release);
    return (uint32_t)gen << 16 | (uint32_t)(s - slots);
}

/* The parts of an extra copied out. */
struct parts {
    char state[VANE_TRACESTATE_MAX], baggage[VANE_BAGGAGE_MAX + 1];
    size_t state_n, baggage_n;
};

static __attribute__((noinline)) void parts_read(uint32_t extra, struct parts *p)
{
    p->state_n = p->baggage_n = 0;
    if (extra && sdk_extra_hold(extra)) {
        const struct extra *x = slot_of(extra)->x;
        memcpy(p->state, x->text, p->state_n = x->state_n);
        memcpy(p->baggage, x->text + x->state_n, p->baggage_n = x->baggage_n);
        sdk_extra_release(extra);
    }
    p->baggage[p->baggage_n] = 0;
}

size_t sdk_extra_state(uint32_t extra, char buf[VANE_TRACESTATE_MAX])
{
    size_t n = 0;
    if (extra && sdk_extra_hold(extra)) {
        const struct extra *x = slot_of(extra)->x;
        memcpy(buf, x->text, n = x->state_n);
        sdk_extra_release(extra);
    }
    return n;
}

void vane_context_release(vane_context c)
{
    if (c.extra && sdk_on())
        sdk_extra_release(c.extra);
}

/* ---- hex and characters ---- */

static int hex1(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool sdk_unhex(const char *s, size_t n, uint8_t *ret)
{
    for (size_t i = 0; i + 1 < n; i += 2) {
        int hi = hex1(s[i]), lo = hex1(s[i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        ret[i / 2] = (uint8_t)(hi << 4 | lo);
    }
    return n % 2 == 0;
}

static bool lower_hex(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (hex1(s[i]) < 0 || (s[i] >= 'A' && s[i] <= 'F'))
            return false;
    return true;
}

static bool zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

int vane_context_valid(const vane_context *c)
{
    return c && !zero(c->trace_id, 16) && !zero(c->span_id, 8);
}

static void hex_out(char *out, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = "0123456789abcdef"[p[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[p[i] & 15];
    }
    out[2 * n] = 0;
}

void vane_context_hex(const vane_context *c, char *trace, char *span)
{
    static const vane_context none;
    c = c ? c : &none;
    if (trace)
        hex_out(trace, c->trace_id, 16);
    if (span)
        hex_out(span, c->span_id, 8);
}

static __attribute__((noinline)) void trim(const char **s, size_t *n)
{
    while (*n && (**s == ' ' || **s == '\t'))
        ++*s, --*n;
    while (*n && ((*s)[*n - 1] == ' ' || (*s)[*n - 1] == '\t'))
        --*n;
}

/* ---- W3C traceparent ---- */

void vane_traceparent(const vane_context *c, char buf[56])
{
    if (!buf)
        return;
    buf[0] = 0;
    if (!vane_context_valid(c))
        return;
    uint8_t flags = c->flags & (SDK_CTX_SAMPLED | SDK_CTX_RANDOM);
    memcpy(buf, "00-", 3);
    hex_out(buf + 3, c->trace_id, 16);
    buf[35] = '-';
    hex_out(buf + 36, c->span_id, 8);
    buf[52] = '-';
    hex_out(buf + 53, &flags, 1);
}

vane_status vane_traceparent_parse(const char *s, size_t n, vane_context *ret)
{
    if (!ret)
        return VANE_E_ARG;
    *ret = (vane_context){ 0 };
    if (!s)
        return VANE_E_ARG;
    n = n == SIZE_MAX ? strnlen(s, VANE_HEADER_MAX + 1) : n;
    trim(&s, &n);
    uint8_t version, flags;
    vane_context c = { .remote = 1 };
    if (n < 55 || n > VANE_HEADER_MAX || !lower_hex(s, 2) || s[2] != '-' || !lower_hex(s + 3, 32) || s[35] != '-' ||
        !lower_hex(s + 36, 16) || s[52] != '-' || !lower_hex(s + 53, 2))
        return VANE_E_ARG;
    if (!sdk_unhex(s, 2, &version) || !sdk_unhex(s + 3, 32, c.trace_id) || !sdk_unhex(s + 36, 16, c.span_id) ||
        !sdk_unhex(s + 53, 2, &flags))
        return VANE_E_ARG;
    if (version == 255 || (version == 0 && n != 55) || (n > 55 && s[55] != '-') || !vane_context_valid(&c))
        return VANE_E_ARG;
    c.flags = flags & (SDK_CTX_SAMPLED | SDK_CTX_RANDOM);
    *ret = c;
    return VANE_OK;
}

/* ---- W3C tracestate ---- */

static bool state_member_ok(const char *s, size_t n, size_t *ret_key_n)
{
    const char *eq = memchr(s, '=', n);
    size_t key_n = eq ? (size_t)(eq - s) : 0, value_n = eq ? n - key_n - 1 : 0;
    if (!key_n || key_n > 256 || !value_n || value_n > 256)
        return false;
    for (size_t i = 0; i < key_n; i++) {
        bool alnum = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9');
        if (!alnum && (i == 0 || !s[i] || !strchr("_-*/@", s[i])))
            return false;
    }
    for (size_t i = 0; i < value_n; i++)
        if (eq[1 + i] < 0x20 || eq[1 + i] > 0x7E || eq[1 + i] == '=')
            return false;
    *ret_key_n = key_n;
    return true;
}

struct state_list {
    struct {
        const char *p;
        uint16_t n, key_n;
    } item[32];
    size_t n;
    bool bad;
};

static void state_add(struct state_list *l, const char *s, size_t n)
{
    while (n && !l->bad) {
        const char *comma = memchr(s, ',', n), *p = s;
        size_t item_n = comma ? (size_t)(comma - s) : n, key_n;
        s += comma ? item_n + 1 : item_n;
        n -= comma ? item_n + 1 : item_n;
        trim(&p, &item_n);
        if (!item_n)
            continue;
        if (!state_member_ok(p, item_n, &key_n)) {
            l->bad = true;
            return;
        }
        bool twice = false;
        for (size_t i = 0; i < l->n; i++)
            twice |= l->item[i].key_n == key_n && !memcmp(l->item[i].p, p, key_n);
        if (twice)
            continue;
        if (l->n == SDK_COUNT_OF(l->item)) {
            l->bad = true;
            return;
        }
        l->item[l->n].p = p;
        l->item[l->n].n = (uint16_t)item_n;
        l->item[l->n++].key_n = (uint16_t)key_n;
    }
}

/* Join what fits: as the specification asks, members over 128 bytes go first, then those at the end. */
static size_t state_join(struct state_list *l, char buf[VANE_TRACESTATE_MAX])
{
    if (l->bad) {
        sdk_count(SDK_HEADERS_REFUSED, 1);
        return 0;
    }
    size_t total = 0;
    for (size_t i = 0; i < l->n; i++)
        total += l->item[i].n + (i > 0);
    for (size_t i = l->n; i-- > 0 && total > VANE_TRACESTATE_MAX;)
        if (l->item[i].n > 128) {
            total -= l->item[i].n + 1u;
            memmove(&l->item[i], &l->item[i + 1], (--l->n - i) * sizeof *l->item);
        }
    while (l->n && total > VANE_TRACESTATE_MAX)
        total -= l->item[--l->n].n + 1u;
    size_t at = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            buf[at++] = ',';
        memcpy(buf + at, l->item[i].p, l->item[i].n);
        at += l->item[i].n;
    }
    return at;
}

/* ---- baggage ---- */

static bool token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool baggage_char(char c)
{
    return c > 0x20 && c < 0x7F && c != '"' && c != ',' && c != ';' && c != '\\';
}

struct member {
    const char *key, *value, *props; /* in the header's form */
    size_t key_n, value_n, props_n, all_n;
};

/* Take the next member of a baggage header. Malformed ones are skipped and noted. */
static bool baggage_next(const char **s, size_t *n, struct member *m, bool *bad)
{
    while (*n) {
        const char *p = *s, *comma = memchr(p, ',', *n);
        size_t len = comma ? (size_t)(comma - p) : *n;
        *s += comma ? len + 1 : len;
        *n -= comma ? len + 1 : len;
        trim(&p, &len);
        if (!len)
            continue;
        const char *semi = memchr(p, ';', len), *eq = memchr(p, '=', semi ? (size_t)(semi - p) : len);
        *m = (struct member){ .key = p, .all_n = len };
        bool ok = eq != NULL;
        if (ok) {
            m->key_n = (size_t)(eq - p);
            m->value = eq + 1;
            m->value_n = (size_t)((semi ? semi : p + len) - eq - 1);
            m->props = semi ? semi + 1 : p + len;
            m->props_n = semi ? (size_t)(p + len - semi - 1) : 0;
            trim(&m->key, &m->key_n);
            trim(&m->value, &m->value_n);
            trim(&m->props, &m->props_n);
            ok = m->key_n > 0;
        }
        for (size_t i = 0; ok && i < m->key_n; i++)
            ok = token_char(m->key[i]);
        for (size_t i = 0; ok && i < m->value_n; i++)
            ok = baggage_char(m->value[i]);
        for (size_t i = 0; ok && i < m->props_n; i++)
            ok = m->props[i] == ' ' || m->props[i] == '\t' || m->props[i] == ';' || baggage_char(m->props[i]);
        if (ok)
            return true;
        *bad = true;
    }
    return false;
}

struct baggage {
    char *text; /* [VANE_BAGGAGE_MAX] */
    size_t n, items;
    bool bad;
};

static void baggage_put(struct baggage *b, const char *p, size_t n)
{
    memcpy(b->text + b->n, p, n);
    b->n += n;
}

static bool baggage_add(struct baggage *b, const struct member *m)
{
    size_t need = (b->n > 0) + m->key_n + 1 + m->value_n + (m->props_n ? 1 + m->props_n : 0);
    if (need > VANE_BAGGAGE_MAX - b->n || b->items == VANE_BAGGAGE_ITEMS_MAX)
        return false;
    if (b->n)
        b->text[b->n++] = ',';
    baggage_put(b, m->key, m->key_n);
    b->text[b->n++] = '=';
    baggage_put(b, m->value, m->value_n);
    if (m->props_n) {
        b->text[b->n++] = ';';
        baggage_put(b, m->props, m->props_n);
    }
    b->items++;
    return true;
}

static void baggage_read(struct baggage *b, const char *s, size_t n)
{
    struct member m;
    while (baggage_next(&s, &n, &m, &b->bad))
        if (!baggage_add(b, &m))
            b->bad = true;
}

/* Percent-decode into buf, which may be s itself. Returns the length. */
static size_t percent_decode(const char *s, size_t n, char *buf)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t c;
        if (s[i] == '%' && n - i > 2 && sdk_unhex(s + i + 1, 2, &c)) {
            buf[at++] = (char)c;
            i += 2;
        } else {
            buf[at++] = s[i];
        }
    }
    return at;
}

static size_t percent_encode(const char *s, char *out, size_t cap)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;
    for (; *s; s++) {
        bool plain = baggage_char(*s) && *s != '%';
        if (n + (plain ? 1 : 3) > cap)
            return SIZE_MAX;
        if (plain) {
            out[n++] = *s;
            continue;
        }
        out[n++] = '%';
        out[n++] = hex[(uint8_t)*s >> 4];
        out[n++] = hex[(uint8_t)*s & 15];
    }
    return n;
}

vane_context vane_baggage_with(vane_context c, const char *key, const char *value, const char *properties)
{
    size_t key_n = key ? strnlen(key, VANE_BAGGAGE_MAX + 1) : 0;
    bool ok = sdk_on() && key_n && key_n <= VANE_BAGGAGE_MAX;
    for (size_t i = 0; ok && i < key_n; i++)
        ok = token_char(key[i]);
    struct work {
        struct parts old;
        char text[VANE_BAGGAGE_MAX], enc[VANE_BAGGAGE_MAX];
    } *w = ok ? sdk_alloc(sizeof *w) : NULL;
    if (!w) {
        if (sdk_on() && !ok)
            sdk_count(SDK_BAD_VALUES, 1);
        return c;
    }
    parts_read(c.extra, &w->old);
    struct baggage b = { .text = w->text };
    struct member m, mine = { .key = key, .key_n = key_n, .value = w->enc, .props = properties ? properties : "" };
    mine.value_n = percent_encode(value ? value : "", w->enc, sizeof w->enc);
    ok = mine.value_n != SIZE_MAX;
    mine.props_n = strnlen(mine.props, VANE_BAGGAGE_MAX + 1);
    for (size_t i = 0; ok && i < mine.props_n; i++)
        ok = mine.props[i] == ';' || mine.props[i] == ' ' || baggage_char(mine.props[i]);
    bool done = !value, bad = false;
    const char *s = w->old.baggage;
    size_t n = w->old.baggage_n;
    while (ok && baggage_next(&s, &n, &m, &bad)) {
        if (m.key_n == key_n && !memcmp(m.key, key, key_n)) {
            ok = done || baggage_add(&b, &mine);
            done = true;
        } else {
            ok = baggage_add(&b, &m);
        }
    }
    ok = ok && (done || baggage_add(&b, &mine));
    if (ok)
        c.extra = extra_new(w->old.state, w->old.state_n, b.text, b.n);
    else
        sdk_count(SDK_BAD_VALUES, 1);
    sdk_free(w, sizeof *w);
    return c;
}

void vane_baggage_each(const vane_context *c, int (*fn)(void *ctx, const char *key, const char *value), void *ctx)
{
    struct parts *p = c && fn && c->extra && sdk_on() ? sdk_alloc(sizeof *p) : NULL;
    if (!p)
        return;
    parts_read(c->extra, p);
    const char *s = p->baggage;
    size_t n = p->baggage_n;
    struct member m;
    bool bad = false;
    struct work {
        char key[VANE_BAGGAGE_MAX + 1], raw[VANE_BAGGAGE_MAX], value[VANE_BAGGAGE_MAX + 1];
    } *w = sdk_alloc(sizeof *w);
    while (w && baggage_next(&s, &n, &m, &bad)) {
        memcpy(w->key, m.key, m.key_n);
        w->key[m.key_n] = 0;
        w->value[sdk_text(w->value, VANE_BAGGAGE_MAX, w->raw, percent_decode(m.value, m.value_n, w->raw))] = 0;
        if (fn(ctx, w->key, w->value))
            break;
    }
    sdk_free(w, sizeof *w);
    sdk_free(p, sizeof *p);
}

struct wanted {
    const char *key;
    char *buf;
    size_t n, found;
};

static size_t copy_cut(char *buf, size_t cap, const char *s, size_t n)
{
    if (buf && cap) {
        size_t cut = n < cap ? n : cap - 1;
        memcpy(buf, s, cut);
        buf[cut] = 0;
    }
    return n;
}

static int baggage_match(void *ctx, const char *key, const char *value)
{
    struct wanted *w = ctx;
    if (strcmp(key, w->key))
        return 0;
    w->found = copy_cut(w->buf, w->n, value, strlen(value));
    return 1;
}

size_t vane_baggage_get(const vane_context *c, const char *key, char *buf, size_t n)
{
    struct wanted w = { key ? key : "", buf, n, SIZE_MAX };
    if (buf && n)
        buf[0] = 0;
    vane_baggage_each(c, baggage_match, &w);
    return w.found;
}

size_t vane_context_tracestate(const vane_context *c, char *buf, size_t n)
{
    char state[VANE_TRACESTATE_MAX];
    size_t len = c && sdk_on() ? sdk_extra_state(c->extra, state) : 0;
    return copy_cut(buf, n, state, len);
}

vane_context vane_context_with_tracestate(vane_context c, const char *tracestate)
{
    if (!sdk_on())
        return c;
    struct parts *p = sdk_alloc(sizeof *p);
    if (!p)
        return c;
    struct state_list l = { .bad = false };
    size_t n = tracestate ? strnlen(tracestate, VANE_HEADER_MAX + 1) : 0;
    l.bad = n > VANE_HEADER_MAX;
    state_add(&l, tracestate, n);
    parts_read(c.extra, p);
    p->state_n = state_join(&l, p->state);
    c.extra = extra_new(p->state, p->state_n, p->baggage, p->baggage_n);
    sdk_free(p, sizeof *p);
    return c;
}

/* ---- the formats ---- */

struct carrier {
    vane_header_get get;
    vane_header_set set;
    void *ctx;
};

enum answer { NONE, FOUND, BAD };

/* The one line of a header, trimmed. BAD: more than one line, or over the limit. */
static __attribute__((noinline)) enum answer header(const struct carrier *x, const char *name,
                                                    char buf[VANE_HEADER_MAX + 1], size_t *ret_n)
{
    size_t n = 0, again = 0;
    const char *s = x->get(x->ctx, name, 0, &n);
    if (!s)
        return NONE;
    if (n == SIZE_MAX)
        n = strnlen(s, VANE_HEADER_MAX + 1);
    if (n > VANE_HEADER_MAX)
        return BAD;
    trim(&s, &n);
    memcpy(buf, s, n);
    buf[n] = 0;
    *ret_n = n;
    return x->get(x->ctx, name, 1, &again) ? BAD : FOUND;
}

/* 1 to 2 * bytes digits, right-aligned. */
static bool id_read(const char *s, size_t n, uint8_t *id, size_t bytes)
{
    char padded[33];
    if (!n || n > 2 * bytes)
        return false;
    memset(padded, '0', 2 * bytes - n);
    memcpy(padded + 2 * bytes - n, s, n);
    return sdk_unhex(padded, 2 * bytes, id);
}

static enum answer w3c_extract(const struct carrier *x, vane_context *c, char *buf, struct parts *p)
{
    size_t n;
    enum answer a = header(x, "traceparent", buf, &n);
    if (a == FOUND && vane_traceparent_parse(buf, n, c))
        a = BAD;
    if (a != FOUND)
        return a;
    struct state_list l = { .bad = false };
    size_t used = 0;
    for (size_t i = 0; i < 32; i++) { /* lines are copied one behind the other: the list points into them */
        size_t len = 0;
        const char *s = x->get(x->ctx, "tracestate", i, &len);
        if (!s)
            break;
        len = len == SIZE_MAX ? strnlen(s, VANE_HEADER_MAX + 1) : len;
        if (len > VANE_HEADER_MAX - used) {
            l.bad = true;
            break;
        }
        memcpy(buf + used, s, len);
        state_add(&l, buf + used, len);
        used += len;
    }
    p->state_n = state_join(&l, p->state);
    return FOUND;
}

static enum answer b3_ids(vane_context *c, const char *trace, size_t trace_n, const char *span, size_t span_n)
{
    return (trace_n == 16 || trace_n == 32) && span_n == 16 && id_read(trace, trace_n, c->trace_id, 16) &&
                   id_read(span, span_n, c->span_id, 8) && vane_context_valid(c)
               ? FOUND
               : BAD;
}

/* "0", "1", "d" and what older senders write. */
static enum answer b3_state(vane_context *c, const char *s, size_t n)
{
    if ((n == 1 && *s == '1') || (n == 4 && !strncasecmp(s, "true", 4)))
        c->flags = SDK_CTX_SAMPLED;
    else if ((n == 1 && *s == '0') || (n == 5 && !strncasecmp(s, "false", 5)))
        c->flags = 0;
    else if (n == 1 && *s == 'd')
        c->flags = SDK_CTX_SAMPLED | SDK_CTX_DEBUG;
    else
        return BAD;
    return FOUND;
}

static enum answer b3_single(vane_context *c, const char *s, size_t n)
{
    const char *part[4];
    size_t part_n[4], k = 0;
    for (const char *end = s + n;; s++) {
        const char *dash = memchr(s, '-', (size_t)(end - s));
        if (k == 4)
            return BAD;
        part[k] = s;
        part_n[k++] = (size_t)((dash ? dash : end) - s);
        if (!dash)
            break;
        s = dash;
    }
    if (k == 1) {
        enum answer a = b3_state(c, part[0], part_n[0]);
        c->flags |= SDK_CTX_DECIDED;
        return a;
    }
    c->flags = SDK_CTX_DEFERRED;
    if (b3_ids(c, part[0], part_n[0], part[1], part_n[1]) == BAD || (k > 2 && b3_state(c, part[2], part_n[2]) == BAD))
        return BAD;
    uint8_t parent[8];
    return k == 4 && (part_n[3] != 16 || !id_read(part[3], 16, parent, 8)) ? BAD : FOUND;
}

static enum answer b3_extract(const struct carrier *x, vane_context *c, char *buf)
{
    char trace[33], span[17];
    size_t n = 0, trace_n = 0, span_n = 0;
    *c = (vane_context){ .remote = 1 };
    enum answer a = header(x, "b3", buf, &n);
    if (a != NONE)
        return a == FOUND ? b3_single(c, buf, n) : BAD;
    enum answer t = header(x, "x-b3-traceid", buf, &trace_n);
    memcpy(trace, buf, t == FOUND && trace_n <= 32 ? trace_n : 0);
    enum answer s = header(x, "x-b3-spanid", buf, &span_n);
    memcpy(span, buf, s == FOUND && span_n <= 16 ? span_n : 0);
    if (t == BAD || s == BAD || t != s)
        return BAD;
    if (t == FOUND && b3_ids(c, trace, trace_n, span, span_n) == BAD)
        return BAD;
    c->flags = t == FOUND ? SDK_CTX_DEFERRED : 0;
    enum answer state = header(x, "x-b3-sampled", buf, &n);
    if (state == FOUND)
        state = b3_state(c, buf, n);
    enum answer debug = header(x, "x-b3-flags", buf, &n);
    if (debug == FOUND && n == 1 && *buf == '1') {
        c->flags = SDK_CTX_SAMPLED | SDK_CTX_DEBUG;
        state = FOUND;
    }
    if (state == BAD || debug == BAD)
        return BAD;
    if (t == NONE && state == FOUND)
        c->flags |= SDK_CTX_DECIDED;
    return t == FOUND || state == FOUND ? FOUND : NONE;
}

static enum answer jaeger_extract(const struct carrier *x, vane_context *c, char *buf)
{
    size_t n = 0;
    enum answer a = header(x, "uber-trace-id", buf, &n);
    if (a != FOUND)
        return a;
    buf[percent_decode(buf, n, buf)] = 0; /* some clients encode the colons */
    char *part[4];
    part[0] = buf;
    for (size_t i = 1; i < 4; i++) {
        char *colon = strchr(part[i - 1], ':');
        if (!colon)
            return BAD;
        *colon = 0;
        part[i] = colon + 1;
    }
    uint8_t flags;
    *c = (vane_context){ .remote = 1 };
    if (!id_read(part[0], strlen(part[0]), c->trace_id, 16) || !id_read(part[1], strlen(part[1]), c->span_id, 8) ||
        !id_read(part[3], strlen(part[3]), &flags, 1) || !vane_context_valid(c))
        return BAD;
    c->flags = (flags & 1 ? SDK_CTX_SAMPLED : 0) | (flags & 2 ? SDK_CTX_SAMPLED | SDK_CTX_DEBUG : 0);
    return FOUND;
}

/* Every line of a baggage header. */
static void baggage_extract(const struct carrier *x, const char *name, struct baggage *b)
{
    size_t total = 0;
    for (size_t i = 0; i < 64; i++) {
        size_t n = 0;
        const char *s = x->get(x->ctx, name, i, &n);
        if (!s)
            break;
        n = n == SIZE_MAX ? strnlen(s, VANE_HEADER_MAX + 1) : n;
        total += n;
        if (n > VANE_HEADER_MAX || total > VANE_HEADER_MAX) {
            b->bad = true;
            break;
        }
        baggage_read(b, s, n);
    }
}

enum format { W3C, BAGGAGE, B3, B3_MULTI, JAEGER, FORMATS_N };
static const char *const format_names[FORMATS_N] = { "tracecontext", "baggage", "b3", "b3multi", "jaeger" };
static enum format formats[FORMATS_N];
static size_t n_formats;

/* What most requests bring, a plain traceparent or nothing at all, needs no memory. False: it is more than that, or odd. */
static bool brief_extract(const struct carrier *x, vane_context *ret)
{
    static const char *const others[FORMATS_N][5] = {
        [W3C] = { "tracestate" },
        [BAGGAGE] = { "baggage" },
        [B3] = { "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags" },
        [B3_MULTI] = { "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags" },
        [JAEGER] = { "uber-trace-id", "jaeger-baggage" },
    };
    char buf[128];
    size_t n = 0;
    for (size_t i = 0; i < n_formats; i++) {
        const char *s = formats[i] == W3C ? x->get(x->ctx, "traceparent", 0, &n) : NULL;
        if (s) {
            if (n == SIZE_MAX)
                n = strnlen(s, sizeof buf);
            if (n >= sizeof buf)
                return false;
            trim(&s, &n);
            memcpy(buf, s, n); /* borrowed until the next question */
            buf[n] = 0;
            if (x->get(x->ctx, "traceparent", 1, &(size_t){ 0 }) || vane_traceparent_parse(buf, n, ret))
                return false;
        }
        if (!s && formats[i] == W3C)
            continue; /* a tracestate alone means nothing */
        for (size_t k = 0; k < SDK_COUNT_OF(others[0]) && others[formats[i]][k]; k++)
            if (x->get(x->ctx, others[formats[i]][k], 0, &n))
                return false;
    }
    return true;
}

vane_status vane_extract(vane_header_get get, void *carrier, vane_context *ret)
{
    if (!ret)
        return VANE_E_ARG;
    *ret = (vane_context){ 0 };
    if (!get)
        return VANE_E_ARG;
    struct carrier x = { .get = get, .ctx = carrier };
    if (!sdk_on() || brief_extract(&x, ret))
        return VANE_OK;
    *ret = (vane_context){ 0 };
    struct work {
        char buf[VANE_HEADER_MAX + 1], baggage[VANE_BAGGAGE_MAX];
        struct parts p;
    } *w = sdk_alloc(sizeof *w);
    if (!w)
        return VANE_E_NOMEM;
    struct baggage b = { .text = w->baggage };
    bool have = false;
    for (size_t i = 0; i < n_formats; i++) {
        vane_context c = { 0 };
        enum format f = formats[i];
        if (f == BAGGAGE || f == JAEGER)
            baggage_extract(&x, f == BAGGAGE ? "baggage" : "jaeger-baggage", &b);
        if (have || f == BAGGAGE)
            continue;
        enum answer a = f == W3C      ? w3c_extract(&x, &c, w->buf, &w->p)
                        : f == JAEGER ? jaeger_extract(&x, &c, w->buf)
                                      : b3_extract(&x, &c, w->buf);
        if (a == BAD)
            sdk_count(SDK_HEADERS_REFUSED, 1);
        if (a == FOUND) {
            *ret = c;
            have = true;
        }
    }
    if (b.bad)
        sdk_count(SDK_HEADERS_REFUSED, 1);
    ret->extra = extra_new(w->p.state, have ? w->p.state_n : 0, b.text, b.n);
    sdk_free(w, sizeof *w);
    return VANE_OK;
}

/* ---- inject ---- */

static void b3_inject(const struct carrier *x, const vane_context *c, bool multi)
{
    char trace[33], span[17], one[64];
    bool debug = c->flags & SDK_CTX_DEBUG;
    const char *state = c->flags & SDK_CTX_SAMPLED ? "1" : "0";
    if (!vane_context_valid(c))
        return;
    vane_context_hex(c, trace, span);
    if (!multi) {
        bool none = c->flags & SDK_CTX_DEFERRED;
        snprintf(one, sizeof one, "%s-%s%s%s", trace, span, none ? "" : "-", none ? "" : debug ? "d" : state);
        x->set(x->ctx, "b3", one);
        return;
    }
    x->set(x->ctx, "X-B3-TraceId", trace);
    x->set(x->ctx, "X-B3-SpanId", span);
    if (debug)
        x->set(x->ctx, "X-B3-Flags", "1");
    else if (!(c->flags & SDK_CTX_DEFERRED))
        x->set(x->ctx, "X-B3-Sampled", state);
}

static int jaeger_item(void *ctx, const char *key, const char *value)
{
    const struct carrier *x = ctx;
    char name[8 + 256 + 1], *enc = sdk_alloc(VANE_BAGGAGE_MAX + 1);
    if (!enc)
        return 1;
    size_t n = percent_encode(value, enc, VANE_BAGGAGE_MAX);
    snprintf(name, sizeof name, "uberctx-%.256s", key);
    if (n != SIZE_MAX)
        x->set(x->ctx, name, enc);
    sdk_free(enc, VANE_BAGGAGE_MAX + 1);
    return 0;
}

static void inject_one(const struct carrier *x, const vane_context *c, enum format f, const struct parts *p)
{
    char text[VANE_TRACESTATE_MAX + 1], span[17];
    bool valid = vane_context_valid(c);
    if (f == BAGGAGE && p && p->baggage_n)
        x->set(x->ctx, "baggage", p->baggage);
    if (f == B3 || f == B3_MULTI)
        b3_inject(x, c, f == B3_MULTI);
    if (f == W3C && valid) {
        vane_traceparent(c, text);
        x->set(x->ctx, "traceparent", text);
        if (p && p->state_n) {
            memcpy(text, p->state, p->state_n);
            text[p->state_n] = 0;
            x->set(x->ctx, "tracestate", text);
        }
    }
    if (f != JAEGER)
        return;
    if (valid) {
        char id[33];
        vane_context_hex(c, id, span);
        snprintf(text, sizeof text, "%s:%s:0:%d", id, span,
                 c->flags & SDK_CTX_DEBUG ? 3 : (int)(c->flags & SDK_CTX_SAMPLED));
        x->set(x->ctx, "uber-trace-id", text);
    }
    if (p && p->baggage_n)
        vane_baggage_each(c, jaeger_item, (void *)(uintptr_t)x);
}

vane_status vane_inject(const vane_context *given, vane_header_set set, void *carrier)
{
    if (!set)
        return VANE_E_ARG;
    if (!sdk_on())
        return VANE_OK;
    vane_context c = given ? *given : sdk_tls.context;
    struct carrier x = { .set = set, .ctx = carrier };
    struct parts *p = c.extra ? sdk_alloc(sizeof *p) : NULL;
    if (p)
        parts_read(c.extra, p);
    for (size_t i = 0; i < n_formats; i++)
        inject_one(&x, &c, formats[i], p);
    if (p)
        sdk_free(p, sizeof *p);
    return VANE_OK;
}

/* ---- environments ---- */

extern char **environ;

static void env_name(char *out, size_t cap, const char *name)
{
    size_t i = 0;
    for (; name[i] && i < cap - 1; i++)
        out[i] = (char)(name[i] == '-' ? '_' : name[i] >= 'a' && name[i] <= 'z' ? name[i] - 32 : name[i]);
    out[i] = 0;
}

static const char *env_get(void *ctx, const char *name, size_t index, size_t *ret_n)
{
    char upper[64];
    env_name(upper, sizeof upper, name);
    size_t n = strlen(upper);
    for (char *const *e = ctx; e && *e; e++)
        if (!strncmp(*e, upper, n) && (*e)[n] == '=' && index-- == 0) {
            *ret_n = strnlen(*e + n + 1, VANE_HEADER_MAX + 1);
            return *e + n + 1;
        }
    return NULL;
}

vane_status vane_extract_env(char *const *env, vane_context *ret)
{
    return vane_extract(env_get, (void *)(uintptr_t)(env ? env : environ), ret);
}

struct env_out {
    char name[16 + VANE_BAGGAGE_ITEMS_MAX][80];
    struct sdk_buf text; /* NAME=value NUL ... */
    size_t n;
};

static void env_set(void *ctx, const char *name, const char *value)
{
    struct env_out *o = ctx;
    if (o->n == SDK_COUNT_OF(o->name))
        return;
    env_name(o->name[o->n], sizeof o->name[0], name);
    sdk_puts(&o->text, o->name[o->n++]);
    sdk_putc(&o->text, '=');
    sdk_put(&o->text, value, strlen(value) + 1);
}

static bool env_ours(const struct env_out *o, const char *var)
{
    for (size_t i = 0; i < o->n; i++) {
        size_t n = strlen(o->name[i]);
        if (!strncmp(var, o->name[i], n) && var[n] == '=')
            return true;
    }
    return false;
}

char **vane_inject_env(const vane_context *c, char *const *env)
{
    env = env ? env : environ;
    struct env_out *o = sdk_alloc(sizeof *o);
    if (!o)
        return NULL;
    sdk_buf_init(&o->text, 1 << 20);
    if (vane_inject(c, env_set, o) != VANE_OK)
        o->n = 0;
    size_t count = 0, bytes = 0;
    for (char *const *e = env; e && *e; e++)
        if (!env_ours(o, *e)) {
            count++;
            bytes += strlen(*e) + 1;
        }
    count += o->n;
    size_t size = (count + 2) * sizeof(char *) + bytes + o->text.n;
    char **block = o->text.failed ? NULL : sdk_alloc(size);
    if (block) {
        *(size_t *)(void *)block = size;
        char **at = block + 1, *text = (char *)(block + 2 + count);
        for (char *const *e = env; e && *e; e++)
            if (!env_ours(o, *e)) {
                size_t n = strlen(*e) + 1;
                memcpy(text, *e, n);
                *at++ = text;
                text += n;
            }
        if (o->text.n)
            memcpy(text, o->text.p, o->text.n);
        for (size_t i = 0; i < o->n; i++, text += strlen(text) + 1)
            *at++ = text;
    }
    sdk_buf_free(&o->text);
    sdk_free(o, sizeof *o);
    return block ? block + 1 : NULL;
}

void vane_env_free(char **env)
{
    if (env)
        sdk_free(env - 1, *(size_t *)(void *)(env - 1));
}

/* ---- the module ---- */

static void formats_read(void)
{
    char *copy = sdk_dup(sdk_cfg.propagators), *rest = copy;
    size_t size = copy ? strlen(copy) + 1 : 0;
    n_formats = 0;
    for (char *item; rest && (item = strsep(&rest, ",")) != NULL;) {
        while (*item == ' ' || *item == '\t')
            item++;
        item[strcspn(item, " \t")] = 0;
        size_t f = 0;
        while (f < FORMATS_N && strcasecmp(item, format_names[f]))
            f++;
        bool twice = false;
        for (size_t i = 0; i < n_formats; i++)
            twice |= formats[i] == f;
        if (f < FORMATS_N && !twice)
            formats[n_formats++] = (enum format)f;
        else if (f == FORMATS_N && *item && strcasecmp(item, "none"))
            sdk_diag(VANE_E_ARG,
                     "propagators (OTEL_PROPAGATORS) names \"%.40s\", which is not known and ignored; tracecontext, "
                     "baggage, b3, b3multi, jaeger and none are",
                     item);
    }
    sdk_free(copy, size);
}

static vane_status propagate_start(void)
{
    if (!slots)
        slots = sdk_alloc(EXTRAS * sizeof *slots);
    if (!slots)
        return VANE_E_NOMEM;
    for (uint32_t i = 0; i < n_used; i++) { /* what an earlier start left; its contexts become stale */
        uint64_t w = atomic_load(&slots[i].word);
        if ((uint32_t)w) {
            atomic_store(&slots[i].word, ((w >> 32) % 0xFFFF + 1) << 32);
            slot_free(&slots[i]);
        }
    }
    formats_read();
    return VANE_OK;
}

static void propagate_fork_prepare(void)
{
    pthread_mutex_lock(&free_mu);
}

static void propagate_fork_parent(void)
{
    pthread_mutex_unlock(&free_mu);
}

static void propagate_fork_child(void)
{
    pthread_mutex_init(&free_mu, NULL);
}

extern const struct sdk_module sdk_propagate_module;
const struct sdk_module sdk_propagate_module = {
    .name = "propagate",
    .start = propagate_start,
    .fork_prepare = propagate_fork_prepare,
    .fork_parent = propagate_fork_parent,
    .fork_child = propagate_fork_child,
};
