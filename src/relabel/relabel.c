/* Relabelling rules: schema, validation, application. Each action is a few lines; what they share is the source value
 * (values of source_labels joined by separator) and regex templates ($1, ${name}). */
#include "relabel/relabel.h"

#include <locale.h>
#include <nettle/md5.h>
#include <wctype.h>

#include "base/check.h"
#include "base/thread.h"

static const struct relabel_rule relabel_defaults = { .separator = STR_INIT(";"),
                                                      .replacement = STR_INIT("$1"),
                                                      .action = RELABEL_REPLACE };
static const char *const action_names[] = {
#define X(id, name, help) name,
    RELABEL_ACTIONS(X)
#undef X
        NULL,
};

/* Shared by all threads: the default expression and the locale whose case tables are Unicode's. */
static struct rx *default_rx;
static locale_t utf8_locale;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static void init_once(void)
{
    enum err e = rx_compile(STR("(.*)"), true, &default_rx, NULL);
    ASSERT(e == OK);
    utf8_locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
}

/* ---- validation ---- */

bool relabel_valid_name(str name, enum name_scheme scheme)
{
    return scheme == NAMES_LEGACY ? labels_valid_name(name) : name.n > 0 && str_utf8_ok(name);
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* A legacy label name in which $1, $name, ${name} may stand: ^(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+$ */
static bool legacy_template_ok(str s)
{
    for (size_t i = 0; i < s.n;) {
        if (s.p[i] != '$') {
            if (!is_word(s.p[i]) || (i == 0 && s.p[i] >= '0' && s.p[i] <= '9'))
                return false;
            i++;
            continue;
        }
        bool braces = ++i < s.n && s.p[i] == '{';
        size_t start = i += braces;
        while (i < s.n && is_word(s.p[i]))
            i++;
        if (i == start || (braces && (i >= s.n || s.p[i++] != '}')))
            return false;
    }
    return s.n > 0;
}

static bool template_ok(str s, enum name_scheme names)
{
    return names == NAMES_LEGACY ? legacy_template_ok(s) : relabel_valid_name(s, names);
}

static bool needs_target(enum relabel_action a)
{
    return a == RELABEL_REPLACE || a == RELABEL_HASHMOD || a == RELABEL_LOWERCASE || a == RELABEL_UPPERCASE ||
           a == RELABEL_KEEPEQUAL || a == RELABEL_DROPEQUAL;
}

static bool target_ok(const struct relabel_rule *r)
{
    if (r->action == RELABEL_REPLACE && str_find_char(r->target_label, '$') != SIZE_MAX)
        return template_ok(r->target_label, r->names);
    return !needs_target(r->action) || relabel_valid_name(r->target_label, r->names);
}

static enum err invalid_name(str value, const char *key, const char *action, struct err_text *reterr)
{
    AUTO_BUF struct buf quoted;
    buf_init(&quoted, 4096);
    conf_quote(&quoted, str_take(value, 200));
    return err_fail(reterr, ERR_INVALID, STR_FMT " is invalid '%s' for %s action", STR_ARG(buf_str(&quoted)), key,
                    action);
}

enum err relabel_validate(const struct relabel_rule *r, struct err_text *reterr)
{
    enum relabel_action a = r->action;
    if (a >= RELABEL_NO_ACTION)
        return err_fail(reterr, ERR_INVALID, "relabel action cannot be empty");
    const char *name = action_names[a];
    bool default_replacement = str_eq(r->replacement, relabel_defaults.replacement);
    bool only_defaults = r->modulus == 0 && str_eq(r->separator, relabel_defaults.separator) && default_replacement;
    if (a == RELABEL_HASHMOD && r->modulus == 0)
        return err_fail(reterr, ERR_INVALID, "relabel configuration for hashmod requires non-zero modulus");
    if (needs_target(a) && r->target_label.n == 0)
        return err_fail(reterr, ERR_INVALID, "relabel configuration for %s action requires 'target_label' value", name);
    if (!target_ok(r))
        return invalid_name(r->target_label, "target_label", name, reterr);
    if ((a == RELABEL_LOWERCASE || a == RELABEL_UPPERCASE || a == RELABEL_KEEPEQUAL || a == RELABEL_DROPEQUAL) &&
        !default_replacement)
        return err_fail(reterr, ERR_INVALID, "'replacement' can not be set for %s action", name);
    if (a == RELABEL_LABELMAP && !template_ok(r->replacement, r->names))
        return invalid_name(r->replacement, "replacement", name, reterr);
    if ((a == RELABEL_DROPEQUAL || a == RELABEL_KEEPEQUAL) && (r->regex.rx || !only_defaults))
        return err_fail(reterr, ERR_INVALID,
                        "%s action requires only 'source_labels' and `target_label`, and no other fields", name);
    if ((a == RELABEL_LABELDROP || a == RELABEL_LABELKEEP) &&
        (r->source_labels.p || r->target_label.n || !only_defaults))
        return err_fail(reterr, ERR_INVALID, "%s action requires only 'regex', and no other fields", name);
    return OK;
}

/* ---- schema ---- */

static enum err read_action(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    str s;
    TRY(conf_read_str(cx, n, &s));
    for (int i = 0; action_names[i]; i++)
        if (str_ieq(s, str_c(action_names[i]))) {
            *(enum relabel_action *)field = (enum relabel_action)i;
            return OK;
        }
    if (s.n == 0) {
        *(enum relabel_action *)field = RELABEL_NO_ACTION;
        return OK;
    }
    str names[ARRAY_LEN(action_names)];
    for (size_t i = 0; i + 1 < ARRAY_LEN(action_names); i++)
        names[i] = str_c(action_names[i]);
    str near = str_nearest(s, names, ARRAY_LEN(action_names) - 1);
    return conf_error(cx, n, "unknown relabel action \"" STR_FMT "\"%s" STR_FMT "%s", STR_ARG(s),
                      near.n ? ", did you mean \"" : "", STR_ARG(near), near.n ? "\"?" : "");
}

static void print_action(struct conf_out *out, const void *field)
{
    enum relabel_action a = *(const enum relabel_action *)field;
    if (a < RELABEL_NO_ACTION)
        conf_out_scalar(out, str_c(action_names[a]));
}

static void check_rule(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct err_text et;
    if (relabel_validate(obj, &et) != OK)
        IGNORE_ERR(conf_error(cx, n, "%s", et.msg));
}

#define F(member, key, type, ...) CF(struct relabel_rule, member, key, type, ##__VA_ARGS__)
static const struct conf_field rule_fields[] = {
    F(source_labels, "source_labels", CONF_LIST, .of = CONF_STR),
    F(separator, "separator", CONF_STR),
    F(regex, "regex", CONF_REGEX),
    F(modulus, "modulus", CONF_UINT),
    F(target_label, "target_label", CONF_STR),
    F(replacement, "replacement", CONF_STR),
    F(action, "action", CONF_CUSTOM, .read = read_action, .print = print_action),
};
#undef F
const struct conf_schema relabel_rule_schema = {
    .type_name = "relabel.plain",
    .size = sizeof(struct relabel_rule),
    .defaults = &relabel_defaults,
    .fields = rule_fields,
    .n_fields = ARRAY_LEN(rule_fields),
    .check = check_rule,
};

/* ---- application ---- */

static str source_value(const struct relabel_rule *r, const struct label_builder *b)
{
    size_t n = 0;
    if (r->source_labels.n == 1)
        return lb_get(b, r->source_labels.p[0]);
    for (size_t i = 0; i < r->source_labels.n; i++)
        n += lb_get(b, r->source_labels.p[i]).n + r->separator.n;
    char *p = arena_alloc(b->a, n + 1);
    n = 0;
    for (size_t i = 0; i < r->source_labels.n; i++) {
        str v = lb_get(b, r->source_labels.p[i]);
        if (i && r->separator.n) {
            memcpy(p + n, r->separator.p, r->separator.n);
            n += r->separator.n;
        }
        if (v.n)
            memcpy(p + n, v.p, v.n);
        n += v.n;
    }
    return (str){ p, n };
}

static str expand(const struct rx *rx, str template_, const str *groups, size_t n_groups, struct arena *a)
{
    if (str_find_char(template_, '$') == SIZE_MAX)
        return template_;
    AUTO_BUF struct buf out;
    buf_init(&out, 1 << 20);
    rx_expand(rx, template_, groups, n_groups, &out);
    return arena_str(a, buf_str(&out));
}

static size_t find(const struct rx *rx, str text, str groups[RX_GROUPS_MAX + 1])
{
    size_t n = MIN(rx_n_groups(rx), RX_GROUPS_MAX) + 1;
    if (!text.p)
        text.p = "";
    return rx_find(rx, text, 0, groups, n) ? n : 0;
}

static void apply_replace(const struct relabel_rule *r, const struct rx *rx, str val, struct label_builder *b)
{
    str groups[RX_GROUPS_MAX + 1];
    size_t n = find(rx, val, groups);
    if (n == 0)
        return;
    str target = expand(rx, r->target_label, groups, n, b->a);
    if (relabel_valid_name(target, r->names))
        lb_set(b, target, expand(rx, r->replacement, groups, n, b->a)); /* empty removes */
}

static str change_case(str s, bool upper, struct arena *a)
{
    char *p = arena_alloc(a, s.n * 2 + 4);
    size_t n = 0;
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        size_t k = str_utf8_get(str_skip(s, i), &cp);
        if (cp < 0x80)
            cp = upper && cp >= 'a' && cp <= 'z' ? cp - 32 : !upper && cp >= 'A' && cp <= 'Z' ? cp + 32 : cp;
        else if (utf8_locale)
            cp = upper ? (uint32_t)towupper_l((wint_t)cp, utf8_locale) : (uint32_t)towlower_l((wint_t)cp, utf8_locale);
        n += str_utf8_put(p + n, cp);
        i += k;
        if (n > s.n * 2)
            break;
    }
    return (str){ p, n };
}

static str hash_mod(str val, uint64_t modulus, struct arena *a)
{
    struct md5_ctx ctx;
    uint8_t digest[16];
    md5_init(&ctx);
    md5_update(&ctx, val.n, (const uint8_t *)(val.n ? val.p : ""));
    md5_digest(&ctx, sizeof(digest), digest);
    uint64_t h = 0;
    for (int i = 8; i < 16; i++)
        h = h << 8 | digest[i];
    return arena_printf(a, "%llu", (unsigned long long)(h % modulus));
}

/* labelmap, labeldrop, labelkeep look at names; the set as it was before decides. */
static void apply_names(const struct relabel_rule *r, const struct rx *rx, struct label_builder *b)
{
    size_t n = b->v.n;
    struct label *before = arena_array(b->a, struct label, n ? n : 1);
    if (n)
        memcpy(before, b->v.p, n * sizeof(*before));
    for (size_t i = 0; i < n; i++) {
        if (before[i].value.n == 0)
            continue;
        if (r->action == RELABEL_LABELMAP) {
            str groups[RX_GROUPS_MAX + 1];
            size_t n_groups = find(rx, before[i].name, groups);
            if (n_groups)
                lb_set(b, expand(rx, r->replacement, groups, n_groups, b->a), before[i].value);
        } else if (rx_match(rx, before[i].name) == (r->action == RELABEL_LABELDROP)) {
            lb_del(b, before[i].name);
        }
    }
}

static bool apply_one(const struct relabel_rule *r, struct label_builder *b)
{
    const struct rx *rx = r->regex.rx ? r->regex.rx : default_rx;
    str val = source_value(r, b);
    if (!val.p)
        val = STR("");
    switch (r->action) {
    case RELABEL_DROP:
        return !rx_match(rx, val);
    case RELABEL_KEEP:
        return rx_match(rx, val);
    case RELABEL_DROPEQUAL:
        return !str_eq(lb_get(b, r->target_label), val);
    case RELABEL_KEEPEQUAL:
        return str_eq(lb_get(b, r->target_label), val);
    case RELABEL_REPLACE:
        apply_replace(r, rx, val, b);
        return true;
    case RELABEL_LOWERCASE:
    case RELABEL_UPPERCASE:
        lb_set(b, r->target_label, change_case(val, r->action == RELABEL_UPPERCASE, b->a));
        return true;
    case RELABEL_HASHMOD:
        lb_set(b, r->target_label, hash_mod(val, r->modulus, b->a));
        return true;
    case RELABEL_LABELMAP:
    case RELABEL_LABELDROP:
    case RELABEL_LABELKEEP:
        apply_names(r, rx, b);
        return true;
    case RELABEL_NO_ACTION:
        break;
    }
    return true;
}

bool relabel_apply(struct relabel_rules rules, struct label_builder *b)
{
    pthread_once(&once, init_once);
    for (size_t i = 0; i < rules.n; i++)
        if (!apply_one(&rules.p[i], b))
            return false;
    return true;
}
