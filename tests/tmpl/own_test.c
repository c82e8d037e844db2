/* Our own cases of tmpl/tmpl.h: html, sets, limits, bad input. */
#include "tmpl_test.h"

static void expect(const struct tmpl_options *opt, const char *text, const struct tmpl_val *dot, const char *want)
{
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf out;
    struct err_text why = { 0 };
    arena_init(&a, 0);
    buf_init(&out, 0);
    struct tmpl_run run = { .a = &a };
    if (tmpl_once(opt, NULL, STR("t"), str_c(text), dot, &run, &out, &why) != OK)
        fail_msg("%s: %s", text, why.msg);
    if (!str_eq(buf_str(&out), str_c(want)))
        fail_msg("%s: got [" STR_FMT "] want [%s]", text, STR_ARG(buf_str(&out)), want);
}

static void html(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        { "<b>{{ . }}</b>", "<b>&lt;i a=&#34;1&#34;&gt;&amp; x&#43;y</b>" },
        { "<b title='{{ . }}'>", "<b title='&lt;i a=&#34;1&#34;&gt;&amp; x&#43;y'>" },
        { "<b title={{ . }}>", "<b title=&lt;i&#32;a&#61;&#34;1&#34;&gt;&amp;&#32;x&#43;y>" },
        { "<a href='/q?x={{ . }}'>", "<a href='/q?x=%3ci%20a%3d%221%22%3e%26%20x%2by'>" },
        { "<script>var s = {{ . }};</script>{{ . }}",
          "<script>var s = \"\\u003ci a=\\\"1\\\"\\u003e\\u0026 x+y\";</script>&lt;i a=&#34;1&#34;&gt;&amp; x&#43;y" },
        { "<script>s = '{{ . }}'</script>",
          "<script>s = '\\u003ci a=\\u00221\\u0022\\u003e\\u0026 x\\u002by'</script>" },
        { "<!-- {{ . }} -->x", "x" },
        { "<style>p { color: {{ . }} }</style>", "<style>p { color: ZgotmplZ }</style>" },
        { "<title>{{ . }}</title>", "<title>&lt;i a=&#34;1&#34;&gt;&amp; x&#43;y</title>" },
    };
    struct tmpl_options opt = { .html = true };
    struct tmpl_val dot = tmpl_str(STR("<i a=\"1\">& x+y"));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(&opt, rows[i].text, &dot, rows[i].want);
    dot = tmpl_str(STR("javascript:alert(1)"));
    expect(&opt, "<a href=\"{{ . }}\">", &dot, "<a href=\"#ZgotmplZ\">");
}

static void limits(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf out;
    struct err_text why = { 0 };
    struct tmpl_options opt = { 0 };
    struct tmpl_val dot = { .kind = TMPL_NONE };
    arena_init(&a, 64u << 20);
    buf_init(&out, 0);
    struct tmpl_run run = { .a = &a, .output_bytes_max = 1000 };
    assert_int_equal(
        tmpl_once(&opt, NULL, STR("t"), STR("{{ range 100000 }}0123456789{{ end }}"), &dot, &run, &out, &why),
        ERR_LIMIT);
    buf_clear(&out);
    assert_int_equal(tmpl_once(&opt, NULL, STR("t"),
                               STR("{{ define \"a\" }}{{ template \"a\" }}{{ end }}{{ template \"a\" }}"), &dot, &run,
                               &out, &why),
                     ERR_EXEC);
    buf_clear(&out);
    assert_int_equal(tmpl_once(&opt, NULL, STR("t"), STR("{{ range 100000000 }}{{ end }}"), &dot, &run, &out, &why),
                     ERR_EXEC);
    AUTO_BUF struct buf deep;
    buf_init(&deep, 0);
    buf_lit(&deep, "{{ ");
    for (int i = 0; i < 100000; i++)
        buf_u8(&deep, '(');
    assert_int_equal(tmpl_once(&opt, NULL, STR("t"), buf_str(&deep), &dot, &run, &out, &why), ERR_PARSE);
    buf_clear(&deep);
    for (int i = 0; i < 50000; i++)
        buf_lit(&deep, "{{if 1}}");
    assert_int_equal(tmpl_once(&opt, NULL, STR("t"), buf_str(&deep), &dot, &run, &out, &why), ERR_PARSE);
    buf_clear(&deep);
    buf_lit(&deep, "{{if 1}}");
    for (int i = 0; i < 50000; i++)
        buf_lit(&deep, "{{else if 1}}");
    assert_int_equal(tmpl_once(&opt, NULL, STR("t"), buf_str(&deep), &dot, &run, &out, &why), ERR_PARSE);
}

static void sets(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf out;
    arena_init(&a, 0);
    buf_init(&out, 0);
    struct tmpl_options opt = { 0 };
    struct tmpl_run run = { .a = &a };
    struct tmpl_val dot = tmpl_int(1);
    struct tmpl_set *base = tmpl_set_new(&opt, NULL), *over = tmpl_set_new(&opt, base);
    assert_int_equal(tmpl_parse(base, STR("f"),
                                STR("{{ define \"a\" }}A{{ end }}{{ define \"b\" }}[{{ template \"a\" }}]{{ end }}"),
                                NULL),
                     OK);
    assert_int_equal(tmpl_parse(over, STR("g"), STR("{{ define \"a\" }}B{{ end }}"), NULL), OK);
    assert_int_equal(tmpl_exec(over, STR("b"), &dot, &run, &out, NULL), OK);
    assert_true(str_eq(buf_str(&out), STR("[B]")));
    buf_clear(&out);
    assert_int_equal(tmpl_exec(base, STR("b"), &dot, &run, &out, NULL), OK);
    assert_true(str_eq(buf_str(&out), STR("[A]")));
    assert_int_equal(tmpl_exec(base, STR("nope"), &dot, &run, &out, NULL), ERR_NOT_FOUND);
    assert_int_equal(tmpl_parse(base, STR("h"), STR("{{ define \"x\" }}1{{ end }}{{ define \"x\" }}2{{ end }}"), NULL),
                     ERR_PARSE);
    assert_false(tmpl_defined(base, STR("x")));
    tmpl_set_free(over);
    tmpl_set_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(html), cmocka_unit_test(limits), cmocka_unit_test(sets) };
    return cmocka_run_group_tests_name("tmpl", tests, NULL, NULL);
}
