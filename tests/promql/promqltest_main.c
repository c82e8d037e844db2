/* promqltest [options] FILE|FOLDER...: runs promqltest scripts, prints "N passed, N failed" per file and in all.
 * Exit status: 0 all passed, 1 something failed, 77 nothing was there to run. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/vec.h"
#include "promqltest.h"

struct files {
    VEC(char *) v;
};

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_path(struct files *f, const char *path)
{
    DIR *d = opendir(path);
    if (!d) {
        FILE *probe = fopen(path, "rb");
        if (probe) {
            fclose(probe);
            vec_push(&f->v, mem_strdup(str_c(path)));
        } else {
            printf("# %s: not there, left out\n", path);
        }
        return;
    }
    for (struct dirent *e; (e = readdir(d));) {
        if (!str_has_suffix(str_c(e->d_name), STR(".test")))
            continue;
        char full[4096];
        snprintf(full, sizeof(full), "%s/%s", path, e->d_name);
        vec_push(&f->v, mem_strdup(str_c(full)));
    }
    closedir(d);
}

static const struct {
    const char *name;
    unsigned bit;
} features[] = {
    { "experimental-functions", PROMQL_EXPERIMENTAL_FUNCTIONS },
    { "duration-expr", PROMQL_DURATION_EXPR },
    { "extended-range", PROMQL_EXTENDED_RANGE },
    { "fill", PROMQL_FILL },
    { "type-and-unit", PROMQL_TYPE_AND_UNIT },
    { "delayed-name-removal", PROMQL_DELAYED_NAME_REMOVAL },
    { "start-timestamps", PROMQL_START_TIMESTAMPS },
};

static int usage(void)
{
    printf("usage: promqltest [-q] [-v] [--once] [--threads N] [--with FEATURE]... [--without FEATURE]... "
           "FILE|FOLDER...\nfeatures:");
    for (size_t i = 0; i < sizeof(features) / sizeof(*features); i++)
        printf(" %s", features[i].name);
    printf("\n");
    return 2;
}

static bool switch_feature(struct promqltest_options *o, const char *name, bool on)
{
    for (size_t i = 0; i < sizeof(features) / sizeof(*features); i++) {
        if (strcmp(features[i].name, name) == 0) {
            o->features = on ? o->features | features[i].bit : o->features & ~features[i].bit;
            return true;
        }
    }
    return false;
}

static bool parse_args(int argc, char **argv, struct promqltest_options *o, unsigned *threads, struct files *f)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "-q") == 0)
            o->quiet = true;
        else if (strcmp(a, "-v") == 0)
            o->verbose = true;
        else if (strcmp(a, "--once") == 0)
            o->no_variants = true;
        else if (strcmp(a, "--threads") == 0 && i + 1 < argc)
            *threads = (unsigned)atoi(argv[++i]);
        else if (strcmp(a, "--without") == 0 && i + 1 < argc && switch_feature(o, argv[i + 1], false))
            i++;
        else if (strcmp(a, "--with") == 0 && i + 1 < argc && switch_feature(o, argv[i + 1], true))
            i++;
        else if (a[0] == '-')
            return false;
        else
            add_path(f, a);
    }
    return true;
}

int main(int argc, char **argv)
{
    struct promqltest_options o;
    struct files f = { 0 };
    struct promqltest_counts all = { 0 };
    unsigned threads = 0;
    promqltest_options_defaults(&o);
    if (argc < 2 || !parse_args(argc, argv, &o, &threads, &f))
        return usage();
    if (f.v.n == 0)
        return 77;
    if (threads && pool_open("promqltest", threads, 64, &o.pool) != OK)
        return 2;
    qsort(f.v.p, f.v.n, sizeof(*f.v.p), compare_paths);
    for (size_t i = 0; i < f.v.n; i++) {
        char *path = f.v.p[i];
        struct promqltest_counts c = { 0 };
        if (promqltest_run_file(path, &o, &c) != OK) {
            printf("%s: cannot be read\n", path);
            c.failed++;
        }
        printf("%s: %zu passed, %zu failed\n", path, c.passed, c.failed);
        all.passed += c.passed;
        all.failed += c.failed;
        mem_free(path);
    }
    vec_free(&f.v);
    if (o.pool)
        pool_close(o.pool);
    printf("%zu passed, %zu failed\n", all.passed, all.failed);
    return all.failed ? 1 : 0;
}
