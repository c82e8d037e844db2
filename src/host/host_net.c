/* Network devices (/proc/net/dev), sockets (/proc/net/sockstat). */
#include "host/host_int.h"

#include "base/check.h"

enum err host_netdev(struct host *h)
{
    static const char *const names[] = {
        "receive_bytes",  "receive_packets",  "receive_errs",       "receive_drop",
        "receive_fifo",   "receive_frame",    "receive_compressed", "receive_multicast",
        "transmit_bytes", "transmit_packets", "transmit_errs",      "transmit_drop",
        "transmit_fifo",  "transmit_colls",   "transmit_carrier",   "transmit_compressed",
    };
    str rest, line;
    TRY(host_read(h, "/proc/net/dev", &rest));
    while (host_line(&rest, &line)) {
        size_t colon = str_find_char(line, ':');
        if (colon == SIZE_MAX)
            continue;
        str device = str_trim(str_take(line, colon));
        line = str_skip(line, colon + 1);
        double v;
        for (size_t i = 0; i < ARRAY_LEN(names) && host_word_f64(&line, &v); i++)
            host_put(h, arena_printf(h->a, "node_network_%s_total", names[i]).p, METRIC_COUNTER,
                     arena_printf(h->a, "Network device statistic %s.", names[i]).p, v, HL("device", device));
    }
    return OK;
}

/* "TCP: inuse 27 orphan 1 tw 23 alloc 31 mem 1" */
enum err host_sockstat(struct host *h)
{
    str rest, line, protocol, field;
    TRY(host_read(h, "/proc/net/sockstat", &rest));
    while (host_line(&rest, &line)) {
        double v;
        if (!host_word(&line, &protocol) || protocol.p[protocol.n - 1] != ':')
            continue;
        protocol.n--;
        while (host_word(&line, &field) && host_word_f64(&line, &v))
            host_put0(h, arena_printf(h->a, "node_sockstat_" STR_FMT "_" STR_FMT, STR_ARG(protocol), STR_ARG(field)).p,
                      METRIC_GAUGE,
                      arena_printf(h->a, "Number of " STR_FMT " sockets in state " STR_FMT ".", STR_ARG(protocol),
                                   STR_ARG(field))
                          .p,
                      v);
    }
    return OK;
}
