/* text/template: the conformance table of go_template. */
#include "tmpl_test.h"

static enum tmpl_missing missing_of(str s)
{
    return str_eq(s, STR("zero"))    ? TMPL_MISSING_ZERO
           : str_eq(s, STR("error")) ? TMPL_MISSING_ERROR
                                     : TMPL_MISSING_DEFAULT;
}

/* Which stage failed: "", "parse" or "exec". */
static const char *render(struct arena *a, const struct jt *row, const struct jt *sets, struct buf *out,
                          struct err_text *why)
{
    struct tmpl_options opt = { .missing = missing_of(jt_str(row, "missingkey")) };
    struct tmpl_run run = { .a = a };
    struct tmpl_set *set = tmpl_set_new(&opt, NULL);
    const char *stage = "";
    str ref = jt_str(row, "data_ref");
    const struct jt *data = ref.p ? jt_get(sets, arena_cstr(a, ref)) : jt_get(row, "data");
    struct tmpl_val dot = val_of_json(a, data);
    if (tmpl_parse(set, STR("t"), jt_str(row, "template"), why) != OK)
        stage = "parse";
    else if (!jt_true(row, "parse_only") && tmpl_exec(set, STR("t"), &dot, &run, out, why) != OK)
        stage = "exec";
    tmpl_set_free(set);
    return stage;
}

static void table(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str text = conformance_file(&a, "go_template/text_template.json");
    str data = conformance_file(&a, "go_template/data_sets.json");
    if (!text.p || !data.p)
        skip();
    struct jt rows = jt_parse(&a, text), sets = jt_parse(&a, data);
    size_t wrong = 0, n = 0;
    assert_true(rows.n > 100);
    jt_each(row, &rows)
    {
        AUTO_BUF struct buf out;
        struct err_text why = { 0 };
        buf_init(&out, 0);
        const char *stage = render(&a, row, &sets, &out, &why);
        bool ok = jt_true(row, "ok");
        str want_stage = ok ? STR("") : jt_str(row, "error_stage");
        bool good = str_eq(str_c(stage), want_stage);
        if (good && ok && !jt_true(row, "parse_only"))
            good = str_eq(buf_str(&out), jt_str(row, "output"));
        if (good && jt_str(row, "partial_output").p)
            good = str_eq(buf_str(&out), jt_str(row, "partial_output"));
        n++;
        if (good)
            continue;
        wrong++;
        print_error("%s: " STR_FMT "\n  got stage '%s' [" STR_FMT "] %s\n  want '" STR_FMT "' [" STR_FMT "] " STR_FMT
                    "\n",
                    arena_cstr(&a, jt_str(row, "id")), STR_ARG(jt_str(row, "template")), stage, STR_ARG(buf_str(&out)),
                    why.msg, STR_ARG(want_stage), STR_ARG(jt_str(row, "output")), STR_ARG(jt_str(row, "go_error")));
    }
    if (wrong)
        fail_msg("%zu of %zu rows are wrong", wrong, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(table) };
    return cmocka_run_group_tests_name("tmpl/text", tests, NULL, NULL);
}
