// RE2 behind C functions; see rx.h. No exception leaves this file: RE2 does not throw, and allocation
// failure ends the process as everywhere else.
#include <re2/re2.h>
#include <re2/set.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

extern "C" {
#include "base/err.h"
}

// base/buf.h and friends are C headers with C idioms (compound literals); declare what is needed here.
extern "C" {
typedef struct str {
    const char *p;
    size_t n;
} str;
struct rx_info {
    str prefix;
    const str *set;
    size_t n_set;
    bool matches_empty;
};
struct rx;
struct buf;
enum err rx_compile(str pattern, bool anchored, struct rx **ret, struct err_text *reterr);
void rx_free(struct rx *rx);
bool rx_match(const struct rx *rx, str text);
bool rx_find(const struct rx *rx, str text, size_t start, str *groups, size_t n_groups);
size_t rx_n_groups(const struct rx *rx);
str rx_group_name(const struct rx *rx, size_t i);
const struct rx_info *rx_info(const struct rx *rx);
int rx_group_index(const struct rx *rx, str name);
bool rx_literal_set_(const char *pattern, size_t n, void (*add)(void *, const char *, size_t), void *ctx);
}

namespace {
constexpr size_t PATTERN_BYTES_MAX = 65536;
constexpr size_t GROUPS_MAX = 100;
constexpr size_t MEM_MAX = 8 << 20;

// Go accepts (?<name>...) since 1.22; this RE2 knows (?P<name>...) only. Escapes and classes are stepped over.
bool rewrite(str in, std::string *out, std::string *error)
{
    bool in_class = false;
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (c == '\\' && i + 1 < in.n) {
            if (in.p[i + 1] == 'C') {
                *error = "invalid escape sequence: \\C";
                return false;
            }
            if (in.p[i + 1] == 'Q') { // a literal run up to \E
                size_t end = i + 2;
                while (end < in.n && !(in.p[end] == '\\' && end + 1 < in.n && in.p[end + 1] == 'E'))
                    end++;
                end = end < in.n ? end + 2 : in.n;
                out->append(in.p + i, end - i);
                i = end - 1;
                continue;
            }
            out->append(in.p + i, 2);
            i++;
            continue;
        }
        if (in_class) {
            in_class = c != ']' || in.p[i - 1] == '[' || (in.p[i - 1] == '^' && i >= 2 && in.p[i - 2] == '[');
        } else if (c == '[') {
            in_class = true;
        } else if (c == '(' && i + 3 < in.n && in.p[i + 1] == '?' && in.p[i + 2] == '<' && in.p[i + 3] != '=' &&
                   in.p[i + 3] != '!') {
            out->append("(?P<");
            i += 2;
            continue;
        }
        out->push_back(c);
    }
    return true;
}
} // namespace

struct rx {
    std::unique_ptr<re2::RE2> re;
    std::map<int, std::string> names;
    bool anchored = false;
    std::string prefix;
    std::vector<std::string> set_text;
    std::vector<str> set;
    struct rx_info info{};
};

static void add_literal(void *ctx, const char *p, size_t n)
{
    static_cast<rx *>(ctx)->set_text.emplace_back(p, n);
}

static void learn(rx *r, str pattern)
{
    if (r->anchored && rx_literal_set_(pattern.p, pattern.n, add_literal, r)) {
        for (const auto &t : r->set_text)
            r->set.push_back(str{ t.data(), t.size() });
        r->info.set = r->set.data();
        r->info.n_set = r->set.size();
    } else {
        r->set_text.clear();
    }
    if (r->anchored) {
        std::string lo, hi; // the range of all matches: their common prefix
        if (r->re->PossibleMatchRange(&lo, &hi, 64)) {
            size_t n = 0;
            while (n < lo.size() && n < hi.size() && lo[n] == hi[n])
                n++;
            r->prefix = lo.substr(0, n);
        }
    }
    r->info.prefix = str{ r->prefix.data(), r->prefix.size() };
    r->info.matches_empty = rx_match(r, str{ "", 0 });
}

enum err rx_compile(str pattern, bool anchored, struct rx **ret, struct err_text *reterr)
{
    if (pattern.n > PATTERN_BYTES_MAX)
        return err_fail(reterr, ERR_LIMIT, "regular expression of %zu bytes (at most %zu)", pattern.n, PATTERN_BYTES_MAX);
    std::string text, error;
    if (!rewrite(pattern, &text, &error))
        return err_fail(reterr, ERR_PARSE, "error parsing regexp: %s", error.c_str());
    re2::RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(MEM_MAX);
    options.set_dot_nl(anchored);
    auto r = std::make_unique<rx>();
    r->anchored = anchored;
    r->re = std::make_unique<re2::RE2>(text, options);
    if (!r->re->ok())
        return err_fail(reterr, ERR_PARSE, "error parsing regexp: %s", r->re->error().c_str());
    if (static_cast<size_t>(r->re->NumberOfCapturingGroups()) > GROUPS_MAX)
        return err_fail(reterr, ERR_LIMIT, "regular expression has more than %zu groups", GROUPS_MAX);
    r->names = r->re->CapturingGroupNames();
    learn(r.get(), pattern);
    *ret = r.release();
    return OK;
}

void rx_free(struct rx *r)
{
    delete r;
}

bool rx_match(const struct rx *r, str text)
{
    re2::StringPiece in(text.p ? text.p : "", text.n);
    return r->re->Match(in, 0, text.n, r->anchored ? re2::RE2::ANCHOR_BOTH : re2::RE2::UNANCHORED, nullptr, 0);
}

bool rx_find(const struct rx *r, str text, size_t start, str *groups, size_t n_groups)
{
    re2::StringPiece sub[GROUPS_MAX + 1];
    if (n_groups > GROUPS_MAX + 1)
        n_groups = GROUPS_MAX + 1;
    size_t have = static_cast<size_t>(r->re->NumberOfCapturingGroups()) + 1;
    re2::StringPiece in(text.p ? text.p : "", text.n);
    if (start > text.n || !r->re->Match(in, start, text.n, r->anchored ? re2::RE2::ANCHOR_BOTH : re2::RE2::UNANCHORED,
                                        sub, static_cast<int>(n_groups < have ? n_groups : have)))
        return false;
    for (size_t i = 0; i < n_groups; i++)
        groups[i] = i < have && sub[i].data() ? str{ sub[i].data(), sub[i].size() } : str{ nullptr, 0 };
    return true;
}

size_t rx_n_groups(const struct rx *r)
{
    return static_cast<size_t>(r->re->NumberOfCapturingGroups());
}

str rx_group_name(const struct rx *r, size_t i)
{
    auto at = r->names.find(static_cast<int>(i));
    return at == r->names.end() ? str{ nullptr, 0 } : str{ at->second.data(), at->second.size() };
}

int rx_group_index(const struct rx *r, str name)
{
    auto at = r->re->NamedCapturingGroups().find(std::string(name.p, name.n));
    return at == r->re->NamedCapturingGroups().end() ? -1 : at->second;
}

const struct rx_info *rx_info(const struct rx *r)
{
    return &r->info;
}
