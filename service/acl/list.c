/* list.c - filling an access list. */
#include "acl/entry.h"
#include "acl/list_parts.h"

#include <stdlib.h>
#include <string.h>

void acl_problems_init(struct acl_problems *p)
{
    *p = (struct acl_problems){0};
}

void acl_problems_deinit(struct acl_problems *p)
{
    free(p->v);
    *p = (struct acl_problems){0};
}

bool list_grow(void **v, size_t *cap, size_t n, size_t more, size_t size)
{
    if (n + more <= *cap)
        return true;
    size_t cap_new = *cap == 0 ? 8 : *cap * 2;
    if (cap_new < n + more)
        cap_new = n + more;
    if (cap_new > UINT32_MAX - 1 || cap_new > SIZE_MAX / size)
        return false; /* offsets and indexes are 32 bits */
    void *p = realloc(*v, cap_new * size);
    if (p == NULL)
        return false;
    *v = p;
    *cap = cap_new;
    return true;
}

bool problems_add(struct acl_problems *p, const char *text, const char *file, unsigned line,
                  unsigned column)
{
    void *v = p->v;
    if (p->n == ACL_PROBLEMS_MAX) {
        p->left_out++;
        return true;
    }
    if (!list_grow(&v, &p->cap, p->n, 1, sizeof *p->v)) {
        p->left_out++;
        return false;
    }
    p->v = v;
    struct acl_problem *problem = &p->v[p->n++];
    *problem = (struct acl_problem){.file = file, .line = line, .column = column};
    size_t n = strlen(text);
    memcpy(problem->text, text, n < sizeof problem->text ? n : sizeof problem->text - 1);
    return true;
}

struct acl_list *acl_list_new(const struct netaddr *self, size_t n_self)
{
    struct netaddr loopback6 = {{0}};
    struct acl_list *list = calloc(1, sizeof *list);
    if (list == NULL)
        return NULL;
    list->self_entry = list->open_name = list->first_name = NAME_NONE;
    list->self = calloc(n_self + 2, sizeof *list->self);
    if (list->self == NULL) {
        free(list);
        return NULL;
    }
    loopback6.b[15] = 1;
    list->self[0] = netaddr_v4((const uint8_t[4]){127, 0, 0, 1});
    list->self[1] = loopback6;
    if (n_self > 0)
        memcpy(list->self + 2, self, n_self * sizeof *self);
    list->n_self = n_self + 2;
    return list;
}

void acl_list_free(struct acl_list **list)
{
    struct acl_list *l = *list;
    if (l == NULL)
        return;
    for (size_t i = 0; i < l->n_patterns; i++)
        acl_pattern_free(&l->patterns[i].pattern);
    for (size_t i = 0; i < l->n_files; i++)
        free(l->files[i]);
    name_table_deinit(&l->name_table);
    name_table_deinit(&l->suffix_table);
    trie_free(&l->v4_trie);
    trie_free(&l->v6_trie);
    free(l->hidden_v4);
    free(l->hidden_v6);
    free(l->hidden_names);
    free(l->overlaps);
    free(l->patterns);
    free(l->names);
    free(l->suffixes);
    free(l->v4);
    free(l->v6);
    free(l->files);
    free(l->pool);
    free(l->entries);
    free(l->self);
    free(l);
    *list = NULL;
}

bool list_add_text(struct acl_list *list, struct span text, uint32_t *offset)
{
    void *pool = list->pool;
    if (!list_grow(&pool, &list->cap_pool, list->n_pool, text.n + 1, 1))
        return false;
    list->pool = pool;
    *offset = (uint32_t)list->n_pool;
    memcpy(list->pool + list->n_pool, text.p, text.n);
    list->pool[list->n_pool + text.n] = '\0';
    list->n_pool += text.n + 1;
    return true;
}

/* Entries come file by file: the last name is nearly always the one. */
static bool add_file(struct acl_list *list, const char *file, uint16_t *index)
{
    void *files = list->files;
    if (file == NULL)
        file = "";
    for (size_t i = list->n_files; i > 0; i--)
        if (strcmp(list->files[i - 1], file) == 0) {
            *index = (uint16_t)(i - 1);
            return true;
        }
    if (list->n_files == UINT16_MAX ||
        !list_grow(&files, &list->cap_files, list->n_files, 1, sizeof file))
        return false;
    list->files = files;
    size_t n = strlen(file) + 1;
    char *copy = malloc(n);
    if (copy == NULL)
        return false;
    memcpy(copy, file, n);
    *index = (uint16_t)list->n_files;
    list->files[list->n_files++] = copy;
    return true;
}

uint32_t v4_number(const struct netaddr *a)
{
    return (uint32_t)a->b[12] << 24 | (uint32_t)a->b[13] << 16 | (uint32_t)a->b[14] << 8 | a->b[15];
}

struct netaddr v4_address(uint32_t number)
{
    return netaddr_v4((const uint8_t[4]){(uint8_t)(number >> 24), (uint8_t)(number >> 16),
                                         (uint8_t)(number >> 8), (uint8_t)number});
}

static bool add_interval(struct acl_list *list, const struct netaddr *first,
                         const struct netaddr *last, uint32_t entry)
{
    if (netaddr_is_v4(first) && netaddr_is_v4(last)) {
        void *v = list->v4;
        if (!list_grow(&v, &list->cap_v4, list->n_v4, 1, sizeof *list->v4))
            return false;
        list->v4 = v;
        list->v4[list->n_v4++] = (struct v4_interval){v4_number(first), v4_number(last), entry};
        return true;
    }
    void *v = list->v6;
    if (!list_grow(&v, &list->cap_v6, list->n_v6, 1, sizeof *list->v6))
        return false;
    list->v6 = v;
    list->v6[list->n_v6++] = (struct v6_interval){*first, *last, entry};
    return true;
}

static bool add_name(struct acl_list *list, bool suffix, uint32_t text, size_t n_text,
                     uint32_t entry)
{
    void *v = suffix ? list->suffixes : list->names;
    size_t *n = suffix ? &list->n_suffixes : &list->n_names;
    if (!list_grow(&v, suffix ? &list->cap_suffixes : &list->cap_names, *n, 1,
                   sizeof(struct name_ref)))
        return false;
    *(suffix ? &list->suffixes : &list->names) = v;
    ((struct name_ref *)v)[(*n)++] =
        (struct name_ref){name_hash(span_of(list->pool + text, n_text)), text, entry};
    return true;
}

static bool add_pattern(struct acl_list *list, struct acl_pattern *pattern, uint32_t entry)
{
    void *v = list->patterns;
    if (!list_grow(&v, &list->cap_patterns, list->n_patterns, 1, sizeof *list->patterns))
        return false;
    list->patterns = v;
    list->patterns[list->n_patterns++] = (struct list_pattern){pattern, entry};
    return true;
}

/* Whether a stranger could have a name that this entry matches. */
static bool open_to_strangers(const struct acl_entry *entry)
{
    char tail[256];
    if (entry->kind == ENTRY_SUFFIX)
        return acl_is_public_suffix(entry->name);
    if (entry->kind != ENTRY_PATTERN)
        return false;
    acl_pattern_tail(entry->name, tail);
    return tail[0] == '\0' || acl_is_public_suffix(span_str(tail));
}

/* What was written is kept only where the interval does not say it just so; never for a single
 * address, of which there may be millions. */
static bool wants_text(const struct acl_entry *entry, struct span written)
{
    char canonical[ACL_INTERVAL_TEXT_MAX];
    if (entry->kind != ENTRY_ADDRESS)
        return true;
    if (netaddr_equal(&entry->first, &entry->last))
        return false;
    acl_interval_format(&entry->first, &entry->last, canonical);
    return !span_is(written, canonical);
}

static bool place(struct acl_list *list, const struct acl_entry *entry, struct acl_pattern *pattern,
                  struct span written, uint32_t text, uint32_t index)
{
    switch (entry->kind) {
    case ENTRY_SELF:
        if (list->self_entry == NAME_NONE)
            list->self_entry = index;
        for (size_t i = 0; i < list->n_self; i++)
            if (!add_interval(list, &list->self[i], &list->self[i], index))
                return false;
        return true;
    case ENTRY_ADDRESS: return add_interval(list, &entry->first, &entry->last, index);
    case ENTRY_NAME: return add_name(list, false, text, written.n, index);
    case ENTRY_SUFFIX: return add_name(list, true, text + 2, written.n - 2, index);
    case ENTRY_PATTERN: return add_pattern(list, pattern, index);
    }
    return false;
}

static bool add_entry(struct acl_list *list, const struct acl_entry_source *source,
                      const struct acl_entry *entry, struct acl_pattern *pattern)
{
    struct span written = span_trim(source->text);
    struct entry_info info = {.line = source->line, .text = NAME_NONE};
    void *v = list->entries;
    if (written.n > 0 && written.p[written.n - 1] == '.' && entry->kind != ENTRY_PATTERN)
        written.n--; /* the root's dot of a name */
    info.column = (uint16_t)(source->column > ENTRY_COLUMN_MAX ? ENTRY_COLUMN_MAX : source->column);
    if (!list_grow(&v, &list->cap_entries, list->n_entries, 1, sizeof info))
        return false;
    list->entries = v;
    if (!add_file(list, source->file, &info.file) ||
        (wants_text(entry, written) && !list_add_text(list, written, &info.text)) ||
        !place(list, entry, pattern, written, info.text, (uint32_t)list->n_entries))
        return false;
    if (list->open_name == NAME_NONE && open_to_strangers(entry))
        list->open_name = (uint32_t)list->n_entries;
    if (entry->kind != ENTRY_ADDRESS && entry->kind != ENTRY_SELF) {
        info.column |= ENTRY_IS_NAME;
        if (list->first_name == NAME_NONE)
            list->first_name = (uint32_t)list->n_entries;
    }
    list->entries[list->n_entries++] = info;
    return true;
}

static bool no_memory(const struct acl_list *list, struct err *e)
{
    return err_set(e, ERR_TEMP, "access list: no memory for entry %zu", list->n_entries);
}

bool acl_list_add(struct acl_list *list, const struct acl_entry_source *entries, size_t n,
                  struct acl_problems *problems, struct err *e)
{
    if (list->sealed)
        return err_set(e, ERR_BUG, "access list: an entry after it was sealed");
    for (size_t i = 0; i < n; i++) {
        struct acl_entry entry;
        struct acl_pattern *pattern = NULL;
        struct err why = {.class = ERR_NONE};
        if (!acl_entry_parse(entries[i].text, &entry, &why) ||
            (entry.kind == ENTRY_PATTERN && !acl_pattern_compile(entry.name, &pattern, &why))) {
            /* An entry that is left out unheard could be one that shuts somebody out. */
            if (why.class == ERR_TEMP || !problems_add(problems, why.text, entries[i].file,
                                                       entries[i].line, entries[i].column))
                return no_memory(list, e);
            continue;
        }
        if (!add_entry(list, &entries[i], &entry, pattern)) {
            acl_pattern_free(&pattern);
            return no_memory(list, e);
        }
    }
    return true;
}

bool acl_list_seal(struct acl_list *list, struct err *e)
{
    if (list->sealed)
        return true;
    if (!list_arrange(list))
        return err_set(e, ERR_TEMP, "access list: no memory to sort %zu entries", list->n_entries);
    list->sealed = true;
    return true;
}
