/* YAML trees, schemas, diagnostics, expansion, printing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "conf/conf.h"

enum colour { RED, GREEN };
static const char *const colour_names[] = { "red", "green", NULL };
struct item {
    str name;
    uint64_t count;
};
struct inner {
    bool on;
    double ratio;
};
struct thing {
    str name;
    struct conf_secret password;
    int64_t interval_ms, number;
    uint64_t size;
    str url;
    struct conf_regex pattern;
    int colour;
    struct inner inner, inlined;
    struct item *ptr;
    CONF_LIST_OF(struct item) items;
    CONF_LIST_OF(str) names;
    CONF_DICT_OF(str) labels;
    const struct conf_node *raw;
};
#define FI(m, k, t, ...) CF(struct item, m, k, t, ##__VA_ARGS__)
static const struct conf_field item_fields[] = { FI(name, "name", CONF_STR, .flags = CONF_REQUIRED),
                                                 FI(count, "count", CONF_UINT) };
static const struct conf_schema item_schema = {
    .type_name = "item", .size = sizeof(struct item), .fields = item_fields, .n_fields = 2
};
#define FN(m, k, t, ...) CF(struct inner, m, k, t, ##__VA_ARGS__)
static const struct inner inner_defaults = { .on = true, .ratio = 0.5 };
static const struct conf_field inner_fields[] = { FN(on, "on_", CONF_BOOL, .flags = CONF_ALWAYS),
                                                  FN(ratio, "ratio", CONF_FLOAT) };
static const struct conf_schema inner_schema = { .type_name = "inner",
                                                 .size = sizeof(struct inner),
                                                 .defaults = &inner_defaults,
                                                 .fields = inner_fields,
                                                 .n_fields = 2 };
static const struct conf_field inlined_fields[] = { FN(on, "inline_on", CONF_BOOL),
                                                    FN(ratio, "inline_ratio", CONF_FLOAT) };
static const struct conf_schema inlined_schema = {
    .type_name = "inlined", .size = sizeof(struct inner), .fields = inlined_fields, .n_fields = 2
};
#define FT(m, k, t, ...) CF(struct thing, m, k, t, ##__VA_ARGS__)
static const struct conf_field thing_fields[] = {
    FT(name, "name", CONF_STR),
    FT(password, "password", CONF_SECRET),
    FT(interval_ms, "interval", CONF_DURATION, .flags = CONF_POSITIVE),
    FT(number, "number", CONF_INT),
    FT(size, "size", CONF_BYTES),
    FT(url, "url", CONF_URL),
    FT(pattern, "pattern", CONF_REGEX),
    FT(colour, "colour", CONF_ENUM, .names = colour_names),
    FT(inner, "inner", CONF_STRUCT, .schema = &inner_schema),
    FT(inlined, "", CONF_INLINE, .schema = &inlined_schema),
    FT(ptr, "ptr", CONF_PTR, .schema = &item_schema),
    FT(items, "items", CONF_LIST, .of = CONF_STRUCT, .schema = &item_schema, .empty_text = "empty item"),
    FT(names, "names", CONF_LIST, .of = CONF_STR),
    FT(labels, "labels", CONF_DICT, .of = CONF_STR),
    FT(raw, "raw", CONF_NODE),
};
static const struct thing thing_defaults = { .interval_ms = 15000, .colour = GREEN };
static const struct conf_schema thing_schema = { .type_name = "thing",
                                                 .size = sizeof(struct thing),
                                                 .defaults = &thing_defaults,
                                                 .fields = thing_fields,
                                                 .n_fields = ARRAY_LEN(thing_fields) };

static struct arena a;
static struct conf_ctx cx;
static int setup(void **state)
{
    (void)state;
    arena_init(&a, 0);
    cx = conf_ctx_init(&a, fs_os());
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    conf_ctx_release(&cx);
    arena_deinit(&a);
    return 0;
}

static enum err load_str(str yaml, unsigned flags, struct thing *t)
{
    struct conf_node *root;
    TRY(conf_parse(&cx, STR("t.yml"), yaml, flags, &root));
    return conf_decode(&cx, root, &thing_schema, t);
}
static enum err load(const char *yaml, struct thing *t)
{
    return load_str(str_c(yaml), 0, t);
}
static const char *diags(void)
{
    struct buf b;
    buf_init(&b, 0);
    conf_diags_print(&b, &cx);
    str s = arena_str(&a, buf_str(&b));
    buf_deinit(&b);
    return s.p;
}
#define assert_str(s, want) assert_true(str_eq((s), STR(want)))

static void everything_decodes(void **state)
{
    (void)state;
    struct thing t;
    enum err e = load(
        "name: 12\npassword: 'x y'\ninterval: 1m30s\nnumber: -5\nsize: 15MB\nurl: http://u:p@h:90/x\npattern: a|b\n"
        "colour: red\ninner: {ratio: 2}\ninline_on: yes\nptr: {name: p, count: 7}\n"
        "items:\n  - &one {name: i1}\n  - *one\n  - <<: *one\n    count: 3\nnames: [a, b]\nlabels: {k: v}\nraw: {x: "
        "[1, 2]}\n",
        &t);
    if (e)
        fail_msg("%s", diags());
    assert_str(t.name, "12");
    assert_int_equal(t.interval_ms, 90000);
    assert_int_equal(t.number, -5);
    assert_int_equal(t.size, 15 << 20);
    assert_int_equal(t.colour, RED);
    assert_true(t.inner.on);
    assert_true(t.inner.ratio == 2);
    assert_true(t.inlined.on);
    assert_true(rx_match(t.pattern.rx, STR("b")));
    assert_false(rx_match(t.pattern.rx, STR("bb")));
    assert_int_equal(t.ptr->count, 7);
    assert_int_equal(t.items.n, 3);
    assert_str(t.items.p[2].name, "i1");
    assert_int_equal(t.items.p[2].count, 3);
    assert_str(t.names.p[1], "b");
    assert_str(t.labels.keys[0], "k");
    assert_int_equal(conf_get(t.raw, STR("x"))->n, 2);
}

static void defaults_stay(void **state)
{
    (void)state;
    static const char *const texts[] = { "", "# only a comment\n", "inner:\n", "---\n...\n", "null\n" };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct thing t;
        assert_int_equal(load(texts[i], &t), OK);
        assert_int_equal(t.interval_ms, 15000);
        assert_int_equal(t.colour, GREEN);
        assert_true(t.inner.on);
        assert_null(t.ptr);
    }
}

static const struct {
    const char *yaml, *error;
} bad[] = {
    { "nmae: x\n", "t.yml:1:1: field nmae not found in type thing, did you mean \"name\"?" },
    { "zzzzzzzz: x\n", "t.yml:1:1: field zzzzzzzz not found in type thing" },
    { "name: x\n\nname: y\n", "t.yml:3:1: field name already set in type thing" },
    { "interval: 5 apples\n", "t.yml:1:11: not a valid duration string: \"5 apples\"" },
    { "interval: 0s\n", "t.yml:1:11: must be greater than 0" },
    { "number: abc\n", "t.yml:1:9: expected a whole number, got \"abc\"" },
    { "number: \"5\"\n", "cannot unmarshal !!str `5` into int" },
    { "number: \"a\\nb\"\n", "got \"a b\"" },
    { "size: 100\n", "units: unknown unit  in 100" },
    { "size: -100\n", "units: unknown unit  in -100" },
    { "size: 5XB\n", "units: unknown unit XB in 5XB" },
    { "size: lots\n", "units: invalid lots" },
    { "url: example.com\n", "URL scheme must be 'http' or 'https'" },
    { "url: http://\n", "host is missing in URL" },
    { "pattern: '('\n", "t.yml:1:10: error parsing regexp" },
    { "colour: blue\n", "unknown value \"blue\", expected one of: red, green" },
    { "inner: 5\n", "t.yml:1:8: expected a mapping" },
    { "inner:\n  on_: maybe\n", "t.yml:2:8: expected true or false" },
    { "items: {}\n", "t.yml:1:8: expected a list" },
    { "items: [{count: 1}]\n", "t.yml:1:9: name is missing" },
    { "items:\n  - name: x\n  -\n", "empty item" },
    { "labels: {a: 1, a: 2}\n", "key \"a\" already set in map" },
    { "names: [[x]]\n", "expected a string, got a list" },
    { "name: [\n", "t.yml:2:1: yaml: did not find expected node content" },
    { "name: *nope\n", "yaml: unknown anchor 'nope' referenced" },
    { "raw: &x [*x]\n", "yaml: anchor 'x' value contains itself" },
    { "a: b\n---\nc: d\n", "more than one document" },
    { "name: \x01\n", "yaml: control characters are not allowed" },
    { "name: \xff\xfe\n", "yaml: invalid leading UTF-8 octet" },
    { "\tname: x\n", "found character that cannot start any token" },
};
static void mistakes_have_a_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct thing t;
        struct err_text et;
        teardown(NULL);
        setup(NULL);
        assert_int_not_equal(load(bad[i].yaml, &t), OK);
        conf_first_error(&cx, &et);
        if (!strstr(et.msg, bad[i].error))
            fail_msg("row %zu: %s", i, et.msg);
    }
}

static void all_mistakes_are_shown_with_carets(void **state)
{
    (void)state;
    struct thing t;
    assert_int_equal(load("name: ok\nnumber: x\ncolor: red\n", &t), ERR_INVALID);
    assert_string_equal(
        diags(),
        "t.yml:2:9: expected a whole number, got \"x\" (yaml: unmarshal errors: cannot unmarshal !!str `x` into int)\n"
        "      2 | number: x\n"
        "        |         ^\n"
        "t.yml:3:1: field color not found in type thing, did you mean \"colour\"?\n"
        "      3 | color: red\n"
        "        | ^\n");
}

static void bombs_are_refused(void **state)
{
    (void)state;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_lit(&b, "raw:\n - &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 20; i++)
        buf_printf(&b, " - &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i - 1, i - 1, i - 1,
                   i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    struct thing t;
    assert_int_equal(load_str(arena_str(&a, buf_str(&b)), 0, &t), ERR_LIMIT); /* the context borrows the text */
    assert_non_null(strstr(diags(), "too large"));

    buf_clear(&b);
    buf_lit(&b, "raw: ");
    for (int i = 0; i < 5000; i++)
        buf_u8(&b, '[');
    assert_int_equal(load_str(arena_str(&a, buf_str(&b)), 0, &t), ERR_LIMIT); /* the context borrows the text */
    assert_non_null(strstr(diags(), "nested deeper"));
}

static const char *fake_env(void *ctx, const char *name)
{
    (void)ctx;
    return strcmp(name, "HOST") == 0 ? "h1" : strcmp(name, "EMPTY") == 0 ? "" : NULL;
}
static void variables_expand(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want; /* want NULL: error */
    } rows[] = {
        { "${HOST}", "h1" },
        { "a ${HOST} b ${HOST}", "a h1 b h1" },
        { "${NO:-d}", "d" },
        { "${EMPTY:-d}", "d" },
        { "${EMPTY}", "" },
        { "$${HOST}", "${HOST}" },
        { "${1}", "${1}" },
        { "$HOST", "$HOST" },
        { "${", "${" },
        { "${NO}", NULL },
        { "${file:/nonexistent/x}", NULL },
    };
    char path[] = "/tmp/vane-conf-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *f = fdopen(fd, "w");
    fputs("s3cret\n", f);
    fclose(f);
    cx.env = fake_env;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct thing t;
        enum err e = load_str(arena_printf(&a, "name: '%s'\n", rows[i].in), CONF_EXPAND, &t);
        assert_int_equal(e == OK, rows[i].want != NULL);
        if (e == OK && !str_eq(t.name, str_c(rows[i].want)))
            fail_msg("row %zu: " STR_FMT, i, STR_ARG(t.name));
    }
    struct thing t;
    cx.n_errors = 0;
    assert_int_equal(load_str(arena_printf(&a, "password: ${file:%s}\n", path), CONF_EXPAND, &t), OK);
    assert_str(t.password.value, "s3cret");
    remove(path);
    assert_str(conf_expand_env(&cx, STR("$HOST-${HOST}-$$-$NOPE-$")), "h1-h1-$--$");
}

static void printing_reads_back(void **state)
{
    (void)state;
    struct thing t, u;
    assert_int_equal(
        load("name: 'yes'\npassword: top\nurl: http://u:p@h/x\nsize: 15MB\nnumber: 3\npattern: a.*\n"
             "ptr: {name: 'x: y'}\nitems: [{name: \"a\\nb\", count: 1}, {name: '- z'}]\nnames: ['1.5', '', plain]\n"
             "labels: {a b: c}\nraw: {x: [1, {y: '2'}]}\n",
             &t),
        OK);
    AUTO_BUF struct buf b, b2;
    buf_init(&b, 0);
    buf_init(&b2, 0);
    conf_print(&b, &thing_schema, &t);
    assert_false(str_contains(buf_str(&b), STR("top")));
    assert_true(str_contains(buf_str(&b), STR("password: <secret>\n")));
    assert_true(str_contains(buf_str(&b), STR("url: http://u:xxxxx@h/x\n")));
    assert_true(str_contains(buf_str(&b), STR("interval: 15s\n")));
    assert_true(str_contains(buf_str(&b), STR("size: 15MiB\n")));
    if (load_str(buf_str(&b), 0, &u))
        fail_msg("%s\n" STR_FMT, diags(), STR_ARG(buf_str(&b)));
    assert_str(u.name, "yes");
    assert_str(u.items.p[0].name, "a\nb");
    assert_str(u.items.p[1].name, "- z");
    assert_str(u.names.p[1], "");
    conf_print(&b2, &thing_schema, &u);
    assert_true(str_eq(buf_str(&b), buf_str(&b2)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(everything_decodes), T(defaults_stay),    T(mistakes_have_a_place), T(all_mistakes_are_shown_with_carets),
        T(bombs_are_refused),  T(variables_expand), T(printing_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
