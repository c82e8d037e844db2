/* amtool check-config, and config routes show and test: of a file, or of the server's configuration. */
#include <glob.h>
#include <string.h>

#include "base/vec.h"
#include "cli/cli_am.h"
#include "cli/cli_amtool.h"
#include "tmpl/tmpl.h"

/* ---- check-config ---- */
static int check_templates(const struct am_config *c)
{
    struct err_text why = { 0 };
    printf("Found %zu templates: ", c->templates.n);
    if (!c->templates.n) {
        putchar('\n');
        return 0;
    }
    for (int html = 0; html < 2; html++) {
        struct tmpl_set *set = NULL;
        if (am_config_templates(c, html, &set, &why) != OK) {
            printf("  FAILED: %s\n", why.msg);
            return 1;
        }
        tmpl_set_free(set);
    }
    puts("  SUCCESS");
    return 0;
}

int amtool_check_config(void *options, char **words, int n)
{
    int failed = 0;
    (void)options;
    for (int i = 0; i < n; i++) {
        AUTO_BUF struct buf report = { 0 };
        struct am_config *c = NULL;
        struct err_text why = { 0 };
        printf("Checking '%s'", words[i]);
        if (am_config_load(words[i], &c, &report, &why) != OK) {
            buf_u8(&report, 0);
            printf("  FAILED: %s\n", report.n > 1 ? report.p : why.msg);
            failed++;
        } else {
            printf("  SUCCESS\nFound:\n - global config\n - route\n - %zu inhibit rules\n - %zu receivers\n",
                   c->inhibit.n, c->receivers.n);
            failed += check_templates(c);
        }
        am_config_unref(c);
        putchar('\n');
    }
    return failed ? amtool_fail("failed to validate %d file(s)", failed) : CLI_OK;
}

/* ---- the configuration whose routes are meant ---- */
static struct am_config *of_file(const char *path)
{
    AUTO_BUF struct buf report = { 0 };
    struct am_config *c = NULL;
    struct err_text why = { 0 };
    if (am_config_load(path, &c, &report, &why) == OK)
        return c;
    amtool_fail("%s: %s", path, why.msg);
    return NULL;
}

/* The server hides secrets as <secret>: where one is a URL that is no error here. */
static struct am_config *of_server(const struct amtool *t)
{
    struct cli_http h = { 0 };
    struct am_config *c = NULL;
    json_t *doc = NULL;
    struct err_text why = { 0 };
    if (!amtool_open(t, &h))
        return NULL;
    if (cli_http_ask(&h, HTTP_GET, "/api/v2/status", NULL, &doc)) {
        str text = str_c(cli_json_text(json_object_get(doc, "config"), "original"));
        if (am_config_parse(STR("the server's configuration"), text, &c, NULL, &why) != OK)
            amtool_fail("%s", why.msg);
    }
    json_decref(doc);
    cli_http_close(&h);
    return c;
}

static struct am_config *config(const struct amtool *t)
{
    return t->config_file ? of_file(t->config_file) : of_server(t);
}

/* ---- trees ---- */
static void print_slug(const struct am_route *r, bool goes_on, bool receiver)
{
    AUTO_BUF struct buf b = { 0 };
    am_matchers_print(&b, &r->matchers);
    printf(STR_FMT, STR_ARG(r->matchers.n ? buf_str(&b) : STR("default-route")));
    if (goes_on && r->goes_on)
        printf("  continue: true");
    if (receiver)
        printf("  receiver: " STR_FMT, STR_ARG(r->receiver));
    if (receiver && r->n_group_by) {
        printf("  grouping: [");
        for (size_t i = 0; i < r->n_group_by; i++)
            printf("%s" STR_FMT, i ? "," : "", STR_ARG(r->group_by[i]));
        putchar(']');
    }
    putchar('\n');
}

struct drawing {
    struct arena a;
    const uint8_t *steps; /* of tested labels; NULL: all is drawn */
};

static bool drawn(const struct drawing *d, const struct am_route *r)
{
    return !d->steps || d->steps[r->index] == AM_ROUTE_PASSED || d->steps[r->index] == AM_ROUTE_TAKEN;
}

static void draw(struct drawing *d, const struct am_route *r, str indent, bool last)
{
    printf("%s%s", indent.p, last ? "└── " : "├── ");
    print_slug(r, !d->steps, !d->steps || d->steps[r->index] == AM_ROUTE_TAKEN);
    str deeper = arena_printf(&d->a, "%s%s", indent.p, last ? "    " : "│   ");
    size_t end = 0;
    for (size_t i = 0; i < r->n_routes; i++)
        if (drawn(d, r->routes[i]))
            end = i + 1;
    for (size_t i = 0; i < end; i++) /* depth: am_route_conf bounds it */
        if (drawn(d, r->routes[i]))
            draw(d, r->routes[i], deeper, i + 1 == end);
}

static void print_tree(const char *title, const struct am_config *c, const uint8_t *steps)
{
    struct drawing d = { .steps = steps };
    arena_init(&d.a, 0);
    printf("%s\n.\n", title);
    draw(&d, c->route, STR(""), true);
    puts(steps ? "\n" : "");
    arena_deinit(&d.a);
}

int amtool_routes_show(void *options, char **words, int n)
{
    struct am_config *c = config(options);
    (void)words, (void)n;
    if (!c)
        return CLI_FAILED;
    print_tree("Routing tree:", c, NULL);
    am_config_unref(c);
    return CLI_OK;
}

static bool read_labels(struct arena *a, char **words, int n, struct labels *ret)
{
    struct label_builder b;
    bool ok = true;
    lb_init(&b, a);
    lb_reset(&b, LABELS_NONE);
    for (int i = 0; i < n && ok; i++) {
        struct am_matchers m = { .p = arena_array(a, struct am_matcher, 1) };
        struct err_text why;
        if (am_matcher_parse(a, str_c(words[i]), AM_FALLBACK, m.p, &why) != OK) {
            amtool_fail("Failed to parse labels: %s", why.msg);
            return false;
        }
        m.n = 1;
        ok = m.p->type == AM_EQ;
        if (ok)
            lb_set(&b, m.p->name, m.p->value);
        else
            amtool_fail("Labels must be specified as key=value pairs");
        am_matchers_free(&m);
    }
    *ret = lb_labels(&b);
    return ok;
}

int amtool_routes_test(void *options, char **words, int n)
{
    const struct amtool *t = options;
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf names = { 0 };
    struct labels ls;
    arena_init(&a, 0);
    struct am_config *c = config(t);
    if (!c)
        return CLI_FAILED;
    int code = CLI_FAILED;
    if (read_labels(&a, words, n, &ls)) {
        uint8_t *steps = arena_zarray(&a, uint8_t, c->n_routes);
        const struct am_route **found = arena_array(&a, const struct am_route *, c->n_routes);
        size_t n_found = am_route_match(c->route, ls, found, c->n_routes);
        am_route_explain(c->route, ls, steps);
        if (t->tree)
            print_tree("Matching routes:", c, steps);
        for (size_t i = 0; i < n_found; i++)
            buf_printf(&names, "%s" STR_FMT, i ? "," : "", STR_ARG(found[i]->receiver));
        printf(STR_FMT "\n", STR_ARG(buf_str(&names)));
        code = CLI_OK;
        if (t->verify_receivers && !str_eq(str_c(t->verify_receivers), buf_str(&names))) {
            puts("WARNING: Expected receivers did not match resolved receivers.");
            code = CLI_FAILED;
        }
    }
    am_config_unref(c);
    return code;
}
