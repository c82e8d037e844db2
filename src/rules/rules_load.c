#include <glob.h>

#include "rules/rules_manager_int.h"
#include "rules/rules_packs.h"
#include "rules/rules_verdict.h"

void rules_load_ref(struct rules_load *l)
{
    atomic_fetch_add(&l->refs, 1);
}

void rules_load_unref(struct rules_load *l)
{
    if (!l || atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    for (size_t i = 0; i < l->files.n; i++)
        rules_file_release(l->files.p[i]);
    conf_ctx_release(&l->cx);
    arena_deinit(&l->a);
    mem_free(l);
}

size_t rules_load_n_rules(const struct rules_load *l)
{
    size_t n = 0;
    for (size_t i = 0; i < l->files.n; i++)
        for (size_t g = 0; g < l->files.p[i]->n_groups; g++)
            n += l->files.p[i]->groups[g].n_rules;
    return n;
}

static bool read_already(const struct rules_load *l, str path)
{
    for (size_t i = 0; i < l->files.n; i++)
        if (str_eq(l->files.p[i]->path, path))
            return true;
    return false;
}

static void read_one(struct rules_load *l, const char *path, const struct rules_options *opt)
{
    if (read_already(l, str_c(path)))
        return;
    if (l->files.n == RULES_FILES_MAX) {
        IGNORE_ERR(conf_error(&l->cx, NULL, "more than %u rule files", RULES_FILES_MAX));
        return;
    }
    struct rule_file *f = arena_new(&l->a, struct rule_file);
    IGNORE_ERR(rules_file_load(&l->cx, arena_cstr(&l->a, str_c(path)), opt, f)); /* told in cx */
    avec_push(&l->a, &l->files, f);
}

static void read_pattern(struct rules_load *l, str pattern, const struct rules_options *opt)
{
    glob_t found = { 0 };
    const char *p = arena_cstr(&l->a, pattern);
    int rc = glob(p, 0, NULL, &found);
    if (rc == GLOB_NOMATCH)
        conf_warn(&l->cx, NULL, "rule_files: no file matches %s", p);
    else if (rc != 0)
        IGNORE_ERR(conf_error(&l->cx, NULL, "rule_files: %s cannot be read", p));
    for (size_t i = 0; rc == 0 && i < found.gl_pathc && l->cx.n_errors < CONF_DIAGS_MAX; i++)
        read_one(l, found.gl_pathv[i], opt);
    globfree(&found);
}

static void read_pack(struct rules_load *l, str name, const struct rules_options *opt)
{
    const struct rule_text *pack = rules_pack_find(name);
    str near = pack ? STR_NONE : rules_pack_nearest(name), path = arena_printf(&l->a, "pack:" STR_FMT, STR_ARG(name));
    if (!pack) {
        IGNORE_ERR(conf_error(&l->cx, NULL,
                              "rule_packs: there is no pack " STR_FMT "%s" STR_FMT " (`vane rules packs` lists them)",
                              STR_ARG(name), near.n ? "; did you mean " : "", STR_ARG(near)));
        return;
    }
    if (read_already(l, path))
        return;
    struct rule_file *f = arena_new(&l->a, struct rule_file);
    IGNORE_ERR(rules_file_parse(&l->cx, path, pack->text, opt, f)); /* told in cx */
    avec_push(&l->a, &l->files, f);
}

/* The group that tells of absent data and failing rules, if any rule asks for it. */
static void read_verdicts(struct rules_load *l, unsigned features)
{
    struct rule_file *f = arena_new(&l->a, struct rule_file);
    struct err_text why;
    if (rules_verdicts_file(&l->a, l->files.p, l->files.n, features, f, &why) != OK)
        IGNORE_ERR(conf_error(&l->cx, NULL, "on_absent, on_error: %s", why.msg));
    if (f->n_groups)
        avec_push(&l->a, &l->files, f);
}

enum err rules_load(const struct rules_settings *s, struct rules_load **ret, struct buf *report,
                    struct err_text *reterr)
{
    struct rules_load *l = mem_zalloc(sizeof(*l));
    enum err e = OK;
    atomic_init(&l->refs, 1);
    arena_init(&l->a, 0);
    l->cx = conf_ctx_init(&l->a, fs_os());
    for (size_t i = 0; i < s->n_patterns; i++)
        read_pattern(l, s->patterns[i], &s->read);
    for (size_t i = 0; i < s->n_packs; i++)
        read_pack(l, s->packs[i], &s->read);
    read_verdicts(l, s->read.features);
    if (report)
        conf_diags_print(report, &l->cx);
    if (l->cx.n_errors) {
        conf_first_error(&l->cx, reterr);
        e = ERR_INVALID;
    }
    l->env.external_labels = labels_copy(&l->a, s->external_labels);
    l->env.external_url = arena_str(&l->a, s->external_url);
    l->env.default_interval_ms = s->interval_ms;
    l->env.default_query_offset_ms = s->query_offset_ms;
    if (e)
        rules_load_unref(l);
    else
        *ret = l;
    return e;
}
