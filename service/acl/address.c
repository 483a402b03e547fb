#include "acl/address.h"

#include "base/host_name.h"
#include "acl/entry.h"
#include "acl/list_parts.h"
#include "acl/reason.h"

#include <string.h>

static bool bad_word(const struct acl_word *word, const char *what, struct acl_problems *problems)
{
    char text[256];
    reason_put(text, sizeof text,
               "%s: %s, expected user@domain, *@domain, *@*.domain, *, <> or /pattern/", word->text,
               what);
    return problems_add(problems, text, word->at.file, word->at.line, word->at.column);
}

static bool make_pattern(struct address *a, struct span text, const struct acl_word *word,
                         struct acl_problems *problems)
{
    struct err e = {0};
    a->kind = ADDRESS_PATTERN;
    if (text.n < 3 || text.p[text.n - 1] != '/')
        return bad_word(word, "no slash at the end", problems);
    if (acl_pattern_compile(span_sub(text, 1, text.n - 2), &a->pattern, &e))
        return true;
    return e.class != ERR_TEMP &&
           problems_add(problems, e.text, word->at.file, word->at.line, word->at.column);
}

/* Address literals, and letters beyond ASCII: such an address is compared as it is written. */
static bool as_written(struct span domain)
{
    bool literal = domain.n > 2 && domain.p[0] == '[' && domain.p[domain.n - 1] == ']';
    for (size_t i = 0; i < domain.n; i++)
        literal = literal || domain.p[i] >= 0x80;
    return literal;
}

static bool make_address(struct address *a, const struct acl_word *word,
                         struct acl_problems *problems)
{
    struct span text = span_str(a->text);
    a->at = word->at;
    if (text.n > 0 && text.p[0] == '/')
        return make_pattern(a, text, word, problems);
    if (span_is(text, "*") || span_is(text, "<>")) {
        a->kind = text.n == 1 ? ADDRESS_EVERY : ADDRESS_NULL;
        return true;
    }
    size_t at = span_rfind(text, '@');
    if (at == text.n || at == 0)
        return bad_word(word, "no address", problems);
    a->local = span_sub(text, 0, at);
    a->domain = span_from(text, at + 1);
    a->kind = span_is(a->local, "*") ? ADDRESS_DOMAIN : ADDRESS_EXACT;
    if (a->kind == ADDRESS_DOMAIN && span_starts_nocase(a->domain, "*.")) {
        a->kind = ADDRESS_BELOW;
        a->domain = span_from(a->domain, 2);
    }
    if (a->kind == ADDRESS_EXACT && span_find(a->local, '*') < a->local.n)
        return bad_word(word, "a * that is not the whole local part", problems);
    if (a->kind == ADDRESS_EXACT && as_written(a->domain))
        return true;
    return host_name_ok(a->domain) || bad_word(word, "no domain behind the @", problems);
}

bool address_set_make(struct arena *memory, const struct acl_words *words, struct address_set *set,
                      struct acl_problems *problems)
{
    *set = (struct address_set){.at = words->at};
    if (words->n == 0)
        return true;
    set->v = arena_alloc(memory, words->n * sizeof *set->v);
    if (set->v == NULL)
        return false;
    for (size_t i = 0; i < words->n; i++) {
        set->v[i].text = arena_str(memory, words->v[i].text);
        set->n = i + 1;
        if (set->v[i].text == NULL || !make_address(&set->v[i], &words->v[i], problems))
            return false;
        if (words->v[i].at.file != NULL)
            set->v[i].at.file = arena_str(memory, words->v[i].at.file);
    }
    return true;
}

void address_set_drop(struct address_set *set)
{
    for (size_t i = 0; i < set->n; i++)
        acl_pattern_free(&set->v[i].pattern);
    set->n = 0;
}

static bool below(struct span name, struct span domain)
{
    return name.n > domain.n + 1 && name.p[name.n - domain.n - 1] == '.' &&
           span_equal_nocase(span_from(name, name.n - domain.n), domain);
}

static enum acl_match match_one(const struct address *a, const struct acl_path *path)
{
    bool null = path->text.n == 0;
    bool yes = false;
    switch (a->kind) {
    case ADDRESS_EVERY: yes = true; break;
    case ADDRESS_NULL: yes = null; break;
    case ADDRESS_EXACT:
        yes = !null && ((span_equal_nocase(a->local, path->local) &&
                         span_equal_nocase(a->domain, path->domain)) ||
                        span_equal_nocase(span_str(a->text), path->text)); /* "a b"@x.example */
        break;
    case ADDRESS_DOMAIN: yes = !null && span_equal_nocase(a->domain, path->domain); break;
    case ADDRESS_BELOW: yes = !null && below(path->domain, a->domain); break;
    case ADDRESS_PATTERN: return null ? ACL_MATCH_NO : acl_pattern_match(a->pattern, path->text);
    }
    return yes ? ACL_MATCH_YES : ACL_MATCH_NO;
}

enum acl_match address_set_match(const struct address_set *set, const struct acl_path *path,
                                 const struct address **found)
{
    enum acl_match result = ACL_MATCH_NO;
    for (size_t i = 0; i < set->n; i++) {
        enum acl_match one = match_one(&set->v[i], path);
        if (one == ACL_MATCH_YES) {
            *found = &set->v[i];
            return one;
        }
        if (one == ACL_MATCH_FAILED)
            result = one;
    }
    return result;
}
