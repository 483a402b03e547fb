#include "acl/pattern.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* A host name has 253 bytes: an honest pattern needs some hundred steps. What needs more is one
 * that backtracks without end, and a client chooses its own PTR. */
enum { MATCH_STEPS_MAX = 100000, MATCH_DEPTH_MAX = 2000, MATCH_HEAP_MAX_KIB = 1024 };

struct acl_pattern {
    pcre2_code *code;
};

bool acl_pattern_compile(struct span text, struct acl_pattern **pattern, struct err *e)
{
    int code;
    PCRE2_SIZE offset;
    struct acl_pattern *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_set(e, ERR_TEMP, "pattern: no memory");
    p->code = pcre2_compile(text.p, text.n,
                            PCRE2_CASELESS | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C |
                                PCRE2_NEVER_UTF,
                            &code, &offset, NULL);
    if (p->code == NULL) {
        PCRE2_UCHAR why[128];
        (void)pcre2_get_error_message(code, why, sizeof why);
        free(p);
        return err_set(e, code == PCRE2_ERROR_HEAP_FAILED ? ERR_TEMP : ERR_PERM,
                       "/%.*s/: %s at offset %zu, expected a PCRE2 pattern",
                       text.n > 100 ? 100 : (int)text.n, (const char *)text.p, (const char *)why,
                       (size_t)offset);
    }
    *pattern = p;
    return true;
}

void acl_pattern_free(struct acl_pattern **pattern)
{
    if (*pattern == NULL)
        return;
    pcre2_code_free((*pattern)->code);
    free(*pattern);
    *pattern = NULL;
}

size_t acl_pattern_memory(const struct acl_pattern *pattern)
{
    size_t size = 0;
    (void)pcre2_pattern_info(pattern->code, PCRE2_INFO_SIZE, &size);
    return sizeof *pattern + size;
}

enum acl_match acl_pattern_match(const struct acl_pattern *pattern, struct span name)
{
    enum acl_match result = ACL_MATCH_FAILED;
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    if (limits != NULL && data != NULL) {
        (void)pcre2_set_match_limit(limits, MATCH_STEPS_MAX);
        (void)pcre2_set_depth_limit(limits, MATCH_DEPTH_MAX);
        (void)pcre2_set_heap_limit(limits, MATCH_HEAP_MAX_KIB);
        int found = pcre2_match(pattern->code, name.p, name.n, 0, 0, data, limits);
        if (found >= 0)
            result = ACL_MATCH_YES;
        else if (found == PCRE2_ERROR_NOMATCH)
            result = ACL_MATCH_NO;
    }
    pcre2_match_data_free(data);
    pcre2_match_context_free(limits);
    return result;
}

/* Reads the pattern from the left and keeps the literal run that stands at its end; whatever it
 * does not know for sure to be literal ends the run. The run counts when `$` follows it and nothing
 * else, and from its first dot on: "fp\.corp\.example$" binds the name to corp.example. */
void acl_pattern_tail(struct span text, char out[256])
{
    size_t n = 0;
    bool closed = false, whole = false; /* `^` stands right before the run: the name is all of it */
    out[0] = '\0';
    if (span_find(text, '|') < text.n || span_find(text, '#') < text.n)
        return;
    for (size_t i = 0; i + 1 < text.n; i++) /* options, verbs, look-around, quoting: not read */
        if ((text.p[i] == '(' && (text.p[i + 1] == '?' || text.p[i + 1] == '*')) ||
            (text.p[i] == '\\' && (text.p[i + 1] == 'Q' || text.p[i + 1] == 'E')))
            return;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = ascii_lower(text.p[i]);
        closed = false;
        if (c == '\\' && i + 1 < text.n && (text.p[i + 1] == '.' || text.p[i + 1] == '-')) {
            c = text.p[++i];
        } else if (c == '\\') {
            i++;
            n = 0;
            whole = false;
            continue;
        } else if (c == '$') {
            closed = true;
            continue;
        } else if (c == '[') { /* "[]abc]" holds the bracket */
            for (i += 2; i < text.n && text.p[i] != ']'; i++)
                if (text.p[i] == '\\')
                    i++;
            n = 0;
            whole = false;
            continue;
        } else if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')) {
            n = 0;
            whole = c == '^' && i == 0;
            continue;
        }
        if (n == 255)
            return;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    if (closed && whole)
        return;
    char *dot = closed ? strchr(out, '.') : NULL;
    if (dot == NULL)
        out[0] = '\0';
    else
        memmove(out, dot + 1, strlen(dot + 1) + 1);
}
