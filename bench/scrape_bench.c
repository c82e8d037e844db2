/* The scrape's hot path without the network: exposition text -> cache -> batch for the store; CPU nanoseconds per sample as
 * JSON to stdout. `first` has an empty cache, `again` is every scrape after it. */
#include <stdio.h>

#include "base/os.h"
#include "scrape/scrape_int.h"

static enum err sink_append(struct scrape_sink *sink, const struct batch *b)
{
    static uint64_t next;
    (void)sink;
    for (size_t i = 0; i < b->series.n; i++)
        if (!*b->series.p[i].ref)
            *b->series.p[i].ref = ++next;
    return OK;
}

static void exposition(struct buf *b, unsigned families, unsigned series, unsigned round)
{
    for (unsigned f = 0; f < families; f++) {
        buf_printf(b,
                   "# HELP http_requests_%u_total Requests by method, route and code.\n# TYPE http_requests_%u_total "
                   "counter\n",
                   f, f);
        for (unsigned s = 0; s < series; s++)
            buf_printf(b, "http_requests_%u_total{method=\"GET\",route=\"/api/v1/items/%u\",code=\"%u\"} %u\n", f, s,
                       200 + s % 5, s * 17 + round * (f % 7));
    }
}

static double scrape_once(struct target *t, struct arena *scratch, str body, struct scrape_outcome *o)
{
    t->body = mem_dup(body);
    t->content_type = mem_dup(STR("text/plain; version=0.0.4"));
    t->status = 200;
    t->scrape_ms += 15000;
    arena_reset(scratch);
    uint64_t start = os_cpu_ns();
    target_process(t, scratch, o);
    double ns = (double)(os_cpu_ns() - start);
    mem_free((void *)(uintptr_t)t->body.p);
    mem_free((void *)(uintptr_t)t->content_type.p);
    t->body = t->content_type = STR_NONE;
    return ns / (double)o->scraped;
}

int main(void)
{
    struct scrape_sink sink = { sink_append };
    static struct scrape s;
    s.sink = &sink;
    s.clock = os_clock();
    struct prom_config *prom;
    struct scrape_outcome o;
    struct arena a, scratch;
    arena_init(&a, 0);
    arena_init(&scratch, 0);
    enum err e = prom_config_parse(
        STR("b.yml"),
        STR("scrape_configs:\n- job_name: bench\n  metric_relabel_configs: [{regex: pod, action: labeldrop}]\n"), &prom,
        NULL, NULL);
    ASSERT(e == OK);
    struct spool pool = { .prom = prom, .cfg = &prom->scrape_configs.p[0] };
    struct label label = { STR("__address__"), STR("h:80") };
    struct target_spec spec;
    target_populate(&a, pool.cfg, 0, (struct labels){ &label, 1 }, &spec);
    struct target *t = target_new(&s, &pool, &spec);
    struct buf body;
    buf_init(&body, 0);
    exposition(&body, 100, 100, 0);
    double first = scrape_once(t, &scratch, buf_str(&body), &o), again = 0;
    enum { ROUNDS = 50 };
    for (unsigned r = 1; r <= ROUNDS; r++) {
        buf_clear(&body);
        exposition(&body, 100, 100, r);
        again += scrape_once(t, &scratch, buf_str(&body), &o) / ROUNDS;
    }
    ASSERT(o.error[0] == 0);
    printf("{\"bench\": \"scrape\", \"samples\": %zu, \"bytes_per_sample\": %.1f, \"first_ns_per_sample\": %.1f, "
           "\"again_ns_per_sample\": %.1f}\n",
           o.scraped, (double)body.n / (double)o.scraped, first, again);
    buf_deinit(&body);
    target_unref(t);
    prom_config_unref(prom);
    arena_deinit(&a);
    arena_deinit(&scratch);
    return 0;
}
