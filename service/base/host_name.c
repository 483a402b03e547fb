#include "base/host_name.h"

static bool label_ok(struct span label)
{
    if (label.n == 0 || label.n > 63 || label.p[0] == '-' || label.p[label.n - 1] == '-')
        return false;
    for (size_t i = 0; i < label.n; i++) {
        uint8_t c = ascii_lower(label.p[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
            return false;
    }
    return true;
}

bool host_name_ok(struct span name)
{
    if (name.n == 0 || name.n > 253)
        return false;
    for (;;) {
        size_t dot = span_find(name, '.');
        if (!label_ok(span_sub(name, 0, dot)))
            return false;
        if (dot == name.n)
            return true;
        name = span_from(name, dot + 1);
    }
}

bool host_name_looks_numeric(struct span text)
{
    size_t dot = span_rfind(text, '.');
    struct span last = dot == text.n ? text : span_from(text, dot + 1);
    for (size_t i = 0; i < last.n; i++)
        if (last.p[i] < '0' || last.p[i] > '9')
            return false;
    return last.n > 0;
}
