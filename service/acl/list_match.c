/* list_match.c - asking a sealed access list. */
#include "acl/entry.h"
#include "acl/list_parts.h"

#include <string.h>

size_t acl_list_count(const struct acl_list *list)
{
    return list->n_entries;
}

bool acl_list_has_names(const struct acl_list *list)
{
    return list->n_names + list->n_suffixes + list->n_patterns > 0;
}

size_t acl_list_memory(const struct acl_list *list)
{
    size_t n = sizeof *list + list->n_self * sizeof *list->self +
               list->cap_entries * sizeof *list->entries + list->cap_pool +
               list->cap_files * sizeof *list->files + list->cap_v4 * sizeof *list->v4 +
               list->cap_v6 * sizeof *list->v6 + trie_memory(&list->v4_trie) +
               trie_memory(&list->v6_trie) + list->cap_overlaps * sizeof *list->overlaps +
               name_table_memory(&list->name_table) + name_table_memory(&list->suffix_table) +
               list->cap_patterns * sizeof *list->patterns +
               list->cap_hidden_v4 * sizeof *list->hidden_v4 +
               list->cap_hidden_v6 * sizeof *list->hidden_v6 +
               list->cap_hidden_names * sizeof *list->hidden_names;
    for (size_t i = 0; i < list->n_patterns; i++)
        n += acl_pattern_memory(list->patterns[i].pattern);
    for (size_t i = 0; i < list->n_files; i++)
        n += strlen(list->files[i]) + 1;
    return n;
}

const struct v4_interval *list_find_v4(const struct acl_list *list, uint32_t address)
{
    const struct trie_key key = {0, address};
    uint32_t from, count;
    trie_find(&list->v4_trie, &key, &from, &count);
    for (const struct v4_interval *x = list->v4 + from; count > 0; x++, count--)
        if (address <= x->last)
            return address >= x->first ? x : NULL;
    return NULL;
}

const struct v6_interval *list_find_v6(const struct acl_list *list, const struct netaddr *address)
{
    const struct trie_key key = trie_key_of(address);
    uint32_t from, count;
    trie_find(&list->v6_trie, &key, &from, &count);
    for (const struct v6_interval *x = list->v6 + from; count > 0; x++, count--)
        if (netaddr_compare(address, &x->last) <= 0)
            return netaddr_compare(address, &x->first) >= 0 ? x : NULL;
    return NULL;
}

void list_describe(const struct acl_list *list, uint32_t entry, const struct netaddr *first,
                   const struct netaddr *last, struct acl_hit *hit)
{
    const struct entry_info *info = &list->entries[entry];
    if (info->text == NAME_NONE) {
        acl_interval_format(first, last, hit->text);
    } else {
        struct span text = span_str(list->pool + info->text);
        (void)span_cstr(span_sub(text, 0, sizeof hit->text - 1), hit->text, sizeof hit->text);
    }
    hit->at.file = list->files[info->file];
    hit->at.line = info->line;
    hit->at.column = info->column & ENTRY_COLUMN_MAX;
    hit->overlaps = (info->column & ENTRY_OVERLAPS) != 0;
}

bool acl_list_first_name(const struct acl_list *list, const char *but_not, struct acl_hit *hit)
{
    if (list->first_name == NAME_NONE)
        return false;
    for (uint32_t i = list->first_name; i < list->n_entries; i++) {
        const struct entry_info *info = &list->entries[i];
        if ((info->column & ENTRY_IS_NAME) == 0 ||
            (but_not != NULL && strcmp(list->files[info->file], but_not) == 0))
            continue;
        list_describe(list, i, NULL, NULL, hit);
        return true;
    }
    return false;
}

size_t acl_list_overlaps(const struct acl_list *list)
{
    return list->all_overlaps;
}

void acl_list_overlap(const struct acl_list *list, size_t i, struct acl_overlap *out)
{
    const struct list_overlap *o = &list->overlaps[i];
    struct acl_hit hit = {.text = ""};
    list_describe(list, o->entry, &o->first, &o->last, &hit);
    memcpy(out->text, hit.text, sizeof out->text);
    out->at = hit.at;
    list_describe(list, o->by, &o->by_first, &o->by_last, &hit);
    memcpy(out->by, hit.text, sizeof out->by);
    out->by_at = hit.at;
    out->same = o->same;
}

static bool match_address(const struct acl_list *list, const struct netaddr *client,
                          struct acl_hit *hit)
{
    struct netaddr first, last;
    uint32_t entry;
    if (netaddr_is_v4(client)) {
        const struct v4_interval *v4 = list_find_v4(list, v4_number(client));
        if (v4 == NULL)
            return false;
        first = v4_address(v4->first);
        last = v4_address(v4->last);
        entry = v4->entry;
    } else {
        const struct v6_interval *v6 = list_find_v6(list, client);
        if (v6 == NULL)
            return false;
        first = v6->first;
        last = v6->last;
        entry = v6->entry;
    }
    if (hit != NULL) {
        list_describe(list, entry, &first, &last, hit);
        hit->overlaps = hit->overlaps || acl_list_has_names(list);
    }
    return true;
}

static enum acl_match match_name(const struct acl_list *list, struct span name, uint32_t *entry)
{
    enum acl_match result = ACL_MATCH_NO;
    if (name.n > 1 && name.p[name.n - 1] == '.')
        name.n--;
    *entry = name_table_get(&list->name_table, list->pool, name);
    if (*entry == NAME_NONE)
        *entry = name_table_get_suffix(&list->suffix_table, list->pool, name);
    if (*entry != NAME_NONE)
        return ACL_MATCH_YES;
    for (size_t i = 0; i < list->n_patterns; i++) {
        enum acl_match one = acl_pattern_match(list->patterns[i].pattern, name);
        if (one == ACL_MATCH_YES) {
            *entry = list->patterns[i].entry;
            return one;
        }
        if (one == ACL_MATCH_FAILED)
            result = one;
    }
    return result;
}

static enum acl_match match_names(const struct acl_list *list, const struct acl_names *names,
                                  struct acl_hit *hit)
{
    enum acl_match result = ACL_MATCH_NO;
    for (size_t i = 0; i < names->n; i++) {
        uint32_t entry;
        enum acl_match one = match_name(list, names->v[i], &entry);
        if (one == ACL_MATCH_YES) {
            if (hit != NULL) {
                list_describe(list, entry, NULL, NULL, hit);
                hit->overlaps = list->n_names + list->n_suffixes + list->n_patterns > 1;
            }
            return one;
        }
        if (one == ACL_MATCH_FAILED)
            result = one;
    }
    return result;
}

enum acl_match acl_list_match(const struct acl_list *list, const struct netaddr *client,
                              const struct acl_names *names, struct acl_hit *hit)
{
    if (match_address(list, client, hit))
        return ACL_MATCH_YES;
    if (!acl_list_has_names(list))
        return ACL_MATCH_NO;
    switch (names->state) {
    case FACT_UNKNOWN: return ACL_MATCH_UNKNOWN;
    case FACT_FAILED: return ACL_MATCH_FAILED;
    case FACT_ABSENT: return ACL_MATCH_NO;
    case FACT_VALUE: return match_names(list, names, hit);
    }
    return ACL_MATCH_FAILED;
}
