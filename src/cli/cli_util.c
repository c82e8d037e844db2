/* Messages, tables and progress of the command line; see cli.h. */
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/os.h"
#include "base/vec.h"
#include "cli/cli.h"

int cli_usage(const struct cli_command *c, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "vane %s: ", c->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\nTry `vane %s --help`.\n", c->name);
    return CLI_USAGE;
}

int cli_fail(const char *fmt, ...)
{
    va_list ap;
    fputs("vane: ", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return CLI_FAILED;
}

bool cli_option_ends(const struct cli_command *c, int opt, int *ret_exit)
{
    if (opt == 'h') {
        fputs(c->help, stdout);
        *ret_exit = CLI_OK;
        return true;
    }
    if (opt == '?') {
        fprintf(stderr, "Try `vane %s --help`.\n", c->name);
        *ret_exit = CLI_USAGE;
        return true;
    }
    return false;
}

bool cli_parse_output(const char *text, enum cli_output *ret)
{
    if (strcmp(text, "table") == 0)
        *ret = CLI_TABLE;
    else if (strcmp(text, "json") == 0)
        *ret = CLI_JSON;
    else
        return false;
    return true;
}

struct cli_table {
    struct arena a;
    size_t n_columns;
    size_t *width;
    VEC(str) cells; /* row after row */
};

struct cli_table *cli_table_new(const char *const *heads, size_t n_columns)
{
    struct cli_table *t = mem_zalloc(sizeof(*t));
    arena_init(&t->a, 0);
    t->n_columns = n_columns;
    t->width = arena_zarray(&t->a, size_t, n_columns);
    str *row = arena_array(&t->a, str, n_columns);
    for (size_t i = 0; i < n_columns; i++)
        row[i] = str_c(heads[i]);
    cli_table_row(t, row);
    return t;
}

void cli_table_row(struct cli_table *t, const str *cells)
{
    for (size_t i = 0; i < t->n_columns; i++) {
        t->width[i] = MAX(t->width[i], cells[i].n);
        str cell = arena_str(&t->a, cells[i]);
        for (char *p = (char *)(uintptr_t)cell.p; *p; p++)
            if ((unsigned char)*p < 0x20 || *p == 0x7f) /* a line stays a line, and the cursor where it is */
                *p = ' ';
        avec_push(&t->a, &t->cells, cell);
    }
}

void cli_table_print(struct cli_table *t, FILE *out)
{
    for (size_t i = 0; i < t->cells.n; i++) {
        size_t column = i % t->n_columns;
        bool last = column + 1 == t->n_columns;
        fprintf(out, "%-*s%s", last ? 0 : (int)t->width[column], t->cells.p[i].p, last ? "\n" : "  ");
    }
    arena_deinit(&t->a);
    mem_free(t);
}

void cli_progress_start(struct cli_progress *p, const char *what)
{
    *p = (struct cli_progress){ .what = what, .started_ns = os_mono_ns(), .tty = isatty(STDERR_FILENO) };
}

void cli_progress_at(struct cli_progress *p, double share)
{
    unsigned long long now = os_mono_ns();
    if (!p->tty || now - p->started_ns < 2000000000ull || now - p->shown_ns < 100000000ull)
        return;
    p->shown_ns = now;
    p->shown = true;
    fprintf(stderr, "\r%s %3.0f%% ", p->what, share * 100);
}

struct cli_size cli_size_text(double bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
    struct cli_size s;
    size_t i = 0;
    for (; bytes >= 1024 && i + 1 < ARRAY_LEN(units); i++)
        bytes /= 1024;
    snprintf(s.text, sizeof(s.text), i && bytes < 99.95 ? "%.1f %s" : "%.0f %s", bytes, units[i]);
    return s;
}

void cli_progress_bytes(struct cli_progress *p, unsigned long long done, unsigned long long total)
{
    enum { WIDTH = 24 };
    unsigned long long now = os_mono_ns();
    if (!p->tty || now - p->started_ns < 2000000000ull || now - p->shown_ns < 100000000ull)
        return;
    p->shown_ns = now;
    p->shown = true;
    double seconds = (double)(now - p->started_ns) / 1e9, rate = (double)done / seconds;
    double share = total ? MIN((double)done / (double)total, 1) : 1;
    char bar[WIDTH + 1], left[40] = "";
    for (int i = 0; i < WIDTH; i++)
        bar[i] = i < (int)(share * WIDTH) ? '=' : i == (int)(share * WIDTH) ? '>' : ' ';
    bar[WIDTH] = 0;
    if (rate > 0 && done < total)
        snprintf(left, sizeof(left), "  %.0f s left", (double)(total - done) / rate);
    fprintf(stderr, "\r\033[K%s [%s] %3.0f%%  %s of %s  %s/s%s", p->what, bar, share * 100,
            cli_size_text((double)done).text, cli_size_text((double)total).text, cli_size_text(rate).text, left);
}

void cli_progress_end(struct cli_progress *p)
{
    if (p->shown)
        fprintf(stderr, "\r\033[K");
    p->shown = false;
}
