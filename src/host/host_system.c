/* Facts about the machine: uname, os-release, time, file descriptors, conntrack, entropy. */
#include "host/host_int.h"

#include <sys/utsname.h>

#include "base/check.h"
#include "base/num.h"

static void put_file_number(struct host *h, const char *path, const char *name, const char *help)
{
    str text;
    double v;
    if (host_read(h, path, &text) == OK && num_parse_f64(str_trim(text), &v))
        host_put0(h, name, METRIC_GAUGE, help, v);
}

static str os_release_field(str text, str key)
{
    str line, name;
    while (host_line(&text, &line)) {
        if (!str_cut(&line, '=', &name) || !str_eq(name, key))
            continue;
        if (line.n >= 2 && line.p[0] == '"')
            line = str_n(line.p + 1, line.n - 2);
        return line;
    }
    return STR("");
}

static void put_uname(struct host *h)
{
    struct utsname *u = arena_new(h->a, struct utsname);
    if (uname(u) != 0)
        return;
    host_put(h, "node_uname_info", METRIC_GAUGE, "Labeled system information as provided by the uname system call.", 1,
             HL("sysname", str_c(u->sysname)), HL("release", str_c(u->release)), HL("version", str_c(u->version)),
             HL("machine", str_c(u->machine)), HL("nodename", str_c(u->nodename)),
             HL("domainname", str_c(u->domainname)));
}

enum err host_system(struct host *h)
{
    str text;
    double allocated, unused, maximum;
    put_uname(h);
    if (host_read(h, "/etc/os-release", &text) == OK)
        host_put(h, "node_os_info", METRIC_GAUGE,
                 "A metric with a constant '1' value labeled by build_id, id and version.", 1,
                 HL("id", os_release_field(text, STR("ID"))), HL("name", os_release_field(text, STR("NAME"))),
                 HL("pretty_name", os_release_field(text, STR("PRETTY_NAME"))),
                 HL("version_id", os_release_field(text, STR("VERSION_ID"))));
    host_put0(h, "node_time_seconds", METRIC_GAUGE, "System time in seconds since epoch (1970).",
              (double)h->ts_ms / 1000);
    if (host_read(h, "/proc/sys/fs/file-nr", &text) == OK && (text = str_trim(text), true) &&
        host_word_f64(&text, &allocated) && host_word_f64(&text, &unused) && host_word_f64(&text, &maximum)) {
        host_put0(h, "node_filefd_allocated", METRIC_GAUGE, "File descriptor statistics: allocated.", allocated);
        host_put0(h, "node_filefd_maximum", METRIC_GAUGE, "File descriptor statistics: maximum.", maximum);
    }
    put_file_number(h, "/proc/sys/kernel/random/entropy_avail", "node_entropy_available_bits",
                    "Bits of available entropy.");
    put_file_number(h, "/proc/sys/net/netfilter/nf_conntrack_count", "node_nf_conntrack_entries",
                    "Number of currently allocated flow entries for connection tracking.");
    put_file_number(h, "/proc/sys/net/netfilter/nf_conntrack_max", "node_nf_conntrack_entries_limit",
                    "Maximum size of connection tracking table.");
    return OK;
}
