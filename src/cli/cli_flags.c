/* See cli_flags.h. */
#include "cli/cli_flags.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "cli/cli.h"

struct line {
    const char *prog;
    char *options;
    const struct cli_verb *stack[CLI_VERB_DEPTH_MAX];
    size_t depth;
    char **words;
    int n_words, argc;
};

static const struct cli_verb *top(const struct line *l)
{
    return l->stack[l->depth - 1];
}

static int PRINTF_LIKE(2, 3) wrong(const struct line *l, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "%s: error: ", l->prog);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs(", try --help\n", stderr);
    return CLI_FAILED;
}

/* ---- help ---- */
static void print_flags(const struct cli_verb *v)
{
    for (size_t i = 0; i < v->n_flags; i++) {
        const struct cli_flag *f = &v->flags[i];
        char text[64], letter[6] = "    ";
        if (!f->help)
            continue;
        if (f->letter)
            snprintf(letter, sizeof(letter), "-%c, ", f->letter);
        snprintf(text, sizeof(text), "--%s%s", f->name, f->kind == CLI_FLAG_BOOL ? "" : "=VALUE");
        printf("  %s%-28s %s\n", letter, text, f->help);
    }
}

static void print_verbs(const struct cli_verb *v, const char *path)
{
    for (size_t i = 0; i < v->n_subs; i++) {
        char deeper[128];
        snprintf(deeper, sizeof(deeper), "%s%s%s", path, path[0] ? " " : "", v->subs[i].name);
        if (v->subs[i].n_subs)
            print_verbs(&v->subs[i], deeper);
        else
            printf("  %-28s %s\n", deeper, v->subs[i].help);
    }
}

static int print_help(const struct line *l)
{
    printf("usage: %s", l->prog);
    for (size_t i = 1; i < l->depth; i++)
        printf(" %s", l->stack[i]->name);
    printf(" [<flags>]");
    for (int i = 0; i < top(l)->n_args; i++)
        printf(i < top(l)->n_required ? " <%s>" : " [<%s>]", top(l)->args[i]);
    printf("%s\n\n%s\n\nFlags:\n  -h, --help                         Show this.\n", top(l)->n_subs ? " <command>" : "",
           top(l)->help);
    for (size_t i = 0; i < l->depth; i++)
        print_flags(l->stack[i]);
    if (top(l)->n_subs) {
        puts("\nCommands:");
        print_verbs(top(l), "");
    }
    return CLI_OK;
}

/* ---- flags ---- */
static bool descend(struct line *l, const struct cli_verb *v)
{
    ASSERT(l->depth < CLI_VERB_DEPTH_MAX);
    l->stack[l->depth++] = v;
    return true;
}

static bool descend_default(struct line *l)
{
    return top(l)->has_default && descend(l, &top(l)->subs[0]);
}

static const struct cli_flag *find(const struct line *l, str name, char letter)
{
    for (size_t d = 0; d < l->depth; d++)
        for (size_t i = 0; i < l->stack[d]->n_flags; i++) {
            const struct cli_flag *f = &l->stack[d]->flags[i];
            if (letter ? f->letter == letter : str_eq(name, str_c(f->name)))
                return f;
        }
    return NULL;
}

static void store(struct line *l, const struct cli_flag *f, const char *value, bool yes)
{
    void *to = l->options + f->at;
    if (f->kind == CLI_FLAG_BOOL) {
        *(bool *)to = yes;
    } else if (f->kind == CLI_FLAG_TEXT) {
        *(const char **)to = value;
    } else {
        struct cli_list *list = to;
        if (!list->p)
            list->p = mem_zalloc((size_t)l->argc * sizeof(*list->p));
        list->p[list->n++] = value;
    }
}

/* A flag that the verb so far does not have may be one of its default verb. */
static const struct cli_flag *find_deep(struct line *l, str name, char letter)
{
    const struct cli_flag *f;
    while (!(f = find(l, name, letter)) && descend_default(l))
        ;
    return f;
}

static int read_long(struct line *l, char **argv, int *i)
{
    const char *text = argv[*i] + 2, *equals = strchr(text, '=');
    str name = { text, equals ? (size_t)(equals - text) : strlen(text) };
    bool yes = true;
    const struct cli_flag *f = find(l, name, 0);
    if (!f && str_has_prefix(name, STR("no-")) && (f = find_deep(l, str_skip(name, 3), 0)) && f->kind == CLI_FLAG_BOOL)
        yes = false;
    else if (!f)
        f = find_deep(l, name, 0);
    if (!f)
        return wrong(l, "unknown long flag '--" STR_FMT "'", STR_ARG(name));
    if (f->kind == CLI_FLAG_BOOL && equals)
        return wrong(l, "unexpected %s", equals + 1);
    const char *value = equals ? equals + 1 : NULL;
    if (f->kind != CLI_FLAG_BOOL && !value) {
        if (*i + 1 == l->argc)
            return wrong(l, "expected argument for flag '--%s'", f->name);
        value = argv[++*i];
    }
    store(l, f, value, yes);
    return CLI_OK;
}

static int read_short(struct line *l, char **argv, int *i)
{
    for (const char *p = argv[*i] + 1; *p; p++) {
        const struct cli_flag *f = find_deep(l, (str){ 0 }, *p);
        if (!f)
            return wrong(l, "unknown short flag '-%c'", *p);
        if (f->kind == CLI_FLAG_BOOL) {
            store(l, f, NULL, true);
            continue;
        }
        if (!p[1] && *i + 1 == l->argc)
            return wrong(l, "expected argument for flag '-%c'", *p);
        store(l, f, p[1] ? p + 1 : argv[++*i], true);
        break;
    }
    return CLI_OK;
}

/* A verb, or an argument. */
static int read_word(struct line *l, char *word)
{
    while (top(l)->n_subs) {
        for (size_t i = 0; i < top(l)->n_subs; i++)
            if (strcmp(top(l)->subs[i].name, word) == 0) {
                descend(l, &top(l)->subs[i]);
                return CLI_OK;
            }
        if (!descend_default(l))
            return wrong(l, "expected command but got \"%s\"", word);
    }
    const struct cli_verb *v = top(l);
    bool repeats = v->n_args && strstr(v->args[v->n_args - 1], "...");
    if (l->n_words >= v->n_args && !repeats)
        return wrong(l, "unexpected %s", word);
    l->words[l->n_words++] = word;
    return CLI_OK;
}

static int finish(struct line *l)
{
    while (top(l)->n_subs && descend_default(l))
        ;
    const struct cli_verb *v = top(l);
    if (v->n_subs && l->depth == 1) {
        print_help(l);
        return CLI_FAILED;
    }
    if (v->n_subs)
        return wrong(l, "must select a subcommand of '%s'", v->name);
    if (l->n_words < v->n_required) {
        str name = str_c(v->args[l->n_words]);
        if (str_has_suffix(name, STR("...")))
            name.n -= 3;
        return wrong(l, "required argument '" STR_FMT "' not provided", STR_ARG(name));
    }
    return v->run(l->options, l->words, l->n_words);
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "--help-long") == 0;
}

int cli_flags_run(const char *prog, const struct cli_verb *root, void *options, int argc, char **argv)
{
    struct line l = { .prog = prog, .options = options, .stack = { root }, .depth = 1, .argc = argc };
    int code = CLI_OK;
    bool only_words = false, help = false;
    AUTO_FREE char **words = mem_zalloc((size_t)(argc + 1) * sizeof(*words));
    l.words = words;
    for (int i = 1; i < argc && code == CLI_OK; i++) {
        if (only_words || argv[i][0] != '-' || !argv[i][1])
            code = read_word(&l, argv[i]);
        else if (strcmp(argv[i], "--") == 0)
            only_words = true;
        else if (is_help(argv[i]) || (i == 1 && strcmp(argv[i], "help") == 0))
            help = true;
        else if (strcmp(argv[i], "--version") == 0)
            return printf("%s, version %s (vane, revision: %s)\n", prog, cli_version_text, cli_version_revision),
                   CLI_OK;
        else
            code = argv[i][1] == '-' ? read_long(&l, argv, &i) : read_short(&l, argv, &i);
    }
    return code != CLI_OK ? code : help ? print_help(&l) : finish(&l);
}
