#!/usr/bin/env python3
"""Manual pages of libvane out of its headers: manpages.py INCLUDE_VANE FOLDER VERSION.

Each header is a page of section 3, vane_NAME.3: its opening comment is the description, every declaration follows with the
comment above it. Each function has a page of its own that leads there. vane.h is libvane.7. Names that end in an
underscore are the macros' own and have none. meson install runs this; nothing it writes is kept in the repository."""
import os
import pathlib
import re
import sys
import time

DATE = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
STYLE = [".nh", ".ad l"]  # identifiers are neither divided nor drawn out
PAGES = ["core", "config", "metrics", "trace", "propagate", "log", "health", "event", "profile", "http", "export"]


def plain_c(text):
    """The header as a C compiler with GNU extensions sees it: other branches of conditionals are gone, and the guards."""
    out, stack = [], []
    for line in text.splitlines():
        if m := re.match(r"#\s*(ifndef|ifdef|if)\b(.*)", line):
            what = m.group(2)
            here = m.group(1) == "ifndef" or ("__GNUC__" in what and "!defined(__GNUC__)" not in what) and "defined(__cplusplus) " not in what
            stack.append((here, here))
        elif re.match(r"#\s*(else|elif)\b", line):
            stack[-1] = (not stack[-1][1], True)
        elif re.match(r"#\s*endif\b", line):
            stack.pop()
        elif all(on for on, _ in stack):
            out.append(line)
    return "\n".join(out)


def comment_lines(text):
    """A comment's lines without its stars, and its paragraphs' own indentation kept."""
    text = text.strip()[2:-2]
    lines = [re.sub(r"^ \* ?", "", line) for line in text.splitlines()]
    lines[0] = lines[0].removeprefix(" ")
    return [line.rstrip() for line in lines]


def pieces(text):
    """(kind, text) of a header: comment, section, code."""
    lines, at, code = text.splitlines(), 0, []
    while at < len(lines):
        line = lines[at]
        if line.startswith("/*"):
            if code:
                yield "code", "\n".join(code)
                code = []
            end = at
            while "*/" not in lines[end]:
                end += 1
            body = "\n".join(lines[at:end + 1])
            m = re.match(r"/\* -+ (.*?) -+ \*/", body)
            yield ("section", m.group(1)) if m else ("comment", body)
            at = end
        elif not line.strip():
            depth = sum(x.count("{") - x.count("}") for x in code)
            if code and depth == 0:
                yield "code", "\n".join(code)
                yield "gap", ""
                code = []
            elif code:
                code.append("")
            elif not code:
                yield "gap", ""
        else:
            code.append(line)
        at += 1
    if code:
        yield "code", "\n".join(code)


def declarations(code):
    """The declarations of a piece of code, each as it is to be shown; and the names of functions and macros they declare."""
    shown, names = [], []
    text = re.sub(r'^(extern "C" \{|\} /\* extern "C" \*/|#include .*|#undef .*|\}$)$', "", code, flags=re.M) if "VANE_API" not in code and "typedef" not in code and \
        "static" not in code and "#define" not in code else re.sub(r"^#(include|undef) .*$", "", code, flags=re.M)
    lines, at = text.splitlines(), 0
    while at < len(lines):
        item = [lines[at]]
        if not lines[at].strip():
            at += 1
            continue
        if lines[at].startswith("#define"):
            while item[-1].endswith("\\"):
                at += 1
                item.append(lines[at])
            m = re.match(r"#define (\w+)(\([^)]*\))?(.*)", lines[at - len(item) + 1])
            name, args, rest = m.groups()
            guard = not args and not rest.strip()
            if not guard and not name.endswith("_") and name != "VANE_API":
                note = re.search(r"/\*.*", item[-1])
                if args:
                    shown.append(name + args + ";")
                elif len(item) == 1 and "(" not in rest.split("/*")[0]:
                    shown.append(lines[at])
                else:
                    shown.append(name + (" " + note.group() if note else ""))
                names.append(name)
        elif lines[at].startswith("static inline"):
            while not item[-1].rstrip() == "}":
                at += 1
                item.append(lines[at])
            head = re.match(r"static inline (.*?)\s*\{", " ".join(x.strip() for x in item), re.S).group(1)
            name = re.search(r"(\w+)\(", head).group(1)
            if not name.endswith("_"):
                shown.append(head + ";")
                names.append(name)
        else:
            def open_braces():
                return "\n".join(item).count("{") - "\n".join(item).count("}")

            def ends():
                return re.search(r";(\s*/\*.*)?$", item[-1]) and open_braces() == 0
            while not ends() and at + 1 < len(lines):
                at += 1
                item.append(lines[at])
            while "/*" in item[-1] and "*/" not in item[-1]:
                at += 1
                item.append(lines[at])
            whole = "\n".join(item)
            if m := re.match(r"VANE_API [^(]*?(\w+)\(", whole):
                if not m.group(1).endswith("_"):
                    whole = re.sub(r" VANE_PRINTF_\(.*?\)", "", whole.removeprefix("VANE_API "))
                    shown.append(re.sub(r"\n {9,}", "\n    ", whole))
                    names.append(m.group(1))
            elif whole.startswith(("typedef", "struct")) and not re.match(r"typedef struct \w+ \w+;", whole):
                shown.append(whole)
        at += 1
    return shown, names


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\\(ga").replace("^", "\\(ha").replace("~", "\\(ti")
    return re.sub(r"^\.", "\\\\&.", text)


def roff_text(text):
    """Running text: long lists of labels may be divided behind their commas."""
    return re.sub(r",(?=\w)", r",\\:", roff(text))


def tidy(lines):
    """Without the paragraph breaks that mean nothing: after a heading, before one, two in a row."""
    out = []
    for line in lines:
        if line.startswith((".SH", ".SS", ".PP")):
            while out and out[-1] == ".PP":
                out.pop()
        if line != ".PP" or not (out and out[-1].startswith((".SH", ".SS"))):
            out.append(line)
    while out and out[-1] == ".PP":
        out.pop()
    return out


def literal(lines):
    while lines and not lines[-1].strip():
        lines.pop()
    indent = min((len(x) - len(x.lstrip()) for x in lines if x.strip()), default=0)
    return [".PP", ".in +4n", ".nf"] + [roff(x[indent:]) or "\\&" for x in lines] + [".fi", ".in"]


def prose(lines):
    """Paragraphs; "Word   text" and what hangs below it as tagged paragraphs; lines indented by four as they are."""
    out, at, tagged = [], 0, False
    while at < len(lines):
        line = lines[at]
        m = re.match(r"( {0,3})(\S+(?:, \S+)*) {2,}(\S.*)$", line)
        if not line.strip():
            out.append(".PP")
            tagged = False
        elif m:
            hang = len(line) - len(m.group(3))
            out += [".TP", f"\\fB{roff(m.group(2))}\\fP", roff_text(m.group(3))]
            tagged = True
            while at + 1 < len(lines) and lines[at + 1].startswith(" " * min(hang, 8)) and lines[at + 1].strip():
                at += 1
                out.append(roff_text(lines[at].strip()))
        elif line.startswith("    "):
            block = [line]
            while at + 1 < len(lines) and (lines[at + 1].startswith("    ") or not lines[at + 1].strip()):
                at += 1
                block.append(lines[at])
            out += literal(block) + [".PP"]
            tagged = False
        else:
            if tagged:
                out.append(".PP")
            tagged = False
            out.append(roff_text(line.strip()))
        at += 1
    return out


def titled(opening):
    """An opening comment without the name it begins with, and its first sentence."""
    first = opening[0].split(": ", 1)[-1]
    return [first[0].upper() + first[1:]] + opening[1:], first.split(". ")[0].rstrip(".:")


def page(header, version):
    """The roff text of a header's page, and the names of the functions on it."""
    name = "vane_" + header.stem
    parts = list(pieces(plain_c(header.read_text())))
    opening = comment_lines(parts[0][1])
    opening, summary = titled(opening)
    body, synopsis, names, pending, empty = [], [], [], None, None
    for kind, text in parts[1:]:
        if kind == "section":
            if pending:
                body += [".PP"] + prose(pending)
                pending = None
            body += [".SH " + roff(text.upper()).replace('"', "")]
        elif kind == "comment":
            if pending:
                body += [".PP"] + prose(pending)
            pending = comment_lines(text)
        elif kind == "code":
            shown, here = declarations(text)
            if shown:
                functions = [n for n in here if n.islower()]
                names += functions
                synopsis += [s for s in shown if any(re.search(rf"\b{n}\(", s) for n in functions)]
                title = ", ".join(dict.fromkeys(here)) or ", ".join(re.findall(r"^(?:typedef [^{]*\{?.*?)?\}? ?(\w+);", shown[0], re.S | re.M)[-1:])
                body += [".SS " + roff(title)] if title else []
                body += literal("\n".join(shown).splitlines()) + [".PP"]
                if pending:
                    body += prose(pending)
                pending = None
            else:
                pending = None
    if pending:
        body += [".PP"] + prose(pending)
    if ".SH" not in "".join(x[:3] for x in body[:2]):
        body = [".SH FUNCTIONS"] + body
    listed = [name] + [n for n in names if n != name]
    out = [f'.TH {name.upper()} 3 "{DATE}" "libvane {version}" "libvane"', *STYLE, ".SH NAME", ",\n".join(listed) + f" \\- {roff(summary[0].lower() + summary[1:])}",
           ".SH SYNOPSIS", ".nf", f".B #include <vane/{header.name}>", ".PP"]
    out += [roff(x) for s in synopsis for x in re.sub(r" */\*.*?\*/", "", s, flags=re.S).splitlines()]
    out += [".PP", "Link with \\fB\\-lvane\\fP: pkg\\-config \\-\\-cflags \\-\\-libs libvane", ".fi", ".SH DESCRIPTION"] + prose(opening) + body
    out += [".SH SEE ALSO", see_also(header.stem)]
    return "\n".join(tidy(out)) + "\n", names


def see_also(but):
    return ",\n".join([".BR libvane (7)"] * (but != "vane") + [f".BR vane_{p} (3)" for p in PAGES if p != but])


def main():
    include, version = pathlib.Path(sys.argv[1]), sys.argv[3]
    folder = pathlib.Path(os.environ.get("MESON_INSTALL_DESTDIR_PREFIX", ".")) / sys.argv[2]
    man3, man7 = folder / "man3", folder / "man7"
    man3.mkdir(parents=True, exist_ok=True)
    man7.mkdir(parents=True, exist_ok=True)
    for p in PAGES:
        text, names = page(include / f"{p}.h", version)
        (man3 / f"vane_{p}.3").write_text(text)
        for n in set(names) - {f"vane_{p}"}:
            (man3 / f"{n}.3").write_text(f".so man3/vane_{p}.3\n")
    (man3 / "vane_http_server.3").write_text(".so man3/vane_http.3\n")
    opening, summary = titled(comment_lines(next(pieces((include / "vane.h").read_text()))[1]))
    (man7 / "libvane.7").write_text("\n".join(tidy(
        [f'.TH LIBVANE 7 "{DATE}" "libvane {version}" "libvane"', *STYLE, ".SH NAME", "libvane \\- " + roff(summary),
         ".SH SYNOPSIS", ".nf", ".B #include <vane/vane.h>", ".PP", "cc service.c $(pkg\\-config \\-\\-cflags \\-\\-libs libvane)", ".fi", ".SH DESCRIPTION"] +
        prose(opening) + [".SH SEE ALSO", see_also("vane")])) + "\n")


main()
