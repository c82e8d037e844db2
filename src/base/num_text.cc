// std::to_chars / std::from_chars behind C functions; see num_text.h.
#include "base/num_text.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>

size_t num_text_sci(char *out, double v)
{
    auto r = std::to_chars(out, out + 32, v, std::chars_format::scientific);
    return static_cast<size_t>(r.ptr - out);
}

size_t num_text_parse(const char *p, const char *end, bool hex, double *ret, bool *ret_range)
{
    double v = 0;
    auto r = std::from_chars(p, end, v, hex ? std::chars_format::hex : std::chars_format::general);
    *ret_range = r.ec == std::errc::result_out_of_range;
    if (r.ec == std::errc::invalid_argument)
        return 0;
    if (*ret_range) { // from_chars leaves v alone: strtod tells overflow from underflow
        std::string text(hex ? "0x" : "");
        text.append(p, r.ptr);
        v = std::strtod(text.c_str(), nullptr);
    }
    *ret = v;
    return static_cast<size_t>(r.ptr - p);
}
