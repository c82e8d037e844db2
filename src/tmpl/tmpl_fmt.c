/* fmt: Go's Fprint and Printf over template values. What a verb cannot print it says in place, as %!d(string=x);
 * the flags of the verb go on to elements and even into such texts, as in Go. */
#include <math.h>
#include <stdio.h>

#include "base/num.h"
#include "tmpl/tmpl_int.h"

#define WIDTH_MAX 1000000

struct pp {
    struct buf *out;
    bool wid_present, prec_present, minus, plus, sharp, space, zero, plus_v, sharp_v;
    int wid, prec;
    bool erroring, reordered, good_index;
};

static void clear_flags(struct pp *p)
{
    struct buf *out = p->out;
    bool reordered = p->reordered, good = p->good_index;
    *p = (struct pp){ .out = out, .reordered = reordered, .good_index = good };
}

/* ---- padding ---- */
static size_t runes(str s)
{
    size_t n = 0;
    uint32_t r;
    for (; s.n; n++)
        s = str_skip(s, str_utf8_get(s, &r));
    return n;
}

static void padding(struct pp *p, size_t n)
{
    for (; n && !p->out->failed; n--)
        buf_u8(p->out, p->zero ? '0' : ' ');
}

static void pad(struct pp *p, str s)
{
    size_t n = p->wid_present ? runes(s) : 0, fill = p->wid_present && (size_t)p->wid > n ? (size_t)p->wid - n : 0;
    if (!p->minus)
        padding(p, fill);
    buf_str_add(p->out, s);
    if (p->minus)
        padding(p, fill);
}

static void pad_plain(struct pp *p, str s) /* never with zeros */
{
    bool zero = p->zero;
    p->zero = false;
    pad(p, s);
    p->zero = zero;
}

/* ---- one kind each ---- */
static void fmt_int(struct pp *p, uint64_t u, unsigned base, bool is_signed, char verb, bool upper)
{
    const char *digits = upper ? "0123456789ABCDEFX" : "0123456789abcdefx";
    bool negative = is_signed && (int64_t)u < 0;
    int prec = 0;
    if (negative)
        u = -u;
    if (p->prec_present) {
        prec = p->prec;
        if (prec == 0 && u == 0) {
            bool zero = p->zero;
            p->zero = false;
            padding(p, p->wid_present ? (size_t)p->wid : 0);
            p->zero = zero;
            return;
        }
    } else if (p->zero && p->wid_present) {
        prec = p->wid - (negative || p->plus || p->space);
    }
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    size_t size = 80 + (size_t)prec;
    if (!buf_reserve(&b, size))
        return;
    char *end = b.p + size, *w = end;
    do {
        *--w = digits[u % base];
        u /= base;
    } while (u);
    while (end - w < prec)
        *--w = '0';
    if (p->sharp && base == 2) {
        *--w = 'b';
        *--w = '0';
    } else if (p->sharp && base == 8 && *w != '0') {
        *--w = '0';
    } else if (p->sharp && base == 16) {
        *--w = digits[16];
        *--w = '0';
    }
    if (verb == 'O') {
        *--w = 'o';
        *--w = '0';
    }
    if (negative)
        *--w = '-';
    else if (p->plus)
        *--w = '+';
    else if (p->space)
        *--w = ' ';
    pad_plain(p, str_n(w, (size_t)(end - w)));
}

static str truncated(const struct pp *p, str s)
{
    str left = s;
    uint32_t r;
    if (!p->prec_present)
        return s;
    for (int n = p->prec; n > 0 && left.n; n--)
        left = str_skip(left, str_utf8_get(left, &r));
    return str_take(s, s.n - left.n);
}

static bool can_backquote(str s)
{
    while (s.n) {
        uint32_t r;
        size_t w = str_utf8_get(s, &r);
        if ((w == 1 && (r == 0xfffd || (r < ' ' && r != '\t') || r == '`' || r == 0x7f)) || r == 0xfeff)
            return false;
        s = str_skip(s, w);
    }
    return true;
}

static void to_ascii(struct buf *out, str quoted) /* %+q */
{
    while (quoted.n) {
        uint32_t r;
        size_t w = str_utf8_get(quoted, &r);
        if (r < 0x80)
            buf_u8(out, (uint8_t)r);
        else
            buf_printf(out, r < 0x10000 ? "\\u%04x" : "\\U%08x", r);
        quoted = str_skip(quoted, w);
    }
}

static void fmt_quoted(struct pp *p, str s, bool is_rune, uint32_t rune)
{
    AUTO_BUF struct buf b, ascii;
    buf_init(&b, 0);
    buf_init(&ascii, 0);
    if (!is_rune)
        s = truncated(p, s);
    if (!is_rune && p->sharp && can_backquote(s)) {
        buf_u8(&b, '`');
        buf_str_add(&b, s);
        buf_u8(&b, '`');
    } else if (is_rune) {
        buf_go_quote_rune(&b, rune);
    } else {
        buf_go_quote(&b, s);
    }
    if (p->plus)
        to_ascii(&ascii, buf_str(&b));
    pad(p, buf_str(p->plus ? &ascii : &b));
}

static void fmt_hex_str(struct pp *p, str s, bool upper)
{
    const char *digits = upper ? "0123456789ABCDEFX" : "0123456789abcdefx";
    size_t n = p->prec_present && (size_t)p->prec < s.n ? (size_t)p->prec : s.n;
    size_t width = 2 * n;
    if (n && p->space)
        width = (p->sharp ? 2 * width : width) + n - 1;
    else if (n && p->sharp)
        width += 2;
    size_t fill = p->wid_present && (size_t)p->wid > width ? (size_t)p->wid - width : 0;
    if (!p->minus || !n)
        padding(p, fill);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (p->space && i)
            buf_u8(p->out, ' ');
        if (p->sharp && (p->space || i == 0)) {
            buf_u8(p->out, '0');
            buf_u8(p->out, (uint8_t)digits[16]);
        }
        buf_u8(p->out, (uint8_t)digits[c >> 4]);
        buf_u8(p->out, (uint8_t)digits[c & 15]);
    }
    if (p->minus && n)
        padding(p, fill);
}

static void fmt_rune(struct pp *p, uint64_t u)
{
    char enc[4];
    uint32_t r = u > 0x10ffff || (u >= 0xd800 && u < 0xe000) ? 0xfffd : (uint32_t)u;
    pad(p, str_n(enc, str_utf8_put(enc, r)));
}

static void fmt_unicode(struct pp *p, uint64_t u)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    int prec = p->prec_present && p->prec > 4 ? p->prec : 4;
    buf_printf(&b, "U+%0*llX", MIN(prec, 200), (unsigned long long)u);
    if (p->sharp && u <= 0x10ffff && str_rune_is_printable((uint32_t)u)) {
        char enc[4];
        buf_lit(&b, " '");
        buf_add(&b, enc, str_utf8_put(enc, (uint32_t)u));
        buf_u8(&b, '\'');
    }
    pad_plain(p, buf_str(&b));
}

/* C's %a and %e to Go's exponents of at least two digits. */
static void add_exponent(struct buf *b, const char *c)
{
    const char *e = strpbrk(c, "pP");
    if (!e) {
        buf_add(b, c, strlen(c));
        return;
    }
    buf_add(b, c, (size_t)(e + 2 - c));
    if (strlen(e + 2) < 2)
        buf_u8(b, '0');
    buf_add(b, e + 2, strlen(e + 2));
}

/* strconv.AppendFloat; prec -1: the shortest that reads back the same. No sign if positive. */
static void float_text(struct buf *b, double v, char verb, int prec)
{
    char c[400 + NUM_TEXT_MAX];
    prec = MIN(prec, 350);
    if (!isfinite(v)) {
        buf_add(b, isnan(v) ? "NaN" : v < 0 ? "-Inf" : "Inf", isnan(v) ? 3 : v < 0 ? 4 : 3);
        return;
    }
    switch (verb) {
    case 'b': {
        uint64_t bits;
        memcpy(&bits, &v, 8);
        uint64_t mant = bits & ((1ull << 52) - 1);
        int e = (int)(bits >> 52 & 0x7ff);
        if (e)
            mant |= 1ull << 52;
        else
            e = 1;
        buf_printf(b, "%s%llup%+d", signbit(v) ? "-" : "", (unsigned long long)mant, e - 1075);
        return;
    }
    case 'x':
    case 'X':
        if (prec < 0)
            snprintf(c, sizeof(c), verb == 'x' ? "%a" : "%A", v);
        else
            snprintf(c, sizeof(c), verb == 'x' ? "%.*a" : "%.*A", prec, v);
        add_exponent(b, c);
        return;
    case 'e':
    case 'E':
    case 'f':
        snprintf(c, sizeof(c), verb == 'e' ? "%.*e" : verb == 'E' ? "%.*E" : "%.*f", prec < 0 ? 6 : prec, v);
        break;
    default: /* g G */
        if (prec < 0) {
            size_t n = num_format_g(c, v);
            c[n] = 0;
        } else {
            snprintf(c, sizeof(c), "%.*g", prec ? prec : 1, v);
        }
        if (verb == 'G')
            for (char *e = c; *e; e++)
                *e = *e == 'e' ? 'E' : *e;
        break;
    }
    buf_add(b, c, strlen(c));
}

/* %#: always a decimal point, and %g keeps its zeros. */
static void sharpen(struct buf *b, char verb, int prec)
{
    AUTO_BUF struct buf tail;
    buf_init(&tail, 0);
    int digits = verb == 'v' || verb == 'g' || verb == 'G' || verb == 'x' ? (prec == -1 ? 6 : prec) : 0;
    bool point = false, nonzero = false;
    for (size_t i = 1; i < b->n; i++) {
        char c = b->p[i];
        if (c == '.') {
            point = true;
            continue;
        }
        if (c == 'p' || c == 'P' || ((c == 'e' || c == 'E') && verb != 'x' && verb != 'X')) {
            buf_add(&tail, b->p + i, b->n - i);
            b->n = i;
            break;
        }
        nonzero |= c != '0';
        digits -= nonzero;
    }
    if (!point) {
        if (b->n == 2 && b->p[1] == '0')
            digits--;
        buf_u8(b, '.');
    }
    for (; digits > 0; digits--)
        buf_u8(b, '0');
    buf_str_add(b, buf_str(&tail));
}

static void fmt_float(struct pp *p, double v, char verb, int prec)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    if (p->prec_present)
        prec = p->prec;
    if (!(signbit(v) && !isnan(v)))
        buf_u8(&b, '+');
    float_text(&b, v, verb == 'v' ? 'g' : verb == 'F' ? 'f' : verb, prec);
    if (p->space && b.p[0] == '+' && !p->plus)
        b.p[0] = ' ';
    if (!isfinite(v)) {
        bool bare = (isnan(v) && !p->space && !p->plus) || (b.p[0] == '+' && !p->plus);
        pad_plain(p, isnan(v) && bare ? str_skip(buf_str(&b), 1) : buf_str(&b));
        return;
    }
    if (p->sharp && verb != 'b')
        sharpen(&b, verb, prec);
    if (!p->plus && b.p[0] == '+') {
        pad(p, str_skip(buf_str(&b), 1));
    } else if (p->zero && p->wid_present && (size_t)p->wid > b.n) {
        buf_u8(p->out, (uint8_t)b.p[0]);
        padding(p, (size_t)p->wid - b.n);
        buf_str_add(p->out, str_skip(buf_str(&b), 1));
    } else {
        pad(p, buf_str(&b));
    }
}

/* ---- values ---- */
static void print_arg(struct pp *p, const struct tmpl_val *v, uint32_t verb, unsigned depth);

static void bad_verb(struct pp *p, uint32_t verb, const struct tmpl_val *v)
{
    char enc[4];
    p->erroring = true;
    buf_lit(p->out, "%!");
    buf_add(p->out, enc, str_utf8_put(enc, verb));
    buf_u8(p->out, '(');
    if (v->kind <= TMPL_NIL) {
        buf_lit(p->out, "<nil>");
    } else {
        buf_printf(p->out, "%s=", tmpl_type_name(v));
        print_arg(p, v, 'v', 0);
    }
    buf_u8(p->out, ')');
    p->erroring = false;
}

static void print_int(struct pp *p, const struct tmpl_val *v, uint32_t verb)
{
    bool is_signed = v->kind == TMPL_INT;
    switch (verb) {
    case 'v':
        if (p->sharp_v && !is_signed) {
            bool sharp = p->sharp;
            p->sharp = true;
            fmt_int(p, v->u, 16, is_signed, 'v', false);
            p->sharp = sharp;
            break;
        }
        fmt_int(p, v->u, 10, is_signed, 'v', false);
        break;
    case 'd':
        fmt_int(p, v->u, 10, is_signed, 'd', false);
        break;
    case 'b':
        fmt_int(p, v->u, 2, is_signed, 'b', false);
        break;
    case 'o':
    case 'O':
        fmt_int(p, v->u, 8, is_signed, (char)verb, false);
        break;
    case 'x':
    case 'X':
        fmt_int(p, v->u, 16, is_signed, (char)verb, verb == 'X');
        break;
    case 'c':
        fmt_rune(p, v->u);
        break;
    case 'q':
        fmt_quoted(p, STR_NONE, true, v->u > 0x10ffff ? 0xfffd : (uint32_t)v->u);
        break;
    case 'U':
        fmt_unicode(p, v->u);
        break;
    default:
        bad_verb(p, verb, v);
    }
}

static void print_float(struct pp *p, const struct tmpl_val *v, double f, uint32_t verb)
{
    switch (verb) {
    case 'v':
        fmt_float(p, f, 'v', -1);
        break;
    case 'b':
    case 'g':
    case 'G':
    case 'x':
    case 'X':
        fmt_float(p, f, (char)verb, -1);
        break;
    case 'e':
    case 'E':
    case 'f':
    case 'F':
        fmt_float(p, f, (char)verb, 6);
        break;
    default:
        bad_verb(p, verb, v);
    }
}

static void print_complex(struct pp *p, const struct tmpl_val *v, uint32_t verb)
{
    if (!(verb < 0x80 && verb && strchr("vbgGxXfFeE", (int)verb))) {
        bad_verb(p, verb, v);
        return;
    }
    bool plus = p->plus;
    buf_u8(p->out, '(');
    print_float(p, v, v->c[0], verb);
    p->plus = true;
    print_float(p, v, v->c[1], verb);
    buf_lit(p->out, "i)");
    p->plus = plus;
}

static void print_str(struct pp *p, const struct tmpl_val *v, str s, uint32_t verb)
{
    switch (verb) {
    case 'v':
        if (p->sharp_v)
            fmt_quoted(p, s, false, 0);
        else
            pad(p, truncated(p, s));
        break;
    case 's':
        pad(p, truncated(p, s));
        break;
    case 'x':
    case 'X':
        fmt_hex_str(p, s, verb == 'X');
        break;
    case 'q':
        fmt_quoted(p, s, false, 0);
        break;
    default:
        bad_verb(p, verb, v);
    }
}

static void print_elem(struct pp *p, const struct tmpl_val *v, uint32_t verb, unsigned depth)
{
    if (v->kind > TMPL_NIL)
        print_arg(p, v, verb, depth + 1);
    else if (p->sharp_v)
        buf_lit(p->out, "interface {}(nil)");
    else
        buf_lit(p->out, "<nil>");
}

static void between(struct pp *p)
{
    if (p->sharp_v)
        buf_lit(p->out, ", ");
    else
        buf_u8(p->out, ' ');
}

static void print_list(struct pp *p, const struct tmpl_val *v, uint32_t verb, unsigned depth)
{
    if (p->sharp_v)
        buf_printf(p->out, "%s{", tmpl_type_name(v));
    else
        buf_u8(p->out, '[');
    for (size_t i = 0; i < v->list.n && !p->out->failed; i++) {
        if (i)
            between(p);
        print_elem(p, &v->list.p[i], verb, depth);
    }
    buf_u8(p->out, p->sharp_v ? '}' : ']');
}

static void print_map(struct pp *p, const struct tmpl_val *v, uint32_t verb, unsigned depth)
{
    if (p->sharp_v)
        buf_printf(p->out, "%s{", tmpl_type_name(v));
    else
        buf_lit(p->out, "map[");
    for (size_t i = 0; i < v->map.n && !p->out->failed; i++) {
        struct tmpl_val key = tmpl_str(v->map.p[i].k);
        if (i)
            between(p);
        print_arg(p, &key, verb, depth + 1);
        buf_u8(p->out, ':');
        print_elem(p, &v->map.p[i].v, verb, depth);
    }
    buf_u8(p->out, p->sharp_v ? '}' : ']');
}

static void print_struct(struct pp *p, const struct tmpl_val *v, uint32_t verb, unsigned depth)
{
    if (p->sharp_v)
        buf_printf(p->out, "%s", tmpl_type_name(v));
    buf_u8(p->out, '{');
    for (size_t i = 0; i < v->type->n_fields; i++) {
        if (i)
            between(p);
        if (p->plus_v || p->sharp_v)
            buf_printf(p->out, "%s:", v->type->fields[i]);
        print_elem(p, &v->list.p[i], verb, depth);
    }
    buf_u8(p->out, '}');
}

static void print_arg(struct pp *p, const struct tmpl_val *v, uint32_t verb, unsigned depth)
{
    if (depth > TMPL_NEST_MAX)
        return;
    if (v->kind <= TMPL_NIL) {
        if (verb == 'T' || verb == 'v')
            pad(p, STR("<nil>"));
        else
            bad_verb(p, verb, v);
        return;
    }
    if (verb == 'T') {
        pad(p, truncated(p, str_c(tmpl_type_name(v))));
        return;
    }
    if (v->type && v->type->string && !p->erroring && !p->sharp_v && verb < 0x80 && verb &&
        strchr("vsxXq", (int)verb)) {
        AUTO_BUF struct buf b;
        buf_init(&b, TMPL_OUTPUT_BYTES_MAX);
        v->type->string(&b, v);
        print_str(p, v, buf_str(&b), verb);
        return;
    }
    switch (v->kind) {
    case TMPL_BOOL:
        if (verb == 't' || verb == 'v')
            pad(p, v->b ? STR("true") : STR("false"));
        else
            bad_verb(p, verb, v);
        break;
    case TMPL_INT:
    case TMPL_UINT:
        print_int(p, v, verb);
        break;
    case TMPL_FLOAT:
        print_float(p, v, v->f, verb);
        break;
    case TMPL_COMPLEX:
        print_complex(p, v, verb);
        break;
    case TMPL_STR:
        print_str(p, v, v->s, verb);
        break;
    case TMPL_LIST:
        print_list(p, v, verb, depth);
        break;
    case TMPL_MAP:
        print_map(p, v, verb, depth);
        break;
    default:
        print_struct(p, v, verb, depth);
    }
}

void tmpl_print(struct buf *out, const struct tmpl_val *v)
{
    struct pp p = { .out = out };
    if (v->kind == TMPL_NONE)
        buf_lit(out, "<no value>");
    else
        print_arg(&p, v, 'v', 0);
}

void sprint(struct buf *out, const struct tmpl_val *args, size_t n)
{
    struct pp p = { .out = out };
    for (size_t i = 0; i < n; i++) {
        if (i && args[i].kind != TMPL_STR && args[i - 1].kind != TMPL_STR)
            buf_u8(out, ' ');
        print_arg(&p, &args[i], 'v', 0);
    }
}

/* ---- formats ---- */
struct format {
    struct pp p;
    str s;
    size_t i, arg, n;
    const struct tmpl_val *args;
    bool after_index;
};

static int parse_num(struct format *f, bool *ret_is) /* digits at i; beyond WIDTH_MAX it is none */
{
    int v = 0;
    bool big = false;
    *ret_is = false;
    for (; f->i < f->s.n && f->s.p[f->i] >= '0' && f->s.p[f->i] <= '9'; f->i++) {
        big |= v > WIDTH_MAX;
        v = big ? 0 : v * 10 + (f->s.p[f->i] - '0');
        *ret_is = true;
    }
    if (big || v > WIDTH_MAX) {
        *ret_is = false;
        return 0;
    }
    return v;
}

static void arg_index(struct format *f) /* [3] */
{
    f->after_index = false;
    if (f->i >= f->s.n || f->s.p[f->i] != '[')
        return;
    f->p.reordered = true;
    size_t close = str_find_char(str_skip(f->s, f->i), ']');
    if (close == SIZE_MAX) {
        f->p.good_index = false;
        f->i++;
        return;
    }
    struct format inner = { .s = str_take(f->s, f->i + close), .i = f->i + 1 };
    bool is;
    int v = parse_num(&inner, &is);
    bool ok = is && inner.i == f->i + close && v >= 1 && (size_t)v <= f->n;
    f->i += close + 1;
    if (ok) {
        f->arg = (size_t)v - 1;
        f->after_index = true;
    } else {
        f->p.good_index = false;
    }
}

static int star(struct format *f, bool *ret_is)
{
    *ret_is = false;
    if (f->arg >= f->n)
        return 0;
    const struct tmpl_val *v = &f->args[f->arg++];
    *ret_is =
        (v->kind == TMPL_INT && v->i <= WIDTH_MAX && v->i >= -WIDTH_MAX) || (v->kind == TMPL_UINT && v->u <= WIDTH_MAX);
    return *ret_is ? (int)v->i : 0;
}

static void read_flags(struct format *f)
{
    for (; f->i < f->s.n; f->i++)
        switch (f->s.p[f->i]) {
        case '#':
            f->p.sharp = true;
            break;
        case '0':
            f->p.zero = !f->p.minus;
            break;
        case '+':
            f->p.plus = true;
            break;
        case '-':
            f->p.minus = true;
            f->p.zero = false;
            break;
        case ' ':
            f->p.space = true;
            break;
        default:
            return;
        }
}

static void read_width(struct format *f)
{
    if (f->i < f->s.n && f->s.p[f->i] == '*') {
        f->i++;
        f->p.wid = star(f, &f->p.wid_present);
        if (!f->p.wid_present)
            buf_lit(f->p.out, "%!(BADWIDTH)");
        if (f->p.wid < 0) {
            f->p.wid = -f->p.wid;
            f->p.minus = true;
            f->p.zero = false;
        }
        f->after_index = false;
        return;
    }
    f->p.wid = parse_num(f, &f->p.wid_present);
    if (f->after_index && f->p.wid_present)
        f->p.good_index = false;
}

static void read_precision(struct format *f)
{
    if (f->i + 1 > f->s.n || f->i >= f->s.n || f->s.p[f->i] != '.')
        return;
    f->i++;
    if (f->after_index)
        f->p.good_index = false;
    arg_index(f);
    if (f->i < f->s.n && f->s.p[f->i] == '*') {
        f->i++;
        f->p.prec = star(f, &f->p.prec_present);
        if (f->p.prec < 0) {
            f->p.prec = 0;
            f->p.prec_present = false;
        }
        if (!f->p.prec_present)
            buf_lit(f->p.out, "%!(BADPREC)");
        f->after_index = false;
        return;
    }
    f->p.prec = parse_num(f, &f->p.prec_present);
    if (!f->p.prec_present) {
        f->p.prec = 0;
        f->p.prec_present = true;
    }
}

static void print_verb(struct format *f)
{
    uint32_t verb;
    char enc[4];
    if (f->i >= f->s.n) {
        buf_lit(f->p.out, "%!(NOVERB)");
        return;
    }
    f->i += str_utf8_get(str_skip(f->s, f->i), &verb);
    if (verb == '%') {
        buf_u8(f->p.out, '%');
        return;
    }
    if (!f->p.good_index || f->arg >= f->n) {
        buf_lit(f->p.out, "%!");
        buf_add(f->p.out, enc, str_utf8_put(enc, verb));
        if (!f->p.good_index)
            buf_lit(f->p.out, "(BADINDEX)");
        else
            buf_lit(f->p.out, "(MISSING)");
        return;
    }
    if (verb == 'v') {
        f->p.sharp_v = f->p.sharp;
        f->p.sharp = false;
        f->p.plus_v = f->p.plus;
        f->p.plus = false;
    }
    print_arg(&f->p, &f->args[f->arg++], verb, 0);
}

void tmpl_printf(struct buf *out, str format, const struct tmpl_val *args, size_t n)
{
    struct format f = { .p = { .out = out }, .s = format, .args = args, .n = n };
    while (f.i < format.n && !out->failed) {
        size_t to = str_find_char(str_skip(format, f.i), '%');
        str plain = str_take(str_skip(format, f.i), to);
        buf_str_add(out, plain);
        f.i += plain.n;
        if (f.i >= format.n)
            break;
        f.i++;
        f.p.good_index = true;
        f.after_index = false;
        clear_flags(&f.p);
        read_flags(&f);
        arg_index(&f);
        read_width(&f);
        read_precision(&f);
        if (!f.after_index)
            arg_index(&f);
        print_verb(&f);
    }
    if (f.p.reordered || f.arg >= n)
        return;
    clear_flags(&f.p);
    buf_lit(out, "%!(EXTRA ");
    for (size_t i = f.arg; i < n; i++) {
        if (i > f.arg)
            buf_lit(out, ", ");
        if (args[i].kind <= TMPL_NIL) {
            buf_lit(out, "<nil>");
            continue;
        }
        buf_printf(out, "%s=", tmpl_type_name(&args[i]));
        print_arg(&f.p, &args[i], 'v', 0);
    }
    buf_u8(out, ')');
}
