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
               list->cap_v6 * sizeof *list->v6 +
               (list->name_table.size + list->suffix_table.size) * sizeof(struct name_slot) +
               list->cap_patterns * sizeof *list->patterns;
    for (size_t i = 0; i < list->n_patterns; i++)
        n += acl_pattern_memory(list->patterns[i].pattern);
    for (size_t i = 0; i < list->n_files; i++)
        n += strlen(list->files[i]) + 1;
    return n;
}

const struct v4_interval *list_find_v4(const struct acl_list *list, uint32_t address)
{
    size_t low = 0, high = list->n_v4; /* the first that begins after the address */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (list->v4[middle].first <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && address <= list->v4[low - 1].last ? &list->v4[low - 1] : NULL;
}

const struct v6_interval *list_find_v6(const struct acl_list *list, const struct netaddr *address)
{
    size_t low = 0, high = list->n_v6;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (netaddr_compare(&list->v6[middle].first, address) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && netaddr_compare(address, &list->v6[low - 1].last) <= 0 ? &list->v6[low - 1]
                                                                             : NULL;
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
