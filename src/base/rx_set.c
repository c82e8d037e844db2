/* Two things about expressions that need no RE2: the finite set of literals that a pattern stands for
 * ("GET|POST", "(a|b)-[12]"), so that matchers become look-ups; and Go's $-templates. */
#include "base/check.h"
#include "base/rx.h"
#include "base/vec.h"

/* From rx.cc. */
int rx_group_index(const struct rx *rx, str name);
bool rx_literal_set_(const char *pattern, size_t n, void (*add)(void *, const char *, size_t), void *ctx);

enum { SET_MAX = 256, SET_DEPTH_MAX = 8, SET_BYTES_MAX = 65536 };

struct strings {
    VEC(str) v;
};
struct set_parser {
    struct arena a;
    const char *p, *end;
    unsigned depth;
};

static bool cross(struct set_parser *s, struct strings *left, const struct strings *right)
{
    struct strings out = { 0 };
    if (left->v.n * right->v.n > SET_MAX)
        return false;
    for (size_t i = 0; i < left->v.n; i++)
        for (size_t k = 0; k < right->v.n; k++) {
            str x = arena_printf(&s->a, STR_FMT STR_FMT, STR_ARG(left->v.p[i]), STR_ARG(right->v.p[k]));
            avec_push(&s->a, &out.v, x);
        }
    *left = out;
    return s->a.bytes < SET_BYTES_MAX * 16;
}

static bool parse_class(struct set_parser *s, struct strings *out)
{
    for (s->p++; s->p < s->end && *s->p != ']'; s->p++) {
        char c = *s->p;
        if (c == '\\' || c == '^' || c == '[' || (unsigned char)c >= 0x80)
            return false;
        char to = c;
        if (s->p + 2 < s->end && s->p[1] == '-' && s->p[2] != ']') {
            to = s->p[2];
            s->p += 2;
            if (to == '\\' || (unsigned char)to >= 0x80)
                return false;
        }
        if (to < c || out->v.n + (size_t)(to - c) >= SET_MAX)
            return false;
        for (int x = c; x <= to; x++) {
            char one = (char)x;
            avec_push(&s->a, &out->v, arena_str(&s->a, str_n(&one, 1)));
        }
    }
    if (s->p == s->end || out->v.n == 0)
        return false;
    s->p++;
    return true;
}

static bool parse_alternation(struct set_parser *s, struct strings *out);

static bool parse_group(struct set_parser *s, struct strings *out)
{
    s->p++;
    if (s->p + 1 < s->end && s->p[0] == '?') {
        if (s->p[1] != ':')
            return false;
        s->p += 2;
    }
    if (++s->depth > SET_DEPTH_MAX || !parse_alternation(s, out) || s->p == s->end || *s->p != ')')
        return false;
    s->depth--;
    s->p++;
    return true;
}

static bool parse_atom(struct set_parser *s, struct strings *out)
{
    char c = *s->p;
    if (c == '(')
        return parse_group(s, out);
    if (c == '[')
        return parse_class(s, out);
    if (strchr(".*+?{}^$", c))
        return false;
    if (c == '\\') {
        if (s->p + 1 == s->end || !strchr(".*+?{}^$|()[]\\-/", s->p[1]))
            return false;
        s->p++;
    }
    avec_push(&s->a, &out->v, arena_str(&s->a, str_n(s->p, 1)));
    s->p++;
    return true;
}

static bool parse_sequence(struct set_parser *s, struct strings *out)
{
    avec_push(&s->a, &out->v, STR(""));
    while (s->p < s->end && *s->p != '|' && *s->p != ')') {
        struct strings atom = { 0 };
        if (!parse_atom(s, &atom))
            return false;
        if (s->p < s->end && strchr("*+?{", *s->p)) {
            if (*s->p != '?')
                return false;
            s->p++;
            if (s->p < s->end && strchr("*+?{", *s->p))
                return false;
            avec_push(&s->a, &atom.v, STR(""));
        }
        if (!cross(s, out, &atom))
            return false;
    }
    return true;
}

static bool parse_alternation(struct set_parser *s, struct strings *out)
{
    for (;;) {
        struct strings branch = { 0 };
        if (!parse_sequence(s, &branch) || out->v.n + branch.v.n > SET_MAX)
            return false;
        vec_each (str, x, &branch.v)
            avec_push(&s->a, &out->v, *x);
        if (s->p == s->end || *s->p != '|')
            return true;
        s->p++;
    }
}

bool rx_literal_set_(const char *pattern, size_t n, void (*add)(void *, const char *, size_t), void *ctx)
{
    struct set_parser s = { .p = pattern, .end = pattern + n };
    struct strings out = { 0 };
    if (n > SET_BYTES_MAX)
        return false;
    arena_init(&s.a, 0);
    bool ok = !(n && memchr(pattern, '\0', n)) && parse_alternation(&s, &out) && s.p == s.end;
    for (size_t i = 0; ok && i < out.v.n; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++)
            seen = str_eq(out.v.p[k], out.v.p[i]);
        if (!seen)
            add(ctx, out.v.p[i].p, out.v.p[i].n);
    }
    arena_deinit(&s.a);
    return ok;
}

static bool word_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* The name after '$': "1", "{1}", "name", "{name}". Returns its length in the template, 0 if malformed. */
static size_t template_name(str t, str *ret)
{
    size_t at = t.n && t.p[0] == '{' ? 1 : 0, end = at;
    while (end < t.n && word_char(t.p[end]))
        end++;
    if (end == at || (at && (end == t.n || t.p[end] != '}')))
        return 0;
    *ret = (str){ t.p + at, end - at };
    return end + at;
}

void rx_expand(const struct rx *rx, str template_, const str *groups, size_t n_groups, struct buf *out)
{
    str t = template_;
    while (t.n) {
        size_t at = str_find_char(t, '$');
        buf_str_add(out, str_take(t, at));
        if (at == SIZE_MAX)
            return;
        t = str_skip(t, at + 1);
        if (t.n && t.p[0] == '$') {
            buf_u8(out, '$');
            t = str_skip(t, 1);
            continue;
        }
        str name;
        size_t used = template_name(t, &name);
        if (used == 0) {
            buf_u8(out, '$');
            continue;
        }
        t = str_skip(t, used);
        uint64_t index;
        bool numeric = str_to_u64(name, &index);
        if (!numeric) {
            int named = rx_group_index(rx, name);
            index = named < 0 ? UINT64_MAX : (uint64_t)named;
        }
        if (index < n_groups && groups[index].p)
            buf_str_add(out, groups[index]);
    }
}
